"""Forecasters without scikit-learn: a network that reads a series step by step and forecasts after every step.

The recurrent state is carried from the first observation on. So one pass over a series gives the forecasts of every
origin, the next observation costs one step, and both give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lstmcore import _validation as check
from lstmcore._series import Frame, FrameState, SeriesScaling, as_series
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array
from lstmcore.model import Model
from lstmcore.network import Network
from lstmcore.sequences import Sequences

_WINDOWS = 512  # an epoch has at least that many windows where the series has
_OVERLAP = 2  # and at least that many over each observation


def training_windows(n_rows: int, window: int) -> Array:
    """First rows of the windows of an epoch; the last window ends with the last row.

    All n_rows − window + 1 windows of a short series; of a long one every k-th.
    """
    last = n_rows - window
    stride = int(np.clip(last // _WINDOWS, 1, max(1, window // _OVERLAP)))
    return np.arange(last % stride, last + 1, stride)


class Stream(NamedTuple):
    """What is carried from step to step: the frame's state and the network's, S streams each."""

    frame: FrameState
    states: list[Array]


class Layout(NamedTuple):
    """Axes of what a forecaster takes and gives.

    Attributes
    ----------
    horizon, n_targets, n_exog : int
    univariate : bool
        Fitted on a series [T], so that forecasts have no axis of targets.
    quantiles : tuple of float or None
        None: point forecasts, which have no axis of quantiles.
    """

    horizon: int
    n_targets: int
    n_exog: int
    univariate: bool
    quantiles: tuple[float, ...] | None

    @property
    def n_outputs(self) -> int:
        """Columns of the network's output."""
        return self.horizon * self.n_targets * len(self.quantiles or (0.5,))

    def squeeze(self, forecasts: Array) -> Array:
        """[..., n_targets, Q] without the axes that the user's series do not have."""
        if self.quantiles is None:
            forecasts = forecasts[..., 0]
            return forecasts[..., 0] if self.univariate else forecasts
        return forecasts[..., 0, :] if self.univariate else forecasts

    def point(self, forecasts: Array) -> Array:
        """The median of [..., Q], interpolated where 0.5 is no quantile; a point forecast itself."""
        if self.quantiles is None:
            return forecasts[..., 0]
        weights = [np.interp(0.5, self.quantiles, row) for row in np.eye(len(self.quantiles))]
        return np.asarray(forecasts @ weights)

    def exog(self, X: Any, name: str, n_rows: int | None = None) -> Array | None:
        """Check exogenous columns: [T, n_exog] or None when there are none."""
        if self.n_exog == 0:
            if X is not None:
                raise ValueError(f"{name} must be None: the model was fitted without X, got {type(X).__name__}")
            return None
        if X is None:
            raise ValueError(f"{name} is needed: the model was fitted with {self.n_exog} exogenous column(s), got None")
        return as_series(X, name, self.n_exog, n_rows)


