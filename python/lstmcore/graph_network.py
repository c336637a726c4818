"""A network over graphs: states of nodes, a readout, and a dense head."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._validation import Array
from lstmcore.embedding import Embedding
from lstmcore.gated_graph import GatedGraph
from lstmcore.graphs import Graphs
from lstmcore.network import Dense, Network
from lstmcore.pooling import POOLINGS as _OVER_NODES
from lstmcore.pooling import Pooling
from lstmcore.sequences import Batch, Sequences
from lstmcore.tree import TreeLSTM

READOUTS = ("root", "sum", *_OVER_NODES)


class GraphNetwork(Network):
    """A layer over graphs, a readout over the nodes of each, and a dense head: trained and saved as a `Network`.

    Parameters
    ----------
    recurrent : TreeLSTM or GatedGraph
    readout : {"root", "sum", "mean", "max", "attention"} or None
        What the head sees of a graph: its root's state (the node from which no edge leads), or the sum, mean, maximum
        or a weighted mean (with learnt weights, Felbo et al. 2017) of the states of all nodes. None: every node.
    dense : Dense
        Takes ``recurrent.output_size`` features.
    embedding : Embedding, optional
        Stands before: nodes are then token numbers [N, 1].
    dropout : float, default=0.0
        Share of what the head sees that `forward` in training drops.
    pooling : Pooling, optional
        Of "attention", with its learnt weights; None: a new one.

    Examples
    --------
    >>> import numpy as np
    >>> graphs = Graphs([np.ones((3, 2)), np.ones((2, 2))], [[(0, 2), (1, 2)], [(0, 1)]])
    >>> network = GraphNetwork(TreeLSTM(2, 8, seed=0, dtype="float64"), "root", Dense(8, 1, dtype="float64"))
    >>> network.predict(graphs).shape
    (2, 1)
    """

    def __init__(
        self,
        recurrent: TreeLSTM | GatedGraph,
        readout: str | None,
        dense: Dense,
        *,
        dropout: float = 0.0,
        embedding: Embedding | None = None,
        pooling: Pooling | None = None,
    ) -> None:
        if readout is not None:
            check.choice(readout, "readout", READOUTS)
        if readout in ("sum", *_OVER_NODES) and pooling is None:
            kind = "mean" if readout == "sum" else str(readout)
            pooling = Pooling(kind, recurrent.output_size, dtype=recurrent.dtype)
        super().__init__(recurrent, pooling, dense, dropout=dropout, embedding=embedding)  # type: ignore[arg-type]
        self.layer, self.pooling = recurrent, readout
        self._kept: Batch | None = None  # the batch of the last forward, until its backward
        self._roots = np.zeros(0, np.int64)

    def forward(self, batch: Batch, *, training: bool = False, seed: int = 0, tbptt_steps: int | None = None) -> Array:
        """Compute the outputs of a batch, keeping what `backward` needs; `tbptt_steps` must be None."""
        self._kept = None
        x = batch.x if self.embedding is None else self.embedding.forward(batch.x)
        y = self.layer._forward_rows(x, *self._edges_of(batch))
        features = self._read(y, batch, keep=True)
        self._dropped = seed if training and self.dropout else None
        self._drop(features)
        output = self.dense.forward(features)
        self._kept = batch
        return output

    def backward(self, doutput: Array) -> None:
        """Add the gradients of all parameters, given that of the last `forward`'s output."""
        if self._kept is None:
            raise RuntimeError("backward needs a forward before it, and each forward allows one backward")
        batch, self._kept = self._kept, None
        dfeatures = self.dense.backward(doutput)
        assert dfeatures is not None
        self._drop(dfeatures)
        dy = self._read_back(dfeatures, batch)
        dx = self.layer._backward_rows(dy, self.embedding is not None and self.embedding.trainable)
        if self.embedding is not None and dx is not None:
            self.embedding.backward(dx)

    def infer_states(self, batch: Batch) -> tuple[Array, list[Array]]:
        """Compute the outputs of a batch as `forward` without training does, keeping nothing; there are no states."""
        x = batch.x if self.embedding is None else self.embedding(batch.x)
        return self.dense(self._read(self.layer._infer_rows(x, *self._edges_of(batch)), batch, keep=False)), []

    def predict(self, sequences: Sequences) -> Array:
        """Compute the outputs of `Graphs`: [n, n_outputs], or of every node, graph after graph, with readout None."""
        self.check(sequences)
        return super().predict(sequences)

    def check(self, graphs: Any, name: str = "X") -> None:
        """Raise TypeError or ValueError unless `graphs` are what this network takes."""
        if not isinstance(graphs, Graphs):
            raise TypeError(f"{name} must be lstmcore.Graphs, got {type(graphs).__name__}")
        self._check_width(graphs.edge_features, name)
        limit = self.layer.n_edge_types if isinstance(self.layer, GatedGraph) else self.layer.arity
        if graphs.edge_types is not None and not (isinstance(self.layer, TreeLSTM) and self.layer.kind == "child_sum"):
            edge, graph = graphs._edges_of(np.arange(len(graphs)))
            for e in np.flatnonzero(graphs.edge_types[edge] >= limit)[:1]:
                found = int(graphs.edge_types[edge[e]])
                raise ValueError(f"{name} has an edge of type {found} in graph {graph[e]}; the model knows {limit}")

    def check_steps(self) -> None:
        """Raise TypeError: graphs do not come step by step."""
        raise TypeError("a session needs a model of sequences; a model of graphs has no steps")

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_layers, (self.layers, self.pooling, self.dropout)

    def _edges_of(self, batch: Batch) -> tuple[Array, Array | None, Array | None]:
        self._check_width(batch.edge_features, "the batch")
        return _ends_of(batch), batch.edge_types, batch.edge_features

    def _check_width(self, edge_features: Array | None, name: str) -> None:
        found, expected = 0 if edge_features is None else edge_features.shape[1], self.layer.n_edge_features
        if found != expected:
            raise ValueError(f"{name} has {found} edge_features, but the model ({self.layer!r}) expects {expected}")

    def _read(self, y: Array, batch: Batch, keep: bool) -> Array:
        """What the head sees of the states y [N, width]."""
        if self.pooling is None:
            return y
        if self.pooling == "root":
            roots = _roots(batch)
            if keep:
                self._roots = roots
            return y[roots]
        pooling = self._readout.pooling
        assert pooling is not None
        features = (pooling.forward if keep else pooling)(y, batch.batch_sizes)
        return features * _sizes(batch, y.dtype) if self.pooling == "sum" else features

    def _read_back(self, dfeatures: Array, batch: Batch) -> Array:
        """Gradient of the states, given that of what the head saw."""
        if self.pooling is None:
            return dfeatures
        if self.pooling == "root":
            dy = np.zeros((len(batch.x), dfeatures.shape[1]), dfeatures.dtype)
            dy[self._roots] = dfeatures
            return dy
        assert self._readout.pooling is not None
        return self._readout.pooling.backward(
            dfeatures * _sizes(batch, dfeatures.dtype) if self.pooling == "sum" else dfeatures
        )


