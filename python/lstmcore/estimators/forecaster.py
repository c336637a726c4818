"""Time-series forecasting with a recurrent network."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._series import Frame, SeriesScaling, as_series
from lstmcore._validation import Array
from lstmcore.estimators._base import RNNEstimator
from lstmcore.estimators._options import CELL_ALIASES, documented
from lstmcore.forecasting import ForecasterModel, Layout, training_data, window_sequences
from lstmcore.layers import from_cell
from lstmcore.losses import REGRESSION_LOSSES, Huber, Loss, Quantile, check_quantiles
from lstmcore.network import Dense, Network
from lstmcore.sequences import Sequences
from lstmcore.training import Trainer


@documented
@dataclass(eq=False, repr=False)
class RNNForecaster(RNNEstimator):
    """Forecast a series, or several together, some steps ahead.

    The network reads the series one observation at a time and after each gives all steps of the horizon at once
    (direct forecasts). It is trained on windows of the series, every step of a window counting; it forecasts from a
    state that is carried from the first observation on. So `update` costs one step an observation, and forecasts
    made live have the same bits as those of a backtest.

    An epoch is a pass over the windows: all of a short series, about 512 evenly spaced ones of a long series, more
    where these would not overlap by half. Noisy series want few epochs, or `early_stopping`, which holds back the end
    of the series.

    Parameters
    ----------
    window : int, default=64
        Steps of a training window: how far back gradients flow.
    horizon : int, default=1
        Steps ahead that are forecast directly.
    difference : bool, default=False
        Show the network first differences of y and let it forecast changes since the latest observation. For series
        whose level wanders, such as prices (take logarithms first); the changes of a random walk are stationary.
    scale_halflife : float or None, default=None
        With `difference`: measure changes in units of their recent size, the root of an exponentially weighted mean of
        squares with this half-life in steps (RiskMetrics 1996). For changes whose size comes in clusters. None: the
        training data's standard deviation throughout.
    loss : {"squared", "absolute", "huber"}, default="squared"
        What point forecasts minimise, of standardized targets.
    huber_delta : float, default=1.0
        Where "huber" turns from squared to absolute, in standard deviations of the target.
    quantiles : sequence of float or None, default=None
        Forecast these quantiles, such as (0.1, 0.5, 0.9), trained with the quantile loss (Koenker & Bassett 1978) in
        place of `loss`.

    Attributes
    ----------
    model_ : lstmcore.forecasting.ForecasterModel
        Does the work and needs no scikit-learn.
    y_, X_ : ndarray [T, n_targets], [T, n_exog] or None
        All observations so far: those of `fit`, then those of `update`.
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

    window: int = 64
    horizon: int = 1
    _: KW_ONLY
    difference: bool = False
    scale_halflife: float | None = None
    loss: str = "squared"
    huber_delta: float = 1.0
    quantiles: Any = None
    model_: ForecasterModel = field(init=False)

    # ---- training ----

    def fit(self, y: Any, X: Any = None) -> RNNForecaster:
        """Train on a series.

        Parameters
        ----------
        y : array_like [T] or [T, n_targets]
            What to forecast, one row a step, oldest first; at least window + horizon rows.
        X : array_like [T, n_exog], optional
            Exogenous columns, known at the same time as y: row t helps to forecast the rows after t. What is known
            ahead of time, such as the day of the week, may be shifted to stand earlier.

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
        self._check_options()
        series = as_series(y, "y")
        exog = None if X is None else as_series(X, "X", n_rows=len(series))
        n_train = self._split(len(series))
        rng = self._generator()
        if self.warm_start and hasattr(self, "model_"):
            model = self._continued(series, exog)
        else:
            model = self._new_model(series, exog, np.ndim(y) == 1, rng)
        try:
            self._train(model, series, exog, n_train, rng)
        finally:  # also where training diverged: the model has its last good parameters
            self.model_, self.y_, self.X_ = model, series, exog
            self._session = model.session()
            self._session.advance(series, exog)
        return self

    def _check_options(self) -> None:
        super()._check_options()
        check.integer(self.window, "window", 2)
        check.integer(self.horizon, "horizon")
        check.flag(self.difference, "difference")
        check.choice(self.loss, "loss", [name for name in REGRESSION_LOSSES if name != "quantile"])
        if check.real(self.huber_delta, "huber_delta") <= 0:
            raise ValueError(f"huber_delta must be positive, got {self.huber_delta!r}")
        if self.quantiles is not None:
            check_quantiles(self.quantiles)
        if self.scale_halflife is not None:
            if check.real(self.scale_halflife, "scale_halflife") <= 0:
                raise ValueError(f"scale_halflife must be positive or None, got {self.scale_halflife!r}")
            if not self.difference:
                raise ValueError(f"scale_halflife={self.scale_halflife!r} needs difference=True, got difference=False")

    def _split(self, n_rows: int) -> int:
        """Return how many rows to train on; the rest, but the horizon, is for validation."""
        n_origins = n_rows - self.horizon
        if n_origins < self.window:
            raise ValueError(
                f"y has {n_rows} rows, but window={self.window} and horizon={self.horizon} "
                f"need at least {self.window + self.horizon}"
            )
        if not self.early_stopping:
            return n_origins
        n_train = n_origins - max(1, round(self.validation_fraction * n_origins))
        # Targets reach `horizon` rows ahead: windows end early enough that none reaches into what is held back.
        if n_train - self.horizon + 1 < self.window:
            raise ValueError(
                f"y has {n_rows} rows, too few for window={self.window} and horizon={self.horizon}: "
                f"early_stopping with validation_fraction={self.validation_fraction!r} leaves {n_train} to train on"
            )
        return n_train

    def _new_model(self, y: Array, X: Array | None, univariate: bool, rng: np.random.Generator) -> ForecasterModel:
        """Make an untrained model with the scaling of the data."""
        halflife = None if self.scale_halflife is None else float(self.scale_halflife)
        frame = Frame.fit(y, bool(self.difference), halflife)
        scaling = SeriesScaling.fit(y, X, self.horizon, frame)
        quantiles = None if self.quantiles is None else tuple(check_quantiles(self.quantiles))
        layout = Layout(int(self.horizon), y.shape[1], 0 if X is None else X.shape[1], univariate, quantiles)
        cell = str(CELL_ALIASES.get(self.cell, self.cell))
        n_inputs = layout.n_targets + layout.n_exog
        recurrent = from_cell(cell, n_inputs, self.hidden_size, **self._recurrent_options(), seed=rng)
        network = Network(recurrent, None, Dense(recurrent.output_size, layout.n_outputs, seed=rng))
        return ForecasterModel(network, scaling, layout)

    def _continued(self, y: Array, X: Array | None) -> ForecasterModel:
        """Return the present model if the data fits it."""
        layout = self.model_.layout
        quantiles = None if self.quantiles is None else tuple(check_quantiles(self.quantiles))
        if (layout.horizon, layout.quantiles) != (self.horizon, quantiles):
            raise ValueError(
                f"warm_start needs horizon={layout.horizon} and quantiles={layout.quantiles} as in the first fit, "
                f"got horizon={self.horizon} and quantiles={self.quantiles!r}"
            )
        as_series(y, "y", layout.n_targets)
        layout.exog(X, "X")
        return self.model_

    def _train(self, model: ForecasterModel, y: Array, X: Array | None, n_train: int, rng: np.random.Generator) -> None:
        rows, targets = training_data(y, X, model.scaling, self.horizon, model.network.dtype)
        stop, validation = n_train, None
        if self.early_stopping:
            stop -= self.horizon - 1
            validation = Sequences(rows, [n_train], [len(rows) - n_train]), targets
        windows = window_sequences(rows, stop, self.window)
        trainer = Trainer(model.network, self._training_config(self._loss()), rng)
        try:
            trainer.fit(windows, targets, validation=validation)
        finally:
            self._report(trainer)

    def _loss(self) -> Loss:
        if self.quantiles is not None:
            return Quantile(self.quantiles)
        return Huber(self.huber_delta) if self.loss == "huber" else REGRESSION_LOSSES[self.loss]()

    # ---- forecasting ----

    def predict(self, steps: int | None = None, X_future: Any = None) -> Array:
        """Forecast what follows the observations so far.

        Parameters
        ----------
        steps : int, optional
            How far; default: `horizon`. Beyond it the forecasts are fed back as if observed, horizon by horizon; see
            `lstmcore.forecasting.ForecasterModel.predict` for how quantiles widen then.
        X_future : array_like [rows, n_exog], optional
            Exogenous columns of the steps to come, needed for steps > horizon if there are any.

        Returns
        -------
        ndarray [steps] or [steps, n_targets] of float64, with a last axis of quantiles if there are any
        """
        self._fitted_model()
        return self._session.forecast(steps, X_future)[0]

    def update(self, y_new: Any, X_new: Any = None) -> RNNForecaster:
        """Take in what was observed since, without training: the state is carried on.

        Parameters
        ----------
        y_new : array_like [T_new] or [T_new, n_targets]
            The rows that follow those known so far. A single row of several targets is [1, n_targets].
        X_new : array_like [T_new, n_exog], optional

        Returns
        -------
        RNNForecaster
            Itself.
        """
        layout = self._fitted_model().layout
        series = as_series(y_new, "y_new", layout.n_targets)
        exog = layout.exog(X_new, "X_new", len(series))
        self._session.advance(series, exog)
        self.y_ = np.concatenate([self.y_, series])
        if exog is not None:
            self.X_ = np.concatenate([self.X_, exog])
        return self

    def predict_in_sample(self) -> Array:
        """Forecasts from every observation so far, each knowing what came up to it, in one pass.

        Rows after those of `fit` are a backtest: the parameters never saw them.

        Returns
        -------
        ndarray [T, horizon], [T, horizon, n_targets], with a last axis of quantiles if there are any
            Entry [t, k] forecasts row t + k + 1 of the observations.
        """
        return self._fitted_model().forecasts(self.y_, self.X_)

    def forecast_at(self, origins: Any) -> Array:
        """Forecasts as they were, or would have been, made at some rows of the observations so far.

        Parameters
        ----------
        origins : int or array_like of int
            Rows; negative ones count from the end.

        Returns
        -------
        ndarray [horizon, ...] for an int, [n_origins, horizon, ...] for an array
        """
        self._fitted_model()
        rows = np.asarray(origins)
        if rows.dtype.kind not in "iu":
            raise TypeError(f"origins must be integers, got {origins!r}")
        if rows.size and not (-len(self.y_) <= rows.min() and rows.max() < len(self.y_)):
            raise ValueError(f"origins must lie in {-len(self.y_)}..{len(self.y_) - 1}, got {origins!r}")
        return np.asarray(self.predict_in_sample()[rows])

    def score(self, y_new: Any, X_new: Any = None) -> float:
        """Skill of the forecasts of what follows: 1 − MSE / MSE of the naive forecast, the latest observation.

        Every step of `y_new` is forecast 1 to `horizon` steps ahead from what came before it; the observations so far
        come first, and remain as they are. 1 is perfect, 0 as good as naive. Targets weigh alike.

        Parameters
        ----------
        y_new : array_like [T_new] or [T_new, n_targets]
            The rows that follow those known so far, `horizon` or more.
        X_new : array_like [T_new, n_exog], optional

        Returns
        -------
        float
        """
        model = self._fitted_model()
        layout = model.layout
        new = as_series(y_new, "y_new", layout.n_targets)
        exog = layout.exog(X_new, "X_new", len(new))
        if len(new) < layout.horizon:
            raise ValueError(f"y_new must have at least horizon={layout.horizon} rows, got {len(new)}")
        y = np.concatenate([self.y_, new])
        X = None if exog is None else np.concatenate([self.X_, exog])
        forecasts, _ = model.run(model.start(1), y[:, None], None if X is None else X[:, None])
        origins = slice(len(self.y_) - 1, len(y) - layout.horizon)
        future = np.lib.stride_tricks.sliding_window_view(y[1:], layout.horizon, axis=0).transpose(0, 2, 1)[origins]
        error = ((future - layout.point(forecasts[origins, 0])) ** 2).mean(axis=(0, 1))
        naive = ((future - y[origins, None]) ** 2).mean(axis=(0, 1))
        return float(1.0 - np.mean(error / np.where(naive > 0, naive, 1.0)))

    def _fitted_model(self) -> ForecasterModel:
        model = super()._fitted_model()
        assert isinstance(model, ForecasterModel)
        return model
