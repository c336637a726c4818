"""What a network is trained or measured on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lstmcore._validation import Array
from lstmcore.sequences import Batch, Sequences


class Samples(NamedTuple):
    """Sequences with what belongs to each: a target and a weight, or those of each row when `by_row`."""

    sequences: Sequences
    targets: Array
    weights: Array | None = None
    by_row: bool = False

    def batch(self, indices: Array) -> tuple[Batch, Array, Array | None]:
        """Pack sequences with their targets and weights."""
        batch = self.sequences.batch(indices)
        if not self.by_row:
            return batch, self.targets[batch.order], None if self.weights is None else self.weights[batch.order]
        rows = self.sequences.rows(batch)
        return batch, self.targets[rows], None if self.weights is None else self.weights[rows]

    def take(self, indices: Array) -> Samples:
        """Some of the sequences, with what belongs to them."""
        if self.by_row:
            return self._replace(sequences=self.sequences.take(indices))
        weights = None if self.weights is None else self.weights[indices]
        return Samples(self.sequences.take(indices), self.targets[indices], weights)

    def all_targets(self) -> tuple[Array, ...]:
        """Targets, and weights if there are any, in the order of `Network.predict`."""
        arrays = (self.targets,) if self.weights is None else (self.targets, self.weights)
        if not self.by_row:
            return arrays
        rows = self._rows()
        return tuple(array[rows] for array in arrays)

    def after(self, n: int) -> Samples:
        """The same targets by row, but that those of the first `n` rows of each sequence have no weight."""
        joined = self.sequences.joined()
        rows = self._rows()
        step = np.arange(len(rows)) - np.repeat(joined.starts, joined.lengths)
        return Samples(joined, self.targets[rows], (step >= n).astype(self.targets.dtype), True)

    def _rows(self) -> Array:
        """Which row of the values is each step, sequence after sequence."""
        sequences = self.sequences
        ends = np.cumsum(sequences.lengths)
        return np.arange(ends[-1]) + np.repeat(sequences.starts - (ends - sequences.lengths), sequences.lengths)
