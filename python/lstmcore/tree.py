"""Tree-structured LSTMs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lstmcore import _edges, _init
from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._node_layer import NodeLayer
from lstmcore._validation import Array

KINDS = ("child_sum", "n_ary")


class TreeLSTM(NodeLayer):
    """LSTM over trees, and for kind="child_sum" over any directed graph without cycles (Tai, Socher & Manning 2015).

    The state of a node comes of its features x and of the states h_k, c_k of its children:

    i, o = sigmoid(W x + U a + b), g = tanh(W x + U a + b), f_k = sigmoid(W_f x + U_f a_k + b_f) for each child,
    c = i g + sum_k f_k c_k, h = o tanh(c).

    "child_sum", for children in any order and number: a is the sum of the h_k, a_k = h_k. "n_ary", for up to `arity`
    children that have a position each: a and all a_k are the h of all positions side by side, zero where there is no
    child, and each position has a U_f of its own. A node with one child is one step of an `LSTM`, with the same bits.

    Nodes of the same height are computed together, over all trees of a batch.

    Parameters
    ----------
    input_size : int
        Features of a node, I.
    hidden_size : int
        Hidden units, H.
    kind : {"child_sum", "n_ary"}, default="child_sum"
    arity : int, default=2
        Positions N of the children of a node, of kind "n_ary".
    bias : bool, default=True
        Whether there is a b.
    forget_bias : float or None, default=None
        Initial bias of the forget gates; None leaves the drawn value.
    dtype : {"float32", "float64"}, default="float32"
        Type of parameters and outputs. Inputs of another numeric type are converted.
    seed : int, numpy.random.Generator or None, default=None
        Parameters start from U(-1/sqrt(H), 1/sqrt(H)), as those of `LSTM`.

    Attributes
    ----------
    parameters, gradients : dict of str to ndarray
        "weight_ih" [4H, I] with gates in the order i, f, g, o; "weight_hh" [4H, H], or [(3 + N)H, N H] in the order
        i, f_1, ..., f_N, g, o; "bias" [4H].
    flat_parameters, flat_gradients : ndarray [n_parameters]
        What they are views of.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; the message names it and quotes the value.

    References
    ----------
    K. S. Tai, R. Socher and C. D. Manning, "Improved semantic representations from tree-structured long short-term
    memory networks", ACL 2015, https://arxiv.org/abs/1503.00075, equations 2 to 14.

    Examples
    --------
    Two trees in one batch, 0 and 1 below 2, and 3 below 4:

    >>> import numpy as np
    >>> layer = TreeLSTM(3, 8, seed=0)
    >>> h = layer(np.ones((5, 3), np.float32), [(0, 2), (1, 2), (3, 4)])
    >>> h.shape
    (5, 8)
    >>> bool((h[2] == h[4]).all()), bool((h[0] == h[3]).all())  # they have other children; both are leaves
    (False, True)
    """

    _CONFIG = ("input_size", "hidden_size", "kind", "arity", "bias")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        kind: str = "child_sum",
        arity: int = 2,
        bias: bool = True,
        forget_bias: float | None = None,
        dtype: Any = "float32",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.input_size = check.integer(input_size, "input_size")
        self.hidden_size = check.integer(hidden_size, "hidden_size")
        self.kind = check.choice(kind, "kind", KINDS)
        self.arity = check.integer(arity, "arity")
        self.bias = check.flag(bias, "bias")
        if forget_bias is not None:
            check.real(forget_bias, "forget_bias")
            if not bias:
                raise ValueError(f"forget_bias must be None with bias=False, got {forget_bias!r}")
        self.forget_bias = forget_bias
        self.dtype = check.scalar_type(dtype)
        self._build()
        _init.uniform(self.flat_parameters, self.hidden_size, check.generator(seed))
        if forget_bias is not None:
            dict(self._views(self.flat_parameters))["bias"][self.hidden_size : 2 * self.hidden_size] = forget_bias
        self.parameters_changed()

    def _build(self) -> None:
        make = core.TreeLSTMF32 if self.dtype == np.float32 else core.TreeLSTMF64
        arity = self.arity if self.kind == "n_ary" else 0
        self._core = make(self.input_size, self.hidden_size, arity, self.bias)
        self._own_parameters()

    def __call__(self, x: ArrayLike, edges: ArrayLike, positions: ArrayLike | None = None) -> Array:
        """Compute the states h of all nodes; nothing is kept for `backward`.

        Parameters
        ----------
        x : array-like [N, I]
            Features of the nodes of all trees, in any order.
        edges : array-like of int [E, 2]
            Rows of x: a child and its parent. With "child_sum" a node may have several parents.
        positions : array-like of int [E], optional
            For "n_ary": which child of its parent the first end is, 0 to arity - 1. Default: in the order of the edges.

        Returns
        -------
        ndarray [N, H]

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, edges have a cycle, or two children have the same position; the message
            names the node or the edge.
        """
        return self._infer_rows(*self._checked(x, edges, positions))

    def forward(self, x: ArrayLike, edges: ArrayLike, positions: ArrayLike | None = None) -> Array:
        """Compute the same as calling the layer, keeping what `backward` needs."""
        return self._forward_rows(*self._checked(x, edges, positions))

    def _infer_rows(self, x: Array, edges: Array, types: Array | None, features: Array | None = None) -> Array:
        return self._core.infer(x, *self._links(edges, types))

    def _forward_rows(self, x: Array, edges: Array, types: Array | None, features: Array | None = None) -> Array:
        return self._core.forward(x, *self._links(edges, types))

    def _backward_rows(self, dh: Array, need_dx: bool = True) -> Array | None:
        return self._core.backward(dh, need_dx)

    def _links(self, edges: Array, types: Array | None) -> tuple[Array, Array, Array | None]:
        sources, targets = _edges.ends(edges)
        if self.kind == "child_sum":
            return sources, targets, None
        return sources, targets, _edges.positions(targets) if types is None else types

    def _checked(
        self, x: ArrayLike, edges: ArrayLike, positions: ArrayLike | None
    ) -> tuple[Array, Array, Array | None]:
        rows = _edges.checked_rows(x, self.input_size, self.dtype)
        pairs = _edges.edge_ends(edges)
        _edges.check_ends(pairs, len(rows))
        cycle = _edges.find_cycle(pairs, len(rows))
        if cycle is not None:
            raise ValueError(f"edges must have no cycle, but node {cycle} is its own descendant")
        if positions is None:
            return rows, pairs, None
        if self.kind == "child_sum":
            raise ValueError(f"positions must be None with kind='child_sum', got {positions!r}")
        return rows, pairs, _edges.edge_numbers(positions, len(pairs), self.arity, "positions")
