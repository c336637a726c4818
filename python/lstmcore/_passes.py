"""Forward and backward of a network's recurrent part over one batch: whole, or truncated.

A pass gives the features that the dense head sees, and later takes their gradient. Everything in between stays in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from lstmcore._recurrent import Recurrent
from lstmcore._validation import Array
from lstmcore.pooling import Pooling
from lstmcore.sequences import Batch


class Readout:
    """What the head sees of the recurrent layers: final states, every step, or a pooling over the steps.

    Parameters
    ----------
    kind : str or None
        "last", a kind of `Pooling`, or None for every step.
    pooling : Pooling or None
        Does the work of the other kinds.
    recurrent : Recurrent
        The layers. Of a cell whose output is not its state h, "last" is the last output.
    """

    def __init__(self, kind: str | None, pooling: Pooling | None, recurrent: Recurrent) -> None:
        self.kind, self.pooling = kind, pooling
        self.directions = 2 if recurrent.bidirectional else 1
        self.wants_y = kind != "last" or recurrent.own_output
        self._sizes: Array | None = None  # of the batch of the last `forward`

    def infer(self, y: Any, states: list[Array], batch_sizes: Array) -> Array:
        """Return the features of a batch, from outputs y [N, width] (None for "last") and final states."""
        if self.kind == "last":
            return _last_outputs(y, batch_sizes, self.directions) if self.wants_y else self._last(states)
        return y if self.pooling is None else self.pooling(y, batch_sizes)

    def forward(self, y: Any, states: list[Array], batch_sizes: Array) -> Array:
        """Compute the same, keeping what `backward` needs."""
        self._sizes = batch_sizes
        return self.infer(y, states, batch_sizes) if self.pooling is None else self.pooling.forward(y, batch_sizes)

    def backward(self, dfeatures: Array) -> tuple[Array | None, Array | None]:
        """Return the gradients of y and of the top layer's final h in each direction; None for zero."""
        if self.kind == "last":
            if not self.wants_y:
                return None, dfeatures
            assert self._sizes is not None
            dy = np.zeros((int(self._sizes.sum()), dfeatures.shape[1]), dfeatures.dtype)
            for rows, columns in _last_rows(self._sizes, self.directions, dfeatures.shape[1]):
                dy[rows, columns] = dfeatures[:, columns]
            return dy, None
        return (dfeatures if self.pooling is None else self.pooling.backward(dfeatures)), None

    def _last(self, states: list[Array]) -> Array:
        h = states[0]
        return h[-1] if self.directions == 1 else np.concatenate((h[-2], h[-1]), axis=1)


def _last_rows(batch_sizes: Array, directions: int, width: int) -> list[tuple[Array, slice]]:
    """Rows and columns of y where each direction ends: at the last step of each sequence, and at its first."""
    batch = int(batch_sizes[0])
    lengths = np.searchsorted(-batch_sizes, -np.arange(batch), side="left")
    starts = np.cumsum(batch_sizes) - batch_sizes
    half = width // directions
    ends = [(starts[lengths - 1] + np.arange(batch), slice(0, half)), (np.arange(batch), slice(half, width))]
    return ends[:directions]


def _last_outputs(y: Array, batch_sizes: Array, directions: int) -> Array:
    """Return the last output [B, width] of each sequence in each direction."""
    ends = _last_rows(batch_sizes, directions, y.shape[1])
    return np.concatenate([y[rows, columns] for rows, columns in ends], axis=1)


class Job(NamedTuple):
    """What a pass works on: `states` [layers · directions, B, width] are those before the first step, None for zero."""

    recurrent: Recurrent
    readout: Readout
    batch: Batch
    states: list[Array] | None
    training: bool
    seed: int