class ForecasterModel(Model):
    """A fitted forecaster.

    Parameters
    ----------
    network : Network
        One direction, pooling None, ``layout.n_outputs`` outputs: column (k * n_targets + j) * Q + q is quantile q of
        target j, k + 1 steps ahead.
    scaling : SeriesScaling
    layout : Layout
    """

    kind = "forecaster"

    def __init__(self, network: Network, scaling: SeriesScaling, layout: Layout) -> None:
        super().__init__(network)
        n_inputs = layout.n_targets + layout.n_exog
        if (network.n_features, network.n_outputs, network.pooling) != (n_inputs, layout.n_outputs, None):
            raise ValueError(
                f"network must have {n_inputs} features, {layout.n_outputs} outputs and pooling None, "
                f"got {network.n_features}, {network.n_outputs} and {network.pooling!r}"
            )
        self.scaling, self.layout = scaling, layout

    # ---- what users call ----

    def predict(self, y: Any, steps: int | None = None, X: Any = None, X_future: Any = None) -> Array:
        """Forecast what follows a series.

        Parameters
        ----------
        y : array_like [T] or [T, n_targets]
            The series so far, oldest first; the more of it the better, `window` steps or more.
        steps : int, optional
            How far; default: the horizon of training. What lies beyond it is forecast in turns, each taking the
            point forecasts (the median) of the last as if they had been observed. Quantiles then widen: the distances
            from the median add up as independent ones do with ``difference=True``, and never shrink without.
        X : array_like [T, n_exog], optional
            Exogenous columns beside y, if the model was fitted with them.
        X_future : array_like [rows, n_exog], optional
            Exogenous columns of the steps to come, for ``steps`` beyond the horizon: all turns but the last need them.

        Returns
        -------
        ndarray [steps] or [steps, n_targets] of float64, with a last axis of quantiles if there are any
        """
        session = self.session()
        session.advance(y, X)
        return session.forecast(steps, X_future)[0]

    def forecasts(self, y: Any, X: Any = None) -> Array:
        """Forecasts from every step of a series, each knowing the series up to that step: a backtest in one pass.

        Parameters
        ----------
        y, X
            As in `predict`.

        Returns
        -------
        ndarray [T, horizon], [T, horizon, n_targets], with a last axis of quantiles if there are any
            Entry [t, k] is the forecast of ``y[t + k + 1]`` made at t.
        """
        return self.session().advance(y, X)[:, 0]

    def session(self, n_streams: int = 1) -> ForecasterSession:
        """Live series: `ForecasterSession.step` takes one observation of each and forecasts."""
        return ForecasterSession(self, n_streams)

    # ---- the work ----

    def start(self, n_streams: int) -> Stream:
        """Return the state of series that have not been observed."""
        return Stream(self.scaling.frame.start(n_streams), self.network.session(n_streams).states)

    def run(self, stream: Stream, y: Array, X: Array | None, hold: bool = False) -> tuple[Array, Stream]:
        """Take in checked observations y [T, S, n] and X [T, S, m]: forecasts [T, S, horizon, n, Q], new stream."""
        seen, base, unit, frame_state = self.scaling.frame.advance(y, stream.frame, hold)
        rows = check.contiguous(self.scaling.rows(seen, X), self.network.dtype)
        check.finite(rows, "standardized y")
        sizes = np.full(len(y), y.shape[1], dtype=np.int64)
        hidden, states = self.network.recurrent._core.infer(rows, sizes, stream.states, True)
        outputs = self.network.dense(hidden)
        return self.scaling.forecasts(outputs, base, unit, self.layout.horizon), Stream(frame_state, states)

    def extend(self, stream: Stream, block: Array, steps: int, X_future: Array | None) -> Array:
        """Go beyond the horizon: from the forecasts `block` [S, horizon, n, Q] to [S, steps, n, Q]."""
        horizon = self.layout.horizon
        blocks = [block]
        for start in range(0, steps - horizon, horizon):
            fed_back = self.layout.point(blocks[-1]).swapaxes(0, 1)
            X = None if X_future is None else X_future[start : start + horizon]
            forecasts, stream = self.run(stream, np.ascontiguousarray(fed_back), X, hold=True)
            blocks.append(self._widen(forecasts[-1], blocks[-1][:, -1:]))
        return np.concatenate(blocks, axis=1)[:, :steps]

    def _widen(self, block: Array, last: Array) -> Array:
        """Add the uncertainty at the `last` step before a block [S, horizon, n, Q] to its own."""
        if self.layout.quantiles is None:
            return block
        centre = self.layout.point(block)[..., None]
        own, before = block - centre, last - self.layout.point(last)[..., None]
        # Changes add up, so their spreads do in squares; a level's spread grows towards its own limit.
        spread = np.hypot(own, before) if self.scaling.frame.difference else np.maximum(np.abs(own), np.abs(before))
        return np.asarray(centre + np.sign(np.array(self.layout.quantiles) - 0.5) * spread)

    # ---- files ----

    def _task_config(self) -> dict[str, Any]:
        """JSON entries of this kind of model."""
        return {
            **self.layout._asdict(),
            "frame": self.scaling.frame.to_config(),
            "inputs": self.scaling.inputs.to_config(),
            "outputs": self.scaling.outputs.to_config(),
        }

    @classmethod
    def _from_task_config(cls, network: Network, config: dict[str, Any]) -> ForecasterModel:
        """Make a model from what `_task_config` gave."""
        scaling = SeriesScaling(
            Frame.from_config(config["frame"]),
            Standardizer.from_config(config["inputs"]),
            Standardizer.from_config(config["outputs"]),
        )
        layout = Layout(**{name: config[name] for name in Layout._fields})
        if layout.quantiles is not None:
            layout = layout._replace(quantiles=tuple(layout.quantiles))
        return cls(network, scaling, layout)


