"""Checks of what users pass in.

Every message names the argument and quotes the value; every check runs before any work is done.
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmcore._isa import core

Array = NDArray[Any]

_NUMERIC_KINDS = "fiub"


def integer(value: Any, name: str, minimum: int = 1) -> int:
    """Return `value` as an int of at least `minimum`; a bool is not a number here."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if result < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {result}")
    return result


def flag(value: Any, name: str) -> bool:
    """Return `value` as a bool; anything but True and False is refused."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def fraction(value: Any, name: str) -> float:
    """Return `value` as a float in [0, 1)."""
    result = real(value, name)
    if not 0.0 <= result < 1.0:
        raise ValueError(f"{name} must lie in [0, 1), got {value!r}")
    return result


def real(value: Any, name: str) -> float:
    """Return `value` as a finite float."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return float(value)


def choice(value: Any, name: str, valid: Iterable[str]) -> str:
    """Return `value` if it is one of the `valid` names; else name the nearest one and list them all."""
    options = list(valid)
    if isinstance(value, str) and value in options:
        return value
    listed = ", ".join(repr(option) for option in options)
    near = difflib.get_close_matches(value, options, 1) if isinstance(value, str) else []
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(f"{name} must be one of {listed}, got {value!r}{hint}")


def scalar_type(value: Any) -> np.dtype[Any]:
    """Return the dtype of a layer: float32 or float64."""
    try:
        dtype = np.dtype("V" if value is None else value)  # NumPy reads None as float64
    except TypeError:
        dtype = np.dtype("V")
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {value!r}")
    return dtype


def generator(seed: Any) -> np.random.Generator:
    """Return a random generator from None, an int or a generator (which is used as it is)."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(None if seed is None else integer(seed, "seed", 0))


def numeric(value: Any, name: str) -> Array:
    """Return `value` as an array of real numbers, without a copy where it is one already."""
    if type(value) is np.ndarray and value.dtype.kind in _NUMERIC_KINDS:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array: fill the masked values first, for instance with {name}.filled(0)")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read as one array: {error}") from None
    if array.dtype.kind not in _NUMERIC_KINDS:
        raise TypeError(f"{name} must hold real numbers, got {described(value, array)}")
    return array


def shaped(value: Any, name: str, axes: str) -> Array:
    """Return `value` as an array of numbers with the axes named in `axes`, such as "[T, B, I]", none of them empty."""
    array = numeric(value, name)
    ndim = axes.count(",") + 1
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions {axes}, got {array.ndim} (shape {array.shape})")
    if array.size == 0:
        raise ValueError(f"{name} is empty: its shape is {array.shape}, read as {axes}")
    return array


def exact_shape(value: Any, name: str, shape: tuple[int, ...], axes: str) -> Array:
    """Return `value` as an array of numbers of exactly this shape."""
    array = numeric(value, name)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, that is {axes}, got {array.shape}")
    return array


def contiguous(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return `array` C-contiguous and of `dtype`; the same object where it is so already."""
    if array.dtype == dtype and array.flags.c_contiguous:
        return array
    with np.errstate(over="ignore"):  # a value too large becomes inf, and `finite` names it
        return np.ascontiguousarray(array, dtype=dtype)


def finite(array: Array, name: str, source: Array | None = None) -> None:
    """Raise ValueError at the first NaN or infinity of a contiguous array, naming its position.

    `source` is the array that the user passed, of the same shape, for the value that the message quotes.
    """
    flat = first_nonfinite(array)
    if flat >= 0:
        raise nonfinite_error(name, array if source is None else source, np.unravel_index(flat, array.shape))


def nonfinite_error(name: str, source: Array, index: tuple[Any, ...]) -> ValueError:
    """Return the error which says that `source`, as the user passed it, is not finite at `index`."""
    position = ", ".join(str(int(i)) for i in index)
    value = source[index]
    if np.isfinite(value):
        return ValueError(f"{name}[{position}] is {value}: too large for float32")
    return ValueError(f"{name}[{position}] is {value}: it must be finite")


def sequence_lengths(value: Any, steps: int, batch: int) -> Array | None:
    """Return lengths as int64 [B], each 1 to `steps`; None where no sequence is shorter than the batch."""
    if value is None:
        return None
    lengths = exact_shape(value, "lengths", (batch,), "one length for each row of the batch")
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"lengths must hold integers, got dtype {lengths.dtype}")
    for row in np.flatnonzero((lengths < 1) | (lengths > steps))[:1]:
        reason = f"x has only {steps} steps" if lengths[row] > steps else "every sequence needs at least one step"
        raise ValueError(f"lengths[{row}] is {lengths[row]}, but {reason}")
    return None if (lengths == steps).all() else lengths.astype(np.int64)


def first_nonfinite(array: Array) -> int:
    """Return the flat index of the first NaN or infinity of a contiguous float array, or -1."""
    return int(core.first_nonfinite(array))


def described(value: Any, array: Array | None = None) -> str:
    """Say what a value that is no array of numbers is, in a few words."""
    if isinstance(value, np.ndarray) and array is not None:
        return f"an array of dtype {array.dtype}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
