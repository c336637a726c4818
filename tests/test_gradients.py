"""Backward passes: against complex-step derivatives of the reference, and against finite differences of ourselves."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CELLS, Case, all_cases, as_state, as_tuple, error, numbered, same_bits

from lstmcore.layers import LSTM, Recurrent, from_cell

STEP = 1e-30  # of the complex step: so small that its square is nothing
FIVE_POINTS = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))  # f' from f at these steps, with an error of h^4


class Gradients:
    """One backward pass of a case with random output gradients, and all that went into it."""

    def __init__(self, case: Case, layer: Recurrent | None = None) -> None:
        self.case, self.layer = case, layer or case.layer()
        rng = case.rng("gradients")
        self.x, self.states = case.x(), case.states()
        self.y, state = self.layer.forward(self.x, as_state(self.states), case.lengths())
        self.dy = rng.standard_normal(self.y.shape).astype(case.dtype)
        self.dfinal = tuple(rng.standard_normal(part.shape).astype(case.dtype) for part in as_tuple(state))
        self.layer.zero_gradients()
        dx, dstate = self.layer.backward(self.dy, as_state(self.dfinal))
        assert dx is not None
        self.inputs = {"x": self.x, **numbered(self.states), **self.layer.parameters}
        self.gradients = {"x": dx, **numbered(dstate), **self.layer.gradients}

    def reference_loss(self, inputs: dict[str, np.ndarray]) -> complex:
        states = tuple(inputs[f"state{k}"] for k in range(len(self.states)))
        y, finals = self.case.expected(inputs, inputs["x"], states)
        return (y * self.dy).sum() + sum((a * b).sum() for a, b in zip(finals, self.dfinal, strict=True))

    def derivative(self, directions: dict[str, np.ndarray]) -> float:
        """The exact derivative of the reference's loss along directions of some inputs."""
        moved = {name: self.inputs[name] + 1j * STEP * direction for name, direction in directions.items()}
        return float(np.imag(self.reference_loss({**self.inputs, **moved})) / STEP)


def assert_exact(case: Case, tolerance: float, *, each: bool) -> None:
    """Compare gradients along random directions: of `each` input by itself, or of all of them at once."""
    result = Gradients(case)
    rng = case.rng("directions")
    directions = {name: rng.standard_normal(value.shape) for name, value in result.inputs.items()}
    for group in [[name] for name in directions] if each else [list(directions)]:
        expected = result.derivative({name: directions[name] for name in group})
        terms = [result.gradients[name] * directions[name] for name in group]
        scale = sum(float(np.abs(term).sum()) for term in terms)
        assert abs(sum(float(term.sum()) for term in terms) - expected) <= tolerance * max(scale, 1), group


@pytest.mark.parametrize("case", all_cases(input_size=2, hidden_size=3, steps=4, batch=3), ids=str)
def test_every_gradient_is_exact(case: Case) -> None:
    assert_exact(case, 1e-12, each=True)


@pytest.mark.parametrize("hidden_size", [1, 3, 8, 17, 33])
@pytest.mark.parametrize("cell", CELLS)
def test_odd_sizes(cell: str, hidden_size: int) -> None:
    for input_size in (1, 2, 5):
        for batch in (1, 2, 7, 13):
            both = batch in (2, 7)
            case = Case(cell, input_size, hidden_size, 3, batch, bidirectional=both, ragged=batch > 2)
            assert_exact(case, 1e-12, each=False)