def graph_network_config(network: GraphNetwork) -> dict[str, Any]:
    """Return what `build_graph_network` needs, ready for JSON."""
    embedding = network.embedding
    return {
        "graph": "tree" if isinstance(network.layer, TreeLSTM) else "gated",
        "dtype": network.dtype.name,
        "layer": network.layer.config(),
        "readout": network.pooling,
        "dropout": network.dropout,
        "n_outputs": network.n_outputs,
        "embedding": embedding and {"n_tokens": embedding.n_tokens, "trainable": embedding.trainable},
    }


def build_graph_network(config: dict[str, Any], vectors: Array | None) -> GraphNetwork:
    """Build a network from what `graph_network_config` gave; its parameters are random, but for given `vectors`."""
    kind: type[TreeLSTM | GatedGraph] = {"tree": TreeLSTM, "gated": GatedGraph}[config["graph"]]
    dtype, embedding = config["dtype"], None
    layer = kind(**config["layer"], dtype=dtype, seed=0)
    if config["embedding"] is not None:
        embedding = Embedding(**config["embedding"], dim=layer.input_size, vectors=vectors, dtype=dtype, seed=0)
    dense = Dense(layer.output_size, config["n_outputs"], dtype=dtype, seed=0)
    return GraphNetwork(layer, config["readout"], dense, dropout=config["dropout"], embedding=embedding)


def _from_layers(layers: dict[str, Any], readout: str | None, dropout: float) -> GraphNetwork:
    return GraphNetwork(**layers, readout=readout, dropout=dropout)


def _ends_of(batch: Batch) -> Array:
    if batch.edges is None:
        raise TypeError("a network over graphs needs a batch of Graphs, this one has no edges")
    return batch.edges


def _sizes(batch: Batch, dtype: np.dtype[Any]) -> Array:
    """Numbers of nodes [B, 1]."""
    return batch.lengths[:, None].astype(dtype)


def _roots(batch: Batch) -> Array:
    """Row of the root of each graph of a batch."""
    edges = _ends_of(batch)
    is_root = np.ones(len(batch.x), bool)
    is_root[edges[:, 0]] = False
    rows, sizes = np.flatnonzero(is_root), batch.batch_sizes
    graph = rows - np.repeat(np.cumsum(sizes) - sizes, sizes)[rows]
    order = np.argsort(graph, kind="stable")
    if not np.array_equal(graph[order], np.arange(len(batch.lengths))):
        raise ValueError("readout 'root' needs graphs with one root each, that is node from which no edge leads")
    return rows[order]
