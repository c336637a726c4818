"""Dense layer, losses, optimizers and batches against plain float64 formulas and finite differences."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmcore._isa import core
from lstmcore.layers import from_cell
from lstmcore.losses import Absolute, CrossEntropy, Huber, Loss, Quantile, Squared
from lstmcore.network import Dense
from lstmcore.optimizers import SGD, Adam, AdamW, Optimizer
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
        Adam(layer)._core.step(layer.flat_parameters.astype(float), layer.flat_gradients, 0.1, 0.0)


# ---- losses ----


def pinball(error: np.ndarray, q: float) -> np.ndarray:
    return np.maximum(q * error, (q - 1) * error)


def reference_loss(loss: Loss, output: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Loss of each sample, in float64."""
    if isinstance(loss, CrossEntropy):
        shifted = output - output.max(axis=1, keepdims=True)
        return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(target)), target]
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
    [Squared(), Absolute(), Huber(), Huber(0.3), Quantile(), Quantile([0.3]), CrossEntropy()],
    ids=lambda x: x.name,
)
def test_losses(loss: Loss, dtype: str, weighted: bool, rng: np.random.Generator) -> None:
    targets = 4
    output = rng.standard_normal((23, loss.n_outputs(targets))).astype(dtype)
    target = rng.standard_normal((23, targets)).astype(dtype)
    if isinstance(loss, CrossEntropy):
        target = rng.integers(0, targets, 23)
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


# ---- optimizers ----


class Toy:
    """Two weights and a bias between them, for the optimizers."""

    def __init__(self, n: int, dtype: str, rng: np.random.Generator) -> None:
        self.n = n
        self.flat_parameters = rng.standard_normal(3 * n).astype(dtype)
        self.flat_gradients = np.zeros_like(self.flat_parameters)
        self.changed = 0

    def parameter_table(self) -> list:
        n = self.n
        return [("layer.weight_a", (n,), 0), ("layer.bias_a", (n,), n), ("weight", (n, 1), 2 * n)]

    def parameters_changed(self) -> None:
        self.changed += 1


def reference_step(optimizer: Optimizer, w: np.ndarray, g: np.ndarray, memory: dict, decays: np.ndarray) -> np.ndarray:
    """The formulas of torch.optim in float64; returns the new parameters."""
    rate, l2, l1 = optimizer.learning_rate, optimizer.weight_decay * decays, optimizer.l1 * decays
    decay = l2 * w + l1 * np.sign(w)
    if isinstance(optimizer, SGD):
        g = g + decay
        memory["v"] = optimizer.momentum * memory.get("v", 0) + g
        return w - rate * (g + optimizer.momentum * memory["v"] if optimizer.nesterov else memory["v"])
    assert isinstance(optimizer, Adam)
    if isinstance(optimizer, AdamW):
        w = w - rate * decay
    else:
        g = g + decay
    b1, b2 = optimizer.betas
    memory["t"] = memory.get("t", 0) + 1
    memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
    memory["s"] = b2 * memory.get("s", 0) + (1 - b2) * g**2
    m, s = memory["m"] / (1 - b1 ** memory["t"]), memory["s"] / (1 - b2 ** memory["t"])
    return w - rate * m / (np.sqrt(s) + optimizer.eps)


