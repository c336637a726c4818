"""Real-time recurrent learning beside layers: the gradients of full back-propagation, forward in time."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from cases import CELLS

import lstmcore
from lstmcore import RTRL
from lstmcore.layers import Recurrent, from_cell
from lstmcore.online import rtrl_cells

STEPS = 50


def lively(cell: str, input_size: int, hidden_size: int, **options: Any) -> Recurrent:
    """A layer of float64 whose units hear each other well."""
    layer = from_cell(cell, input_size, hidden_size, **{"dtype": "float64", "seed": 1, **options})
    layer.flat_parameters *= 1.5
    layer.parameters_changed()
    return layer


def streamed(stream: RTRL, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """The gradient of the sum of y * dy, step by step."""
    stream.layer.zero_gradients()
    for row, dh in zip(x, dy, strict=True):
        stream.step(row)
        stream.backward(dh)
    return stream.layer.flat_gradients.copy()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(3, 5), (2, 17)], ids=str)
@pytest.mark.parametrize("cell", rtrl_cells())
def test_gradients_of_back_propagation(cell: str, sizes: tuple[int, int], bias: bool, rng: np.random.Generator) -> None:
    layer = lively(cell, *sizes, bias=bias)
    x, dy = rng.standard_normal((STEPS, 1, sizes[0])), rng.standard_normal((STEPS, 1, sizes[1]))
    y, _ = layer.forward(x)
    layer.backward(dy)
    full = layer.flat_gradients.copy()
    stream = RTRL(layer)
    np.testing.assert_allclose(streamed(stream, x[:, 0], dy[:, 0]), full, rtol=0, atol=1e-12 * np.abs(full).max())
    h = stream.state if isinstance(stream.state, np.ndarray) else stream.state[0]
    assert h.tobytes() == y[-1, 0].tobytes()


@pytest.mark.parametrize("cell", ["lstm_peephole", "gru", "rnn_residual"])
def test_influence_is_a_derivative(cell: str, rng: np.random.Generator) -> None:
    """∂h/∂θ against central differences of h after a few steps."""
    layer, x = lively(cell, 2, 3), rng.standard_normal((4, 2))

    def h_after() -> np.ndarray:
        return layer(x[:, None])[0][-1, 0]

    stream = RTRL(layer)
    for row in x:
        stream.step(row)
    influence = np.concatenate([values.reshape(-1, 3) for values in stream.influence.values()])
    for i in rng.permutation(layer.n_parameters)[:30]:
        sides = []
        for change in (1e-6, -1e-6):
            layer.flat_parameters[i] += change
            layer.parameters_changed()
            sides.append(h_after())
            layer.flat_parameters[i] -= change
        np.testing.assert_allclose(influence[i], (sides[0] - sides[1]) / 2e-6, atol=1e-8)


@pytest.mark.parametrize("cell", rtrl_cells())
def test_snap1_keeps_what_stays_in_a_unit(cell: str, rng: np.random.Generator) -> None:
    """Of units that do not hear each other it is exact; after one step it is of any."""
    layer, x, dy = lively(cell, 3, 6), rng.standard_normal((STEPS, 3)), rng.standard_normal((STEPS, 6))
    first = RTRL(layer), RTRL(layer, "snap1")
    for stream in first:
        stream.step(x[0])
    for name, whole in first[0].influence.items():
        own = whole.reshape(-1, 6, *whole.shape[1:]).sum(axis=-1)  # a parameter has moved one unit by now
        np.testing.assert_array_equal(own.reshape(whole.shape[:-1]), first[1].influence[name])
    diagonal = np.ones(layer.n_parameters, bool)  # but the gradients of the ways that are shut now
    for name, shape, offset in layer.parameter_table():
        if name == "weight_hh_l0" and len(shape) == 2:
            diagonal[offset : offset + np.prod(shape)] = np.tile(np.eye(6, dtype=bool).ravel(), shape[0] // 6)
    layer.flat_parameters[~diagonal] = 0
    layer.parameters_changed()
    exact, approximate = (streamed(RTRL(layer, method), x, dy) for method in ("rtrl", "snap1"))
    scale = np.abs(exact).max()
    np.testing.assert_allclose(approximate[diagonal], exact[diagonal], rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("method", ["rtrl", "snap1"])
def test_threads_change_nothing(method: str, rng: np.random.Generator) -> None:
    layer = lstmcore.LSTM(5, 40, seed=0)
    x = rng.standard_normal((6, 5)).astype(np.float32)
    dy = rng.standard_normal((6, 40)).astype(np.float32)
    gradients = []
    for threads in (1, 2, 3):
        lstmcore.set_num_threads(threads)
        gradients.append(streamed(RTRL(layer, method), x, dy).tobytes())
    lstmcore.set_num_threads(0)
    assert len(set(gradients)) == 1


def test_reset_and_states(rng: np.random.Generator) -> None:
    layer, x, dy = lively("lstm", 2, 4), rng.standard_normal((5, 2)), rng.standard_normal((5, 4))
    stream = RTRL(layer)
    once = streamed(stream, x, dy)
    stream.reset()
    assert streamed(stream, x, dy).tobytes() == once.tobytes()
    h0, c0 = rng.standard_normal((2, 4))
    stream.reset((h0, c0))
    assert not any(values.any() for values in stream.influence.values())
    layer.forward(x[:, None], (h0[None, None], c0[None, None]))
    layer.zero_gradients()
    layer.backward(dy[:, None])
    full = layer.flat_gradients.copy()
    np.testing.assert_allclose(streamed(stream, x, dy), full, atol=1e-13 * np.abs(full).max())


@pytest.mark.parametrize("method", ["rtrl", "snap1"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))])
def test_copies_go_on(copied: Any, method: str, rng: np.random.Generator) -> None:
    x, dy = rng.standard_normal((6, 2)), rng.standard_normal((6, 4))
    stream = RTRL(lively("lstm", 2, 4), method)
    streamed(stream, x[:3], dy[:3])
    twin = copied(stream)
    assert streamed(twin, x[3:], dy[3:]).tobytes() == streamed(stream, x[3:], dy[3:]).tobytes()


def test_parameters_may_move() -> None:
    layer = lstmcore.GRU(1, 4, seed=0)
    stream = RTRL(layer)
    stream.step([1.0])
    layer.flat_parameters *= 0.5  # and nobody is told
    other = lstmcore.GRU(1, 4, seed=0)
    other.flat_parameters[...] = layer.flat_parameters
    twin = RTRL(other)
    twin.reset(stream.state)
    assert stream.step([1.0]).tobytes() == twin.step([1.0]).tobytes()


@pytest.mark.parametrize("cell", sorted(set(CELLS) - set(rtrl_cells())))
def test_cells_without_rtrl(cell: str) -> None:
    with pytest.raises(ValueError, match=f"cell '{cell}' has no RTRL, which needs one of lstm, "):
        RTRL(from_cell(cell, 2, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_layers=2), "layer must have num_layers=1 for RTRL, got 2"),
        (dict(bidirectional=True), "layer must have bidirectional=False for RTRL, got True"),
        (dict(proj_size=2), "layer must have proj_size=0 for RTRL, got 2"),
        (dict(zoneout=0.1), "layer must have zoneout=0 for RTRL, got 0.1"),
    ],
    ids=str,
)
def test_layers_without_rtrl(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RTRL(lstmcore.LSTM(2, 3, **options))


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match="layer must be a recurrent layer, got int"):
        RTRL(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="method must be one of 'rtrl', 'snap1', got 'bptt'"):
        RTRL(lstmcore.LSTM(2, 3), "bptt")
    stream = RTRL(lstmcore.LSTM(2, 3))
    with pytest.raises(ValueError, match=r"x must have shape \(2,\), that is \[I\], got \(3,\)"):
        stream.step(np.ones(3))
    with pytest.raises(ValueError, match=r"x\[1\] is nan"):
        stream.step([0.0, np.nan])
    with pytest.raises(ValueError, match=r"dh must have shape \(3,\)"):
        stream.backward(np.ones((1, 3)))
    with pytest.raises(TypeError, match=r"state must be a tuple \(h, c\) of arrays, got ndarray"):
        stream.reset(np.ones(3))
