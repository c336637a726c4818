"""What a forecaster's network sees of a series, and in which units it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array

_LARGEST_MEASURED = 1e150  # in units of size; see include/lstmcore/frame.hpp, which computes frames


class Scale(NamedTuple):
    """Where a series lies and how far it moves, by target: [n], or [S, n] of several series.

    Attributes
    ----------
    centre : ndarray
        Its mean; not used with differences.
    size : ndarray
        Its standard deviation, or the root mean square of its changes.
    """

    centre: Array
    size: Array


class Seen(NamedTuple):
    """What `Frame.advance` makes of T observations of S streams.

    Attributes
    ----------
    values : ndarray [T, S, n_seen]
        What the network sees of them; n_seen is n, or 2 n with seasonal differences.
    base : ndarray [T, S, horizon, n]
    unit : ndarray [T, S, n]
        Forecasts made at step t are ``base[t] + unit[t] * answer``.
    """

    values: Array
    base: Array
    unit: Array


@dataclass(frozen=True)
class Frame:
    """Where forecasts are measured from, and in which unit.

    Level (period 0): from the mean of the series, in units of its standard deviation. Difference: from what the
    (seasonal) naive forecast says, the latest observation a whole number of periods before; the network sees
    y[t] − y[t − period], of a season y[t] − y[t − 1] too, and the unit is the root mean square of the former. With a
    half-life the unit follows its recent size, the root of an exponentially weighted mean of squares (RiskMetrics
    1996), so that calm and turbulent times look alike to the network.

    Parameters
    ----------
    period : int
        0 for levels, 1 for first differences, the length of the season for seasonal ones.
    halflife : float or None
        Steps after which a squared change counts half. None: the unit stays.
    scale : Scale of [n] or None
        Of the series. None: each series has its own.
    """

    period: int
    halflife: float | None
    scale: Scale | None = None

    def n_seen(self, n_targets: int) -> int:
        """Columns that the network sees of the targets."""
        return n_targets * (2 if self.period > 1 else 1)

    def measure(self, y: Array, name: str = "y") -> Scale:
        """Measure where `y` [T, n] lies and how far it moves."""
        if len(y) < self.period + 2:
            raise ValueError(f"{name} must have at least {self.period + 2} rows to take its scale from, got {len(y)}")
        if not self.period:
            levels = Standardizer.fit(y)
            return Scale(levels.mean, levels.scale)
        size = np.sqrt(np.mean((y[self.period :] - y[: -self.period]) ** 2, axis=0))
        return Scale(np.zeros(y.shape[1]), np.where(size > 0, size, 1.0))

    def start(self, n_streams: int, n_targets: int, scale: Scale | None = None) -> Array:
        """Return the memory [n_streams, width] of streams that have not been observed.

        Without a known `scale` its last columns, a size for each target, are NaN and to be filled in.
        """
        unknown = np.full(n_targets, np.nan)
        centre, size = scale or self.scale or (unknown, unknown)
        row = np.concatenate([np.full(self.period * n_targets, np.nan), np.ones(n_targets), centre, size])
        return np.tile(row, (n_streams, 1))

    def advance(self, y: Array, memory: Array, horizon: int, hold: bool = False) -> tuple[Seen, Array]:
        """Take in observations.

        Parameters
        ----------
        y : ndarray [T, S, n] of float64
            The next T steps of S streams.
        memory : ndarray [S, width]
            As `start` or the last call returned it.
        horizon : int
        hold : bool
            Leave the unit as it is: forecasts that are fed back are calmer than what will be observed.

        Returns
        -------
        Seen, ndarray [S, width]
        """
        result = self.core(y.shape[2]).advance(np.ascontiguousarray(y), memory, horizon, hold)
        if result is None:
            raise ValueError(
                f"y changes by more than {_LARGEST_MEASURED:.0e} times the size of a change in training: too large"
            )
        return Seen(*result[:3]), result[3]

    def unit(self, memory: Array, n_targets: int) -> Array:
        """Return the unit [S, n] of forecasts made at the latest observation."""
        return self.core(n_targets).unit(memory)

    def core(self, n_targets: int) -> Any:
        """Return the core's form of this, which computes it."""
        return core.Frame(n_targets, self.period, self.halflife or 0.0)

    def to_config(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        scale = None if self.scale is None else [each.tolist() for each in self.scale]
        return {"period": self.period, "halflife": self.halflife, "scale": scale}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Frame:
        """Read what `to_config` wrote."""
        scale = config["scale"]
        return cls(
            config["period"],
            config["halflife"],
            None if scale is None else Scale(*(np.array(each, dtype=np.float64) for each in scale)),
        )


class Lesson(NamedTuple):
    """What one series teaches: R origins whose forecasts have outcomes, and before which a whole period is known.

    Attributes
    ----------
    rows : ndarray [R, I]
        What the network sees, not standardized.
    answers : ndarray [R, horizon * n]
        What it should answer, in the frame's units, not standardized.
    """

    rows: Array
    answers: Array

    @classmethod
    def of(cls, y: Array, covariates: Array | None, frame: Frame, horizon: int, scale: Scale | None = None) -> Lesson:
        """Make it of `y` [T, n] of this scale and covariates [at least T − horizon, 1, m]."""
        start, stop = max(frame.period - 1, 0), len(y) - horizon
        seen, _ = frame.advance(y[:, None], frame.start(1, y.shape[1], scale), horizon)
        future = np.lib.stride_tricks.sliding_window_view(y[1:], horizon, axis=0).transpose(0, 2, 1)
        answers = (future - seen.base[:stop, 0]) / seen.unit[:stop]
        rows = _joined(seen.values[start:stop], None if covariates is None else covariates[start:stop])
        return cls(rows[:, 0], answers[start:].reshape(stop - start, -1))

    def part(self, origins: range) -> Lesson:
        """What some of the origins teach."""
        return Lesson(self.rows[origins.start : origins.stop], self.answers[origins.start : origins.stop])


@dataclass(frozen=True)
class SeriesScaling:
    """From a series to the rows of a network and back.

    Parameters
    ----------
    frame : Frame
    inputs : Standardizer [n_inputs]
        Of what the frame shows of the targets, then of the covariates.
    outputs : Standardizer [horizon * n_targets]
        Of what the network is to answer; column ``k * n_targets + j`` is target j, k + 1 steps ahead.
    """

    frame: Frame
    inputs: Standardizer
    outputs: Standardizer

    @classmethod
    def fit(cls, lessons: list[Lesson], frame: Frame) -> SeriesScaling:
        """Take means and standard deviations from the training data."""
        rows, answers = (np.concatenate(parts) for parts in zip(*lessons, strict=True))
        return cls(frame, Standardizer.fit(rows), Standardizer.fit(answers))

    def rows(self, values: Array, covariates: Array | None) -> Array:
        """Join and standardize what the network sees: [T, S, n_targets] and [T, S, m] to [T * S, n_inputs]."""
        rows = _joined(values, covariates)
        return self.inputs.apply(rows.reshape(-1, rows.shape[-1]))

    def forecasts(self, outputs: Array, seen: Seen) -> Array:
        """Give the network's outputs [T * S, horizon * n * Q] their units back: [T, S, horizon, n, Q].

        Quantiles are put in ascending order.
        """
        _, _, horizon, n = seen.base.shape
        answers = outputs.astype(np.float64).reshape(*seen.base.shape, -1)
        answers = answers * self.outputs.scale.reshape(horizon, n, 1) + self.outputs.mean.reshape(horizon, n, 1)
        return np.sort(seen.base[..., None] + seen.unit[:, :, None, :, None] * answers, axis=-1)


def _joined(values: Array, covariates: Array | None) -> Array:
    return values if covariates is None else np.concatenate([values, covariates], axis=-1)


def as_series(value: Any, name: str, n_columns: int | None = None, n_rows: int | None = None) -> Array:
    """Read a series: [T] or [T, n] of finite numbers to a new C-contiguous float64 array [T, n].

    Raises
    ------
    TypeError, ValueError
        If it holds no numbers, is empty, has another number of columns or rows, or NaN or infinity.
    """
    array = check.numeric(value, name)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{name} must be a series [T] or [T, columns] with at least one row, got shape {array.shape}")
    columns = np.array(array.reshape(len(array), -1), dtype=np.float64, order="C")
    if n_columns is not None and columns.shape[1] != n_columns:
        raise ValueError(f"{name} must have {n_columns} column(s), as in fit, got shape {array.shape}")
    if n_rows is not None and len(columns) != n_rows:
        raise ValueError(f"{name} must have {n_rows} rows, as many as y, got {len(columns)}")
    bad = ~np.isfinite(columns)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        where = f"{row}" if array.ndim == 1 else f"{row}, {column}"
        raise ValueError(f"{name}[{where}] is {columns[row, column]}: it must be finite")
    return columns
