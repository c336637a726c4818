"""How good forecasts were, and the table that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BASIS_POINTS = 1e4


class Scores(NamedTuple):
    """Scores of the forecasts of n series, in basis points where they have a unit.

    Attributes
    ----------
    rmse, mae : ndarray [n]
        Of the median.
    direction : float
        Share of the changes whose sign the median had right; NaN if it never leaves today's rate.
    coverage, width : ndarray [n]
        Share of the outcomes within the interval, and its mean width.
    pinball : float
        Mean quantile loss of the interval's two ends, over all series: low is sharp and honest.
    """

    rmse: Array
    mae: Array
    direction: float
    coverage: Array
    width: Array
    pinball: float


def score(now: Array, outcome: Array, forecast: Array, quantiles: Sequence[float], low: float, high: float) -> Scores:
    """Compare log rates `outcome` [N, n], known `now` [N, n] before, with quantiles `forecast` [N, n, Q]."""
    median, lower, upper = (forecast[..., list(quantiles).index(q)] for q in (0.5, low, high))
    error = (outcome - median) * BASIS_POINTS
    moved = (outcome != now) & (median != now)
    right = np.sign(outcome - now) == np.sign(median - now)
    losses = [np.maximum(q * (outcome - end), (q - 1) * (outcome - end)) for q, end in ((low, lower), (high, upper))]
    return Scores(
        rmse=np.sqrt(np.mean(error**2, axis=0)),
        mae=np.mean(np.abs(error), axis=0),
        direction=float(right[moved].mean()) if moved.any() else float("nan"),
        coverage=np.mean((lower <= outcome) & (outcome <= upper), axis=0),
        width=np.mean(upper - lower, axis=0) * BASIS_POINTS,
        pinball=float(np.mean(losses) * BASIS_POINTS),
    )


def table(title: str, series: Sequence[str], scores: Mapping[str, Scores]) -> str:
    """Set the scores of some methods, by name, in a table of one line each."""
    names = "".join(f"{name:>7}" for name in series)
    span = 7 * len(series)
    lines = [
        f"{'':20}{'RMSE, bp':>{span}}{'MAE, bp':>9}{'sign':>7}   "
        f"{'80% interval covers':>{span}}{'width':>8}{'loss':>8}",
        f"{title:20}{names}{'mean':>9}{'right':>7}   {names}{'bp':>8}{'bp':>8}",
    ]
    for name, row in scores.items():
        direction = "–" if np.isnan(row.direction) else f"{row.direction:.0%}"
        lines.append(
            f"{name:20}{_cells(row.rmse, '7.1f')}{row.mae.mean():9.1f}{direction:>7}   "
            f"{_cells(row.coverage, '7.0%')}{row.width.mean():8.1f}{row.pinball:8.2f}"
        )
    return "\n".join(lines)


def _cells(values: Array, form: str) -> str:
    return "".join(format(float(value), form) for value in values)
