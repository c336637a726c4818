"""What all estimators share: options, their checks, and the way from ``fit`` to the trainer."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state

from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._validation import Array
from lstmcore.layers import from_cell
from lstmcore.losses import Loss
from lstmcore.model import Model
from lstmcore.network import POOLINGS, Dense, Network
from lstmcore.sequences import Sequences, as_sequences
from lstmcore.training import History, Trainer, TrainingConfig

_CELL_ALIASES = {"rnn": "rnn_tanh"}


class RNNEstimator(BaseEstimator):
    """Base of the estimators. Subclasses list their options as explicit keywords and set `model_` in ``fit``.

    `model_` (a `lstmcore.model.Model`) predicts, streams and saves; the estimator delegates to it.
    """

    model_: Model

    # ---- what users call ----

    def save(self, path: Any) -> None:
        """Write the fitted model to one safetensors file that `lstmcore.load` reads.

        Parameters
        ----------
        path : str or path
            An existing file is replaced only by a complete one.
        """
        self._fitted_model().save(path)

    def session(self, n_streams: int = 1) -> Any:
        """Open live streams of the fitted model; see `lstmcore.model.Session`."""
        return self._fitted_model().session(n_streams)

    # ---- from options to parts ----

    def _fitted_model(self) -> Model:
        """Return `model_`, or raise NotFittedError."""
        model = getattr(self, "model_", None)
        if model is None:
            raise NotFittedError(f"this {type(self).__name__} instance is not fitted yet: call fit first")
        return model

    def _check_options(self) -> None:
        """Check every option that the estimators share; ValueError or TypeError names it and quotes its value."""
        names = [cell["name"] for cell in core.cells()]
        check.choice(self.cell, "cell", [*names, *_CELL_ALIASES])
        check.integer(self.hidden_size, "hidden_size")
        check.integer(self.num_layers, "num_layers")
        check.flag(self.bidirectional, "bidirectional")
        check.fraction(self.dropout, "dropout")
        if self.pooling is not None:  # an estimator with an output for each step has none
            check.choice(self.pooling, "pooling", POOLINGS)
        check.flag(self.early_stopping, "early_stopping")
        if not 0 < check.real(self.validation_fraction, "validation_fraction") < 1:
            raise ValueError(f"validation_fraction must lie between 0 and 1, got {self.validation_fraction!r}")
        self._training_config(Loss())
        if self.bidirectional and getattr(self, "tbptt_steps", None) is not None:
            raise ValueError(f"tbptt_steps must be None with bidirectional=True, got {self.tbptt_steps!r}")

    def _generator(self) -> np.random.Generator:
        """Random generator from `random_state` (None, int, RandomState or Generator)."""
        if isinstance(self.random_state, np.random.Generator):
            return self.random_state
        return np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1, size=4))

    def _build_network(self, n_features: int, n_outputs: int, rng: np.random.Generator) -> Network:
        """Make the network of `cell`, `hidden_size`, `num_layers`, `bidirectional`, `dropout`, `pooling`."""
        cell = str(_CELL_ALIASES.get(self.cell, self.cell))
        recurrent = from_cell(
            cell,
            n_features,
            self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            seed=rng,
        )
        return Network(recurrent, self.pooling, Dense(recurrent.output_size, n_outputs, seed=rng))

    def _training_config(self, loss: Loss) -> TrainingConfig:
        """Return the options of training with `loss`."""
        return TrainingConfig(
            loss=loss,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            l1=self.l1,
            clip_norm=self.clip_norm,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            tbptt_steps=getattr(self, "tbptt_steps", None),
            early_stopping=self.early_stopping,
            n_iter_no_change=self.n_iter_no_change,
            tol=self.tol,
            verbose=self.verbose,
        )


class SequenceEstimator(RNNEstimator):
    """Base of the estimators that answer once a sequence: ``fit → _train → Trainer.fit``.

    Subclasses make the model, encode targets as the loss takes them, and give `_loss` and `_score`.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _read(self, X: Any, y: Any) -> Sequences:
        """Check options and sequences of a ``fit``, and set `n_features_in_`."""
        self._check_options()
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        sequences = as_sequences(X)
        shape = np.asarray(y).shape
        if not shape or shape[0] != len(sequences):
            found = f"has {shape[0]}" if shape else f"is {y!r}"
            raise ValueError(
                f"X and y must be of the same length: Found input variables with inconsistent numbers of samples: "
                f"X has {len(sequences)}, y {found}"
            )
        self._n_timesteps = _columns(X)
        self.n_features_in_ = sequences.n_features if self._n_timesteps is None else self._n_timesteps
        return sequences

    def _sequences(self, X: Any) -> Sequences:
        """Check sequences to predict against those of ``fit``."""
        model = self._fitted_model()
        columns = _columns(X)
        if columns is not None and self._n_timesteps is not None and columns != self._n_timesteps:
            raise ValueError(
                f"X has {columns} features, but {type(self).__name__} is expecting {self._n_timesteps} features as "
                f"input. The columns of a 2-D X are time steps: pass a 3-D array or a list for other lengths"
            )
        return as_sequences(X, "X", model.network.n_features, model.network.dtype)

    def _begin(self, model: Model, rng: np.random.Generator) -> None:
        """Make `model` the fitted one and prepare its training."""
        self.model_ = model
        self._trainer = Trainer(model.network, self._training_config(self._loss()), rng)

    def _train(
        self, sequences: Sequences, targets: Array, max_epochs: int | None = None, hold_out: bool = False
    ) -> None:
        """Train on encoded targets, some of them held out for early stopping."""
        trainer, validation = self._trainer, None
        if hold_out:
            train, held_out = self._split(targets, trainer.rng)
            validation = sequences.take(held_out), targets[held_out]
            trainer.config.score = self._score
            sequences, targets = sequences.take(train), targets[train]
        try:
            trainer.fit(sequences, targets, validation=validation, max_epochs=max_epochs)
        finally:
            trainer.config.score = None
            self._report(trainer.history)

    def _report(self, history: History) -> None:
        """Copy what happened into the fitted attributes."""
        self.loss_curve_ = history.loss_curve
        self.validation_loss_curve_ = history.validation_curve or None
        self.validation_scores_ = history.validation_scores or None
        self.n_iter_ = len(history.loss_curve)
        self.best_epoch_ = history.best_epoch

    def _split(self, targets: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Indices to train on and to hold out."""
        n = len(targets)
        n_held_out = max(1, round(self.validation_fraction * n))
        if n - n_held_out < 1:
            raise ValueError(
                f"early_stopping with validation_fraction={self.validation_fraction!r} leaves nothing of {n} sequences"
            )
        shuffled = rng.permutation(n)
        return np.sort(shuffled[n_held_out:]), np.sort(shuffled[:n_held_out])

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _score(self, outputs: Array, targets: Array) -> float:
        raise NotImplementedError


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
