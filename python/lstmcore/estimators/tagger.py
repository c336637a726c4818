"""A label for every step of a sequence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmcore._samples import Samples
from lstmcore._validation import Array
from lstmcore.estimators._base import SamplesEstimator, SequenceEstimator
from lstmcore.estimators._options import LabelOptions, documented
from lstmcore.estimators.classifier import encode_labels
from lstmcore.losses import CrossEntropy, Loss
from lstmcore.model import TaggerModel
from lstmcore.sequences import Sequences


@dataclass(kw_only=True, eq=False, repr=False)
class Tagging(LabelOptions, SamplesEstimator):
    """Samples with a label for each of their rows, steps or nodes: subclasses give `_parts`."""

    model_: TaggerModel = field(init=False)

    def _share_right(self, sequences: Sequences, y: Any, sample_weight: Any) -> float:
        """Share of the rows of sequences whose label is predicted."""
        right = np.concatenate(self.model_.predict(sequences)) == self._read_targets(y, sequences)
        weights = self._read_weights(sample_weight, sequences)
        return float(np.average(right, weights=None if weights is None else np.repeat(weights, sequences.lengths)))

    def _check_options(self) -> None:
        super()._check_options()
        self._check_label_options()

    def _read(self, X: Any, name: str, static: Any = None) -> Sequences:
        return super()._read(X, name, static).joined()

    def _read_targets(self, y: Any, sequences: Sequences, name: str = "y") -> Array:
        """Labels of all steps, sequence after sequence."""
        if y is None or isinstance(y, str) or not hasattr(y, "__iter__"):
            raise ValueError(f"{name} must be a list of the labels of each {sequences.unit}, got {y!r}")
        parts = [np.asarray(part) for part in y]
        if len(parts) != len(sequences):
            raise ValueError(
                f"{name} must hold the labels of {len(sequences)} {sequences.unit}s, as X does, got {len(parts)}"
            )
        for i, (part, length) in enumerate(zip(parts, sequences.lengths, strict=True)):
            if part.shape != (length,):
                raise ValueError(
                    f"{name}[{i}] must hold {length} labels, one for each {sequences.part} of X[{i}], got {part.shape}"
                )
        labels = np.concatenate(parts)
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise ValueError(f"{name} contains NaN or infinity")
        return labels

    def _new_model(
        self, sequences: Sequences, raw: Array, weights: Array | None, rng: np.random.Generator
    ) -> TaggerModel:
        classes = np.unique(raw)
        if len(classes) < 2:
            raise ValueError(f"y must hold at least 2 classes, got {len(classes)} class: {classes.tolist()!r}")
        inputs, network = self._parts(sequences, weights, len(classes), rng)
        self.classes_ = classes
        return TaggerModel(network, inputs, classes)

    def _encode(self, raw: Array) -> Array:
        return encode_labels(raw, self.classes_)

    def _prepared(self, sequences: Sequences, raw: Array, weights: Array | None) -> Samples:
        by_step = None if weights is None else np.repeat(weights, sequences.lengths)
        return super()._prepared(sequences, raw, by_step)._replace(by_row=True)

    def _loss(self) -> Loss:
        return CrossEntropy(self.label_smoothing)

    def _score(self, outputs: Array, targets: Array, weights: Array | None = None) -> float:
        return float(np.average(outputs.argmax(axis=1) == targets, weights=weights))


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class RNNTagger(Tagging, SequenceEstimator):
    """Label every step of sequences with a recurrent network.

    A stack of recurrent layers reads each sequence, and a dense layer with softmax gives the class probabilities of
    every step. Nothing is padded: loss and scores are over real steps only.

    y is a label sequence for each sequence: a list of 1-D arrays as long as their sequences, or an array
    [n_samples, n_timesteps].

    Attributes
    ----------
    classes_ : ndarray [n_classes]
        The labels, sorted.
    model_ : lstmcore.model.TaggerModel
        Does the work and needs no scikit-learn.
    history_ : dict of lists
        A column for each measure, an entry an epoch: "epoch", "loss", "learning_rate", "seconds" …
    loss_curve_ : list of float
        Mean training loss of each epoch.
    validation_scores_, validation_loss_curve_ : list of float or None
        Accuracy over steps and loss of the validation part after each epoch.
    n_iter_, best_epoch_ : int
        Epochs that were run; the one whose parameters were kept (from 0), None without validation data.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.standard_normal((n, 1)) for n in rng.integers(5, 15, 200)]
    >>> y = [np.where(np.cumsum(x[:, 0]) > 0, "above", "below") for x in X]
    >>> tagger = RNNTagger(cell="gru", hidden_size=16, max_epochs=20, learning_rate=1e-2, random_state=0).fit(X, y)
    >>> tagger.score(X, y) > 0.9
    True
    """

    model_: TaggerModel = field(init=False)

    def predict(self, X: Any, static: Any = None) -> Any:
        """Predict the most likely label of every step.

        Parameters
        ----------
        X, static : array_like
            As in `fit`; sequences may have any length.

        Returns
        -------
        list of ndarray [n_timesteps], or one ndarray [n_samples, n_timesteps] if X is an array
        """
        return self._fitted_model().predict(X if isinstance(X, np.ndarray) else self._sequences(X, static), static)

    def predict_proba(self, X: Any, static: Any = None) -> Any:
        """Predict the class probabilities of every step.

        Parameters
        ----------
        X, static : array_like
            As in `predict`.

        Returns
        -------
        list of ndarray [n_timesteps, n_classes], or one ndarray [n_samples, n_timesteps, n_classes] if X is an array
        """
        self._fitted_model()
        return self.model_.predict_proba(X if isinstance(X, np.ndarray) else self._sequences(X, static), static)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, static: Any = None) -> float:
        """Share of the steps whose label is predicted.

        Parameters
        ----------
        X, y, static
            As in `fit`.
        sample_weight : array_like [n_samples], optional
            Weigh the steps of each sequence.

        Returns
        -------
        float
        """
        return self._share_right(self._sequences(X, static), y, sample_weight)
