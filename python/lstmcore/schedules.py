"""Learning-rate schedules: the factor of the base learning rate at any moment of training.

A schedule is a few numbers and no state: its `~Schedule.rate` follows from how far training is and from the losses so
far, so it can be drawn before training, shared between estimators and resumed without being saved.

>>> import numpy as np
>>> from lstmcore.schedules import Cosine
>>> Cosine().rate(np.array([0.0, 2.5, 5.0, 7.5]), 10).round(3).tolist()
[1.0, 0.854, 0.5, 0.146]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._validation import Array


class Schedule:
    """Base of schedules. A schedule of your own overrides `rate`."""

    def rate(self, epoch: Array, epochs: float, losses: Sequence[float] = ()) -> Array:
        """Return the factor of the base learning rate.

        Parameters
        ----------
        epoch : ndarray
            Moments, in epochs since training began, from 0 to `epochs`: 2.5 is the middle of the third epoch. Training
            asks once an epoch, for the middle of each step of its optimizer.
        epochs : float
            How many there will be, if nothing ends training early.
        losses : sequence of float
            Of each epoch so far: the validation loss, or without validation the training loss.

        Returns
        -------
        ndarray of the shape of `epoch`, or what broadcasts to it
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """The base learning rate throughout."""

    def rate(self, epoch: Array, epochs: float, losses: Sequence[float] = ()) -> Array:
        """Return 1."""
        return np.ones(np.shape(epoch))


@dataclass(frozen=True)
class Step(Schedule):
    """γ^⌊epoch / step_size⌋: smaller by a factor every so often.

    Parameters
    ----------
    step_size : int or None, default=None
        Epochs between two steps. None: a third of all epochs, so that there are two steps.
    gamma : float, default=0.1
        The factor, in (0, 1].
    """

    step_size: int | None = None
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.step_size is not None:
            check.integer(self.step_size, "step_size")
        _share(self.gamma, "gamma")

    def rate(self, epoch: Array, epochs: float, losses: Sequence[float] = ()) -> Array:
        """Return γ^⌊epoch / step_size⌋."""
        return self.gamma ** np.floor_divide(epoch, self.step_size or epochs / 3)


