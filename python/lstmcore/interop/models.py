"""From a network that was not fitted here to a model: with files, sessions and predictions as a fitted one has."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lstmcore import _validation as check
from lstmcore._inputs import Inputs
from lstmcore._standardizer import Standardizer
from lstmcore.model import ClassifierModel, RegressorModel, SequenceModel, TaggerModel
from lstmcore.network import Dense, Network


def model_from_network(
    network: Network, classes: ArrayLike | None = None, *, multilabel: bool = False
) -> SequenceModel:
    """Return a model around a network, such as one that `from_keras` or `from_torch` made.

    Parameters
    ----------
    network : Network
        Takes raw sequences: nothing is standardized. It is copied.
    classes : array-like [n_classes] or None, default=None
        Labels of the outputs, whose softmax are their probabilities. A single output for two labels is the logit of
        the second. None: outputs are what is predicted.
    multilabel : bool, default=False
        Whether each class has a probability of its own, the sigmoid of its output.

    Returns
    -------
    ClassifierModel, TaggerModel or RegressorModel
        Without classes a RegressorModel; with classes a TaggerModel if the network answers at every step, else a
        ClassifierModel. They predict, open sessions, and ``save`` what `load` reads.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the network answers at every step without classes or with multilabel.

    Examples
    --------
    >>> import lstmcore
    >>> network = lstmcore.Network(lstmcore.GRU(3, 8, seed=0), "last", lstmcore.network.Dense(8, 1, seed=0))
    >>> model = lstmcore.model_from_network(network, ["down", "up"])
    >>> model.predict_proba([[[0.1, 0.2, 0.3]] * 5]).shape
    (1, 2)
    """
    if type(network) is not Network:
        raise TypeError(f"network must be a Network, got {type(network).__name__}")
    if check.flag(multilabel, "multilabel") and classes is None:
        raise ValueError("multilabel=True needs classes, got None")
    if network.pooling is None and (classes is None or multilabel):
        raise ValueError("a network that answers at every step needs classes, and multilabel=False, to become a tagger")
    n_tokens = None if network.embedding is None else network.embedding.n_tokens
    inputs = Inputs(network.n_features, network.dtype, n_tokens=n_tokens)
    if classes is None:
        n = network.n_outputs
        return RegressorModel(_copied(network), inputs, Standardizer(np.zeros(n), np.ones(n)), n == 1, None)
    labels = np.asarray(classes)
    logit = network.n_outputs == 1 and labels.shape == (2,) and not multilabel
    if labels.shape != (network.n_outputs,) and not logit:
        raise ValueError(f"classes must be {network.n_outputs} labels, one for each output, got {classes!r}")
    made = _copied(network, logit)
    if network.pooling is None:
        return TaggerModel(made, inputs, labels)
    return ClassifierModel(made, inputs, labels, multilabel)


def _copied(network: Network, logit: bool = False) -> Network:
    """The same layers with a bias in the last, which files have; with `logit` its one output is the second of two."""
    layers = copy.deepcopy(network.layers)
    given = layers["dense"].parameters
    dense = Dense(network.dense.in_features, network.n_outputs + logit, dtype=network.dtype, seed=0)
    weight, bias = given["weight"], given.get("bias", np.zeros(network.n_outputs))
    dense.load_parameters({"weight": np.pad(weight, ((int(logit), 0), (0, 0))), "bias": np.pad(bias, (int(logit), 0))})
    options: dict[str, Any] = {"pooling": network.pooling, "dropout": network.dropout, **layers, "dense": dense}
    return Network(**options)
