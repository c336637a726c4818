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
    """What a decoder knows after looking back at the memory of its sequence: h~ = tanh(W_c [c, h] + b_c).

    The context c = Σ_j a_j·m_j is a weighted mean of the memory's rows, with weights a = softmax(e) from the scores

    - "additive": e_j = v·tanh(W h + b + U m_j) (Bahdanau, Cho & Bengio 2015, "Neural machine translation by jointly
      learning to align and translate", appendix A.1.2);
    - "dot": e_j = h·(U m_j) / √A, of which A is the width of h (Luong, Pham & Manning 2015, "Effective approaches to
      attention-based neural machine translation", equation 8, "general"; scaled as in Vaswani et al. 2017).

    h~ is equation 5 of Luong et al. Rows come packed, see `lstmcore.sequences.Batch`: those of the queries h with
    ``query_sizes``, those of the memory with ``memory_sizes``, the sequences of either in an order of their own.
    Sequence b of the queries looks at sequence ``source[b]`` of the memory. Nothing is padded, and results have the
    same bits for any number of threads.

    Parameters
    ----------
    query_size, memory_size : int
        Columns of a query, such as a decoder's hidden state, and of a row of the memory, such as an encoder's output.
    score : {"additive", "dot"}, default="additive"
    size : int, optional
        Width of "additive"; default: query_size.
    dtype : {"float32", "float64"}, default="float32"
        Type of parameters, inputs and outputs.
    seed : int, numpy.random.Generator or None, default=None
        Parameters start as those of `Dense` do.

    Attributes
    ----------
    parameters, gradients : dict of str to ndarray
        "key.weight" (U), "combine.weight", "combine.bias" (W_c, b_c) and with "additive" "query.weight", "query.bias"
        (W, b) and "score.weight" (v).

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
    >>> h, memory = np.zeros((2, 4), np.float32), np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    >>> attended, weights = layer(h, np.array([1, 1]), memory, np.array([1, 1, 1]), np.array([0]))
    >>> attended.shape
    (2, 4)
    >>> weights.reshape(2, 3).round(2)  # all scores are 0
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
        self.query_size = check.integer(query_size, "query_size")
        self.memory_size = check.integer(memory_size, "memory_size")
        self.score = check.choice(score, "score", SCORES)
        self.size = self.query_size if size is None else check.integer(size, "size")
        if score == "dot" and self.size != self.query_size:
            raise ValueError(f"size must be None with score='dot', got {size!r}: it is query_size={query_size}")
        self.dtype = check.scalar_type(dtype)
        self._build(check.generator(seed))

    def _build(self, rng: np.random.Generator | None = None) -> None:
        options: dict[str, Any] = {"dtype": self.dtype, "seed": check.generator(rng)}
        make = core.AttentionF32 if self.dtype == np.float32 else core.AttentionF64
        self._score = make(self.score, self.size, self.memory_size)
        self._query = Dense(self.query_size, self.size, **options) if self.score == "additive" else None
        self._key = Dense(self.memory_size, self.size, bias=False, **options)
        self._combine = Dense(self.memory_size + self.query_size, self.query_size, **options)
        layers: dict[str, Any] = {} if self._query is None else {"query": self._query}
        self._core = _Layers(**layers, key=self._key, combine=self._combine, score=self._score)  # type: ignore[arg-type]
        self._output: Any = None  # of the last forward, until its backward
        self._own_parameters()
        if self.score == "additive":
            bound = 1.0 / math.sqrt(self.size)
            self.flat_parameters[-self.size :] = options["seed"].uniform(-bound, bound, self.size)

    def __getstate__(self) -> dict[str, Any]:
        """Return options and parameters."""
        made = ("_score", "_query", "_key", "_combine", "_output")
        return {name: value for name, value in super().__getstate__().items() if name not in made}

    def keys(self, memory: Array) -> Array:
        """Return U m [Nm, size] of memory rows [Nm, memory_size], for `look`."""
        return self._key(memory)

    def look(
        self, h: Array, query_sizes: Array, keys: Array, memory: Array, memory_sizes: Array, source: Array
    ) -> tuple[Array, Array]:
        """Compute what calling the layer does, with the `keys` of the memory at hand."""
        query = h if self._query is None else self._query(h)
        context, weights = self._score.infer(query, keys, memory, query_sizes, memory_sizes, source)
        attended = self._combine(np.concatenate((context, h), axis=1))
        core.apply_tanh(attended)
        return attended, weights

    def __call__(
        self, h: Array, query_sizes: Array, memory: Array, memory_sizes: Array, source: Array
    ) -> tuple[Array, Array]:
        """Look back; nothing is kept.

        Parameters
        ----------
        h : ndarray [Nq, query_size]
        query_sizes : ndarray of int64
            How many sequences of queries are alive at each step.
        memory : ndarray [Nm, memory_size]
        memory_sizes : ndarray of int64
        source : ndarray of int64 [number of sequences of queries]
            Which sequence of the memory each of them looks at; several may look at one.

        Returns
        -------
        attended : ndarray [Nq, query_size]
            h~.
        weights : ndarray [n]
            How much of each memory row is in each context, [steps of queries, steps of memory] of one sequence after
            another; the sum over the memory is 1.
        """
        return self.look(h, query_sizes, self.keys(memory), memory, memory_sizes, source)

    def forward(self, h: Array, query_sizes: Array, memory: Array, memory_sizes: Array, source: Array) -> Array:
        """Compute h~ for a `backward`, until which the arrays must not be written to, nor what is returned.

        Every sequence of the memory must be looked at by exactly one of the queries.
        """
        query = h if self._query is None else self._query.forward(h)
        keys = self._key.forward(memory)
        context = self._score.forward(query, keys, memory, query_sizes, memory_sizes, source)
        self._output = self._combine.forward(np.concatenate((context, h), axis=1))
        core.apply_tanh(self._output)
        return self._output

    def backward(self, dattended: Array) -> tuple[Array, Array]:
        """Add into the gradients, given that of h~, which is overwritten; return those of h and of the memory."""
        core.apply_tanh_slope(dattended, self._output)
        djoined: Any = self._combine.backward(dattended)
        dquery, dkeys, dmemory = self._score.backward(np.ascontiguousarray(djoined[:, : self.memory_size]))
        dmemory += self._key.backward(dkeys)
        dh = djoined[:, self.memory_size :] + (dquery if self._query is None else self._query.backward(dquery))
        return dh, dmemory