@dataclass(frozen=True)
class Cosine(Schedule):
    """m + (1 − m)·½(1 + cos π·t), t from 0 to 1 in each cycle (SGDR, Loshchilov & Hutter 2017).

    Parameters
    ----------
    minimum : float, default=0.0
        m, the share of the base learning rate where a cycle ends, in [0, 1].
    cycles : int, default=1
        The epochs are divided into this many cycles; each starts at the base learning rate again (a "warm restart").
    """

    minimum: float = 0.0
    cycles: int = 1

    def __post_init__(self) -> None:
        _share(self.minimum, "minimum", zero=True)
        check.integer(self.cycles, "cycles")

    def rate(self, epoch: Array, epochs: float, losses: Sequence[float] = ()) -> Array:
        """Return m + (1 − m)·½(1 + cos π·t)."""
        return _cosine(1.0, self.minimum, np.asarray(epoch) / epochs * self.cycles % 1.0)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """One rise to the base learning rate and one long fall, both half a cosine (1cycle, Smith 2018).

    The base learning rate is the peak: it may be several times that of a constant schedule. Momentum stays as it is.

    Parameters
    ----------
    pct_start : float, default=0.3
        The share of training that rises, in (0, 1).
    div_factor : float, default=25.0
        Training starts at 1 / `div_factor` of the peak.
    final_div_factor : float, default=1e4
        And ends at 1 / `final_div_factor` of where it started.
    """

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        if not 0 < check.real(self.pct_start, "pct_start") < 1:
            raise ValueError(f"pct_start must lie between 0 and 1, got {self.pct_start!r}")
        for name in ("div_factor", "final_div_factor"):
            if check.real(getattr(self, name), name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")

    def rate(self, epoch: Array, epochs: float, losses: Sequence[float] = ()) -> Array:
        """Return the height of the cycle."""
        t, start = np.asarray(epoch) / epochs, 1.0 / self.div_factor
        rise = _cosine(start, 1.0, t / self.pct_start)
        fall = _cosine(1.0, start / self.final_div_factor, (t - self.pct_start) / (1.0 - self.pct_start))
        return np.where(t < self.pct_start, rise, fall)


@dataclass(frozen=True)
class Plateau(Schedule):
    """Smaller by a factor whenever the loss has stopped falling.

    It looks at the validation loss, or at the training loss without validation.

    Parameters
    ----------
    factor : float, default=0.2
        In (0, 1].
    patience : int, default=5
        The rate falls after this many epochs in a row whose loss is not lower by `tol` than the lowest before. With
        early stopping it must be less than `n_iter_no_change` to come to anything.
    tol : float, default=1e-4
        Progress that counts.
    minimum : float, default=1e-3
        The rate never falls below this share of the base learning rate, in [0, 1].
    """

    factor: float = 0.2
    patience: int = 5
    tol: float = 1e-4
    minimum: float = 1e-3

    def __post_init__(self) -> None:
        _share(self.factor, "factor")
        check.integer(self.patience, "patience")
        if check.real(self.tol, "tol") < 0:
            raise ValueError(f"tol must be at least 0, got {self.tol!r}")
        _share(self.minimum, "minimum", zero=True)

    def rate(self, epoch: Array, epochs: float, losses: Sequence[float] = ()) -> Array:
        """Return the factor to the power of how often the loss stopped falling."""
        falls = plateaus(losses, self.tol, self.patience)
        return np.full(np.shape(epoch), max(self.factor**falls, self.minimum))


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A schedule behind a linear rise from zero (Goyal et al. 2017): ``warmup_epochs`` of estimators in front of any.

    Parameters
    ----------
    epochs : float
        How long the rise to the schedule's first rate takes. The schedule spans the remaining epochs.
    schedule : Schedule
        What follows.
    """

    epochs: float
    schedule: Schedule = Constant()

    def __post_init__(self) -> None:
        if check.real(self.epochs, "epochs") <= 0:
            raise ValueError(f"epochs must be positive, got {self.epochs!r}")

    def rate(self, epoch: Array, epochs: float, losses: Sequence[float] = ()) -> Array:
        """Return min(epoch / warm-up, 1) times the schedule's rate."""
        after = np.maximum(np.asarray(epoch) - self.epochs, 0.0)
        rest = max(epochs - self.epochs, 1.0)
        rate = self.schedule.rate(after, rest, losses[math.ceil(self.epochs) :])
        return np.minimum(np.asarray(epoch) / self.epochs, 1.0) * rate


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": Step,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "plateau": Plateau,
}


def as_schedule(value: Any, warmup_epochs: float = 0) -> Schedule:
    """Return the schedule of a name, or a `Schedule` as it is, behind a warm-up if there is one."""
    if not isinstance(value, (str, Schedule)):
        raise TypeError(f"schedule must be a name or a Schedule, got {value!r}")
    schedule = value if isinstance(value, Schedule) else SCHEDULES[check.choice(value, "schedule", SCHEDULES)]()
    return WarmUp(warmup_epochs, schedule) if warmup_epochs else schedule


def plateaus(losses: Sequence[float], tol: float, patience: int) -> int:
    """Count how often `patience` epochs in a row came without a loss lower by `tol` than the lowest before."""
    lowest, waited, count = math.inf, 0, 0
    for loss in losses:
        waited = 0 if loss < lowest - tol else waited + 1
        lowest = min(lowest, loss)
        if waited == patience:
            waited, count = 0, count + 1
    return count


def _cosine(start: float, end: float, t: Array) -> Array:
    """Half a cosine from `start` at t = 0 to `end` at t = 1."""
    return end + (start - end) * 0.5 * (1.0 + np.cos(np.pi * t))


def _share(value: Any, name: str, zero: bool = False) -> None:
    """Check that `value` lies in (0, 1], or with `zero` in [0, 1]."""
    share = check.real(value, name)
    if not (0 < share <= 1 or (zero and share == 0)):
        raise ValueError(f"{name} must lie in {'[' if zero else '('}0, 1], got {value!r}")
