"""Attention of a decoder's steps to those of an encoder."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._parameters import Layer
from lstmcore._validation import Array
from lstmcore.network import Dense, _Layers

SCORES = ("additive", "dot")


class Attention(Layer):
    """For each query a weighted mean of the memory rows of its sequence; what is alike weighs more.

    c = Σ_j a_j·m_j with a = softmax(e), where

    - "additive": e_j = v·tanh(W q + b + U m_j) (Bahdanau, Cho & Bengio 2015, "Neural machine translation by jointly
      learning to align and translate", appendix A.1.2);
    - "dot": e_j = q·(U m_j) / √A, of which A is the width of q (Luong, Pham & Manning 2015, "Effective approaches to
      attention-based neural machine translation", equation 8, "general"; scaled as in Vaswani et al. 2017).

    Rows come packed, see `lstmcore.sequences.Batch`: those of the queries with ``query_sizes``, those of the memory
    with ``memory_sizes``, the sequences of either in an order of their own. Sequence b of the queries looks at sequence
    ``source[b]`` of the memory. Nothing is padded, and results have the same bits for any number of threads.

    Parameters
    ----------
    query_size, memory_size : int
        Columns of a query, such as a decoder's hidden state, and of a row of the memory, such as an encoder's output.
    score : {"additive", "dot"}, default="additive"
    size : int, optional
        Width A of "additive"; default: query_size.
    dtype : {"float32", "float64"}, default="float32"
        Type of parameters, inputs and outputs.
    seed : int, numpy.random.Generator or None, default=None
        Parameters start as those of `Dense` do.

    Attributes
    ----------
    parameters, gradients : dict of str to ndarray
        "key.weight" (U) and with "additive" "query.weight", "query.bias" (W, b) and "score.weight" (v).

    Raises
    ------
    ValueError, TypeError
        If an option is not as described; from the methods if an array is not contiguous, of the layer's dtype and of
        the stated shape.

    Examples
    --------
    Two queries of one sequence look at three rows of memory:

    >>> import numpy as np
    >>> layer = Attention(4, 2, score="dot", seed=0)
    >>> query, memory = np.zeros((2, 4), np.float32), np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    >>> context, weights = layer(query, np.array([1, 1]), memory, np.array([1, 1, 1]), np.array([0]))
    >>> context  # all scores are 0: the mean
    array([[3., 4.],
           [3., 4.]], dtype=float32)
    >>> weights.reshape(2, 3).round(2)
    array([[0.33, 0.33, 0.33],
           [0.33, 0.33, 0.33]], dtype=float32)
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        score: str = "additive",
        size: int | None = None,
        dtype: Any = "float32",
        seed: Any = None,
    ) -> None:
        self.query_size, self.memory_size = (
            check.integer(query_size, "query_size"),
            check.integer(memory_size, "memory_size"),
        )
        self.score = check.choice(score, "score", SCORES)
        self.size = self.query_size if size is None else check.integer(size, "size")
        if score == "dot" and self.size != self.query_size:
            raise ValueError(f"size must be None with score='dot', got {size!r}: it is query_size={query_size}")
        self.dtype = check.scalar_type(dtype)
        self._build(check.generator(seed))

    def _build(self, rng: np.random.Generator | None = None) -> None:
        make = core.AttentionF32 if self.dtype == np.float32 else core.AttentionF64
        self._score = make(self.score, self.size, self.memory_size)
        self._query = None
        if self.score == "additive":
            self._query = Dense(self.query_size, self.size, dtype=self.dtype, seed=rng)
        self._key = Dense(self.memory_size, self.size, bias=False, dtype=self.dtype, seed=rng)
        layers: dict[str, Any] = {"query": self._query, "key": self._key, "score": self._score}
        self._core = _Layers(**{name: layer for name, layer in layers.items() if layer is not None})
        self._own_parameters()
        if self.score == "additive":
            bound = 1.0 / math.sqrt(self.size)
            self.flat_parameters[-self.size :] = check.generator(rng).uniform(-bound, bound, self.size)

    def __getstate__(self) -> dict[str, Any]:
        """Return options and parameters."""
        made = ("_score", "_query", "_key")
        return {name: value for name, value in super().__getstate__().items() if name not in made}

    def keys(self, memory: Array) -> Array:
        """Return U m [N, A] of memory rows [N, memory_size], for `look`."""
        return self._key(memory)

    def look(
        self, query: Array, query_sizes: Array, keys: Array, memory: Array, memory_sizes: Array, source: Array
    ) -> tuple[Array, Array]:
        """Compute what calling the layer does, with the `keys` of the memory at hand."""
        projected = query if self._query is None else self._query(query)
        return self._score.infer(projected, keys, memory, query_sizes, memory_sizes, source)

    def __call__(
        self, query: Array, query_sizes: Array, memory: Array, memory_sizes: Array, source: Array
    ) -> tuple[Array, Array]:
        """Compute the contexts; nothing is kept.

        Parameters
        ----------
        query : ndarray [Nq, query_size]
        query_sizes : ndarray of int64
            How many sequences of queries are alive at each step.
        memory : ndarray [Nm, memory_size]
        memory_sizes : ndarray of int64
        source : ndarray of int64 [number of sequences of queries]
            Which sequence of the memory each of them looks at; several may look at one.

        Returns
        -------
        context : ndarray [Nq, memory_size]
        weights : ndarray [n]
            How much of each memory row is in each context, [steps of queries, steps of memory] of one sequence after
            another; the sum over the memory is 1.
        """
        return self.look(query, query_sizes, self.keys(memory), memory, memory_sizes, source)

    def forward(self, query: Array, query_sizes: Array, memory: Array, memory_sizes: Array, source: Array) -> Array:
        """Compute the contexts for a `backward`, until which the arrays must not be written to.

        Every sequence of the memory must be looked at by exactly one of the queries.
        """
        projected = query if self._query is None else self._query.forward(query)
        return self._score.forward(projected, self._key.forward(memory), memory, query_sizes, memory_sizes, source)

    def backward(self, dcontext: Array) -> tuple[Any, Array]:
        """Add into the gradients, given that of the context; return those of query and memory."""
        dquery, dkeys, dmemory = self._score.backward(dcontext)
        through_keys = self._key.backward(dkeys)
        assert through_keys is not None
        dmemory += through_keys
        return dquery if self._query is None else self._query.backward(dquery), dmemory
