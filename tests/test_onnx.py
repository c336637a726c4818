"""ONNX import: recurrent nodes against a plain float64 reference, graphs around them, and what is refused.

Graphs are built without the package onnx: tests/peers reads files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_reference
import pytest
from cases import error, same_bits

import lstmcore
from lstmcore._recurrent import Recurrent
from lstmcore.interop._onnx_program import Graph, Node
from lstmcore.interop._onnx_recurrent import GeneralRecurrent
from lstmcore.interop.onnx import OnnxModel

ORDER = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
OUTPUTS = {"LSTM": ["Y", "Y_h", "Y_c"], "GRU": ["Y", "Y_h"], "RNN": ["Y", "Y_h"]}
CONSTANTS = ("W", "R", "B", "P")


def drawn(
    op: str,
    attributes: dict[str, Any],
    *,
    dtype: str = "float64",
    sizes: tuple[int, int, int, int] = (6, 5, 3, 9),
    lens: bool = False,
    states: bool = False,
    bias: bool = True,
    peepholes: bool = False,
) -> dict[str, np.ndarray]:
    """Random inputs of a node, T, B, I and H in `sizes`."""
    rng = np.random.default_rng(3)
    T, B, inputs, H = sizes
    D = 2 if attributes.get("direction") == "bidirectional" else 1
    G = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    shapes = {"X": (T, B, inputs), "W": (D, G * H, inputs), "R": (D, G * H, H)}
    shapes |= {"B": (D, 2 * G * H)} if bias else {}
    shapes |= {"P": (D, 3 * H)} if peepholes else {}
    shapes |= {"initial_h": (D, B, H)} if states else {}
    shapes |= {"initial_c": (D, B, H)} if states and op == "LSTM" else {}
    values = {name: (0.5 * rng.standard_normal(shape)).astype(dtype) for name, shape in shapes.items()}
    if attributes.get("layout"):
        values |= {name: values[name].swapaxes(0, 1) for name in ("X", "initial_h", "initial_c") if name in values}
    if lens:
        values["sequence_lens"] = np.array([T, 2, 0, 1, T - 1], np.int32)[:B]
    return values


def model_of(op: str, attributes: dict[str, Any], values: dict[str, np.ndarray]) -> OnnxModel:
    node = Node(op, [name if name in values else "" for name in ORDER], OUTPUTS[op], dict(attributes), "cell")
    inputs = {name: (value.dtype, None) for name, value in values.items() if name not in CONSTANTS}
    constants = {name: value for name, value in values.items() if name in CONSTANTS}
    return OnnxModel(Graph(inputs, OUTPUTS[op], [node], constants))


def given(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value for name, value in values.items() if name not in CONSTANTS}


def check_node(op: str, attributes: dict[str, Any], tolerance: float = 1e-12, **options: Any) -> Recurrent:
    """Compare a node with the reference; return its layer."""
    values = drawn(op, attributes, **options)
    model = model_of(op, attributes, values)
    found, expected = model(given(values)), onnx_reference.run(op, attributes, values)
    for name in OUTPUTS[op]:
        assert found[name].dtype == values["X"].dtype
        assert error(found[name], expected[name]) < tolerance, (name, attributes)
    return model.layers["cell"]


def standard_nodes() -> Iterator[tuple[str, dict[str, Any], str]]:
    for direction in ("forward", "reverse", "bidirectional"):
        yield "RNN", {"direction": direction}, "rnn_tanh"
        yield "RNN", {"direction": direction, "activations": ["Relu"] * (1 + (direction[0] == "b"))}, "rnn_relu"
        yield "GRU", {"direction": direction}, "gru_reset_before"
        yield "GRU", {"direction": direction, "linear_before_reset": 1, "clip": 1000.0}, "gru"
        yield "LSTM", {"direction": direction}, "lstm"
        yield "LSTM", {"direction": direction, "input_forget": 1}, "lstm_coupled"


@pytest.mark.parametrize(("op", "attributes", "cell"), standard_nodes())
def test_standard_nodes_are_registered_cells(op: str, attributes: dict[str, Any], cell: str) -> None:
    for layout in (0, 1):
        for lens in (False, True):
            for states, bias in ((False, True), (True, False)):
                layer = check_node(op, {**attributes, "layout": layout}, lens=lens, states=states, bias=bias)
                assert type(layer) is Recurrent
                assert layer.cell == cell
    check_node(op, attributes, 1e-5, lens=True, states=True, dtype="float32")
    check_node(op, attributes, 1e-2, dtype="float16")
    if op == "LSTM":
        assert check_node(op, attributes, peepholes=True, states=True).cell == f"{cell}_peephole"


@pytest.mark.parametrize("name", onnx_reference.FUNCTIONS)
def test_activations(name: str) -> None:
    takes = onnx_reference.TAKES.get(name, 0)
    numbers = {"activation_alpha": [0.7] * (takes > 0), "activation_beta": [0.4] * (takes > 1)}
    for attributes in [numbers] + [{}] * (name in onnx_reference.NUMBERS):  # {}: the operator's own
        check_node("RNN", {"activations": [name], **attributes}, sizes=(4, 5, 3, 21))
        check_node("RNN", {"activations": [name], **attributes}, 1e-5, sizes=(4, 5, 3, 21), dtype="float32")


GENERAL: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {"clip": 0.3}),
    ("LSTM", {"clip": 0.0}),
    ("LSTM", {"input_forget": 1, "clip": 0.3}),
    ("LSTM", {"activations": ["HardSigmoid", "Softsign", "Relu"]}),
    (
        "LSTM",
        {
            "activations": ["HardSigmoid", "ScaledTanh", "LeakyRelu", "Sigmoid", "Elu", "Affine"],
            "activation_alpha": [0.3, 0.9, 0.2, 0.8, 0.7],  # taken in order by the functions that have one
            "activation_beta": [0.4, 0.6, 0.1],
            "direction": "bidirectional",
        },
    ),
    ("GRU", {"clip": 0.2, "direction": "reverse"}),
    ("GRU", {"activations": ["HardSigmoid", "Softplus"], "linear_before_reset": 1}),
    ("GRU", {"activations": ["Tanh", "Sigmoid", "Sigmoid", "Tanh"], "direction": "bidirectional"}),
    ("RNN", {"clip": 0.2}),
    ("RNN", {"activations": ["Relu"], "clip": 0.2}),
    ("RNN", {"activations": ["Relu", "Tanh"], "direction": "bidirectional"}),
]


@pytest.mark.parametrize(("op", "attributes"), GENERAL)
def test_other_activations_and_clips(op: str, attributes: dict[str, Any]) -> None:
    for lens, states, peepholes in ((False, False, False), (True, True, op == "LSTM")):
        layer = check_node(op, attributes, lens=lens, states=states, peepholes=peepholes)
        assert type(layer) is GeneralRecurrent
    assert repr(layer).startswith(f"GeneralRecurrent('{layer.cell}'")
    with pytest.raises(RuntimeError, match="inference"):
        layer.forward(np.zeros((2, 1, 3)))


@pytest.mark.parametrize(("op", "options"), [("LSTM", {}), ("LSTM", {"input_forget": 1}), ("GRU", {}), ("RNN", {})])
def test_chosen_functions_have_the_bits_of_fixed_ones(op: str, options: dict[str, Any]) -> None:
    values = drawn(op, {}, dtype="float32", sizes=(7, 5, 4, 37), peepholes=op == "LSTM")
    fixed = model_of(op, options, values)
    chosen = model_of(op, {**options, "clip": 500.0}, values)
    assert type(chosen.layers["cell"]) is GeneralRecurrent
    expected = fixed({"X": values["X"]})
    for threads in (1, 2):
        lstmcore.set_num_threads(threads)
        try:
            found = chosen({"X": values["X"]})
        finally:
            lstmcore.set_num_threads(0)
        assert all(same_bits(found[name], expected[name]) for name in OUTPUTS[op])
    assert same_bits(chosen({"X": values["X"][:, 2:3]})["Y"][:, 0], expected["Y"][:, :, 2])


def test_a_row_without_steps_ends_where_it_began() -> None:
    values = drawn("LSTM", {}, lens=True, states=True)
    values["sequence_lens"][:] = 0
    found = model_of("LSTM", {}, values)(given(values))
    assert not found["Y"].any()
    assert same_bits(found["Y_h"], values["initial_h"])
    assert same_bits(found["Y_c"], values["initial_c"])


def test_a_layer_can_be_trained() -> None:
    values = drawn("GRU", {"direction": "bidirectional"})
    model = model_of("GRU", {"direction": "bidirectional"}, values)
    layer, before = model.layers["cell"], model({"X": values["X"]})["Y"]
    y, _ = layer.forward(values["X"])
    layer.backward(2 * y)
    layer.load_parameters({name: layer.parameters[name] - 0.01 * g for name, g in layer.gradients.items()})
    after = model({"X": values["X"]})["Y"]
    assert (after**2).sum() < (before**2).sum()


def classifier() -> tuple[Graph, dict[str, np.ndarray]]:
    """Tokens [B, T] to probabilities [B, 3]: embedding, LSTM in both directions, largest outputs, softmax."""
    values = drawn("LSTM", {"direction": "bidirectional"}, sizes=(6, 5, 4, 7))
    rng = np.random.default_rng(8)
    constants = {name: values[name] for name in ("W", "R", "B")}
    constants |= {"vectors": rng.standard_normal((11, 4)), "V": rng.standard_normal((14, 3)), "v": np.ones(3)}
    constants |= {"shape": np.array([0, 0, -1]), "axes": np.array([0])}
    nodes = [
        Node("Transpose", ["tokens"], ["time_major"], {"perm": [1, 0]}),
        Node("Gather", ["vectors", "time_major"], ["x"]),
        Node("LSTM", ["x", "W", "R", "B"], ["Y"], {"direction": "bidirectional", "hidden_size": 7}, "lstm"),
        Node("Transpose", ["Y"], ["rows"], {"perm": [0, 2, 1, 3]}),
        Node("Reshape", ["rows", "shape"], ["joined"]),
        Node("ReduceMax", ["joined", "axes"], ["largest"], {"keepdims": 0}),
        Node("Gemm", ["largest", "V", "v"], ["scores"], {"beta": 0.5}),
        Node("Softmax", ["scores"], ["probabilities"], {"axis": -1}),
        Node("ArgMax", ["probabilities"], ["label"], {"axis": 1, "keepdims": 0}),
    ]
    outputs = ["probabilities", "label"]
    return Graph({"tokens": (np.dtype(np.int64), ("B", "T"))}, outputs, nodes, constants, opset=18), constants


def test_a_whole_graph() -> None:
    graph, w = classifier()
    model = OnnxModel(graph)
    assert list(model.inputs) == ["tokens"]
    assert model.outputs == ["probabilities", "label"]
    assert list(model.layers) == ["lstm"]
    for shape in ((5, 6), (1, 1), (3, 9)):
        tokens = np.random.default_rng(1).integers(0, 11, shape)
        node = {"X": w["vectors"][tokens.T], "W": w["W"], "R": w["R"], "B": w["B"]}
        y = onnx_reference.run("LSTM", {"direction": "bidirectional"}, node)["Y"]
        scores = np.concatenate([y[:, 0], y[:, 1]], -1).max(0) @ w["V"] + 0.5 * w["v"]
        expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        found = model({"tokens": tokens})
        assert error(found["probabilities"], expected) < 1e-12
        assert np.array_equal(found["label"], expected.argmax(1))


def test_constants_are_computed_at_import() -> None:
    values = drawn("GRU", {})
    swapped = values["W"].swapaxes(1, 2)
    nodes = [Node("Transpose", ["Wt"], ["W"], {"perm": [0, 2, 1]}), Node("GRU", ["X", "W", "R", "B"], ["Y"])]
    constants = {"Wt": swapped, "R": values["R"], "B": values["B"]}
    model = OnnxModel(Graph({"X": (np.dtype(np.float64), (None, None, 3))}, ["Y"], nodes, constants))
    expected = onnx_reference.run("GRU", {}, values)["Y"]
    assert list(model.layers) == ["Y"]  # a node without a name has that of its output
    assert error(model({"X": values["X"]})["Y"], expected) < 1e-12


BAD_INPUTS: list[tuple[Any, str]] = [
    ({"tokens": np.zeros((2, 3, 4), int)}, r"input 'tokens' must have shape \[B, T\], got \(2, 3, 4\)"),
    ({"token": np.zeros((2, 3), int)}, "did you mean 'tokens'"),
    ({}, "input 'tokens' is missing"),
    ({"tokens": np.full((2, 3), 11)}, r"node 'x' \(Gather\) of vectors \(11, 4\), time_major \(3, 2\)"),
    ({"tokens": np.zeros((2, 3))}, "must be of integers, int64, got float64"),
    (np.zeros((2, 3)), "inputs must be a dict"),
]


@pytest.mark.parametrize(("inputs", "message"), BAD_INPUTS)
def test_bad_inputs(inputs: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        OnnxModel(classifier()[0])(inputs)


BAD_NODE_INPUTS: list[tuple[str, Any, str]] = [
    ("X", np.zeros((6, 5)), r"X must have 3 dimensions \[T, B, I\], got 2 \(shape \(6, 5\)\)"),
    ("X", np.zeros((6, 5, 4)), "x has 4 features, but the layer's input_size is 3"),
    ("X", np.full((6, 5, 3), np.nan), r"node 'cell' \(LSTM\) of X \(6, 5, 3\).*x\[0, 0, 0\] is nan"),
    ("sequence_lens", np.array([1], np.int32), r"sequence_lens must have shape \(5,\), that is \[B\], got \(1,\)"),
    ("sequence_lens", np.array([1, 2, 3, 4, 7], np.int32), r"from 0 to T=6, got \[1, 2, 3, 4, 7\]"),
    ("sequence_lens", np.array([1, 2, 3, -1, 6], np.int32), r"from 0 to T=6, got \[1, 2, 3, -1, 6\]"),
    ("initial_h", np.zeros((1, 4, 9)), r"initial_h must have shape \(1, 5, 9\), that is \[D, B, H\], got \(1, 4, 9\)"),
    ("initial_c", np.zeros((5, 9)), r"initial_c must have shape \(1, 5, 9\)"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD_NODE_INPUTS)
def test_bad_inputs_of_a_node(name: str, value: Any, message: str) -> None:
    values = drawn("LSTM", {}, lens=True, states=True)
    with pytest.raises(ValueError, match=message):
        model_of("LSTM", {}, values)({**given(values), name: value})


BAD_ATTRIBUTES: list[tuple[str, dict[str, Any], str]] = [
    ("RNN", {"input_forget": 1}, r"node 'cell' \(RNN\) has the attribute 'input_forget'"),
    ("LSTM", {"direction": "both"}, r"direction of node 'cell' \(LSTM\) must be one of 'forward'"),
    ("LSTM", {"hidden_size": 8}, "hidden_size of node 'cell' .* is 8, but R is for 9"),
    ("LSTM", {"activations": ["Sigmoid", "Tanh"]}, "activations of node 'cell' .* must be 3 names"),
    ("GRU", {"activations": ["Sigmoid", "Tan"]}, "activation of node 'cell' .* got 'tan' .did you mean 'tanh'"),
    ("RNN", {"activations": ["Affine"]}, "must give activation_alpha of 'Affine'"),
    ("RNN", {"activation_alpha": [0.5]}, "activation_alpha of node 'cell' .* has 1 more"),
    ("RNN", {"activation_alpha": 0.5}, r"node 'cell' \(RNN\) cannot be read: 'float' object"),
    ("RNN", {"clip": -1.0}, r"clip of node 'cell' \(RNN\) must be 0 or more, got -1.0"),
]


@pytest.mark.parametrize(("op", "attributes", "message"), BAD_ATTRIBUTES)
def test_bad_attributes(op: str, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_of(op, attributes, drawn(op, {}))


def test_bad_weights() -> None:
    values = drawn("GRU", {})
    for name, wrong in (("R", values["R"][0]), ("W", values["W"][:, 1:]), ("B", values["B"].astype(np.int64))):
        with pytest.raises(ValueError, match=rf"{name} of node 'cell' \(GRU\) must"):
            model_of("GRU", {}, {**values, name: wrong})
    graph = Graph({name: (value.dtype, None) for name, value in values.items()}, ["Y"], [Node("GRU", ORDER[:3], ["Y"])])
    with pytest.raises(ValueError, match=r"W of node 'Y' \(GRU\) must be a constant"):
        OnnxModel(graph)


EACH = Graph({"x": (np.dtype(np.float32), None)}, ["x"], [])
BAD_GRAPHS: list[tuple[Node, str]] = [
    (Node("Conv", ["X"], ["Y"], {}, "c1"), r"node 'c1' \(Conv\) cannot be mapped; operators that can: LSTM, GRU"),
    (Node("Softmax", ["X"], ["Y"], {"axes": 1}), r"node 'Y' \(Softmax\) has the attribute 'axes'"),
    (Node("Neg", ["Z"], ["Y"]), r"node 'Y' \(Neg\) reads 'Z', which nothing before it computes"),
    (Node("Neg", ["X"], ["Z"]), "the graph returns 'Y', which nothing before it computes"),
    (Node("Scan", ["none"], ["Y"], {"body": EACH, "num_scan_inputs": 1}), r"node 'Y' \(Scan\) of none .* no step"),
    (Node("Scan", ["X"], ["Y"], {"body": EACH, "num_scan_inputs": 2}), "num_scan_inputs must be from 1 to 1, got 2"),
    (Node("Reshape", ["five", "minus"], ["Y"]), r"node 'Y' \(Reshape\) of five \(5,\), minus \(2,\)"),
]


@pytest.mark.parametrize(("node", "message"), BAD_GRAPHS)
def test_bad_graphs(node: Node, message: str) -> None:
    constants = {"five": np.zeros(5), "minus": np.array([2, -1]), "none": np.zeros(0)}
    with pytest.raises(ValueError, match=message):
        OnnxModel(Graph({"X": (np.dtype(np.float32), None)}, ["Y"], [node], constants))({"X": np.zeros(3)})
