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


def reference(layer: GatedGraph, x: np.ndarray, edges: np.ndarray, types: np.ndarray) -> np.ndarray:
    p = {name: value.astype(np.float64) for name, value in layer.parameters.items()}
    H = layer.hidden_size
    A, b = p["message.weight"].reshape(-1, H, H), p["message.bias"].reshape(-1, H)
    W, U = (p[f"update.weight_{part}_l0"].reshape(3, H, H) for part in ("ih", "hh"))
    bx, bh = (p[f"update.bias_{part}_l0"].reshape(3, H) for part in ("ih", "hh"))
    h = x @ p["input.weight"].T + p["input.bias"]
    for _ in range(layer.rounds):
        m = np.zeros_like(h)
        for (source, target), t in zip(edges, types, strict=True):
            m[target] += A[t] @ h[source] + b[t]
        r, z = (sigmoid(m @ W[k].T + bx[k] + h @ U[k].T + bh[k]) for k in (0, 1))
        n = np.tanh(m @ W[2].T + bx[2] + r * (h @ U[2].T + bh[2]))
        h = (1 - z) * n + z * h
    return h


def example(n: int, n_types: int, width: int, dtype: str, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, width)).astype(dtype)
    return x, rng.integers(0, n, (2 * n, 2)), rng.integers(0, n_types, 2 * n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "rounds", "n_types"), [(1, 1, 1), (6, 3, 2), (40, 4, 3)])
def test_states(n: int, rounds: int, n_types: int, dtype: str) -> None:
    layer = GatedGraph(3, 7, rounds=rounds, n_edge_types=n_types, dtype=dtype, seed=1)
    x, edges, types = example(n, n_types, 3, dtype)
    h = layer(x, edges, types)
    assert h.dtype == dtype
    np.testing.assert_allclose(h, reference(layer, x, edges, types), atol=1e-5 if dtype == "float32" else 1e-13)
    assert layer.forward(x, edges, types).tobytes() == h.tobytes()


def test_gradients_by_finite_differences() -> None:
    layer = GatedGraph(2, 4, rounds=3, n_edge_types=2, dtype="float64", seed=1)
    x, edges, types = example(7, 2, 2, "float64")
    dh = np.random.default_rng(5).standard_normal((7, 4))
    layer.forward(x, edges, types)
    layer.flat_gradients[...] = 1.0  # backward adds
    dx = layer.backward(dh)
    assert dx is not None

    def slope(vector: np.ndarray, i: int) -> float:
        values, start = [], vector.flat[i]
        for side in (1e-6, -1e-6):
            vector.flat[i] = start + side
            layer.parameters_changed()
            values.append(float((layer(x, edges, types) * dh).sum()))
        vector.flat[i] = start
        return (values[0] - values[1]) / 2e-6

    expected = [slope(layer.flat_parameters, i) for i in range(layer.n_parameters)]
    np.testing.assert_allclose(layer.flat_gradients - 1, expected, atol=1e-7)
    layer.parameters_changed()
    np.testing.assert_allclose(dx.ravel(), [slope(x, i) for i in range(x.size)], atol=1e-7)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        layer.backward(dh)


def test_bits_do_not_depend_on_threads_or_batch() -> None:
    layer = GatedGraph(5, 40, rounds=2, n_edge_types=2, seed=0)
    parts = [example(60, 2, 5, "float32", seed) for seed in range(8)]
    x, types = np.concatenate([part[0] for part in parts]), np.concatenate([part[2] for part in parts])
    edges = np.concatenate([60 * i + part[1] for i, part in enumerate(parts)])
    dh = np.random.default_rng(1).standard_normal((len(x), 40)).astype(np.float32)
    results, threads = [], core.get_num_threads()
    try:
        for count in (1, 2, 3, 4):
            core.set_num_threads(count)
            layer.zero_gradients()
            h = layer.forward(x, edges, types)
            dx = layer.backward(dh)
            assert dx is not None
            results.append((h.tobytes(), dx.tobytes(), layer.flat_gradients.tobytes()))
    finally:
        core.set_num_threads(threads)
    assert len(set(results)) == 1
    for i, part in enumerate(parts):
        assert layer(*part).tobytes() == h[60 * i : 60 * (i + 1)].tobytes()


def test_a_copy_computes_the_same() -> None:
    layer = GatedGraph(2, 4, n_edge_types=2, seed=0)
    x, edges, types = example(5, 2, 2, "float32")
    assert copy.deepcopy(layer)(x, edges, types).tobytes() == layer(x, edges, types).tobytes()


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


def random_graphs(n: int, seed: int = 0) -> tuple[Graphs, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, n)
    nodes = [rng.standard_normal((size, 2)) for size in sizes]
    edges = [rng.integers(0, size, (rng.integers(0, 12), 2)) for size in sizes]
    return Graphs(nodes, edges, [np.arange(len(part)) % 3 for part in edges]), edges


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


def test_graphs_are_indexed_and_concatenated() -> None:
    graphs, edges = random_graphs(6)
    assert isinstance(graphs[2], Graphs) and len(graphs[2]) == 1
    again = Graphs.concatenate([graphs[5], graphs.take(np.array([1, 0]))])
    for i, k in enumerate((5, 1, 0)):
        np.testing.assert_array_equal(again.nodes_of(i), graphs.nodes_of(k))
        np.testing.assert_array_equal(again.edges_of(i), edges[k])
    with pytest.raises(ValueError, match="alike in their features"):
        Graphs.concatenate([graphs, Graphs([np.ones((2, 2))], [[]])])


def test_undirected_edges_lead_both_ways() -> None:
    graphs = Graphs([np.ones((3, 1))], [[(0, 1), (1, 2)]], [[0, 1]], directed=False)
    assert graphs.edges_of(0).tolist() == [[0, 1], [1, 2], [1, 0], [2, 1]]
    assert graphs.edge_types is not None and graphs.edge_types.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Graphs([[1.0]], []), "edges must hold 1 arrays, one for each of nodes, got 0"),
        (lambda: Graphs([[1.0], [2.0]], [[], [(0, 1)]]), r"edges\[1\]\[0\] leads from 0 to 1: nodes are numbered from"),
        (lambda: Graphs([[1.0, 2.0]], [[(0, 1)]], [[-1]]), r"edge_types\[0\]\[0\] must be at least 0, got -1"),
        (lambda: Graphs([[1.0, 2.0]], [[(0, 1)]], [[]]), r"edge_types\[0\] must hold a number for each of the 1 edges"),
        (lambda: Graphs([[1.0], []], [[], []]), r"nodes\[1\] has length 0"),
        (lambda: Graphs.from_heads([[1, 2], [1, 2, 3]], [[2, 0], [2, 3, 2]]), r"heads\[1\] must have no cycle, but no"),
        (lambda: Graphs.from_heads([[1, 2]], [[0, 3]]), r"edges\[0\]\[0\] leads from 1 to 2"),
        (lambda: Graphs([[1.0, 2.0]], [[]]).check_rooted(), r"edges\[0\] must have one root.*got \[0, 1\]"),
    ],
)
def test_bad_graphs(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
