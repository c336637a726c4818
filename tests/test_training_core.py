"""Dense layer, losses and batches against plain float64 formulas and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmcore._isa import core
from lstmcore.losses import Absolute, BinaryCrossEntropy, CrossEntropy, Huber, Loss, Quantile, Squared
from lstmcore.network import Dense
from lstmcore.optimizers import Adam
from lstmcore.sequences import Sequences

DTYPES = ("float32", "float64")


def tolerance(dtype: str) -> float:
    return 1e-5 if dtype == "float32" else 1e-12


# ---- dense ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("n", "i", "o"), [(1, 1, 1), (6, 16, 16), (13, 33, 17), (32, 64, 1), (50, 40, 70), (7, 3, 130)]
)
def test_dense_and_its_gradients(n: int, i: int, o: int, bias: bool, dtype: str, rng: np.random.Generator) -> None:
    layer = Dense(i, o, bias, dtype=dtype, seed=0)
    x, dy = rng.standard_normal((n, i)).astype(dtype), rng.standard_normal((n, o)).astype(dtype)
    weight = layer.parameters["weight"].astype(float)
    shift = layer.parameters["bias"].astype(float) if bias else 0.0
    scale = tolerance(dtype) * max(n, i, o)
    np.testing.assert_allclose(layer.forward(x), x.astype(float) @ weight.T + shift, atol=scale)
    before = rng.standard_normal(layer.n_parameters).astype(dtype)
    layer.flat_gradients[:] = before
    np.testing.assert_allclose(layer.backward(dy), dy.astype(float) @ weight, atol=scale)
    added = layer.flat_gradients.astype(float) - before
    np.testing.assert_allclose(added[: o * i].reshape(o, i), dy.astype(float).T @ x, atol=scale)
    if bias:
        np.testing.assert_allclose(added[o * i :], dy.astype(float).sum(axis=0), atol=scale)


def test_dense_rows_do_not_depend_on_each_other(rng: np.random.Generator) -> None:
    layer = Dense(37, 21, seed=0)
    x = rng.standard_normal((19, 37)).astype(np.float32)
    whole = layer(x)
    assert whole.tobytes() == layer.forward(x).tobytes()
    for n in range(19):
        assert layer(x[n : n + 1]).tobytes() == whole[n].tobytes()


def test_dense_allows_one_backward_per_forward() -> None:
    layer = Dense(2, 3, seed=0)
    layer.forward(np.ones((4, 2), np.float32))
    layer.backward(np.ones((4, 3), np.float32))
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        layer.backward(np.ones((4, 3), np.float32))


def test_core_refuses_other_types() -> None:
    layer = Dense(2, 3, seed=0)
    with pytest.raises(TypeError):
        layer.forward(np.ones((4, 2)))
    with pytest.raises(TypeError):
        core.squared_loss(np.ones((4, 2), np.float32), np.ones((4, 2)))
    with pytest.raises(TypeError):
        Adam(layer)._core.step(layer.flat_parameters.astype(float), layer.flat_gradients, 0.1, 0.0, 0.0)


# ---- losses ----


def pinball(error: np.ndarray, q: float) -> np.ndarray:
    return np.maximum(q * error, (q - 1) * error)


def reference_loss(loss: Loss, output: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Loss of each sample, in float64."""
    if isinstance(loss, CrossEntropy):
        shifted = output - output.max(axis=1, keepdims=True)
        surprise = np.log(np.exp(shifted).sum(axis=1))[:, None] - shifted
        smoothing = loss.label_smoothing
        return (1 - smoothing) * surprise[np.arange(len(target)), target] + smoothing * surprise.mean(axis=1)
    if isinstance(loss, BinaryCrossEntropy):
        p = 1 / (1 + np.exp(-output))
        return -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean(axis=1)
    if isinstance(loss, Quantile):
        q = loss.quantiles
        error = target[:, :, None] - output.reshape(len(output), -1, len(q))
        return np.mean([pinball(error[:, :, k], q[k]) for k in range(len(q))], axis=(0, 2))
    error = output - target
    size = np.abs(error)
    if isinstance(loss, Huber):
        return np.where(size <= loss.delta, 0.5 * error**2, loss.delta * (size - 0.5 * loss.delta)).mean(axis=1)
    return (error**2 if isinstance(loss, Squared) else size).mean(axis=1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "loss",
    [
        *(Squared(), Absolute(), Huber(), Huber(0.3), Quantile(), Quantile([0.3])),
        *(CrossEntropy(), CrossEntropy(0.2), BinaryCrossEntropy()),
    ],
    ids=lambda x: x.name,
)
def test_losses(loss: Loss, dtype: str, weighted: bool, rng: np.random.Generator) -> None:
    targets = 4
    output = rng.standard_normal((23, loss.n_outputs(targets))).astype(dtype)
    target = rng.standard_normal((23, targets)).astype(dtype)
    if isinstance(loss, CrossEntropy):
        target = rng.integers(0, targets, 23)
    elif isinstance(loss, BinaryCrossEntropy):
        target = rng.choice([0.0, 0.25, 1.0], target.shape).astype(dtype)
    weights = rng.uniform(0, 2, 23).astype(dtype) if weighted else None
    share = np.ones(23) if weights is None else weights.astype(float)

    def mean(output: np.ndarray) -> float:
        return float(np.average(reference_loss(loss, output, target), weights=share))

    value, gradient = loss(output, target, weights)
    exact = output.astype(float)
    assert value == pytest.approx(mean(exact), rel=10 * tolerance(dtype))
    assert gradient.dtype == output.dtype
    step = 1e-6
    numeric = np.zeros_like(exact)
    for index in np.ndindex(*exact.shape):
        shift = np.zeros_like(exact)
        shift[index] = step
        numeric[index] = (mean(exact + shift) - mean(exact - shift)) / (2 * step)
    np.testing.assert_allclose(gradient, numeric, atol=1e-7)


