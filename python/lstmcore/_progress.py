"""What training tells while it runs."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Any

from lstmcore.history import History


class Progress:
    """A tqdm bar over the sequences of all epochs; without tqdm, a line an epoch; silent with ``verbose=0``.

    Both tell the losses and the score, sequences a second and the time left. `done` epochs lie behind a resumed run.
    """

    def __init__(self, verbose: int, epochs: int, sequences: int, done: int = 0) -> None:
        self._epochs, self._sequences, self._done = epochs, sequences, done
        self._first, self._started = done, time.perf_counter()
        self._bar: Any = None
        self._lines = False
        if verbose:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                self._lines = True
            else:
                total, initial = epochs * sequences, done * sequences
                self._bar = tqdm(total=total, initial=initial, unit=" sequences", unit_scale=True, dynamic_ncols=True)

    def advance(self, sequences: int) -> None:
        """Count trained sequences."""
        if self._bar is not None:
            self._bar.update(sequences)

    def epoch_done(self, history: History) -> None:
        """Show what was measured in the last epoch."""
        self._done += 1
        if self._bar is None and not self._lines:
            return
        curves = {
            "loss": history.loss_curve,
            "validation": history.validation_curve,
            "score": history.validation_scores,
        }
        measured = {name: f"{curve[-1]:.4g}" for name, curve in curves.items() if curve and not math.isnan(curve[-1])}
        epoch = f"epoch {self._done}/{self._epochs}"
        if self._bar is not None:
            self._bar.set_description(epoch, refresh=False)
            self._bar.set_postfix(measured)
            return
        seconds = (time.perf_counter() - self._started) / (self._done - self._first)  # of an epoch
        values = ", ".join(f"{name} {value}" for name, value in measured.items())
        speed, left = self._sequences / seconds, seconds * (self._epochs - self._done)
        print(f"{epoch} {values}, {speed:,.0f} sequences/s, {left:.0f} s left", flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
