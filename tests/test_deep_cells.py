"""Depth-gated LSTM, grid LSTM, clockwork RNN: what they are beside plain cells, and that the package takes them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import reference
from cases import error, in_double, same_bits

import lstmcore
from lstmcore.layers import LSTM, RNN, Recurrent, from_cell

CELLS = ("lstm_depth_gated", "grid_lstm", "rnn_clockwork")


def inputs(steps: int, batch: int, size: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(steps).standard_normal((steps, batch, size)).astype(dtype)


# ---- beside plain cells ---------------------------------------------------------------------------------------------


def test_depth_gates_that_are_shut_leave_a_stack_of_peephole_lstms() -> None:
    gated = from_cell("lstm_depth_gated", 3, 5, num_layers=3, bidirectional=True, seed=0, dtype="float64")
    plain = LSTM(3, 5, 3, bidirectional=True, peepholes=True, dtype="float64")
    parameters = {name: value.copy() for name, value in gated.parameters.items()}
    for name, value in parameters.items():
        if name.startswith("bias_ih") and "_l0" not in name:
            value[20:] = -1e3
    gated.load_parameters(parameters)
    plain.load_parameters({name: parameters[name][: len(value)] for name, value in plain.parameters.items()})
    x = inputs(7, 4, 3)
    assert error(gated(x)[0], plain(x)[0]) < 1e-15


def test_depth_gates_that_are_open_add_the_memory_below() -> None:
    layer = from_cell("lstm_depth_gated", 2, 4, num_layers=2, seed=1, dtype="float64")
    parameters = {name: value.copy() for name, value in layer.parameters.items()}
    parameters["bias_ih_l1"][16:] = 1e3
    parameters["weight_ih_l1"][8:12] = parameters["weight_hh_l1"][8:12] = 0  # g = 0: nothing else is written
    parameters["bias_ih_l1"][8:12] = parameters["bias_hh_l1"][8:12] = 0
    layer.load_parameters(parameters)
    found = layer.gates(inputs(1, 3, 2))
    assert same_bits(found["c_l1"], found["c_l0"])


def test_the_time_of_a_grid_is_an_lstm_and_its_output_is_not() -> None:
    grid = from_cell("grid_lstm", 3, 21, seed=0)
    plain = LSTM(3, 21)
    plain.load_parameters({name: value[:84] for name, value in grid.parameters.items()})
    x = inputs(9, 4, 3, "float32")
    (y, (h, c)), (_, (h_plain, c_plain)) = grid(x), plain(x)
    assert same_bits(h, h_plain) and same_bits(c, c_plain)
    found = grid.gates(x)
    depth = found["depth_o_l0"] * np.tanh(found["depth_i_l0"] * found["depth_g_l0"])
    assert error(y, depth) < 1e-6
    assert not np.allclose(y[-1], h[0])


# ---- the clock ------------------------------------------------------------------------------------------------------


def test_one_module_of_period_one_is_a_plain_rnn() -> None:
    clockwork, plain = RNN(3, 20, periods=(1,), seed=0), RNN(3, 20)
    plain.load_parameters({name.replace("_m0", ""): value for name, value in clockwork.parameters.items()})
    y, (h, clock) = clockwork(inputs(9, 4, 3), lengths=[9, 2, 5, 9])
    y_plain, h_plain = plain(inputs(9, 4, 3), lengths=[9, 2, 5, 9])
    assert same_bits(y, y_plain) and same_bits(h, h_plain)
    assert not clock.any()


@pytest.mark.parametrize("periods", [(1, 3, 4), (2, 5), (3,)])
def test_any_periods(periods: tuple[int, ...]) -> None:
    layer = RNN(2, 7, periods=periods, bidirectional=True, seed=0, dtype="float64")
    lengths, longest = np.array([3, 11, 1, 8]), math.lcm(*periods)
    x, clock = inputs(11, 4, 2), np.arange(8.0).reshape(2, 4, 1) % longest
    h0 = np.random.default_rng(1).standard_normal((2, 4, 7))
    y, (h, after) = layer(x, (h0, clock), lengths)
    for direction, turned in enumerate([x, reference.reversed_sequences(x, lengths)]):
        w = {**reference.cell_weights(in_double(layer), 0, direction), "periods": periods}
        state = (h0[direction], clock[direction])
        expected, (h_expected, after_expected) = reference.run_cell(reference.rnn_clockwork, w, turned, state, lengths)
        if direction:
            expected = reference.reversed_sequences(expected, lengths)
        assert error(y[:, :, 7 * direction : 7 * direction + 7], expected) < 1e-14
        assert error(h[direction], h_expected) < 1e-14
        assert np.array_equal(after[direction], after_expected)


def test_streams_that_stand_at_different_steps() -> None:
    layer = RNN(3, 40, 2, periods=(1, 2, 4, 8), seed=0)
    x = inputs(30, 1, 3, "float32")
    whole, _ = layer(x)
    states = [layer(x[:k])[1] for k in (1, 2, 7, 12)]  # four streams of the same data, at different steps
    state = tuple(np.concatenate(parts, axis=1) for parts in zip(*states, strict=True))
    assert state[1][0, :, 0].tolist() == [1, 2, 7, 4]
    for t in range(6):
        y, state = layer.step(np.concatenate([x[k + t] for k in (1, 2, 7, 12)]), state)
        assert same_bits(y, np.concatenate([whole[k + t] for k in (1, 2, 7, 12)]))


def test_a_module_holds_its_state_between_its_ticks() -> None:
    layer = RNN(2, 8, periods=(1, 2, 4, 8), seed=0)
    y, _ = layer(inputs(17, 3, 2))
    changed = (np.diff(y, axis=0) != 0).all(axis=1).reshape(16, 4, 2).all(axis=2)
    steps = np.arange(1, 17)[:, None]
    assert np.array_equal(changed, steps % np.array([1, 2, 4, 8]) == 0)


# ---- the rest of the package ----------------------------------------------------------------------------------------


def test_wrong_periods_are_explained() -> None:
    for periods, text in [
        ((2, 1), r"periods must increase, got \(2, 1\)"),
        ((), "periods must increase, got"),
        ((1, 2, 3, 4), "periods must not be more than hidden_size=3"),
        ((0, 1), r"periods\[0\] must be at least 1, got 0"),
        ((1, 4099, 4111), "common multiple"),
    ]:
        with pytest.raises(ValueError, match=text):
            RNN(2, 3, periods=periods)
    for wrong in ("12", 4):
        with pytest.raises(TypeError, match="periods must be a sequence of integers or None, got"):
            RNN(2, 3, periods=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="periods must be None for cell 'lstm', which has no clock"):
        from_cell("lstm", 2, 3, periods=(1, 2))
    with pytest.raises(ValueError, match=r"periods=\(1,\) needs nonlinearity='tanh', got 'relu'"):
        RNN(2, 3, nonlinearity="relu", periods=(1,))
    with pytest.raises(ValueError, match=r"zoneout must be 0 for cell 'rnn_clockwork', got 0\.1"):
        from_cell("rnn_clockwork", 2, 3, zoneout=0.1)
    assert repr(RNN(2, 3, periods=[1, 3], seed=0)) == "RNN(2, 3, periods=(1, 3))"


@pytest.mark.parametrize("init", ["uniform", "orthogonal"])
def test_initial_values(init: str) -> None:
    layer = from_cell("rnn_clockwork", 3, 10, recurrent_init=init, seed=0, dtype="float64")
    blocks = [value for name, value in layer.parameters.items() if name.startswith("weight_hh")]
    assert [len(block) for block in blocks] == [2, 3, 2, 3]
    assert (init == "orthogonal") == all(np.allclose(block @ block.T, np.eye(len(block))) for block in blocks)
    for cell in ("lstm_depth_gated", "grid_lstm"):
        stack: Recurrent = from_cell(cell, 3, 10, num_layers=2, recurrent_init=init, forget_bias=1.0, seed=0)
        for layer_number in (0, 1):
            assert (stack.parameters[f"bias_ih_l{layer_number}"][10:20] == 1).all()
            assert not stack.parameters[f"bias_hh_l{layer_number}"][10:20].any()


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"pooling": "mean"}, {"tbptt_steps": 3}], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_estimators(cell: str, options: dict, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((int(n), 2)) for n in rng.integers(3, 12, 40)]
    y = [int(x[-1, 0] > 0) for x in X]
    model = lstmcore.RNNClassifier(
        cell=cell, hidden_size=12, num_layers=2, max_epochs=25, learning_rate=0.02, random_state=0, **options
    ).fit(X, y)
    assert model.score(X, y) > (0.9 if options.get("pooling") is None else 0.7)
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = lstmcore.load(path)
    assert same_bits(loaded.predict_proba(X), model.predict_proba(X))
    if not options.get("bidirectional"):
        session = loaded.session(n_streams=1)
        for x_t in X[0]:
            found = session.step_proba(x_t[None])
        assert same_bits(found, model.predict_proba(X[:1]))


def test_estimators_take_periods_and_static_features(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, static = rng.standard_normal((30, 8, 2)), rng.standard_normal((30, 1))
    y = static[:, 0] + X[:, -1, 0]
    options = {"hidden_size": 12, "periods": (1, 3), "learning_rate": 0.02, "max_epochs": 60}
    model = lstmcore.RNNRegressor(cell="rnn_clockwork", random_state=0, **options)
    model.fit(X, y, static=static)
    assert ((model.predict(X, static) - y) ** 2).mean() < 0.5 * y.var()
    model.save(tmp_path / "model.safetensors")
    loaded = lstmcore.load(tmp_path / "model.safetensors")
    assert same_bits(loaded.predict(X, static), model.predict(X, static))
    with pytest.raises(ValueError, match="periods must be None for cell 'lstm'"):
        lstmcore.RNNClassifier(periods=(1, 2)).fit(X, y > 0)