class ForecasterSession:
    """Live series of a forecaster, observed one step at a time.

    Forecasts have the same bits as `ForecasterModel.forecasts` of the whole series.

    Parameters
    ----------
    model : ForecasterModel
    n_streams : int
        Series that advance together, S.

    Attributes
    ----------
    n_steps : ndarray [n_streams] of int64
        Observations of each stream since it was reset.
    """

    n_steps: Array

    def __init__(self, model: ForecasterModel, n_streams: int = 1) -> None:
        self.model, self.n_streams = model, check.integer(n_streams, "n_streams")
        self.reset()

    def reset(self, streams: Any = None) -> None:
        """Start streams anew: those of an index, slice or mask; default: all."""
        new = self.model.start(self.n_streams)
        if streams is None:
            self.n_steps = np.zeros(self.n_streams, np.int64)
            self._stream, self._latest = new, None
            return
        self.n_steps[streams] = 0
        for mine, fresh in zip(self._stream.frame, new.frame, strict=True):
            mine[streams] = fresh[streams]
        for mine, fresh in zip(self._stream.states, new.states, strict=True):
            mine[:, streams] = fresh[:, streams]

    def step(self, y: Any, X: Any = None) -> Array:
        """Take one observation of each series and forecast.

        Parameters
        ----------
        y : array_like [n_streams] or [n_streams, n_targets]
            What was observed now; a number or [n_targets] will do for a single stream.
        X : array_like [n_streams, n_exog], optional
            Exogenous columns, if the model was fitted with them.

        Returns
        -------
        ndarray [n_streams, horizon], [n_streams, horizon, n_targets], with a last axis of quantiles if there are any
        """
        layout = self.model.layout
        if self.n_streams == 1:
            y, X = np.reshape(y, (1, -1)), None if X is None else np.reshape(X, (1, -1))
        now = as_series(y, "y", layout.n_targets)
        if len(now) != self.n_streams:
            raise ValueError(f"y must have {self.n_streams} row(s), one a stream, got shape {np.shape(y)}")
        exog = layout.exog(X, "X", self.n_streams)
        return layout.squeeze(self._run(now[None], None if exog is None else exog[None])[0])

    def advance(self, y: Any, X: Any = None) -> Array:
        """Take many observations of one series in one pass.

        Parameters
        ----------
        y : array_like [T] or [T, n_targets]
            The next T steps. Sessions of several streams take them through `step`.
        X : array_like [T, n_exog], optional

        Returns
        -------
        ndarray [T, 1, horizon], [T, 1, horizon, n_targets], with a last axis of quantiles if there are any
        """
        if self.n_streams != 1:
            raise ValueError(f"advance needs a session of one stream, this one has n_streams={self.n_streams}")
        layout = self.model.layout
        series = as_series(y, "y", layout.n_targets)
        exog = layout.exog(X, "X", len(series))
        return layout.squeeze(self._run(series[:, None], None if exog is None else exog[:, None]))

    def forecast(self, steps: int | None = None, X_future: Any = None) -> Array:
        """Forecast from the latest observation; parameters as in `ForecasterModel.predict`.

        Returns
        -------
        ndarray [n_streams, steps], [n_streams, steps, n_targets], with a last axis of quantiles if there are any
        """
        layout = self.model.layout
        steps = layout.horizon if steps is None else check.integer(steps, "steps")
        turns = -(-steps // layout.horizon)
        exog = None
        if X_future is not None or (layout.n_exog and turns > 1):
            exog = self._future(X_future, (turns - 1) * layout.horizon, steps)
        if self._latest is None or not self.n_steps.all():
            raise ValueError(f"forecast needs an observation of every stream first, n_steps is {self.n_steps.tolist()}")
        if turns > 1:
            return layout.squeeze(self.model.extend(self._stream, self._latest, steps, exog))
        return layout.squeeze(self._latest[:, :steps])

    @property
    def states(self) -> Sequence[Array]:
        """One array [num_layers, n_streams, width] of each of the cell's states, such as h and c."""
        return self._stream.states

    def _run(self, y: Array, X: Array | None) -> Array:
        forecasts, self._stream = self.model.run(self._stream, y, X)
        self._latest = forecasts[-1]
        self.n_steps += len(y)
        return forecasts

    def _future(self, X_future: Any, n_needed: int, steps: int) -> Array | None:
        """Check X_future and repeat it for each stream: [rows, S, n_exog]."""
        exog = self.model.layout.exog(X_future, "X_future")
        if exog is None:
            return None
        if len(exog) < n_needed:
            raise ValueError(f"X_future must have at least {n_needed} rows for steps={steps}, got {len(exog)}")
        return np.repeat(exog[:, None], self.n_streams, axis=1)


def training_data(y: Array, X: Array | None, scaling: SeriesScaling, horizon: int, dtype: Any) -> tuple[Array, Array]:
    """Rows [T − horizon, I] that the network sees, and what it should answer [T − horizon, horizon * n_targets]."""
    seen, _, _, _ = scaling.frame.advance(y[:, None], scaling.frame.start(1))
    rows = scaling.rows(seen, None if X is None else X[:, None])[: len(y) - horizon]
    targets = scaling.targets(y, horizon)
    return np.ascontiguousarray(rows, dtype=dtype), np.ascontiguousarray(targets, dtype=dtype)


def window_sequences(rows: Array, stop: int, window: int) -> Sequences:
    """Windows over rows[:stop], as sequences that share the whole array."""
    starts = training_windows(stop, window)
    return Sequences(rows, starts, np.full(len(starts), window))
