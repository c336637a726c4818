"""What estimators that learn from graphs can be told, and the parts made of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._inputs import Inputs
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array
from lstmcore.estimators._base import SamplesEstimator
from lstmcore.estimators._options import TrainingOptions
from lstmcore.estimators._sequence_options import InputOptions
from lstmcore.gated_graph import GatedGraph
from lstmcore.graph_network import READOUTS, GraphNetwork
from lstmcore.graphs import Graphs
from lstmcore.network import Dense
from lstmcore.sequences import Sequences
from lstmcore.tree import TreeLSTM

CELLS = ("gated_graph", "tree_lstm", "n_ary_tree_lstm")


@dataclass(kw_only=True, eq=False, repr=False)
class GraphOptions(InputOptions):
    """Options of the estimators that learn from graphs.

    Parameters
    ----------
    cell : {"gated_graph", "tree_lstm", "n_ary_tree_lstm"}, default="gated_graph"
        How a node comes by its state. "gated_graph": in rounds, of messages along all edges, by their types and
        features (Li et al. 2016); "tree_lstm": of all its children at once, from the leaves up, for trees and graphs
        without cycles whose edges lead from child to parent (child-sum Tree-LSTM, Tai et al. 2015); "n_ary_tree_lstm":
        the same where it matters which child is which, as `edge_types` of the graphs say, or the order of the edges.
    hidden_size : int, default=64
        Numbers of a node's state.
    rounds : int, default=4
        Of messages, for "gated_graph": how many edges away a node sees.
    dropout : float, default=0.0
        Share of what the dense layer sees that is dropped in training.
    """

    cell: str = "gated_graph"
    hidden_size: int = 64
    rounds: int = 4
    dropout: float = 0.0


@dataclass(kw_only=True, eq=False, repr=False)
class GraphEstimator(GraphOptions, SamplesEstimator):
    """Base of the estimators that learn from graphs."""

    def fit(
        self,
        X: Graphs,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Graphs | None = None,
        y_val: Any = None,
        resume_from: Any = None,
    ) -> Any:
        """Train, from scratch unless `warm_start` is set.

        Parameters
        ----------
        X : Graphs
            See `lstmcore.Graphs`; nodes have features, or with an embedding token numbers. Features of edges, for
            cell="gated_graph", are standardized as those of nodes.
        y : array_like
            Targets, see the class.
        sample_weight : array_like [n_graphs], optional
            Weigh the graphs in the loss: a weight of 2 is a graph that comes twice.
        X_val, y_val : Graphs and array_like, optional
            Validation data, measured after each epoch; the parameters of the best epoch are kept.
        resume_from : path, optional
            A file that `lstmcore.callbacks.Checkpoint` wrote: training goes on from there, to the same bits as if it
            had not been interrupted, given the same data and options.

        Returns
        -------
        estimator
            Itself.

        Raises
        ------
        ValueError, TypeError
            If an option or argument is not as described; the message names it and quotes the value.
        lstmcore.training.TrainingDiverged
            If the loss stops being a number. The last good parameters are kept.
        """
        return self._fit(X, y, sample_weight, X_val, y_val, resume_from)

    @property
    def _readout(self) -> str | None:
        """What the dense layer sees."""
        return getattr(self, "readout", None)

    def _check_options(self) -> None:
        TrainingOptions._check_options(self)
        self._check_input_options()
        check.choice(self.cell, "cell", CELLS)
        check.integer(self.hidden_size, "hidden_size")
        check.integer(self.rounds, "rounds")
        check.fraction(self.dropout, "dropout")
        if self._readout is not None:
            check.choice(self._readout, "readout", READOUTS)

    def _read(self, X: Any, name: str, static: Any = None) -> Graphs:
        if isinstance(X, (list, tuple)) and X and all(isinstance(part, Graphs) for part in X):
            X = Graphs.concatenate(X)
        if not isinstance(X, Graphs):
            raise TypeError(f"{name} must be lstmcore.Graphs, got {type(X).__name__}")
        if self.cell != "gated_graph":
            if X.edge_features is not None:
                raise ValueError(
                    f"edge_features of {name} must be None with cell={self.cell!r}, got {X.n_edge_features} features; "
                    f"cell='gated_graph' takes them"
                )
            X.check_acyclic(f"edges of {name}")
        if self._readout == "root":
            X.check_rooted(f"edges of {name}")
        return X

    def _parts(
        self, sequences: Sequences, weights: Array | None, n_outputs: int, rng: np.random.Generator
    ) -> tuple[Inputs, GraphNetwork]:
        assert isinstance(sequences, Graphs)
        embedding = self._embedding(sequences, rng)
        n_tokens = None if embedding is None else embedding.n_tokens
        inputs = Inputs.fit(sequences, standardize=self.standardize, n_tokens=n_tokens, weights=weights)
        if self.standardize and sequences.edge_features is not None:
            edge, graph = sequences._edges_of(np.arange(len(sequences)))
            by_edge = None if weights is None else weights[graph]
            inputs = replace(inputs, edge_scaler=Standardizer.fit(sequences.edge_features[edge], by_edge))
        width = inputs.n_inputs if embedding is None else embedding.dim
        layer = self._layer(sequences, width, rng)
        dense = Dense(self.hidden_size, n_outputs, seed=rng)
        return inputs, GraphNetwork(layer, self._readout, dense, dropout=self.dropout, embedding=embedding)

    def _layer(self, graphs: Graphs, width: int, rng: np.random.Generator) -> TreeLSTM | GatedGraph:
        edge, graph = graphs._edges_of(np.arange(len(graphs)))
        if graphs.edge_types is not None:
            n_types = int(graphs.edge_types[edge].max(initial=0)) + 1
        elif self.cell == "n_ary_tree_lstm":  # the largest number of children
            _, children = np.unique(np.column_stack([graph, graphs.edges[edge, 1]]), axis=0, return_counts=True)
            n_types = int(children.max(initial=1))
        else:
            n_types = 1
        if self.cell == "gated_graph":
            options = {"n_edge_types": n_types, "n_edge_features": graphs.n_edge_features}
            return GatedGraph(width, self.hidden_size, rounds=self.rounds, **options, seed=rng)
        kind = "child_sum" if self.cell == "tree_lstm" else "n_ary"
        return TreeLSTM(width, self.hidden_size, kind=kind, arity=n_types, seed=rng)
