"""NaN is never swallowed: what is not a number comes out as one, or is refused."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CELLS, Case, as_state, as_tuple

DTYPES = ("float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_nan_in_any_parameter_reaches_the_output(cell: str, dtype: str) -> None:
    for hidden_size, batch in ((5, 7), (37, 3)):
        case = Case(
            cell, 3, hidden_size, 2, batch, dtype=dtype, initial=False
        )  # the clock of a cell begins with a tick
        layer = case.layer()
        start = layer.flat_parameters.copy()
        for name, _, offset in layer.parameter_table():
            for k in {offset, offset + layer.parameters[name].size - 1}:
                layer.flat_parameters[...] = start
                layer.flat_parameters[k] = np.nan
                layer.parameters_changed()
                y, state = layer(case.x())
                assert np.isnan(y).any(axis=(0, 2)).all(), name  # in every row of the batch
                if not layer.own_output:
                    assert np.isnan(as_tuple(state)[0]).any(), name
                y_t, state = layer.step(case.x()[0])
                assert np.isnan(np.concatenate([y_t, as_tuple(state)[0][0]], axis=1)).any(axis=1).all(), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_nan_input_of_the_core_stays_in_its_row(cell: str, dtype: str) -> None:
    # Layers refuse NaN; below them it must neither vanish in a clamp nor leak into another row.
    case = Case(cell, 3, 21, 3, 13, dtype=dtype)
    layer = case.layer()
    states = case.states()
    if len(states) == 2 and states[1].shape[2] == 1:
        states[1][...] = 7  # a clock that ticks everywhere at step 1
    clean, _ = layer(case.x(), as_state(states))
    for b in (0, 5, 12):
        x = case.x()
        x[1, b, 2] = np.nan
        y, finals = layer._core.infer(x.reshape(-1, 3), np.full(3, 13), list(states))
        y = y.reshape(3, 13, -1)
        assert np.isnan(y[1:, b]).all()
        assert np.isnan(finals[0][0, b]).all()
        others = np.arange(13) != b
        assert np.array_equal(y[:, others], clean[:, others])
        assert np.array_equal(y[0], clean[0])


@pytest.mark.parametrize("cell", CELLS)
def test_nan_gradients_reach_the_parameters(cell: str) -> None:
    case = Case(cell, 3, 21, 3, 13)
    layer = case.layer()
    # tanh layers and saturated rectifiers alike: 0 * NaN is NaN
    y, _ = layer._core.forward(case.x().reshape(-1, 3), np.full(3, 13), list(case.states()))
    dy = np.zeros_like(y)
    dy[-1] = np.nan
    dx, _ = layer._core.backward(dy, None, True)
    assert any(np.isnan(layer.gradients[name]).any() for name in layer.gradients if name.startswith("weight_hh"))
    assert np.isnan(dx.reshape(3, 13, 3)[:, 12]).any()
    assert not np.isnan(dx.reshape(3, 13, 3)[:, :12]).any()


@pytest.mark.parametrize("cell", CELLS)
def test_infinite_weights_do_not_look_fine(cell: str) -> None:
    case = Case(cell, 3, 5, 3, 4)
    layer = case.layer()
    layer.flat_parameters[...] = np.inf
    layer.parameters_changed()
    y, _ = layer(np.concatenate([case.x(), -case.x()]), None)
    assert not np.isfinite(y).all()
