"""Properties that hold for any layer and any input, looked for by hypothesis."""

from __future__ import annotations

import numpy as np
from cases import CELLS, REGISTRY, Case, as_state, as_tuple, error, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

TOLERANCE = {"float64": 1e-12, "float32": 1e-4}


@st.composite
def any_case(draw: st.DrawFn, **fixed: object) -> Case:
    """A layer and input of any shape that is quick to compute."""
    cell = draw(st.sampled_from(CELLS))
    hidden_size = draw(st.integers(1, 40))
    projections = st.integers(0, hidden_size - 1) if REGISTRY[cell]["projection"] else st.just(0)
    fields = {
        "input_size": draw(st.integers(1, 20)),
        "steps": draw(st.integers(1, 9)),
        "batch": draw(st.integers(1, 20)),
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "proj_size": draw(projections),
        "ragged": draw(st.booleans()),
        "initial": draw(st.booleans()),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
    }
    return Case(cell, hidden_size=hidden_size, **{**fields, **fixed})


def backward(case: Case, layer, dy: np.ndarray, dstate: tuple) -> list[np.ndarray]:
    """The gradients of one pass, from zero."""
    layer.zero_gradients()
    layer.forward(case.x(), case.state(), case.lengths())
    dx, dinitial = layer.backward(dy, as_state(dstate))
    return [dx, *as_tuple(dinitial), layer.flat_gradients.copy()]


@given(any_case())
def test_shapes_and_types(case: Case) -> None:
    layer = case.layer()
    directions = 2 if case.bidirectional else 1
    width = case.proj_size or case.hidden_size
    y, state = layer.forward(case.x(), case.state(), case.lengths())
    assert y.shape == (case.steps, case.batch, directions * width)
    widths = {"h": width, "c": case.hidden_size, "clock": 1}
    shapes = [(case.num_layers * directions, case.batch, widths[name]) for name in REGISTRY[case.cell]["states"]]
    assert [part.shape for part in as_tuple(state)] == shapes
    dx, dstate = layer.backward(y, state)
    assert dx.shape == case.x().shape
    assert [part.shape for part in as_tuple(dstate)] == shapes
    assert {array.dtype for array in (y, dx, *as_tuple(state), *as_tuple(dstate))} == {np.dtype(case.dtype)}
    assert not isinstance(state, list) and isinstance(state, tuple) == (len(shapes) > 1)


@given(any_case(), st.data())
def test_the_reference_agrees(case: Case, data: st.DataObject) -> None:
    layer = case.layer()
    scale = data.draw(st.sampled_from([1e-3, 1.0, 10.0]))
    x = (scale * case.x()).astype(case.dtype)
    parameters = {name: value.astype(float) for name, value in layer.parameters.items()}
    expected, finals = case.expected(parameters, x.astype(float), case.states())
    y, state = layer(x, case.state(), case.lengths())
    for actual, wanted in zip([y, *as_tuple(state)], [expected, *finals], strict=True):
        assert error(actual, wanted) < TOLERANCE[case.dtype]


@given(any_case(bidirectional=False, ragged=False), st.data())
def test_chunks_are_the_whole(case: Case, data: st.DataObject) -> None:
    layer = case.layer()
    cut = data.draw(st.integers(0, case.steps - 1))
    y, final = layer(case.x(), case.state())
    state, parts = case.state(), []
    for part in (case.x()[:cut], case.x()[cut:]):
        if len(part):
            y_part, state = layer(part, state)
            parts.append(y_part)
    assert same_bits(np.concatenate(parts), y)
    assert all(same_bits(a, b) for a, b in zip(as_tuple(state), as_tuple(final), strict=True))


@given(any_case(), st.data())
def test_rows_permuted_in_are_rows_permuted_out(case: Case, data: st.DataObject) -> None:
    layer, lengths = case.layer(), case.lengths()
    order = np.array(data.draw(st.permutations(range(case.batch))))
    y, final = layer(case.x(), case.state(), lengths)
    states = as_state(tuple(part[:, order] for part in case.states())) if case.initial else None
    y_permuted, permuted = layer(case.x()[:, order], states, None if lengths is None else lengths[order])
    assert same_bits(y_permuted, y[:, order].copy("C"))
    for a, b in zip(as_tuple(permuted), as_tuple(final), strict=True):
        assert same_bits(a, b[:, order].copy("C"))


