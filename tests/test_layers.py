"""Layers: outputs and states against the float64 reference, and what a layer does beside computing."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import reference
from cases import CELLS, Case, all_cases, as_state, as_tuple, error, in_double, same_bits

import lstmcore
from lstmcore import _init
from lstmcore.layers import GRU, LSTM, RNN, Recurrent, from_cell

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


def assert_matches_reference(case: Case) -> None:
    layer = case.layer()
    x, states = case.x(), case.states()
    expected_y, expected_states = case.expected(in_double(layer), x.astype(float), states)
    y, state = layer(x, case.state(), case.lengths())
    tolerance = TOLERANCE[case.dtype] * (10 if "layernorm" in case.cell else 1)  # it divides by small deviations
    assert error(y, expected_y) < tolerance
    for actual, expected in zip(as_tuple(state), expected_states, strict=True):
        assert actual.dtype == case.dtype
        assert error(actual, expected) < tolerance


def test_the_documentation_lists_every_cell() -> None:
    page = (Path(__file__).parent.parent / "docs" / "cells.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(\w+)` \| `\w+\(", page, re.MULTILINE)) == sorted(CELLS)


def test_every_registered_cell_has_a_reference() -> None:
    assert set(CELLS) == set(reference.CELLS)
    assert lstmcore.cells() == CELLS


@pytest.mark.parametrize("case", all_cases(dtype="float64"), ids=str)
def test_outputs_and_states_float64(case: Case) -> None:
    assert_matches_reference(case)


@pytest.mark.parametrize("case", all_cases(dtype="float32"), ids=str)
def test_outputs_and_states_float32(case: Case) -> None:
    assert_matches_reference(case)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("hidden_size", [1, 3, 8, 17, 33])
@pytest.mark.parametrize("cell", CELLS)
def test_odd_sizes(cell: str, hidden_size: int, dtype: str) -> None:
    for input_size in (1, 2, 5):
        for batch in (1, 2, 7, 13):
            for both in (False, True):
                assert_matches_reference(
                    Case(cell, input_size, hidden_size, 3, batch, bidirectional=both, ragged=batch > 2, dtype=dtype)
                )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cell", CELLS)
def test_sizes_beyond_the_caches(cell: str, dtype: str) -> None:
    # relu and residual networks grow with T and H, so few steps: what is tested is the blocking
    assert_matches_reference(Case(cell, 7, 530, 2, 3, dtype=dtype))
    assert_matches_reference(Case(cell, 300, 129, 2, 50, ragged=True, dtype=dtype))
    assert_matches_reference(Case(cell, 3, 64, 150, 1, dtype=dtype))


def test_wide_projection() -> None:
    for proj_size in (1, 8, 17, 32):
        assert_matches_reference(Case("lstm", 2, 33, 4, 7, proj_size=proj_size, num_layers=2, bidirectional=True))


@pytest.mark.parametrize("cell", CELLS)
def test_step_is_one_step_of_the_sequence(cell: str) -> None:
    case = Case(cell, num_layers=2)
    layer = case.layer()
    y, state = layer(case.x()[:1], case.state())
    y_t, state_t = layer.step(case.x()[0], case.state())
    assert same_bits(y_t, y[0])
    assert all(same_bits(a, b) for a, b in zip(as_tuple(state_t), as_tuple(state), strict=True))
    assert type(state_t) is type(state)


def test_step_takes_what_the_layer_takes() -> None:
    layer = LSTM(3, 5, seed=0, batch_first=True)
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    y, state = layer.step(x)
    assert y.shape == (2, 5) and [part.shape for part in state] == [(1, 2, 5)] * 2
    for other in (x.tolist(), x.astype(np.float64), np.asfortranarray(x), x[::-1][::-1]):
        assert same_bits(layer.step(other)[0], y)
    assert same_bits(layer.step(x, [part.astype(np.float64) for part in state])[0], layer.step(x, state)[0])


def test_absent_states_are_zeros() -> None:
    layer = LSTM(3, 5, num_layers=2, seed=0)
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    h, zero = np.full((2, 2, 5), 0.5, np.float32), np.zeros((2, 2, 5), np.float32)
    for absent, given in [(None, (zero, zero)), ((h, None), (h, zero)), ((None, h), (zero, h))]:
        assert same_bits(layer(x, absent)[0], layer(x, given)[0])
        assert same_bits(layer.step(x[0], absent)[0], layer.step(x[0], given)[0])


def test_step_leaves_its_arguments_alone() -> None:
    layer = GRU(3, 5, seed=0)
    x = np.ones((2, 3), np.float32)
    _, first = layer.step(x)
    kept = first.copy()
    layer.step(x, first)
    assert same_bits(first, kept)


@pytest.mark.parametrize("case", [Case("lstm", ragged=ragged, bidirectional=True) for ragged in (False, True)], ids=str)
def test_batch_first(case: Case) -> None:
    y, state = case.layer()(case.x(), case.state(), case.lengths())
    layer = case.layer(batch_first=True)
    transposed, same = layer(case.x().swapaxes(0, 1), case.state(), case.lengths())
    assert np.array_equal(transposed.swapaxes(0, 1), y)
    assert all(same_bits(a, b) for a, b in zip(same, state, strict=True))


def test_input_of_any_number_type_and_layout() -> None:
    layer = GRU(2, 4, seed=0)
    x = np.arange(24).reshape(3, 4, 2)
    y, _ = layer(x.astype(np.float32))
    for other in (x, x.astype(np.int8), x.astype(float), x.tolist(), np.asfortranarray(x.astype(np.float32))):
        assert same_bits(layer(other)[0], y)
    assert y.dtype == np.float32
    padded = np.zeros((3, 4, 5), np.float32)
    padded[..., ::2][..., :2] = x
    assert same_bits(layer(padded[..., ::2][..., :2])[0], y)


def test_lengths_in_any_order_and_padding_of_any_value() -> None:
    layer = LSTM(2, 4, seed=0)
    x = np.random.default_rng(1).standard_normal((6, 4, 2)).astype(np.float32)
    lengths = [2, 5, 1, 5]
    for b, length in enumerate(lengths):
        x[length:, b] = np.nan  # padding is not read, so it may hold anything
    y, (h, c) = layer(x, lengths=lengths)
    assert y.shape == (6, 4, 4)
    for b, length in enumerate(lengths):
        alone, (h_alone, c_alone) = layer(x[:length, b : b + 1])
        assert same_bits(y[:length, b], alone[:, 0])
        assert not y[length:, b].any()
        assert same_bits(h[:, b], h_alone[:, 0]) and same_bits(c[:, b], c_alone[:, 0])


def test_results_are_not_overwritten_by_later_calls() -> None:
    layer = LSTM(2, 4, num_layers=2, seed=0)
    x = np.random.default_rng(1).standard_normal((6, 4, 2)).astype(np.float32)
    for run in (layer, layer.forward):
        y, state = run(x)
        kept = [y.copy(), *(part.copy() for part in state)]
        run(2 * x, state)
        assert all(same_bits(a, b) for a, b in zip([y, *state], kept, strict=True))


# ---- parameters -----------------------------------------------------------------------------------------------------


def test_names_shapes_and_order_are_those_of_torch() -> None:
    layer = LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2, seed=0)
    shapes = {name: value.shape for name, value in layer.parameters.items()}
    first = {"weight_ih": (20, 3), "weight_hh": (20, 2), "bias_ih": (20,), "bias_hh": (20,), "weight_hr": (2, 5)}
    second = {**first, "weight_ih": (20, 4)}
    expected = [
        (name + f"_l{layer}{suffix}", shape)
        for layer, cell in enumerate([first, second])
        for suffix in ("", "_reverse")
        for name, shape in cell.items()
    ]
    assert list(shapes.items()) == expected
    assert layer.n_parameters == sum(int(np.prod(shape)) for _, shape in expected)
    assert {name: value.shape for name, value in layer.gradients.items()} == shapes


@pytest.mark.parametrize(
    ("layer", "cell", "extra"),
    [
        (lambda **o: LSTM(2, 3, **o), "lstm", []),
        (lambda **o: LSTM(2, 3, peepholes=True, **o), "lstm_peephole", ["ci", "cf", "co"]),
        (lambda **o: LSTM(2, 3, coupled=True, **o), "lstm_coupled", []),
        (lambda **o: LSTM(2, 3, coupled=True, peepholes=True, **o), "lstm_coupled_peephole", ["ci", "co"]),
        (lambda **o: GRU(2, 3, **o), "gru", []),
        (lambda **o: GRU(2, 3, reset_after=False, **o), "gru_reset_before", []),
        (lambda **o: RNN(2, 3, **o), "rnn_tanh", []),
        (lambda **o: RNN(2, 3, 1, "relu", **o), "rnn_relu", []),
        (lambda **o: RNN(2, 3, nonlinearity="hardtanh", **o), "rnn_hardtanh", []),
        (lambda **o: RNN(2, 3, residual=True, **o), "rnn_residual", []),
    ],
)
def test_options_pick_the_cell(layer, cell: str, extra: list[str]) -> None:
    made = layer(seed=3)
    assert made.cell == cell
    assert [name for name in made.parameters if "weight_c" in name] == [f"weight_{gate}_l0" for gate in extra]
    same = from_cell(cell, 2, 3, seed=3)
    assert same_bits(made.flat_parameters, same.flat_parameters)


def test_parameters_cannot_be_written_past_the_core() -> None:
    layer = LSTM(2, 3, seed=0)
    with pytest.raises(ValueError, match="read-only"):
        layer.parameters["weight_ih_l0"][0, 0] = 1.0
    layer.gradients["weight_ih_l0"][0, 0] = 1.0
    assert layer.flat_gradients[0] == 1.0
    layer.zero_gradients()
    assert not layer.flat_gradients.any()


@pytest.mark.parametrize("cell", CELLS)
def test_load_parameters_and_parameters_changed(cell: str) -> None:
    source, layer = Case(cell, num_layers=2).layer(seed=1), Case(cell, num_layers=2).layer(seed=2)
    x = Case(cell).x()
    before = layer(x)[0]
    layer.load_parameters({name: value.tolist() for name, value in source.parameters.items()})
    assert same_bits(layer(x)[0], source(x)[0])
    assert not same_bits(layer(x)[0], before)
    y = layer.forward(x)[0]
    layer.backward(np.ones_like(y))
    layer.flat_parameters[...] *= 0.5
    layer.parameters_changed()
    source.load_parameters(layer.parameters)
    assert same_bits(layer(x)[0], source(x)[0])
    assert same_bits(layer.step(x[0])[0], source.step(x[0])[0])
    for trained in (layer, source):
        trained.zero_gradients()
        trained.forward(x)
        trained.backward(np.ones_like(y))
    assert same_bits(layer.flat_gradients, source.flat_gradients)


def test_bind_moves_values_into_a_larger_vector() -> None:
    layer = GRU(2, 3, seed=0, dtype="float64")
    x = np.ones((4, 2, 2))
    y, _ = layer.forward(x)
    layer.backward(np.ones_like(y))
    n, kept = layer.n_parameters, layer.flat_gradients.copy()
    parameters, gradients = np.full(n + 10, 7.0), np.full(n + 10, 7.0)
    layer.bind(parameters[5:-5], gradients[5:-5])
    assert same_bits(layer(x)[0], y)
    assert same_bits(gradients[5:-5], kept)
    layer.forward(x)
    layer.backward(np.ones_like(y))
    assert np.allclose(gradients[5:-5], 2 * kept)
    assert np.shares_memory(layer.parameters["bias_hh_l0"], parameters)
    assert (parameters[:5] == 7).all() and (gradients[-5:] == 7).all()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_are_independent(duplicate) -> None:
    layer = LSTM(2, 3, num_layers=2, dropout=0.5, peepholes=True, seed=0, batch_first=True)
    x = np.random.default_rng(0).standard_normal((3, 4, 2)).astype(np.float32)
    other = duplicate(layer)
    assert type(other) is LSTM and repr(other) == repr(layer) and other.peepholes
    assert same_bits(other(x)[0], layer(x)[0])
    assert same_bits(other.forward(x)[0], layer.forward(x)[0])  # the generator of the dropout masks is copied too
    before = layer(x)[0]
    other.load_parameters({name: 0 * value for name, value in other.parameters.items()})
    assert same_bits(layer(x)[0], before)


def test_repr_is_the_constructor_call() -> None:
    assert repr(LSTM(2, 3, 2, coupled=True, dtype=np.float64, seed=0)) == (
        "LSTM(2, 3, num_layers=2, coupled=True, dtype='float64')"
    )
    assert repr(RNN(2, 3, nonlinearity="relu")) == "RNN(2, 3, nonlinearity='relu')"
    assert repr(from_cell("gru", 2, 3)) == "Recurrent('gru', 2, 3)"
    for layer in (GRU(1, 2, reset_after=False), RNN(1, 2, 3, "hardtanh", False)):
        assert repr(eval(repr(layer))) == repr(layer)


# ---- initial values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_initial_values_are_uniform_as_in_torch(cell: str) -> None:
    layer = from_cell(cell, 30, 25, seed=0)
    for name, value in layer.parameters.items():
        if "_ln_" in name:  # layer normalisation starts as nothing but that
            assert (value == (1 if name.startswith("weight") else 0)).all(), name
            continue
        if value.ndim == 1 and "weight_hh" in name:  # see test_recurrent_vectors_start_between_no_memory_and_all
            continue
        assert np.abs(value).max() <= 0.2, name
        assert np.abs(value).max() > 0.15, name
        assert abs(value.mean()) < 5 * 0.2 / np.sqrt(3 * value.size), name


def test_one_seed_is_one_layer_in_either_precision() -> None:
    single, double = LSTM(2, 3, seed=5), LSTM(2, 3, seed=5, dtype="float64")
    assert same_bits(single.flat_parameters, double.flat_parameters.astype(np.float32))
    assert not same_bits(single.flat_parameters, LSTM(2, 3, seed=6).flat_parameters)
    assert not same_bits(LSTM(2, 3).flat_parameters, LSTM(2, 3).flat_parameters)
    rng = np.random.default_rng(5)
    assert same_bits(LSTM(2, 3, seed=rng).flat_parameters, single.flat_parameters)
    assert not same_bits(LSTM(2, 3, seed=rng).flat_parameters, single.flat_parameters)


@pytest.mark.parametrize(("layer", "gates"), [(LSTM, 4), (GRU, 3), (RNN, 1)])
def test_orthogonal_recurrent_weights(layer: type[Recurrent], gates: int) -> None:
    made = layer(3, 12, num_layers=2, bidirectional=True, recurrent_init="orthogonal", seed=0, dtype="float64")
    for name in ("weight_hh_l0", "weight_hh_l1_reverse"):
        for block in made.parameters[name].reshape(gates, 12, 12):
            assert np.allclose(block @ block.T, np.eye(12))


def test_orthogonal_with_projection_has_orthonormal_columns() -> None:
    layer = LSTM(3, 12, proj_size=4, recurrent_init="orthogonal", seed=0, dtype="float64")
    for block in layer.parameters["weight_hh_l0"].reshape(4, 12, 4):
        assert np.allclose(block.T @ block, np.eye(4))


def test_forget_bias() -> None:
    layer = LSTM(3, 4, num_layers=2, forget_bias=1.0, seed=0)
    plain = LSTM(3, 4, num_layers=2, seed=0)
    for name in ("bias_ih_l1", "bias_hh_l1"):
        expected = plain.parameters[name].copy()
        expected[4:8] = 1.0 if "ih" in name else 0.0
        assert same_bits(layer.parameters[name], expected)
    coupled = LSTM(3, 4, coupled=True, forget_bias=1.0, seed=0).parameters["bias_ih_l0"]
    assert (coupled[:4] == -1.0).all()  # f = 1 - sigmoid(a) = sigmoid(-a)


FORGET = [cell for cell in CELLS if _init.has_forget_gate(cell)]


def test_cells_with_a_forget_gate() -> None:
    gates = {cell: {name[0] for name in from_cell(cell, 2, 3).gates(np.ones((1, 1, 2)))} for cell in CELLS}
    assert FORGET == [cell for cell in CELLS if "f" in gates[cell] or "coupled" in cell]


@pytest.mark.parametrize("cell", FORGET)
def test_forget_bias_is_what_a_cell_keeps_when_nothing_else_happens(cell: str) -> None:
    layer, plain = (from_cell(cell, 3, 4, seed=0, dtype="float64", forget_bias=bias) for bias in (2.0, None))
    vector = layer.flat_parameters
    vector[vector == plain.flat_parameters] = 0.0
    layer.parameters_changed()
    ones = [np.ones(part.shape) for part in as_tuple(layer(np.zeros((1, 1, 3)))[1])]
    _, state = layer(np.zeros((1, 1, 3)), as_state(tuple(ones)))
    assert np.allclose(as_tuple(state)[-1], reference.sigmoid(2.0))


def test_recurrent_vectors_start_between_no_memory_and_all() -> None:
    u = from_cell("indrnn", 3, 400, seed=0).parameters["weight_hh_l0"]
    assert u.shape == (400,) and u.min() >= 0 and u.max() <= 1 and abs(u.mean() - 0.5) < 0.05
    with pytest.raises(ValueError, match=r"recurrent_init must be 'uniform' for cell 'indrnn', .* got 'orthogonal'"):
        from_cell("indrnn", 3, 4, recurrent_init="orthogonal")


# ---- dropout --------------------------------------------------------------------------------------------------------


def test_dropout_acts_between_layers_in_forward_only() -> None:
    options = {"num_layers": 2, "seed": 0, "bidirectional": True}
    plain, layer = LSTM(3, 8, **options), LSTM(3, 8, dropout=0.5, **options)
    x = np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float32)
    assert same_bits(layer(x)[0], plain(x)[0])
    y, (h, c) = layer.forward(x)
    _, (h_plain, c_plain) = plain(x)
    assert not same_bits(y, plain(x)[0])
    assert same_bits(h[:2], h_plain[:2]) and same_bits(c[:2], c_plain[:2])  # the first layer itself loses nothing
    again = layer.forward(x)[0]
    assert not same_bits(again, y)  # each forward draws a mask of its own
    assert same_bits(LSTM(3, 8, dropout=0.5, **options).forward(x)[0], y)  # from the layer's seed


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    # The second layer shows its input: weight_ih = 1 with relu, from a first layer whose every output is 1.
    size = 200
    layer = RNN(1, size, 2, "relu", dropout=0.3, seed=0, dtype="float64")
    parameters = {name: np.zeros_like(value) for name, value in layer.parameters.items()}
    parameters["bias_ih_l0"][:] = 1.0
    parameters["weight_ih_l1"][:] = np.eye(size)
    layer.load_parameters(parameters)
    y, _ = layer.forward(np.ones((20, 30, 1)))
    assert set(np.unique(np.round(y, 12))) == {0.0, round(1 / 0.7, 12)}
    assert abs((y == 0).mean() - 0.3) < 0.005  # five standard deviations of 120 000 draws are 0.0066
    dropped = y == 0
    for axis in range(3):  # no row, step or unit is dropped more often than others
        others = tuple(k for k in range(3) if k != axis)
        assert np.abs(dropped.mean(axis=others) - 0.3).max() < 0.1


# ---- a cell's meaning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm_layernorm", "gru_layernorm"])
def test_layer_normalisation_does_not_see_the_scale_of_weights_and_inputs(cell: str) -> None:
    layer = from_cell(cell, 4, 7, seed=0, dtype="float64")
    x = np.random.default_rng(0).standard_normal((5, 3, 4))
    start = {name: value.copy() for name, value in layer.parameters.items()}

    def scaled(by: float) -> np.ndarray:
        layer.load_parameters({name: value * (by if "weight_hh" in name else 1) for name, value in start.items()})
        return layer(by * x)[0]

    assert error(scaled(1e3), scaled(1e6)) < 1e-6  # but for the epsilon under the root
    assert error(scaled(1.0), scaled(1e6)) < 1e-2


def test_peepholes_of_zero_make_no_difference() -> None:
    for coupled in (False, True):
        plain = LSTM(2, 3, coupled=coupled, seed=0, dtype="float64")
        peephole = LSTM(2, 3, coupled=coupled, peepholes=True, seed=0, dtype="float64")
        zero = {name: np.zeros_like(value) for name, value in peephole.parameters.items()}
        peephole.load_parameters({**zero, **plain.parameters})
        x = np.random.default_rng(0).standard_normal((5, 4, 2))
        assert np.allclose(peephole(x)[0], plain(x)[0], rtol=0, atol=1e-15)


def test_gru_forms_agree_without_recurrence_in_n() -> None:
    after, before = (GRU(2, 3, reset_after=flag, seed=0, dtype="float64") for flag in (True, False))
    parameters = {name: value.copy() for name, value in after.parameters.items()}
    parameters["weight_hh_l0"][6:] = 0
    parameters["bias_hh_l0"][6:] = 0
    after.load_parameters(parameters)
    before.load_parameters(parameters)
    x = np.random.default_rng(0).standard_normal((5, 4, 2))
    assert np.allclose(after(x)[0], before(x)[0], rtol=0, atol=1e-15)


def test_saturated_gates_neither_overflow_nor_warn() -> None:
    for cell in CELLS:
        layer = from_cell(cell, 1, 4, seed=0)
        x = np.array([1e4, -1e4, 1e30, -1e30, 0.0], np.float32).reshape(5, 1, 1)
        y, _ = layer(x)
        assert np.isfinite(y).all(), cell


def test_state_of_one_array_in_a_tuple_is_explained() -> None:
    h = np.zeros((1, 2, 4), np.float32)
    with pytest.raises(TypeError, match=r"state of a gru layer is one array h, got a tuple"):
        GRU(3, 4)(np.ones((5, 2, 3)), (h,))
    assert as_state((h,)) is h
