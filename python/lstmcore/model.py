"""Fitted models: a network with what comes before and after it. Needs no scikit-learn.

An estimator's ``fit`` makes one and keeps it as ``model_``; `lstmcore.load` reads one from a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lstmcore import _validation as check
from lstmcore._inputs import Inputs
from lstmcore._isa import core
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array
from lstmcore.network import Network
from lstmcore.sequences import Sequences, as_sequences

if TYPE_CHECKING:
    from lstmcore.streaming import Session


class Model:
    """Base of fitted models: a network, what comes around it, and files.

    A kind of model gives `kind`, and `_task_config` and `_from_task_config`: its own entries of the file's JSON.

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

    def save(self, path: Any) -> None:
        """Write the model to one safetensors file; an existing file is replaced only by a complete one."""
        from lstmcore.model_file import save

        save(self, path)

    def _task_config(self) -> dict[str, Any]:
        """JSON entries of this kind of model."""
        raise NotImplementedError

    def _network_config(self) -> dict[str, Any]:
        """JSON entries of the network."""
        from lstmcore.model_file import network_config

        return network_config(self.network)

    @classmethod
    def _build_network(cls, config: dict[str, Any], tensors: dict[str, Array], weight_dtype: str | None) -> Any:
        """Make a network, whose parameters are then loaded, from what `_network_config` gave."""
        from lstmcore.model_file import VECTORS, build_network

        return build_network(config, tensors.get(VECTORS), weight_dtype)

    @classmethod
    def _from_task_config(cls, network: Network, config: dict[str, Any]) -> Model:
        """Make a model from what `_task_config` gave."""
        raise NotImplementedError


class SequenceModel(Model):
    """Base of the models that answer for sequences. A kind of model gives `_finish`, from outputs to predictions.

    Parameters
    ----------
    network : Network
    inputs : Inputs
        What happens to raw sequences before the network.
    """

    def __init__(self, network: Network, inputs: Inputs) -> None:
        super().__init__(network)
        self.inputs = inputs

    def predict(self, X: Any, static: Any = None) -> Any:
        """Predict for each sequence.

        Parameters
        ----------
        X : array_like
            A 3-D array, a 2-D array, a list of 2-D arrays, or `Sequences`; token numbers if the model has an embedding.
        static : array_like [n, n_static], optional
            Static features, if the model was fitted with them.
        """
        return self._finish(self.outputs(X, static))

    def outputs(self, X: Any, static: Any = None) -> Array:
        """Return the network's outputs [n, n_outputs] for `X`."""
        return self.network.predict(self.prepare(as_sequences(X, "X", dtype=None, finite=False), static))

    def prepare(self, sequences: Sequences, static: Any = None) -> Sequences:
        """Return what the network sees of raw sequences; `static` in place of their own static features."""
        if sequences.n_features != self.inputs.n_features:
            raise ValueError(
                f"X has {sequences.n_features} features a {sequences.part}, "
                f"but the model expects {self.inputs.n_features}"
            )
        self.network.check(sequences)
        static = self.prepare_static(sequences.static if static is None else static, len(sequences))
        rows = self.inputs.apply(sequences)
        return rows if static is None else Sequences(rows.values, rows.starts, rows.lengths, static)

    def prepare_static(self, static: Any, n: int) -> Array | None:
        """Return what the network sees of the static features of `n` sequences."""
        n_static = self.network.n_static
        if not n_static:
            if static is not None:
                raise ValueError(f"static must be None: the model was fitted without, got {np.shape(static)}")
            return None
        if static is None:
            raise ValueError(f"static is needed: the model was fitted with {n_static} static feature(s), got None")
        array = check.exact_shape(static, "static", (n, n_static), "[n_samples, n_static]")
        return self.inputs.apply_static(np.asarray(array, dtype=np.float64))

    def session(self, n_streams: int = 1, static: Any = None) -> Session:
        """Open live streams: `Session.step` advances each by one step.

        Parameters
        ----------
        n_streams : int, default=1
        static : array_like [n_streams, n_static], optional
            Static features of each stream, if the model was fitted with them.
        """
        from lstmcore.streaming import Session

        return Session(self, n_streams, static)

    # Of live streams the core makes what `_answer` names (see `NetworkSession`), and `_live` makes predictions of that.
    _answer: str = "outputs"
    _scaler: Standardizer | None = None

    def _live(self, answer: Array) -> Any:
        return self._finish(answer)

    def _finish(self, outputs: Array) -> Any:
        """Network outputs [n, n_outputs] to predictions."""
        raise NotImplementedError

    def _probabilities(self, outputs: Array) -> Array:
        """Network outputs [n, n_outputs] to probabilities, of what predicts classes."""
        raise NotImplementedError


class ClassifierModel(SequenceModel):
    """A fitted classifier.

    Parameters
    ----------
    network : Network
        An output for each class.
    inputs : Inputs
    classes : ndarray [n_classes]
        The labels.
    multilabel : bool
        Each class has a probability of its own, and predictions are indicator matrices.
    """

    kind = "classifier"

    def __init__(self, network: Network, inputs: Inputs, classes: Array, multilabel: bool = False) -> None:
        super().__init__(network, inputs)
        self.classes, self.multilabel = classes, multilabel
        self._answer = "outputs" if multilabel else "largest"

    def predict_proba(self, X: Any, static: Any = None) -> Array:
        """Class probabilities [n, n_classes], in the order of `classes`."""
        return self._probabilities(self.outputs(X, static))

    def _probabilities(self, outputs: Array) -> Array:
        if self.multilabel:
            return core.sigmoid(outputs)
        return core.softmax(outputs)

    def _finish(self, outputs: Array) -> Array:
        if self.multilabel:
            return (outputs > 0).astype(np.int64)
        return np.asarray(self.classes[outputs.argmax(axis=1)])

    def _live(self, answer: Array) -> Array:
        return self._finish(answer) if self.multilabel else self.classes[answer]

    def _task_config(self) -> dict[str, Any]:
        return {"inputs": self.inputs.to_config(), **_labels_config(self.classes), "multilabel": self.multilabel}

    @classmethod
    def _from_task_config(cls, network: Network, config: dict[str, Any]) -> ClassifierModel:
        return cls(network, Inputs.from_config(config["inputs"]), _labels(config), config["multilabel"])


