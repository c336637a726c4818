"""What all estimators share: the way from the options and the user's data to the trainer."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_feature_names, _check_sample_weight

from lstmcore import _validation as check
from lstmcore import checkpoint
from lstmcore._inputs import Inputs
from lstmcore._samples import Samples
from lstmcore._validation import Array
from lstmcore.estimators._options import NetworkOptions, TrainingOptions
from lstmcore.estimators._sequence_options import SequenceOptions
from lstmcore.graphs import Graphs
from lstmcore.losses import Loss
from lstmcore.model import Model, SequenceModel
from lstmcore.sequences import Sequences, as_sequences
from lstmcore.training import Trainer


@dataclass(kw_only=True, eq=False, repr=False)
class Estimator(TrainingOptions, BaseEstimator):
    """Base of the estimators: dataclasses whose fields are their options, and whose ``fit`` sets `model_`.

    `model_` (a `lstmcore.model.Model`) predicts, streams and saves; the estimator delegates to it.
    """

    model_: Model = field(init=False)

    def save(self, path: Any) -> None:
        """Write the fitted model to one safetensors file that `lstmcore.load` reads.

        Parameters
        ----------
        path : str or path
            An existing file is replaced only by a complete one.
        """
        self._fitted_model().save(path)

    def _fitted_model(self) -> Any:
        """Return `model_`, or raise NotFittedError."""
        model = getattr(self, "model_", None)
        if model is None:
            raise NotFittedError(f"this {type(self).__name__} instance is not fitted yet: call fit first")
        return model

    def _generator(self) -> np.random.Generator:
        """Random generator from `random_state` (None, int, RandomState or Generator)."""
        if isinstance(self.random_state, np.random.Generator):
            return self.random_state
        return np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1, size=4))

    def _report(self, trainer: Trainer) -> None:
        """Copy what happened into the fitted attributes."""
        history = trainer.history
        self.history_ = history.columns()
        self.loss_curve_ = history.loss_curve
        self.validation_loss_curve_ = history.validation_curve or None
        self.validation_scores_ = history.validation_scores or None
        self.n_iter_ = len(history.loss_curve)
        self.best_epoch_ = history.best_epoch


@dataclass(kw_only=True, eq=False, repr=False)
class RNNEstimator(NetworkOptions, Estimator):
    """Base of the estimators with a stack of recurrent layers."""

    def session(self, n_streams: int = 1) -> Any:
        """Open live streams of the fitted model; see `lstmcore.streaming.Session`."""
        return self._fitted_model().session(n_streams)

    def _check_options(self) -> None:
        """Check every option; ValueError or TypeError names it and quotes its value."""
        NetworkOptions._check_options(self)
        TrainingOptions._check_options(self)


@dataclass(kw_only=True, eq=False, repr=False)
class SupervisedEstimator(Estimator):
    """Base of the estimators whose trainer goes through samples again and again. Subclasses give `_loss`, `_score`."""

    _trainer: Trainer = field(init=False)

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _score(self, outputs: Array, targets: Array, weights: Array | None = None) -> float:
        raise NotImplementedError

    def _prepare_training(self, model: Any, rng: np.random.Generator) -> None:
        """Keep a new model, to be trained."""
        self.model_ = model
        self._trainer = Trainer(model.network, self._training_config(self._loss()), rng)

    def _read_weights(self, sample_weight: Any, sequences: Sized) -> Array | None:
        if sample_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, np.empty((len(sequences), 1)), ensure_non_negative=True)
        if not weights.any():
            raise ValueError("sample_weight must hold a weight above zero, got only zeros")
        return np.asarray(weights)

    def _train(
        self, data: Samples, validation: Samples | None, max_epochs: int | None = None, resume_from: Any = None
    ) -> None:
        trainer = self._trainer
        trainer.config = self._training_config(self._loss())
        if max_epochs is not None:  # one more epoch of a training whose end nobody knows: no schedule
            trainer.config = replace(trainer.config, schedule="constant", warmup_epochs=0)
        trainer.config.score = self._score if validation is not None else None
        trainer.learning_rate = float(self.learning_rate)
        try:
            trainer.fit(
                data.sequences,
                data.targets,
                weights=data.weights,
                validation=None if validation is None else validation[:3],
                max_epochs=max_epochs,
                resume_from=resume_from,
            )
        finally:
            trainer.config.score = None
            self._report(trainer)

    @staticmethod
    def _split_seed(resume_from: Any, rng: np.random.Generator) -> int:
        """What decides who is held out: the same for a training that is resumed."""
        if resume_from is None:
            return int(rng.integers(1 << 62))
        extra = checkpoint.read_extra(resume_from)
        if "split_seed" not in extra:
            raise ValueError(f"resume_from={str(resume_from)!r} is a checkpoint of a fit without early_stopping")
        return int(extra["split_seed"])

    def _split_generator(self, resume_from: Any) -> np.random.Generator:
        """From that seed, kept for checkpoints."""
        seed = self._trainer.extra["split_seed"] = self._split_seed(resume_from, self._trainer.rng)
        return np.random.default_rng(seed)

    def _split(self, data: Samples, rng: np.random.Generator) -> tuple[Array, Array]:
        """Indices to train on and to hold out."""
        n = len(data.sequences)
        n_held_out = max(1, round(self.validation_fraction * n))
        if n - n_held_out < 1:
            raise ValueError(
                f"early_stopping with validation_fraction={self.validation_fraction!r} leaves nothing of {n} "
                f"{data.sequences.unit}s"
            )
        shuffled = rng.permutation(n)
        return np.sort(shuffled[n_held_out:]), np.sort(shuffled[:n_held_out])


@dataclass(kw_only=True, eq=False, repr=False)
class SamplesEstimator(SupervisedEstimator):
    """Base of the estimators that learn from many samples: ``_fit → _start, _train → Trainer.fit``.

    Subclasses give `_read_targets`, `_new_model` and `_encode`, too.
    """

    model_: SequenceModel = field(init=False)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        X_val: Any,
        y_val: Any,
        resume_from: Any,
        static: Any = None,
        static_val: Any = None,
    ) -> Any:
        """Train, from scratch unless `warm_start` is set; see `SequenceEstimator.fit`."""
        self._check_options()
        sequences = self._read(X, "X", static)
        raw = self._read_targets(y, sequences)
        weights = self._read_weights(sample_weight, sequences)
        if not (self.warm_start and hasattr(self, "model_")):
            self._set_features(X, sequences)
            self._start(sequences, raw, weights)
        self._check_features(X, sequences)
        data = self._prepared(sequences, raw, weights)
        validation = None
        if X_val is not None or y_val is not None:
            held_out = self._read(X_val, "X_val", static_val)
            self._check_features(X_val, held_out)
            validation = self._prepared(held_out, self._read_targets(y_val, held_out, "y_val"), None)
        elif self.early_stopping:
            train, rest = self._split(data, self._split_generator(resume_from))
            data, validation = data.take(train), data.take(rest)
        self._train(data, validation, resume_from=resume_from)
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, static: Any) -> None:
        """Train one more epoch; `_start` must have been called, or is called with this data."""
        sequences = self._read(X, "X", static)
        raw = self._read_targets(y, sequences)
        weights = self._read_weights(sample_weight, sequences)
        if not hasattr(self, "model_"):
            self._check_options()
            self._set_features(X, sequences)
            self._start(sequences, raw, weights)
        self._check_features(X, sequences)
        self._train(self._prepared(sequences, raw, weights), None, max_epochs=1)

    # ---- what subclasses give ----

    def _read_targets(self, y: Any, sequences: Sequences, name: str = "y") -> Array:
        """Check the user's targets: an array whose first axis is that of the sequences."""
        raise NotImplementedError

    def _parts(
        self, sequences: Sequences, weights: Array | None, n_outputs: int, rng: np.random.Generator
    ) -> tuple[Inputs, Any]:
        """Make what prepares the samples, and the network."""
        raise NotImplementedError

    def _new_model(self, sequences: Sequences, raw: Array, weights: Array | None, rng: np.random.Generator) -> Any:
        """Make an untrained model for these sequences and targets; see `_parts`."""
        raise NotImplementedError

    def _encode(self, raw: Array) -> Array:
        """Targets as the loss takes them."""
        raise NotImplementedError

    def _class_weights(self, raw: Array) -> Array | None:
        """Weights of the sequences by their classes."""
        return None

    # ---- reading ----

    def _read(self, X: Any, name: str, static: Any = None) -> Sequences:
        """Read sequences with their static features; whether values are finite is for `Inputs` to say."""
        if isinstance(X, Graphs):
            raise TypeError(
                f"{name} must be sequences, got Graphs: GraphClassifier, GraphRegressor and NodeClassifier take those"
            )
        sequences = as_sequences(X, name, dtype=None, finite=False)
        if static is None:
            return sequences
        label = name.replace("X", "static")
        rows = np.asarray(check.shaped(static, label, "[n_samples, n_static]"), dtype=np.float64)
        if len(rows) != len(sequences):
            raise ValueError(
                f"{label} must have {len(sequences)} rows, one for each sequence of {name}, got {len(rows)}"
            )
        check.finite(np.ascontiguousarray(rows), label)
        return Sequences(sequences.values, sequences.starts, sequences.lengths, rows)

    def _sequences(self, X: Any, static: Any = None) -> Sequences:
        """Check sequences to predict against those of ``fit``."""
        self._fitted_model()
        sequences = self._read(X, "X", static)
        self._check_features(X, sequences)
        return sequences

    def _set_features(self, X: Any, sequences: Sequences) -> None:
        """Remember what features there are."""
        _check_feature_names(self, X, reset=True)
        self._n_timesteps = _columns(X)
        self.n_features_in_ = sequences.n_features if self._n_timesteps is None else self._n_timesteps

    def _check_features(self, X: Any, sequences: Sequences) -> None:
        """Compare features with those of ``fit``; the model checks the width of a step."""
        _check_feature_names(self, X, reset=False)
        columns, name = _columns(X), type(self).__name__
        if columns is not None and self._n_timesteps is not None and columns != self._n_timesteps:
            raise ValueError(
                f"X has {columns} features, but {name} is expecting {self._n_timesteps} features as "
                f"input. The columns of a 2-D X are time steps: pass a 3-D array or a list for other lengths"
            )

    # ---- training ----

    def _start(self, sequences: Sequences, raw: Array, weights: Array | None) -> None:
        """Make a new model and prepare its training."""
        rng = self._generator()
        self._prepare_training(self._new_model(sequences, raw, weights, rng), rng)

    def _prepared(self, sequences: Sequences, raw: Array, weights: Array | None) -> Samples:
        """What the trainer takes."""
        model = self.model_
        by_class = self._class_weights(raw)
        if by_class is not None:
            weights = by_class if weights is None else weights * by_class
        if weights is not None:
            weights = weights.astype(model.network.dtype)
        return Samples(model.prepare(sequences), self._encode(raw), weights)

    def _fitted_model(self) -> SequenceModel:
        model = super()._fitted_model()
        assert isinstance(model, SequenceModel)
        return model


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceEstimator(SequenceOptions, RNNEstimator, SamplesEstimator):
    """Base of the estimators that learn from many sequences."""

    def session(self, n_streams: int = 1, static: Any = None) -> Any:
        """Open live streams of the fitted model; see `lstmcore.streaming.Session`."""
        return self._fitted_model().session(n_streams, static)

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        static: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        static_val: Any = None,
        resume_from: Any = None,
    ) -> Any:
        """Train, from scratch unless `warm_start` is set.

        Parameters
        ----------
        X : array_like
            A 3-D array (n_samples, n_timesteps, n_features); a 2-D array (n_samples, n_timesteps) of one feature; a
            list of n_samples 2-D arrays (n_timesteps, n_features) of different lengths; or `Sequences`. Token numbers
            in place of features with an embedding: a 2-D array, or a list of 1-D arrays.
        y : array_like
            Targets, see the class.
        sample_weight : array_like [n_samples], optional
            Weigh the sequences in the loss: a weight of 2 is a sequence that comes twice.
        static : array_like [n_samples, n_static], optional
            Features of a sequence as a whole. A dense layer makes the initial states of them.
        X_val, y_val, static_val : array_like, optional
            Validation data, measured after each epoch; the parameters of the best epoch are kept.
        resume_from : path, optional
            A file that `lstmcore.callbacks.Checkpoint` wrote: training goes on from there, to the same bits as if it
            had not been interrupted, given the same data and options.

        Returns
        -------
        estimator
            Itself.

        Raises
        ------
        ValueError, TypeError
            If an option or argument is not as described; the message names it and quotes the value.
        lstmcore.training.TrainingDiverged
            If the loss stops being a number. The last good parameters are kept.
        """
        return self._fit(X, y, sample_weight, X_val, y_val, resume_from, static, static_val)


def check_length(y: Any, sequences: Sequences, name: str, estimator: Any) -> None:
    """Raise ValueError unless there is a target for each sequence."""
    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires {name} to be passed, but the target {name} is None")
    shape = np.asarray(y).shape
    if not shape or shape[0] != len(sequences):
        found = f"has {shape[0]}" if shape else f"is {y!r}"
        raise ValueError(
            f"X and {name} must be of the same length: Found input variables with inconsistent numbers of samples: "
            f"X has {len(sequences)}, {name} {found}"
        )


def _columns(X: Any) -> int | None:
    """Return the number of columns of a 2-D X; None for a 3-D array or a list of arrays."""
    if isinstance(X, Sequences):
        return None
    if isinstance(X, (list, tuple)):
        same = {len(row) if isinstance(row, (list, tuple)) else -1 for row in X}
        if len(same) != 1 or -1 in same:  # not an array written as nested lists
            return None
    shape = np.asarray(X).shape
    return shape[1] if len(shape) == 2 else None
