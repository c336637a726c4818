"""Files of tensors: safetensors with a JSON header of our own, written whole or not at all. Data, never code."""

from __future__ import annotations

import json
import operator
import os
import tempfile
from pathlib import Path
from typing import Any

from lstmcore import _validation as check
from lstmcore._validation import Array


def as_path(value: Any, name: str = "path") -> Path:
    """Return `value` as a path, or raise TypeError."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a string or a path, got {value!r}")
    return Path(value)


def write_tensors(path: Path, tensors: dict[str, Array], key: str, header: dict[str, Any]) -> None:
    """Write named tensors and, as JSON under `key`, a header with the version of its ``format``."""
    replace(path, pack(tensors, key, header))


def pack(tensors: dict[str, Array], key: str, header: dict[str, Any]) -> bytes:
    """Return the content of such a file."""
    from safetensors.numpy import save

    contiguous = {name: check.contiguous(values, values.dtype) for name, values in tensors.items()}
    return bytes(save(contiguous, {key: json.dumps(header)}))


def unpack(data: Any, key: str, name: str, kind: str, newest: int) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read what `pack` returned: tensors and header; errors call `data` by `name`, and their content `kind`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"{name} must be bytes, got {type(data).__name__}")
    data = bytes(data)
    try:
        tensors = load(data)
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        header = json.loads(metadata[key])
        version = int(header["format"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name} are not {kind}, or not whole: {error}") from error
    if version > newest:
        raise ValueError(f"{name} have format {version}; this version of lstmcore reads up to {newest}")
    return tensors, header


def read_tensors(path: Path, key: str, kind: str, newest: int) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read what `write_tensors` wrote: tensors and header.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no whole file of this `kind` ("model", "checkpoint"), or its format is newer than `newest`.
    """
    from safetensors import safe_open

    if not path.is_file():
        raise FileNotFoundError(f"there is no {kind} file {path}" if not path.exists() else f"{path} is no file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except OSError:
        raise
    except Exception as error:  # SafetensorError, or what NumPy says to tensors of types that it does not have
        raise ValueError(f"{path} is not a {kind} file, or not a whole one: {error}") from error
    try:
        header = json.loads(metadata[key])
        version = operator.index(header["format"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is a safetensors file, but not a {kind} of lstmcore") from error
    if version > newest:
        raise ValueError(f"{path} has format {version}; this version of lstmcore reads up to {newest}: update lstmcore")
    return tensors, header


def replace(path: Path, content: bytes) -> None:
    """Write beside `path`, then take its place: readers see the old file or the new one, never half of one."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}")
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
