"""Bad input of layers: every message names the argument and quotes the value, and nothing has happened before it."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

from lstmcore.layers import GRU, LSTM, RNN, from_cell

X = np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float32)
H = np.zeros((1, 4, 6), np.float32)


def raises(kind: type[Exception], message: str) -> Any:
    return pytest.raises(kind, match=f"^{re.escape(message)}")


def changed(array: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    result = array.astype(np.float64)
    result[index] = value
    return result


# ---- constructors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"input_size": 0}, ValueError, "input_size must be at least 1, got 0"),
        ({"hidden_size": -3}, ValueError, "hidden_size must be at least 1, got -3"),
        ({"hidden_size": 2.0}, TypeError, "hidden_size must be an integer, got 2.0"),
        ({"hidden_size": True}, TypeError, "hidden_size must be an integer, got True"),
        ({"hidden_size": "8"}, TypeError, "hidden_size must be an integer, got '8'"),
        ({"num_layers": 0}, ValueError, "num_layers must be at least 1, got 0"),
        ({"num_layers": None}, TypeError, "num_layers must be an integer, got None"),
        ({"bias": 1}, TypeError, "bias must be True or False, got 1"),
        ({"batch_first": "yes"}, TypeError, "batch_first must be True or False, got 'yes'"),
        ({"bidirectional": 2}, TypeError, "bidirectional must be True or False, got 2"),
        ({"dropout": 1.0}, ValueError, "dropout must lie in [0, 1), got 1.0"),
        ({"dropout": -0.1}, ValueError, "dropout must lie in [0, 1), got -0.1"),
        ({"dropout": float("nan")}, ValueError, "dropout must be finite, got nan"),
        ({"dropout": "0.5"}, TypeError, "dropout must be a number, got '0.5'"),
        ({"dropout": True}, TypeError, "dropout must be a number, got True"),
        ({"proj_size": 6}, ValueError, "proj_size must be less than hidden_size=6, got 6"),
        ({"proj_size": -1}, ValueError, "proj_size must be at least 0, got -1"),
        ({"peepholes": "all"}, ValueError, "peepholes of cell 'lstm' must be letters of 'ifo', each once, got 'all'"),
        ({"peepholes": "ii"}, ValueError, "peepholes of cell 'lstm' must be letters of 'ifo', each once, got 'ii'"),
        ({"peepholes": 1}, TypeError, "peepholes must be letters such as 'io', True, False or None, got 1"),
        ({"coupled": None}, TypeError, "coupled must be True or False, got None"),
        ({"dtype": "float16"}, ValueError, "dtype must be 'float32' or 'float64', got 'float16'"),
        ({"dtype": "flaot32"}, ValueError, "dtype must be 'float32' or 'float64', got 'flaot32'"),
        ({"dtype": None}, ValueError, "dtype must be 'float32' or 'float64', got None"),
        ({"recompute": 1}, TypeError, "recompute must be True or False, got 1"),
        ({"weight_dtype": "int8"}, ValueError, "weight_dtype must be one of 'bfloat16', got 'int8'"),
        (
            {"weight_dtype": "bfloat16", "dtype": "float64"},
            ValueError,
            "weight_dtype must be None with dtype='float64', got 'bfloat16'",
        ),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": "1"}, TypeError, "seed must be an integer, got '1'"),
        (
            {"recurrent_init": "orthogonl"},
            ValueError,
            "recurrent_init must be one of 'uniform', 'orthogonal', got 'orthogonl' (did you mean 'orthogonal'?)",
        ),
        ({"forget_bias": "1"}, TypeError, "forget_bias must be a number, got '1'"),
        ({"forget_bias": np.inf}, ValueError, "forget_bias must be finite, got inf"),
        ({"forget_bias": 1.0, "bias": False}, ValueError, "forget_bias must be None with bias=False, got 1.0"),
    ],
)
def test_constructor(arguments: dict, kind: type[Exception], message: str) -> None:
    with raises(kind, message):
        LSTM(**{"input_size": 3, "hidden_size": 6, **arguments})


def test_options_of_other_cells() -> None:
    valid = "nonlinearity must be one of 'tanh', 'relu', 'hardtanh'"
    with raises(ValueError, f"{valid}, got 'tahn' (did you mean 'tanh'?)"):
        RNN(3, 6, nonlinearity="tahn")
    with raises(ValueError, f"{valid}, got True"):
        RNN(3, 6, 1, True)  # bias, where torch too has the nonlinearity
    with raises(ValueError, "residual=True needs nonlinearity='tanh', got 'relu'"):
        RNN(3, 6, nonlinearity="relu", residual=True)
    with raises(TypeError, "reset_after must be True or False, got 'after'"):
        GRU(3, 6, reset_after="after")
    with pytest.raises(TypeError, match="proj_size"):
        GRU(3, 6, proj_size=2)
    with pytest.raises(TypeError, match="biderectional"):
        LSTM(3, 6, biderectional=True)


def test_from_cell() -> None:
    with pytest.raises(ValueError, match=r"cell must be one of 'lstm', .*, got 'lsmt' \(did you mean 'lstm'\?\)"):
        from_cell("lsmt", 3, 6)
    with pytest.raises(ValueError, match=r"cell must be one of .*, got None"):
        from_cell(None, 3, 6)
    with pytest.raises(ValueError, match=r"option must be one of 'num_layers', .*, got 'num_layer' \(did you mean"):
        from_cell("lstm", 3, 6, num_layer=2)
    with raises(ValueError, "proj_size must be 0 for cell 'gru', which has no projection, got 2"):
        from_cell("gru", 3, 6, proj_size=2)
    with raises(ValueError, "forget_bias must be None for cell 'gru', which has no forget gate, got 1.0"):
        from_cell("gru", 3, 6, forget_bias=1.0)


def test_dropout_on_one_layer_warns_as_in_torch() -> None:
    for layer in (LSTM, GRU, RNN):
        with pytest.warns(UserWarning, match="dropout=0.5 has no effect with num_layers=1") as caught:
            layer(3, 6, dropout=0.5)
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LSTM(3, 6, 2, dropout=0.5)


# ---- x, state, lengths ----------------------------------------------------------------------------------------------


class Opaque:
    def __repr__(self) -> str:
        return "Opaque"


BAD_X = [
    (X[0], ValueError, "x must have 3 dimensions [T, B, I], got 2 (shape (4, 3))"),
    (X[..., None], ValueError, "x must have 3 dimensions [T, B, I], got 4 (shape (5, 4, 3, 1))"),
    (1.5, ValueError, "x must have 3 dimensions [T, B, I], got 0 (shape ())"),
    (X[..., :2], ValueError, "x has 2 features, but the layer's input_size is 3 (shape (5, 4, 2), read as [T, B, I])"),
    (X[:0], ValueError, "x is empty: its shape is (0, 4, 3), read as [T, B, I]"),
    (X[:, :0], ValueError, "x is empty: its shape is (5, 0, 3), read as [T, B, I]"),
    (X.astype(complex), TypeError, "x must hold real numbers, got an array of dtype complex64"),
    (X.astype(object), TypeError, "x must hold real numbers, got an array of dtype object"),
    (X.astype(str), TypeError, "x must hold real numbers, got an array of dtype <U32"),
    ("text", TypeError, "x must hold real numbers, got str 'text'"),
    (None, TypeError, "x must hold real numbers, got NoneType None"),
    (Opaque(), TypeError, "x must hold real numbers, got Opaque Opaque"),
    ([[[1.0, 2.0, 3.0]], [[1.0, 2.0]]], ValueError, "x cannot be read as one array: "),
    (np.ma.masked_array(X), TypeError, "x is a masked array: fill the masked values first"),
    (changed(X, (3, 1, 2), np.nan), ValueError, "x[3, 1, 2] is nan: it must be finite"),
    (changed(X, (0, 0, 0), np.inf), ValueError, "x[0, 0, 0] is inf: it must be finite"),
    (changed(X, (4, 3, 2), -np.inf), ValueError, "x[4, 3, 2] is -inf: it must be finite"),
    (changed(X, (1, 2, 0), 1e39), ValueError, "x[1, 2, 0] is 1e+39: too large for float32"),
]


@pytest.mark.filterwarnings("ignore:Casting complex")
@pytest.mark.parametrize(("x", "kind", "message"), BAD_X)
def test_input(x: Any, kind: type[Exception], message: str) -> None:
    if isinstance(x, np.ndarray) and x.dtype.kind == "c":
        message = message.replace("complex64", str(x.dtype))
    for layer in (LSTM(3, 6), GRU(3, 6)):
        for run in (layer, layer.forward):
            with raises(kind, message):
                run(x)


def test_positions_are_those_of_the_users_array() -> None:
    turned = X.swapaxes(0, 1)
    layer = LSTM(3, 6, batch_first=True)
    for lengths in (None, [5, 2, 3, 4]):
        with raises(ValueError, "x[2, 1, 0] is nan: it must be finite"):
            layer(changed(turned, (2, 1, 0), np.nan), lengths=lengths)
        with raises(ValueError, "x[1, 2, 0] is nan: it must be finite"):
            LSTM(3, 6)(changed(X, (1, 2, 0), np.nan), lengths=lengths)
    with raises(ValueError, "x has 2 features, but the layer's input_size is 3 (shape (4, 5, 2), read as [B, T, I])"):
        layer(turned[..., :2])


ONE_EACH = "lengths must have shape (4,), that is one length for each row of the batch"


@pytest.mark.parametrize(
    ("lengths", "kind", "message"),
    [
        ([5, 0, 3, 2], ValueError, "lengths[1] is 0, but every sequence needs at least one step"),
        ([5, 4, 3, -2], ValueError, "lengths[3] is -2, but every sequence needs at least one step"),
        ([5, 4, 6, 2], ValueError, "lengths[2] is 6, but x has only 5 steps"),
        (np.array([5, 4, 2**63, 2], np.uint64), ValueError, f"lengths[2] is {2**63}, but x has only 5 steps"),
        ([5, 4, 3], ValueError, f"{ONE_EACH}, got (3,)"),
        ([[5, 4, 3, 2]], ValueError, f"{ONE_EACH}, got (1, 4)"),
        (5, ValueError, f"{ONE_EACH}, got ()"),
        ([5.0, 4.0, 3.0, 2.0], TypeError, "lengths must hold integers, got dtype float64"),
        ([True] * 4, TypeError, "lengths must hold integers, got dtype bool"),
        ("5432", TypeError, "lengths must hold real numbers, got str '5432'"),
    ],
)
def test_lengths(lengths: Any, kind: type[Exception], message: str) -> None:
    layer = LSTM(3, 6)
    for run in (layer, layer.forward):
        with raises(kind, message):
            run(X, lengths=lengths)


SHAPE = "must have shape (1, 4, 6), that is [layers * directions, B, width]"
BAD_LSTM_STATES = [
    (H, TypeError, "state must be a tuple (h, c) of arrays, got ndarray"),
    ((H,), TypeError, "state must be a tuple (h, c) of arrays, got 1 of them"),
    ((H, H, H), TypeError, "state must be a tuple (h, c) of arrays, got 3 of them"),
    ("hc", TypeError, "state must be a tuple (h, c) of arrays, got str"),
    ((H, "c"), TypeError, "state[1] must hold real numbers, got str 'c'"),
    ((H[:, :3], H), ValueError, f"state[0] {SHAPE} of h, got (1, 3, 6)"),
    ((H, H[0]), ValueError, f"state[1] {SHAPE} of c, got (4, 6)"),
    ((H, changed(H, (0, 2, 5), np.nan)), ValueError, "state[1][0, 2, 5] is nan: it must be finite"),
    ((H.astype(str), H), TypeError, "state[0] must hold real numbers, got an array of dtype <U32"),
]
BAD_GRU_STATES = [
    ((H,), TypeError, "state of a gru layer is one array h, got a tuple"),
    ([H], TypeError, "state of a gru layer is one array h, got a list"),
    (H[0], ValueError, f"state {SHAPE} of h, got (4, 6)"),
    (changed(H, (0, 2, 5), np.inf), ValueError, "state[0, 2, 5] is inf: it must be finite"),
    (H.astype(complex), TypeError, "state must hold real numbers, got an array of dtype complex128"),
]


@pytest.mark.parametrize(
    ("layer", "state", "kind", "message"),
    [(LSTM, *bad) for bad in BAD_LSTM_STATES] + [(GRU, *bad) for bad in BAD_GRU_STATES],
)
def test_state(layer: Any, state: Any, kind: type[Exception], message: str) -> None:
    made = layer(3, 6)
    for run in (made, made.forward):
        with raises(kind, message):
            run(X, state)
    with raises(kind, message):
        made.step(X[0], state)
    y, final = made.forward(X)
    with raises(kind, message.replace("state", "dstate", 1)):
        made.backward(y, state)
    made.backward(y, final)  # nothing has happened: the backward is still to be had


def test_state_of_a_projected_layer() -> None:
    layer = LSTM(3, 6, proj_size=2)
    message = "state[0] must have shape (1, 4, 2), that is [layers * directions, B, width] of h, got (1, 4, 6)"
    with raises(ValueError, message):
        layer(X, (H, H))
    layer(X, (H[..., :2], H))


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        (X, ValueError, "x must have 2 dimensions [B, I], got 3 (shape (5, 4, 3))"),
        (X[0, 0], ValueError, "x must have 2 dimensions [B, I], got 1 (shape (3,))"),
        (X[0][:, :2], ValueError, "x has 2 features, but the layer's input_size is 3 (shape (4, 2), read as [B, I])"),
        (X[0][:0], ValueError, "x is empty: its shape is (0, 3), read as [B, I]"),
        (changed(X[0], (1, 2), np.nan), ValueError, "x[1, 2] is nan: it must be finite"),
        (changed(X[0], (1, 2), np.inf).astype(np.float32), ValueError, "x[1, 2] is inf: it must be finite"),
        (changed(X[0], (1, 2), 1e39), ValueError, "x[1, 2] is 1e+39: too large for float32"),
        (X[0].astype(object), TypeError, "x must hold real numbers, got an array of dtype object"),
        (None, TypeError, "x must hold real numbers, got NoneType None"),
        (np.ma.masked_array(X[0].astype(np.float32)), TypeError, "x is a masked array: fill the masked values first"),
    ],
)
def test_step(x: Any, kind: type[Exception], message: str) -> None:
    for layer, state in ((LSTM(3, 6), (H, H)), (GRU(3, 6), H)):
        for given in (None, state):
            with raises(kind, message):
                layer.step(x, given)


def test_step_checks_its_state_on_the_fast_path() -> None:
    layer = LSTM(3, 6)
    bad = H.copy()
    bad[0, 1, 4] = np.nan
    with raises(ValueError, "state[0][0, 1, 4] is nan: it must be finite"):
        layer.step(X[0], (bad, H))
    with raises(ValueError, "state[0] must have shape (1, 3, 6)"):
        layer.step(X[0, :3], (H, H))


def test_step_of_a_bidirectional_layer() -> None:
    with raises(ValueError, "step needs a layer with bidirectional=False"):
        LSTM(3, 6, bidirectional=True).step(X[0])


# ---- backward, parameters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dy", "kind", "message"),
    [
        (X, ValueError, "dy must have shape (5, 4, 6), that is [T, B, width], got (5, 4, 3)"),
        (np.ones((5, 4)), ValueError, "dy must have shape (5, 4, 6), that is [T, B, width], got (5, 4)"),
        ("ones", TypeError, "dy must hold real numbers, got str 'ones'"),
        (changed(np.ones((5, 4, 6)), (4, 0, 5), np.nan), ValueError, "dy[4, 0, 5] is nan: it must be finite"),
    ],
)
def test_output_gradient(dy: Any, kind: type[Exception], message: str) -> None:
    layer = LSTM(3, 6)
    y, _ = layer.forward(X)
    with raises(kind, message):
        layer.backward(dy)
    assert not layer.flat_gradients.any()
    layer.backward(y)
    with raises(TypeError, "need_dx must be True or False, got 1"):
        layer.forward(X)
        layer.backward(y, need_dx=1)


def test_output_gradient_with_batch_first() -> None:
    layer = LSTM(3, 6, batch_first=True)
    layer.forward(X.swapaxes(0, 1))
    with raises(ValueError, "dy must have shape (4, 5, 6), that is [B, T, width], got (5, 4, 6)"):
        layer.backward(np.ones((5, 4, 6)))


def test_a_refused_forward_leaves_no_backward() -> None:
    layer = LSTM(3, 6)
    layer.forward(X)
    with pytest.raises(ValueError, match="features"):
        layer.forward(X[..., :2])
    layer.backward(np.ones((5, 4, 6)))  # of the forward before, which nothing has touched


def test_load_parameters() -> None:
    layer = GRU(3, 6, seed=0)
    before, good = layer.flat_parameters.copy(), dict(layer.parameters)
    names = list(good)
    lacking = {name: good[name] for name in names[1:]}
    cases: list[tuple[Any, type[Exception], str]] = [
        (lacking, ValueError, f"mapping lacks ['weight_ih_l0']; the parameters are {names}"),
        ({**good, "weight_ih_l1": 0}, ValueError, "mapping has the unknown names ['weight_ih_l1']; the parameters are"),
        ({**lacking, "w": 0}, ValueError, "mapping lacks ['weight_ih_l0'] and has the unknown names ['w']"),
        (
            {**good, "bias_hh_l0": np.zeros(6)},
            ValueError,
            "mapping['bias_hh_l0'] must have shape (18,), that is the parameter's own, got (6,)",
        ),
        (
            {**good, "weight_hh_l0": changed(good["weight_hh_l0"], (17, 5), np.nan)},
            ValueError,
            "mapping['weight_hh_l0'][17, 5] is nan: it must be finite",
        ),
        ({**good, "bias_hh_l0": ["a"] * 18}, TypeError, "mapping['bias_hh_l0'] must hold real numbers"),
        (list(good.items()), TypeError, "mapping must map parameter names to arrays, got list"),
    ]
    for mapping, kind, message in cases:
        with raises(kind, message):
            layer.load_parameters(mapping)
        assert np.array_equal(layer.flat_parameters, before)


def test_bind() -> None:
    layer = RNN(3, 6)
    n = layer.n_parameters
    good = np.zeros(n, np.float32)
    with raises(TypeError, "parameters must be an array of float32, got float64"):
        layer.bind(np.zeros(n), good)
    with raises(TypeError, "gradients must be an array of float32, got list"):
        layer.bind(good, [0.0] * n)
    with raises(ValueError, f"parameters must have shape ({n},), got ({n + 1},)"):
        layer.bind(np.zeros(n + 1, np.float32), good)
    with raises(ValueError, "gradients must be contiguous and writable, got strides (8,)"):
        layer.bind(good, np.zeros(2 * n, np.float32)[::2])
    good.flags.writeable = False
    with raises(ValueError, "parameters must be contiguous and writable"):
        layer.bind(good, np.zeros(n, np.float32))


def test_the_core_itself_refuses_what_would_read_foreign_memory() -> None:
    core = LSTM(3, 6)._core
    rows, sizes, h = np.zeros((20, 3), np.float32), np.full(5, 4), np.zeros((1, 4, 6), np.float32)
    core.infer(rows, sizes, (h, h))
    bad: list[tuple[Any, Any, Any]] = [
        (rows[:, :2].copy(), sizes, None),
        (rows[:-1], sizes, None),
        (rows[::2], sizes, None),
        (rows.astype(np.float64), sizes, None),
        (rows.ravel(), sizes, None),
        (rows.tolist(), sizes, None),
        (rows, sizes.astype(np.int32), None),
        (rows, sizes[::-1][:4], None),
        (rows, np.array([2, 4, 4, 4, 6]), None),
        (rows, np.array([20, 0, 0, 0, 0]), None),
        (rows, np.array([30, -10]), None),
        (rows, np.zeros(0, np.int64), None),
        (rows, sizes, (h,)),
        (rows, sizes, h[0, 0, 0]),
        (rows, sizes, (h, h[:, :3].copy())),
        (rows, sizes, (h, h.astype(np.float64))),
    ]
    for run in (core.infer, core.forward):
        for arguments in bad:
            with pytest.raises((TypeError, ValueError)):
                run(*arguments)
    with pytest.raises(RuntimeError):
        core.backward(np.zeros((20, 6), np.float32), None, True)
    core.forward(rows, sizes, None)
    for dy in (np.zeros((20, 5), np.float32), np.zeros((19, 6), np.float32), np.zeros((20, 6))):
        with pytest.raises((TypeError, ValueError)):
            core.backward(dy, None, True)
    core.backward(np.zeros((20, 6), np.float32), None, True)
