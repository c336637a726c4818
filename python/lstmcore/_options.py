"""Options of a layer: checks of those that depend on each other, and their call as text."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstmcore import _init
from lstmcore import _validation as check

_LONGEST_CYCLE = 2**24  # what float32 counts exactly


def projection(proj_size: int, hidden_size: int, info: Mapping[str, Any]) -> int:
    """Return proj_size if it is below hidden_size and the cell has a projection."""
    size = check.integer(proj_size, "proj_size", 0)
    if size and not info["projection"]:
        raise ValueError(f"proj_size must be 0 for cell {info['name']!r}, which has no projection, got {size}")
    if size >= hidden_size:
        raise ValueError(f"proj_size must be less than hidden_size={hidden_size}, got {size}")
    return size


def peepholes(value: bool | str | None, cell: str, registry: Mapping[str, Mapping[str, Any]]) -> tuple[str, str | None]:
    """Return the cell and the letters of its gates that have a peephole; None: there are none.

    "lstm" with peepholes is "lstm_peephole", and "lstm_peephole" without any is "lstm": the name that comes back says
    which kernel runs.
    """
    plain = cell.removesuffix("_peephole")
    twin = f"{plain}_peephole" if f"{plain}_peephole" in registry else plain
    possible = registry[twin]["peepholes"]
    if value is None:
        letters = registry[cell]["default_peepholes"]
    elif isinstance(value, str):
        letters = "".join(letter for letter in possible if letter in value)
    elif isinstance(value, (bool, np.bool_)):
        letters = possible if value else ""
    else:
        raise TypeError(f"peepholes must be letters such as 'io', True, False or None, got {value!r}")
    if not possible and value:
        raise ValueError(f"peepholes must be None for cell {cell!r}, which leaves no choice of them, got {value!r}")
    if isinstance(value, str) and sorted(value) != sorted(letters):
        raise ValueError(f"peepholes of cell {cell!r} must be letters of {possible!r}, each once, got {value!r}")
    return (twin, letters) if letters else (plain, None)


def weight_dtype(value: str | None, dtype: np.dtype[Any]) -> str | None:
    """Return weight_dtype if the layer computes in float32."""
    if value is None:
        return None
    check.choice(value, "weight_dtype", ("bfloat16",))
    if dtype != np.float32:
        raise ValueError(f"weight_dtype must be None with dtype={dtype.name!r}, got {value!r}")
    return value


def recurrent_noise(value: float, name: str, info: Mapping[str, Any]) -> float:
    """Return recurrent_dropout or zoneout if the cell takes them."""
    result = check.fraction(value, name)
    if result and not info["noise"]:
        raise ValueError(f"{name} must be 0 for cell {info['name']!r}, got {value!r}")
    return result


def periods(value: Sequence[int] | None, hidden_size: int, info: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return periods as a tuple if the cell has a clock and a unit for each of them."""
    if value is None:
        return None
    if "clock" not in info["states"]:
        raise ValueError(f"periods must be None for cell {info['name']!r}, which has no clock, got {value!r}")
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"periods must be a sequence of integers or None, got {value!r}")
    result = tuple(check.integer(period, f"periods[{k}]") for k, period in enumerate(value))
    if not result or any(a >= b for a, b in itertools.pairwise(result)):
        raise ValueError(f"periods must increase, got {value!r}")
    if len(result) > hidden_size:
        raise ValueError(f"periods must not be more than hidden_size={hidden_size}, got {value!r}")
    if math.lcm(*result) > _LONGEST_CYCLE:
        raise ValueError(f"periods must have a common multiple of at most {_LONGEST_CYCLE}, got {value!r}")
    return result


def forget_bias(value: float | None, cell: str, bias: bool) -> float | None:
    """Return forget_bias if the cell has a forget gate and biases."""
    if value is None:
        return None
    result = check.real(value, "forget_bias")
    if not _init.has_forget_gate(cell):
        raise ValueError(f"forget_bias must be None for cell {cell!r}, which has no forget gate, got {value!r}")
    if not bias:
        raise ValueError(f"forget_bias must be None with bias=False, got {value!r}")
    return result


def constructor_call(layer: object) -> str:
    """Return the call that makes such a layer, options at their defaults and the seed left out."""
    parts = []
    for name, parameter in inspect.signature(type(layer)).parameters.items():
        if name != "seed":
            value = getattr(layer, name)
            value = value.name if name == "dtype" else value
            if parameter.default is parameter.empty:
                parts.append(repr(value))
            elif value != parameter.default:
                parts.append(f"{name}={value!r}")
    return f"{type(layer).__name__}({', '.join(parts)})"
