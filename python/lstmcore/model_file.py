"""Model files: one safetensors file with the parameters and, as JSON in its header, how to build the rest.

A file is data, never code. Its tensors have the names of ``network.parameters``: PyTorch's, behind "recurrent." and
"dense.".
"""

from __future__ import annotations

import json
import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._validation import Array
from lstmcore.layers import from_cell
from lstmcore.model import Model
from lstmcore.network import Dense, Network

FORMAT = 1
"""Version of the format that this version writes, and the newest that it reads."""

_KEY = "lstmcore"
_KINDS = {
    "classifier": ("lstmcore.model", "ClassifierModel"),
    "regressor": ("lstmcore.model", "RegressorModel"),
    "forecaster": ("lstmcore.forecasting", "ForecasterModel"),
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
    from safetensors.numpy import save as to_bytes

    path = _checked(path)
    config = {
        "format": FORMAT,
        "kind": model.kind,
        "network": network_config(model.network),
        "task": model._task_config(),
    }
    tensors = {name: np.ascontiguousarray(values) for name, values in model.network.parameters.items()}
    _replace(path, to_bytes(tensors, {_KEY: json.dumps(config)}))


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
    path = _checked(path)
    tensors, config = _read(path)
    if weight_dtype is not None:
        check.choice(weight_dtype, "weight_dtype", ("bfloat16",))
    try:
        module, name = _KINDS[config["kind"]]
        network = build_network({**config["network"], "weight_dtype": weight_dtype})
        network.load_parameters(tensors)
        model: Model = getattr(import_module(module), name)._from_task_config(network, config["task"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is a damaged model file: {type(error).__name__}: {error}") from error
    return model


def network_config(network: Network) -> dict[str, Any]:
    """Return what `build_network` needs, ready for JSON."""
    recurrent = network.recurrent
    names = ("cell", "input_size", "hidden_size", "num_layers", "bias", "dropout", "bidirectional", "proj_size")
    options = {name: getattr(recurrent, name) for name in (*names, "recurrent_dropout", "zoneout")}
    return {**options, "pooling": network.pooling, "n_outputs": network.n_outputs, "dtype": network.dtype.name}


def build_network(config: dict[str, Any]) -> Network:
    """Build a network from what `network_config` gave; its parameters are random."""
    options = dict(config)
    pooling, n_outputs = options.pop("pooling"), options.pop("n_outputs")
    recurrent = from_cell(**options, seed=0)
    return Network(recurrent, pooling, Dense(recurrent.output_size, n_outputs, dtype=recurrent.dtype, seed=0))


def _checked(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a string or a path, got {path!r}")
    return Path(path)


def _replace(path: Path, content: bytes) -> None:
    """Write beside `path`, then take its place: readers see the old file or the new one, never half of one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _read(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}" if not path.exists() else f"{path} is no file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a model file, or not a whole one: {error}") from error
    try:
        config = json.loads(metadata[_KEY])
        version = int(config["format"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is a safetensors file, but not a model of lstmcore") from error
    if version > FORMAT:
        raise ValueError(f"{path} has format {version}; this version of lstmcore reads up to {FORMAT}: update lstmcore")
    return tensors, config
