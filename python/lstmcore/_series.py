"""What a forecaster's network sees of a series, and in which units it answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from lstmcore import _validation as check
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array
from lstmcore.layers import RNN

_SMALLEST_UNIT = 0.05  # of the training data's rms change: a series that stands still must not divide by zero
_LARGEST_MEASURED = 1e150  # a larger change has no square
_LARGEST_CHANGE = 10.0  # units; a jump beyond that tells the network nothing more


class FrameState(NamedTuple):
    """What a `Frame` carries from one observation of S streams to the next.

    Attributes
    ----------
    last : ndarray [S, n]
        The latest observation, NaN before the first.
    mean_square : ndarray [S, n]
        Running mean of the squared changes, in units of the training data's.
    """

    last: Array
    mean_square: Array


@dataclass(frozen=True)
class Frame:
    """Where forecasts are measured from, and in which unit.

    Level: from zero, in units of one. Difference: from the latest observation; the network sees first differences and
    forecasts changes y[t + k] − y[t]. Difference with a half-life: the same, in units of the recent size of a change,
    the root of an exponentially weighted mean of squares (RiskMetrics 1996), so that calm and turbulent times look
    alike to the network.

    Parameters
    ----------
    difference : bool
    halflife : float or None
        Steps after which a squared change counts half. None: the unit is one.
    change : ndarray [n]
        Root mean square of the training data's changes: what the running mean starts from.
    """

    difference: bool
    halflife: float | None
    change: Array

    @classmethod
    def fit(cls, y: Array, difference: bool, halflife: float | None) -> Frame:
        """Measure the changes of `y` [T, n]."""
        change = np.sqrt(np.mean(np.diff(y, axis=0) ** 2, axis=0))
        return cls(difference, halflife, np.where(change > 0, change, 1.0))

    def start(self, n_streams: int) -> FrameState:
        """Return the state of streams that have not been observed."""
        shape = (n_streams, len(self.change))
        return FrameState(np.full(shape, np.nan), np.ones(shape))

    def advance(self, y: Array, state: FrameState, hold: bool = False) -> tuple[Array, Array, Array, FrameState]:
        """Take in observations.

        Parameters
        ----------
        y : ndarray [T, S, n] of float64
            The next T steps of S streams.
        state : FrameState
            As `start` or the last call returned it.
        hold : bool
            Leave the unit as it is: forecasts that are fed back are calmer than what will be observed.

        Returns
        -------
        seen, base, unit : ndarray [T, S, n]
            What the network sees of y; forecasts made at step t are ``base[t] + unit[t] * answer``.
        state : FrameState
        """
        latest = y[-1].copy()
        if not self.difference:
            return y, np.zeros_like(y), np.ones_like(y), FrameState(latest, state.mean_square)
        last = np.where(np.isnan(state.last), y[0], state.last)  # the first change is zero
        change = y - np.concatenate([last[None], y[:-1]])
        if self.halflife is None:
            return change, y, np.ones_like(y), FrameState(latest, state.mean_square)
        change = change / self.change
        start = state.mean_square[None]
        if np.abs(change).max() > _LARGEST_MEASURED:
            raise ValueError(
                f"y changes by {np.abs(change).max():.3g} times the size of a change in training: too large"
            )
        mean_square = np.broadcast_to(start, y.shape) if hold else self._running_mean(change**2, start)
        size = np.maximum(np.sqrt(np.concatenate([start, mean_square])), _SMALLEST_UNIT)
        # The unit before the change: a large change stands out, and does not enlarge its own unit.
        seen = np.minimum(np.maximum(change / size[:-1], -_LARGEST_CHANGE), _LARGEST_CHANGE)
        return seen, y, size[1:] * self.change, FrameState(latest, mean_square[-1].copy())

    def _running_mean(self, values: Array, start: Array) -> Array:
        """Exponentially weighted mean over the steps of non-negative values [T, S, n], from `start` [1, S, n]."""
        sizes = np.full(len(values), start.size, dtype=np.int64)
        means, _ = self._averager._core.infer(values.reshape(-1, 1), sizes, [start.reshape(1, -1, 1)], True)
        return np.asarray(means).reshape(values.shape)

    @cached_property
    def _averager(self) -> RNN:
        """An average m = decay · m₋₁ + (1 − decay) · v is a recurrent layer of one unit: the core computes it.

        It gives the same bits in one piece and step by step, and there is no loop over the steps here.
        """
        assert self.halflife is not None
        decay = 0.5 ** (1.0 / self.halflife)
        layer = RNN(1, 1, nonlinearity="relu", bias=False, dtype="float64", seed=0)
        layer.load_parameters({"weight_ih_l0": [[1.0 - decay]], "weight_hh_l0": [[decay]]})
        return layer

    def to_config(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return {"difference": self.difference, "halflife": self.halflife, "change": self.change.tolist()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Frame:
        """Read what `to_config` wrote."""
        return cls(config["difference"], config["halflife"], np.array(config["change"], dtype=np.float64))


@dataclass(frozen=True)
class SeriesScaling:
    """From a series to the rows of a network and back.

    Parameters
    ----------
    frame : Frame
    inputs : Standardizer [n_targets + n_exog]
        Of what the frame shows of the targets, then of the exogenous columns.
    outputs : Standardizer [horizon * n_targets]
        Of what the network is to answer; column ``k * n_targets + j`` is target j, k + 1 steps ahead.
    """

    frame: Frame
    inputs: Standardizer
    outputs: Standardizer

    @classmethod
    def fit(cls, y: Array, X: Array | None, horizon: int, frame: Frame) -> SeriesScaling:
        """Take means and standard deviations from the training data, `y` [T, n_targets] and `X` [T, n_exog]."""
        seen, _, _, _ = frame.advance(y[:, None], frame.start(1))
        rows = seen[:, 0] if X is None else np.concatenate([seen[:, 0], X], axis=1)
        return cls(frame, Standardizer.fit(rows), Standardizer.fit(_answers(frame, y, horizon)))

    def targets(self, y: Array, horizon: int) -> Array:
        """What the network should answer at each step of `y` [T, n]: [T − horizon, horizon * n], standardized."""
        return self.outputs.apply(_answers(self.frame, y, horizon))

    def rows(self, seen: Array, X: Array | None) -> Array:
        """Join and standardize what the network sees: [T, S, n_targets] and [T, S, n_exog] to [T * S, I]."""
        rows = seen if X is None else np.concatenate([seen, X], axis=-1)
        return self.inputs.apply(rows.reshape(-1, rows.shape[-1]))

    def forecasts(self, outputs: Array, base: Array, unit: Array, horizon: int) -> Array:
        """Give the network's outputs [T * S, horizon * n * Q] their units back: [T, S, horizon, n, Q].

        Quantiles are put in ascending order.
        """
        n_steps, n_streams, n = base.shape
        answers = outputs.astype(np.float64).reshape(n_steps, n_streams, horizon, n, -1)
        answers = answers * self.outputs.scale.reshape(horizon, n, 1) + self.outputs.mean.reshape(horizon, n, 1)
        return np.sort(base[:, :, None, :, None] + unit[:, :, None, :, None] * answers, axis=-1)


def _answers(frame: Frame, y: Array, horizon: int) -> Array:
    """What is to be forecast from each origin, in the frame's units: [T − horizon, horizon * n]."""
    n_origins = len(y) - horizon
    _, base, unit, _ = frame.advance(y[:, None], frame.start(1))
    future = np.lib.stride_tricks.sliding_window_view(y[1:], horizon, axis=0).transpose(0, 2, 1)
    return ((future - base[:n_origins]) / unit[:n_origins]).reshape(n_origins, -1)


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