MAKERS = {
    "sgd": lambda toy: SGD(toy, 0.1, momentum=0.0),
    "momentum": lambda toy: SGD(toy, 0.1, weight_decay=0.1, l1=0.01),
    "nesterov": lambda toy: SGD(toy, 0.1, momentum=0.5, nesterov=True),
    "adam": lambda toy: Adam(toy, 0.1),
    "adam decay": lambda toy: Adam(toy, 0.1, betas=(0.8, 0.9), weight_decay=0.3, l1=0.05),
    "adamw": lambda toy: AdamW(toy, 0.1, weight_decay=0.3, l1=0.05),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clip_norm", [None, 1.0, 1e6])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_optimizers(make, clip_norm: float | None, dtype: str, rng: np.random.Generator) -> None:
    toy = Toy(37, dtype, rng)
    optimizer = make(toy)
    decays = np.repeat([1.0, 0.0, 1.0], 37)  # biases do not decay
    w, memory = toy.flat_parameters.astype(float), {}
    for step in range(6):
        toy.flat_gradients[:] = rng.standard_normal(3 * 37)
        g = toy.flat_gradients.astype(float)
        norm = np.sqrt((g**2).sum())
        factor = 1.0 if clip_norm is None else min(1.0, clip_norm / (norm + 1e-6))
        w = reference_step(optimizer, w, factor * g, memory, decays)
        assert optimizer.step(clip_norm) == pytest.approx(norm, rel=1e-12)
        assert not toy.flat_gradients.any()
        assert toy.changed == step + 1
    np.testing.assert_allclose(toy.flat_parameters, w, atol=20 * tolerance(dtype))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_pickled_optimizer_goes_on(make, rng: np.random.Generator) -> None:
    optimizer = make(Toy(5, "float32", rng))
    gradients = rng.standard_normal((4, 15)).astype(np.float32)
    for gradient in gradients[:2]:
        optimizer.target.flat_gradients[:] = gradient
        optimizer.step()
    copied = pickle.loads(pickle.dumps(optimizer))
    for each in (optimizer, copied):
        for gradient in gradients[2:]:
            each.target.flat_gradients[:] = gradient
            each.step()
    assert optimizer.target.flat_parameters.tobytes() == copied.target.flat_parameters.tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_gradient_changes_nothing(bad: float, rng: np.random.Generator) -> None:
    toy = Toy(5, "float32", rng)
    optimizer, before = Adam(toy), toy.flat_parameters.copy()
    toy.flat_gradients[3] = bad
    assert not np.isfinite(optimizer.step())
    assert toy.flat_parameters.tobytes() == before.tobytes()
    assert not any(values.any() for values in optimizer.state.values())


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_optimizers_do_not_depend_on_threads(make, rng: np.random.Generator) -> None:
    n = 100_003
    gradient = rng.standard_normal(3 * n).astype(np.float32)
    results = []
    threads = core.get_num_threads()
    try:
        for count in (1, 2, 3, 4):
            core.set_num_threads(count)
            toy = Toy(n, "float32", np.random.default_rng(1))
            optimizer = make(toy)
            norms = []
            for _ in range(2):
                toy.flat_gradients[:] = gradient
                norms.append(optimizer.step(1.0))
            results.append((norms, toy.flat_parameters.tobytes()))
    finally:
        core.set_num_threads(threads)
    assert all(result == results[0] for result in results)


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


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12), width=st.integers(1, 5))
def test_mean_pooling(lengths: list[int], width: int) -> None:
    rng = np.random.default_rng(len(lengths))
    ends = np.cumsum(lengths)
    values = rng.standard_normal((ends[-1], width))
    batch = Sequences(values, ends - lengths, lengths).batch(np.arange(len(lengths)))
    pooled = core.mean_pool(batch.x, batch.batch_sizes)
    means = np.array([values[ends[i] - lengths[i] : ends[i]].mean(axis=0) for i in batch.order])
    np.testing.assert_allclose(pooled, means, atol=1e-15)
    dpooled = rng.standard_normal(pooled.shape)
    dy = core.mean_pool_backward(dpooled, batch.batch_sizes)
    assert dy.shape == batch.x.shape
    # <dpooled, mean(x)> is linear in x, and dy is its gradient.
    assert np.sum(dpooled * pooled) == pytest.approx(np.sum(dy * batch.x), abs=1e-12)


@pytest.mark.parametrize("optimizer", [SGD, Adam, AdamW])
def test_optimizer_trains_a_bare_layer(optimizer: type[Optimizer], rng: np.random.Generator) -> None:
    layer = from_cell("gru", 2, 8, seed=0)
    x, wanted = rng.standard_normal((6, 4, 2)), 0.5 * np.tanh(rng.standard_normal((6, 4, 8)))
    step, losses = optimizer(layer, 0.02), []
    for _ in range(60):
        y, _ = layer.forward(x)
        losses.append(((y - wanted) ** 2).sum())
        layer.backward(y - wanted)
        step.step()
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda layer: Adam(layer, -1.0), "learning_rate must be at least 0, got -1.0"),
        (lambda layer: Adam(layer, float("nan")), "learning_rate must be finite, got nan"),
        (lambda layer: Adam(layer, betas=(0.9, 1.0)), r"betas must be in \[0, 1\), got \(0.9, 1.0\)"),
        (lambda layer: Adam(layer, eps=0.0), "eps must be positive, got 0.0"),
        (lambda layer: AdamW(layer, weight_decay=-0.1), "weight_decay must be at least 0, got -0.1"),
        (lambda layer: SGD(layer, l1=-0.5), "l1 must be at least 0, got -0.5"),
        (lambda layer: SGD(layer, momentum=1.5), r"momentum must lie in \[0, 1\), got 1.5"),
        (lambda layer: Huber(0.0), "delta must be positive, got 0.0"),
        (lambda layer: Quantile([0.9, 0.1]), r"quantiles must ascend and lie between 0 and 1, got \[0.9, 0.1\]"),
        (lambda layer: Quantile([]), r"quantiles must ascend and lie between 0 and 1, got \[\]"),
    ],
)
def test_bad_options(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(Dense(2, 2, seed=0))
