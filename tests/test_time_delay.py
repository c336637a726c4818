"""TimeDelay: against plain float64 sums, complex-step derivatives and itself in chunks and steps; in estimators."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cases import error, same_bits
from reference import hardtanh, relu

import lstmcore
from lstmcore import TimeDelay
from lstmcore.layers import from_cell
from lstmcore.time_delay import NONLINEARITIES

PHI = {"tanh": np.tanh, "relu": relu, "hardtanh": hardtanh, "linear": lambda a: a}
STEP = 1e-30  # of the complex step


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = lstmcore.get_num_threads()
    yield
    lstmcore.set_num_threads(before)


@dataclass(frozen=True)
class Case:
    input_size: int = 3
    hidden_size: int = 5
    delays: Any = (0, 1, 4)
    nonlinearity: str = "tanh"
    num_layers: int = 2
    bias: bool = True
    steps: int = 9
    batch: int = 4
    ragged: bool = True

    def layer(self, **options: Any) -> TimeDelay:
        names = ("delays", "nonlinearity", "num_layers", "bias")
        options = {**{name: getattr(self, name) for name in names}, "dtype": "float64", "seed": 1, **options}
        return TimeDelay(self.input_size, self.hidden_size, **options)

    def data(self, layer: TimeDelay) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray | None]:
        rng = np.random.default_rng(self.steps)
        x = rng.standard_normal((self.steps, self.batch, self.input_size)).astype(layer.dtype)
        widths = layer._states.widths.values()
        h, past = (rng.standard_normal((1, self.batch, width)).astype(layer.dtype) for width in widths)
        lengths = rng.integers(1, self.steps + 1, self.batch) if self.ragged else None
        return x, (h, past), lengths


def reference(case: Case, layer: TimeDelay, parameters: Any, x: Any, past: Any, lengths: Any) -> Any:
    """y [T, B, H], the final h and x, one sequence at a time."""
    depth, widths = max(layer.delays), [case.input_size] + [case.hidden_size] * (case.num_layers - 1)
    y, remembered = np.zeros((len(x), x.shape[1], case.hidden_size), np.result_type(x, past, *parameters.values())), []
    for b, length in enumerate(np.full(x.shape[1], len(x)) if lengths is None else lengths):
        values, rest, kept = x[:length, b], past[0, b], []
        for layer_number, width in enumerate(widths):
            before, rest = rest[: depth * width].reshape(depth, width), rest[depth * width :]
            joined = np.concatenate([before[::-1], values])  # oldest first
            kept.append(joined[::-1][:depth].ravel())
            w, bias = parameters[f"weight_ih_l{layer_number}"], parameters.get(f"bias_ih_l{layer_number}", 0)
            shifted = [joined[depth - d : len(joined) - d] for d in layer.delays]
            values = PHI[case.nonlinearity](sum(s @ w[:, k].T for k, s in enumerate(shifted)) + bias)
        y[:length, b] = values
        remembered.append(np.concatenate(kept) if kept else rest)
    last = np.stack([y[(len(x) if lengths is None else lengths[b]) - 1, b] for b in range(x.shape[1])])
    return y, last[None], np.stack(remembered)[None]


CASES = [
    Case(),
    *(Case(nonlinearity=phi, num_layers=1) for phi in NONLINEARITIES),
    Case(delays=(3,), bias=False),
    Case(delays=(7, 2), num_layers=3, steps=4),  # shorter than what is remembered
    Case(delays=1),  # remembers nothing
    Case(delays=12, hidden_size=40, input_size=18, steps=30, batch=9, num_layers=1, ragged=False),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_states_and_gradients(case: Case) -> None:
    layer = case.layer()
    x, (h, past), lengths = case.data(layer)
    y, (last, remembered) = layer.forward(x, (h, past), lengths)
    found = (y, last, remembered)
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(part.shape) for part in found]

    def loss(parameters: Any, x: Any, past: Any) -> Any:
        return sum(
            (w * part).sum()
            for w, part in zip(weights, reference(case, layer, parameters, x, past, lengths), strict=True)
        )

    for part, expected in zip(found, reference(case, layer, layer.parameters, x, past, lengths), strict=True):
        assert not part.size or error(part, expected) < 1e-13
    for part, called in zip(found, (lambda r: (r[0], *r[1]))(layer(x, (h, past), lengths)), strict=True):
        assert same_bits(part, called)
    dx, (dh, dpast) = layer.backward(weights[0], tuple(weights[1:]))
    assert not dh.any()
    inputs = {"x": x, "past": past, **layer.parameters}
    gradients = {"x": dx, "past": dpast, **layer.gradients}
    for name, value in inputs.items():
        direction = rng.standard_normal(value.shape)
        moved = {**inputs, name: value + 1j * STEP * direction}
        derivative = np.imag(loss(moved, moved["x"], moved["past"])) / STEP
        assert abs((gradients[name] * direction).sum() - derivative) < 1e-11 * max(1.0, abs(derivative)), name


def test_without_the_gradient_of_the_input_all_others_stay() -> None:
    case = Case(num_layers=1)
    layer = case.layer()
    x, states, lengths = case.data(layer)
    outcomes = []
    for need_dx in (True, False):
        layer.zero_gradients()
        y, final = layer.forward(x, states, lengths)
        _, (_, dpast) = layer.backward(np.cos(y), final, need_dx=need_dx)
        outcomes.append((dpast, layer.flat_gradients.copy()))
    assert all(same_bits(a, b) for a, b in zip(*outcomes, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_chunks_steps_alone_and_threads_have_the_same_bits(dtype: str) -> None:
    case = Case(7, 37, 10, steps=50, batch=9, ragged=False)
    layer = case.layer(dtype=dtype)
    x, states, _ = case.data(layer)
    lstmcore.set_num_threads(1)
    y, final = layer(x, states)
    for cuts in ((0, 1, 4, 30, 50), tuple(range(51))):
        state, parts = states, []
        for a, b in pairwise(cuts):
            part, state = layer(x[a:b], state)
            parts.append(part)
        assert same_bits(np.concatenate(parts), y)
        assert all(same_bits(a, b) for a, b in zip(state, final, strict=True))
    state, parts = states, []
    for now in x:
        part, state = layer.step(now, state)
        parts.append(part)
    assert same_bits(np.stack(parts), y)
    alone, _ = layer(x[:, 3:4], tuple(part[:, 3:4] for part in states))
    assert same_bits(alone, np.ascontiguousarray(y[:, 3:4]))
    outcomes = []
    for threads in (1, 2, 3):
        lstmcore.set_num_threads(threads)
        layer.zero_gradients()
        y, final = layer.forward(x, states)
        dx, dstates = layer.backward(np.cos(y), final)
        outcomes.append([y, dx, *dstates, layer.flat_gradients.copy()])
    for other in outcomes[1:]:
        assert all(same_bits(a, b) for a, b in zip(other, outcomes[0], strict=True))


def test_nothing_older_than_its_memory_reaches_an_output() -> None:
    layer = TimeDelay(2, 6, (1, 3), num_layers=2, seed=0)
    assert layer.memory == 6
    x = np.random.default_rng(0).standard_normal((20, 1, 2))
    changed = x.copy()
    changed[:8] += 1.0
    y, _ = layer(x)
    other, _ = layer(changed)
    assert same_bits(y[13 + 1 :], other[13 + 1 :]) and not np.array_equal(y[13], other[13])


def test_dropout_lies_between_layers_and_its_gradient_is_that_of_the_mask() -> None:
    case = Case(num_layers=2, ragged=False, nonlinearity="linear")
    layer = case.layer(dropout=0.5)
    x, states, _ = case.data(layer)
    assert not np.array_equal(layer.forward(x, states)[0], layer.forward(x, states)[0])
    twin = copy.deepcopy(layer)  # draws the same masks: linear in x, so its own difference is exact
    y, _ = layer.forward(x, states)
    moved, _ = twin.forward(x + 1.0, states)
    dx, _ = layer.backward(np.ones_like(y))
    assert abs((moved - y).sum() - dx.sum()) < 1e-10


def test_same_seed_same_layer_and_the_range_of_its_parameters() -> None:
    layer = TimeDelay(3, 40, 5, num_layers=2, seed=0)
    assert same_bits(layer.flat_parameters, TimeDelay(3, 40, 5, num_layers=2, seed=0).flat_parameters)
    for name, inputs in (("weight_ih_l0", 15), ("bias_ih_l0", 15), ("weight_ih_l1", 200), ("bias_ih_l1", 200)):
        assert 0.9 / np.sqrt(inputs) < np.abs(layer.parameters[name]).max() <= 1 / np.sqrt(inputs)
    assert layer.parameters["weight_ih_l1"].shape == (40, 5, 40)
    clone = pickle.loads(pickle.dumps(layer))
    assert repr(clone) == "TimeDelay(3, 40, delays=(0, 1, 2, 3, 4), num_layers=2)"
    x = np.ones((4, 2, 3), np.float32)
    assert same_bits(clone(x)[0], layer(x)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delays": 0}, "delays must be at least 1, got 0"),
        ({"delays": ()}, "delays must hold different integers, one at least, got "),
        ({"delays": (0, 2, 2)}, r"different integers.*\[0, 2, 2\]"),
        ({"delays": (0, -1)}, r"delays\[1\] must be at least 0, got -1"),
        ({"delays": "12"}, "delays must be an integer or integers, got '12'"),
        ({"delays": 2.5}, "delays must be an integer, got 2.5"),
        ({"nonlinearity": "sine"}, "nonlinearity must be one of .*, got 'sine'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        TimeDelay(2, 3, **options)


def test_by_name() -> None:
    layer = from_cell("tdnn_relu", 2, 3, delays=(0, 5), num_layers=2, bidirectional=False, zoneout=0.0)
    assert (layer.nonlinearity, layer.delays, layer.num_layers) == ("relu", (0, 5), 2)
    with pytest.raises(ValueError, match="bidirectional must be False for cell 'tdnn_tanh', which has no such option"):
        from_cell("tdnn_tanh", 2, 3, bidirectional=True)
    with pytest.raises(ValueError, match=r"option must be one of .*'delays'.*, got 'delay'"):
        from_cell("tdnn_tanh", 2, 3, delay=3)
    with pytest.raises(TypeError, match="has no gates"):
        layer.gates(np.ones((3, 1, 2)))


def test_delays_are_for_time_delay_cells_alone() -> None:
    pytest.importorskip("sklearn")
    model = lstmcore.RNNClassifier(cell="gru", delays=3)
    with pytest.raises(ValueError, match="delays must be None for cell 'gru', which has no delays, got 3"):
        model.fit(np.zeros((4, 5, 1)), [0, 1, 0, 1])


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_a_classifier_streams_with_the_bits_of_its_batch(pooling: str, tmp_path: Any) -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    fast = rng.integers(0, 2, 120)
    X = [np.sin((0.3 + 0.3 * f) * np.arange(rng.integers(15, 30)) + rng.uniform(0, 6))[:, None] for f in fast]
    options = {"cell": "tdnn", "delays": 3, "num_layers": 2, "hidden_size": 16, "max_epochs": 30}
    model = lstmcore.RNNClassifier(**options, pooling=pooling, learning_rate=1e-2, random_state=0)
    model.fit(X[:90], fast[:90])
    assert model.score(X[90:], fast[90:]) > 0.9
    model.save(tmp_path / "tdnn.safetensors")
    loaded = lstmcore.load(tmp_path / "tdnn.safetensors")
    expected = model.predict_proba(X[100:101])
    assert same_bits(loaded.predict_proba(X[100:101]), expected)
    session = loaded.session()
    for now in X[100]:
        found = session.step_proba(now)
    assert same_bits(found, expected)


@pytest.mark.parametrize("tbptt_steps", [None, 5])
def test_taggers_static_features_and_truncated_gradients(tbptt_steps: int | None) -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 12, 1))
    before = np.concatenate([np.zeros((60, 3, 1)), X[:, :-3]], axis=1)
    y = (before[..., 0] > 0).astype(int)  # the sign of three steps ago
    options = {"cell": "tdnn", "delays": (0, 3), "hidden_size": 16, "max_epochs": 40, "learning_rate": 1e-2}
    model = lstmcore.RNNTagger(**options, tbptt_steps=tbptt_steps, random_state=0)
    model.fit(X[:40], y[:40], static=np.ones((40, 1)))
    assert (model.predict(X[40:], static=np.ones((20, 1))) == y[40:])[:, 3:].mean() > 0.9