class Pass(Protocol):
    """One batch on its way through the recurrent layers."""

    final: Sequence[Array] | None  # states after the last step of `forward`, where the pass is not cut

    def forward(self) -> Array:
        """Return the features [B, width], or [N, width] of every step."""

    def backward(self, dfeatures: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
        """Add the gradients of the recurrent parameters; return those of the rows of x and of the initial states."""


def make_pass(job: Job, tbptt_steps: int | None) -> Pass:
    """Return the pass that computes gradients back over `tbptt_steps` steps; None for all."""
    if tbptt_steps is None or tbptt_steps >= len(job.batch.batch_sizes):
        return WholePass(job)
    return LastStepsPass(job, tbptt_steps) if job.readout.kind == "last" else ChunkedPass(job, tbptt_steps)


def _dstates(recurrent: Recurrent, dfeatures: Array) -> list[Array | None]:
    """Gradients of the final states, h first, given that of the top layer's h in each direction [B, width]."""
    directions = 2 if recurrent.bidirectional else 1
    size = dfeatures.shape[1] // directions
    dh = np.zeros((recurrent._states.count, len(dfeatures), size), dfeatures.dtype)
    for d in range(directions):
        dh[d - directions] = dfeatures[:, d * size : (d + 1) * size]
    return [dh] + [None] * (len(recurrent._states.widths) - 1)


class WholePass:
    """Gradients flow back through all steps."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.final: Sequence[Array] | None = None

    def forward(self) -> Array:
        """Return the features."""
        recurrent, readout, batch, initial, training, seed = self.job
        y, states = recurrent._core.forward(batch.x, batch.batch_sizes, initial, seed, training)
        self.final = states
        return readout.forward(y, states, batch.batch_sizes)

    def backward(self, dfeatures: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
        """Add the gradients of the recurrent parameters; return those of x and of the initial states."""
        recurrent = self.job.recurrent
        dy, dlast = self.job.readout.backward(dfeatures)
        return recurrent._core.backward(dy, None if dlast is None else _dstates(recurrent, dlast), need_dx)


class LastStepsPass:
    """Readout "last": gradients flow back through the last `steps` steps of each sequence.

    What comes before only computes the state that they start from. A sequence of length n has max(n − steps, 0) steps
    of that, so in the packed layout their batch sizes are ``batch_sizes[steps:]`` and those of the rest
    ``batch_sizes[:steps]``.
    """

    final: Sequence[Array] | None = None

    def __init__(self, job: Job, steps: int) -> None:
        batch = job.batch
        first = np.maximum(batch.lengths - steps, 0)
        self._job = job
        _, self._head = _rows_from(batch, np.zeros_like(first), batch.batch_sizes[steps:])
        self._tail_rows, tail = _rows_from(batch, first, batch.batch_sizes[:steps])
        self._whole = WholePass(job._replace(batch=tail))

    def forward(self) -> Array:
        """Return the features [B, width]."""
        recurrent, _, batch, initial, training, seed = self._job
        head, running = self._head, len(self._head.lengths)  # the others are too short to have a head
        initial = recurrent._states.zeros(len(batch.lengths)) if initial is None else initial
        starts = [np.ascontiguousarray(s[:, :running]) for s in initial]
        _, states = recurrent._core.forward(head.x, head.batch_sizes, starts, seed + 1, training)
        joined = [np.concatenate((s, i[:, running:]), axis=1) for s, i in zip(states, initial, strict=True)]
        self._whole.job = self._whole.job._replace(states=joined)
        return self._whole.forward()

    def backward(self, dfeatures: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
        """Add the gradients of the recurrent parameters; those of x and the initial states are zero before the cut."""
        dtail, dinitial = self._whole.backward(dfeatures, need_dx)
        for state in dinitial:
            state[:, : len(self._head.lengths)] = 0
        if dtail is None:
            return None, dinitial
        dx = np.zeros((len(self._job.batch.x), dtail.shape[1]), dtail.dtype)
        dx[self._tail_rows] = dtail
        return dx, dinitial


def _rows_from(batch: Batch, first: Array, batch_sizes: Array) -> tuple[Array, Batch]:
    """Return the part of a packed batch that starts at step first[b] of each sequence, and which rows these are."""
    n = int(batch_sizes.sum())
    ends = np.cumsum(batch_sizes)
    step = np.repeat(np.arange(len(batch_sizes)), batch_sizes)
    who = np.arange(n) - np.repeat(ends - batch_sizes, batch_sizes)
    row_of_step = np.cumsum(batch.batch_sizes) - batch.batch_sizes
    rows = row_of_step[first[who] + step] + who
    running = int(batch_sizes[0])
    lengths = np.searchsorted(-batch_sizes, -np.arange(running), side="left").astype(np.int64)
    return rows, Batch(batch.x[rows], np.ascontiguousarray(batch_sizes), lengths, batch.order[:running])


class ChunkedPass:
    """Other readouts: gradients flow back to the start of each chunk of `steps` steps.

    The forward pass keeps the states between chunks; the backward pass takes the chunks from the last to the first and
    computes each of them again but the last.
    """

    final: Sequence[Array] | None = None

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
        """Return the features [B, width], or [N, width] of every step."""
        ys = []
        states: Any = self.job.states
        for i in range(len(self._chunks)):
            running = int(self._chunks[i][1][0])
            states = None if states is None else [np.ascontiguousarray(s[:, :running]) for s in states]
            self._states.append(states)
            y, states = self._run(i)
            ys.append(y)
        return self.job.readout.forward(np.concatenate(ys), [], self.job.batch.batch_sizes)

    def backward(self, dfeatures: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
        """Add the gradients of the recurrent parameters; return those of x and of the states before the first chunk."""
        dy, _ = self.job.readout.backward(dfeatures)
        assert dy is not None
        last, dxs, dinitial = len(self._chunks) - 1, [], []
        for i in range(last, -1, -1):
            if i != last:
                self._run(i)
            dx, dinitial = self.job.recurrent._core.backward(dy[self._chunks[i][0]], None, need_dx)
            dxs.append(dx)
        return (np.concatenate(dxs[::-1]) if need_dx else None), dinitial

    def _run(self, i: int) -> Any:
        rows, sizes = self._chunks[i]
        job = self.job
        return job.recurrent._core.forward(job.batch.x[rows], sizes, self._states[i], job.seed + i, job.training)
