"""Regression on sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array

from lstmcore import _validation as check
from lstmcore._validation import Array
from lstmcore.estimators._base import SequenceEstimator
from lstmcore.losses import REGRESSION_LOSSES, Huber, Loss, Quantile, check_quantiles
from lstmcore.model import RegressorModel, Standardizer


class RNNRegressor(RegressorMixin, SequenceEstimator):
    """Predict numbers from sequences with a recurrent network.

    A stack of recurrent layers reads each sequence, `pooling` makes one vector of it, and a dense layer gives the
    prediction. Targets are standardized inside, so that options mean the same in any units.

    Parameters
    ----------
    loss : {"squared", "absolute", "huber", "quantile"}, default="squared"
        What is minimised, of standardized targets: the model learns the mean, the median, something between them, or
        quantiles.
    huber_delta : float, default=1.0
        Where "huber" turns from squared to absolute, in standard deviations of the target.
    quantiles : sequence of float, default=(0.1, 0.5, 0.9)
        What "quantile" learns. `predict` gives the one nearest to 0.5, `predict_quantiles` all.
    cell : str, default="lstm"
        A name that `lstmcore.cells` lists; "rnn" means "rnn_tanh".
    hidden_size, num_layers : int, default=64, 1
        Size of the recurrent stack.
    bidirectional : bool, default=False
        Read each sequence from both ends.
    dropout : float, default=0.0
        Share of the outputs dropped between layers in training.
    pooling : {"last", "mean"}, default="last"
        What the dense layer sees: the hidden state after the last step, or the mean of the outputs over the steps.
    max_epochs : int, default=100
        Passes over the data.
    batch_size : int, default=32
        Sequences of a step of the optimizer.
    learning_rate : float, default=1e-3
    optimizer : {"adam", "adamw", "sgd"}, default="adam"
    momentum : float, default=0.9
        Of "sgd".
    weight_decay, l1 : float, default=0.0
        Strength of the L2 and L1 penalties on the weights, as in `torch.optim`; biases are left alone.
    tbptt_steps : int or None, default=None
        Truncated back-propagation: how many steps gradients flow back. With pooling "last" through the last so many
        steps of each sequence; with "mean" to the start of each chunk of so many steps. None: through all.
    clip_norm : float or None, default=1.0
        Largest global norm of a gradient.
    early_stopping : bool, default=False
        Hold a part of the data out, stop when its loss no longer falls, and keep the best parameters.
    validation_fraction : float, default=0.1
        Share of the sequences that is held out.
    n_iter_no_change : int, default=10
        Epochs to wait for the validation loss to fall by `tol`.
    tol : float, default=1e-4
    random_state : int, RandomState, Generator or None, default=None
        An int makes ``fit`` repeatable: the same bits for any number of threads.
    verbose : int, default=0
        1 shows a progress bar (tqdm).

    Attributes
    ----------
    model_ : lstmcore.model.RegressorModel
        Does the work and needs no scikit-learn.
    loss_curve_ : list of float
        Mean training loss of each epoch, of standardized targets.
    validation_scores_, validation_loss_curve_ : list of float or None
        R² of the prediction and loss of the held-out part after each epoch.
    n_iter_, best_epoch_ : int
        Epochs that were run; the one whose parameters were kept (from 0), None without early stopping.
    n_features_in_ : int
        Features of a step; for a 2-D X, its columns, which are time steps.

    See Also
    --------
    RNNClassifier : The same for classes.

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

    model_: RegressorModel

    def __init__(
        self,
        *,
        loss: str = "squared",
        huber_delta: float = 1.0,
        quantiles: Any = (0.1, 0.5, 0.9),
        cell: str = "lstm",
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        pooling: str = "last",
        max_epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        optimizer: str = "adam",
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        l1: float = 0.0,
        tbptt_steps: int | None = None,
        clip_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.loss = loss
        self.huber_delta = huber_delta
        self.quantiles = quantiles
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.pooling = pooling
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.l1 = l1
        self.tbptt_steps = tbptt_steps
        self.clip_norm = clip_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> RNNRegressor:
        """Train from scratch.

        Parameters
        ----------
        X : array_like
            A 3-D array (n_samples, n_timesteps, n_features); a 2-D array (n_samples, n_timesteps) of one feature; or a
            list of n_samples 2-D arrays (n_timesteps, n_features) of different lengths.
        y : array_like [n_samples] or [n_samples, n_targets]
            Targets, in any units.

        Returns
        -------
        RNNRegressor
            Itself.

        Raises
        ------
        ValueError, TypeError
            If an option or argument is not as described; the message names it and quotes the value.
        lstmcore.training.TrainingDiverged
            If the loss stops being a number. The last good parameters are kept.
        """
        sequences = self._read(X, y)
        targets = _targets(y)
        self._start(targets, sequences.n_features)
        self._train(sequences, self._encode(targets), hold_out=self.early_stopping)
        return self

    def partial_fit(self, X: Any, y: Any) -> RNNRegressor:
        """Train for one more epoch on this data, going on from the present parameters and target scaling.

        Parameters
        ----------
        X, y
            As in `fit`.

        Returns
        -------
        RNNRegressor
            Itself.
        """
        targets = _targets(y)
        if not hasattr(self, "model_"):
            sequences = self._read(X, y)
            self._start(targets, sequences.n_features)
        else:
            sequences = self._sequences(X)
        self._train(sequences, self._encode(targets), max_epochs=1)
        return self

    def predict(self, X: Any) -> Array:
        """Predict the target of each sequence.

        Parameters
        ----------
        X : array_like
            As in `fit`; sequences may have any length.

        Returns
        -------
        ndarray [n_samples] or [n_samples, n_targets], as y was, of float64
        """
        sequences = self._sequences(X)
        return self.model_.predict(sequences)

    def predict_quantiles(self, X: Any) -> Array:
        """Predict the `quantiles` of the target of each sequence; needs ``loss="quantile"``.

        Parameters
        ----------
        X : array_like
            As in `predict`.

        Returns
        -------
        ndarray [n_samples, n_quantiles] or [n_samples, n_targets, n_quantiles] of float64, ascending
        """
        sequences = self._sequences(X)
        return self.model_.predict_quantiles(sequences)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _check_options(self) -> None:
        super()._check_options()
        check.choice(self.loss, "loss", REGRESSION_LOSSES)
        if check.real(self.huber_delta, "huber_delta") <= 0:
            raise ValueError(f"huber_delta must be positive, got {self.huber_delta!r}")
        check_quantiles(self.quantiles)

    def _start(self, targets: Array, n_features: int) -> None:
        columns = targets.reshape(len(targets), -1)
        rng = self._generator()
        network = self._build_network(n_features, self._loss().n_outputs(columns.shape[1]), rng)
        quantiles = check_quantiles(self.quantiles) if self.loss == "quantile" else None
        self._begin(RegressorModel(network, Standardizer.fit(columns), targets.ndim == 1, quantiles), rng)

    def _encode(self, targets: Array) -> Array:
        """Standardized targets [n, n_targets] of the network's dtype."""
        model = self.model_
        columns = targets.reshape(len(targets), -1)
        if columns.shape[1] != len(model.scaler.mean) or (targets.ndim == 1) != model.squeeze:
            expected = "[n]" if model.squeeze else f"[n, {len(model.scaler.mean)}]"
            raise ValueError(f"y must have shape {expected} as in the first call, got {targets.shape}")
        return np.ascontiguousarray(model.scaler.apply(columns), dtype=model.network.dtype)

    def _loss(self) -> Loss:
        if self.loss == "huber":
            return Huber(self.huber_delta)
        return Quantile(self.quantiles) if self.loss == "quantile" else REGRESSION_LOSSES[self.loss]()

    def _score(self, outputs: Array, targets: Array) -> float:
        """R² of the prediction, averaged over targets."""
        model = self.model_
        predicted = model._finish(outputs).reshape(len(targets), -1)
        actual = model.scaler.undo(targets.astype(np.float64))
        residual = ((actual - predicted) ** 2).sum(axis=0)
        total = ((actual - actual.mean(axis=0)) ** 2).sum(axis=0)
        return float(np.mean(1 - residual / np.where(total > 0, total, 1)))


def _targets(y: Any) -> Array:
    """Targets [n] or [n, n_targets] as finite float64."""
    return np.asarray(check_array(y, ensure_2d=False, dtype=np.float64, input_name="y"))
