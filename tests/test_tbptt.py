"""Truncated backpropagation through time: against its definition, computed step by step on the reference."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CELLS, Case, as_state, as_tuple, error, same_bits

from lstmcore.layers import GRU, LSTM, Recurrent

STEP = 1e-30


def driven(layer: Recurrent, case: Case, dy: np.ndarray, k1: int, k2: int | None) -> np.ndarray:
    """The flat gradient that the driver adds up over all windows."""
    layer.zero_gradients()
    for window in layer.tbptt(case.x(), case.state(), k1=k1, k2=k2):
        window.backward(dy[window.start : window.stop])
    return layer.flat_gradients.copy()


def truncated(
    case: Case, layer: Recurrent, dy: np.ndarray, k1: int, k2: int, direction: dict[str, np.ndarray]
) -> float:
    """The definition: for each window, the derivative of its steps' loss by the parameters at the last k2 steps."""
    moved = {name: value + 1j * STEP * direction[name] for name, value in layer.parameters.items()}
    total = 0.0
    for start in range(0, case.steps, k1):
        stop = min(start + k1, case.steps)
        reach = max(0, start + k1 - k2)
        state, x = case.states(), case.x()
        if reach:
            _, state = case.expected(layer.parameters, x[:reach], state)
        y, _ = case.expected(moved, x[reach:stop], state)
        total += np.imag((y[start - reach :] * dy[start:stop]).sum()) / STEP
    return float(total)


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (3, 3), (4, 4), (1, 4), (2, 5), (3, 6), (4, 12), (5, 7), (12, 12)])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_the_definition(cell: str, k1: int, k2: int) -> None:
    case = Case(cell, 2, 4, 12, 3, num_layers=2)
    layer = case.layer()
    rng = case.rng("tbptt")
    dy = rng.standard_normal((12, 3, 4))
    driven(layer, case, dy, k1, k2)
    direction = {name: rng.standard_normal(value.shape) for name, value in layer.parameters.items()}
    terms = [layer.gradients[name] * direction[name] for name in direction]
    scale = sum(float(np.abs(term).sum()) for term in terms)
    expected = truncated(case, layer, dy, k1, k2, direction)
    assert abs(sum(float(term.sum()) for term in terms) - expected) < 1e-12 * scale


@pytest.mark.parametrize("cell", CELLS)
def test_one_window_is_full_backpropagation(cell: str) -> None:
    case = Case(cell, steps=9, num_layers=2)
    layer = case.layer()
    y, _ = layer.forward(case.x(), case.state())
    dy = case.rng("dy").standard_normal(y.shape)
    layer.backward(dy)
    full = layer.flat_gradients.copy()
    assert same_bits(driven(layer, case, dy, 9, 9), full)
    assert same_bits(driven(layer, case, dy, 9, None), full)
    assert same_bits(driven(layer, case, dy, 20, 25), full)
    assert error(driven(layer, case, dy, 2, 1000), full) < 1e-12  # windows that reach back to the start add up to it


@pytest.mark.parametrize(("k1", "k2"), [(3, 3), (3, 7), (2, 8), (4, 5)])
def test_outputs_and_states_are_those_of_the_whole_sequence(k1: int, k2: int) -> None:
    case = Case("lstm", steps=11, num_layers=2, dtype="float32")
    layer = case.layer()
    y, final = layer(case.x(), case.state())
    windows = list(layer.tbptt(case.x(), case.state(), k1=k1, k2=k2))
    assert [(w.start, w.stop) for w in windows] == [(t, min(t + k1, 11)) for t in range(0, 11, k1)]
    assert [w.reach for w in windows] == [max(0, t + k1 - k2) for t in range(0, 11, k1)]
    assert same_bits(np.concatenate([w.y for w in windows]), y)
    assert all(same_bits(a, b) for a, b in zip(as_tuple(windows[-1].state), as_tuple(final), strict=True))


def test_chunks_with_carried_state_are_windows_of_k1_steps() -> None:
    case = Case("gru", steps=10)
    layer = case.layer()
    dy = case.rng("dy").standard_normal((10, 4, 5))
    gradients = driven(layer, case, dy, 4, None)
    layer.zero_gradients()
    state = case.state()
    for t in (0, 4, 8):
        _, state = layer.forward(case.x()[t : t + 4], state)
        layer.backward(dy[t : t + 4])
    assert same_bits(layer.flat_gradients, gradients)


