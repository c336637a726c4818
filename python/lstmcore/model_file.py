"""Model files: one safetensors file with the parameters and, as JSON in its header, how to build the rest.

A file is data, never code. Its tensors have the names of ``network.parameters``: PyTorch's, behind "recurrent." and
"dense.".
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from lstmcore import _files
from lstmcore import _validation as check
from lstmcore._validation import Array
from lstmcore.embedding import Embedding
from lstmcore.layers import from_cell
from lstmcore.model import Model
from lstmcore.network import Dense, Network

FORMAT = 1
"""Version of the format that this version writes, and the newest that it reads."""

_KEY = "lstmcore"
VECTORS = "embedding.weight"
_EMBEDDING = ("n_tokens", "dim", "trainable")
_KINDS = {
    "classifier": ("lstmcore.model", "ClassifierModel"),
    "tagger": ("lstmcore.model", "TaggerModel"),
    "regressor": ("lstmcore.model", "RegressorModel"),
    "forecaster": ("lstmcore.forecasting", "ForecasterModel"),
    "seq2seq": ("lstmcore.seq2seq_model", "Seq2SeqModel"),
}


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write `model` to `path`; an existing file is replaced only by a complete one.

    Raises
    ------
    TypeError
        If `path` is no path, or class labels are of a type that a file cannot hold.
    OSError
        If it cannot be written.
    """
    path = _files.as_path(path)
    config = {
        "format": FORMAT,
        "kind": model.kind,
        "network": model._network_config(),
        "task": model._task_config(),
    }
    _files.write_tensors(path, _tensors(model.network), _KEY, config)


def load(path: str | os.PathLike[str], *, weight_dtype: str | None = None) -> Model:
    """Read a model that an estimator's or a model's ``save`` wrote. Needs no scikit-learn.

    Parameters
    ----------
    path : str or path
        The file.
    weight_dtype : {None, "bfloat16"}, default=None
        "bfloat16": predict and stream with recurrent weights rounded to bfloat16, see `LSTM`; for float32 models.

    Returns
    -------
    Model
        A `ClassifierModel`, `RegressorModel` or `ForecasterModel`: ``predict`` and ``session`` work as in training.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a model file, is damaged, lacks tensors, or was written by a newer version, or weight_dtype is not
        as described.
    """
    path = _files.as_path(path)
    tensors, config = _files.read_tensors(path, _KEY, "model", FORMAT)
    if weight_dtype is not None:
        check.choice(weight_dtype, "weight_dtype", ("bfloat16",))
    try:
        module, name = _KINDS[config["kind"]]
        kind: type[Model] = getattr(import_module(module), name)
        network = kind._build_network(config["network"], tensors, weight_dtype)
        if VECTORS not in network.parameters:
            tensors.pop(VECTORS, None)
        network.load_parameters(tensors)
        model = kind._from_task_config(network, config["task"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is a damaged model file: {type(error).__name__}: {error}") from error
    return model


def network_config(network: Network) -> dict[str, Any]:
    """Return what `build_network` needs, ready for JSON."""
    recurrent, embedding = network.recurrent, network.embedding
    return {
        "dtype": network.dtype.name,
        "recurrent": {name: getattr(recurrent, name) for name in recurrent.config_names},
        "pooling": network.pooling,
        "dropout": network.dropout,
        "n_outputs": network.n_outputs,
        "n_static": network.n_static,
        "embedding": None if embedding is None else {name: getattr(embedding, name) for name in _EMBEDDING},
    }


def build_network(config: dict[str, Any], vectors: Array | None = None, weight_dtype: str | None = None) -> Network:
    """Build a network from what `network_config` gave; its parameters are random, but for an embedding's `vectors`."""
    dtype, embedding, initial = config["dtype"], None, None
    recurrent = from_cell(**config["recurrent"], dtype=dtype, weight_dtype=weight_dtype, seed=0)
    if config["embedding"] is not None:
        embedding = Embedding(**config["embedding"], vectors=vectors, dtype=dtype, seed=0)
    if config["n_static"]:
        initial = Dense(config["n_static"], recurrent.state_size, dtype=dtype, seed=0)
    dense = Dense(recurrent.output_size, config["n_outputs"], dtype=dtype, seed=0)
    options = {"dropout": config["dropout"], "embedding": embedding, "initial": initial}
    return Network(recurrent, config["pooling"], dense, **options)


def _tensors(network: Any) -> dict[str, Array]:
    """All parameters, and the vectors of an embedding that is not trained."""
    if network.embedding is None or network.embedding.trainable:
        return network.parameters
    return {**network.parameters, VECTORS: network.embedding.weight}
