"""Classification of sequences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from lstmcore._samples import Samples
from lstmcore._validation import Array
from lstmcore.estimators._base import SamplesEstimator, SequenceEstimator, check_length
from lstmcore.estimators._options import LabelOptions, documented
from lstmcore.losses import BinaryCrossEntropy, CrossEntropy, Loss
from lstmcore.model import ClassifierModel
from lstmcore.sequences import Sequences


@dataclass(kw_only=True, eq=False, repr=False)
class Classification(ClassifierMixin, LabelOptions, SamplesEstimator):
    """Samples with labels, whatever the samples are: subclasses give `_parts`."""

    model_: ClassifierModel = field(init=False)
    _known_classes: Array | None = field(init=False, default=None)  # what partial_fit was told

    def _check_options(self) -> None:
        super()._check_options()
        self._check_label_options()

    def _read_targets(self, y: Any, sequences: Sequences, name: str = "y") -> Array:
        check_length(y, sequences, name, self)
        shape = np.asarray(y).shape
        if len(shape) == 2 and shape[1] > 1:
            check_classification_targets(y)
            if type_of_target(y) != "multilabel-indicator":
                raise ValueError(
                    f"{name} must hold one label for each sequence, or be an indicator matrix of zeros and ones; "
                    f"got shape {shape}. For several labels with several values each: "
                    f"sklearn.multioutput.MultiOutputClassifier"
                )
            return np.asarray(y)
        return _labels(y, name)

    def _new_model(
        self, sequences: Sequences, raw: Array, weights: Array | None, rng: np.random.Generator
    ) -> ClassifierModel:
        multilabel = raw.ndim == 2
        classes = np.arange(raw.shape[1]) if multilabel else np.unique(raw)
        if not multilabel and self._known_classes is not None:
            classes = self._known_classes
        if len(classes) < 2:
            raise ValueError(f"y must hold at least 2 classes, got {len(classes)} class: {classes.tolist()!r}")
        inputs, network = self._parts(sequences, weights, len(classes), rng)
        self.classes_ = classes
        return ClassifierModel(network, inputs, classes, multilabel)

    def _encode(self, raw: Array) -> Array:
        """Class numbers [n] of int64, or zeros and ones [n, n_classes]."""
        model = self.model_
        if (raw.ndim == 2) != model.multilabel or (model.multilabel and raw.shape[1] != len(self.classes_)):
            expected = f"[n, {len(self.classes_)}]" if model.multilabel else "[n]"
            raise ValueError(f"y must have shape {expected} as in the first call, got {raw.shape}")
        if model.multilabel:
            return np.ascontiguousarray(raw, dtype=model.network.dtype)
        return encode_labels(raw, self.classes_)

    def _split(self, data: Samples, rng: np.random.Generator) -> tuple[Array, Array]:
        """Hold out the same share of each class, but never all of it."""
        targets = data.targets
        if targets.ndim == 2:
            return super()._split(data, rng)
        held_out = np.zeros(len(targets), bool)
        for label in range(len(self.classes_)):
            members = rng.permutation(np.flatnonzero(targets == label))
            n_held_out = min(round(self.validation_fraction * len(members)), len(members) - 1)
            held_out[members[:n_held_out]] = True
        if not held_out.any():
            raise ValueError(
                f"early_stopping with validation_fraction={self.validation_fraction!r} holds out no "
                f"{data.sequences.unit} of {len(targets)}: the classes are too small"
            )
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)

    def _loss(self) -> Loss:
        return BinaryCrossEntropy() if self.model_.multilabel else CrossEntropy(self.label_smoothing)

    def _score(self, outputs: Array, targets: Array, weights: Array | None = None) -> float:
        if self.model_.multilabel:
            right = ((outputs > 0) == (targets > 0.5)).all(axis=1)
        else:
            right = outputs.argmax(axis=1) == targets
        return float(np.average(right, weights=weights))


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class RNNClassifier(Classification, SequenceEstimator):
    """Classify sequences with a recurrent network.

    A stack of recurrent layers reads each sequence, `pooling` makes one vector of it, and a dense layer with softmax
    gives the class probabilities. Trained by back-propagation through time on minibatches of similar lengths.

    y is a label of any type for each sequence, or, for several labels at once, an indicator matrix
    [n_samples, n_classes] of zeros and ones; each class then has a probability of its own.

    Parameters
    ----------
    pooling : {"last", "mean", "max", "attention"}, default="last"
        What the dense layer sees: the hidden state after the last step, or the mean, the maximum or a weighted mean
        (with learnt weights, Felbo et al. 2017) of the outputs over the steps.
    patch_size : int, default=1
        Time points that make one step of the network: for long, smooth series.

    Attributes
    ----------
    classes_ : ndarray [n_classes]
        The labels, sorted; the columns' numbers if y was an indicator matrix.
    model_ : lstmcore.model.ClassifierModel
        Does the work and needs no scikit-learn.
    history_ : dict of lists
        A column for each measure, an entry an epoch: "epoch", "loss", "learning_rate", "seconds" …
    loss_curve_ : list of float
        Mean training loss of each epoch.
    validation_scores_, validation_loss_curve_ : list of float or None
        Accuracy and loss of the validation part after each epoch.
    n_iter_, best_epoch_ : int
        Epochs that were run; the one whose parameters were kept (from 0), None without validation data.
    n_features_in_ : int
        Features of a step; for a 2-D X, its columns, which are time steps.
    feature_names_in_ : ndarray
        Names of the columns, if X was a frame.

    See Also
    --------
    RNNRegressor : The same for numbers.
    RNNTagger : A label for every step.

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

    pooling: str = "last"
    patch_size: int = 1
    model_: ClassifierModel = field(init=False)

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, *, static: Any = None
    ) -> RNNClassifier:
        """Train for one more epoch on this data, going on from the present parameters.

        Parameters
        ----------
        X, y, sample_weight, static
            As in `fit`. The scaling of X is that of the first call.
        classes : array_like [n_classes], optional
            All labels there will ever be; needed in the first call.

        Returns
        -------
        RNNClassifier
            Itself.
        """
        if not hasattr(self, "model_") and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit, got None")
        if classes is not None:
            known = np.unique(_labels(classes, "classes"))
            if hasattr(self, "model_") and not np.array_equal(known, self.classes_):
                raise ValueError(
                    f"classes={classes!r} is not the same as on the last call, where it was {self.classes_!r}"
                )
            self._known_classes = known
        self._partial_fit(X, y, sample_weight, static)
        self._known_classes = None
        return self

    def predict(self, X: Any, static: Any = None) -> Array:
        """Predict the most likely class of each sequence.

        Parameters
        ----------
        X, static : array_like
            As in `fit`; sequences may have any length.

        Returns
        -------
        ndarray [n_samples], or [n_samples, n_classes] of 0 and 1 if y was an indicator matrix
        """
        return self._fitted_model().predict(self._sequences(X, static))

    def predict_proba(self, X: Any, static: Any = None) -> Array:
        """Predict class probabilities.

        Parameters
        ----------
        X, static : array_like
            As in `predict`.

        Returns
        -------
        ndarray [n_samples, n_classes] of float32
            In the order of `classes_`; rows sum to 1, unless y was an indicator matrix.
        """
        sequences = self._sequences(X, static)
        return self.model_.predict_proba(sequences)

    def predict_log_proba(self, X: Any, static: Any = None) -> Array:
        """Logarithms of `predict_proba`."""
        return np.log(self.predict_proba(X, static))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        tags.classifier_tags.multi_label = True
        return tags


def encode_labels(labels: Array, classes: Array, name: str = "y") -> Array:
    """Numbers [n] of int64 of labels in sorted classes."""
    numbers = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    known = classes[numbers] == labels
    if not np.all(known):
        label = labels.tolist()[int(np.argmin(known))]
        raise ValueError(f"{name} holds the label {label!r}, which is none of {classes.tolist()!r}")
    return numbers.astype(np.int64)


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
