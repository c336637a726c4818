"""Pooling over time against plain NumPy, finite differences and its own single steps."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmcore._isa import core
from lstmcore.pooling import POOLINGS, Pooling
from lstmcore.sequences import Batch, Sequences

LENGTHS = np.array([3, 9, 1, 4, 9, 2])


def make_batch(lengths: np.ndarray, width: int, dtype: str, rng: np.random.Generator) -> tuple[Batch, list[np.ndarray]]:
    """Packed rows, and the same as one array for each sequence in packed order."""
    ends = np.cumsum(lengths)
    values = rng.standard_normal((ends[-1], width)).astype(dtype)
    batch = Sequences(values, ends - lengths, lengths).batch(np.arange(len(lengths)))
    return batch, [values[ends[i] - lengths[i] : ends[i]] for i in batch.order]


def make_pooling(kind: str, width: int, dtype: str, rng: np.random.Generator) -> Pooling:
    pooling = Pooling(kind, width, dtype=dtype)
    pooling.flat_parameters[...] = rng.standard_normal(pooling.n_parameters)
    pooling.parameters_changed()
    return pooling


def softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()


def reference(pooling: Pooling, rows: np.ndarray) -> np.ndarray:
    """Features of one sequence [T, width], in float64."""
    rows = rows.astype(float)
    if pooling.kind == "attention":
        return softmax(rows @ pooling.parameters["weight"].astype(float)) @ rows
    return rows.mean(axis=0) if pooling.kind == "mean" else rows.max(axis=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 7, 16, 37])
@pytest.mark.parametrize("kind", POOLINGS)
def test_features(kind: str, width: int, dtype: str, rng: np.random.Generator) -> None:
    batch, sequences = make_batch(LENGTHS, width, dtype, rng)
    pooling = make_pooling(kind, width, dtype, rng)
    features = pooling(batch.x, batch.batch_sizes)
    assert features.dtype == dtype
    expected = [reference(pooling, rows) for rows in sequences]
    np.testing.assert_allclose(features, expected, atol=1e-5 if dtype == "float32" else 1e-14)
    assert pooling.forward(batch.x, batch.batch_sizes).tobytes() == features.tobytes()


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9), width=st.integers(1, 40), seed=st.integers(0, 9))
def test_batches_give_the_bits_of_single_sequences(lengths: list[int], width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch, sequences = make_batch(np.array(lengths), width, "float32", rng)
    for kind in POOLINGS:
        pooling = make_pooling(kind, width, "float32", rng)
        whole = pooling(batch.x, batch.batch_sizes)
        for rows, features in zip(sequences, whole, strict=True):
            alone = pooling(np.ascontiguousarray(rows), np.ones(len(rows), np.int64))
            assert alone[0].tobytes() == features.tobytes()


@pytest.mark.parametrize("kind", POOLINGS)
def test_gradients(kind: str, rng: np.random.Generator) -> None:
    batch, _ = make_batch(LENGTHS, 5, "float64", rng)
    pooling = make_pooling(kind, 5, "float64", rng)
    dfeatures = rng.standard_normal((len(LENGTHS), 5))

    def numeric(values: np.ndarray, evaluate: Callable[[], np.ndarray]) -> np.ndarray:
        slopes = np.zeros_like(values)
        for index in np.ndindex(*values.shape):
            sides = []
            for side in (1e-6, -1e-6):
                values[index] += side
                sides.append((evaluate() * dfeatures).sum())
                values[index] -= side
            slopes[index] = (sides[0] - sides[1]) / 2e-6
        return slopes

    def evaluate() -> np.ndarray:
        return pooling(batch.x, batch.batch_sizes)

    before = rng.standard_normal(pooling.n_parameters)
    pooling.flat_gradients[...] = before
    pooling.forward(batch.x, batch.batch_sizes)
    dy = pooling.backward(dfeatures)
    np.testing.assert_allclose(dy, numeric(batch.x, evaluate), atol=1e-8)
    np.testing.assert_allclose(pooling.flat_gradients - before, numeric(pooling.flat_parameters, evaluate), atol=1e-8)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        pooling.backward(dfeatures)


def test_the_gradient_of_a_maximum_goes_to_its_first_step() -> None:
    pooling = Pooling("max", 2, dtype="float64")
    y = np.array([[1.0, 5.0], [2.0, 4.0], [2.0, 5.0]])
    sizes = np.array([1, 1, 1])
    np.testing.assert_array_equal(pooling.forward(y, sizes), [[2, 5]])
    np.testing.assert_array_equal(pooling.backward(np.array([[3.0, 7.0]])), [[0, 7], [3, 0], [0, 0]])


def test_attention_weights(rng: np.random.Generator) -> None:
    batch, sequences = make_batch(LENGTHS, 6, "float64", rng)
    pooling = make_pooling("attention", 6, "float64", rng)
    weights = pooling.attention(batch.x, batch.batch_sizes)
    offsets = np.cumsum(batch.batch_sizes) - batch.batch_sizes
    for b, rows in enumerate(sequences):
        expected = softmax(rows @ pooling.parameters["weight"])
        np.testing.assert_allclose(weights[offsets[: len(rows)] + b], expected, atol=1e-14)


def test_attention_starts_as_the_mean_and_survives_large_scores(rng: np.random.Generator) -> None:
    batch, sequences = make_batch(LENGTHS, 4, "float32", rng)
    pooling = Pooling("attention", 4)
    mean = Pooling("mean", 4)(batch.x, batch.batch_sizes)
    np.testing.assert_allclose(pooling(batch.x, batch.batch_sizes), mean, atol=1e-6)
    pooling.load_parameters({"weight": [1e4, 0, 0, 0]})
    features = pooling(batch.x, batch.batch_sizes)
    np.testing.assert_allclose(features, [rows[rows[:, 0].argmax()] for rows in sequences], atol=1e-6)


@pytest.mark.parametrize("kind", POOLINGS)
def test_nan_does_not_pass_in_silence(kind: str, rng: np.random.Generator) -> None:
    pooling = make_pooling(kind, 3, "float32", rng)
    for t in range(3):
        y = rng.standard_normal((3, 3)).astype(np.float32)
        y[t, 1] = np.nan
        assert np.isnan(pooling(y, np.array([1, 1, 1]))[0, 1])


@pytest.mark.parametrize("kind", POOLINGS)
def test_bits_do_not_depend_on_threads_or_on_other_rows(kind: str, rng: np.random.Generator) -> None:
    batch, sequences = make_batch(rng.integers(50, 200, 61), 40, "float32", rng)
    results, threads = [], core.get_num_threads()
    try:
        for count in (1, 2, 3, 4):
            core.set_num_threads(count)
            pooling = make_pooling(kind, 40, "float32", np.random.default_rng(1))
            features = pooling.forward(batch.x, batch.batch_sizes)
            dy = pooling.backward(features)
            results.append([features.tobytes(), dy.tobytes(), pooling.flat_gradients.tobytes()])
    finally:
        core.set_num_threads(threads)
    assert all(result == results[0] for result in results)
    alone = pooling(sequences[7], np.ones(len(sequences[7]), np.int64))
    assert alone.tobytes() == features[7].tobytes()


def test_mean_has_the_bits_of_a_running_sum(rng: np.random.Generator) -> None:
    batch, sequences = make_batch(LENGTHS, 9, "float32", rng)
    expected = [np.add.accumulate(rows)[-1] / np.float32(len(rows)) for rows in sequences]
    np.testing.assert_array_equal(Pooling("mean", 9)(batch.x, batch.batch_sizes), expected)


@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies(kind: str, clone: Callable[[Pooling], Pooling], rng: np.random.Generator) -> None:
    batch, _ = make_batch(LENGTHS, 3, "float32", rng)
    pooling = make_pooling(kind, 3, "float32", rng)
    copied = clone(pooling)
    assert copied(batch.x, batch.batch_sizes).tobytes() == pooling(batch.x, batch.batch_sizes).tobytes()
    pooling.flat_parameters[...] = 0
    assert copied.flat_parameters.all()


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"kind must be one of .*got 'maxx' \(did you mean 'max'\?\)"):
        Pooling("maxx", 3)
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        Pooling("max", 0)
    pooling, y = Pooling("mean", 3), np.zeros((4, 3), np.float32)
    for sizes in ([4, 0], [1, 3], [2, 1], [3, 2], []):
        with pytest.raises(ValueError, match="batch_sizes must"):
            pooling(y, np.array(sizes, np.int64))
    with pytest.raises(ValueError, match=r"y must be \[N, 3\]"):
        pooling(np.zeros((4, 2), np.float32), np.array([4]))
    with pytest.raises(TypeError):
        pooling(y.astype(float), np.array([4]))
    with pytest.raises(ValueError, match="only kind='attention' has attention weights, this is 'mean'"):
        pooling.attention(y, np.array([4]))
