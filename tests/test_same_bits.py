"""The same bits: a forward result depends neither on threads, nor on the rest of the batch, padding, chunks or CPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import CELLS, REGISTRY, Case, as_state, as_tuple, same_bits

import lstmcore
from lstmcore import _isa
from lstmcore.layers import Recurrent

DTYPES = ("float32", "float64")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = lstmcore.get_num_threads()
    yield
    lstmcore.set_num_threads(before)


def cases(cell: str, dtype: str) -> list[Case]:
    """From one panel to several, from fewer rows than a tile to many, small enough and large enough for threads."""
    return [
        Case(cell, 3, 5, 6, 4, dtype=dtype, num_layers=2),
        Case(cell, 5, 70, 4, 13, dtype=dtype, ragged=True),
        Case(cell, 64, 96, 12, 37, dtype=dtype),
        Case(cell, 33, 260, 3, 2, dtype=dtype),
        Case(cell, 7, 530, 2, 9, dtype=dtype, ragged=True),
        Case(cell, 40, 200, 50, 1, dtype=dtype),  # few rows: panels are shared, W x is computed ahead
        Case(cell, 9, 150, 40, 3, dtype=dtype, ragged=True),
    ]


def outcome(layer: Recurrent, case: Case, both: bool = False) -> list[np.ndarray]:
    """All that a call, a forward and a backward compute."""
    states = as_state(case.states())
    y, final = layer(case.x(), states, case.lengths())
    y_kept, final_kept = layer.forward(case.x(), states, case.lengths())
    layer.zero_gradients()
    dx, dstate = layer.backward(np.cos(y_kept), final_kept)
    return [y, *as_tuple(final), y_kept, *as_tuple(final_kept), dx, *as_tuple(dstate), layer.flat_gradients.copy()]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_any_number_of_threads(cell: str, dtype: str) -> None:
    for case in cases(cell, dtype):
        layer = case.layer()
        lstmcore.set_num_threads(1)
        expected = outcome(layer, case)
        for n in (2, 3, 4):
            lstmcore.set_num_threads(n)
            assert all(same_bits(a, b) for a, b in zip(outcome(layer, case), expected, strict=True)), (case, n)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_gates_computed_again(cell: str, dtype: str) -> None:
    long = {"num_layers": 2, "bidirectional": True, "dtype": dtype}
    for case in (
        *cases(cell, dtype)[:2],
        Case(cell, 4, 18, 90, 7, ragged=True, **long),
        Case(cell, 3, 40, 61, 30, **long),
        Case(cell, 5, 140, 600, 1, dtype=dtype),
    ):
        lstmcore.set_num_threads(1)
        expected = outcome(case.layer(), case)
        for n in (1, 2, 4):
            lstmcore.set_num_threads(n)
            found = outcome(case.layer(recompute=True), case)
            assert all(same_bits(a, b) for a, b in zip(found, expected, strict=True)), (case, n)


def rounded_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The nearest numbers with 8 significant bits, ties to even."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.rint(mantissa * 256), exponent - 8).astype(np.float32)


@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_weights_are_rounded_weights(cell: str) -> None:
    for case in (
        *cases(cell, "float32"),
        *([Case(cell, 3, 37, 5, 6, proj_size=11, dtype="float32")] if REGISTRY[cell]["projection"] else []),
    ):
        half, full = case.layer(weight_dtype="bfloat16"), case.layer()
        full.load_parameters(
            {
                name: rounded_to_bfloat16(values) if values.ndim == 2 else values
                for name, values in half.parameters.items()
            }
        )
        for n in (1, 3):
            lstmcore.set_num_threads(n)
            y, final = half(case.x(), case.state(), case.lengths())
            y_full, final_full = full(case.x(), case.state(), case.lengths())
            assert same_bits(y, y_full), (case, n)
            assert all(same_bits(a, b) for a, b in zip(as_tuple(final), as_tuple(final_full), strict=True)), (case, n)
        step, _ = half.step(case.x()[0], case.state())
        assert same_bits(step, full.step(case.x()[0], case.state())[0])
        exact = case.layer()
        y_trained, _ = half.forward(case.x(), case.state(), case.lengths())
        assert same_bits(y_trained, exact(case.x(), case.state(), case.lengths())[0])  # training has all bits


@pytest.mark.parametrize(
    "case",
    [
        Case("lstm", 40, 96, 8, 37, proj_size=50, num_layers=2, bidirectional=True),
        Case("lstm", 40, 96, 8, 37, proj_size=50, num_layers=2, bidirectional=True, ragged=True),
        *(
            Case(cell, 20, 50, 60, batch, num_layers=2, bidirectional=True, ragged=True, dtype=dtype)
            for cell, batch, dtype in [
                ("lstm", 1, "float32"),
                ("gru", 2, "float64"),
                ("gru_reset_before", 5, "float32"),
            ]
        ),
        Case("lstm", 8, 200, 12, 3, num_layers=2, bidirectional=True, dtype="float32"),  # three threads share panels
    ],
    ids=str,
)
def test_any_number_of_threads_in_both_directions(case: Case) -> None:
    for options in ({}, {"recompute": True}):
        layer = case.layer(**options)
        lstmcore.set_num_threads(1)
        expected = outcome(layer, case)
        for n in (2, 3, 4):
            lstmcore.set_num_threads(n)
            assert all(same_bits(a, b) for a, b in zip(outcome(layer, case), expected, strict=True)), n


def test_dropout_masks_do_not_depend_on_threads() -> None:
    case = Case("gru", 20, 90, 10, 41, num_layers=2, dtype="float32", ragged=True, options={"dropout": 0.3})
    results = []
    for n in (1, 2, 3):
        lstmcore.set_num_threads(n)
        layer = case.layer()  # the mask follows from the layer's seed
        y, _ = layer.forward(case.x(), None, case.lengths())
        dx, _ = layer.backward(np.cos(y))
        results.append((y, dx, layer.flat_gradients))
    for other in results[1:]:
        assert all(same_bits(a, b) for a, b in zip(other, results[0], strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_inference_is_forward(cell: str, dtype: str) -> None:
    for case in cases(cell, dtype):
        layer = case.layer()
        y, final = layer(case.x(), case.state(), case.lengths())
        y_kept, final_kept = layer.forward(case.x(), case.state(), case.lengths())
        assert same_bits(y, y_kept)
        assert all(same_bits(a, b) for a, b in zip(as_tuple(final), as_tuple(final_kept), strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_rows_of_a_batch_are_independent(cell: str, dtype: str) -> None:
    for case in cases(cell, dtype):
        layer, x, states, lengths = case.layer(), case.x(), case.states(), case.lengths()
        y, final = layer(x, as_state(states), lengths)
        for first, last in [(0, 1), (case.batch - 1, case.batch), (1, case.batch), (0, case.batch // 2)]:
            if first == last:
                continue
            rows = slice(first, last)
            part = None if lengths is None else lengths[rows]
            y_part, final_part = layer(x[:, rows], as_state(tuple(state[:, rows] for state in states)), part)
            assert same_bits(y_part, np.ascontiguousarray(y[:, rows])), (case, rows)
            for whole, alone in zip(as_tuple(final), as_tuple(final_part), strict=True):
                assert same_bits(alone, np.ascontiguousarray(whole[:, rows])), (case, rows)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_whole_chunks_and_steps(cell: str, dtype: str) -> None:
    for case in cases(cell, dtype):
        layer, x = case.layer(), case.x()
        y, final = layer(x, case.state())
        for size in (1, 2, case.steps - 1):
            parts, state = [], case.state()
            for t in range(0, case.steps, size):
                part, state = layer(x[t : t + size], state)
                parts.append(part)
            assert same_bits(np.concatenate(parts), y), (case, size)
            assert all(same_bits(a, b) for a, b in zip(as_tuple(state), as_tuple(final), strict=True))
        parts, state = [], case.state()
        for x_t in x:
            part, state = layer.step(x_t, state)
            parts.append(part)
        assert same_bits(np.stack(parts), y), case
        assert all(same_bits(a, b) for a, b in zip(as_tuple(state), as_tuple(final), strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_padding(cell: str) -> None:
    for case in cases(cell, "float32"):
        layer, x, lengths = case.layer(), case.x(), case.lengths()
        lengths = np.full(case.batch, case.steps) if lengths is None else lengths
        y, final = layer(x, case.state(), lengths)
        padded = np.concatenate([x, np.full((5, case.batch, case.input_size), 1e30, np.float32)])
        y_padded, final_padded = layer(padded, case.state(), lengths)
        assert same_bits(y_padded[: case.steps], y)
        assert not y_padded[case.steps :].any()
        assert all(same_bits(a, b) for a, b in zip(as_tuple(final), as_tuple(final_padded), strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_states_do_not_depend_on_whether_y_is_wanted(cell: str) -> None:
    for both in (False, True):
        case = Case(cell, 5, 70, 4, 13, num_layers=2, bidirectional=both, dtype="float32")
        layer = case.layer()
        rows, sizes = case.x().reshape(-1, 5), np.full(4, 13)
        _, with_y = layer._core.infer(rows, sizes, list(case.states()), True)
        nothing, without = layer._core.infer(rows, sizes, list(case.states()), False)
        assert nothing is None
        assert all(same_bits(a, b) for a, b in zip(with_y, without, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_zeros_of_either_sign_and_denormals_in_any_tile(cell: str) -> None:
    # Rows at a tile's tail go through other code than those in its middle: values at the edges must not tell.
    case = Case(cell, 3, 21, 3, 29, dtype="float32", initial=False)
    layer = case.layer()
    values = np.array([0.0, -0.0, 1e-45, -1e-40, 1e-38, 3e38, -3e38, 1.0], np.float32)
    row = np.random.default_rng(0).choice(values, (3, 1, 3))
    alone, _ = layer(row)
    y, _ = layer(np.repeat(row, 29, axis=1))
    for b in range(29):
        assert same_bits(np.ascontiguousarray(y[:, b]), np.ascontiguousarray(alone[:, 0]))


HASHES = """
import hashlib, json
import numpy as np
from cases import CELLS, Case, as_tuple
from lstmcore import _isa
hashes = {"isa": _isa.isa()}
for cell in CELLS:
    for dtype in ("float32", "float64"):
        digest = hashlib.sha256()
        for case in (
            Case(cell, 3, 5, 6, 4, num_layers=2, bidirectional=True, ragged=True, dtype=dtype),
            Case(cell, 5, 70, 40, 13, dtype=dtype),
            Case(cell, 7, 530, 2, 3, dtype=dtype),
            Case(cell, 2, 9, 300, 1, dtype=dtype),
            Case(cell, 40, 200, 50, 1, dtype=dtype),
            Case(cell, 7, 70, 9, 5, dtype=dtype, options={} if dtype == "float64" else {"weight_dtype": "bfloat16"}),
        ):
            layer = case.layer()
            y, state = layer(3 * case.x(), case.state(), case.lengths())
            for array in (y, *as_tuple(state)):
                digest.update(array.tobytes())
        hashes[f"{cell} {dtype}"] = digest.hexdigest()
