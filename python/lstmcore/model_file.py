"""Files of models, networks and layers: a safetensors file of the parameters and, as JSON in its header, the rest.

A file is data, never code. Its tensors have the names of ``parameters``: PyTorch's, in a network behind "recurrent."
and "dense.".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from lstmcore import _files
from lstmcore import _validation as check
from lstmcore._parameters import Parameterized, at_most
from lstmcore._validation import Array
from lstmcore.embedding import Embedding
from lstmcore.graph_network import GraphNetwork, build_graph_network, graph_network_config
from lstmcore.layers import from_cell
from lstmcore.model import Model
from lstmcore.network import Dense, Network

FORMAT = 1
"""Version of the format that this version writes, and the newest that it reads."""

_KEY = "lstmcore"
_VECTORS = "embedding.weight"
_SMALL = 1 << 16  # sizes up to this are taken of any file: some layers have no parameters
_EMBEDDING = ("n_tokens", "dim", "trainable")
# Where the classes are that a file can hold: models by their `kind`, layers and networks by their names.
_MODELS = {
    "classifier": ("model", "ClassifierModel"),
    "tagger": ("model", "TaggerModel"),
    "regressor": ("model", "RegressorModel"),
    "language_model": ("language", "LanguageModel"),
    "forecaster": ("forecasting", "ForecasterModel"),
    "seq2seq": ("seq2seq_model", "Seq2SeqModel"),
}
_LAYERS = {
    **dict.fromkeys(("LSTM", "GRU", "RNN", "Recurrent"), "layers"),
    "TimeDelay": "time_delay",
    "Dense": "network",
    "Embedding": "embedding",
    "Pooling": "pooling",
    "Attention": "attention",
    "TreeLSTM": "tree",
    "GatedGraph": "gated_graph",
    "Network": "network",
    "GraphNetwork": "graph_network",
    "Seq2SeqNetwork": "seq2seq",
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
    network = model.network
    _write(path, network, {"kind": model.kind, "network": network._file_config(), "task": model._task_config()})


def save_layer(layer: Parameterized, path: str | os.PathLike[str]) -> None:
    """Write a layer or network to `path`, see `lstmcore.Network.save`."""
    name = type(layer).__name__
    if name not in _LAYERS or type(layer) is not _attribute(_LAYERS[name], name):
        raise TypeError(f"{name} is none of the layers that a file can hold: {', '.join(_LAYERS)}")
    _write(path, layer, {"kind": name, "network": layer._file_config()})


def load(path: str | os.PathLike[str], *, weight_dtype: str | None = None) -> Any:
    """Read what ``save`` of an estimator, a model, a layer or a network wrote. Needs no scikit-learn.

    Parameters
    ----------
    path : str or path
        The file. It is data: whatever it holds, no code of it runs, and no more memory is taken than a few times its
        size.
    weight_dtype : {None, "bfloat16"}, default=None
        "bfloat16": predict and stream with recurrent weights rounded to bfloat16, see `LSTM`; for float32 models.

    Returns
    -------
    Model, layer or network
        Of an estimator a `ClassifierModel`, `RegressorModel`, `TaggerModel` or `ForecasterModel`: ``predict`` and
        ``session`` work as in training. Or a `Seq2SeqModel`, which has ``predict``, or a `LanguageModel`, which has
        ``generate`` and ``score``. Of a layer such as `LSTM`, or a `Network`, one of the same class, options and
        parameters; its random generator starts anew.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a model file, is damaged, lacks tensors, or was written by a newer version, or weight_dtype is not
        as described.

    Examples
    --------
    >>> import lstmcore, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "layer.safetensors")
    >>> lstmcore.LSTM(3, 8, peepholes="io", seed=0).save(path)
    >>> lstmcore.load(path)
    LSTM(3, 8, peepholes='io')
    """
    path = _files.as_path(path)
    tensors, config = _files.read_tensors(path, _KEY, "model", FORMAT)
    if weight_dtype is not None:
        check.choice(weight_dtype, "weight_dtype", ("bfloat16",))
    try:
        return _built(tensors, config, weight_dtype)
    except Exception as error:  # whatever a hostile file makes go wrong
        raise ValueError(f"{path} is a damaged model file: {type(error).__name__}: {error}") from error


def _write(path: Any, network: Any, config: dict[str, Any]) -> None:
    _files.write_tensors(_files.as_path(path), network._file_tensors(), _KEY, {"format": FORMAT, **config})


def _built(tensors: dict[str, Array], config: dict[str, Any], weight_dtype: str | None) -> Any:
    """What a file holds. Nothing of it is believed: sizes are checked before memory is taken."""
    kind, numbers = config["kind"], sum(values.size for values in tensors.values())
    home = _MODELS[kind] if kind in _MODELS else (_LAYERS[kind], kind)
    found = _attribute(*home)
    _check_sizes(config["network"], max(numbers, _SMALL), len(tensors))
    make = found.network_type if kind in _MODELS else found
    with at_most(2 * numbers + _SMALL):  # so that a file which lacks a tensor is told which
        network = make._from_file(config["network"], tensors, weight_dtype)
    constants = network._file_tensors().keys() - network.parameters.keys()
    network.load_parameters({name: values for name, values in tensors.items() if name not in constants})
    return found._from_task_config(network, config["task"]) if kind in _MODELS else network


def _attribute(module: str, name: str) -> Any:
    return getattr(import_module(f"lstmcore.{module}"), name)


def _check_sizes(config: Any, most: int, n_tensors: int) -> None:
    """Raise ValueError for a size that a network of so many numbers in so many tensors cannot have."""
    for name, value in config.items():
        if isinstance(value, dict):
            _check_sizes(value, most, n_tensors)
        elif type(value) is int and value > (n_tensors if name == "num_layers" else most):
            raise ValueError(f"{name} is {value}, too large for a file of {most} numbers in {n_tensors} tensors")


def network_config(network: Network) -> dict[str, Any]:
    """Return what `build_network` needs, ready for JSON."""
    if isinstance(network, GraphNetwork):
        return graph_network_config(network)
    recurrent, embedding = network.recurrent, network.embedding
    return {
        "dtype": network.dtype.name,
        "recurrent": {name: getattr(recurrent, name) for name in recurrent.config_names},
        "pooling": network.pooling,
        "dropout": network.dropout,
        "n_outputs": network.n_outputs,
        "n_static": network.n_static,
        "embedding": None if embedding is None else {name: getattr(embedding, name) for name in _EMBEDDING},
        **({} if network.dense.bias else {"dense_bias": False}),
    }


def build_network(config: dict[str, Any], tensors: Mapping[str, Array], weight_dtype: str | None = None) -> Network:
    """Build a network from what `network_config` gave; its parameters are random, but for an embedding's vectors."""
    if "graph" in config:
        if weight_dtype is not None:
            raise ValueError(f"weight_dtype must be None for a model of graphs, got {weight_dtype!r}")
        return build_graph_network(config, tensors.get(_VECTORS))
    dtype, embedding, initial = config["dtype"], None, None
    recurrent = from_cell(**config["recurrent"], dtype=dtype, weight_dtype=weight_dtype, seed=0)
    if config["embedding"] is not None:
        embedding = Embedding(**config["embedding"], vectors=tensors[_VECTORS], dtype=dtype)
    if config["n_static"]:
        initial = Dense(config["n_static"], recurrent.state_size, dtype=dtype, seed=0)
    dense = Dense(recurrent.output_size, config["n_outputs"], config.get("dense_bias", True), dtype=dtype, seed=0)
    options = {"dropout": config["dropout"], "embedding": embedding, "initial": initial}
    return Network(recurrent, config["pooling"], dense, **options)
