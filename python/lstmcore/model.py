"""Fitted models: a network with what comes before and after it. Needs no scikit-learn.

An estimator's ``fit`` makes one and keeps it as ``model_``; `lstmcore.load` reads one from a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._validation import Array
from lstmcore.network import Network
from lstmcore.sequences import as_sequences


@dataclass(frozen=True)
class Standardizer:
    """(values − mean) / scale by column, in float64.

    Attributes
    ----------
    mean, scale : ndarray [n] of float64
        A constant column has scale 1.
    """

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, values: Array) -> Standardizer:
        """Take mean and standard deviation of the columns of `values` [n_rows, n]."""
        values = np.asarray(values, dtype=np.float64)
        mean, scale = values.mean(axis=0), values.std(axis=0)
        constant = scale <= 1e-12 * np.abs(mean)
        return cls(mean, np.where(constant, 1.0, scale))

    def apply(self, values: Array) -> Array:
        """Standardize: [..., n] to float64 [..., n]."""
        return np.asarray((values - self.mean) / self.scale)

    def undo(self, values: Array) -> Array:
        """Return standardized `values` [..., n] to their own units, float64."""
        return np.asarray(values * self.scale + self.mean)

    def to_config(self) -> dict[str, list[float]]:
        """Lists for JSON, which keeps every bit of a float64."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_config(cls, config: dict[str, list[float]]) -> Standardizer:
        """Read what `to_config` wrote."""
        return cls(np.array(config["mean"], dtype=np.float64), np.array(config["scale"], dtype=np.float64))


class Model:
    """Base of fitted models.

    A kind of model gives: `kind`, `_finish` (network output → prediction), `_task_config` and `_from_task_config`
    (its own entries of the file's JSON), and `_prepare` (raw rows → network rows) if it scales its inputs.

    Parameters
    ----------
    network : Network
        What computes.
    """

    kind: ClassVar[str]

    def __init__(self, network: Network) -> None:
        self.network = network

    def __repr__(self) -> str:
        network = self.network
        return f"{type(self).__name__}({network.recurrent!r}, pooling={network.pooling!r}, outputs={network.n_outputs})"

    def predict(self, X: Any) -> Array:
        """Predict for each sequence of `X` (3-D array, 2-D array, or list of 2-D arrays)."""
        return self._finish(self.outputs(X))

    def outputs(self, X: Any) -> Array:
        """Return the network's outputs [n, n_outputs] for `X`."""
        sequences = as_sequences(X, "X", self.network.n_features, self.network.dtype)
        return self.network.predict(sequences.replace(self._prepare(sequences.values)))

    def session(self, n_streams: int = 1) -> Session:
        """Open live streams: `Session.step` advances each by one step."""
        return Session(self, n_streams)

    def save(self, path: Any) -> None:
        """Write the model to one safetensors file; an existing file is replaced only by a complete one."""
        from lstmcore.model_file import save

        save(self, path)

    def _prepare(self, rows: Array) -> Array:
        """Raw rows [R, I] of the network's dtype to what the network sees."""
        return rows

    def _finish(self, outputs: Array) -> Array:
        """Network outputs [n, n_outputs] to predictions."""
        raise NotImplementedError

    def _task_config(self) -> dict[str, Any]:
        """JSON entries of this kind of model."""
        raise NotImplementedError

    @classmethod
    def _from_task_config(cls, network: Network, config: dict[str, Any]) -> Model:
        """Make a model from what `_task_config` gave."""
        raise NotImplementedError


