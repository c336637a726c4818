"""TreeLSTM against the equations written as a recursion in float64, finite differences and the LSTM."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lstmcore
from lstmcore._isa import core
from lstmcore.tree import TreeLSTM

CASES = [
    {"kind": "child_sum"},
    {"kind": "child_sum", "bias": False},
    {"kind": "n_ary", "arity": 1},
    {"kind": "n_ary", "arity": 3},
]


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def reference(layer: TreeLSTM, x: np.ndarray, edges: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """h of every node, node after node from the leaves to the roots."""
    H, n_ary = layer.hidden_size, layer.kind == "n_ary"
    N = layer.arity if n_ary else 1
    p = {name: value.astype(np.float64) for name, value in layer.parameters.items()}
    W, bias = p["weight_ih"].reshape(4, H, -1), p.get("bias", np.zeros(4 * H)).reshape(4, H)
    U = p["weight_hh"].reshape(3 + N, H, N * H)
    Ui, Uf, Ug, Uo = U[0], U[1 : 1 + N], U[1 + N], U[2 + N]
    states: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def state(node: int) -> tuple[np.ndarray, np.ndarray]:
        if node not in states:
            children = [(int(k), *state(int(s))) for (s, t), k in zip(edges, positions, strict=True) if t == node]
            a = np.zeros(N * H)
            for k, h, _ in children:
                a[k * H * n_ary : (k * n_ary + 1) * H] += h
            zi, zf, zg, zo = W @ x[node] + bias
            i, g, o = sigmoid(zi + Ui @ a), np.tanh(zg + Ug @ a), sigmoid(zo + Uo @ a)
            c = i * g
            for k, h, c_k in children:
                c = c + sigmoid(zf + (Uf[k] @ a if n_ary else Uf[0] @ h)) * c_k
            states[node] = o * np.tanh(c), c
        return states[node]

    return np.array([state(node)[0] for node in range(len(x))])


def forest(n: int, arity: int, seed: int = 0, dag: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Random edges (child, parent) and positions over n nodes in random order; with dag, of several parents."""
    rng = np.random.default_rng(seed)
    name, edges, positions, taken = rng.permutation(n), [], [], dict[int, list[int]]()
    for child in range(n - 1):
        for _ in range(1 + 2 * dag):
            parent = int(rng.integers(child + 1, min(n, child + 9)))
            free = [k for k in range(arity) if k not in taken.setdefault(parent, [])]
            if rng.random() < 0.9 and (free or dag):
                edges.append((name[child], name[parent]))
                positions.append(int(rng.choice(free)) if free else 0)
                taken[parent].append(positions[-1])
    return np.array(edges), np.array(positions)


