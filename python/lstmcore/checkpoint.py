"""Checkpoint files: a training run as one safetensors file, from which it goes on to the same bits.

Tensors: the flat "parameters" and, with validation, "best" parameters; the optimizer's memory behind "optimizer.". JSON
header: history, learning rate and the state of the random generator. Early stopping and schedules follow from the
history. A file is data, never code.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore import _files
from lstmcore.history import History

if TYPE_CHECKING:
    from lstmcore.training import Trainer

FORMAT = 1
"""Version of the format that this version writes, and the newest that it reads."""

_KEY = "lstmcore_checkpoint"


def save(trainer: Trainer, path: str | os.PathLike[str]) -> None:
    """Write what `trainer` needs to go on; see `Trainer.save_checkpoint`."""
    target = _files.as_path(path)
    tensors = {"parameters": trainer.network.flat_parameters}
    if trainer._best is not None:
        tensors["best"] = trainer._best
    tensors |= {f"optimizer.{name}": values for name, values in trainer.optimizer.state_dict().items()}
    header = {
        "format": FORMAT,
        "layout": _layout(trainer),
        "first_epoch": trainer._first,
        "learning_rate": trainer.learning_rate,
        "history": asdict(trainer.history),
        "generator": _to_json(trainer.rng.bit_generator.state),
        "extra": trainer.extra,
    }
    _files.write_tensors(target, tensors, _KEY, header)


def load(trainer: Trainer, path: str | os.PathLike[str]) -> None:
    """Put `trainer` where the one that wrote the file was; see `Trainer.load_checkpoint`."""
    source = _files.as_path(path)
    tensors, header = _files.read_tensors(source, _KEY, "checkpoint", FORMAT)
    try:
        _check_layout(header["layout"], _layout(trainer))
        parameters = tensors["parameters"].reshape(trainer.network.flat_parameters.shape)
        memory = {name: tensors[f"optimizer.{name}"] for name in trainer.optimizer.state_dict()}
        history, first, rate = History(**header["history"]), int(header["first_epoch"]), float(header["learning_rate"])
        extra = dict(header["extra"])
        trainer.rng.bit_generator.state = _from_json(header["generator"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{source} is no checkpoint of this training: {type(error).__name__}: {error}") from error
    trainer.network.flat_parameters[...] = parameters
    trainer.network.parameters_changed()
    trainer.network.zero_gradients()
    trainer.optimizer.load_state_dict(memory)
    trainer._best, trainer._first = tensors.get("best"), first
    trainer.history, trainer.learning_rate, trainer.extra = history, rate, extra


def read_extra(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the `extra` of the trainer that wrote a checkpoint, before there is one to load it."""
    _, header = _files.read_tensors(_files.as_path(path), _KEY, "checkpoint", FORMAT)
    return dict(header["extra"])


def _layout(trainer: Trainer) -> list[list[Any]]:
    """Return what is where: the type of the optimizer and of the numbers, name and shape of each parameter."""
    network = trainer.network
    parameters = [[name, list(shape)] for name, shape, _ in network.parameter_table()]
    return [["optimizer", trainer.config.optimizer], ["dtype", network.dtype.name], *parameters]


def _check_layout(theirs: list[list[Any]], ours: list[list[Any]]) -> None:
    for there, here in zip_longest(theirs, ours):
        if there != here:
            raise ValueError(f"it has {there} where this training has {here}")


def _to_json(state: Any) -> Any:
    """Return the state of a bit generator with lists for arrays."""
    if isinstance(state, dict):
        return {name: _to_json(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, (np.ndarray, np.generic)) else state


def _from_json(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _from_json(value) for name, value in state.items()}
    return np.array(state, np.uint64) if isinstance(state, list) else state
