"""Graphs and trees of different sizes: nodes as the steps of `Sequences`, and edges between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from lstmcore import _edges
from lstmcore import _validation as check
from lstmcore._validation import Array
from lstmcore.sequences import Batch, Sequences, as_sequences


class Graphs(Sequences):
    """Directed graphs with features on nodes and edges; trees among them, with edges that lead from child to parent.

    Nodes are to a graph what steps are to a sequence: `Graphs` can be passed, split and indexed as `Sequences`.

    Parameters
    ----------
    nodes : list of array_like
        Of each graph, features [n_nodes, n_features], or token numbers [n_nodes].
    edges : list of array_like of int
        Of each graph, [n_edges, 2]: source and target, nodes of this graph from 0. Any iterable of pairs will do, such
        as ``graph.edges`` of networkx where nodes are numbered.
    edge_types : list of array_like of int, optional
        Of each graph, a number from 0 for each edge: which kind of edge, or which child of its parent.
    edge_features : list of array_like, optional
        Of each graph, numbers [n_edges, n_edge_features], or [n_edges] if it is one. A graph without
        edges may have an empty list, beside others that have some.
    directed : bool, default=True
        False: every edge leads both ways, with the same type and features.

    Attributes
    ----------
    edges : ndarray [E, 2] of int64
        Of all graphs, one after another, in each graph's own numbers.
    edge_types : ndarray [E] of int64 or None
    edge_features : ndarray [E, n_edge_features] or None
    edge_starts, edge_counts : ndarray [n] of int64
        Where the edges of each graph begin in `edges`, and how many there are.

    Raises
    ------
    ValueError, TypeError
        If a graph has no nodes, an edge leads to no node, or counts do not fit; the message names the graph.

    Examples
    --------
    A water molecule, and a sentence of four words with its heads:

    >>> Graphs([[8.0, 1.0, 1.0]], [[(0, 1), (0, 2)]], directed=False)
    Graphs(n=1, features=1, nodes 3 to 3, edges=4)
    >>> trees = Graphs.from_heads([[3, 7, 1, 4]], [[2, 0, 4, 2]])
    >>> trees.edges.tolist()
    [[0, 1], [2, 3], [3, 1]]
    """

    __slots__ = ("edge_counts", "edge_features", "edge_starts", "edge_types", "edges")
    unit: ClassVar[str] = "graph"
    part: ClassVar[str] = "node"

    def __init__(
        self,
        nodes: Any,
        edges: Iterable[Any],
        edge_types: Iterable[Any] | None = None,
        edge_features: Iterable[Any] | None = None,
        *,
        directed: bool = True,
    ) -> None:
        if np.isscalar(nodes) or not len(nodes) or any(np.ndim(part) == 0 for part in nodes):
            raise ValueError(
                f"nodes must be a list of arrays [n_nodes, n_features] or [n_nodes], one for each graph, "
                f"got {check.described(nodes)}"
            )
        rows = as_sequences(nodes, "nodes", dtype=None, finite=False, kind=Graphs)
        super().__init__(rows.values, rows.starts, rows.lengths)
        parts = _of_each(edges, "edges", len(self))
        pairs = [
            _edges.edge_ends(part if isinstance(part, np.ndarray) else list(part), f"edges[{i}]")
            for i, part in enumerate(parts)
        ]
        for i, part in enumerate(pairs):
            _edges.check_ends(part, int(self.lengths[i]), f"edges[{i}]")
        types = None
        if edge_types is not None:
            types = [
                _edges.edge_numbers(part, len(pairs[i]), None, f"edge_types[{i}]")
                for i, part in enumerate(_of_each(edge_types, "edge_types", len(self)))
            ]
        features = None if edge_features is None else _features_of(edge_features, pairs)
        if not check.flag(directed, "directed"):
            pairs = [np.concatenate([part, part[:, ::-1]]) for part in pairs]
            types = None if types is None else [np.tile(part, 2) for part in types]
            features = None if features is None else [np.tile(part, (2, 1)) for part in features]
        self.edges = np.concatenate(pairs)
        self.edge_types = None if types is None else np.concatenate(types)
        self.edge_features = None if features is None else np.concatenate(features)
        self.edge_counts = np.array([len(part) for part in pairs], np.int64)
        self.edge_starts = np.cumsum(self.edge_counts) - self.edge_counts

    @classmethod
    def from_heads(cls, nodes: Any, heads: Iterable[Any]) -> Graphs:
        """Make trees of words and their heads, as in column HEAD of CoNLL-U.

        Parameters
        ----------
        nodes : list of array_like
            As of the class.
        heads : list of array_like of int
            Of each tree and node, the number of its parent counted from 1, or 0 for a root.

        Returns
        -------
        Graphs

        Raises
        ------
        ValueError, TypeError
            As of the class, and where heads have a cycle: the message names tree and node.
        """
        edges = []
        for i, part in enumerate(heads):
            array = _edges.integers(part, f"heads[{i}]").ravel()
            children = np.flatnonzero(array)
            edges.append(np.stack([children, array[children] - 1], axis=1))
        trees = cls(nodes, edges)
        trees.check_acyclic("heads")
        return trees

    def __repr__(self) -> str:
        shortest, longest = (int(self.lengths.min()), int(self.lengths.max())) if len(self) else (0, 0)
        edge_features = f", edge_features={self.n_edge_features}" if self.n_edge_features else ""
        return (
            f"Graphs(n={len(self)}, features={self.n_features}, nodes {shortest} to {longest}, "
            f"edges={int(self.edge_counts.sum())}{edge_features})"
        )

    @property
    def n_edge_features(self) -> int:
        """Number of features of an edge; 0 without `edge_features`."""
        return 0 if self.edge_features is None else self.edge_features.shape[1]

    @classmethod
    def concatenate(cls, parts: Iterable[Graphs]) -> Graphs:
        """Join several sets of graphs into one: graphs of the first, then of the second, and so on.

        Raises
        ------
        ValueError
            If there are none, their numbers of features (of nodes or edges) differ, or only some have edge types.
        """
        listed = [part.joined() for part in parts]
        if len({(part.n_features, part.n_edge_features, part.edge_types is None) for part in listed}) != 1:
            raise ValueError("parts must be at least one, alike in their features and in having edge types or not")
        rows, edges = [part.values for part in listed], [part._edges_of(np.arange(len(part)))[0] for part in listed]
        lengths = np.concatenate([part.lengths for part in listed])
        made = object.__new__(cls)
        Sequences.__init__(made, np.concatenate(rows), np.cumsum(lengths) - lengths, lengths)
        for name in ("edges", "edge_types", "edge_features"):
            arrays = [getattr(part, name) for part in listed]
            chosen = [array[e] for array, e in zip(arrays, edges, strict=True) if array is not None]
            setattr(made, name, np.concatenate(chosen) if chosen else None)
        made.edge_counts = np.concatenate([part.edge_counts for part in listed])
        made.edge_starts = np.cumsum(made.edge_counts) - made.edge_counts
        return made

    def __getitem__(self, i: int) -> Graphs:  # type: ignore[override]
        """Graph i alone: scikit-learn's splitters make a list of them, which the estimators take."""
        return self.take(np.array([range(len(self))[i]]))

    def nodes_of(self, i: int) -> Array:
        """Return the features [n_nodes, n_features] of graph i, a view."""
        return self.values[self.starts[i] : self.starts[i] + self.lengths[i]]

    def edges_of(self, i: int) -> Array:
        """Return the edges [n_edges, 2] of graph i, a view."""
        return self.edges[self._edge_slice(i)]

    def check_acyclic(self, name: str = "edges") -> None:
        """Raise ValueError that names a graph and a node on a cycle of it, if there is one."""
        for i in range(len(self)):
            node = _edges.find_cycle(self.edges_of(i), int(self.lengths[i]))
            if node is not None:
                raise ValueError(f"{name}[{i}] must have no cycle, but node {node} is its own descendant")

    def check_rooted(self, name: str = "edges") -> None:
        """Raise ValueError that names a graph without exactly one root: a node from which no edge leads."""
        edge, graph = self._edges_of(np.arange(len(self)))
        first = np.cumsum(self.lengths) - self.lengths
        is_root = np.ones(int(self.lengths.sum()), bool)
        is_root[first[graph] + self.edges[edge, 0]] = False
        for i in np.flatnonzero(np.add.reduceat(is_root, first) != 1)[:1]:
            roots = np.flatnonzero(is_root[first[i] : first[i] + self.lengths[i]]).tolist()
            raise ValueError(f"{name}[{i}] must have one root, that is node without a parent, got {roots}")

    def replace(self, values: Array, edge_features: Array | None = None) -> Graphs:
        """Return the same graphs over other values, row for row, and other features of edges if any are given."""
        if values is self.values and edge_features is None:
            return self
        made = self._with(values, self.starts, self.lengths, slice(None))
        if edge_features is not None:
            made.edge_features = edge_features
        return made

    def take(self, indices: Any) -> Graphs:
        """Some of the graphs, sharing nodes and edges."""
        return self._with(self.values, self.starts[indices], self.lengths[indices], indices)

    def joined(self) -> Graphs:
        """Return the same graphs, the nodes of one after those of another."""
        rows = super().joined()
        return self if rows is self else self._with(rows.values, rows.starts, rows.lengths, slice(None))

    def batch(self, indices: Array) -> Batch:
        """Pack the graphs `indices` [B] into one batch, node after node as `Sequences` do with steps."""
        batch = super().batch(indices)
        edge, graph = self._edges_of(batch.order)
        first_row = np.cumsum(batch.batch_sizes) - batch.batch_sizes  # of each node number
        edges = first_row[self.edges[edge]] + graph[:, None]
        return batch._replace(
            edges=edges,
            edge_types=None if self.edge_types is None else self.edge_types[edge],
            edge_features=None if self.edge_features is None else self.edge_features[edge],
        )

    def _edges_of(self, indices: Array) -> tuple[Array, Array]:
        """Numbers of the edges of some graphs, and which of `indices` each belongs to."""
        counts = self.edge_counts[indices]
        graph = np.repeat(np.arange(len(counts)), counts)
        return np.arange(len(graph)) + np.repeat(self.edge_starts[indices] - np.cumsum(counts) + counts, counts), graph

    def _edge_slice(self, i: int) -> slice:
        return slice(self.edge_starts[i], self.edge_starts[i] + self.edge_counts[i])

    def _with(self, values: Array, starts: Array, lengths: Array, indices: Any) -> Graphs:
        made = object.__new__(Graphs)
        Sequences.__init__(made, values, starts, lengths)
        made.edges, made.edge_types, made.edge_features = self.edges, self.edge_types, self.edge_features
        made.edge_starts, made.edge_counts = self.edge_starts[indices], self.edge_counts[indices]
        return made


def _of_each(parts: Iterable[Any], name: str, n: int) -> list[Any]:
    listed = list(parts)
    if len(listed) != n:
        raise ValueError(f"{name} must hold {n} arrays, one for each of nodes, got {len(listed)}")
    return listed


def _features_of(edge_features: Iterable[Any], pairs: list[Array]) -> list[Array]:
    """Features of the edges of each graph, all of one width, those of no edges like the others'."""
    width, parts = None, _of_each(edge_features, "edge_features", len(pairs))
    for i, part in enumerate(parts):
        parts[i] = _edges.edge_features(part, len(pairs[i]), width, None, f"edge_features[{i}]")
        width = parts[i].shape[1] if len(parts[i]) else width
    like = max(parts, key=np.shape)
    return [part if len(part) else like[:0] for part in parts]
