"""``python -m lstmcore convert``: model files from and to the formats of others, by their suffixes."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lstmcore
from lstmcore import _files
from lstmcore._recurrent import Recurrent


def run(source: Path, target: Path, name: str | None) -> None:
    """Read `source`, write `target`, and say what was written."""
    for path, table, what in ((source, READERS, "read"), (target, WRITERS, "written")):
        if path.suffix not in table:
            raise ValueError(f"{path} cannot be {what}: its suffix must be one of {', '.join(table)}")
    if name is not None and target.suffix != ".h":
        raise ValueError(f"--name is for a .h, got {target}")
    if not source.is_file():
        raise FileNotFoundError(f"there is no file {source}")
    model = READERS[source.suffix](source)
    said = WRITERS[target.suffix](model, target, name)
    print(f"{target}: {model!r}{said or ''}")


def _public(name: str) -> Any:
    return getattr(lstmcore, name)


# ---- reading --------------------------------------------------------------------------------------------------------


def _read_torch(path: Path) -> Recurrent:
    """Return the layer of a state_dict, which PyTorch reads without running code."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is not a file of tensors alone: write it with torch.save(module.state_dict(), path)"
        ) from error
    except Exception as error:  # of what is no file of PyTorch, or not a whole one
        raise ValueError(f"{path} cannot be read by PyTorch: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        found = f"a dict of {list(state)}" if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"{path} holds {found}, and not a state_dict of PyTorch: tensors by name")
    double = torch.float64
    arrays = {
        str(name): tensor.to(double if tensor.dtype == double else torch.float32).numpy()
        for name, tensor in state.items()
    }
    return from_state_dict(arrays)


def from_state_dict(state: dict[str, Any]) -> Recurrent:
    """Return the `LSTM`, `GRU` or `RNN` (tanh) whose parameters are the arrays of a state_dict.

    Names may have a prefix, as those of a module inside of another; other layers beside it are an error.
    """
    first = next((name for name in state if name.endswith("weight_ih_l0")), None)
    if first is None:
        raise ValueError(f"a state_dict of one LSTM, GRU or RNN has weight_ih_l0, got {list(state)}")
    prefix = first.removesuffix("weight_ih_l0")
    others = [
        name for name in state if not re.fullmatch(re.escape(prefix) + r"(weight|bias)_[ih][hr]_l\d+(_reverse)?", name)
    ]
    if others:
        raise ValueError(f"a state_dict of one LSTM, GRU or RNN is needed, this one also has {others}: see from_torch")
    arrays = {name.removeprefix(prefix): np.asarray(array) for name, array in state.items()}
    weight, projection = arrays.get("weight_hh_l0", np.zeros((0, 1))), arrays.get("weight_hr_l0")
    proj_size, H = weight.shape[-1:] * 2 if projection is None else projection.shape
    make = {4: lstmcore.LSTM, 3: lstmcore.GRU, 1: lstmcore.RNN}.get(len(weight) / H)
    if make is None:
        raise ValueError(f"weight_hh_l0 of an LSTM, GRU or RNN has 4, 3 or 1 blocks of rows, got shape {weight.shape}")
    options: dict[str, Any] = {
        "num_layers": sum(bool(re.fullmatch(r"weight_ih_l\d+", name)) for name in arrays),
        "bias": "bias_ih_l0" in arrays,
        "bidirectional": "weight_ih_l0_reverse" in arrays,
        "dtype": "float64" if weight.dtype == np.float64 else "float32",
        "seed": 0,
    }
    if projection is not None:
        options["proj_size"] = proj_size
    layer: Recurrent = make(arrays["weight_ih_l0"].shape[1], H, **options)
    layer.load_parameters(arrays)
    return layer


READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": lambda path: lstmcore.load(path),
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".keras": lambda path: _public("from_keras")(path),
}


# ---- writing --------------------------------------------------------------------------------------------------------


def _write_torch(model: Any, path: Path, _: str | None) -> None:
    import torch

    content = io.BytesIO()
    torch.save(lstmcore.to_torch(model).state_dict(), content)
    _files.replace(path, content.getvalue())


def _write_c(model: Any, path: Path, name: str | None) -> str:
    from lstmcore.interop.c import program_of

    chosen = re.sub(r"\W", "_", path.stem, flags=re.ASCII) if name is None else name
    program = program_of(model, chosen)
    _files.replace(path, program.text().encode())
    sizes = program.bytes
    return (
        f"; {sizes['weight']} bytes of constants, {sizes['state']} of state, {sizes['scratch']} on the stack of a step"
    )


def _write_onnx(model: Any, path: Path, _: str | None) -> None:
    _public("to_onnx")(model, path)


WRITERS: dict[str, Callable[[Any, Path, str | None], str | None]] = {
    ".safetensors": lambda model, path, _: model.save(path),
    ".onnx": _write_onnx,
    ".h": _write_c,
    ".pt": _write_torch,
    ".pth": _write_torch,
    ".keras": lambda model, path, _: _public("to_keras")(model).save(path),
}