print(json.dumps(hashes))
"""


def test_any_instruction_set(run_python, request: pytest.FixtureRequest) -> None:
    exempt = ("x86_64_v2",)  # it has no fused multiply-add
    names = [name for name in _isa.available() if name not in exempt]
    if len(names) < 2:
        pytest.skip(f"one instruction set to compare: {names}")
    path = str(request.path.parent)
    results = {}
    for name in names:
        done = run_python(f"import sys; sys.path.insert(0, {path!r})\n{HASHES}", LSTMCORE_ISA=name)
        results[name] = json.loads(done.stdout)
        assert results[name].pop("isa") == name
    first = results[names[0]]
    for name in names[1:]:
        assert [key for key in first if first[key] != results[name][key]] == [], f"{name} differs from {names[0]}"


def test_calls_from_several_python_threads_do_not_disturb_each_other() -> None:
    layer = Case("lstm", 20, 70, num_layers=2, dtype="float32").layer()
    rng = np.random.default_rng(0)
    shapes = [(int(rng.integers(1, 30)), int(rng.integers(1, 30)), 20) for _ in range(40)]
    inputs = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    expected = [layer(x)[0] for x in inputs]
    expected_steps = [layer.step(x[0])[0] for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            outputs = pool.map(lambda x: layer(x)[0], inputs)
            steps = pool.map(lambda x: layer.step(x[0])[0], inputs)
            assert all(same_bits(a, b) for a, b in zip(outputs, expected, strict=True))
            assert all(same_bits(a, b) for a, b in zip(steps, expected_steps, strict=True))
