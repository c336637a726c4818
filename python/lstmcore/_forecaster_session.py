"""Live series of a forecaster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lstmcore import _validation as check
from lstmcore._inputs import Inputs
from lstmcore._live_streams import LiveStreams
from lstmcore._series import Scale, as_series
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array
from lstmcore.streaming import NetworkSession

if TYPE_CHECKING:
    from lstmcore.forecasting import ForecasterModel


class Stream(NamedTuple):
    """What is carried from step to step: the frame's memory [S, width] and the network's states."""

    memory: Array
    states: list[Array]


class ForecasterSession(LiveStreams):
    """Live series of a forecaster, observed one step at a time.

    Forecasts have the same bits as `ForecasterModel.forecasts` of the whole series.

    Parameters
    ----------
    model : ForecasterModel
    n_streams : int
        Series that the session has room for.
    """

    def __init__(self, model: ForecasterModel, n_streams: int = 1) -> None:
        super().__init__(n_streams)
        self.model = model
        self._open()

    _made = ("_network", "_core", "_frame", "_memory", "_latest")

    def _open(self) -> None:
        model, layout = self.model, self.model.layout
        self._n_quantiles = n_quantiles = len(layout.quantiles or (0.5,))
        answers = Standardizer(*(np.repeat(each, n_quantiles) for each in vars(model.scaling.outputs).values()))
        inputs = Inputs(model.network.n_features, model.network.dtype, scaler=model.scaling.inputs)
        self._network = NetworkSession(model.network, self.n_streams, None, inputs, answers)
        self._core, self._frame = self._network._core, model.scaling.frame.core(layout.n_targets)
        self._memory = model.start(self.n_streams).memory
        self._latest = np.zeros((self.n_streams, layout.horizon, layout.n_targets, n_quantiles))

    @property
    def n_steps(self) -> Array:
        """Observations of each stream since it was reset: [n_streams] of int64."""
        return self._network.n_steps

    def reset(self, streams: Any = None) -> None:
        """Start streams anew: an index, a list of them, a slice or a mask; default: all."""
        chosen = self._chosen(streams)
        self._memory[chosen] = self.model.start(len(chosen)).memory
        self._network.reset(chosen)

    def measure(self, scales: Sequence[Scale]) -> None:
        """Set the scale of each stream's series, instead of taking it from the first rows of `advance`."""
        for i, scale in enumerate(scales):
            self._memory[i] = self.model.start(1, scale).memory

    def step(self, y: Any, X: Any = None, known: Any = None, streams: Any = None) -> Array:
        """Take one observation of each of some series and forecast.

        Parameters
        ----------
        y : array_like [n] or [n, n_targets]
            What was observed now; a number or [n_targets] will do for a single stream.
        X : array_like [n, n_exog], optional
            Exogenous columns, if the model was fitted with them.
        known : array_like [n, horizon, n_ahead] or [horizon, n_ahead], optional
            What is known of the steps to come, of each stream or of all, if the model was fitted with such columns.
        streams : int, list of int, slice or mask, optional
            Which n streams, each once, in the order of the rows of y; default: all.

        Returns
        -------
        ndarray [n, horizon], [n, horizon, n_targets], with a last axis of quantiles if there are any
        """
        layout = self.model.layout
        chosen = None if streams is None else self._chosen(streams)
        answer: Any = -1
        if X is None and known is None and not layout.n_covariates:
            answer = self._core.forecast(self._frame, self._memory, y, None, chosen, self._n_quantiles)
        if type(answer) is int:
            now, beside = self._checked(y, X, known, self.n_streams if chosen is None else len(chosen))
            answer = self._core.forecast(self._frame, self._memory, now, beside, chosen, self._n_quantiles)
            if type(answer) is int:
                raise self._error(now, beside, chosen)
        forecasts = answer.reshape(len(answer), *self._latest.shape[1:])
        self._latest[slice(None) if chosen is None else chosen] = forecasts
        return layout.squeeze(forecasts)

    def _checked(self, y: Any, X: Any, known: Any, n: int) -> tuple[Array, Array | None]:
        """Return observations [n, n_targets] and the columns beside them [n, m], all checked."""
        layout = self.model.layout
        if n == 1:
            y, X = np.reshape(y, (1, -1)), None if X is None else np.reshape(X, (1, -1))
        now = as_series(y, "y", layout.n_targets)
        if len(now) != n:
            raise ValueError(f"y must have {n} row(s), one a stream, got shape {np.shape(y)}")
        exog = layout.exog(X, "X", n)
        beside = layout.covariates(None if exog is None else exog[None], self._windows(known, n))
        return now, None if beside is None else np.ascontiguousarray(beside[0])

    def _error(self, now: Array, beside: Array | None, chosen: Array | None) -> ValueError:
        """Say why observations, finite ones, were not taken."""
        memory = self._memory if chosen is None else self._memory[chosen]
        if np.isnan(memory[:, -1]).any():
            return ValueError(
                "y must come through advance first: this model takes the scale of each series from its first rows"
            )
        scaling = self.model.scaling
        seen, _ = scaling.frame.advance(now[None], memory, 1)  # says so if a change is too large
        rows = scaling.rows(seen.values, None if beside is None else beside[None])
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(rows.astype(self.model.network.dtype))
        i, column = np.argwhere(bad)[0]
        return ValueError(f"standardized y[{i}, {column}] is {rows[i, column]}: it must be finite")

    def advance(self, y: Any, X: Any = None, known: Any = None) -> Any:
        """Take many observations of one series, or of each, in one pass.

        Parameters
        ----------
        y : array_like [T] or [T, n_targets], or a list of n_streams of them
            The next T steps. A list may hold different T.
        X : array_like [T, n_exog], or a list, optional
        known : array_like [T + horizon, n_ahead], or a list, optional
            What is known ahead, from the first row of y on.

        Returns
        -------
        ndarray [T, 1, horizon], [T, 1, horizon, n_targets], with a last axis of quantiles if there are any
            Of a list: a list of n_streams arrays [T, horizon] …
        """
        layout = self.model.layout
        if self.n_streams > 1 or _is_list(y):
            if not _is_list(y) or len(y) != self.n_streams:
                raise ValueError(f"y must be a list of n_streams={self.n_streams} arrays, got {_length(y)}")
            exog, ahead = (_split(value, name, self.n_streams) for value, name in ((X, "X"), (known, "known")))
            names = [f"[{i}]" for i in range(self.n_streams)]
        else:
            y, exog, ahead, names = [y], [X], [known], [""]
        parts = []
        why = f"(as y has, and horizon={layout.horizon} more)"
        for i, name in enumerate(names):
            series = as_series(y[i], f"y{name}", layout.n_targets)
            columns = layout.exog(exog[i], f"X{name}", len(series))
            rows = layout.ahead(ahead[i], f"known{name}", len(series) + layout.horizon, why)
            parts.append((i, series, columns, rows))
        forecasts = [layout.squeeze(each) for each in self.take(parts)]
        return [each[:, 0] for each in forecasts] if names != [""] else forecasts[0]

    def take(self, parts: Sequence[tuple[int, Array, Array | None, Array | None]]) -> list[Array]:
        """Take in checked observations of some streams: (stream, y, X, ahead) each; all of them or, on error, none.

        Returns forecasts [T, 1, horizon, n_targets, Q] of each.
        """
        done = []
        for i, y, X, ahead in parts:
            stream = Stream(self._memory[i : i + 1], self._network.states_of(self._everyone[i : i + 1]))
            if np.isnan(stream.memory[:, -1]).any():
                stream = self.model.measured(y)
            windows = self.model.layout.windows(
                None if ahead is None else ahead[: len(y) + self.model.layout.horizon, None]
            )
            covariates = self.model.layout.covariates(None if X is None else X[:, None], windows)
            done.append(self.model.run(stream, y[:, None], covariates))
        for (i, y, _, _), (forecasts, _, stream) in zip(parts, done, strict=True):
            self._memory[i] = stream.memory
            self._network.put(self._everyone[i : i + 1], stream.states, len(y))
            self._latest[i] = forecasts[-1, 0]
        return [forecasts for forecasts, _, _ in done]

    def forecast(self, steps: int | None = None, X_future: Any = None, known_future: Any = None) -> Array:
        """Forecast from the latest observation; parameters as in `ForecasterModel.predict`.

        Parameters
        ----------
        known_future : array_like [rows, n_ahead], optional
            What is known of the steps to come, from the row after the latest observation on: needed beyond the horizon.

        Returns
        -------
        ndarray [n_streams, steps], [n_streams, steps, n_targets], with a last axis of quantiles if there are any
        """
        return self.model.layout.squeeze(self._forecast(steps, X_future, known_future))

    def interval(
        self, steps: int | None = None, X_future: Any = None, known_future: Any = None, *, coverage: float = 0.9
    ) -> Array:
        """Ends of intervals of the forecasts; parameters as in `forecast` and `ForecasterModel.predict_interval`.

        Returns
        -------
        ndarray [n_streams, steps, 2] or [n_streams, steps, n_targets, 2]
        """
        forecasts = self._forecast(steps, X_future, known_future)
        ends = self.model.interval(forecasts, self._frame.unit(self._memory), coverage)
        return self.model.layout.squeeze_targets(ends, -2)

    @property
    def states(self) -> Sequence[Array]:
        """One array [num_layers, n_streams, width] of each of the cell's states, such as h and c."""
        return self._network.states

    def _forecast(self, steps: int | None, X_future: Any, known_future: Any) -> Array:
        layout = self.model.layout
        steps = layout.steps if steps is None else check.integer(steps, "steps")
        exog = self._each(X_future, lambda X: layout.exog_future(X, "X_future", steps))
        ahead = self._each(known_future, lambda known: layout.ahead_future(known, "known_future", steps))
        if not self.n_steps.all():
            raise ValueError(f"forecast needs an observation of every stream first, n_steps is {self.n_steps.tolist()}")
        if steps > layout.horizon:
            return self.model.extend(Stream(self._memory, self._network.states), self._latest, steps, exog, ahead)
        return self._latest[:, :steps].copy()

    def _each(self, values: Any, read: Callable[[Any], Array | None]) -> Array | None:
        """Read columns of the steps to come, those of each stream or one for all: [rows, S, columns]."""
        each = values if _is_list(values) and len(values) == self.n_streams else [values] * self.n_streams
        columns = [rows for one in each if (rows := read(one)) is not None]
        return np.stack(columns, axis=1) if columns else None

    def _windows(self, known: Any, n: int) -> Array | None:
        """Check the rows to come at one step: [1, n, horizon, n_ahead]."""
        layout = self.model.layout
        if layout.n_ahead == 0 or known is None:
            return layout.ahead(known, "known", layout.horizon, "to come")
        array, each = check.numeric(known, "known"), (layout.horizon, layout.n_ahead)
        if array.ndim == 3:
            array = check.exact_shape(array, "known", (n, *each), "[n_streams, horizon, n_ahead]")
        else:
            array = np.broadcast_to(check.exact_shape(array, "known", each, "[horizon, n_ahead]"), (n, *each))
        rows = check.contiguous(array, np.dtype(np.float64))
        check.finite(rows, "known")
        return rows[None]

    def _parameters(self) -> Array:
        return self.model.network.flat_parameters

    def _read(self, chosen: Array) -> dict[str, Array]:
        return {**self._network._read(chosen), "memory": self._memory[chosen], "latest": self._latest[chosen]}

    def _write(self, chosen: Array, states: dict[str, Array]) -> None:
        self._network._write(chosen, states)
        self._memory[chosen], self._latest[chosen] = states["memory"], states["latest"]

    def _like(self, n_streams: int) -> ForecasterSession:
        return ForecasterSession(self.model, n_streams)


def _is_list(y: Any) -> bool:
    return isinstance(y, (list, tuple)) and all(isinstance(each, np.ndarray) and each.ndim for each in y)


def _length(y: Any) -> str:
    return f"a list of {len(y)}" if _is_list(y) else type(y).__name__


def _split(values: Any, name: str, n: int) -> Any:
    """One value for each stream."""
    if values is None:
        return [None] * n
    if not isinstance(values, (list, tuple)) or len(values) != n:
        raise ValueError(f"{name} must be a list of {n} arrays, one for each series of y, got {type(values).__name__}")
    return values
