"""States as users pass them: (h, c) for cells with two, h for cells with one; inside, a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._packing import Packing
from lstmcore._validation import Array

State = Any  # an array h, or a tuple (h, c) of arrays, each [layers * directions, B, width]


class StateLayout:
    """What the states of one layer look like.

    Parameters
    ----------
    cell : str
        Its name, for messages.
    widths : dict of str to int
        Width of each state by its symbol, in order: {"h": P or H, "c": H}.
    count : int
        Layers times directions.
    dtype : numpy.dtype
        Type of the layer.
    """

    def __init__(self, cell: str, widths: dict[str, int], count: int, dtype: np.dtype[Any]) -> None:
        self.cell, self.widths, self.count, self.dtype = cell, widths, count, dtype
        self.single = len(widths) == 1
        self.learned = {symbol: width for symbol, width in widths.items() if symbol != "clock"}  # what may be trained

    def zeros(self, batch: int) -> list[Array]:
        """Return the state that sequences start from."""
        return [np.zeros((self.count, batch, width), self.dtype) for width in self.widths.values()]

    def split(self, flat: Array) -> list[Array]:
        """Return states [layers * directions, B, width] that lie one after another in rows [B, all of them].

        All that are learned: a clock starts from zero.
        """
        states, begin = [], 0
        for width in self.learned.values():
            part = flat[:, begin : begin + self.count * width].reshape(len(flat), self.count, width)
            states.append(np.ascontiguousarray(part.swapaxes(0, 1)))
            begin += self.count * width
        return states + self.zeros(len(flat))[len(states) :]

    def join(self, states: Sequence[Array]) -> Array:
        """Return states as rows: the inverse of `split`."""
        learned = states[: len(self.learned)]
        return np.concatenate([state.swapaxes(0, 1).reshape(state.shape[1], -1) for state in learned], axis=1)

    def checked(self, state: State | None, name: str, packing: Packing) -> list[Array | None] | None:
        """Return the list of states, checked, converted and in packed order, or None; None stands for zeros."""
        if state is None:
            return None
        several = isinstance(state, (tuple, list))
        if self.single:
            if several and any(np.ndim(part) for part in state):
                raise TypeError(f"{name} of a {self.cell} layer is one array h, got a {type(state).__name__}")
            return [packing.sort(self._array(state, name, "h", packing.batch))]
        if not several or len(state) != len(self.widths):
            found = f"{len(state)} of them" if several else type(state).__name__
            raise TypeError(f"{name} must be a tuple ({', '.join(self.widths)}) of arrays, got {found}")
        parts: list[Array | None] = []
        for k, (symbol, part) in enumerate(zip(self.widths, state, strict=True)):
            array = None if part is None else self._array(part, f"{name}[{k}]", symbol, packing.batch)
            parts.append(None if array is None else packing.sort(array))
        return parts

    def returned(self, states: list[Array], packing: Packing) -> State:
        """Return the core's states in the user's form and order."""
        if self.single:
            return packing.restore(states[0])
        return tuple(packing.restore(state) for state in states)

    def _array(self, value: Any, name: str, symbol: str, batch: int) -> Array:
        shape = (self.count, batch, self.widths[symbol])
        source = check.exact_shape(value, name, shape, f"[layers * directions, B, width] of {symbol}")
        array = check.contiguous(source, self.dtype)
        check.finite(array, name, source)
        return array
