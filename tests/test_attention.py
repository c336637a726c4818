"""Attention against plain NumPy, sequence by sequence, and finite differences."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from lstmcore._isa import core
from lstmcore.attention import SCORES, Attention
from lstmcore.pairs import Pairs
from lstmcore.sequences import Batch, Sequences


def make_batch(lengths: Any, source_lengths: Any, width: int, source_width: int, rng: np.random.Generator) -> Batch:
    """Pairs of random rows in float64."""

    def random(n: Any, columns: int) -> Sequences:
        ends = np.cumsum(n)
        return Sequences(rng.standard_normal((ends[-1], columns)), ends - n, n)

    made, source = random(lengths, width), random(source_lengths, source_width)
    pairs = Pairs(made.values, made.starts, made.lengths, source=source)
    return pairs.batch(np.arange(len(lengths)))


def rows_of(batch: Batch, b: int) -> np.ndarray:
    """Which packed rows are those of sequence b."""
    return (np.cumsum(batch.batch_sizes) - batch.batch_sizes)[: batch.lengths[b]] + b


def plain(layer: Attention, batch: Batch) -> tuple[np.ndarray, list[np.ndarray]]:
    """h~ [N, width] and the weights of each sequence, in float64."""
    p = {name: values.astype(np.float64) for name, values in layer.parameters.items()}
    source, attended, weights = batch.source, np.empty((len(batch.x), layer.query_size)), []
    assert source is not None
    for b, s in enumerate(source.position):
        rows = rows_of(batch, b)
        h, m = batch.x[rows], source.batch.x[rows_of(source.batch, int(s))]
        keys = m @ p["key.weight"].T
        if layer.score == "dot":
            scores = h @ keys.T / np.sqrt(layer.size)
        else:
            query = h @ p["query.weight"].T + p["query.bias"]
            scores = np.tanh(query[:, None] + keys) @ p["score.weight"]
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights.append(e / e.sum(axis=1, keepdims=True))
        joined = np.concatenate((weights[-1] @ m, h), axis=1)
        attended[rows] = np.tanh(joined @ p["combine.weight"].T + p["combine.bias"])
    return attended, weights


def arguments(batch: Batch, dtype: Any = np.float64) -> tuple[np.ndarray, ...]:
    source = batch.source
    assert source is not None
    return (
        batch.x.astype(dtype),
        batch.batch_sizes,
        source.batch.x.astype(dtype),
        source.batch.batch_sizes,
        source.position,
    )


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(("width", "source_width"), [(1, 3), (16, 5), (37, 20)])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-14)])
def test_it_is_what_the_papers_say(
    score: str, width: int, source_width: int, dtype: str, tolerance: float, rng: np.random.Generator
) -> None:
    batch = make_batch(rng.integers(1, 9, 12), rng.integers(1, 40, 12), width, source_width, rng)
    layer = Attention(width, source_width, score=score, dtype=dtype, seed=0)
    attended, weights = layer(*arguments(batch, dtype))
    expected, expected_weights = plain(layer, batch)
    np.testing.assert_allclose(attended, expected, atol=tolerance)
    np.testing.assert_allclose(weights, np.concatenate([w.ravel() for w in expected_weights]), atol=tolerance)
    assert layer.forward(*arguments(batch, dtype)).tobytes() == attended.tobytes()


@pytest.mark.parametrize("score", SCORES)
def test_gradients_by_finite_differences(score: str, rng: np.random.Generator) -> None:
    batch = make_batch([2, 4, 1], [3, 1, 5], 3, 2, rng)
    layer = Attention(3, 2, score=score, dtype="float64", seed=0)
    given = arguments(batch)
    dy = rng.standard_normal((len(batch.x), 3))
    layer.forward(*given)
    dh, dmemory = layer.backward(dy.copy())

    def check(values: np.ndarray, gradient: np.ndarray) -> None:
        for i in np.ndindex(values.shape):
            sides, middle = [], values[i]
            for side in (1e-6, -1e-6):
                values[i] = middle + side
                layer.parameters_changed()
                sides.append((layer(*given)[0] * dy).sum())
            values[i] = middle
            assert gradient[i] == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-8)

    check(given[0], dh)
    check(given[2], dmemory)
    check(layer.flat_parameters, layer.flat_gradients)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        layer.backward(dy)


@pytest.mark.parametrize("score", SCORES)
def test_same_bits_for_any_threads_and_batches(score: str, rng: np.random.Generator) -> None:
    batch = make_batch(rng.integers(1, 30, 40), rng.integers(1, 30, 40), 40, 24, rng)
    dy = rng.standard_normal((len(batch.x), 40)).astype(np.float32)
    results, threads = [], core.get_num_threads()
    try:
        for count in (1, 2, 4):
            core.set_num_threads(count)
            layer = Attention(40, 24, score=score, seed=0)
            y = layer.forward(*arguments(batch, np.float32))
            results.append(
                [y.tobytes(), *(d.tobytes() for d in layer.backward(dy.copy())), layer.flat_gradients.tobytes()]
            )
    finally:
        core.set_num_threads(threads)
    assert results[0] == results[1] == results[2]
    h, _, memory, sizes, position = arguments(batch, np.float32)
    rows = rows_of(batch, 7)
    alone, _ = layer(h[rows], np.ones(len(rows), np.int64), memory, sizes, position[7:8])
    assert alone.tobytes() == y[rows].tobytes()


def test_several_may_look_at_one_sequence(rng: np.random.Generator) -> None:
    layer = Attention(4, 3, seed=0)
    memory, h = rng.standard_normal((5, 3)).astype(np.float32), rng.standard_normal((1, 4)).astype(np.float32)
    sizes = np.array([2, 2, 1])  # sequences of three and of two rows
    twice, weights = layer(np.repeat(h, 3, axis=0), np.array([3]), memory, sizes, np.array([1, 0, 1]))
    assert len(weights) == 2 + 3 + 2
    assert twice[0].tobytes() == twice[2].tobytes() != twice[1].tobytes()
    with pytest.raises(ValueError, match="source must not hold a sequence twice"):
        layer.forward(np.repeat(h, 2, axis=0), np.array([2]), memory, sizes, np.array([1, 1]))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("score", SCORES)
def test_copies(score: str, clone: Any, rng: np.random.Generator) -> None:
    layer = Attention(4, 3, score=score, seed=0)
    batch = make_batch([3, 2], [2, 4], 4, 3, rng)
    twin = clone(layer)
    assert twin(*arguments(batch, np.float32))[0].tobytes() == layer(*arguments(batch, np.float32))[0].tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(score="cosine"), "score must be one of 'additive', 'dot', got 'cosine'"),
        (dict(query_size=0), "query_size must be at least 1, got 0"),
        (dict(score="dot", size=3), "size must be None with score='dot', got 3"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Attention(**{"query_size": 4, "memory_size": 3, **options})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: np.zeros((3, 5), np.float32)}, r"x must be \[N, 4\]|queries must be \[N, 4\]"),
        ({1: np.array([1, 1])}, "batch_sizes must add up"),
        ({2: np.zeros((2, 9), np.float32)}, r"x must be \[N, 3\]"),
        ({4: np.array([0, 2])}, "source must hold sequences of the memory"),
        ({4: np.array([0])}, "source must have an entry for each sequence"),
    ],
)
def test_bad_arrays(change: dict[int, np.ndarray], message: str) -> None:
    layer = Attention(4, 3, seed=0)
    given: list[Any] = [np.zeros((3, 4), np.float32), np.array([2, 1]), np.zeros((2, 3), np.float32), np.array([2])]
    given.append(np.array([0, 1]))
    with pytest.raises(ValueError, match=message):
        layer(*[change.get(i, value) for i, value in enumerate(given)])