def given(layer: TreeLSTM, positions: np.ndarray) -> np.ndarray | None:
    return positions if layer.kind == "n_ary" else None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("input_size", "hidden_size", "n"), [(1, 1, 1), (3, 5, 2), (7, 16, 40), (4, 21, 90)])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_states(case: dict[str, Any], input_size: int, hidden_size: int, n: int, dtype: str) -> None:
    layer = TreeLSTM(input_size, hidden_size, **case, dtype=dtype, seed=1)
    x = np.random.default_rng(2).standard_normal((n, input_size)).astype(dtype)
    edges, positions = forest(n, case.get("arity", 4), dag=layer.kind == "child_sum")
    h = layer(x, edges, given(layer, positions))
    assert h.dtype == dtype
    np.testing.assert_allclose(h, reference(layer, x, edges, positions), atol=1e-5 if dtype == "float32" else 1e-14)
    assert layer.forward(x, edges, given(layer, positions)).tobytes() == h.tobytes()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_by_finite_differences(case: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    layer = TreeLSTM(3, 5, **case, dtype="float64", seed=1)
    x, dh = rng.standard_normal((14, 3)), rng.standard_normal((14, 5))
    edges, positions = forest(14, case.get("arity", 4), dag=layer.kind == "child_sum")
    layer.forward(x, edges, given(layer, positions))
    layer.flat_gradients[...] = 1.0  # backward adds
    dx = layer.backward(dh)
    assert dx is not None

    def slope(vector: np.ndarray, i: int) -> float:
        values, start = [], vector.flat[i]
        for side in (1e-6, -1e-6):
            vector.flat[i] = start + side
            layer.parameters_changed()
            values.append(float((layer(x, edges, given(layer, positions)) * dh).sum()))
        vector.flat[i] = start
        return (values[0] - values[1]) / 2e-6

    expected = [slope(layer.flat_parameters, i) for i in range(layer.n_parameters)]
    np.testing.assert_allclose(layer.flat_gradients - 1, expected, atol=1e-7)
    layer.parameters_changed()
    np.testing.assert_allclose(dx.ravel(), [slope(x, i) for i in range(x.size)], atol=1e-7)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        layer.backward(dh)


@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=str)
def test_a_chain_has_the_bits_of_an_lstm(case: dict[str, Any]) -> None:
    layer, lstm = TreeLSTM(6, 20, **case, seed=0), lstmcore.LSTM(6, 20, seed=1)
    p = lstm.parameters
    bias = p["bias_ih_l0"] + p["bias_hh_l0"]
    layer.load_parameters({"weight_ih": p["weight_ih_l0"], "weight_hh": p["weight_hh_l0"], "bias": bias})
    x = np.random.default_rng(2).standard_normal((9, 1, 6)).astype(np.float32)
    y, _ = lstm(x)
    assert layer(x[:, 0], [(t, t + 1) for t in range(8)]).tobytes() == y.tobytes()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bits_do_not_depend_on_threads_or_batch(case: dict[str, Any]) -> None:
    layer = TreeLSTM(8, 48, **case, seed=0)
    rng = np.random.default_rng(4)
    n = 600
    x, dh = rng.standard_normal((n, 8)).astype(np.float32), rng.standard_normal((n, 48)).astype(np.float32)
    parts = [forest(100, case.get("arity", 4), seed) for seed in range(n // 100)]
    edges = np.concatenate([100 * i + part for i, (part, _) in enumerate(parts)])
    positions = np.concatenate([part for _, part in parts])
    results, threads = [], core.get_num_threads()
    try:
        for count in (1, 2, 3, 4):
            core.set_num_threads(count)
            layer.zero_gradients()
            h = layer.forward(x, edges, given(layer, positions))
            dx = layer.backward(dh)
            assert dx is not None
            results.append((h.tobytes(), dx.tobytes(), layer.flat_gradients.tobytes()))
    finally:
        core.set_num_threads(threads)
    assert len(set(results)) == 1
    for i, (part, where) in enumerate(parts):
        rows = slice(100 * i, 100 * (i + 1))
        assert layer(x[rows], part, given(layer, where)).tobytes() == h[rows].tobytes()


def test_positions_default_to_the_order_of_the_edges() -> None:
    layer = TreeLSTM(2, 4, kind="n_ary", arity=3, seed=0)
    x = np.random.default_rng(0).standard_normal((5, 2))
    edges = [(3, 0), (1, 2), (2, 0), (4, 0)]
    assert layer(x, edges).tobytes() == layer(x, edges, [0, 0, 1, 2]).tobytes()
    assert layer(x, edges).tobytes() != layer(x, edges, [1, 0, 0, 2]).tobytes()


def test_a_call_does_not_disturb_a_pending_backward() -> None:
    results = []
    for between in (False, True):
        layer = TreeLSTM(2, 4, seed=0)
        layer.forward(np.ones((3, 2)), [(0, 1), (1, 2)])
        if between:
            layer(np.zeros((7, 2)), [(6, 1)])
        layer.backward(np.ones((3, 4)))
        results.append(layer.flat_gradients.tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies(clone: Callable[[TreeLSTM], TreeLSTM]) -> None:
    layer = TreeLSTM(2, 4, kind="n_ary", arity=3, forget_bias=1.0, seed=0)
    assert (layer.parameters["bias"][4:8] == 1).all()
    twin = clone(layer)
    assert twin(np.ones((2, 2)), [(0, 1)]).tobytes() == layer(np.ones((2, 2)), [(0, 1)]).tobytes()
    assert twin.flat_parameters is not layer.flat_parameters
    assert repr(twin) == "TreeLSTM(2, 4, kind='n_ary', arity=3, forget_bias=1.0)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": 0}, "input_size must be at least 1, got 0"),
        ({"kind": "n-ary"}, "kind must be one of 'child_sum', 'n_ary', got 'n-ary' (did you mean 'n_ary'?)"),
        ({"arity": 0}, "arity must be at least 1, got 0"),
        ({"bias": False, "forget_bias": 1.0}, "forget_bias must be None with bias=False, got 1.0"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        TreeLSTM(**{"input_size": 2, "hidden_size": 3, **options})
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((3, 4)), []), ValueError, "x must have 2 columns, got 4"),
        ((np.full((3, 2), np.nan), []), ValueError, r"x\[0, 0\] is nan"),
        ((np.ones((3, 2)), [(0, 1, 2)]), ValueError, r"edges must have shape \[n_edges, 2\]"),
        ((np.ones((3, 2)), [(0, 1.5)]), TypeError, "edges must hold integers, got dtype float64"),
        ((np.ones((3, 2)), [(0, 1), (2, 3)]), ValueError, r"edges\[1\] leads from 2 to 3: nodes are numbered from 0"),
        ((np.ones((4, 2)), [(0, 1), (1, 2), (2, 1), (2, 3)]), ValueError, "no cycle, but node [12] is its own desc"),
        ((np.ones((3, 2)), [(0, 0)]), ValueError, "no cycle, but node 0 is its own descendant"),
        ((np.ones((3, 2)), [(0, 2), (1, 2)], [0, 2]), ValueError, r"positions\[1\] must be from 0 to 1, got 2"),
        ((np.ones((3, 2)), [(0, 2), (1, 2)], [1, 1]), ValueError, "edge 1 has position 1, where row 2 has a child"),
        ((np.ones((3, 2)), [(0, 2), (1, 2)], [1]), ValueError, "positions must hold a number for each of the 2 edges"),
        ((np.ones((4, 2)), [(0, 3), (1, 3), (2, 3)]), ValueError, "edge 2 has position 2 of 2"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TreeLSTM(2, 3, kind="n_ary")(*arguments)


def test_child_sum_has_no_positions() -> None:
    with pytest.raises(ValueError, match="positions must be None with kind='child_sum'"):
        TreeLSTM(2, 3)(np.ones((2, 2)), [(0, 1)], [0])
