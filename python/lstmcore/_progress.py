"""What training tells while it runs."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class Progress:
    """A tqdm bar over the sequences of all epochs; without tqdm, a line an epoch; silent with ``verbose=0``."""

    def __init__(self, verbose: int, epochs: int, sequences: int) -> None:
        self._epochs, self._done = epochs, 0
        self._bar: Any = None
        self._lines = False
        if verbose:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                self._lines = True
            else:
                self._bar = tqdm(total=epochs * sequences, unit=" sequences", unit_scale=True, dynamic_ncols=True)

    def advance(self, sequences: int) -> None:
        """Count trained sequences."""
        if self._bar is not None:
            self._bar.update(sequences)

    def epoch_done(self, history: Any) -> None:
        """Show the losses of the last epoch."""
        self._done += 1
        if self._bar is None and not self._lines:
            return
        losses = {"loss": history.loss_curve[-1]}
        if history.validation_curve:
            losses["validation"] = history.validation_curve[-1]
        if self._bar is not None:
            self._bar.set_description(f"epoch {self._done}/{self._epochs}", refresh=False)
            self._bar.set_postfix({name: f"{loss:.4g}" for name, loss in losses.items()})
        else:
            print(f"epoch {self._done}/{self._epochs}", *(f"{name} {loss:.4g}" for name, loss in losses.items()))

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
