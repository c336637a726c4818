"""Forecasters without scikit-learn: a network that reads a series step by step and forecasts after every step.

The recurrent state is carried from the first observation on. So one pass over a series gives the forecasts of every
origin, the next observation costs one step, and both give the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._conformal import Calibration, check_coverage, quantile_interval
from lstmcore._forecaster_session import ForecasterSession, Stream
from lstmcore._layout import Layout
from lstmcore._series import Frame, Scale, SeriesScaling, as_series
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array
from lstmcore.calendar import calendar_features
from lstmcore.model import Model
from lstmcore.network import Network

__all__ = ["ForecasterModel", "ForecasterSession", "Layout", "Stream"]


class ForecasterModel(Model):
    """A fitted forecaster.

    Parameters
    ----------
    network : Network
        One direction, pooling None, ``layout.n_outputs`` outputs: column (k * n_targets + j) * Q + q is quantile q of
        target j, k + 1 steps ahead.
    scaling : SeriesScaling
    layout : Layout
    calibration : Calibration, optional
        Makes intervals of forecasts.
    """

    kind = "forecaster"

    def __init__(
        self, network: Network, scaling: SeriesScaling, layout: Layout, calibration: Calibration | None = None
    ) -> None:
        super().__init__(network)
        n_inputs = scaling.frame.n_seen(layout.n_targets) + layout.n_covariates
        if (network.n_features, network.n_outputs, network.pooling) != (n_inputs, layout.n_outputs, None):
            raise ValueError(
                f"network must have {n_inputs} features, {layout.n_outputs} outputs and pooling None, "
                f"got {network.n_features}, {network.n_outputs} and {network.pooling!r}"
            )
        self.scaling, self.layout, self.calibration = scaling, layout, calibration

    # ---- what users call ----

    def predict(
        self, y: Any, steps: int | None = None, X: Any = None, X_future: Any = None, *, known: Any = None
    ) -> Array:
        """Forecast what follows a series.

        Parameters
        ----------
        y : array_like [T] or [T, n_targets]
            The series so far, oldest first; the more of it the better, `window` steps or more. A model of several
            series takes the scale of this one from it.
        steps : int, optional
            How far; default: the horizon of training. What lies beyond it is forecast in turns, each taking the
            point forecasts (the median) of the last as if they had been observed. Quantiles then widen: the distances
            from the median add up as independent ones do with differences, and never shrink without.
        X : array_like [T, n_exog], optional
            Exogenous columns beside y, if the model was fitted with them.
        X_future : array_like [rows, n_exog], optional
            Exogenous columns of the steps to come, for ``steps`` beyond the horizon: all turns but the last need them.
        known : array_like [T + steps, n_ahead], optional
            What is known ahead, from the first row of y on, if the model was fitted with such columns: see
            `known_columns`. The steps are rounded up to whole horizons.

        Returns
        -------
        ndarray [steps] or [steps, n_targets] of float64, with a last axis of quantiles if there are any
        """
        session = self._observed(y, X, known)
        return session.forecast(steps, X_future, None if known is None else np.asarray(known)[len(y) :])[0]

    def predict_interval(
        self,
        y: Any,
        steps: int | None = None,
        X: Any = None,
        X_future: Any = None,
        *,
        known: Any = None,
        coverage: float = 0.9,
    ) -> Array:
        """Forecast between which ends what follows a series will lie; arguments as in `predict`.

        Parameters
        ----------
        coverage : float, default=0.9
            With which probability, each step for itself.

        Returns
        -------
        ndarray [steps, 2] or [steps, n_targets, 2] of float64
        """
        session = self._observed(y, X, known)
        future = None if known is None else np.asarray(known)[len(y) :]
        return session.interval(steps, X_future, future, coverage=coverage)[0]

    def forecasts(self, y: Any, X: Any = None, *, known: Any = None) -> Array:
        """Forecasts from every step of a series, each knowing the series up to that step: a backtest in one pass.

        Parameters
        ----------
        y, X
            As in `predict`.
        known : array_like [T + horizon, n_ahead], optional

        Returns
        -------
        ndarray [T, horizon], [T, horizon, n_targets], with a last axis of quantiles if there are any
            Entry [t, k] is the forecast of ``y[t + k + 1]`` made at t.
        """
        return self.session().advance(y, X, known)[:, 0]

    def known_columns(self, times: Any, known: Any = None) -> Array:
        """Join calendar features with other columns that are known ahead: what ``known`` takes everywhere.

        Parameters
        ----------
        times : array_like [rows] of datetime64
            Of the rows.
        known : array_like [rows, n_known], optional

        Returns
        -------
        ndarray [rows, n_ahead]
        """
        calendar = calendar_features(times, self.layout.calendar)
        if self.layout.n_known == 0:
            return calendar
        return np.concatenate([calendar, as_series(known, "known", self.layout.n_known, len(calendar))], axis=1)

    def session(self, n_streams: int = 1) -> ForecasterSession:
        """Live series: `ForecasterSession.step` takes one observation of each and forecasts."""
        return ForecasterSession(self, n_streams)

    def _observed(self, y: Any, X: Any, known: Any) -> ForecasterSession:
        session = self.session()
        session.advance(y, X, known)
        return session

    # ---- the work ----

    def start(self, n_streams: int, scale: Scale | None = None) -> Stream:
        """Return the state of series that have not been observed."""
        memory = self.scaling.frame.start(n_streams, self.layout.n_targets, scale)
        return Stream(memory, self.network.recurrent._states.zeros(n_streams))

    def measured(self, y: Array) -> Stream:
        """Return the state of a series `y` [T, n] before its first observation, its scale taken from it if need be."""
        frame = self.scaling.frame
        return self.start(1, frame.scale or frame.measure(y))

    def run(
        self, stream: Stream, y: Array, covariates: Array | None, hold: bool = False
    ) -> tuple[Array, Array, Stream]:
        """Take in checked observations.

        Parameters
        ----------
        stream : Stream
        y : ndarray [T, S, n_targets]
        covariates : ndarray [T, S, m] or None
            As `Layout.covariates` gives them.
        hold : bool
            See `Frame.advance`.

        Returns
        -------
        forecasts : ndarray [T, S, horizon, n_targets, Q]
        unit : ndarray [T, S, n_targets]
        stream : Stream
        """
        seen, memory = self.scaling.frame.advance(y, stream.memory, self.layout.horizon, hold)
        rows = check.contiguous(self.scaling.rows(seen.values, covariates), self.network.dtype)
        check.finite(rows, "standardized y")
        sizes = np.full(len(y), y.shape[1], dtype=np.int64)
        hidden, states = self.network.recurrent._core.infer(rows, sizes, stream.states, True)
        return self.scaling.forecasts(self.network.dense(hidden), seen), seen.unit, Stream(memory, states)

    def extend(self, stream: Stream, block: Array, steps: int, X: Array | None, ahead: Array | None) -> Array:
        """Go beyond the horizon: from the forecasts `block` [S, horizon, n, Q] to [S, steps, n, Q].

        X [rows, S, n_exog] and ahead [rows, S, n_ahead] begin with the row after the latest observation.
        """
        horizon, blocks = self.layout.horizon, [block]
        for start in range(0, steps - horizon, horizon):
            fed_back = np.ascontiguousarray(self.layout.point(blocks[-1]).swapaxes(0, 1))
            now = None if X is None else X[start : start + horizon]
            windows = self.layout.windows(None if ahead is None else ahead[start : start + 2 * horizon])
            covariates = self.layout.covariates(now, windows)
            forecasts, _, stream = self.run(stream, fed_back, covariates, hold=True)
            blocks.append(self._widen(forecasts[-1], blocks[-1][:, -1:]))
        return np.concatenate(blocks, axis=1)[:, :steps]

    def forecasts_at(
        self, stream: Stream, y: Array, X: Array | None, ahead: Array | None, origins: Array
    ) -> tuple[Array, Array]:
        """Forecasts `layout.steps` far from some rows of a series, in one pass where they are direct.

        Parameters
        ----------
        stream : Stream
            Before the first row.
        y, X, ahead : ndarray [T, n_targets], [T, n_exog], [T or more, n_ahead]
            Each at least as long as the forecasts reach; X and ahead may be None.
        origins : ndarray [N] of int
            Ascending.

        Returns
        -------
        forecasts : ndarray [N, steps, n_targets, Q]
        unit : ndarray [N, n_targets]
        """
        layout, stop = self.layout, int(origins[-1]) + 1
        windows = layout.windows(None if ahead is None else ahead[: stop + layout.horizon, None])
        covariates = layout.covariates(None if X is None else X[:stop, None], windows)
        if layout.steps == layout.horizon:
            forecasts, unit, _ = self.run(stream, y[:stop, None], covariates)
            return forecasts[origins, 0], unit[origins, 0]
        found, units, begin = [], [], 0
        for origin in origins:
            part = None if covariates is None else covariates[begin : origin + 1]
            forecasts, unit, stream = self.run(stream, y[begin : origin + 1, None], part)
            future = None if ahead is None else ahead[origin + 1 : origin + 1 + layout.steps, None]
            found.append(self.extend(stream, forecasts[-1], layout.steps, None, future)[0])
            units.append(unit[-1, 0])
            begin = origin + 1
        return np.stack(found), np.stack(units)

    def interval(self, forecasts: Array, unit: Array, coverage: Any) -> Array:
        """Ends [S, steps, n, 2] of the intervals of forecasts [S, steps, n, Q], given their unit [S, n]."""
        coverage = check_coverage(coverage)
        if self.calibration is None:
            return quantile_interval(forecasts, coverage, self.layout.quantiles)
        return self.calibration.interval(forecasts, unit, coverage, self.layout.quantiles)

    def _widen(self, block: Array, last: Array) -> Array:
        """Add the uncertainty at the `last` step before a block [S, horizon, n, Q] to its own."""
        if self.layout.quantiles is None:
            return block
        centre = self.layout.point(block)[..., None]
        own, before = block - centre, last - self.layout.point(last)[..., None]
        # Changes add up, so their spreads do in squares; a level's spread grows towards its own limit.
        spread = np.hypot(own, before) if self.scaling.frame.period else np.maximum(np.abs(own), np.abs(before))
        return np.asarray(centre + np.sign(np.array(self.layout.quantiles) - 0.5) * spread)

    # ---- files ----

    def _task_config(self) -> dict[str, Any]:
        """JSON entries of this kind of model."""
        return {
            "layout": self.layout._asdict(),
            "frame": self.scaling.frame.to_config(),
            "inputs": self.scaling.inputs.to_config(),
            "outputs": self.scaling.outputs.to_config(),
            "calibration": None if self.calibration is None else self.calibration.to_config(),
        }

    @classmethod
    def _from_task_config(cls, network: Network, config: dict[str, Any]) -> ForecasterModel:
        """Make a model from what `_task_config` gave."""
        scaling = SeriesScaling(
            Frame.from_config(config["frame"]),
            Standardizer.from_config(config["inputs"]),
            Standardizer.from_config(config["outputs"]),
        )
        layout, errors = Layout.from_config(config["layout"]), config["calibration"]
        return cls(network, scaling, layout, None if errors is None else Calibration.from_config(errors))
