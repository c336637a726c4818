"""Learning from streams: a row at a time, in constant memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import check_array

from lstmcore import _validation as check
from lstmcore._validation import Array
from lstmcore.estimators._online import OnlineEstimator
from lstmcore.estimators._options import documented
from lstmcore.estimators.classifier import _labels, encode_labels
from lstmcore.model import ClassifierModel, RegressorModel


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class OnlineRNNRegressor(RegressorMixin, OnlineEstimator):
    """Predict numbers in a stream, learning from each row as it comes.

    A recurrent layer follows the stream and a dense layer gives the prediction; real-time recurrent learning gives the
    gradient of each error forward in time, so a row costs the same however many came before it. Targets are
    standardized inside, by their running mean and variance.

    Parameters
    ----------
    loss : {"squared", "absolute", "huber"}, default="squared"
        What is minimised, of standardized targets.
    huber_delta : float, default=1.0
        Where "huber" turns from squared to absolute, in standard deviations of the target.

    Attributes
    ----------
    n_features_in_ : int
        Features of a row.
    feature_names_in_ : ndarray
        Their names, if they came with names that are strings.

    See Also
    --------
    OnlineRNNClassifier : The same for classes.
    RNNRegressor : Learns from a set of sequences.
    RTRL : The method, for layers.

    Examples
    --------
    As in river: predict, then learn. The target is the mean of two features of the row before:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> model = OnlineRNNRegressor(hidden_size=8, random_state=0)
    >>> y, errors = 0.0, []
    >>> for a, b in rng.standard_normal((3000, 2)):
    ...     errors.append(abs(y - model.predict_one({"a": a, "b": b})))
    ...     model.learn_one({"a": a, "b": b}, y)
    ...     y = (a + b) / 2
    >>> bool(np.mean(errors[-300:]) < 0.2 * np.mean(errors[:300]))
    True
    """

    loss: str = "squared"
    huber_delta: float = 1.0
    _n_targets: int | None = field(init=False, default=None)  # None: one, without a column axis

    def predict_one(self, x: Any) -> Any:
        """Predict the target of the next row of the stream, which stays where it is.

        Parameters
        ----------
        x : mapping of name to number, or array_like [n_features]

        Returns
        -------
        float, or ndarray [n_targets] if targets are arrays
            0.0 before anything was learnt, as in river.
        """
        row = self._row(x)
        if self._learner is None:
            return 0.0
        values = self._learner.predict(row)[0]
        return float(values[0]) if self._n_targets is None else values

    def partial_fit(self, X: Any, y: Any) -> OnlineRNNRegressor:
        """Learn further rows of the stream, in their order.

        Parameters
        ----------
        X : array_like [n_samples, n_features]
        y : array_like [n_samples] or [n_samples, n_targets]

        Returns
        -------
        OnlineRNNRegressor
            Itself; the same as after `learn_one` of each row.
        """
        self._learn_rows(X, y, False)
        return self

    def prequential_predict(self, X: Any, y: Any) -> Array:
        """Learn further rows as `partial_fit`; predict each of them before it is learnt (Dawid 1984).

        Parameters
        ----------
        X : array_like [n_samples, n_features]
        y : array_like [n_samples] or [n_samples, n_targets]

        Returns
        -------
        ndarray of the shape of y, float64
            The same as `predict_one` before `learn_one`, row by row.
        """
        values = self._learn_rows(X, y, True)
        assert values is not None
        return values[:, 0] if self._n_targets is None else values

    def predict(self, X: Any) -> Array:
        """Predict the next rows of the stream without their targets; the stream stays where it is.

        Parameters
        ----------
        X : array_like [n_samples, n_features]
            Rows in the order of time: they follow the last one that was learnt.

        Returns
        -------
        ndarray [n_samples] or [n_samples, n_targets], as y was, of float64
        """
        values = self._fitted().predict(self._rows(X))
        return values[:, 0] if self._n_targets is None else values

    def frozen(self) -> RegressorModel:
        """Return what has been learnt so far as a model of sequences, which learns no more and needs no scikit-learn.

        Returns
        -------
        lstmcore.model.RegressorModel
            Its ``predict`` reads sequences from zero states and answers for the last row of each, its ``session``
            follows live streams.
        """
        learner = self._fitted()
        return RegressorModel(
            learner.network_now(), self._inputs(learner), learner.target_scaler, self._n_targets is None, None
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _check_options(self) -> None:
        super()._check_options()
        check.choice(self.loss, "loss", ("squared", "absolute", "huber"))
        if check.real(self.huber_delta, "huber_delta") <= 0:
            raise ValueError(f"huber_delta must be positive, got {self.huber_delta!r}")

    def _learner_options(self) -> dict[str, Any]:
        return {"n_outputs": self._n_targets or 1, "loss": self.loss, "huber_delta": float(self.huber_delta)}

    def _prepare_one(self, y: Any) -> None:
        self._n_targets = None if np.ndim(y) == 0 else len(y)

    def _encode_one(self, y: Any) -> Array:
        if y is None:
            return np.full((1, self._n_targets or 1), math.nan)
        if type(y) is float and math.isfinite(y) and self._n_targets is None:
            return np.array([[y]])
        shape = () if self._n_targets is None else (self._n_targets,)
        source = check.exact_shape(y, "y", shape, "as in the first row")
        target = np.array(source, dtype=np.float64).reshape(1, -1)
        check.finite(target, "y")
        return target

    def _encode(self, y: Any, first: bool) -> Array:
        values = np.asarray(check_array(y, ensure_2d=False, dtype=np.float64, input_name="y"))
        n_targets = None if values.ndim == 1 else values.shape[1]
        if first:
            self._n_targets = n_targets
        elif n_targets != self._n_targets:
            expected = "[n]" if self._n_targets is None else f"[n, {self._n_targets}]"
            raise ValueError(f"y must have shape {expected} as in the first call, got {values.shape}")
        return np.ascontiguousarray(values.reshape(len(values), -1))


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class OnlineRNNClassifier(ClassifierMixin, OnlineEstimator):
    """Classify the rows of a stream, learning from each as it comes.

    A recurrent layer follows the stream and a dense layer with softmax gives the class probabilities; real-time
    recurrent learning gives the gradient of each loss forward in time, so a row costs the same however many came before
    it.

    Parameters
    ----------
    classes : array_like [n_classes] or None, default=None
        All labels there will ever be. None: ``fit`` takes those of its y, `partial_fit` those that it is told, and
        `learn_one` needs one of these first.

    Attributes
    ----------
    classes_ : ndarray [n_classes]
        The labels, sorted.
    n_features_in_ : int
        Features of a row.
    feature_names_in_ : ndarray
        Their names, if they came with names that are strings.

    See Also
    --------
    OnlineRNNRegressor : The same for numbers.
    RNNTagger : A label for every step, learnt from a set of sequences.
    RTRL : The method, for layers.

    Examples
    --------
    Is a bit the same as the one before?

    >>> import numpy as np
    >>> model = OnlineRNNClassifier(hidden_size=8, learning_rate=1e-2, classes=["same", "other"], random_state=0)
    >>> bits = np.random.default_rng(0).integers(0, 2, 3001)
    >>> right = []
    >>> for before, bit in zip(bits, bits[1:]):
    ...     y = "same" if bit == before else "other"
    ...     right.append(model.predict_one({"bit": bit}) == y)
    ...     model.learn_one({"bit": bit}, y)
    >>> bool(np.mean(right[-300:]) > 0.95)
    True
    """

    classes: Any = None
    _numbers: dict[Any, float] = field(init=False, default_factory=dict)  # of the classes, by label

    def predict_one(self, x: Any) -> Any:
        """Predict the class of the next row of the stream, which stays where it is.

        Parameters
        ----------
        x : mapping of name to number, or array_like [n_features]

        Returns
        -------
        label
            None before anything was learnt, as in river.
        """
        row = self._row(x)
        return None if self._learner is None else self.classes_[int(self._learner.predict(row)[0].argmax())].item()

    def predict_proba_one(self, x: Any) -> dict[Any, float]:
        """Predict the class probabilities of the next row of the stream, which stays where it is.

        Parameters
        ----------
        x : mapping of name to number, or array_like [n_features]

        Returns
        -------
        dict of label to float
            Empty before anything was learnt, as in river.
        """
        row = self._row(x)
        if self._learner is None:
            return {}
        return dict(zip(self.classes_.tolist(), self._learner.predict(row)[0].tolist(), strict=True))

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> OnlineRNNClassifier:
        """Learn further rows of the stream, in their order.

        Parameters
        ----------
        X : array_like [n_samples, n_features]
        y : array_like [n_samples]
        classes : array_like [n_classes], optional
            All labels there will ever be; needed in the first call, unless the option `classes` has them.

        Returns
        -------
        OnlineRNNClassifier
            Itself; the same as after `learn_one` of each row.
        """
        self._tell_classes(classes)
        self._learn_rows(X, y, False)
        return self

    def prequential_predict(self, X: Any, y: Any, classes: Any = None) -> Array:
        """Learn further rows as `partial_fit`; predict each of them before it is learnt (Dawid 1984).

        Parameters
        ----------
        X, y, classes
            As in `partial_fit`.

        Returns
        -------
        ndarray [n_samples] of labels
            The same as `predict_one` before `learn_one`, row by row.
        """
        self._tell_classes(classes)
        probabilities = self._learn_rows(X, y, True)
        assert probabilities is not None
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def predict(self, X: Any) -> Array:
        """Predict the classes of the next rows of the stream; it stays where it is.

        Parameters
        ----------
        X : array_like [n_samples, n_features]
            Rows in the order of time: they follow the last one that was learnt.

        Returns
        -------
        ndarray [n_samples] of labels
        """
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def predict_proba(self, X: Any) -> Array:
        """Predict the class probabilities of the next rows of the stream; it stays where it is.

        Parameters
        ----------
        X : array_like [n_samples, n_features]
            As in `predict`.

        Returns
        -------
        ndarray [n_samples, n_classes] of float64
            In the order of `classes_`; rows sum to 1.
        """
        return self._fitted().predict(self._rows(X))

    def frozen(self) -> ClassifierModel:
        """Return what has been learnt so far as a model of sequences, which learns no more and needs no scikit-learn.

        Returns
        -------
        lstmcore.model.ClassifierModel
            Its ``predict`` reads sequences from zero states and answers for the last row of each, its ``session``
            follows live streams.
        """
        learner = self._fitted()
        return ClassifierModel(learner.network_now(), self._inputs(learner), self.classes_)

    def _tell_classes(self, classes: Any) -> None:
        """Take the labels of the first call, or compare with them."""
        if self._learner is None:
            if classes is None and self.classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit, got None")
            self._set_classes(self.classes if classes is None else classes)
        elif classes is not None and not np.array_equal(np.unique(_labels(classes, "classes")), self.classes_):
            raise ValueError(f"classes={classes!r} is not the same as on the last call, where it was {self.classes_!r}")

    def _set_classes(self, classes: Any) -> None:
        labels = np.unique(_labels(classes, "classes"))
        if len(labels) < 2:
            raise ValueError(f"classes must hold at least 2 labels, got {len(labels)} class: {labels.tolist()!r}")
        self.classes_ = labels
        self._numbers = {label: float(number) for number, label in enumerate(labels.tolist())}

    def _forget(self) -> None:
        super()._forget()
        self.__dict__.pop("classes_", None)

    def _learner_options(self) -> dict[str, Any]:
        return {"n_outputs": len(self.classes_), "loss": "cross_entropy", "huber_delta": 1.0}

    def _prepare_one(self, y: Any) -> None:
        if self.classes is None:
            raise ValueError("classes must be given to the estimator, or to partial_fit, before learn_one, got None")
        self._set_classes(self.classes)

    def _encode_one(self, y: Any) -> Array:
        if y is None:
            return np.full((1, 1), math.nan)
        try:
            return np.array([[self._numbers[y]]])
        except (KeyError, TypeError):
            raise ValueError(f"y is {y!r}, which is none of {self.classes_.tolist()!r}") from None

    def _encode(self, y: Any, first: bool) -> Array:
        labels = _labels(y)
        if first and not hasattr(self, "classes_"):
            self._set_classes(labels if self.classes is None else self.classes)
        return encode_labels(labels, self.classes_).reshape(-1, 1).astype(np.float64)
