"""Recurrent dropout and zoneout: against the reference with the same masks, the same bits, and what they mean."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cases import CELLS, REGISTRY, Case, as_state, as_tuple, error, same_bits
from noise import Noise
from reference import run
from test_gradients import assert_exact
from test_same_bits import outcome

import lstmcore
from lstmcore.layers import GRU, LSTM, RNN, Recurrent, from_cell

NOISY = [cell for cell in CELLS if REGISTRY[cell]["noise"]]
RATES = ({"recurrent_dropout": 0.4}, {"zoneout": 0.3}, {"recurrent_dropout": 0.25, "zoneout": 0.2})


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = lstmcore.get_num_threads()
    yield
    lstmcore.set_num_threads(before)


class NoisyCase(Case):
    """A case whose reference has the masks of the first `forward` of its layer, or none of them."""

    training = True

    def lengths(self) -> np.ndarray | None:
        lengths = super().lengths()
        return None if lengths is None else np.sort(lengths)[::-1].copy()  # in the order in which masks are drawn

    def expected(self, parameters: Any, x: np.ndarray, states: tuple) -> tuple[np.ndarray, tuple]:
        layer, lengths = self.layer(), self.lengths()
        seed = int(copy.deepcopy(layer._rng).integers(2**63)) if self.training else None
        lengths = np.full(self.batch, self.steps) if lengths is None else lengths
        noise = Noise(layer.recurrent_dropout, layer.zoneout, self.num_layers, lengths, seed)
        return run(self.cell, parameters, x, states, lengths, self.num_layers, self.bidirectional, noise)


class CalledCase(NoisyCase):
    training = False


@pytest.mark.parametrize("rates", RATES, ids=str)
@pytest.mark.parametrize("cell", NOISY)
def test_forward_and_gradients_are_those_of_the_reference(cell: str, rates: dict[str, float]) -> None:
    for case in (
        NoisyCase(cell, 2, 3, 5, 4, num_layers=2, bidirectional=True, ragged=True, options=rates),
        NoisyCase(cell, 3, 33, 4, 9, ragged=True, options=rates),
        NoisyCase(cell, 3, 5, 300, 2, options={**rates, "recompute": True}),
        *([NoisyCase(cell, 3, 18, 4, 3, proj_size=7, options=rates)] if REGISTRY[cell]["projection"] else []),
    ):
        layer = case.layer()
        y, final = layer.forward(case.x(), case.state(), case.lengths())
        expected, finals = case.expected(layer.parameters, case.x(), case.states())
        assert error(y, expected) < 1e-12
        assert all(error(a, b) < 1e-12 for a, b in zip(as_tuple(final), finals, strict=True))
        assert_exact(case, 1e-11, each=case.steps < 10)


@pytest.mark.parametrize("cell", NOISY)
def test_calling_takes_the_expectation_of_zoneout(cell: str) -> None:
    options = {"recurrent_dropout": 0.4, "zoneout": 0.3}
    case = CalledCase(cell, 3, 20, 6, 5, num_layers=2, bidirectional=True, ragged=True, options=options)
    layer = case.layer()
    y, final = layer(case.x(), case.state(), case.lengths())
    expected, finals = case.expected(layer.parameters, case.x(), case.states())
    assert error(y, expected) < 1e-13
    assert all(error(a, b) < 1e-13 for a, b in zip(as_tuple(final), finals, strict=True))


@pytest.mark.parametrize("cell", NOISY)
def test_whole_chunks_and_steps(cell: str) -> None:
    options = {"recurrent_dropout": 0.4, "zoneout": 0.3}
    for case in (
        Case(cell, 5, 70, 6, 13, num_layers=2, dtype="float32", options=options),
        Case(cell, 40, 200, 12, 1, dtype="float32", options=options),
    ):
        layer, x = case.layer(), case.x()
        whole, final = layer(x, case.state())
        for size in (1, 5):
            parts, state = [], case.state()
            for t in range(0, case.steps, size):
                part, state = layer.step(x[t], state) if size == 1 else layer(x[t : t + size], state)
                parts.append(part[None] if size == 1 else part)
            assert same_bits(np.concatenate(parts), whole)
            assert all(same_bits(a, b) for a, b in zip(as_tuple(state), as_tuple(final), strict=True))


@pytest.mark.parametrize("cell", NOISY)
def test_any_number_of_threads_and_gates_computed_again(cell: str) -> None:
    options = {"recurrent_dropout": 0.25, "zoneout": 0.2}
    for case in (
        Case(cell, 5, 70, 24, 29, num_layers=2, bidirectional=True, ragged=True, dtype="float32", options=options),
        Case(cell, 7, 300, 40, 2, dtype="float32", options=options),  # few rows: threads share the units
    ):
        lstmcore.set_num_threads(1)
        expected = outcome(case.layer(), case)
        for n, recompute in ((2, False), (3, True), (4, False)):
            lstmcore.set_num_threads(n)
            found = outcome(case.layer(recompute=recompute), case)  # a new layer: the masks follow from its seed
            assert all(same_bits(a, b) for a, b in zip(found, expected, strict=True)), (case, n)


# ---- what they mean -------------------------------------------------------------------------------------------------


def counter(**options: Any) -> Recurrent:
    """A residual layer whose every unit adds tanh(1) of the input and, by U = 0, of nothing else."""
    layer = RNN(1, 400, residual=True, dtype="float64", **options)
    parameters = {name: np.zeros_like(value) for name, value in layer.parameters.items()}
    parameters["weight_ih_l0"][:] = 1.0
    layer.load_parameters(parameters)
    return layer


def test_zoneout_keeps_its_share_of_units() -> None:
    layer = counter(zoneout=0.3, seed=0)
    y, _ = layer.forward(np.ones((20, 30, 1)))
    kept = np.diff(y, axis=0, prepend=0) == 0
    assert abs(kept.mean() - 0.3) < 0.005
    for axis in range(3):
        others = tuple(k for k in range(3) if k != axis)
        assert np.abs(kept.mean(axis=others) - 0.3).max() < 0.1
    mean, _ = layer(np.ones((20, 30, 1)))
    assert np.allclose(mean[:, 0, 0], 0.7 * np.tanh(1) * np.arange(1, 21))
    assert not same_bits(layer.forward(np.ones((20, 30, 1)))[0], y)  # each forward draws masks of its own


def test_h_and_c_are_kept_by_draws_of_their_own() -> None:
    layer = LSTM(1, 500, zoneout=0.5, seed=0, dtype="float64")
    h0, c0 = np.full((2, 1, 20, 500), 0.123)
    _, (h, c) = layer.forward(np.ones((1, 20, 1)), (h0, c0))
    both = ((h == h0) & (c == c0)).mean()
    assert abs((h == h0).mean() - 0.5) < 0.02 and abs((c == c0).mean() - 0.5) < 0.02 and abs(both - 0.25) < 0.02


def test_recurrent_dropout_has_one_mask_for_all_steps() -> None:
    # U = 1 on h = relu(h' + x): a unit grows while U sees it, and is x alone where it is dropped.
    layer = RNN(1, 400, nonlinearity="relu", recurrent_dropout=0.4, seed=0, dtype="float64")
    parameters = {name: np.zeros_like(value) for name, value in layer.parameters.items()}
    parameters["weight_ih_l0"][:] = 1.0
    parameters["weight_hh_l0"][:] = np.eye(400)
    layer.load_parameters(parameters)
    y, _ = layer.forward(np.ones((6, 30, 1)))
    dropped = y[1] == 1
    assert abs(dropped.mean() - 0.4) < 0.02
    assert np.abs(dropped.mean(axis=1) - 0.4).max() < 0.1
    grown = np.cumsum((1 / 0.6) ** np.arange(6))
    assert np.allclose(y, np.where(dropped, 1.0, grown[:, None, None]))
    assert same_bits(layer(np.ones((6, 30, 1)))[0][:, 0, 0], np.arange(1.0, 7.0))


def test_no_noise_is_the_plain_layer() -> None:
    for cell in NOISY:
        plain, layer = (Case(cell, options=rates).layer() for rates in ({}, {"recurrent_dropout": 0.5}))
        x = Case(cell).x()
        assert same_bits(layer(x)[0], plain(x)[0])
        assert not same_bits(layer.forward(x)[0], plain.forward(x)[0])


def test_copies_and_text() -> None:
    layer = GRU(2, 3, recurrent_dropout=0.5, zoneout=0.25, seed=0)
    assert repr(layer) == "GRU(2, 3, recurrent_dropout=0.5, zoneout=0.25)"
    x = np.ones((4, 2, 2), np.float32)
    assert same_bits(copy.deepcopy(layer).forward(x)[0], layer.forward(x)[0])


@pytest.mark.parametrize("name", ["recurrent_dropout", "zoneout"])
def test_bad_rates_are_named(name: str) -> None:
    for make in (LSTM, GRU, RNN, lambda *sizes, **options: from_cell("lstm", *sizes, **options)):
        with pytest.raises(ValueError, match=rf"{name} must lie in \[0, 1\), got 1.0"):
            make(2, 3, **{name: 1.0})
        with pytest.raises(TypeError, match=rf"{name} must be a number, got 'much'"):
            make(2, 3, **{name: "much"})


def test_training_with_noise_does_not_depend_on_threads() -> None:
    from lstmcore.model_file import build_network, network_config
    from lstmcore.network import Dense, Network
    from lstmcore.sequences import as_sequences

    results = []
    for n in (1, 3):
        lstmcore.set_num_threads(n)
        recurrent = LSTM(3, 70, recurrent_dropout=0.3, zoneout=0.1, seed=0)
        network = Network(recurrent, "last", Dense(70, 1, seed=0))
        rng = np.random.default_rng(0)
        sequences = as_sequences([rng.standard_normal((k, 3)).astype(np.float32) for k in range(3, 30)])
        batch = sequences.batch(np.arange(27))
        output = network.forward(batch, training=True, seed=7)
        network.backward(output)
        results.append((output, network.flat_gradients.copy()))
    assert all(same_bits(a, b) for a, b in zip(*results, strict=True))
    again = build_network(network_config(network), {}).recurrent
    assert (again.recurrent_dropout, again.zoneout) == (0.3, 0.1)


def test_states_that_are_carried_in_training() -> None:
    case = Case("lstm", 3, 5, 8, 2, options={"zoneout": 0.5, "recurrent_dropout": 0.5})
    layer = case.layer()
    ys = [window.y for window in layer.tbptt(case.x(), as_state(case.states()), k1=3, k2=5)]
    assert np.isfinite(np.concatenate(ys)).all() and sum(len(y) for y in ys) == 8
