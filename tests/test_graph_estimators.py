"""GraphClassifier, GraphRegressor, NodeClassifier and the network behind them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

import lstmcore
from lstmcore._isa import core
from lstmcore.embedding import Embedding
from lstmcore.graph_network import READOUTS, GraphNetwork
from lstmcore.losses import Squared
from lstmcore.network import Dense
from lstmcore.tree import TreeLSTM

OPTIONS: dict[str, Any] = {"hidden_size": 12, "max_epochs": 4, "batch_size": 16, "learning_rate": 1e-2}
CELLS = ("gated_graph", "tree_lstm", "n_ary_tree_lstm")


def trees(n: int, seed: int = 0) -> tuple[lstmcore.Graphs, np.ndarray]:
    """Random rooted trees of 2 to 7 nodes; is the sum over the leaves positive?"""
    rng = np.random.default_rng(seed)
    nodes, edges, labels = [], [], []
    for _ in range(n):
        size = int(rng.integers(2, 8))
        nodes.append(rng.standard_normal((size, 2)))
        edges.append([(i, int(rng.integers(i + 1, size))) for i in range(size - 1)])
        leaves = np.setdiff1d(np.arange(size), np.array(edges[-1])[:, 1])
        labels.append(nodes[-1][leaves, 0].sum() > 0)
    return lstmcore.Graphs(nodes, edges), np.where(labels, "yes", "no")


@pytest.mark.parametrize("readout", [*READOUTS, None])
@pytest.mark.parametrize("embedded", [False, True])
def test_gradients_of_the_network(readout: str | None, embedded: bool) -> None:
    graphs, _ = trees(5)
    embedding = None
    if embedded:
        graphs = graphs.replace(np.arange(len(graphs.values), dtype=float)[:, None] % 3)
        embedding = Embedding(3, 2, dtype="float64", seed=1)
    network = GraphNetwork(
        TreeLSTM(2, 3, dtype="float64", seed=0),
        readout,
        Dense(3, 2, dtype="float64", seed=1),
        embedding=embedding,
    )
    batch = graphs.batch(np.array([3, 0, 4, 1]))
    output = network.forward(batch)
    target = np.random.default_rng(0).standard_normal(output.shape)
    loss = Squared()
    network.backward(loss(output, target)[1])
    assert network.infer(batch).tobytes() == output.tobytes()
    for i in range(network.n_parameters):
        sides = []
        for side in (1e-6, -1e-6):
            network.flat_parameters[i] += side
            network.parameters_changed()
            sides.append(loss(network.infer(batch), target)[0])
            network.flat_parameters[i] -= side
        assert network.flat_gradients[i] == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("readout", ["root", "sum", "attention"])
def test_a_copy_of_a_network_computes_the_same(readout: str) -> None:
    graphs, _ = trees(5)
    network = GraphNetwork(TreeLSTM(2, 3, dtype="float64", seed=0), readout, Dense(3, 2, dtype="float64", seed=1))
    twin = pickle.loads(pickle.dumps(network))
    assert twin.predict(graphs).tobytes() == network.predict(graphs).tobytes()


@pytest.mark.parametrize("cell", CELLS)
def test_it_learns_and_its_file_predicts_the_same(cell: str, tmp_path: Path) -> None:
    X, y = trees(300)
    clf = lstmcore.GraphClassifier(cell=cell, readout="sum", **{**OPTIONS, "max_epochs": 25}, random_state=0).fit(X, y)
    assert clf.score(X, y) > 0.9
    clf.save(tmp_path / "trees.safetensors")
    model = lstmcore.load(tmp_path / "trees.safetensors")
    assert model.predict_proba(X).tobytes() == clf.predict_proba(X).tobytes()  # type: ignore[attr-defined]
    assert (model.predict(X) == clf.predict(X)).all()  # type: ignore[attr-defined]
    some = X.take(np.arange(7, 20))
    assert clf.predict_proba(some).tobytes() == clf.predict_proba(X)[7:20].tobytes()


@pytest.mark.parametrize("cell", CELLS)
def test_fit_has_the_same_bits_for_any_number_of_threads(cell: str) -> None:
    X, y = trees(200)
    results, threads = [], core.get_num_threads()
    try:
        for count in (1, 2, 4):
            core.set_num_threads(count)
            clf = lstmcore.GraphClassifier(cell=cell, dropout=0.2, **{**OPTIONS, "hidden_size": 40}, random_state=0)
            results.append(clf.fit(X, y).predict_proba(X).tobytes())
    finally:
        core.set_num_threads(threads)
    assert results[0] == results[1] == results[2]


def test_regression_in_the_units_of_the_target(tmp_path: Path) -> None:
    X, _ = trees(300)
    y = 1000 + 50 * np.array([X.nodes_of(i)[:, 1].sum() for i in range(len(X))])
    reg = lstmcore.GraphRegressor(readout="sum", early_stopping=True, **{**OPTIONS, "max_epochs": 30}, random_state=0)
    reg.fit(X.take(np.arange(250)), y[:250])
    assert reg.score(X.take(np.arange(250, 300)), y[250:]) > 0.9
    assert reg.validation_scores_ is not None
    reg.save(tmp_path / "model.safetensors")
    loaded = lstmcore.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict(X), reg.predict(X))  # type: ignore[attr-defined]


def test_labels_of_nodes_some_of_them_unknown() -> None:
    rng = np.random.default_rng(0)
    n = 20
    nodes = [rng.standard_normal((n, 2)) for _ in range(40)]
    X = lstmcore.Graphs(nodes, [[(i, i + 1) for i in range(n - 1)]] * 40)
    truth = [np.concatenate([[0], (part[:-1, 0] > 0).astype(int)]) for part in nodes]  # what the neighbour has
    known = [np.where(rng.random(n) < 0.5, part, -1) for part in truth]
    clf = lstmcore.NodeClassifier(rounds=2, class_weight="balanced", **{**OPTIONS, "max_epochs": 20}, random_state=0)
    clf.fit(X, known)
    assert clf.classes_.tolist() == [0, 1]
    assert clf.score(X, truth) > 0.9
    assert clf.score(X, known, sample_weight=np.arange(40)) > 0.9
    assert [len(part) for part in clf.predict(X)] == [n] * 40
    assert clf.predict_proba(X)[3].shape == (n, 2)
    hidden = [np.where(part == -1, 1 - full, part) for part, full in zip(known, truth, strict=True)]
    other = clone(clf).fit(X, known)
    assert clf.predict_proba(X)[0].tobytes() == other.predict_proba(X)[0].tobytes()
    assert clf.score(X, hidden) < 0.6


def test_tokens_and_types_of_edges() -> None:
    """What a leaf counts for depends on its edge alone."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(2, 6, 300)
    types = [rng.integers(0, 2, size - 1) for size in sizes]
    X = lstmcore.Graphs([np.ones(size) for size in sizes], [[(i, 0) for i in range(1, s)] for s in sizes], types)
    y = np.array([part.sum() for part in types])
    options = {**OPTIONS, "max_epochs": 30, "rounds": 1, "embedding_dim": 4, "readout": "root"}
    X = lstmcore.Graphs([X.nodes_of(i)[:, 0] for i in range(300)], [X.edges_of(i) for i in range(300)], types)
    assert lstmcore.GraphRegressor(**options, random_state=0).fit(X, y).score(X, y) > 0.95


