"""Optimizers against the formulas of torch.optim in float64: steps, clipping, memory."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from lstmcore._isa import core
from lstmcore.layers import from_cell
from lstmcore.network import Dense
from lstmcore.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Optimizer, RMSprop

DTYPES = {"float32": 1e-5, "float64": 1e-12}


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
    if isinstance(optimizer, RMSprop):
        g, alpha = g + decay, optimizer.alpha
        memory["s"] = alpha * memory.get("s", 0) + (1 - alpha) * g**2
        memory["m"] = alpha * memory.get("m", 0) + (1 - alpha) * g
        variance = memory["s"] - memory["m"] ** 2 if optimizer.centered else memory["s"]
        memory["v"] = optimizer.momentum * memory.get("v", 0) + g / (np.sqrt(variance) + optimizer.eps)
        return w - rate * memory["v"]
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
    "rmsprop": lambda toy: RMSprop(toy, 0.01),
    "rmsprop all": lambda toy: RMSprop(toy, 0.01, 0.8, 1e-6, momentum=0.5, centered=True, weight_decay=0.3, l1=0.05),
}


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES.items())
@pytest.mark.parametrize("clip_norm", [None, 1.0, 1e6])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_optimizers(make, clip_norm: float | None, dtype: str, tolerance: float, rng) -> None:
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
    np.testing.assert_allclose(toy.flat_parameters, w, atol=20 * tolerance)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_components_are_clipped_before_the_norm(make, clip_norm: float | None, rng: np.random.Generator) -> None:
    gradient = 3 * rng.standard_normal(3 * 37)
    toys = [Toy(37, "float64", np.random.default_rng(1)) for _ in range(2)]
    optimizers = [make(toy) for toy in toys]
    toys[0].flat_gradients[:] = gradient
    toys[1].flat_gradients[:] = np.clip(gradient, -0.5, 0.5)
    assert optimizers[0].step(clip_norm, clip_value=0.5) == pytest.approx(np.linalg.norm(gradient))
    optimizers[1].step(clip_norm)
    assert toys[0].flat_parameters.tobytes() == toys[1].flat_parameters.tobytes()


def run_on(optimizer: Optimizer, gradients: np.ndarray) -> None:
    for gradient in gradients:
        optimizer.target.flat_gradients[:] = gradient
        optimizer.step()


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_copied_optimizers_go_on(make, rng: np.random.Generator) -> None:
    optimizer = make(Toy(5, "float32", rng))
    gradients = rng.standard_normal((4, 15)).astype(np.float32)
    run_on(optimizer, gradients[:2])
    pickled = pickle.loads(pickle.dumps(optimizer))
    loaded = make(Toy(5, "float32", rng))
    loaded.load_state_dict(optimizer.state_dict())
    loaded.target.flat_parameters[:] = optimizer.target.flat_parameters
    for each in (optimizer, pickled, loaded):
        run_on(each, gradients[2:])
        assert each.state_dict()["steps"] == 4
        assert each.target.flat_parameters.tobytes() == optimizer.target.flat_parameters.tobytes()


def test_state_dict_is_a_copy_and_load_state_dict_is_checked(rng: np.random.Generator) -> None:
    optimizer = Adam(Toy(5, "float32", rng))
    start = optimizer.state_dict()
    assert {name: (v.shape, v.dtype.name) for name, v in start.items()} == {
        "steps": ((), "int64"),
        "first_moment": ((15,), "float32"),
        "second_moment": ((15,), "float32"),
    }
    run_on(optimizer, np.ones((2, 15)))
    assert not any(values.any() for values in start.values())
    for change, message in [
        ({"steps": np.array(-1)}, r"state\['steps'\] must be at least 0, got -1"),
        ({"second_moment": np.zeros(14)}, r"state\['second_moment'\] must have shape \(15,\), .*got \(14,\)"),
        ({"second_moment": np.full(15, np.nan)}, r"state\['second_moment'\]\[0\] is nan"),
        ({"velocity": np.zeros(15)}, "state must have the entries"),
    ]:
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict({**start, **change})
        assert optimizer.state_dict()["steps"] == 2
        assert optimizer.state_dict()["first_moment"].all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_by_name_take_a_step_downhill(name: str, rng: np.random.Generator) -> None:
    toy = Toy(5, "float32", rng)
    before = toy.flat_parameters.copy()
    toy.flat_gradients[:] = 1
    OPTIMIZERS[name](toy, 0.01, weight_decay=0.0, l1=0.0).step()
    assert (toy.flat_parameters < before).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_gradient_changes_nothing(bad: float, rng: np.random.Generator) -> None:
    toy = Toy(5, "float32", rng)
    optimizer, before = Adam(toy), toy.flat_parameters.copy()
    toy.flat_gradients[3] = bad
    assert not np.isfinite(optimizer.step())
    assert toy.flat_parameters.tobytes() == before.tobytes()
    assert not np.isfinite(optimizer.step(clip_value=1.0))
    assert toy.flat_parameters.tobytes() == before.tobytes()
    assert not any(values.any() for values in optimizer.state_dict().values())


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


@pytest.mark.parametrize("optimizer", [SGD, Adam, AdamW, RMSprop])
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
        (lambda layer: RMSprop(layer, alpha=1.0), r"alpha must lie in \[0, 1\), got 1.0"),
        (lambda layer: RMSprop(layer, eps=-1.0), "eps must be positive, got -1.0"),
        (lambda layer: Adam(layer).step(clip_norm=0.0), "clip_norm must be positive, got 0.0"),
        (lambda layer: Adam(layer).step(clip_value=-2.0), "clip_value must be positive, got -2.0"),
    ],
)
def test_bad_options(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(Dense(2, 2, seed=0))
