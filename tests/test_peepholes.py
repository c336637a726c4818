"""Peepholes of some gates: which cells take which, and that what is not chosen is not there."""

from __future__ import annotations

import numpy as np
import pytest
from cases import REGISTRY, Case, as_state, as_tuple, error, in_double, same_bits
from test_gradients import assert_exact

import lstmcore
from lstmcore.layers import LSTM, from_cell
from lstmcore.model_file import build_network, network_config
from lstmcore.network import Dense, Network

POSSIBLE = {name: info["peepholes"] for name, info in REGISTRY.items() if info["peepholes"]}
SOME = [(cell, letters) for cell in POSSIBLE for letters in ("i", "f", "o", "if", "io", "fo", POSSIBLE[cell])]
SOME = [(cell, letters) for cell, letters in dict.fromkeys(SOME) if set(letters) <= set(POSSIBLE[cell])]


def test_what_can_have_peepholes() -> None:
    whole = {"lstm_peephole": "ifo", "lstm_coupled_peephole": "io", "lstm_no_input_gate": "fo"}
    whole |= {"lstm_full_gate_recurrence": "ifo"}
    whole |= {"lstm_no_forget_gate": "io", "lstm_no_output_gate": "if"}
    assert whole | {f"lstm_no_{part}_activation": "ifo" for part in ("input", "output")} == POSSIBLE


@pytest.mark.parametrize(("cell", "letters"), SOME)
def test_outputs_and_gradients(cell: str, letters: str) -> None:
    for case in (
        Case(cell, 2, 3, 4, 3, num_layers=2, bidirectional=True, ragged=True, options={"peepholes": letters}),
        Case(cell, 5, 33, 20, 9, options={"peepholes": letters}),
        Case(cell, 2, 5, 6, 2, proj_size=2 * REGISTRY[cell]["projection"], options={"peepholes": letters}),
    ):
        layer = case.layer()
        assert layer.peepholes == letters
        names = {name for name in layer.parameters if "weight_c" in name and name.endswith("_l0")}
        assert names == {f"weight_c{letter}_l0" for letter in letters}
        y, state = layer(case.x(), case.state(), case.lengths())
        expected, states = case.expected(in_double(layer), case.x(), case.states())
        assert error(y, expected) < 1e-12
        assert all(error(a, b) < 1e-12 for a, b in zip(as_tuple(state), states, strict=True))
        assert_exact(case, 1e-12, each=True)


@pytest.mark.parametrize("cell", POSSIBLE)
def test_same_bits(cell: str) -> None:
    case = Case(cell, 5, 40, 12, 7, ragged=True, dtype="float32", options={"peepholes": POSSIBLE[cell][-1]})
    results = []
    for threads, recompute in ((1, False), (3, True)):
        lstmcore.set_num_threads(threads)
        layer = case.layer(recompute=recompute)
        y, _ = layer.forward(case.x(), case.state(), case.lengths())
        dx, _ = layer.backward(np.cos(y))
        results.append((y, dx, layer.flat_gradients.copy(), layer(case.x(), case.state(), case.lengths())[0]))
    assert all(same_bits(a, b) for a, b in zip(*results, strict=True))
    assert same_bits(results[0][0], results[0][3])


def test_the_name_of_a_cell_and_the_option_meet() -> None:
    for made, cell, letters in (
        (LSTM(2, 3), "lstm", None),
        (LSTM(2, 3, peepholes=True), "lstm_peephole", "ifo"),
        (LSTM(2, 3, peepholes="oi"), "lstm_peephole", "io"),
        (LSTM(2, 3, peepholes="f"), "lstm_peephole", "f"),
        (LSTM(2, 3, coupled=True, peepholes="o"), "lstm_coupled_peephole", "o"),
        (from_cell("lstm", 2, 3, peepholes="io"), "lstm_peephole", "io"),
        (from_cell("lstm_peephole", 2, 3), "lstm_peephole", "ifo"),
        (from_cell("lstm_peephole", 2, 3, peepholes=False), "lstm", None),
        (from_cell("lstm_no_input_gate", 2, 3), "lstm_no_input_gate", None),
        (from_cell("lstm_no_input_gate", 2, 3, peepholes=True), "lstm_no_input_gate", "fo"),
        (from_cell("gru", 2, 3, peepholes=False), "gru", None),
    ):
        assert (made.cell, made.peepholes) == (cell, letters)
        text = repr(made)
        again = eval(text, {"LSTM": LSTM, "Recurrent": lstmcore.layers.Recurrent})
        assert (again.cell, again.peepholes, repr(again)) == (cell, letters, text)
    assert repr(LSTM(2, 3, peepholes="oi")) == "LSTM(2, 3, peepholes='io')"


@pytest.mark.parametrize(
    ("cell", "value", "message"),
    [
        ("gru", True, "peepholes must be None for cell 'gru', which leaves no choice of them, got True"),
        ("gru", "i", "peepholes must be None for cell 'gru', which leaves no choice of them, got 'i'"),
        ("lstm_coupled", "f", "peepholes of cell 'lstm_coupled' must be letters of 'io', each once, got 'f'"),
    ],
)
def test_bad_values(cell: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_cell(cell, 2, 3, peepholes=value)
    with pytest.raises(ValueError, match=message):
        lstmcore.RNNClassifier(cell=cell, peepholes=value).fit(np.zeros((4, 5, 2)), [0, 1, 0, 1])


def test_models_keep_their_peepholes() -> None:
    recurrent = from_cell("lstm_no_output_gate", 2, 3, peepholes="f", seed=0)
    again = build_network(network_config(Network(recurrent, "last", Dense(3, 1, seed=0))), {}).recurrent
    assert (again.cell, again.peepholes) == ("lstm_no_output_gate", "f")
    x = np.sin(np.arange(120.0)).reshape(6, 10, 2)
    clf = lstmcore.RNNClassifier(cell="lstm", peepholes="io", hidden_size=4, max_epochs=1, random_state=0)
    clf.fit(x, [0, 1] * 3)
    assert clf.model_.network.recurrent.peepholes == "io"


def test_a_chosen_subset_is_the_whole_with_zeros() -> None:
    whole, some = LSTM(2, 5, peepholes=True, seed=0), LSTM(2, 5, peepholes="o", seed=0)
    zeros = {f"weight_c{gate}_l0": np.zeros(5, np.float32) for gate in "if"}
    whole.load_parameters({**some.parameters, **zeros})
    case = Case("lstm", 2, 5, dtype="float32")
    state = as_state(case.states())
    assert same_bits(whole(case.x(), state)[0], some(case.x(), state)[0])
