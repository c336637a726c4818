"""What the estimators for streams share: their options, the stream, and the way from rows to the learner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import validate_data

from lstmcore import _validation as check
from lstmcore._inputs import Inputs
from lstmcore._online import OnlineLearner
from lstmcore._validation import Array
from lstmcore.estimators._options import CELL_ALIASES
from lstmcore.model import SequenceModel
from lstmcore.online import METHODS, check_cell
from lstmcore.optimizers import OPTIMIZERS
from lstmcore.training import TrainingDiverged


@dataclass(kw_only=True, eq=False, repr=False)
class OnlineEstimator(BaseEstimator):
    """Base of the estimators that learn from a stream.

    Parameters
    ----------
    cell : str, default="lstm"
        A name that `lstmcore.online.rtrl_cells` lists; "rnn" means "rnn_tanh".
    hidden_size : int, default=16
        Units of the one recurrent layer, H.
    method : {"rtrl", "snap1"}, default="rtrl"
        "rtrl": the exact gradient (Williams & Zipser 1989); a step costs about 16 H^4 operations with an LSTM. "snap1":
        the part of it that stays within a unit (Menick et al. 2020), for a few operations a parameter. See `RTRL`.
    optimizer : {"adam", "adamw", "sgd", "nesterov", "rmsprop"}, default="adam"
        It steps once a row.
    learning_rate : float, default=3e-3
        May be changed while the stream goes on.
    momentum : float, default=0.9
        Of "sgd" and "nesterov".
    weight_decay, l1 : float, default=0.0
        Strength of the L2 and L1 penalties on the weights; biases are left alone.
    clip_norm : float or None, default=1.0
        Largest norm of a gradient.
    standardize : bool, default=True
        Bring each feature to mean zero and variance one, by the running mean and variance of what has come so far
        (Welford 1962).
    scaling_window : int or None, default=None
        Running means and variances, those of the targets too, forget what is older than about so many rows. None: they
        never forget.
    random_state : int, RandomState, Generator or None, default=None
        Source of the initial parameters. An int makes learning repeatable: the same bits for any number of threads, row
        by row or in blocks.
    """

    cell: str = "lstm"
    hidden_size: int = 16
    method: str = "rtrl"
    optimizer: str = "adam"
    learning_rate: float = 3e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    l1: float = 0.0
    clip_norm: float | None = 1.0
    standardize: bool = True
    scaling_window: int | None = None
    random_state: Any = None
    _learner: OnlineLearner | None = field(init=False, default=None)
    _names: list[Any] | None = field(init=False, default=None)  # of the features, if they came with names

    # ---- the stream -------------------------------------------------------------------------------------------------

    def learn_one(self, x: Any, y: Any) -> None:
        """Advance the stream by one row, and learn from its target.

        Parameters
        ----------
        x : mapping of name to number, or array_like [n_features]
            The features. Those of the first row, with their names, are those of all.
        y : number, label or None
            The target; a regressor takes [n_targets] too. None: not known; the stream goes on, nothing is learnt.

        Raises
        ------
        ValueError, TypeError
            If `x` or `y` is not as described; nothing has changed then.
        lstmcore.training.TrainingDiverged
            If the output is not finite any more: begin anew with a smaller learning_rate.
        """
        row = self._row(x)
        if self._learner is None:
            if y is None:
                raise ValueError("y must be known in the first row, got None")
            self._check_options()
            self._prepare_one(y)
        target = self._encode_one(y)
        if self._learner is None:
            self._start(row.shape[1], list(x) if isinstance(x, Mapping) else None)
        self._learn(row, target)

    def reset(self) -> None:
        """Begin a new sequence: the state becomes zero; what has been learnt stays."""
        if self._learner is not None:
            self._learner.reset()

    def fit(self, X: Any, y: Any) -> Any:
        """Begin anew, and learn the rows of one sequence once, in their order.

        Parameters
        ----------
        X : array_like [n_samples, n_features]
            Rows in the order of time. The state before the first is zero.
        y : array_like
            The target of each row.

        Returns
        -------
        estimator
            Itself.

        Raises
        ------
        ValueError, TypeError
            If an option or argument is not as described; the message names it and quotes the value.
        lstmcore.training.TrainingDiverged
            If the output is not finite any more.
        """
        self._forget()
        self._learn_rows(X, y, False)
        return self

    def save(self, path: Any) -> None:
        """Write what has been learnt, as `frozen` gives it, to one safetensors file that `lstmcore.load` reads.

        Parameters
        ----------
        path : str or path
            An existing file is replaced only by a complete one. To go on learning elsewhere, pickle the estimator.
        """
        self.frozen().save(path)

    def frozen(self) -> SequenceModel:
        """Return what has been learnt so far as a model of sequences, which learns no more and needs no scikit-learn.

        Its ``predict`` reads sequences from zero states, its ``session`` follows live streams.
        """
        raise NotImplementedError

    def _fitted_model(self) -> SequenceModel:
        return self.frozen()  # by the name that it has in other estimators

    # ---- what subclasses give ----

    def _prepare_one(self, y: Any) -> None:
        """See what can be seen of the targets in the first one of a stream."""
        raise NotImplementedError

    def _encode_one(self, y: Any) -> Array:
        """A target as the learner takes it: float64 [1, n_targets], NaN for None."""
        raise NotImplementedError

    def _encode(self, y: Any, first: bool) -> Array:
        """Targets as the learner takes them: float64 [n, n_targets]."""
        raise NotImplementedError

    def _learner_options(self) -> dict[str, Any]:
        """`n_outputs`, `loss` and `huber_delta` of the learner."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Be as new."""
        self._learner = self._names = None
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)

    # ---- reading ----

    def _row(self, x: Any) -> Array:
        """Features of one row, float64 [1, n_features], by name if they have names."""
        values = check.numeric(self._by_name(x) if isinstance(x, Mapping) else x, "x")
        if values.ndim != 1 or values.size != (self.n_features_in_ if self._learner else values.size or 1):
            expected = f"({self.n_features_in_},)" if self._learner else "[n_features]"
            raise ValueError(f"x must be a mapping or have shape {expected}, got shape {values.shape}")
        row = np.array(values, dtype=np.float64, ndmin=2)
        check.finite(row[0], "x")
        return row

    def _by_name(self, x: Mapping[Any, Any]) -> list[Any]:
        """The values of a mapping in the order of the first row."""
        if self._learner is None:
            return list(x.values())
        names = self._names
        try:
            if names is not None and len(x) == len(names):
                return [x[name] for name in names]
        except KeyError:
            pass
        raise ValueError(f"x must have the features {names or 'of an array'} of the first row, got {list(x)}")

    def _rows(self, X: Any) -> Array:
        """Rows [n, n_features] of the stream to predict."""
        self._fitted()
        return np.ascontiguousarray(validate_data(self, X, reset=False, dtype=np.float64))

    # ---- learning ----

    def _learn_rows(self, X: Any, y: Any, want_predictions: bool) -> Array | None:
        """Learn rows in their order; predictions [n, n_outputs] from before each was learnt, if wanted."""
        first = self._learner is None
        if first:
            self._check_options()
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        rows = np.ascontiguousarray(validate_data(self, X, reset=first, dtype=np.float64))
        check_consistent_length(rows, y)
        targets = self._encode(y, first)
        if first:
            self._start(rows.shape[1], getattr(self, "feature_names_in_", None))
        return self._learn(rows, targets, want_predictions)

    def _learn(self, rows: Array, targets: Array, want_predictions: bool = False) -> Array | None:
        done, predictions = self._fitted().learn(rows, targets, self.learning_rate, self.clip_norm, want_predictions)
        if done < len(rows):
            raise TrainingDiverged(
                f"the output is not finite after {done} of {len(rows)} rows: try a learning_rate below "
                f"{self.learning_rate!r} or a clip_norm below {self.clip_norm!r}"
            )
        return predictions

    def _start(self, n_features: int, names: Any) -> None:
        """Make an untrained learner of features that have names, or None."""
        rng = self.random_state
        if not isinstance(rng, np.random.Generator):
            rng = np.random.default_rng(check_random_state(rng).randint(2**31 - 1, size=4))
        learner = OnlineLearner(
            CELL_ALIASES.get(self.cell, self.cell),
            n_features,
            self.hidden_size,
            **self._learner_options(),
            rng=rng,
            full=self.method == "rtrl",
            standardize=self.standardize,
            window=self.scaling_window,
        )
        options: dict[str, Any] = {"momentum": self.momentum} if self.optimizer in ("sgd", "nesterov") else {}
        learner.optimizer = OPTIMIZERS[self.optimizer](
            learner.network, self.learning_rate, weight_decay=self.weight_decay, l1=self.l1, **options
        )
        self.n_features_in_ = n_features
        self._names = None if names is None else list(names)
        if self._names and all(isinstance(name, str) for name in self._names):
            self.feature_names_in_ = np.array(self._names, dtype=object)
        self._learner = learner

    def _fitted(self) -> OnlineLearner:
        if self._learner is None:
            raise NotFittedError(f"this {type(self).__name__} instance is not fitted yet: call fit or learn_one first")
        return self._learner

    def _inputs(self, learner: OnlineLearner) -> Inputs:
        """What a frozen model does to raw rows."""
        return Inputs(self.n_features_in_, learner.network.dtype, learner.feature_scaler)

    def __sklearn_is_fitted__(self) -> bool:
        return self._learner is not None

    def _check_options(self) -> None:
        """Check every option; ValueError or TypeError names it and quotes its value."""
        check_cell(CELL_ALIASES.get(self.cell, self.cell))
        check.integer(self.hidden_size, "hidden_size")
        check.choice(self.method, "method", METHODS)
        check.choice(self.optimizer, "optimizer", OPTIMIZERS)
        check.fraction(self.momentum, "momentum")
        check.flag(self.standardize, "standardize")
        for name in ("learning_rate", "weight_decay", "l1"):
            if check.real(getattr(self, name), name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)!r}")
        if self.clip_norm is not None and check.real(self.clip_norm, "clip_norm") <= 0:
            raise ValueError(f"clip_norm must be positive or None, got {self.clip_norm!r}")
        if self.scaling_window is not None:
            check.integer(self.scaling_window, "scaling_window")
