"""Sequences that were made from others: what a model from sequence to sequence is trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmcore.sequences import Batch, Sequences, Source


class Pairs(Sequences):
    """Sequences, and the one that each was made from, of another length.

    Parameters
    ----------
    values, starts, lengths, static
        As those of `Sequences`, of what is made.
    source : Sequences or None
        ``source[i]`` is what sequence i was made from. None: `static` features alone.

    Raises
    ------
    ValueError
        If there is not a source for each sequence.

    Examples
    --------
    >>> import numpy as np
    >>> column = np.arange(10.0)[:, None]
    >>> pairs = Pairs(column, [0, 2], [2, 5], source=Sequences(column, [0, 6], [6, 4]))
    >>> batch = pairs.batch(np.array([0, 1]))  # the longest target first, the longest source first
    >>> batch.order, batch.source.batch.order, batch.source.position
    (array([1, 0]), array([0, 1]), array([1, 0]))
    """

    __slots__ = ("source",)

    def __init__(
        self,
        values: np.ndarray,
        starts: Any,
        lengths: Any,
        static: np.ndarray | None = None,
        source: Sequences | None = None,
    ) -> None:
        super().__init__(values, starts, lengths, static)
        if source is not None and len(source) != len(self):
            raise ValueError(f"source must hold {len(self)} sequences, one for each that is made, got {len(source)}")
        self.source = source

    def take(self, indices: Any) -> Pairs:
        """Some of the sequences with their sources, sharing the values."""
        part = super().take(indices)
        source = None if self.source is None else self.source.take(indices)
        return Pairs(part.values, part.starts, part.lengths, part.static, source)

    def batch(self, indices: np.ndarray) -> Batch:
        """Pack the sequences `indices` [B] into one batch, and their sources into another."""
        batch = super().batch(indices)
        if self.source is None:
            return batch
        packed = self.source.batch(batch.order)
        position = np.empty(len(batch.order), np.int64)
        position[np.argsort(batch.order)] = np.argsort(packed.order)
        return batch._replace(source=Source(packed, position))
