"""GatedGraph against its equations in float64 and finite differences; Graphs and their batches."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from lstmcore._isa import core
from lstmcore.gated_graph import GatedGraph
from lstmcore.graphs import Graphs


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def reference(
    layer: GatedGraph, x: np.ndarray, edges: np.ndarray, types: np.ndarray, features: np.ndarray | None = None
) -> np.ndarray:
    p = {name: value.astype(np.float64) for name, value in layer.parameters.items()}
    H = layer.hidden_size
    A, b = p["message.weight"].reshape(-1, H, H), p["message.bias"].reshape(-1, H)
    W, U = (p[f"update.weight_{part}_l0"].reshape(3, H, H) for part in ("ih", "hh"))
    bx, bh = (p[f"update.bias_{part}_l0"].reshape(3, H) for part in ("ih", "hh"))
    C = p.get("edge.weight", np.zeros((H, 0)))
    features = np.zeros((len(edges), 0)) if features is None else features
    h = x @ p["input.weight"].T + p["input.bias"]
    for _ in range(layer.rounds):
        m = np.zeros_like(h)
        for (source, target), t, e in zip(edges, types, features, strict=True):
            m[target] += A[t] @ h[source] + b[t] + C @ e
        r, z = (sigmoid(m @ W[k].T + bx[k] + h @ U[k].T + bh[k]) for k in (0, 1))
        n = np.tanh(m @ W[2].T + bx[2] + r * (h @ U[2].T + bh[2]))
        h = (1 - z) * n + z * h
    return h


def example(n: int, n_types: int, width: int, dtype: str, seed: int = 0, n_features: int = 0) -> tuple[Any, ...]:
    """Nodes, edges and types, and features of edges if there are any."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, width)).astype(dtype)
    graph = x, rng.integers(0, n, (2 * n, 2)), rng.integers(0, n_types, 2 * n)
    return (*graph, rng.standard_normal((2 * n, n_features)).astype(dtype)) if n_features else graph


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("n", "rounds", "n_types", "n_features"), [(1, 1, 1, 0), (6, 3, 2, 0), (40, 4, 3, 0), (6, 1, 1, 1), (40, 3, 2, 5)]
)
def test_states(n: int, rounds: int, n_types: int, n_features: int, dtype: str) -> None:
    options: dict[str, Any] = {"rounds": rounds, "n_edge_types": n_types, "n_edge_features": n_features}
    layer = GatedGraph(3, 7, **options, dtype=dtype, seed=1)
    graph = example(n, n_types, 3, dtype, n_features=n_features)
    h = layer(*graph)
    assert h.dtype == dtype
    np.testing.assert_allclose(h, reference(layer, *graph), atol=1e-5 if dtype == "float32" else 1e-13)
    assert layer.forward(*graph).tobytes() == h.tobytes()


def test_parameters_of_edges_stand_beside_the_others() -> None:
    plain, layer = GatedGraph(2, 4, seed=0), GatedGraph(2, 4, n_edge_features=3, seed=0)
    assert [name for name in layer.parameters if name not in plain.parameters] == ["edge.weight"]
    assert layer.parameters["edge.weight"].shape == (4, 3)
    assert repr(layer) == "GatedGraph(2, 4, n_edge_features=3)"
    no_edges = np.ones((2, 2), np.float32), [], None, []
    assert layer(*no_edges).shape == layer.forward(*no_edges).shape == (2, 4)


@pytest.mark.parametrize("n_features", [0, 3])
def test_gradients_by_finite_differences(n_features: int) -> None:
    layer = GatedGraph(2, 4, rounds=3, n_edge_types=2, n_edge_features=n_features, dtype="float64", seed=1)
    x, *graph = example(7, 2, 2, "float64", n_features=n_features)
    dh = np.random.default_rng(5).standard_normal((7, 4))
    layer.forward(x, *graph)
    layer.flat_gradients[...] = 1.0  # backward adds
    dx = layer.backward(dh)
    assert dx is not None

    def slope(vector: np.ndarray, i: int) -> float:
        values, start = [], vector.flat[i]
        for side in (1e-6, -1e-6):
            vector.flat[i] = start + side
            layer.parameters_changed()
            values.append(float((layer(x, *graph) * dh).sum()))
        vector.flat[i] = start
        return (values[0] - values[1]) / 2e-6

    expected = [slope(layer.flat_parameters, i) for i in range(layer.n_parameters)]
    np.testing.assert_allclose(layer.flat_gradients - 1, expected, atol=1e-7)
    layer.parameters_changed()
    np.testing.assert_allclose(dx.ravel(), [slope(x, i) for i in range(x.size)], atol=1e-7)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        layer.backward(dh)