class TaggerModel(SequenceModel):
    """A fitted tagger: a label for every step.

    Parameters
    ----------
    network : Network
        An output for each class at every step.
    inputs : Inputs
    classes : ndarray [n_classes]
        The labels.
    """

    kind = "tagger"
    _answer = "largest"

    def __init__(self, network: Network, inputs: Inputs, classes: Array) -> None:
        super().__init__(network, inputs)
        self.classes = classes

    def predict(self, X: Any, static: Any = None) -> Any:
        """Labels of every step: a list of arrays [n_timesteps], or one array [n, n_timesteps] if X is an array."""
        return self._by_sequence(X, static, self._finish)

    def predict_proba(self, X: Any, static: Any = None) -> Any:
        """Class probabilities of every step, as `predict` with a last axis [n_classes]."""
        return self._by_sequence(X, static, self._probabilities)

    def _by_sequence(self, X: Any, static: Any, finish: Any) -> Any:
        sequences = as_sequences(X, "X", dtype=None, finite=False)
        rows = finish(self.network.predict(self.prepare(sequences, static)))
        if isinstance(X, np.ndarray) and X.ndim > 1:
            return rows.reshape(*X.shape[:2], *rows.shape[1:])
        return sequences.split(rows)

    def _probabilities(self, outputs: Array) -> Array:
        return core.softmax(outputs)

    def _finish(self, outputs: Array) -> Array:
        return np.asarray(self.classes[outputs.argmax(axis=1)])

    def _live(self, answer: Array) -> Array:
        return self.classes[answer]

    def _task_config(self) -> dict[str, Any]:
        return {"inputs": self.inputs.to_config(), **_labels_config(self.classes)}

    @classmethod
    def _from_task_config(cls, network: Network, config: dict[str, Any]) -> TaggerModel:
        return cls(network, Inputs.from_config(config["inputs"]), _labels(config))


def _labels_config(classes: Array) -> dict[str, Any]:
    """JSON entries of class labels."""
    labels = classes.tolist()
    if classes.dtype.kind not in "biufUO" or not all(isinstance(x, (str, int, float, bool)) for x in labels):
        raise TypeError(
            f"class labels must be strings, integers, floats or booleans to be saved, got {classes.dtype}: "
            f"{labels[:3]!r}"
        )
    return {"classes": labels, "dtype": classes.dtype.str}


def _labels(config: dict[str, Any]) -> Array:
    return np.array(config["classes"], dtype=np.dtype(config["dtype"]))


class RegressorModel(SequenceModel):
    """A fitted regressor.

    Parameters
    ----------
    network : Network
        An output for each target, or for each target and quantile.
    inputs : Inputs
    scaler : Standardizer
        Gives predictions their units back, target by target.
    squeeze : bool
        There is one target and it came without a column axis: predictions have none.
    quantiles : list of float or None
        Ascending; output column ``j * len(quantiles) + k`` is quantile k of target j.
    """

    kind = "regressor"

    def __init__(
        self, network: Network, inputs: Inputs, scaler: Standardizer, squeeze: bool, quantiles: list[float] | None
    ) -> None:
        super().__init__(network, inputs)
        self.scaler, self.squeeze, self.quantiles = scaler, squeeze, quantiles
        if quantiles is None:
            self._answer, self._scaler = "rescaled", scaler

    def predict_quantiles(self, X: Any, static: Any = None) -> Array:
        """Quantiles [n, n_quantiles], or [n, n_targets, n_quantiles] if the targets had a column axis."""
        return self._finish_quantiles(self.outputs(X, static))

    def _finish(self, outputs: Array) -> Array:
        if self.quantiles is None:
            return self._live(self.scaler.undo(outputs.astype(np.float64)))
        middle = int(np.argmin(np.abs(np.array(self.quantiles) - 0.5)))
        return np.ascontiguousarray(self._finish_quantiles(outputs)[..., middle])

    def _live(self, answer: Array) -> Array:
        if self.quantiles is not None:
            return self._finish(answer)
        return answer[:, 0] if self.squeeze else answer

    def _finish_quantiles(self, outputs: Array) -> Array:
        if self.quantiles is None:
            raise ValueError("quantiles were not learned: that takes loss='quantile'")
        values = outputs.reshape(len(outputs), -1, len(self.quantiles)).astype(np.float64)
        values = np.sort(values, axis=2)  # quantiles may cross (Chernozhukov et al. 2010: sorting only helps)
        values = self.scaler.undo(values.swapaxes(1, 2)).swapaxes(1, 2)
        return values[:, 0] if self.squeeze else values

    def _task_config(self) -> dict[str, Any]:
        config = {"scaler": self.scaler.to_config(), "squeeze": self.squeeze, "quantiles": self.quantiles}
        return {"inputs": self.inputs.to_config(), **config}

    @classmethod
    def _from_task_config(cls, network: Network, config: dict[str, Any]) -> RegressorModel:
        inputs, scaler = Inputs.from_config(config["inputs"]), Standardizer.from_config(config["scaler"])
        return cls(network, inputs, scaler, config["squeeze"], config["quantiles"])
