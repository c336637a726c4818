"""Texts read side by side in chunks: truncated back-propagation with a state that is carried from batch to batch."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._validation import Array
from lstmcore.sequences import Batch, Sequences


class Chunks(Sequences):
    """Long sequences as chunks, each of which goes on from the state that the one before it left behind.

    A batch has a chunk of each of up to `batch_size` sequences; the next batch has their next chunks, and where a
    sequence has ended another one takes its place. Gradients flow back to the start of a chunk (Williams & Peng 1990,
    BPTT(h; h)), so that an epoch takes a step of the optimizer every `steps` steps of the data.

    Parameters
    ----------
    values : ndarray [R, I] of float32 or float64, C-contiguous
        Rows of all sequences.
    starts, lengths : array_like [n] of int
        First row and number of rows of each sequence.
    steps : int
        Largest length of a chunk; the chunks of a sequence are of equal length, give or take one step.

    Examples
    --------
    >>> chunks = Chunks(np.zeros((12, 1)), [0, 7], [7, 5], steps=3)
    >>> chunks
    Chunks(n=5, features=1, lengths 2 to 3)
    >>> [batch.tolist() for batch in chunks.minibatches(2)]
    [[0, 3], [1, 4], [2]]
    """

    __slots__ = ("_counts", "_numbers")

    def __init__(self, values: Array, starts: Any, lengths: Any, steps: int) -> None:
        whole = Sequences(values, starts, lengths)
        counts = -(-whole.lengths // check.integer(steps, "steps"))
        numbers, first, last = _equal_parts(whole.lengths, counts)
        super().__init__(values, np.repeat(whole.starts, counts) + first, last - first)
        self._counts, self._numbers = counts, numbers  # chunks of each sequence; which of its sequence a chunk is

    def minibatches(self, batch_size: int, rng: np.random.Generator | None = None) -> list[Array]:
        """Chunks of each batch, in the order in which they must be taken.

        Parameters
        ----------
        batch_size : int
            Sequences that are read side by side.
        rng : numpy.random.Generator, optional
            Shuffles the sequences. Without it those of most chunks come first.

        Returns
        -------
        list of ndarray of int64
            The indices of each batch.
        """
        counts = self._counts
        if len(self) == len(counts):
            return super().minibatches(batch_size, rng)  # nothing is carried
        free = [0] * min(batch_size, len(counts))  # the turn at which each lane has room for a sequence
        begins = np.empty_like(counts)
        for i in np.argsort(-counts, kind="stable") if rng is None else rng.permutation(len(counts)):
            begins[i] = heapq.heapreplace(free, free[0] + int(counts[i]))  # returns the lane that is free first
        turns = np.repeat(begins, counts) + self._numbers
        order = np.argsort(turns, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(turns[order])) + 1)

    def carry(self, batch: Batch, before: Batch | None, states: list[Array] | None) -> Batch:
        """Give the chunks that go on the states which `before`, the batch before, has ended with; the others zeros."""
        goes_on = self._numbers[batch.order] > 0
        if before is None or states is None or not goes_on.any():
            return batch
        chunks = np.argsort(before.order)
        lane = chunks[np.searchsorted(before.order, batch.order[goes_on] - 1, sorter=chunks)]
        carried = [np.zeros((len(state), len(goes_on), state.shape[2]), state.dtype) for state in states]
        for new, old in zip(carried, states, strict=True):
            new[:, goes_on] = old[:, lane]
        return batch._replace(states=carried)


def cut(lengths: Array, n: int, shortest: int) -> tuple[Array, Array]:
    """Cut sequences that lie one after another into pieces, so that `n` of them read side by side end together.

    Parameters
    ----------
    lengths : ndarray [n_sequences] of int
    n : int
        A sequence gets so many pieces as it has n-ths of all rows.
    shortest : int
        A piece has at least so many rows, unless it is a whole sequence.

    Returns
    -------
    starts, lengths : ndarray of int64
        Of the pieces, one after another.

    Examples
    --------
    >>> cut(np.array([10, 3]), n=4, shortest=2)
    (array([ 0,  3,  6, 10]), array([3, 3, 4, 3]))
    """
    shares = np.minimum(np.rint(lengths * (n / lengths.sum())), lengths // shortest)
    _, first, last = _equal_parts(lengths, np.maximum(shares, 1).astype(np.int64))
    pieces = last - first
    return np.cumsum(pieces) - pieces, pieces


def _equal_parts(lengths: Array, counts: Array) -> tuple[Array, Array, Array]:
    """Cut each sequence into a number of parts: which of its sequence each part is, its first row in it, its end."""
    numbers = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    length, parts = np.repeat(lengths, counts), np.repeat(counts, counts)
    return numbers, length * numbers // parts, length * (numbers + 1) // parts
