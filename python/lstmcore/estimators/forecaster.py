"""Time-series forecasting with a recurrent network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._conformal import Calibration
from lstmcore._panel import Panel, Record, read_new, read_panel
from lstmcore._series import Frame, Lesson, SeriesScaling
from lstmcore._validation import Array
from lstmcore.estimators._backtest import Backtest, Walk, forecasts_at, outcomes, skill, walk_forward
from lstmcore.estimators._forecaster_options import ForecasterOptions
from lstmcore.estimators._options import documented
from lstmcore.estimators._split import Split
from lstmcore.forecasting import ForecasterModel

_ERRORS = 1000  # so many errors are enough to calibrate with


@documented
@dataclass(eq=False, repr=False)
class RNNForecaster(ForecasterOptions):
    """Forecast one series or many, of one target or several, some steps ahead.

    The network reads a series one observation at a time and after each gives all steps of the horizon at once
    (direct forecasts). It is trained on windows of the series, every step of a window counting; it forecasts from a
    state that is carried from the first observation on. So `update` costs one step an observation, and forecasts
    made live have the same bits as those of a backtest.

    An epoch is a pass over the windows: all of a short series, about 512 evenly spaced ones of a long series, more
    where these would not overlap by half. Noisy series want few epochs, or `early_stopping`, which holds back the end
    of each series.

    NumPy in, NumPy out; pandas in, pandas out, with the index continued. Several series train one model: a list, or a
    dict of names, of series of any lengths, each brought to its own scale; results then come as a list or dict.
    `lstmcore.series_from_frame` makes such dicts of a long table.

    Attributes
    ----------
    model_ : lstmcore.forecasting.ForecasterModel
        Does the work and needs no scikit-learn.
    y_, X_, known_ : ndarray [T, n_targets], [T, n_exog] or None, [T or more, n_known] or None
        All observations so far: those of `fit`, then those of `update`; lists or dicts of several series.
    history_ : dict of lists
        A column for each measure, an entry an epoch: "epoch", "loss", "learning_rate", "seconds" …
    loss_curve_, validation_loss_curve_ : list of float
        Mean training loss of each epoch, of standardized targets; that of the end of the series, None without
        `early_stopping`.
    n_iter_, best_epoch_ : int
        Epochs that were run; the one whose parameters were kept (from 0), None without early stopping.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.sin(0.3 * np.arange(300))
    >>> forecaster = RNNForecaster(window=24, horizon=3, max_epochs=30, learning_rate=1e-2, random_state=0).fit(y)
    >>> np.abs(forecaster.predict() - np.sin(0.3 * np.arange(300, 303))).max() < 0.05
    np.True_
    """

    model_: ForecasterModel = field(init=False)

    # ---- training ----

    def fit(self, y: Any, X: Any = None, known: Any = None, *, resume_from: Any = None) -> RNNForecaster:
        """Train on a series, or on several.

        Parameters
        ----------
        y : array_like [T] or [T, n_targets], Series, DataFrame, or a list or dict of arrays or pandas objects
            What to forecast, one row a step, oldest first; at least window + horizon rows. A list of plain numbers or
            rows is one series.
        X : array_like [T, n_exog], or a list or dict of such as y is, optional
            Exogenous columns, known at the same time as y: row t helps to forecast the rows after t.
        known : array_like [T or more, n_known], or a list or dict of such, optional
            Columns known ahead, such as holidays or prices to be asked: row t helps to forecast row t. Rows after
            those of y spare `predict` its `known_future`.
        resume_from : path, optional
            A file that `lstmcore.callbacks.Checkpoint` wrote: training goes on from there.

        Returns
        -------
        RNNForecaster
            Itself.

        Raises
        ------
        ValueError, TypeError
            If an option or an argument is not as described; the message names it and quotes the value.
        lstmcore.training.TrainingDiverged
            If the loss stops being a number. The last good parameters are kept.
        """
        return self._fit(read_panel(y, X, known), resume_from)

    def _fit(self, panel: Panel, resume_from: Any = None) -> RNNForecaster:
        self._check_options()
        layout = self._layout(panel)
        if self.strategy == "recursive" and layout.n_exog:
            raise ValueError("X cannot be forecast with strategy='recursive': pass what is known ahead as known")
        rng, frame = self._generator(), Frame(int(self.difference), self._halflife())
        splits = [self._split(record, layout, frame) for record in panel.records]
        # Scales, too, come from what is trained on: nothing held out has a part in the model. Later forecasts of
        # several series take each one's scale from all of its history, as a loaded model does.
        reach = max(frame.period - 1, 0) + layout.horizon
        seen = [record.y[: split.train.stop + reach] for record, split in zip(panel.records, splits, strict=True)]
        if self.warm_start and hasattr(self, "model_"):
            frame = self._continued(layout, frame)
        elif panel.shared:
            frame = replace(frame, scale=frame.measure(seen[0]))
        training = [replace(r, scale=frame.scale or frame.measure(y)) for r, y in zip(panel.records, seen, strict=True)]
        lessons = [Lesson.of(r.y, r.covariates(layout), frame, layout.horizon, r.scale) for r in training]
        if not (self.warm_start and hasattr(self, "model_")):
            learnt = [lesson.part(split.train) for lesson, split in zip(lessons, splits, strict=True)]
            self.model_ = ForecasterModel(self._network(layout, frame, rng), SeriesScaling.fit(learnt, frame), layout)
        try:
            self._train(lessons, splits, rng, resume_from)
            self._calibrate(training, splits)
        finally:  # also where training diverged: the model has its last good parameters
            scales = [frame.scale or frame.measure(record.y) for record in panel.records]
            records = [replace(record, scale=scale) for record, scale in zip(panel.records, scales, strict=True)]
            self._panel, self._session = replace(panel, records=records), self.model_.session(len(records))
            self._session.measure(scales)
            self._observe(self._session, records)
        return self

    def _calibrate(self, records: list[Record], splits: list[Split]) -> None:
        """Give the model the errors of the calibration parts."""
        if self.calibration_fraction is None:
            return
        thin = max(1, sum(len(split.calibration) for split in splits) // _ERRORS)
        happened, forecasts, units = [], [], []
        for record, split in zip(records, splits, strict=True):
            origins = np.array(split.calibration)[::-thin][::-1]
            found, unit = forecasts_at(self.model_, record, origins)
            happened.append(outcomes(record.y, origins, self.model_.layout.steps))
            forecasts.append(found)
            units.append(unit)
        self.model_.calibration = Calibration.fit(*(np.concatenate(each) for each in (happened, forecasts, units)))

    # ---- forecasting ----

    def predict(self, steps: int | None = None, X_future: Any = None, known_future: Any = None) -> Any:
        """Forecast what follows the observations so far.

        Parameters
        ----------
        steps : int, optional
            How far; default: `horizon`. Beyond it the forecasts are fed back as if observed, horizon by horizon; see
            `lstmcore.forecasting.ForecasterModel.predict` for how quantiles widen then.
        X_future : array_like [rows, n_exog], or a list or dict of such, optional
            Exogenous columns of the steps to come, needed for steps > horizon if there are any.
        known_future : array_like [rows, n_known], or a list or dict of such, optional
            Columns known ahead of the steps to come, `steps` rounded up to whole horizons. None: the rows that `fit` or
            `update` got beyond those of y.

        Returns
        -------
        ndarray [steps] or [steps, n_targets] of float64, with a last axis of quantiles if there are any
            Or a pandas Series or DataFrame with the index continued, if y was one; a list or dict of several series.
        """
        session, arguments = self._ahead(steps, X_future, known_future)
        return self._wrapped(session.forecast(*arguments), self.model_.layout.quantiles)

    def predict_interval(
        self, steps: int | None = None, X_future: Any = None, known_future: Any = None, *, coverage: float = 0.9
    ) -> Any:
        """Forecast between which ends what follows will lie.

        With `calibration_fraction` by split conformal prediction: forecasts, or those `quantiles` nearest to the ends,
        and their errors in the calibration part. Without it the ends must be among the `quantiles`.

        Parameters
        ----------
        steps, X_future, known_future
            As in `predict`; with `calibration_fraction` no more steps than `horizon`.
        coverage : float, default=0.9
            With which probability, each step for itself. 0.9 takes 19 errors to calibrate with, 0.99 takes 199.

        Returns
        -------
        ndarray [steps, 2] or [steps, n_targets, 2] of float64
            Or a pandas DataFrame with columns "lower" and "upper" if y was from pandas; a list or dict of several
            series.
        """
        session, arguments = self._ahead(steps, X_future, known_future)
        return self._wrapped(session.interval(*arguments, coverage=coverage), ("lower", "upper"))

    def update(self, y_new: Any, X_new: Any = None, known_new: Any = None) -> RNNForecaster:
        """Take in what was observed since, without training: the state is carried on.

        Parameters
        ----------
        y_new : array_like [T_new] or [T_new, n_targets], or a list or dict of such
            The rows that follow those known so far. A single row of several targets is [1, n_targets].
        X_new : array_like [T_new, n_exog], or a list or dict of such, optional
        known_new : array_like [T_new or more, n_known], or a list or dict of such, optional
            None: the rows that came before with more rows than y.

        Returns
        -------
        RNNForecaster
            Itself.
        """
        records = self._appended(y_new, X_new, known_new)
        self._observe(self._session, records)
        self._panel = replace(self._panel, records=records)
        return self

    def predict_in_sample(self) -> Any:
        """Forecasts from every observation so far, each knowing what came up to it.

        Rows after those of `fit` are a backtest: the parameters never saw them.

        Returns
        -------
        ndarray [T, horizon], [T, horizon, n_targets], with a last axis of quantiles if there are any
            Entry [t, k] forecasts row t + k + 1 of the observations; NaN where what must be known ahead is not known. A
            list or dict of several series.
        """
        model = self._fitted_model()

        def forecasts(record: Record) -> Array:
            n_future = 0 if record.known is None else len(record.known) - len(record.y)
            n_ready = record.n_ready(model.layout, model.layout.steps, n_future)
            found, _ = forecasts_at(model, record, np.arange(n_ready))
            missing = np.full((len(record.y) - n_ready, *found.shape[1:]), np.nan)
            return model.layout.squeeze(np.concatenate([found, missing]))

        return self._panel.map(forecasts)

    def forecast_at(self, origins: Any) -> Any:
        """Forecasts as they were, or would have been, made at some rows of the observations so far.

        Parameters
        ----------
        origins : int or array_like of int
            Rows; negative ones count from the end.

        Returns
        -------
        ndarray [horizon, ...] for an int, [n_origins, horizon, ...] for an array
            A list or dict of several series.
        """
        self._fitted_model()
        rows, n_rows = np.asarray(origins), min(len(record.y) for record in self._panel.records)
        if rows.dtype.kind not in "iu":
            raise TypeError(f"origins must be integers, got {origins!r}")
        if rows.size and not (-n_rows <= rows.min() and rows.max() < n_rows):
            raise ValueError(f"origins must lie in {-n_rows}..{n_rows - 1}, got {origins!r}")
        found = self.predict_in_sample()
        if self._panel.kind == "dict":
            return {key: each[rows] for key, each in found.items()}
        return np.asarray(found[rows]) if self._panel.kind == "one" else [each[rows] for each in found]

    def score(self, y_new: Any, X_new: Any = None, known_new: Any = None) -> float:
        """Skill of the forecasts of what follows: 1 − MSE / MSE of the naive forecast, the latest observation.

        Every step of `y_new` is forecast 1 to `horizon` steps ahead from what came before it; the observations so far
        come first, and remain as they are. 1 is perfect, 0 as good as naive. Targets and series weigh alike.

        Parameters
        ----------
        y_new : array_like [T_new] or [T_new, n_targets], or a list or dict of such
            The rows that follow those known so far, `horizon` or more.
        X_new, known_new : array_like, optional
            As in `update`.

        Returns
        -------
        float
        """
        records, scores = self._appended(y_new, X_new, known_new), []
        model, steps = self.model_, self.model_.layout.steps
        for old, record in zip(self._panel.records, records, strict=True):
            if len(record.y) - len(old.y) < steps:
                raise ValueError(
                    f"{old.name('y_new')} must have at least horizon={steps} rows, got {len(record.y) - len(old.y)}"
                )
            origins = np.arange(len(old.y) - 1, len(record.y) - steps)
            forecasts, _ = forecasts_at(model, record, origins)
            scores.append(skill(record.y, origins, model.layout.point(forecasts)))
        return float(np.mean(scores))

    def backtest(
        self,
        y: Any,
        X: Any = None,
        known: Any = None,
        *,
        initial: float = 0.7,
        step: int = 1,
        refit: int | None = None,
        seasonal_period: int = 1,
        coverage: float | None = None,
    ) -> Backtest:
        """Walk forward through series with clones of this forecaster, fitted to nothing after the origin of a forecast.

        Parameters
        ----------
        y, X, known
            As in `fit`. This forecaster itself need not be fitted, and stays as it is.
        initial : float or int, default=0.7
            Rows before the first forecast: their number, or their share of each series.
        step : int, default=1
            Rows from one forecast to the next.
        refit : int or None, default=None
            Fit anew after so many rows, to all rows up to then. None: only at the start.
        seasonal_period : int, default=1
            Of the seasonal naive forecast to compare with, and of MASE.
        coverage : float or None, default=None
            Measure the intervals of `predict_interval` too. None: of 0.9 with `calibration_fraction`, else none.

        Returns
        -------
        Backtest
            Forecasts, outcomes and scores; ``print`` shows a table.

        Examples
        --------
        >>> import numpy as np
        >>> y = np.sin(0.3 * np.arange(300))
        >>> forecaster = RNNForecaster(window=24, horizon=3, max_epochs=20, learning_rate=1e-2, random_state=0)
        >>> result = forecaster.backtest(y, initial=200)
        >>> result.forecasts.shape
        (98, 3)
        >>> result.scores["model"]["MAE"] < result.scores["naive"]["MAE"]
        True
        """
        if coverage is None and self.calibration_fraction is not None:
            coverage = 0.9
        walk = Walk.of(initial, step, refit, seasonal_period, coverage)
        return walk_forward(self, read_panel(y, X, known), walk)

    @property
    def y_(self) -> Any:
        """All observations so far."""
        return self._panel.map(lambda record: record.y)

    @property
    def X_(self) -> Any:
        """Exogenous columns beside `y_`."""
        return self._panel.map(lambda record: record.X)

    @property
    def known_(self) -> Any:
        """Columns known ahead, from the first row of `y_` on."""
        return self._panel.map(lambda record: record.known)

    @property
    def index_(self) -> Any:
        """The pandas index of `y_`, None of arrays."""
        return self._panel.map(lambda record: record.index)

    # ---- the work ----

    def _observe(self, session: Any, records: list[Record], known_future: list[Array | None] | None = None) -> None:
        """Let a session take in the rows that it has not seen, as far as what it must know ahead is known."""
        layout, parts = self.model_.layout, []
        for i, record in enumerate(records):
            begin, future = int(session.n_steps[i]), None if known_future is None else known_future[i]
            end = record.n_ready(layout, layout.horizon, 0 if future is None else len(future))
            if end > begin:
                ahead = record.ahead(layout, end + layout.horizon, future)
                X = None if record.X is None else record.X[begin:end]
                parts.append((i, record.y[begin:end], X, None if ahead is None else ahead[begin:]))
        session.take(parts)

    def _ahead(self, steps: Any, X_future: Any, known_future: Any) -> tuple[Any, tuple[Any, ...]]:
        """A session that has taken in all observations, and the arguments of its `forecast`."""
        layout, panel = self._fitted_model().layout, self._panel
        steps = layout.steps if steps is None else check.integer(steps, "steps")
        reach = layout.turns(steps) * layout.horizon
        exog, known, ahead = [], [], []
        parts = zip(panel.part(X_future, "X_future"), panel.part(known_future, "known_future"), strict=True)
        for record, (X, rows) in zip(panel.records, parts, strict=True):
            n_rows, names = len(record.y), [record.name(name) for name in ("X_future", "known_future")]
            for name, value in zip(names, (X, rows), strict=True):
                record.check_future(value, name)
            if rows is None and record.known is not None and len(record.known) >= n_rows + reach:
                rows = record.known[n_rows:]
            exog.append(layout.exog_future(X, names[0], steps))
            known.append(layout.known(rows, names[1], reach, f"for steps={steps}"))
            columns = record.ahead(layout, n_rows + reach, known[-1])
            ahead.append(None if columns is None else columns[n_rows:])
        session = self._session
        if any(n < len(record.y) for n, record in zip(session.n_steps, panel.records, strict=True)):
            session = session.copy()
            self._observe(session, panel.records, known)
        return session, (steps, *(None if each[0] is None else each for each in (exog, ahead)))

    def _appended(self, y_new: Any, X_new: Any, known_new: Any) -> list[Record]:
        """The series with new rows at their ends."""
        layout = self._fitted_model().layout
        new = read_new(self._panel, y_new, X_new, known_new, layout)
        return [old.append(each) for old, each in zip(self._panel.records, new, strict=True)]

    def _wrapped(self, values: Array, labels: Any) -> Any:
        panel = self._panel
        results = zip(panel.records, values, strict=True)
        return panel.restore([record.wrap(each, labels, panel.univariate) for record, each in results])

    def _fitted_model(self) -> ForecasterModel:
        model = super()._fitted_model()
        assert isinstance(model, ForecasterModel)
        return model
