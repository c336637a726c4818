"""The packed layout of a padded batch: rows time-major, sequences sorted by length, longest first.

With lengths sorted in descending order the rows of step t are the first `batch_sizes[t]` sequences, so that the core
computes exactly the sum of the lengths and no padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._validation import Array


class Packing:
    """Where the rows of one padded batch lie in the packed layout.

    Parameters
    ----------
    steps, batch : int
        T and B of the padded batch.
    batch_first : bool
        Whether padded arrays are [B, T, ...] and not [T, B, ...].
    lengths : ndarray of int64 [B] or None
        Steps of each sequence; None when all of them have T.

    Attributes
    ----------
    batch_sizes : ndarray of int64 [number of steps of the longest sequence]
        How many sequences are alive at each step.
    """

    __slots__ = ("_inverse", "_order", "_rows", "batch", "batch_first", "batch_sizes", "steps")

    def __init__(self, steps: int, batch: int, batch_first: bool, lengths: Array | None) -> None:
        self.steps, self.batch, self.batch_first = steps, batch, batch_first
        self._order: Array | None = None
        self._inverse: Array | None = None
        self._rows: Array | None = None
        if lengths is None:
            self.batch_sizes = np.full(steps, batch, np.int64)
            return
        order = np.argsort(-lengths, kind="stable")
        alive = lengths[order] > np.arange(lengths.max())[:, None]  # [T, B], True up to batch_sizes[t]
        self.batch_sizes = alive.sum(axis=1, dtype=np.int64)
        t, position = np.nonzero(alive)
        b = order[position]
        self._order, self._inverse = order, np.argsort(order)
        self._rows = b * steps + t if batch_first else t * batch + b

    def pack(self, padded: Array, dtype: np.dtype[Any], name: str) -> Array:
        """Return the rows [N, F] of a padded array, checked to be finite; padding is neither read nor checked."""
        if self._rows is not None:
            rows = check.contiguous(self._flat(padded).take(self._rows, axis=0), dtype)
        elif self.batch_first:
            rows = self._flat(check.contiguous(padded.swapaxes(0, 1), dtype))
        else:
            rows = self._flat(check.contiguous(padded, dtype))
        flat = check.first_nonfinite(rows)
        if flat >= 0:
            raise check.nonfinite_error(name, padded, self._position(flat, rows.shape[1]))
        return rows

    def unpack(self, rows: Array) -> Array:
        """Return the padded array of packed rows [N, F], zero beyond each sequence's length."""
        outer = (self.batch, self.steps) if self.batch_first else (self.steps, self.batch)
        if self._rows is not None:
            padded = np.zeros((self.steps * self.batch, rows.shape[1]), rows.dtype)
            padded[self._rows] = rows
            return padded.reshape(*outer, -1)
        time_major = rows.reshape(self.steps, self.batch, -1)
        return time_major.swapaxes(0, 1) if self.batch_first else time_major

    def sort(self, state: Array) -> Array:
        """Return a state [layers, B, width] with its sequences in packed order."""
        return state if self._order is None else state.take(self._order, axis=1)

    def restore(self, state: Array) -> Array:
        """Return a state in packed order [layers, B, width] in the caller's order."""
        return state if self._inverse is None else state.take(self._inverse, axis=1)

    def _flat(self, padded: Array) -> Array:
        return padded.reshape(self.steps * self.batch, -1)

    def _position(self, flat: int, width: int) -> tuple[int, int, int]:
        """Return the index into the padded array of an element of the packed rows."""
        row, feature = divmod(flat, width)
        if self._rows is not None:
            row = int(self._rows[row])
            outer, inner = divmod(row, self.steps if self.batch_first else self.batch)
            return outer, inner, feature
        t, b = divmod(row, self.batch)
        return (b, t, feature) if self.batch_first else (t, b, feature)