@pytest.mark.parametrize("cell", CELLS)
def test_many_rows_and_units(cell: str) -> None:
    assert_exact(Case(cell, 9, 70, 30, 37, ragged=True), 1e-11, each=True)
    assert_exact(Case(cell, 130, 260, 2, 3), 1e-11, each=True)
    assert_exact(Case(cell, 2, 12, 400, 1), 1e-10, each=True)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_every_coordinate_against_finite_differences(cell: str, depth: int, both: bool) -> None:
    case = Case(cell, 2, 3, 4, 3, num_layers=depth, bidirectional=both, ragged=True)
    result = Gradients(case)
    layer, lengths = result.layer, case.lengths()
    inputs = {"x": result.x, **numbered(result.states), "flat": layer.flat_parameters}
    gradients = {**result.gradients, "flat": layer.flat_gradients}

    def loss() -> float:
        layer.parameters_changed()
        y, state = layer(result.x, as_state(result.states), lengths)
        finals = zip(as_tuple(state), result.dfinal, strict=True)
        return float((y * result.dy).sum() + sum((a * b).sum() for a, b in finals))

    for name, array in inputs.items():
        flat, estimate = array.reshape(-1), np.empty(array.size)
        for k, value in enumerate(flat.copy()):
            estimate[k] = 0.0
            for steps, weight in FIVE_POINTS:
                flat[k] = value + 1e-5 * steps
                estimate[k] += weight * loss() / 1e-5
            flat[k] = value
        assert error(gradients[name].reshape(-1), estimate) < 1e-8, name


@pytest.mark.parametrize("cell", CELLS)
def test_float32_gradients_are_those_of_float64_rounded(cell: str) -> None:
    for case in (
        Case(cell, 3, 20, 12, 9, num_layers=2, bidirectional=True, ragged=True, dtype="float32"),
        Case(cell, 3, 33, 5, 70, dtype="float32"),
    ):
        single = Gradients(case)
        wide = from_cell(
            cell, 3, case.hidden_size, num_layers=case.num_layers, bidirectional=case.bidirectional, dtype="float64"
        )
        wide.load_parameters(single.layer.parameters)
        wide.forward(single.x, as_state(single.states), case.lengths())
        dx, dstate = wide.backward(single.dy, as_state(single.dfinal))
        expected = {"x": dx, **numbered(dstate), **wide.gradients}
        for name, value in expected.items():
            assert error(single.gradients[name], value) < 2e-5, name


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_gradients(cell: str) -> None:
    # One seed is one mask, so finite differences of forward itself see the dropped network.
    case = Case(cell, 2, 4, 3, 3, num_layers=3, bidirectional=True, ragged=True, options={"dropout": 0.4})
    layer, x, lengths = case.layer(), case.x(), case.lengths()
    rng = np.random.default_rng(1)

    def run() -> np.ndarray:
        layer._rng = np.random.default_rng(7)
        layer.parameters_changed()
        return layer.forward(x, lengths=lengths)[0]

    dy = rng.standard_normal(run().shape)
    dx, _ = layer.backward(dy)
    for array, gradient in ((x, dx.copy()), (layer.flat_parameters, layer.flat_gradients.copy())):
        start, direction = array.copy(), rng.standard_normal(array.shape)
        array[...] = start + 1e-6 * direction
        above = run()
        array[...] = start - 1e-6 * direction
        estimate = ((above - run()) * dy).sum() / 2e-6
        array[...] = start
        assert abs((gradient * direction).sum() - estimate) < 1e-6 * max(1, abs(estimate))


# ---- what backward promises -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_parameter_gradients_do_not_depend_on_need_dx(cell: str) -> None:
    case = Case(cell, num_layers=2, bidirectional=True, ragged=True)
    result = Gradients(case)
    layer = case.layer()
    layer.forward(result.x, as_state(result.states), case.lengths())
    dx, dstate = layer.backward(result.dy, as_state(result.dfinal), need_dx=False)
    assert dx is None
    assert same_bits(layer.flat_gradients, result.layer.flat_gradients)
    assert all(same_bits(part, result.gradients[f"state{k}"]) for k, part in enumerate(as_tuple(dstate)))


@pytest.mark.parametrize("cell", CELLS)
def test_absent_gradients_are_zeros(cell: str) -> None:
    case = Case(cell)
    result = Gradients(case)
    layer, zeros = case.layer(), tuple(np.zeros_like(part) for part in result.dfinal)

    def backward(dy: np.ndarray | None, dstate: object) -> list[np.ndarray]:
        layer.zero_gradients()
        layer.forward(result.x, as_state(result.states))
        dx, dinitial = layer.backward(dy, dstate)
        return [dx, *as_tuple(dinitial), layer.flat_gradients.copy()]

    no_dy = np.zeros_like(result.dy)
    pairs = [(None, as_state(result.dfinal)), (no_dy, as_state(result.dfinal))]
    pairs += [(result.dy, None), (result.dy, as_state(zeros))]
    if len(zeros) == 2:
        pairs += [(result.dy, (result.dfinal[0], None)), (result.dy, (result.dfinal[0], zeros[1]))]
    for absent, explicit in zip(pairs[::2], pairs[1::2], strict=True):
        for a, b in zip(backward(*absent), backward(*explicit), strict=True):
            assert np.array_equal(a, b)  # not bits: -0.0 and 0.0 are the same gradient
    assert not any(array.any() for array in backward(None, None))


