"""Forward and backward of a network's recurrent part and pooling over one batch: whole, or truncated.

A pass gives the features that the dense head sees, and later takes their gradient. Everything in between stays in it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from lstmcore._isa import core
from lstmcore._recurrent import Recurrent
from lstmcore._validation import Array
from lstmcore.sequences import Batch


class Pass(Protocol):
    """One batch on its way through the recurrent layers."""

    def forward(self) -> Array:
        """Return the features [B, width], or [N, width] without pooling."""

    def backward(self, dfeatures: Array) -> None:
        """Add the gradients of the recurrent parameters."""


class Job(NamedTuple):
    """What a pass works on."""

    recurrent: Recurrent
    pooling: str | None
    batch: Batch
    training: bool
    seed: int


def make_pass(job: Job, tbptt_steps: int | None) -> Pass:
    """Return the pass that computes gradients back over `tbptt_steps` steps; None for all."""
    if tbptt_steps is None or tbptt_steps >= len(job.batch.batch_sizes):
        return WholePass(job)
    return LastStepsPass(job, tbptt_steps) if job.pooling == "last" else ChunkedPass(job, tbptt_steps)


def pooled(pooling: str | None, y: Array | None, states: list[Array], batch_sizes: Array, directions: int) -> Array:
    """Return the features of a batch, from outputs y [N, width] (not needed for "last") and final states."""
    if pooling == "last":
        h = states[0]
        return h[-1] if directions == 1 else np.concatenate((h[-2], h[-1]), axis=1)
    assert y is not None
    return core.mean_pool(y, batch_sizes) if pooling == "mean" else y


def _dstates(recurrent: Recurrent, dfeatures: Array, n_states: int) -> list[Array | None]:
    """Gradients of the final states, h first, given that of the top layer's h in each direction [B, width]."""
    directions = 2 if recurrent.bidirectional else 1
    size = dfeatures.shape[1] // directions
    dh = np.zeros((recurrent.num_layers * directions, len(dfeatures), size), dfeatures.dtype)
    for d in range(directions):
        dh[d - directions] = dfeatures[:, d * size : (d + 1) * size]
    return [dh] + [None] * (n_states - 1)


class WholePass:
    """Gradients flow back through all steps."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._n_states = 0

    def forward(self, states: list[Array] | None = None) -> Array:
        """Return the features, starting from `states` (zero by default)."""
        recurrent, pooling, batch, training, seed = self.job
        y, states = recurrent._core.forward(batch.x, batch.batch_sizes, states, seed, training)
        self._n_states = len(states)
        return pooled(pooling, y, states, batch.batch_sizes, 2 if recurrent.bidirectional else 1)

    def backward(self, dfeatures: Array) -> None:
        """Add the gradients of the recurrent parameters."""
        recurrent, pooling, batch, _, _ = self.job
        if pooling == "last":
            recurrent._core.backward(None, _dstates(recurrent, dfeatures, self._n_states), False)
        elif pooling == "mean":
            recurrent._core.backward(core.mean_pool_backward(dfeatures, batch.batch_sizes), None, False)
        else:
            recurrent._core.backward(dfeatures, None, False)


class LastStepsPass:
    """Pooling "last": gradients flow back through the last `steps` steps of each sequence.

    What comes before only computes the state that they start from. A sequence of length n has max(n − steps, 0) steps
    of that, so in the packed layout their batch sizes are ``batch_sizes[steps:]`` and those of the rest
    ``batch_sizes[:steps]``.
    """

    def __init__(self, job: Job, steps: int) -> None:
        batch = job.batch
        first = np.maximum(batch.lengths - steps, 0)
        self._head = _rows_from(batch, np.zeros_like(first), batch.batch_sizes[steps:])
        tail = _rows_from(batch, first, batch.batch_sizes[:steps])
        self._whole = WholePass(job._replace(batch=tail))

    def forward(self) -> Array:
        """Return the features [B, width]."""
        recurrent, _, tail, training, seed = self._whole.job
        head = self._head
        _, states = recurrent._core.forward(head.x, head.batch_sizes, None, seed + 1, training)
        missing = len(tail.lengths) - len(head.lengths)  # sequences so short that the head has none of their steps
        if missing:
            states = [np.concatenate((s, np.zeros((len(s), missing, s.shape[2]), s.dtype)), axis=1) for s in states]
        return self._whole.forward(states)

    def backward(self, dfeatures: Array) -> None:
        """Add the gradients of the recurrent parameters."""
        self._whole.backward(dfeatures)


def _rows_from(batch: Batch, first: Array, batch_sizes: Array) -> Batch:
    """Return the part of a packed batch that starts at step first[b] of each sequence."""
    n = int(batch_sizes.sum())
    ends = np.cumsum(batch_sizes)
    step = np.repeat(np.arange(len(batch_sizes)), batch_sizes)
    who = np.arange(n) - np.repeat(ends - batch_sizes, batch_sizes)
    row_of_step = np.cumsum(batch.batch_sizes) - batch.batch_sizes
    x = batch.x[row_of_step[first[who] + step] + who]
    running = int(batch_sizes[0])
    lengths = np.searchsorted(-batch_sizes, -np.arange(running), side="left").astype(np.int64)
    return Batch(x, np.ascontiguousarray(batch_sizes), lengths, batch.order[:running])


class ChunkedPass:
    """Pooling "mean" or none: gradients flow back to the start of each chunk of `steps` steps.

    The forward pass keeps the states between chunks; the backward pass takes the chunks from the last to the first and
    computes each of them again but the last.
    """

    def __init__(self, job: Job, steps: int) -> None:
        self.job = job
        sizes = job.batch.batch_sizes
        rows = np.concatenate(([0], np.cumsum(sizes)))
        starts = range(0, len(sizes), steps)
        self._chunks = [
            (slice(rows[t], rows[min(t + steps, len(sizes))]), np.ascontiguousarray(sizes[t : t + steps]))
            for t in starts
        ]
        self._states: list[list[Array] | None] = []

    def forward(self) -> Array:
        """Return the features [B, width], or [N, width] without pooling."""
        ys = []
        states: Any = None
        for i in range(len(self._chunks)):
            running = int(self._chunks[i][1][0])
            states = None if states is None else [np.ascontiguousarray(s[:, :running]) for s in states]
            self._states.append(states)
            y, states = self._run(i)
            ys.append(y)
        return pooled(self.job.pooling, np.concatenate(ys), [], self.job.batch.batch_sizes, 1)

    def backward(self, dfeatures: Array) -> None:
        """Add the gradients of the recurrent parameters."""
        batch = self.job.batch
        dy = core.mean_pool_backward(dfeatures, batch.batch_sizes) if self.job.pooling == "mean" else dfeatures
        last = len(self._chunks) - 1
        for i in range(last, -1, -1):
            if i != last:
                self._run(i)
            self.job.recurrent._core.backward(dy[self._chunks[i][0]], None, False)

    def _run(self, i: int) -> Any:
        rows, sizes = self._chunks[i]
        job = self.job
        return job.recurrent._core.forward(job.batch.x[rows], sizes, self._states[i], job.seed + i, job.training)