class ClassifierModel(Model):
    """A fitted classifier.

    Parameters
    ----------
    network : Network
        An output for each class.
    classes : ndarray [n_classes]
        The labels.
    """

    kind = "classifier"

    def __init__(self, network: Network, classes: Array) -> None:
        super().__init__(network)
        self.classes = classes

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities [n, n_classes], in the order of `classes`."""
        return core.softmax(self.outputs(X))

    def _finish(self, outputs: Array) -> Array:
        return np.asarray(self.classes[outputs.argmax(axis=1)])

    def _task_config(self) -> dict[str, Any]:
        if self.classes.dtype.kind not in "biufUO" or not all(
            isinstance(label, (str, int, float, bool)) for label in self.classes.tolist()
        ):
            raise TypeError(
                f"class labels must be strings, integers, floats or booleans to be saved, "
                f"got {self.classes.dtype}: {self.classes[:3].tolist()!r}"
            )
        return {"classes": self.classes.tolist(), "dtype": self.classes.dtype.str}

    @classmethod
    def _from_task_config(cls, network: Network, config: dict[str, Any]) -> ClassifierModel:
        return cls(network, np.array(config["classes"], dtype=np.dtype(config["dtype"])))


class RegressorModel(Model):
    """A fitted regressor.

    Parameters
    ----------
    network : Network
        An output for each target, or for each target and quantile.
    scaler : Standardizer
        Gives predictions their units back, target by target.
    squeeze : bool
        There is one target and it came without a column axis: predictions have none.
    quantiles : list of float or None
        Ascending; output column ``j * len(quantiles) + k`` is quantile k of target j.
    """

    kind = "regressor"

    def __init__(self, network: Network, scaler: Standardizer, squeeze: bool, quantiles: list[float] | None) -> None:
        super().__init__(network)
        self.scaler, self.squeeze, self.quantiles = scaler, squeeze, quantiles

    def predict_quantiles(self, X: Any) -> Array:
        """Quantiles [n, n_quantiles], or [n, n_targets, n_quantiles] if the targets had a column axis."""
        return self._finish_quantiles(self.outputs(X))

    def _finish(self, outputs: Array) -> Array:
        if self.quantiles is None:
            values = self.scaler.undo(outputs.astype(np.float64))
            return values[:, 0] if self.squeeze else values
        middle = int(np.argmin(np.abs(np.array(self.quantiles) - 0.5)))
        return np.ascontiguousarray(self._finish_quantiles(outputs)[..., middle])

    def _finish_quantiles(self, outputs: Array) -> Array:
        if self.quantiles is None:
            raise ValueError("quantiles were not learned: that takes loss='quantile'")
        values = outputs.reshape(len(outputs), -1, len(self.quantiles)).astype(np.float64)
        values = np.sort(values, axis=2)  # quantiles may cross (Chernozhukov et al. 2010: sorting only helps)
        values = self.scaler.undo(values.swapaxes(1, 2)).swapaxes(1, 2)
        return values[:, 0] if self.squeeze else values

    def _task_config(self) -> dict[str, Any]:
        return {"scaler": self.scaler.to_config(), "squeeze": self.squeeze, "quantiles": self.quantiles}

    @classmethod
    def _from_task_config(cls, network: Network, config: dict[str, Any]) -> RegressorModel:
        return cls(network, Standardizer.from_config(config["scaler"]), config["squeeze"], config["quantiles"])


class Session:
    """Live streams of a model, advanced one step at a time.

    After `step` the prediction has the same bits as ``model.predict`` of each stream's steps so far.

    Parameters
    ----------
    model : Model
        Not bidirectional.
    n_streams : int, default=1
        Streams that advance together.
    """

    def __init__(self, model: Model, n_streams: int = 1) -> None:
        self.model = model
        self._network = model.network.session(n_streams)
        self._shape = (self._network.n_streams, model.network.n_features)

    def step(self, x: Any) -> Array:
        """Advance every stream by one step.

        Parameters
        ----------
        x : array_like [n_streams, n_features]
            Finite numbers. A single stream takes [n_features] too, a single feature [n_streams].

        Returns
        -------
        ndarray [n_streams, ...]
            What ``model.predict`` gives.

        Raises
        ------
        ValueError, TypeError
            If `x` has another shape or is not finite; the streams stay as they are.
        """
        return self.model._finish(self.outputs(x))

    def step_proba(self, x: Any) -> Array:
        """Advance every stream of a classifier by one step; returns class probabilities [n_streams, n_classes]."""
        if not isinstance(self.model, ClassifierModel):
            raise TypeError(f"step_proba needs a classifier, this is a session of a {self.model.kind}")
        return core.softmax(self.outputs(x))

    def outputs(self, x: Any) -> Array:
        """Advance every stream by one step; returns the network's outputs [n_streams, n_outputs]."""
        array = check.numeric(x, "x")
        if array.shape != self._shape:
            if array.size != self._shape[0] * self._shape[1] or (array.ndim > 1 and 1 not in self._shape):
                raise ValueError(f"x must have shape {self._shape}, that is [n_streams, n_features], got {array.shape}")
            array = array.reshape(self._shape)
        rows = check.contiguous(array, self.model.network.dtype)
        check.finite(rows, "x", array)
        return self._network.step(self.model._prepare(rows))

    def reset(self, streams: Any = None) -> None:
        """Start streams anew: those of an index, slice or mask; default: all."""
        self._network.reset(streams)

    @property
    def states(self) -> list[Array]:
        """One array [num_layers, n_streams, width] of each of the cell's states, such as h and c; may be assigned."""
        return self._network.states

    @states.setter
    def states(self, states: Any) -> None:
        self._network.states = states
