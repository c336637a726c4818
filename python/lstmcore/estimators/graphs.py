"""Estimators for graphs and trees: classes and numbers of whole graphs, classes of nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmcore._validation import Array
from lstmcore.estimators._graph_options import GraphEstimator
from lstmcore.estimators._options import documented
from lstmcore.estimators.classifier import Classification
from lstmcore.estimators.regressor import Regression
from lstmcore.estimators.tagger import Tagging
from lstmcore.graphs import Graphs
from lstmcore.model import ClassifierModel, RegressorModel, TaggerModel
from lstmcore.sequences import Sequences


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class GraphClassifier(Classification, GraphEstimator):
    """Classify graphs or trees.

    Every node gets a state of its features and of the nodes that lead to it, `readout` makes one vector of a graph, and
    a dense layer with softmax gives the class probabilities.

    y is a label of any type for each graph, or, for several labels at once, an indicator matrix [n_graphs, n_classes]
    of zeros and ones.

    Parameters
    ----------
    readout : {"mean", "sum", "max", "attention", "root"}, default="mean"
        What the dense layer sees of a graph: the mean, the sum, the maximum or a weighted mean (with learnt weights,
        Felbo et al. 2017) of the states of its nodes, or the state of its root: the one node from which no edge leads.

    Attributes
    ----------
    classes_ : ndarray [n_classes]
        The labels, sorted; the columns' numbers if y was an indicator matrix.
    model_ : lstmcore.model.ClassifierModel
        Does the work and needs no scikit-learn.
    history_ : dict of lists
        A column for each measure, an entry an epoch: "epoch", "loss", "learning_rate", "seconds" …
    loss_curve_ : list of float
        Mean training loss of each epoch.
    validation_scores_, validation_loss_curve_ : list of float or None
        Accuracy and loss of the validation part after each epoch.
    n_iter_, best_epoch_ : int
        Epochs that were run; the one whose parameters were kept (from 0), None without validation data.
    n_features_in_ : int
        Features of a node.

    See Also
    --------
    GraphRegressor : The same for numbers.
    NodeClassifier : A label for every node.

    Examples
    --------
    Is a tree of zeros and ones, where every node is the exclusive or of what is below it, true?

    >>> import numpy as np
    >>> import lstmcore
    >>> rng = np.random.default_rng(0)
    >>> bits = rng.integers(0, 2, (300, 4))
    >>> nodes = np.column_stack([bits, np.full((300, 3), 2)])  # leaves 0 to 3, inner nodes 4 and 5, root 6
    >>> edges = [[(0, 4), (1, 4), (2, 5), (3, 5), (4, 6), (5, 6)]] * 300
    >>> trees, y = lstmcore.Graphs(list(nodes), edges), bits.sum(axis=1) % 2
    >>> options = {"hidden_size": 16, "max_epochs": 60, "learning_rate": 1e-2, "random_state": 0}
    >>> clf = GraphClassifier(cell="tree_lstm", readout="root", embedding_dim=8, **options).fit(trees, y)
    >>> clf.score(trees, y) > 0.95
    True
    """

    readout: str = "mean"
    model_: ClassifierModel = field(init=False)

    def predict(self, X: Graphs) -> Array:
        """Predict the most likely class of each graph.

        Parameters
        ----------
        X : Graphs
            As in `fit`; graphs may have any size.

        Returns
        -------
        ndarray [n_graphs], or [n_graphs, n_classes] of 0 and 1 if y was an indicator matrix
        """
        return self._fitted_model().predict(self._sequences(X))

    def predict_proba(self, X: Graphs) -> Array:
        """Predict class probabilities.

        Parameters
        ----------
        X : Graphs
            As in `predict`.

        Returns
        -------
        ndarray [n_graphs, n_classes] of float32
            In the order of `classes_`; rows sum to 1, unless y was an indicator matrix.
        """
        graphs = self._sequences(X)
        return self.model_.predict_proba(graphs)


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class GraphRegressor(Regression, GraphEstimator):
    """Predict numbers from graphs or trees.

    Every node gets a state of its features and of the nodes that lead to it, `readout` makes one vector of a graph, and
    a dense layer gives the prediction. Targets y [n_graphs] or [n_graphs, n_targets], in any units, are standardized
    inside.

    Parameters
    ----------
    readout : {"mean", "sum", "max", "attention", "root"}, default="mean"
        What the dense layer sees of a graph: see `GraphClassifier`. "sum" suits what grows with the graph.

    Attributes
    ----------
    model_ : lstmcore.model.RegressorModel
        Does the work and needs no scikit-learn.
    history_ : dict of lists
        A column for each measure, an entry an epoch: "epoch", "loss", "learning_rate", "seconds" …
    loss_curve_ : list of float
        Mean training loss of each epoch, of standardized targets.
    validation_scores_, validation_loss_curve_ : list of float or None
        R² of the prediction and loss of the validation part after each epoch.
    n_iter_, best_epoch_ : int
        Epochs that were run; the one whose parameters were kept (from 0), None without validation data.
    n_features_in_ : int
        Features of a node.

    See Also
    --------
    GraphClassifier : The same for classes.

    Examples
    --------
    How many pairs of neighbours in a ring are alike:

    >>> import numpy as np
    >>> import lstmcore
    >>> rng = np.random.default_rng(0)
    >>> x = rng.choice([-1.0, 1.0], (300, 6))
    >>> ring = [(i, (i + 1) % 6) for i in range(6)]
    >>> graphs = lstmcore.Graphs(list(x[:, :, None]), [ring] * 300, directed=False)
    >>> y = (x == np.roll(x, 1, axis=1)).sum(axis=1)
    >>> options = {"hidden_size": 16, "max_epochs": 30, "learning_rate": 1e-2, "random_state": 0}
    >>> reg = GraphRegressor(rounds=2, readout="sum", **options).fit(graphs, y)
    >>> reg.score(graphs, y) > 0.95
    True
    """

    readout: str = "mean"
    model_: RegressorModel = field(init=False)

    def predict(self, X: Graphs) -> Array:
        """Predict the target of each graph.

        Parameters
        ----------
        X : Graphs
            As in `fit`; graphs may have any size.

        Returns
        -------
        ndarray [n_graphs] or [n_graphs, n_targets], as y was, of float64
        """
        return self._fitted_model().predict(self._sequences(X))

    def predict_quantiles(self, X: Graphs) -> Array:
        """Predict the `quantiles` of the target of each graph; needs ``loss="quantile"``.

        Parameters
        ----------
        X : Graphs
            As in `predict`.

        Returns
        -------
        ndarray [n_graphs, n_quantiles] or [n_graphs, n_targets, n_quantiles] of float64, ascending
        """
        graphs = self._sequences(X)
        return self.model_.predict_quantiles(graphs)


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class NodeClassifier(Tagging, GraphEstimator):
    """Label every node of graphs or trees.

    y is a list with labels [n_nodes] for each graph. Where labels are integers, -1 marks a node without a label, as in
    `sklearn.semi_supervised`: the network sees it, loss and scores do not.

    Attributes
    ----------
    classes_ : ndarray [n_classes]
        The labels, sorted.
    model_ : lstmcore.model.TaggerModel
        Does the work and needs no scikit-learn.
    history_ : dict of lists
        A column for each measure, an entry an epoch: "epoch", "loss", "learning_rate", "seconds" …
    loss_curve_ : list of float
        Mean training loss of each epoch.
    validation_scores_, validation_loss_curve_ : list of float or None
        Accuracy over nodes and loss of the validation part after each epoch.
    n_iter_, best_epoch_ : int
        Epochs that were run; the one whose parameters were kept (from 0), None without validation data.

    Examples
    --------
    A path of nine nodes, of which the two ends and the middle are labelled by how near an end is:

    >>> import lstmcore
    >>> path = lstmcore.Graphs([[1.0] * 9], [[(i, i + 1) for i in range(8)]], directed=False)
    >>> options = {"hidden_size": 8, "max_epochs": 100, "learning_rate": 1e-2, "standardize": False, "random_state": 0}
    >>> clf = NodeClassifier(**options).fit(path, [[0, -1, -1, -1, 1, -1, -1, -1, 0]])
    >>> clf.predict(path)[0][[0, 4, 8]]
    array([0, 1, 0])
    """

    model_: TaggerModel = field(init=False)

    def predict(self, X: Graphs) -> list[Array]:
        """Predict the most likely label of every node.

        Parameters
        ----------
        X : Graphs
            As in `fit`; graphs may have any size.

        Returns
        -------
        list of ndarray [n_nodes]
        """
        return list(self._fitted_model().predict(self._sequences(X)))

    def predict_proba(self, X: Graphs) -> list[Array]:
        """Predict the class probabilities of every node.

        Parameters
        ----------
        X : Graphs
            As in `predict`.

        Returns
        -------
        list of ndarray [n_nodes, n_classes]
        """
        graphs = self._sequences(X)
        return list(self.model_.predict_proba(graphs))

    def score(self, X: Graphs, y: Any, sample_weight: Any = None) -> float:
        """Share of the labelled nodes whose label is predicted.

        Parameters
        ----------
        X, y
            As in `fit`.
        sample_weight : array_like [n_graphs], optional
            Weigh the nodes of each graph.

        Returns
        -------
        float
        """
        return self._share_right(self._sequences(X), y, sample_weight)

    def _read(self, X: Any, name: str, static: Any = None) -> Graphs:
        return GraphEstimator._read(self, X, name).joined()

    def _share_right(self, sequences: Sequences, y: Any, sample_weight: Any) -> float:
        labels = self._read_targets(y, sequences)
        weights = self._read_weights(sample_weight, sequences)
        by_node = _labelled(labels).astype(np.float64)
        if weights is not None:
            by_node *= np.repeat(weights, sequences.lengths)
        if not by_node.any():
            raise ValueError("y must hold a label that counts, got none")
        return float(np.average(np.concatenate(self.model_.predict(sequences)) == labels, weights=by_node))

    def _new_model(
        self, sequences: Sequences, raw: Array, weights: Array | None, rng: np.random.Generator
    ) -> TaggerModel:
        return super()._new_model(sequences, raw[_labelled(raw)], weights, rng)

    def _encode(self, raw: Array) -> Array:
        return super()._encode(np.where(_labelled(raw), raw, self.classes_[0]))

    def _class_weights(self, raw: Array) -> Array | None:
        labelled = _labelled(raw)
        by_class = super()._class_weights(raw[labelled])
        if by_class is None:
            return None if labelled.all() else labelled.astype(np.float64)
        weights = np.zeros(len(raw))
        weights[labelled] = by_class
        return weights


def _labelled(labels: Array) -> Array:
    """Where there is a label: not -1."""
    return labels != -1 if labels.dtype.kind == "i" else np.ones(len(labels), bool)
