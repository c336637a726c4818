"""Walk-forward backtests: forecasts as they would have been made, beside those of the naive rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from lstmcore import _validation as check
from lstmcore._layout import Layout
from lstmcore._panel import Panel, Record
from lstmcore._validation import Array
from lstmcore.forecasting import ForecasterModel


@dataclass(frozen=True)
class Backtest:
    """Forecasts of a walk through series, and how good they were.

    Of several series `origins`, `forecasts`, `truth` and `intervals` are lists or dicts, as y was.

    Attributes
    ----------
    origins : ndarray [N] of int
        Rows of y from which forecasts were made, knowing nothing after them.
    forecasts : ndarray [N, steps], [N, steps, n_targets], with a last axis of quantiles if there are any
    truth : ndarray [N, steps] or [N, steps, n_targets]
    intervals : ndarray [N, steps, 2] or [N, steps, n_targets, 2], or None
    coverage : float or None
        What the intervals are to cover.
    scores : dict of dict of float
        For "model", "naive" and "seasonal naive": MAE, RMSE, MASE; for the model also "pinball" (mean loss of its
        quantiles), and "coverage" and "width" of its intervals. MASE divides a mean absolute error by that of the
        (seasonal) naive forecast one step ahead in the first `initial` rows (Hyndman & Koehler 2006).
    """

    origins: Any
    forecasts: Any
    truth: Any
    intervals: Any
    coverage: float | None
    scores: dict[str, dict[str, float]]

    def __str__(self) -> str:
        """Return the scores as a table."""
        names = list(self.scores["model"])
        lines = ["".join([" " * 16, *(f"{name:>10}" for name in names)])]
        for rule, scores in self.scores.items():
            lines.append(f"{rule:<16}" + "".join(f"{scores[n]:>10.4g}" if n in scores else " " * 10 for n in names))
        return "\n".join(lines)


class Walk(NamedTuple):
    """Options of `walk_forward`, checked."""

    initial: float
    step: int
    refit: int | None
    seasonal_period: int
    coverage: float | None

    @classmethod
    def of(cls, initial: Any, step: Any, refit: Any, seasonal_period: Any, coverage: Any) -> Walk:
        """Check the options; ValueError or TypeError names one and quotes its value."""
        if isinstance(initial, (float, np.floating)):
            if not 0 < initial < 1:
                raise ValueError(f"initial must be a number of rows, or a share between 0 and 1, got {initial!r}")
        else:
            check.integer(initial, "initial")
        check.integer(step, "step")
        check.integer(seasonal_period, "seasonal_period")
        if refit is not None:
            check.integer(refit, "refit")
        return cls(initial, step, refit, seasonal_period, coverage)

    def first(self, record: Record) -> int:
        """How many rows come before the first forecast."""
        n_rows = len(record.y)
        return round(self.initial * n_rows) if isinstance(self.initial, float) else int(self.initial)

    def origins(self, record: Record, steps: int) -> Array:
        """Rows from which to forecast."""
        first = self.first(record)
        if first + steps > len(record.y):
            raise ValueError(
                f"initial={self.initial!r} leaves {max(len(record.y) - first, 0)} of {len(record.y)} rows of "
                f"{record.name('y')}, fewer than horizon={steps}"
            )
        return np.arange(first - 1, len(record.y) - steps, self.step)


class _Found(NamedTuple):
    """Forecasts of one series: [N, steps, n, Q], and their intervals [N, steps, n, 2] or None."""

    forecasts: Array
    intervals: Array | None


def _joined(pieces: list[_Found]) -> _Found:
    intervals = [piece.intervals for piece in pieces if piece.intervals is not None]
    forecasts = np.concatenate([piece.forecasts for piece in pieces])
    return _Found(forecasts, np.concatenate(intervals) if intervals else None)


def walk_forward(forecaster: Any, panel: Panel, walk: Walk) -> Backtest:
    """Forecast from each origin with clones of a forecaster that were fitted to nothing after it."""
    steps = int(forecaster.horizon)
    origins = [walk.origins(record, steps) for record in panel.records]
    pieces: list[list[_Found]] = [[] for _ in panel.records]
    refit = walk.refit or max(len(record.y) for record in panel.records)
    for start in range(0, max(int(each[-1] - each[0]) for each in origins) + 1, refit):
        heads = [record.head(walk.first(record) + start) for record in panel.records]
        fitted = clone(forecaster)._fit(replace(panel, records=heads))
        model, layout = fitted.model_, fitted.model_.layout
        for record, known, all_origins, found in zip(
            panel.records, fitted._panel.records, origins, pieces, strict=True
        ):
            ahead = all_origins - all_origins[0]
            block = all_origins[(ahead >= start) & (ahead < start + refit)]
            if not block.size:
                continue
            forecasts, unit = forecasts_at(model, replace(record, scale=known.scale), block)
            intervals = None if walk.coverage is None else model.interval(forecasts, unit, walk.coverage)
            found.append(_Found(forecasts, intervals))
    joined = [_joined(each) for each in pieces]
    truths = [outcomes(record.y, at, steps) for record, at in zip(panel.records, origins, strict=True)]
    with_intervals = walk.coverage is not None
    return Backtest(
        panel.restore(origins),
        panel.restore([layout.squeeze(found.forecasts) for found in joined]),
        panel.restore([layout.squeeze_targets(truth, -1) for truth in truths]),
        panel.restore([layout.squeeze_targets(found.intervals, -2) for found in joined]) if with_intervals else None,
        walk.coverage,
        _scores(panel.records, origins, truths, joined, layout, walk),
    )


def forecasts_at(model: ForecasterModel, record: Record, origins: Array) -> tuple[Array, Array]:
    """Forecasts [N, steps, n, Q] from rows of a series, and their units [N, n]; see `ForecasterModel.forecasts_at`."""
    layout = model.layout
    ahead = record.ahead(layout, int(origins[-1]) + 1 + layout.steps)
    return model.forecasts_at(model.start(1, record.scale), record.y, record.X, ahead, origins)


def outcomes(y: Array, origins: Array, steps: int) -> Array:
    """What followed rows of `y` [T, n]: [N, steps, n]."""
    return y[np.asarray(origins)[:, None] + np.arange(1, steps + 1)]


def naive(y: Array, origins: Array, steps: int, period: int = 1) -> Array:
    """The latest observation a whole number of periods before what is forecast: [N, steps, n]."""
    ahead = np.arange(1, steps + 1)
    rows = np.asarray(origins)[:, None] + ahead - period * -(-ahead // period)
    return y[np.maximum(rows, 0)]


def skill(y: Array, origins: Array, forecasts: Array) -> float:
    """1 − MSE / MSE of the naive forecast, mean over the targets, of point forecasts [N, steps, n]."""
    truth, steps = outcomes(y, origins, forecasts.shape[1]), forecasts.shape[1]
    error = ((truth - forecasts) ** 2).mean(axis=(0, 1))
    simple = ((truth - naive(y, origins, steps)) ** 2).mean(axis=(0, 1))
    return float(1.0 - np.mean(error / np.where(simple > 0, simple, 1.0)))


def _scores(
    records: list[Record], origins: list[Array], truths: list[Array], found: list[_Found], layout: Layout, walk: Walk
) -> dict[str, dict[str, float]]:
    period, steps = walk.seasonal_period, truths[0].shape[1]
    rules = {"model": [layout.point(each.forecasts) for each in found]}
    for name, lag in (("naive", 1), ("seasonal naive", period)):
        if lag > 1 or name == "naive":
            rules[name] = [naive(record.y, at, steps, lag) for record, at in zip(records, origins, strict=True)]
    scales = []
    for record in records:
        past = record.y[: walk.first(record)]
        scales.append(np.abs(past[period:] - past[:-period]).mean(axis=0))
    scores = {}
    for name, points in rules.items():
        errors = [np.abs(truth - point) for truth, point in zip(truths, points, strict=True)]
        pooled = np.concatenate([error.ravel() for error in errors])
        relative = np.concatenate([e.mean(axis=(0, 1))[s > 0] / s[s > 0] for e, s in zip(errors, scales, strict=True)])
        mase = float(relative.mean()) if relative.size else float("nan")
        scores[name] = {"MAE": float(pooled.mean()), "RMSE": float(np.sqrt((pooled**2).mean())), "MASE": mase}
    if layout.quantiles is not None:
        scores["model"]["pinball"] = _pinball(truths, found, np.array(layout.quantiles))
    if walk.coverage is not None:
        inside, width = [], []
        for truth, each in zip(truths, found, strict=True):
            assert each.intervals is not None
            lower, upper = each.intervals[..., 0], each.intervals[..., 1]
            inside.append(((lower <= truth) & (truth <= upper)).ravel())
            width.append((upper - lower).ravel())
        scores["model"]["coverage"] = float(np.concatenate(inside).mean())
        scores["model"]["width"] = float(np.concatenate(width).mean())
    return scores


def _pinball(truths: list[Array], found: list[_Found], quantiles: Array) -> float:
    losses = []
    for truth, each in zip(truths, found, strict=True):
        error = truth[..., None] - each.forecasts
        losses.append(np.maximum(quantiles * error, (quantiles - 1) * error).ravel())
    return float(np.concatenate(losses).mean())
