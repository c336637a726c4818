"""What the network has to beat: the random walk and a linear autoregression, with intervals from their own past errors.

Series are log rates y [T, n]. A forecast of `horizon` steps with quantiles is an array [T, horizon, n, Q]: entry [t, k]
is made at t, for t + k + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_LAGS = (1, 2, 3, 5, 10)


def future(y: Array, horizon: int) -> Array:
    """What comes true: [T, horizon, n], entry [t, k] is y[t + k + 1], NaN where the series has ended."""
    ahead = np.full((len(y), horizon, y.shape[1]), np.nan)
    for k in range(horizon):
        ahead[: len(y) - k - 1, k] = y[k + 1 :]
    return ahead


def with_past_errors(
    points: Array, y: Array, origins: Array, quantiles: Sequence[float], n_errors: int, unit: Array | None = None
) -> Array:
    """Put intervals around point forecasts: quantiles of the latest errors that were known at each origin.

    Parameters
    ----------
    points : ndarray [T, horizon, n]
        Forecasts from each step.
    y : ndarray [T, n]
        The series.
    origins : ndarray [n_origins] of int
        Where forecasts are wanted.
    quantiles : sequence of float
    n_errors : int
        How many errors to look at.
    unit : ndarray [T, n], optional
        Size of a change as known at each step: errors are measured in it.

    Returns
    -------
    ndarray [n_origins, horizon, n, Q]
        The quantile 0.5 is the point forecast itself.
    """
    scale = np.ones_like(y) if unit is None else unit
    errors = (future(y, points.shape[1]) - points) / scale[:, None]
    spread = np.empty((len(origins), *points.shape[1:], len(quantiles)))
    for k in range(points.shape[1]):
        # The k-step error of origin s is known at s + k + 1: at t, the errors of the origins up to t − k − 1.
        known = np.lib.stride_tricks.sliding_window_view(errors[:, k], n_errors, axis=0)
        spread[:, k] = np.moveaxis(np.quantile(known[origins - k - n_errors], quantiles, axis=-1), 0, -1)
    spread[..., [q == 0.5 for q in quantiles]] = 0.0
    return points[origins][..., None] + spread * scale[origins][:, None, :, None]


def random_walk(y: Array, horizon: int) -> Array:
    """Tomorrow as today: [T, horizon, n]."""
    return np.repeat(y[:, None], horizon, axis=1)


def recent_size(y: Array, halflife: float) -> Array:
    """Root of an exponentially weighted mean of squared changes as known at each step: [T, n] (RiskMetrics 1996)."""
    n_weights = int(10 * halflife)
    weights = 0.5 ** (np.arange(n_weights) / halflife)
    squares = np.diff(y, axis=0, prepend=y[:1]) ** 2
    smooth = [np.convolve(column, weights / weights.sum())[: len(y)] for column in squares.T]
    return np.sqrt(np.maximum(np.stack(smooth, axis=1), 1e-16))


class Autoregression:
    """Least squares of each currency's k-step change on its own latest returns, for every k.

    The number of lags is the one with the best next-day forecasts of the last fifth of the training data, all series
    together.

    Attributes
    ----------
    lags : int
    """

    def __init__(self, y: Array, horizon: int) -> None:
        self.horizon = horizon
        cut = len(y) - len(y) // 5
        errors = []
        for lags in _LAGS:
            self.lags = lags
            self._fit(y[:cut])
            error = (future(y, 1) - self.predict(y)[:, :1])[cut:-1]
            errors.append(np.sum(np.mean(error**2, axis=0) / np.var(np.diff(y[:cut], axis=0), axis=0)))
        self.lags = _LAGS[int(np.argmin(errors))]
        self._fit(y)

    def _fit(self, y: Array) -> None:
        rows = self._rows(y)
        changes = future(y, self.horizon) - y[:, None]
        known = slice(self.lags, len(y) - self.horizon)
        self.coefficients = np.stack(
            [np.linalg.lstsq(rows[known, j], changes[known, :, j], rcond=None)[0] for j in range(y.shape[1])]
        )

    def _rows(self, y: Array) -> Array:
        """Latest returns and a constant: [T, n, lags + 1]; returns before the first day count as zero."""
        returns = np.diff(y, axis=0, prepend=y[:1])
        lagged = [np.concatenate([np.zeros((lag, y.shape[1])), returns[: len(y) - lag]]) for lag in range(self.lags)]
        return np.stack([*lagged, np.ones_like(y)], axis=-1)

    def predict(self, y: Array) -> Array:
        """Forecast from each step of `y` [T, n]: [T, horizon, n]."""
        return y[:, None] + np.einsum("tjl,jlk->tkj", self._rows(y), self.coefficients)
