"""What training calls while it runs: a log, checkpoints, or code of your own.

A callback is an object with any of the methods of `Callback`, or a plain function of the trainer, which is called after
each epoch:

>>> def stop_when_good(trainer):
...     return trainer.history.loss_curve[-1] < 0.01  # True ends training
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._files import as_path

if TYPE_CHECKING:
    from lstmcore.training import Trainer


class Callback:
    """Base of callbacks: override what you need. An object with only some of these methods will do as well.

    The trainer may be read and, between epochs, changed: ``trainer.learning_rate *= 0.5``. An exception leaves a model
    as an interruption does: with the best parameters so far, or the latest without validation.
    """

    def on_fit_begin(self, trainer: Trainer) -> Any:
        """Before the first epoch of a ``fit``."""

    def on_epoch_end(self, trainer: Trainer) -> Any:
        """After each epoch; ``trainer.history`` has it already. Returning True ends training."""

    def on_fit_end(self, trainer: Trainer) -> Any:
        """After training has ended for whatever reason; the network has the parameters that it keeps."""


@dataclass(frozen=True)
class CSVLog(Callback):
    """Write ``history.columns()`` to a CSV file, a row an epoch.

    Every row is in the file as soon as its epoch has ended. A resumed training continues the file; a new one replaces
    it.

    Parameters
    ----------
    path : str or path
        The file.
    """

    path: str | os.PathLike[str]

    def __post_init__(self) -> None:
        as_path(self.path)

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Write the epochs before this ``fit``: none of a new trainer, some of a resumed one."""
        self._write(trainer, "w", 0)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Append the epoch. The first one of a ``fit`` decides which columns there are."""
        if trainer.epoch == 1:
            self._write(trainer, "w", 0)
        else:
            self._write(trainer, "a", -1)

    def _write(self, trainer: Trainer, mode: str, start: int) -> None:
        columns = trainer.history.columns()
        with open(self.path, mode, newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if mode == "w":
                writer.writerow(columns)
            writer.writerows(zip(*(values[start:] for values in columns.values()), strict=True))


@dataclass(frozen=True)
class Checkpoint(Callback):
    """Write a checkpoint while training, for `resume_from` of ``fit``; see `Trainer.save_checkpoint`.

    Behind other callbacks of a list it knows what they changed.

    Parameters
    ----------
    path : str or path
        The file; it is replaced only by a complete one.
    every : int, default=1
        Epochs between two checkpoints.
    """

    path: str | os.PathLike[str]
    every: int = 1

    def __post_init__(self) -> None:
        as_path(self.path)
        check.integer(self.every, "every")

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Write the checkpoint if it is time."""
        if trainer.epoch % self.every == 0:
            trainer.save_checkpoint(self.path)


class Callbacks:
    """Several callbacks, called one after the other.

    Parameters
    ----------
    callbacks : sequence or None
        Objects with methods of `Callback`, or functions of the trainer.

    Raises
    ------
    TypeError
        If one is neither.
    """

    def __init__(self, callbacks: Any) -> None:
        if callbacks is not None and not isinstance(callbacks, (list, tuple)):
            raise TypeError(f"callbacks must be a list or None, got {callbacks!r}")
        self._callbacks = list(callbacks or ())
        for i, callback in enumerate(self._callbacks):
            usable = callable(callback) or any(hasattr(callback, event) for event in _EVENTS)
            if isinstance(callback, type) or not usable:
                raise TypeError(f"callbacks[{i}] must be a function or have {' or '.join(_EVENTS)}, got {callback!r}")

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Call ``on_fit_begin`` of each."""
        self._call("on_fit_begin", trainer)

    def on_epoch_end(self, trainer: Trainer) -> bool:
        """Call ``on_epoch_end`` of each; say whether one of them wants to stop."""
        return any(self._call("on_epoch_end", trainer))

    def on_fit_end(self, trainer: Trainer) -> None:
        """Call ``on_fit_end`` of each."""
        self._call("on_fit_end", trainer)

    def _call(self, event: str, trainer: Trainer) -> list[bool]:
        results = [handler(trainer) for callback in self._callbacks if (handler := _handler(callback, event))]
        return [isinstance(result, (bool, np.bool_)) and bool(result) for result in results]


_EVENTS = ("on_fit_begin", "on_epoch_end", "on_fit_end")


def _handler(callback: Any, event: str) -> Callable[[Any], Any] | None:
    """Return what to call at an event; a plain function is called after each epoch."""
    handler: Callable[[Any], Any] | None = getattr(callback, event, None)
    return callback if handler is None and event == "on_epoch_end" and callable(callback) else handler