def test_batch_first_and_input_gradients() -> None:
    case = Case("lstm", steps=8)
    plain, turned = case.layer(), case.layer(batch_first=True)
    dy = case.rng("dy").standard_normal((8, 4, 5))
    for ours, other in zip(
        plain.tbptt(case.x(), k1=3, k2=5), turned.tbptt(case.x().swapaxes(0, 1), k1=3, k2=5), strict=True
    ):
        assert np.array_equal(other.y.swapaxes(0, 1), ours.y)
        part = dy[ours.start : ours.stop]
        dx = ours.backward(part, need_dx=True)
        assert dx.shape == (ours.stop - ours.reach, 4, 3)
        assert np.array_equal(other.backward(part.swapaxes(0, 1), need_dx=True).swapaxes(0, 1), dx)
    assert same_bits(turned.flat_gradients, plain.flat_gradients)


def test_parameters_may_change_between_windows() -> None:
    case = Case("lstm", steps=9)
    layer, mirror = case.layer(), case.layer()
    dy, rate = case.rng("dy").standard_normal((9, 4, 5)), 0.1
    for window in layer.tbptt(case.x(), case.state(), k1=3, k2=5):
        window.backward(dy[window.start : window.stop])
        layer.flat_parameters[...] -= rate * layer.flat_gradients
        layer.parameters_changed()
    state = case.state()
    for advance, reach, start, stop in ((0, 0, 0, 3), (0, 1, 3, 6), (1, 4, 6, 9)):
        if reach > advance:
            _, state = mirror(case.x()[advance:reach], state)
        y, _ = mirror.forward(case.x()[reach:stop], state)
        part = np.zeros_like(y)
        part[start - reach :] = dy[start:stop]
        mirror.backward(part)
        mirror.flat_parameters[...] -= rate * mirror.flat_gradients
        mirror.parameters_changed()
    assert same_bits(layer.flat_parameters, mirror.flat_parameters)


@pytest.mark.parametrize(
    ("options", "error_type", "message"),
    [
        ({"k1": 0}, ValueError, "k1 must be at least 1, got 0"),
        ({"k1": 2.5}, TypeError, r"k1 must be an integer, got 2\.5"),
        ({"k1": 3, "k2": 2}, ValueError, "k2 must be at least k1=3, got 2"),
        ({"k1": 3, "k2": True}, TypeError, "k2 must be an integer, got True"),
    ],
)
def test_bad_windows(options: dict, error_type: type, message: str) -> None:
    with pytest.raises(error_type, match=message):
        LSTM(2, 3).tbptt(np.ones((5, 1, 2)), **options)


def test_bad_input_is_refused_before_the_first_window() -> None:
    x = np.ones((5, 1, 2))
    with pytest.raises(ValueError, match="tbptt needs a layer with bidirectional=False"):
        LSTM(2, 3, bidirectional=True).tbptt(x, k1=2)
    with pytest.raises(ValueError, match="x has 2 features, but the layer's input_size is 4"):
        LSTM(4, 3).tbptt(x, k1=2)
    x[3, 0, 1] = np.inf
    with pytest.raises(ValueError, match=r"x\[3, 0, 1\] is inf"):
        GRU(2, 3).tbptt(x, k1=2)
    layer = GRU(2, 3)
    window = next(layer.tbptt(np.ones((5, 4, 2)), k1=2))
    with pytest.raises(ValueError, match=r"dy must have shape \(2, 4, 3\), that is \[T, B, width\], got \(5, 4, 3\)"):
        window.backward(np.ones((5, 4, 3)))
    window.backward(np.ones((2, 4, 3)))
    with pytest.raises(RuntimeError, match="backward needs a forward before it"):
        window.backward(np.ones((2, 4, 3)))


def test_state_in_the_layers_own_form() -> None:
    layer = GRU(2, 3)
    window = next(layer.tbptt(np.ones((5, 4, 2)), as_state((np.zeros((1, 4, 3)),)), k1=2))
    assert isinstance(window.state, np.ndarray)