def test_cross_entropy_of_extreme_logits_is_finite() -> None:
    logits = np.array([[1e4, -1e4, 0], [-1e30, 1e30, 0]], np.float32)
    value, gradient = core.cross_entropy(logits, np.array([0, 1]))
    assert value == 0
    assert np.isfinite(gradient).all()
    value, _ = core.cross_entropy(logits, np.array([1, 1]))
    assert value == pytest.approx(1e4)


def test_binary_cross_entropy_of_extreme_logits_is_finite() -> None:
    logits, target = np.array([[1e4, -1e4, 1e4, -1e30]], np.float32), np.array([[1, 0, 0, 0]], np.float32)
    value, gradient = BinaryCrossEntropy()(logits, target)
    assert value == pytest.approx(1e4 / 4)
    np.testing.assert_array_equal(gradient, [[0, 0, 0.25, 0]])


@pytest.mark.parametrize("n", [1, 15, 16, 17, 40])
def test_sigmoid(n: int, rng: np.random.Generator) -> None:
    logits = (10 * rng.standard_normal((3, n))).astype(np.float32)
    probabilities = core.sigmoid(logits)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits.astype(float))), rtol=1e-6)
    assert core.sigmoid(logits[1:2]).tobytes() == probabilities[1].tobytes()


@pytest.mark.parametrize("classes", [1, 2, 15, 16, 17, 100])
def test_softmax(classes: int, rng: np.random.Generator) -> None:
    logits = (10 * rng.standard_normal((9, classes))).astype(np.float32)
    exact = np.exp(logits.astype(float) - logits.max(axis=1, keepdims=True))
    probabilities = core.softmax(logits)
    np.testing.assert_allclose(probabilities, exact / exact.sum(axis=1, keepdims=True), rtol=3e-6)
    assert core.softmax(logits[4:5]).tobytes() == probabilities[4].tobytes()


def test_labels_out_of_range_are_refused() -> None:
    for label in (-1, 3):
        with pytest.raises(ValueError, match=f"label {label} is not a class number"):
            core.cross_entropy(np.zeros((2, 3), np.float32), np.array([0, label]))


# ---- batches ----


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12), features=st.integers(1, 4), seed=st.integers(0, 9))
def test_packing(lengths: list[int], features: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, 5, len(lengths))  # they overlap
    values = rng.standard_normal((15, features)).astype(np.float32)
    indices = rng.permutation(len(lengths))[: rng.integers(1, len(lengths) + 1)]
    batch = Sequences(values, starts, lengths).batch(indices)
    assert sorted(batch.order) == sorted(indices)
    assert list(batch.lengths) == sorted((lengths[i] for i in indices), reverse=True)
    assert list(batch.lengths) == [lengths[i] for i in batch.order]
    rows = []
    for t in range(max(batch.lengths)):
        running = [i for i in batch.order if lengths[i] > t]
        assert batch.batch_sizes[t] == len(running)
        rows += [values[starts[i] + t] for i in running]
    np.testing.assert_array_equal(batch.x, rows)
    # Back again, sequence after sequence.
    lengths_of = np.array(lengths)
    places = np.cumsum(lengths_of) - lengths_of
    back = np.full((lengths_of.sum(), features), np.nan, np.float32)
    core.unpack_sequences(batch.x, places, batch.order, batch.batch_sizes, back)
    for i, length in enumerate(lengths):
        expected = values[starts[i] : starts[i] + length] if i in indices else np.full((length, features), np.nan)
        np.testing.assert_array_equal(back[places[i] : places[i] + length], expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropy(1.0), r"label_smoothing must lie in \[0, 1\), got 1.0"),
        (lambda: Huber(0.0), "delta must be positive, got 0.0"),
        (lambda: Quantile([0.9, 0.1]), r"quantiles must ascend and lie between 0 and 1, got \[0.9, 0.1\]"),
        (lambda: Quantile([]), r"quantiles must ascend and lie between 0 and 1, got \[\]"),
    ],
)
def test_bad_losses(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
