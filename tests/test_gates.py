"""`gates` of a layer against the equations in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from cases import CELLS, REGISTRY, Case, as_state, in_double, same_bits
from reference import sigmoid, split

import lstmcore
from lstmcore._isa import core

Arrays = dict[str, np.ndarray]


MISSING = {"coupled": "f", "no_input_gate": "i", "no_forget_gate": "f", "no_output_gate": "o"}


def lstm_gates(cell: str, w: Arrays, x: np.ndarray, state: tuple, new: tuple) -> Arrays:
    h, c = state
    if cell == "lstm_full_gate_recurrence":
        return dict(zip("ifo", split(new[0], 4)[1:], strict=True)) | {
            "g": np.tanh(split(reference.inputs_and_recurrence(w, x, h[:, : c.shape[1]]), 4)[2])
        }
    zero = np.zeros(c.shape[1])
    p_i, p_f, p_o = (w.get(f"weight_c{gate}", zero) for gate in "ifo")
    sums = reference.inputs_and_recurrence(w, x, h)
    if cell == "lstm_layernorm":
        sums = sum(normalised_sums(w, x, h, [4 * c.shape[1]]))
    missing = next((gate for word, gate in MISSING.items() if word in cell), "")
    a = dict(zip([gate for gate in "ifgo" if gate != missing], split(sums, 3 if missing else 4), strict=True))
    values = {
        "i": lambda: sigmoid(a["i"] + p_i * c),
        "f": lambda: sigmoid(a["f"] + p_f * c),
        "g": lambda: a["g"] if cell == "lstm_no_input_activation" else np.tanh(a["g"]),
        "o": lambda: sigmoid(a["o"] + p_o * new[1]),
    }
    return {gate: values[gate]() for gate in a}


def normalised_sums(w: Arrays, x: np.ndarray, h: np.ndarray, groups: list[int]) -> list[np.ndarray]:
    """What a normalised cell sees of x and of h: groups of gates with mean 0 and variance 1, scaled and shifted."""
    return [
        w[f"weight_ln_{side}"] * reference.normalised(a @ w[f"weight_{side}"].T, groups) + w[f"bias_{side}"]
        for side, a in (("ih", x), ("hh", h))
    ]


def gru_gates(cell: str, w: Arrays, x: np.ndarray, state: tuple, new: tuple) -> Arrays:
    (h,) = state
    if cell == "gru_layernorm":
        x_sums, h_sums = (split(a, 3) for a in normalised_sums(w, x, h, [2 * h.shape[1], h.shape[1]]))
        r = sigmoid(x_sums[0] + h_sums[0])
        return {"r": r, "z": sigmoid(x_sums[1] + h_sums[1]), "n": np.tanh(x_sums[2] + r * h_sums[2])}
    u_r, u_z, u_n = np.split(w["weight_hh"], 3)
    b_r, b_z, b_n = split(w["bias_hh"], 3)
    x_r, x_z, x_n = split(x @ w["weight_ih"].T + w["bias_ih"], 3)
    r = sigmoid(x_r + h @ u_r.T + b_r)
    s = (r * h) @ u_n.T + b_n if cell == "gru_reset_before" else r * (h @ u_n.T + b_n)
    return {"r": r, "z": sigmoid(x_z + h @ u_z.T + b_z), "n": np.tanh(x_n + s)}


def depth_gated_gates(w: Arrays, x: np.ndarray, state: tuple, new: tuple, lower: np.ndarray | None) -> Arrays:
    four = len(w["weight_hh"])
    w_ih, b_ih = w["weight_ih"], w["bias_ih"]
    found = lstm_gates("lstm", {**w, "weight_ih": w_ih[:four], "bias_ih": b_ih[:four]}, x, state, new)
    if lower is None:
        return found
    a_d = x @ w_ih[four:].T + b_ih[four:] + w["weight_cd"] * state[1] + w["weight_ld"] * lower
    return {**found, "d": sigmoid(a_d)}


def grid_gates(w: Arrays, x: np.ndarray, state: tuple, lower: np.ndarray | None) -> Arrays:
    names = ["i", "f", "g", "o", "depth_i", *["depth_f"] * (lower is not None), "depth_g", "depth_o"]
    sums = split(reference.inputs_and_recurrence(w, x, state[0]), len(names))
    return {name: (np.tanh if name.endswith("g") else sigmoid)(a) for name, a in zip(names, sums, strict=True)}


def mgu_gates(cell: str, w: Arrays, x: np.ndarray, state: tuple, new: tuple) -> Arrays:
    (h,) = state
    x_f, x_n = split(x @ w["weight_ih"].T + w["bias_ih"], 2)
    u_f, u_n = np.split(w["weight_hh"], 2)
    b_f, b_n = split(w["bias_hh"], 2)
    f = sigmoid(x_f + h @ u_f.T + b_f)
    return {"f": f, "n": np.tanh(x_n + (f * h) @ u_n.T + b_n)}


GATES = {"lstm": lstm_gates, "gru": gru_gates, "mgu": mgu_gates}


def step_gates(cell: str, w: Arrays, x: np.ndarray, state: tuple, new: tuple, *lower: Any) -> Arrays:
    """The gates of one step by name, then the states after it."""
    gates = GATES.get(cell.split("_")[0])
    if cell == "lstm_depth_gated":
        found = depth_gated_gates(w, x, state, new, *lower)
    elif cell == "grid_lstm":
        found = grid_gates(w, x, state, *lower)
    else:
        found = {} if gates is None else gates(cell, w, x, state, new)
    states = dict(zip(REGISTRY[cell]["states"], new, strict=True))
    states["h"] = split(states["h"], REGISTRY[cell]["state_parts"])[0]
    return {**found, **{name: values for name, values in states.items() if name != "clock"}}


def expected_gates(case: Case, parameters: Arrays) -> Arrays:
    """All steps of all layers, [T, B, width], by the names of `gates`."""
    lengths = np.full(case.batch, case.steps) if case.lengths() is None else case.lengths()
    alive = (np.arange(case.steps)[:, None] < lengths)[:, :, None]
    x, states, result, k = case.x(), case.states(), {}, 0
    linked = case.cell in reference.LINKED
    links = [[None] * case.steps for _ in range(2)] if linked else [None, None]
    for layer in range(case.num_layers):
        outputs = []
        for direction in range(2 if case.bidirectional else 1):
            w = reference.cell_weights(parameters, layer, direction)
            steps = []

            def recorded(w: Arrays, x: np.ndarray, state: tuple, *lower: Any, steps: list = steps) -> tuple:
                new = reference.CELLS[case.cell](w, x, state, *lower)
                steps.append(step_gates(case.cell, w, x, state, new, *lower))
                return new

            forth = (lambda a: reference.reversed_sequences(a, lengths)) if direction else (lambda a: a)
            initial = tuple(state[k] for state in states)
            y, _ = reference.run_cell(recorded, w, forth(x), initial, lengths, link=links[direction])
            for name in steps[0]:
                values = np.where(alive, np.stack([step[name] for step in steps]), 0)
                result[f"{name}_l{layer}" + "_reverse" * direction] = forth(values)
            outputs.append(forth(y))
            k += 1
        x = np.concatenate(outputs, axis=-1)
    return result


STACK = {"num_layers": 2, "bidirectional": True}
PROJECTED = [info["name"] for info in core.cells() if info["projection"]]


@pytest.mark.parametrize(
    "case",
    [case for cell in CELLS for case in (Case(cell, 3, 5), Case(cell, 4, 19, 7, 6, ragged=True, **STACK))]
    + [Case(cell, 3, 21, 6, 3, proj_size=9, ragged=True, **STACK) for cell in PROJECTED],
    ids=str,
)
def test_gates_are_those_of_the_equations(case: Case) -> None:
    layer = case.layer()
    found = layer.gates(case.x(), case.state(), case.lengths())
    expected = expected_gates(case, in_double(layer))
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert values.shape == expected[name].shape, name
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-12, err_msg=name)


def test_names_in_the_order_of_parameters() -> None:
    names = list(Case("lstm", **STACK).layer().gates(np.ones((2, 1, 3))))
    assert names[:8] == ["i_l0", "f_l0", "g_l0", "o_l0", "c_l0", "h_l0", "i_l0_reverse", "f_l0_reverse"]
    assert names[-1] == "h_l1_reverse"
    assert list(Case("gru").layer().gates(np.ones((2, 1, 3)))) == ["r_l0", "z_l0", "n_l0", "h_l0"]


@pytest.mark.parametrize("options", [{}, {"recompute": True}, {"dropout": 0.5}], ids=str)
def test_same_bits_as_the_outputs(options: dict) -> None:
    case = Case("gru", 3, 20, 9, 4, num_layers=2, ragged=True, dtype="float32", options=options)
    layer = case.layer()
    y, h = layer(case.x(), case.state(), case.lengths())
    found = layer.gates(case.x(), case.state(), case.lengths())
    assert same_bits(found["h_l1"], y)
    rows_first = case.layer(batch_first=True).gates(case.x().swapaxes(0, 1), case.state(), case.lengths())
    assert all(same_bits(np.ascontiguousarray(rows_first[name].swapaxes(0, 1)), found[name]) for name in found)
    last = case.lengths() - 1
    assert same_bits(found["h_l0"][last, np.arange(case.batch)], h[0])


def test_a_forward_that_waits_for_backward_is_not_disturbed() -> None:
    case = Case("lstm", 3, 20, 9, 4, num_layers=2)
    results = []
    for look in (False, True):
        layer = case.layer()
        y, _ = layer.forward(case.x(), case.state())
        if look:
            layer.gates(2 * case.x()[:5, :2])
        dx, dstate = layer.backward(np.cos(y))
        results.append((dx, *dstate, layer.flat_gradients))
    assert all(same_bits(a, b) for a, b in zip(*results, strict=True))


def test_bad_input() -> None:
    layer = lstmcore.LSTM(3, 4)
    with pytest.raises(ValueError, match=r"x has 2 features"):
        layer.gates(np.ones((5, 2, 2)))
    with pytest.raises(ValueError, match=r"lengths"):
        layer.gates(np.ones((5, 2, 3)), lengths=[6, 1])
    with pytest.raises(TypeError, match=r"state"):
        layer.gates(np.ones((5, 2, 3)), as_state((np.zeros((1, 2, 4)),)))