@given(any_case(ragged=True))
def test_lengths_are_truncation(case: Case) -> None:
    layer = case.layer()
    y, final = layer(case.x(), case.state(), case.lengths())
    for b, length in enumerate(case.lengths()):
        states = as_state(tuple(part[:, b : b + 1] for part in case.states()))
        alone, final_alone = layer(case.x()[:length, b : b + 1], states)
        assert same_bits(y[:length, b].copy(), alone[:, 0].copy())
        for whole, single in zip(as_tuple(final), as_tuple(final_alone), strict=True):
            assert same_bits(whole[:, b].copy(), single[:, 0].copy())


@given(any_case(bidirectional=True))
def test_the_reverse_direction_is_the_forward_one_on_reversed_sequences(case: Case) -> None:
    layer, lengths = case.layer(num_layers=1), case.lengths()
    swapped = case.layer(num_layers=1)
    names = list(layer.parameters)
    partner = {name: f"{name}_reverse".replace("_reverse_reverse", "") for name in names}
    swapped.load_parameters({name: layer.parameters[partner[name]] for name in names})
    x, flipped = case.x(), case.x()
    for b, length in enumerate(np.full(case.batch, case.steps) if lengths is None else lengths):
        flipped[:length, b] = x[:length, b][::-1]
    _, finals = layer(x, None, lengths)
    _, finals_swapped = swapped(flipped, None, lengths)
    for a, b in zip(as_tuple(finals), as_tuple(finals_swapped), strict=True):
        assert same_bits(a, b[::-1].copy())


@settings(max_examples=60)
@given(any_case())
def test_gradients_add_up_over_calls(case: Case) -> None:
    layer = case.layer()
    rng = np.random.default_rng(0)
    start = rng.standard_normal(layer.n_parameters).astype(case.dtype)
    y, state = layer.forward(case.x(), case.state(), case.lengths())
    layer.backward(y, state)
    once = layer.flat_gradients.copy()
    layer.flat_gradients[...] = start
    layer.forward(case.x(), case.state(), case.lengths())
    layer.backward(y, state)
    assert error(layer.flat_gradients, start + once) < TOLERANCE[case.dtype]


@settings(max_examples=60)
@given(any_case(), st.sampled_from([-2.0, 0.5, 1024.0]))
def test_backward_is_linear(case: Case, factor: float) -> None:
    layer = case.layer()
    rng = np.random.default_rng(0)
    y, state = layer.forward(case.x(), case.state(), case.lengths())

    def draw() -> tuple[np.ndarray, tuple]:
        parts = [rng.standard_normal(a.shape).astype(case.dtype) for a in (y, *as_tuple(state))]
        return parts[0], tuple(parts[1:])

    (dy_1, ds_1), (dy_2, ds_2) = draw(), draw()
    first, second = backward(case, layer, dy_1, ds_1), backward(case, layer, dy_2, ds_2)
    both = backward(case, layer, dy_1 + dy_2, tuple(a + b for a, b in zip(ds_1, ds_2, strict=True)))
    scaled = backward(case, layer, dy_1 * factor, tuple(a * factor for a in ds_1))
    for a, b, total, times in zip(first, second, both, scaled, strict=True):
        assert error(total, a + b) < TOLERANCE[case.dtype]
        assert error(times / factor, a) < TOLERANCE[case.dtype]


@settings(max_examples=60)
@given(any_case())
def test_no_gradient_in_is_no_gradient_out(case: Case) -> None:
    layer = case.layer()
    y, state = layer(case.x(), case.state(), case.lengths())
    for array in backward(case, layer, np.zeros_like(y), tuple(np.zeros_like(part) for part in as_tuple(state))):
        assert not array.any()


@settings(max_examples=60)
@given(any_case(bidirectional=False, ragged=False), st.data())
def test_later_steps_do_not_reach_back(case: Case, data: st.DataObject) -> None:
    layer = case.layer()
    t = data.draw(st.integers(0, case.steps - 1))
    changed = case.x()
    changed[t:] += 1
    assert same_bits(layer(changed, case.state())[0][:t], layer(case.x(), case.state())[0][:t])
    y, _ = layer.forward(case.x(), case.state())
    dy = np.zeros_like(y)
    dy[t] = 1
    dx, _ = layer.backward(dy)
    assert not dx[t + 1 :].any()