def test_bits_do_not_depend_on_threads_or_batch() -> None:
    layer = GatedGraph(5, 40, rounds=2, n_edge_types=2, n_edge_features=3, seed=0)
    parts = [example(60, 2, 5, "float32", seed, n_features=3) for seed in range(8)]
    x, types, features = (np.concatenate([part[k] for part in parts]) for k in (0, 2, 3))
    edges = np.concatenate([60 * i + part[1] for i, part in enumerate(parts)])
    dh = np.random.default_rng(1).standard_normal((len(x), 40)).astype(np.float32)
    results, threads = [], core.get_num_threads()
    try:
        for count in (1, 2, 3, 4):
            core.set_num_threads(count)
            layer.zero_gradients()
            h = layer.forward(x, edges, types, features)
            dx = layer.backward(dh)
            assert dx is not None
            results.append((h.tobytes(), dx.tobytes(), layer.flat_gradients.tobytes()))
    finally:
        core.set_num_threads(threads)
    assert len(set(results)) == 1
    for i, part in enumerate(parts):
        assert layer(*part).tobytes() == h[60 * i : 60 * (i + 1)].tobytes()


def test_a_copy_computes_the_same() -> None:
    layer = GatedGraph(2, 4, n_edge_types=2, n_edge_features=2, seed=0)
    graph = example(5, 2, 2, "float32", n_features=2)
    assert copy.deepcopy(layer)(*graph).tobytes() == layer(*graph).tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((3, 4)), []), "x must have 2 columns, got 4"),
        ((np.ones((3, 2)), [(0, 3)]), r"edges\[0\] leads from 0 to 3: nodes are numbered from 0 to 2"),
        ((np.ones((3, 2)), [(0, 1)], [2]), r"edge_types\[0\] must be from 0 to 1, got 2"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GatedGraph(2, 3, n_edge_types=2)(*arguments)


@pytest.mark.parametrize(
    ("width", "features", "message"),
    [
        (2, None, "edge_features must have 2 columns, got none"),
        (0, [[1.0]], r"edge_features must have 0 columns, got shape \(1, 1\)"),
        (2, [[1.0]], "edge_features must have 2 columns, got 1"),
        (1, [1.0, 2.0], r"edge_features must have a row for each of the 1 edges, got shape \(2, 1\)"),
        (1, [np.nan], r"edge_features\[0, 0\] is nan: it must be finite"),
        (1, [1e300], r"edge_features\[0, 0\] is 1e\+300: too large for float32"),
    ],
)
def test_bad_features_of_edges(width: int, features: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GatedGraph(2, 3, n_edge_features=width)(np.ones((3, 2)), [(0, 1)], None, features)


def of_edges(edges: np.ndarray) -> np.ndarray:
    """Features that say which edge it is."""
    return np.column_stack([edges[:, 0] + 10.0 * edges[:, 1], np.arange(len(edges))])


def random_graphs(n: int, seed: int = 0) -> tuple[Graphs, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, n)
    nodes = [rng.standard_normal((size, 2)) for size in sizes]
    edges = [rng.integers(0, size, (rng.integers(0, 12), 2)) for size in sizes]
    types, features = [np.arange(len(part)) % 3 for part in edges], [of_edges(part) for part in edges]
    return Graphs(nodes, edges, types, features), edges


def test_a_batch_has_the_edges_of_its_graphs() -> None:
    graphs, edges = random_graphs(20)
    some = graphs.take(np.array([4, 0, 7, 13, 2, 19])).joined()
    batch = some.batch(np.array([5, 1, 0, 3]))
    rows = some.rows(batch)
    assert batch.edges is not None and batch.edge_types is not None
    found = rows[batch.edges]  # rows of some.values
    chosen = [4, 0, 7, 13, 2, 19]
    expected = [edges[chosen[i]] + some.starts[i] for i in batch.order]
    np.testing.assert_array_equal(found, np.concatenate(expected))
    np.testing.assert_array_equal(batch.edge_types, np.concatenate([np.arange(len(part)) % 3 for part in expected]))
    np.testing.assert_array_equal(batch.x, some.values[rows])
    expected = [of_edges(edges[chosen[i]]) for i in batch.order]
    np.testing.assert_array_equal(batch.edge_features, np.concatenate(expected))


def test_graphs_are_indexed_and_concatenated() -> None:
    graphs, edges = random_graphs(6)
    assert isinstance(graphs[2], Graphs) and len(graphs[2]) == 1
    again = Graphs.concatenate([graphs[5], graphs.take(np.array([1, 0]))])
    for i, k in enumerate((5, 1, 0)):
        np.testing.assert_array_equal(again.nodes_of(i), graphs.nodes_of(k))
        np.testing.assert_array_equal(again.edges_of(i), edges[k])
    assert again.edge_features is not None
    np.testing.assert_array_equal(again.edge_features, np.concatenate([of_edges(edges[k]) for k in (5, 1, 0)]))
    with pytest.raises(ValueError, match="alike in their features"):
        Graphs.concatenate([graphs, Graphs([np.ones((2, 2))], [[]])])


def test_undirected_edges_lead_both_ways() -> None:
    graphs = Graphs([np.ones((3, 1))], [[(0, 1), (1, 2)]], [[0, 1]], [[0.5, 1.5]], directed=False)
    assert graphs.edges_of(0).tolist() == [[0, 1], [1, 2], [1, 0], [2, 1]]
    assert graphs.edge_types is not None and graphs.edge_types.tolist() == [0, 1, 0, 1]
    assert graphs.edge_features is not None and graphs.edge_features.tolist() == [[0.5], [1.5], [0.5], [1.5]]
    assert repr(graphs) == "Graphs(n=1, features=1, nodes 3 to 3, edges=4, edge_features=1)"


def test_graphs_without_edges_among_others() -> None:
    graphs = Graphs([[1.0], [1.0, 2.0], [1.0]], [[], [(0, 1)], []], edge_features=[[], [[1, 2, 3]], []])
    assert graphs.n_edge_features == 3 and graphs.edge_features is not None and graphs.edge_features.shape == (1, 3)
    assert Graphs.concatenate([graphs[0], graphs[1]]).n_edge_features == 3
    assert Graphs([[1.0]] * 2, [[], []], edge_features=[[], np.zeros((0, 3))]).n_edge_features == 3
    single = Graphs([[1.0]] * 2, [[(0, 0)], []], edge_features=[np.ones((1, 2), np.float32), []]).edge_features
    assert single is not None and single.dtype == np.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Graphs([[1.0]], []), "edges must hold 1 arrays, one for each of nodes, got 0"),
        (lambda: Graphs([[1.0], [2.0]], [[], [(0, 1)]]), r"edges\[1\]\[0\] leads from 0 to 1: nodes are numbered from"),
        (lambda: Graphs([[1.0, 2.0]], [[(0, 1)]], [[-1]]), r"edge_types\[0\]\[0\] must be at least 0, got -1"),
        (lambda: Graphs([[1.0, 2.0]], [[(0, 1)]], [[]]), r"edge_types\[0\] must hold a number for each of the 1 edges"),
        (
            lambda: Graphs([[1.0]], [[]], edge_features=[]),
            "edge_features must hold 1 arrays, one for each of node",
        ),
        (
            lambda: Graphs([[1.0]], [[(0, 0)]], edge_features=[[np.nan]]),
            r"edge_features\[0\]\[0, 0\] is nan: it must",
        ),
        (
            lambda: Graphs([[1.0]], [[(0, 0)]], edge_features=[[1, 2]]),
            r"edge_features\[0\] must have a row .* the 1",
        ),
        (
            lambda: Graphs([[1.0]] * 2, [[(0, 0)]] * 2, edge_features=[[[1, 2]], [3]]),
            r"edge_features\[1\] must have 2 columns, got 1",
        ),
        (lambda: Graphs([[1.0], []], [[], []]), r"nodes\[1\] has length 0"),
        (lambda: Graphs.from_heads([[1, 2], [1, 2, 3]], [[2, 0], [2, 3, 2]]), r"heads\[1\] must have no cycle, but no"),
        (lambda: Graphs.from_heads([[1, 2]], [[0, 3]]), r"edges\[0\]\[0\] leads from 1 to 2"),
        (lambda: Graphs([[1.0, 2.0]], [[]]).check_rooted(), r"edges\[0\] must have one root.*got \[0, 1\]"),
    ],
)
def test_bad_graphs(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