def test_padding_gets_no_gradient_and_gives_none() -> None:
    layer = LSTM(2, 3, bidirectional=True, seed=0, dtype="float64")
    rng = np.random.default_rng(0)
    x, lengths = rng.standard_normal((5, 3, 2)), np.array([2, 5, 3])
    y, _ = layer.forward(x, lengths=lengths)
    dy = rng.standard_normal(y.shape)
    dx, _ = layer.backward(dy, None)
    gradients = layer.flat_gradients.copy()
    padding = np.arange(5)[:, None] >= lengths
    assert not dx[padding].any() and dx[~padding].all()
    layer.zero_gradients()
    layer.forward(np.where(padding[..., None], np.nan, x), lengths=lengths)
    dx_again, _ = layer.backward(np.where(padding[..., None], np.nan, dy))
    assert same_bits(dx_again, dx) and same_bits(layer.flat_gradients, gradients)


def test_batch_first_gradients() -> None:
    case = Case("gru", bidirectional=True, ragged=True)
    result = Gradients(case)
    for lengths in (case.lengths(), None):
        plain, turned = case.layer(), case.layer(batch_first=True)
        plain.forward(result.x, lengths=lengths)
        turned.forward(result.x.swapaxes(0, 1), lengths=lengths)
        dx, _ = plain.backward(result.dy)
        dx_turned, _ = turned.backward(result.dy.swapaxes(0, 1))
        assert np.array_equal(dx_turned.swapaxes(0, 1), dx)
        assert same_bits(turned.flat_gradients, plain.flat_gradients)


def test_inference_between_forward_and_backward_changes_nothing() -> None:
    case = Case("lstm", num_layers=2)
    result = Gradients(case)
    layer = case.layer()
    layer.forward(result.x, as_state(result.states))
    layer(np.ones((9, 2, 3)))
    layer.step(np.ones((7, 3)))
    dx, _ = layer.backward(result.dy, as_state(result.dfinal))
    assert same_bits(dx, result.gradients["x"]) and same_bits(layer.flat_gradients, result.layer.flat_gradients)


def test_backward_keeps_the_input_alive() -> None:
    case = Case("lstm", steps=50, batch=40)
    result = Gradients(case)
    layer = case.layer()
    layer.forward(case.x(), as_state(case.states()))  # nobody else holds these arrays
    rubbish = [np.full_like(result.x, 1e9) for _ in range(20)]
    dx, _ = layer.backward(result.dy, as_state(result.dfinal))
    assert same_bits(dx, result.gradients["x"]) and same_bits(layer.flat_gradients, result.layer.flat_gradients)
    assert len(rubbish) == 20


def test_sizes_may_change_from_call_to_call() -> None:
    layer = Case("lstm").layer()
    for steps, batch in [(6, 4), (1, 1), (20, 13), (3, 2), (6, 4)]:
        case = Case("lstm", steps=steps, batch=batch)
        fresh, used = Gradients(case, case.layer(seed=9)), None
        layer.load_parameters(fresh.layer.parameters)
        used = Gradients(case, layer)
        assert all(same_bits(used.gradients[name], value) for name, value in fresh.gradients.items())


def test_one_backward_for_each_forward() -> None:
    layer = LSTM(2, 3)
    with pytest.raises(RuntimeError, match="backward needs a forward before it"):
        layer.backward(np.ones((4, 2, 3)))
    y, _ = layer.forward(np.ones((4, 2, 2)))
    layer.backward(np.ones_like(y))
    with pytest.raises(RuntimeError, match="each forward allows one backward"):
        layer.backward(np.ones_like(y))
