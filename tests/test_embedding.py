"""Embedding against plain indexing in NumPy."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from lstmcore._isa import core
from lstmcore.embedding import Embedding


def tokens(n: int, n_tokens: int, dtype: str, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, n_tokens, (n, 1)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n_tokens", "dim", "n"), [(1, 1, 3), (5, 7, 40), (50, 16, 8), (9, 33, 100)])
def test_vectors_and_their_gradients(n_tokens: int, dim: int, n: int, dtype: str, rng: np.random.Generator) -> None:
    layer = Embedding(n_tokens, dim, dtype=dtype, seed=0)
    x, dy = tokens(n, n_tokens, dtype, rng), rng.standard_normal((n, dim)).astype(dtype)
    who = x[:, 0].astype(int)
    expected = layer.parameters["weight"][who]
    assert layer(x).tobytes() == layer.forward(x).tobytes() == expected.tobytes()
    gradients = rng.standard_normal((n_tokens, dim)).astype(dtype)
    layer.gradients["weight"][...] = gradients
    assert layer.backward(dy) is None
    for token, row in zip(who, dy, strict=True):  # in this order: the same bits
        gradients[token] += row
    assert layer.gradients["weight"].tobytes() == gradients.tobytes()
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        layer.backward(dy)


def test_gradient_by_finite_differences(rng: np.random.Generator) -> None:
    layer = Embedding(4, 3, dtype="float64", seed=0)
    x, dy = np.array([[2.0], [0.0], [2.0]]), rng.standard_normal((3, 3))
    layer.forward(x)
    layer.backward(dy)
    for i in range(layer.n_parameters):
        sides = []
        for side in (1e-6, -1e-6):
            layer.flat_parameters[i] += side
            sides.append((layer(x) * dy).sum())
            layer.flat_parameters[i] -= side
        assert layer.flat_gradients[i] == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-8)


def test_gradient_bits_do_not_depend_on_threads(rng: np.random.Generator) -> None:
    x, dy = tokens(20_000, 30, "float32", rng), rng.standard_normal((20_000, 70)).astype(np.float32)
    results, threads = [], core.get_num_threads()
    try:
        for count in (1, 2, 3, 4):
            core.set_num_threads(count)
            layer = Embedding(30, 70, seed=0)
            y = layer.forward(x)
            layer.backward(dy)
            results.append([y.tobytes(), layer.flat_gradients.tobytes()])
    finally:
        core.set_num_threads(threads)
    assert all(result == results[0] for result in results)


def test_default_vectors_are_standard_normal_and_seeded() -> None:
    layer = Embedding(1000, 50, seed=3)
    assert layer.weight.mean() == pytest.approx(0, abs=0.02)
    assert layer.weight.std() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(layer.weight, Embedding(1000, 50, seed=3).weight)
    np.testing.assert_array_equal(layer.weight, Embedding(1000, 50, seed=3, trainable=False).weight)
    np.testing.assert_array_equal(layer.weight, Embedding(1000, 50, seed=3, dtype="float64").weight.astype(np.float32))


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_given_vectors_are_copied_and_travel(trainable: bool, clone: Callable[[Embedding], Embedding]) -> None:
    vectors = np.arange(6.0).reshape(3, 2)
    layer = Embedding(3, 2, vectors=vectors, trainable=trainable)
    vectors[...] = -1
    x = np.array([[2], [0]], np.float32)
    for each in (layer, clone(layer)):
        np.testing.assert_array_equal(each(x), [[4, 5], [0, 1]])
        assert not each.weight.flags.writeable


def test_constant_vectors_are_no_parameters() -> None:
    layer = Embedding(3, 2, vectors=np.ones((3, 2), np.float32), trainable=False)
    assert layer.n_parameters == 0
    assert layer.parameters == {}
    layer.bind(np.zeros(0, np.float32), np.zeros(0, np.float32))
    layer.forward(np.zeros((4, 1), np.float32))
    layer.backward(np.ones((4, 2), np.float32))
    assert (layer.weight == 1).all()


@pytest.mark.parametrize(
    ("token", "quoted"), [(5, "5"), (-1, "-1"), (1.5, "1.5"), (np.nan, "nan"), (np.inf, "inf"), (1e30, r"1\.0+.*e\+30")]
)
def test_unknown_tokens_are_named(token: float, quoted: str) -> None:
    x = np.array([[0], [4], [token]], np.float32)
    for call in (Embedding(5, 2, seed=0), Embedding(5, 2, seed=0).forward):
        with pytest.raises(ValueError, match=rf"x\[2\] is {quoted}: tokens are whole numbers from 0 to 4"):
            call(x)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(n_tokens=0), ValueError, "n_tokens must be at least 1, got 0"),
        (dict(n_tokens=2**24 + 1), ValueError, "n_tokens must be at most 16777216 in float32, got 16777217"),
        (dict(dim=2.0), TypeError, "dim must be an integer, got 2.0"),
        (dict(trainable=1), TypeError, "trainable must be True or False, got 1"),
        (dict(vectors=np.ones((2, 3))), ValueError, r"vectors must have shape \(3, 2\), .*got \(2, 3\)"),
        (dict(vectors=np.full((3, 2), np.nan)), ValueError, r"vectors\[0, 0\] is nan: it must be finite"),
    ],
)
def test_bad_options(options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Embedding(**{"n_tokens": 3, "dim": 2, **options})
