"""Gated graph networks: a GRU at every node that reads the messages of its neighbours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lstmcore import _edges, _init
from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._node_layer import NodeLayer
from lstmcore._validation import Array

_MOST_ROUNDS = 1000


class GatedGraph(NodeLayer):
    """Gated graph neural network (Li et al. 2016).

    h = V x + d, then in each round m_v = sum over edges from u to v of (A_t h_u + b_t + C e), t the type of the edge
    and e its features, and h_v = GRU(m_v, h_v): all nodes at once, with the same parameters in all rounds.

    Parameters
    ----------
    input_size : int
        Features of a node, I.
    hidden_size : int
        Hidden units, H.
    rounds : int, default=4
        How often messages are sent: how many edges away a node sees.
    n_edge_types : int, default=1
        Types of edges K, each with an A_t and a b_t.
    n_edge_features : int, default=0
        Features of an edge F, with a C for all types; 0: there are none.
    dtype : {"float32", "float64"}, default="float32"
        Type of parameters and outputs. Inputs of another numeric type are converted.
    seed : int, numpy.random.Generator or None, default=None
        Parameters start as those of `Dense` and `GRU`.

    Attributes
    ----------
    parameters, gradients : dict of str to ndarray
        "input.weight" [H, I], "input.bias" [H], "message.weight" [K H, H], "message.bias" [K H], "edge.weight"
        [H, F] if there are features of edges, and those of a `GRU` behind "update.".
    flat_parameters, flat_gradients : ndarray [n_parameters]
        What they are views of.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; the message names it and quotes the value.

    Notes
    -----
    The paper fills x up with zeros where V x + d stands here, and has no C: A_t h + C e is one linear map of [h, e].
    The sums of C e are the same in all rounds and computed once, as C times the sums of e.

    References
    ----------
    Y. Li, D. Tarlow, M. Brockschmidt and R. Zemel, "Gated graph sequence neural networks", ICLR 2016,
    https://arxiv.org/abs/1511.05493, equations 1 to 6.

    Examples
    --------
    Three nodes in a row, with edges both ways:

    >>> import numpy as np
    >>> layer = GatedGraph(2, 8, rounds=2, seed=0)
    >>> h = layer(np.ones((3, 2), np.float32), [(0, 1), (1, 0), (1, 2), (2, 1)])
    >>> h.shape, bool((h[0] == h[2]).all())
    ((3, 8), True)
    """

    _CONFIG = ("input_size", "hidden_size", "rounds", "n_edge_types", "n_edge_features")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        rounds: int = 4,
        n_edge_types: int = 1,
        n_edge_features: int = 0,
        dtype: Any = "float32",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.input_size = check.integer(input_size, "input_size")
        self.hidden_size = check.integer(hidden_size, "hidden_size")
        self.rounds = check.integer(rounds, "rounds")
        if self.rounds > _MOST_ROUNDS:
            raise ValueError(f"rounds must be at most {_MOST_ROUNDS}, got {rounds}")
        self.n_edge_types = check.integer(n_edge_types, "n_edge_types")
        self.n_edge_features = check.integer(n_edge_features, "n_edge_features", 0)
        self.dtype = check.scalar_type(dtype)
        self._build()
        rng = check.generator(seed)
        linear = [(self._core.input, self.input_size), (self._core.messages[0], self.hidden_size)]
        linear += [(edge, self.n_edge_features) for edge in self._core.edge]
        for part, inputs in linear:
            bound = 1.0 / math.sqrt(inputs)
            self.flat_parameters[self._core.part(part)] = rng.uniform(-bound, bound, part.n_parameters)
        _init.uniform(self.flat_parameters[self._core.part(self._core.updates[0])], self.hidden_size, rng)
        self.parameters_changed()

    def _build(self) -> None:
        self._core = _Rounds(self)
        self._senders: _Messages | None = None  # of the last forward, until its backward
        self._own_parameters()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_senders"}

    def __call__(
        self,
        x: ArrayLike,
        edges: ArrayLike,
        edge_types: ArrayLike | None = None,
        edge_features: ArrayLike | None = None,
    ) -> Array:
        """Compute the states h of all nodes after the last round; nothing is kept for `backward`.

        Parameters
        ----------
        x : array-like [N, I]
            Features of the nodes of all graphs, in any order.
        edges : array-like of int [E, 2]
            Rows of x: where a message comes from, and where it goes.
        edge_types : array-like of int [E], optional
            0 to n_edge_types - 1. Default: all 0.
        edge_features : array-like [E, n_edge_features], optional
            Needed if the layer has any.

        Returns
        -------
        ndarray [N, H]

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described; the message names it and quotes the value.
        """
        return self._infer_rows(*self._checked(x, edges, edge_types, edge_features))

    def forward(
        self,
        x: ArrayLike,
        edges: ArrayLike,
        edge_types: ArrayLike | None = None,
        edge_features: ArrayLike | None = None,
    ) -> Array:
        """Compute the same as calling the layer, keeping what `backward` needs."""
        return self._forward_rows(*self._checked(x, edges, edge_types, edge_features))

    def _infer_rows(self, x: Array, edges: Array, types: Array | None, features: Array | None = None) -> Array:
        senders, sizes = _Messages(len(x), self.n_edge_types, edges, types), np.array([len(x)])
        if features is not None:
            senders.along = self._core.edge[0].infer(senders.sums(features))
        h = self._core.input.infer(x)
        for _ in range(self.rounds):
            m = senders.gather(self._core.messages[0].infer(h))
            h, _ = self._core.updates[0].infer(m, sizes, [h[None]])
        return h

    def _forward_rows(self, x: Array, edges: Array, types: Array | None, features: Array | None = None) -> Array:
        senders, sizes = _Messages(len(x), self.n_edge_types, edges, types), np.array([len(x)])
        self._senders = None
        if features is not None:
            senders.along = self._core.edge[0].forward(senders.sums(features))
        h = self._core.input.forward(x)
        for message, update in zip(self._core.messages, self._core.updates, strict=True):
            m = senders.gather(message.forward(h))
            h, _ = update.forward(m, sizes, [h[None]], 0, True)
        self._senders = senders
        return h

    def _backward_rows(self, dh: Array, need_dx: bool = True) -> Array | None:
        senders, self._senders = self._senders, None
        if senders is None:
            raise RuntimeError("backward needs a forward before it, and each forward allows one backward")
        if len(dh) != senders.n_nodes:
            raise ValueError(f"dh must have {senders.n_nodes} rows, those of x, got {len(dh)}")
        dalong = None if senders.along is None else np.zeros_like(dh)  # the sum of dm over the rounds
        for message, update in zip(self._core.messages[::-1], self._core.updates[::-1], strict=True):
            dm, (dbefore,) = update.backward(dh)
            dh = dbefore[0] + message.backward(senders.scatter(dm))
            if dalong is not None:
                dalong += dm
        if dalong is not None:
            self._core.edge[0].backward(dalong, False)
        return self._core.input.backward(dh, need_dx)

    def _checked(
        self, x: ArrayLike, edges: ArrayLike, types: ArrayLike | None, features: ArrayLike | None
    ) -> tuple[Array, Array, Array | None, Array | None]:
        rows = _edges.checked_rows(x, self.input_size, self.dtype)
        pairs = _edges.edge_ends(edges)
        _edges.check_ends(pairs, len(rows))
        kinds = None if types is None else _edges.edge_numbers(types, len(pairs), self.n_edge_types)
        if features is None and self.n_edge_features == 0:
            return rows, pairs, kinds, None
        if features is None or self.n_edge_features == 0:
            found = "none" if features is None else f"shape {np.shape(features)}"
            raise ValueError(f"edge_features must have {self.n_edge_features} columns, got {found}")
        return rows, pairs, kinds, _edges.edge_features(features, len(pairs), self.n_edge_features, self.dtype)


class _Rounds:
    """The core's objects of all rounds, behind the interface of one: they share parameters and gradients.

    Each round has objects of its own because each keeps what its backward needs.
    """

    def __init__(self, layer: GatedGraph) -> None:
        suffix, H = ("F32" if layer.dtype == np.float32 else "F64"), layer.hidden_size
        dense, recurrent = getattr(core, f"Dense{suffix}"), getattr(core, f"Recurrent{suffix}")
        self.input = dense(layer.input_size, H)
        self.messages = [dense(H, layer.n_edge_types * H) for _ in range(layer.rounds)]
        self.edge = [dense(layer.n_edge_features, H, False)] if layer.n_edge_features else []  # once for all rounds
        self.updates = [recurrent("gru", H, H) for _ in range(layer.rounds)]
        parts = {"input": [self.input], "message": self.messages, "edge": self.edge, "update": self.updates}
        self._shared = {name: objects for name, objects in parts.items() if objects}
        self.n_parameters = sum(objects[0].n_parameters for objects in self._shared.values())

    def part(self, one: Any) -> slice:
        """Where the parameters of one of the objects lie."""
        start = 0
        for objects in self._shared.values():
            if one in objects:
                break
            start += objects[0].n_parameters
        return slice(start, start + one.n_parameters)

    def parameter_table(self) -> list[tuple[str, tuple[int, ...], int]]:
        return [
            (f"{prefix}.{name}", shape, self.part(objects[0]).start + offset)
            for prefix, objects in self._shared.items()
            for name, shape, offset in objects[0].parameter_table()
        ]

    def bind(self, parameters: Array, gradients: Array) -> None:
        for one in self._objects():
            one.bind(parameters[self.part(one)], gradients[self.part(one)])

    def parameters_changed(self) -> None:
        for one in self._objects():
            one.parameters_changed()

    def _objects(self) -> list[Any]:
        return [one for objects in self._shared.values() for one in objects]


class _Messages:
    """Sums over edges: into each node, and back to each node and type that sent.

    Parameters
    ----------
    n_nodes, n_types : int
    edges : ndarray [E, 2]
    types : ndarray [E] or None

    Attributes
    ----------
    along : ndarray [N, H] or None
        What the features of the edges into each node add to its messages.
    """

    def __init__(self, n_nodes: int, n_types: int, edges: Array, types: Array | None) -> None:
        self.n_nodes, self.n_types = n_nodes, n_types
        sources, targets = _edges.ends(edges)
        senders = sources * n_types + (0 if types is None else types)
        self._targets = targets
        self.along: Array | None = None
        self._into, self._back = _grouped(targets, senders, n_nodes), _grouped(senders, targets, n_nodes * n_types)

    def sums(self, features: Array) -> Array:
        """Sums [N, F] of the features [E, F] of the edges into each node."""
        return core.segment_sum(features, *_grouped(self._targets, np.arange(len(self._targets)), self.n_nodes))

    def gather(self, sent: Array) -> Array:
        """Messages [N, H] of what each node sends by each type, [N, K·H]."""
        messages = core.segment_sum(sent.reshape(self.n_nodes * self.n_types, -1), *self._into)
        return messages if self.along is None else messages + self.along

    def scatter(self, dmessages: Array) -> Array:
        """Gradient [N, K·H] of what is sent, given that of the messages [N, H]."""
        return core.segment_sum(dmessages, *self._back).reshape(self.n_nodes, -1)


def _grouped(owners: Array, members: Array, n: int) -> tuple[Array, Array]:
    """Members by owner, and where those of each of n owners begin."""
    begin = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=n))]).astype(np.int64)
    return begin, np.ascontiguousarray(members[np.argsort(owners, kind="stable")])
