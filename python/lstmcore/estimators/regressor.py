"""Regression on sequences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import check_array

from lstmcore import _validation as check
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array
from lstmcore.estimators._base import SamplesEstimator, SequenceEstimator, check_length
from lstmcore.estimators._options import documented
from lstmcore.losses import REGRESSION_LOSSES, Huber, Loss, Quantile, check_quantiles
from lstmcore.model import RegressorModel
from lstmcore.sequences import Sequences


@dataclass(kw_only=True, eq=False, repr=False)
class Regression(RegressorMixin, SamplesEstimator):
    """Samples with numbers, whatever the samples are: subclasses give `_parts`.

    Parameters
    ----------
    loss : {"squared", "absolute", "huber", "quantile"}, default="squared"
        What is minimised, of standardized targets: the model learns the mean, the median, something between them, or
        quantiles.
    huber_delta : float, default=1.0
        Where "huber" turns from squared to absolute, in standard deviations of the target.
    quantiles : sequence of float, default=(0.1, 0.5, 0.9)
        What "quantile" learns. `predict` gives the one nearest to 0.5, `predict_quantiles` all; they never cross.
    """

    loss: str = "squared"
    huber_delta: float = 1.0
    quantiles: Any = (0.1, 0.5, 0.9)
    model_: RegressorModel = field(init=False)

    def _check_options(self) -> None:
        super()._check_options()
        check.choice(self.loss, "loss", REGRESSION_LOSSES)
        if check.real(self.huber_delta, "huber_delta") <= 0:
            raise ValueError(f"huber_delta must be positive, got {self.huber_delta!r}")
        check_quantiles(self.quantiles)

    def _read_targets(self, y: Any, sequences: Sequences, name: str = "y") -> Array:
        check_length(y, sequences, name, self)
        return np.asarray(check_array(y, ensure_2d=False, dtype=np.float64, input_name=name))

    def _new_model(
        self, sequences: Sequences, raw: Array, weights: Array | None, rng: np.random.Generator
    ) -> RegressorModel:
        columns = raw.reshape(len(raw), -1)
        inputs, network = self._parts(sequences, weights, self._loss().n_outputs(columns.shape[1]), rng)
        quantiles = check_quantiles(self.quantiles) if self.loss == "quantile" else None
        scaler = Standardizer.fit(columns, weights)
        return RegressorModel(network, inputs, scaler, raw.ndim == 1, quantiles)

    def _encode(self, raw: Array) -> Array:
        """Standardized targets [n, n_targets] of the network's dtype."""
        model = self.model_
        columns = raw.reshape(len(raw), -1)
        if columns.shape[1] != len(model.scaler.mean) or (raw.ndim == 1) != model.squeeze:
            expected = "[n]" if model.squeeze else f"[n, {len(model.scaler.mean)}]"
            raise ValueError(f"y must have shape {expected} as in the first call, got {raw.shape}")
        return np.ascontiguousarray(model.scaler.apply(columns), dtype=model.network.dtype)

    def _loss(self) -> Loss:
        if self.loss == "huber":
            return Huber(self.huber_delta)
        return Quantile(self.quantiles) if self.loss == "quantile" else REGRESSION_LOSSES[self.loss]()

    def _score(self, outputs: Array, targets: Array, weights: Array | None = None) -> float:
        """R² of the prediction, averaged over targets."""
        model = self.model_
        predicted = model._finish(outputs).reshape(len(targets), -1)
        return float(r2_score(model.scaler.undo(targets.astype(np.float64)), predicted, sample_weight=weights))


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class RNNRegressor(Regression, SequenceEstimator):
    """Predict numbers from sequences with a recurrent network.

    A stack of recurrent layers reads each sequence, `pooling` makes one vector of it, and a dense layer gives the
    prediction. Targets y [n_samples] or [n_samples, n_targets], in any units, are standardized inside, so that options
    mean the same whatever they are.

    Parameters
    ----------
    pooling : {"last", "mean", "max", "attention"}, default="last"
        What the dense layer sees: the hidden state after the last step, or the mean, the maximum or a weighted mean
        (with learnt weights, Felbo et al. 2017) of the outputs over the steps.
    patch_size : int, default=1
        Time points that make one step of the network: for long, smooth series.

    Attributes
    ----------
    model_ : lstmcore.model.RegressorModel
        Does the work and needs no scikit-learn.
    history_ : dict of lists
        A column for each measure, an entry an epoch: "epoch", "loss", "learning_rate", "seconds" …
    loss_curve_ : list of float
        Mean training loss of each epoch, of standardized targets.
    validation_scores_, validation_loss_curve_ : list of float or None
        R² of the prediction and loss of the validation part after each epoch.
    n_iter_, best_epoch_ : int
        Epochs that were run; the one whose parameters were kept (from 0), None without validation data.
    n_features_in_ : int
        Features of a step; for a 2-D X, its columns, which are time steps.
    feature_names_in_ : ndarray
        Names of the columns, if X was a frame.

    See Also
    --------
    RNNClassifier : The same for classes.
    RNNForecaster : Forecasts of a series.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((300, 10, 1)).astype(np.float32)
    >>> y = X[:, :, 0].sum(axis=1)
    >>> reg = RNNRegressor(hidden_size=16, max_epochs=40, learning_rate=1e-2, random_state=0).fit(X, y)
    >>> reg.score(X, y) > 0.9
    True
    """

    pooling: str = "last"
    patch_size: int = 1
    model_: RegressorModel = field(init=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, *, static: Any = None) -> RNNRegressor:
        """Train for one more epoch on this data, going on from the present parameters and scaling.

        Parameters
        ----------
        X, y, sample_weight, static
            As in `fit`.

        Returns
        -------
        RNNRegressor
            Itself.
        """
        self._partial_fit(X, y, sample_weight, static)
        return self

    def predict(self, X: Any, static: Any = None) -> Array:
        """Predict the target of each sequence.

        Parameters
        ----------
        X, static : array_like
            As in `fit`; sequences may have any length.

        Returns
        -------
        ndarray [n_samples] or [n_samples, n_targets], as y was, of float64
        """
        return self._fitted_model().predict(self._sequences(X, static))

    def predict_quantiles(self, X: Any, static: Any = None) -> Array:
        """Predict the `quantiles` of the target of each sequence; needs ``loss="quantile"``.

        Parameters
        ----------
        X, static : array_like
            As in `predict`.

        Returns
        -------
        ndarray [n_samples, n_quantiles] or [n_samples, n_targets, n_quantiles] of float64, ascending
        """
        sequences = self._sequences(X, static)
        return self.model_.predict_quantiles(sequences)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        tags.target_tags.multi_output = True
        return tags