def with_edge_features(n: int, seed: int = 0, unit: float = 1.0) -> tuple[lstmcore.Graphs, np.ndarray]:
    """Stars whose target is the sum over the edges of what is on them, counted in some unit."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, n)
    edges = [[(i, 0) for i in range(1, size)] for size in sizes]
    features = [rng.standard_normal((size - 1, 2)) for size in sizes]
    y = np.array([part[:, 0].sum() for part in features])
    return lstmcore.Graphs([np.ones(s) for s in sizes], edges, edge_features=[unit * f + 7 for f in features]), y


def test_features_of_edges(tmp_path: Path) -> None:
    X, y = with_edge_features(300)
    reg = lstmcore.GraphRegressor(rounds=1, readout="root", **{**OPTIONS, "max_epochs": 30}, random_state=0)
    train, test = np.arange(250), np.arange(250, 300)
    reg.fit(X.take(train), y[train])
    assert reg.score(X.take(test), y[test]) > 0.95
    assert cross_val_score(clone(reg), X, y, cv=2).min() > 0.8
    reg.save(tmp_path / "model.safetensors")
    loaded: Any = lstmcore.load(tmp_path / "model.safetensors")
    assert loaded.predict(X).tobytes() == reg.predict(X).tobytes()
    assert loaded.predict(X.take(test)).tobytes() == reg.predict(X)[test].tobytes()
    scaler = loaded.inputs.edge_scaler
    assert X.edge_features is not None
    used = X.edge_features[: int(X.edge_counts[train].sum())]
    np.testing.assert_allclose(scaler.mean, used.mean(axis=0))
    np.testing.assert_allclose(scaler.scale, used.std(axis=0))
    for model in (reg, loaded):
        for missing, found in ((None, 0), ([X.edge_features[e, :1] for e in map(X._edge_slice, range(300))], 1)):
            other = lstmcore.Graphs([np.ones(k) for k in X.lengths], [X.edges_of(i) for i in range(300)], None, missing)
            with pytest.raises(ValueError, match=rf"X has {found} edge_features, but the model \(.*\) expects 2"):
                model.predict(other)


def test_features_of_edges_are_standardized_with_the_nodes_or_not() -> None:
    (X, y), (Z, _) = with_edge_features(100), with_edge_features(100, unit=4.0)
    weights = np.arange(100) % 2
    scaled = lstmcore.GraphRegressor(**OPTIONS, random_state=0)
    assert scaled.fit(X, y).predict(X) == pytest.approx(scaled.fit(Z, y).predict(Z), rel=1e-4, abs=1e-4)
    half, odd = scaled.fit(X, y, weights).model_.inputs.edge_scaler, X.take(np.flatnonzero(weights)).joined()
    assert half is not None and odd.edge_features is not None
    expected = odd.edge_features[odd._edges_of(np.arange(len(odd)))[0]].mean(axis=0)
    np.testing.assert_allclose(half.mean, expected)
    plain = lstmcore.GraphRegressor(standardize=False, **OPTIONS, random_state=0).fit(X, y)
    assert plain.model_.inputs.edge_scaler is None


def test_trees_have_no_features_of_edges() -> None:
    X, y = with_edge_features(10)
    for cell in CELLS[1:]:
        with pytest.raises(ValueError, match=f"edge_features of X must be None with cell='{cell}', got 2 features"):
            lstmcore.GraphRegressor(cell=cell, **OPTIONS).fit(X, y)
    network = GraphNetwork(TreeLSTM(1, 3, dtype="float64", seed=0), "sum", Dense(3, 1, dtype="float64", seed=1))
    for compute in (lambda: network.predict(X), lambda: network.forward(X.batch(np.arange(3)))):
        with pytest.raises(ValueError, match=r"has 2 edge_features, but the model \(TreeLSTM\(.*\) expects 0"):
            compute()


def test_cross_validation_and_parameters() -> None:
    X, y = trees(60)
    clf = lstmcore.GraphClassifier(cell="tree_lstm", readout="root", **OPTIONS, random_state=0)
    assert clone(clf).get_params() == clf.get_params()
    assert cross_val_score(clf, X, y, cv=3).shape == (3,)
    assert clf.fit(X, y).n_features_in_ == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "tree"}, "cell must be one of 'gated_graph', 'tree_lstm', 'n_ary_tree_lstm', got 'tree'"),
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"readout": "last"}, "readout must be one of 'root', 'sum', 'mean', 'max', 'attention', got 'last'"),
        ({"n_tokens": 3}, "n_tokens must be None without embedding_dim"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lstmcore.GraphClassifier(**options).fit(*trees(10))


def test_bad_input() -> None:
    X, y = trees(10)
    clf = lstmcore.GraphClassifier(cell="tree_lstm", readout="root", **OPTIONS)
    with pytest.raises(TypeError, match=r"X must be lstmcore.Graphs, got ndarray"):
        clf.fit(np.ones((3, 4)), y)
    cyclic = lstmcore.Graphs([np.ones((2, 2)), np.ones((3, 2))], [[], [(0, 1), (1, 0), (1, 2)]])
    with pytest.raises(ValueError, match=r"edges of X\[1\] must have no cycle, but node [01] is its own descendant"):
        clf.fit(cyclic, [0, 1])
    forest = lstmcore.Graphs([np.ones((2, 2)), np.ones((3, 2))], [[(0, 1)], [(0, 1)]])
    with pytest.raises(ValueError, match=r"edges of X\[1\] must have one root.*got \[1, 2\]"):
        clf.fit(forest, [0, 1])
    with pytest.raises(ValueError, match="X has 10, y has 9"):
        clf.fit(X, y[:9])
    clf.fit(X, y)
    with pytest.raises(ValueError, match="X has 1 features a node, but the model expects 2"):
        clf.predict(lstmcore.Graphs([np.ones((2, 1))], [[(0, 1)]]))
    with pytest.raises(ValueError, match=r"X contains NaN: graph 0, node 1, feature 0 is nan$"):
        clf.predict(lstmcore.Graphs([[[1.0, 2.0], [np.nan, 0.0]]], [[(0, 1)]]))
    with pytest.raises(ValueError, match=r"y\[1\] must hold 3 labels, one for each node of X\[1\], got \(2,\)"):
        lstmcore.NodeClassifier().fit(cyclic, [[0, 1], [0, 1]])
    with pytest.raises(ValueError, match=r"nodes\[1\] has length 0; every graph needs at least one node"):
        lstmcore.Graphs([[1.0], []], [[], []])
    with pytest.raises(
        ValueError, match=r"nodes must be a list of arrays .*, one for each graph, got list \[1.0, 2.0\]"
    ):
        lstmcore.Graphs([1.0, 2.0], [[], []])
    with pytest.raises(TypeError, match="X must be sequences, got Graphs: GraphClassifier"):
        lstmcore.RNNClassifier().fit(X, y)
    with pytest.raises(TypeError, match="a model of graphs has no steps"):
        clf.model_.session()
    n_ary = lstmcore.GraphClassifier(cell="n_ary_tree_lstm", **OPTIONS).fit(
        lstmcore.Graphs([np.ones((2, 2))] * 2, [[(0, 1)]] * 2, [[1], [0]]), [0, 1]
    )
    with pytest.raises(ValueError, match="X has an edge of type 5 in graph 1; the model knows 2"):
        n_ary.predict(lstmcore.Graphs([np.ones((2, 2))] * 2, [[(0, 1)]] * 2, [[1], [5]]))
