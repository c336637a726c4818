"""Classification of sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from lstmcore._validation import Array
from lstmcore.estimators._base import SequenceEstimator
from lstmcore.losses import CrossEntropy, Loss
from lstmcore.model import ClassifierModel


class RNNClassifier(ClassifierMixin, SequenceEstimator):
    """Classify sequences with a recurrent network.

    A stack of recurrent layers reads each sequence, `pooling` makes one vector of it, and a dense layer with softmax
    gives the class probabilities. Trained by back-propagation through time on minibatches of similar lengths.

    Parameters
    ----------
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
        Hold a stratified part of the data out, stop when its loss no longer falls, and keep the best parameters.
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
    classes_ : ndarray [n_classes]
        The labels, sorted.
    model_ : lstmcore.model.ClassifierModel
        Does the work and needs no scikit-learn.
    loss_curve_ : list of float
        Mean training loss of each epoch.
    validation_scores_, validation_loss_curve_ : list of float or None
        Accuracy and loss of the held-out part after each epoch.
    n_iter_, best_epoch_ : int
        Epochs that were run; the one whose parameters were kept (from 0), None without early stopping.
    n_features_in_ : int
        Features of a step; for a 2-D X, its columns, which are time steps.

    See Also
    --------
    RNNRegressor : The same for numbers.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 12, 1)).astype(np.float32)
    >>> y = np.where(X[:, :, 0].sum(axis=1) > 0, "up", "down")
    >>> clf = RNNClassifier(cell="gru", hidden_size=16, max_epochs=20, learning_rate=1e-2, random_state=0).fit(X, y)
    >>> clf.score(X, y) > 0.9
    True
    """

    model_: ClassifierModel

    def __init__(
        self,
        *,
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

    def fit(self, X: Any, y: Any) -> RNNClassifier:
        """Train from scratch.

        Parameters
        ----------
        X : array_like
            A 3-D array (n_samples, n_timesteps, n_features); a 2-D array (n_samples, n_timesteps) of one feature; or a
            list of n_samples 2-D arrays (n_timesteps, n_features) of different lengths.
        y : array_like [n_samples]
            A label of any type for each sequence.

        Returns
        -------
        RNNClassifier
            Itself.

        Raises
        ------
        ValueError, TypeError
            If an option or argument is not as described; the message names it and quotes the value.
        lstmcore.training.TrainingDiverged
            If the loss stops being a number. The last good parameters are kept.
        """
        sequences = self._read(X, y)
        labels = _labels(y)
        self._start(np.unique(labels), sequences.n_features)
        self._train(sequences, self._encode(labels), hold_out=self.early_stopping)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> RNNClassifier:
        """Train for one more epoch on this data, going on from the present parameters.

        Parameters
        ----------
        X, y
            As in `fit`.
        classes : array_like [n_classes], optional
            All labels there will ever be; needed in the first call.

        Returns
        -------
        RNNClassifier
            Itself.
        """
        if not hasattr(self, "model_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit, got None")
            sequences = self._read(X, y)
            self._start(np.unique(_labels(classes, "classes")), sequences.n_features)
        else:
            known = self.classes_
            if classes is not None and not np.array_equal(np.unique(classes), known):
                raise ValueError(f"classes={classes!r} is not the same as on the last call, where it was {known!r}")
            sequences = self._sequences(X)
        self._train(sequences, self._encode(_labels(y)), max_epochs=1)
        return self

    def predict(self, X: Any) -> Array:
        """Predict the most likely class of each sequence.

        Parameters
        ----------
        X : array_like
            As in `fit`; sequences may have any length.

        Returns
        -------
        ndarray [n_samples]
        """
        sequences = self._sequences(X)
        return self.model_.predict(sequences)

    def predict_proba(self, X: Any) -> Array:
        """Predict class probabilities.

        Parameters
        ----------
        X : array_like
            As in `predict`.

        Returns
        -------
        ndarray [n_samples, n_classes] of float32
            In the order of `classes_`; rows sum to 1.
        """
        sequences = self._sequences(X)
        return self.model_.predict_proba(sequences)

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of `predict_proba`."""
        return np.log(self.predict_proba(X))

    def _start(self, classes: Array, n_features: int) -> None:
        if len(classes) < 2:
            raise ValueError(f"y must hold at least 2 classes, got {len(classes)} class: {classes.tolist()!r}")
        self.classes_ = classes
        rng = self._generator()
        self._begin(ClassifierModel(self._build_network(n_features, len(classes), rng), classes), rng)

    def _encode(self, labels: Array) -> Array:
        """Class numbers [n] of int64."""
        numbers = np.searchsorted(self.classes_, labels)
        known = self.classes_[np.minimum(numbers, len(self.classes_) - 1)] == labels
        if not np.all(known):
            label = labels.tolist()[int(np.argmin(known))]
            raise ValueError(f"y holds the label {label!r}, which is none of {self.classes_.tolist()!r}")
        return numbers.astype(np.int64)

    def _split(self, targets: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Hold out the same share of each class."""
        held_out = np.zeros(len(targets), bool)
        for label in range(len(self.classes_)):
            members = rng.permutation(np.flatnonzero(targets == label))
            held_out[members[: round(self.validation_fraction * len(members))]] = True
        if not held_out.any():
            raise ValueError(
                f"early_stopping with validation_fraction={self.validation_fraction!r} holds out no sequence of "
                f"{len(targets)}: the classes are too small"
            )
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)

    def _loss(self) -> Loss:
        return CrossEntropy()

    def _score(self, outputs: Array, targets: Array) -> float:
        return float(np.mean(outputs.argmax(axis=1) == targets))


def _labels(y: Any, name: str = "y") -> Array:
    """Labels as a 1-D array, checked to be classes."""
    labels = column_or_1d(y, warn=True)
    if labels.dtype.kind == "f":
        bad = ~np.isfinite(labels)
        if bad.any():
            i = int(np.argmax(bad))
            raise ValueError(
                f"{name} contains {'NaN' if np.isnan(labels[i]) else 'infinity'}: {name}[{i}] is {labels[i]}"
            )
    check_classification_targets(labels)
    return np.asarray(labels)
