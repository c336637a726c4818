"""ONNX import against ONNX Runtime: recurrent nodes, every other node, and models that PyTorch exports; bad files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import lstmcore
from lstmcore.interop._onnx_nodes import NODES

RNG = np.random.default_rng(0)
F32 = np.float32


def infer(model: onnx.ModelProto | bytes, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, inputs)


def of_node(node: onnx.NodeProto, inputs: dict[str, np.ndarray], opset: int = 18, **constants: Any) -> onnx.ModelProto:
    describe = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "g",
        [describe(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for name, x in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in node.output if name],
        [numpy_helper.from_array(x, name) for name, x in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


RECURRENT: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {"direction": "bidirectional"}),
    ("LSTM", {"clip": 0.3, "input_forget": 1}),
    ("LSTM", {"activations": ["HardSigmoid", "Softsign", "Elu"]}),
    ("GRU", {"direction": "reverse", "linear_before_reset": 1}),
    ("GRU", {"activations": ["HardSigmoid", "LeakyRelu"], "activation_alpha": [0.3], "clip": 0.5}),
    ("RNN", {"activations": ["Softplus"], "direction": "reverse"}),
    ("RNN", {"activations": ["ScaledTanh"], "activation_alpha": [1.5], "activation_beta": [0.5]}),
]


@pytest.mark.parametrize(("op", "attributes"), RECURRENT)
def test_recurrent_nodes(op: str, attributes: dict[str, Any]) -> None:
    D, G = 2 if attributes.get("direction") == "bidirectional" else 1, {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    T, B, inputs, H = 9, 4, 6, 35
    weights = {"W": (D, G * H, inputs), "R": (D, G * H, H), "B": (D, 2 * G * H)}
    constants = {name: F32(0.1) * f(*shape) for name, shape in weights.items()}
    values = {"X": f(T, B, inputs), "lens": np.array([T, 3, 1, T - 1], np.int32), "h0": f(D, B, H)}
    names = ["X", "W", "R", "B", "lens", "h0"]
    if op == "LSTM":
        values["c0"] = f(D, B, H)
        names.append("c0")
    node = helper.make_node(op, names, ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2], hidden_size=H, **attributes)
    model = of_node(node, values, 14, **constants)
    for mine, theirs in zip(lstmcore.from_onnx(model)(values).values(), infer(model, values), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-5)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(F32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def running(of_rows: bool = False) -> onnx.GraphProto:
    """The body of a Scan: s = i0 + tanh(s) x, where i0 is of the graph around; or, of rows of x, a Scan of this."""

    def of(*names: str) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]

    nodes = [
        helper.make_node("Tanh", ["s"], ["t"]),
        helper.make_node("Mul", ["t", "x"], ["p"]),
        helper.make_node("Add", ["i0", "p"], ["y"]),
        helper.make_node("Identity", ["y"], ["y_n"]),
    ]
    body = helper.make_graph(nodes, "body", of("s", "x"), of("y_n", "y"))
    if not of_rows:
        return body
    scan = helper.make_node("Scan", ["state", "rows"], ["last", "each"], body=body, num_scan_inputs=1)
    return helper.make_graph([scan], "outer", of("state", "rows"), of("last", "each"))


BACKWARDS = {f"scan_{end}_{what}": [1] for end in ("input", "output") for what in ("axes", "directions")}
TWO = [f(3, 4), f(4)]
WHOLE = [np.array([7, -7, 9], np.int64), np.array([-2, 2, 4], np.int64)]
CASES: list[tuple[str, list[Any], dict[str, Any], int]] = [
    *((op, TWO, {}, 18) for op in ("Add", "Sub", "Mul", "Div", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")),
    *((op, WHOLE, {}, 18) for op in ("Div", "Mod", "Equal", "Min", "Max")),
    ("Mod", TWO, {"fmod": 1}, 18),
    ("Pow", [np.abs(f(3, 4)), f(4)], {}, 18),
    *((op, [f(3, 4)], {}, 18) for op in ("Identity", "Neg", "Abs", "Floor", "Ceil", "Sign", "Reciprocal", "Exp")),
    *((op, [np.abs(f(3, 4))], {}, 18) for op in ("Sqrt", "Log")),
    *((op, [f(3, 4) * 5], {}, 18) for op in ("Tanh", "Relu", "Softplus", "Softsign", "Sigmoid", "HardSigmoid")),
    *((op, [f(3, 4)], {"alpha": 0.7}, 18) for op in ("LeakyRelu", "Elu")),
    ("Round", [np.array([0.5, 1.5, -2.5, 2.3], F32)], {}, 18),
    ("Not", [f(5) > 0], {}, 18),
    ("IsNaN", [np.array([1, np.nan], F32)], {}, 18),
    *((op, [f(5) > 0, f(5) > 0], {}, 18) for op in ("And", "Or", "Xor")),
    *((op, [f(3, 4), f(4), f(1, 4)], {}, 18) for op in ("Min", "Max", "Sum")),
    ("Clip", [f(3, 4), np.array(-0.5, F32), np.array(0.5, F32)], {}, 18),
    ("Clip", [f(3, 4)], {"min": -0.5, "max": 0.5}, 8),
    ("Cast", [f(6) * 3], {"to": TensorProto.INT32}, 18),
    ("Dropout", [f(3)], {}, 18),
    ("Where", [f(3, 4) > 0, f(3, 4), f(4)], {}, 18),
    ("MatMul", [f(2, 3, 4), f(4, 5)], {}, 18),
    ("Gemm", [f(3, 4), f(5, 4), f(5)], {"transB": 1, "alpha": 0.5, "beta": 2.0}, 18),
    ("Gemm", [f(4, 3), f(4, 5)], {"transA": 1}, 18),
    *((op, [f(3, 4, 5)], {"axis": axis}, 18) for op in ("Softmax", "LogSoftmax") for axis in (0, -1)),
    *((op, [f(3, 4, 5)], {"axis": 1}, 11) for op in ("Softmax", "LogSoftmax")),
    ("Softmax", [f(3, 4, 5)], {}, 11),
    ("CumSum", [f(3, 4), np.array(1)], {"exclusive": 1, "reverse": 1}, 18),
    *(
        (op, [f(3, 4, 5), ints(0, -1)], {"keepdims": 0}, 18)
        for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")
    ),
    ("ReduceMean", [f(3, 4, 5)], {"axes": [1]}, 13),
    ("ReduceSum", [f(3, 4, 5)], {}, 18),
    *((op, [f(3, 4)], {"axis": 1, "keepdims": 0}, 18) for op in ("ArgMax", "ArgMin")),
    ("ArgMax", [np.ones((2, 3), F32)], {"axis": -1, "select_last_index": 1}, 18),
    *(("TopK", [np.array([[2, 1, 2, 3, 1]]), ints(4)], {"largest": largest}, 18) for largest in (0, 1)),
    ("TopK", [f(3, 4, 5), ints(2)], {"axis": 1}, 18),
    ("Reshape", [f(3, 4, 5), ints(0, -1)], {}, 18),
    ("Squeeze", [f(3, 1, 5), ints(1)], {}, 18),
    ("Squeeze", [f(3, 1, 5)], {"axes": [1]}, 11),
    ("Unsqueeze", [f(3, 5), ints(0, -1)], {}, 18),
    ("Unsqueeze", [f(3, 5)], {"axes": [0, 3]}, 11),
    ("Flatten", [f(3, 4, 5)], {"axis": 2}, 18),
    ("Transpose", [f(3, 4, 5)], {"perm": [2, 0, 1]}, 18),
    ("Slice", [f(7, 8), ints(1, -1), ints(100, -100), ints(0, 1), ints(2, -1)], {}, 18),
    ("Slice", [f(7, 8)], {"starts": [1], "ends": [3], "axes": [1]}, 9),
    ("Split", [f(7, 2), ints(3, 4)], {"axis": 0}, 18),
    ("Split", [f(7, 2)], {"axis": 0, "num_outputs": 2}, 18),
    ("Concat", [f(3, 4), f(3, 2)], {"axis": 1}, 18),
    ("Gather", [f(7, 3), np.array([[0, -1], [2, 2]])], {}, 18),
    ("Gather", [f(7, 3), np.array(1)], {"axis": 1}, 18),
    ("GatherND", [f(2, 3, 4), np.array([[1, 0], [0, 2]])], {}, 18),
    ("GatherND", [f(2, 3, 4), np.array([[[1], [0]], [[2], [2]]])], {"batch_dims": 1}, 18),
    ("GatherElements", [f(3, 4), np.array([[0, 1], [3, 3], [2, 0]])], {"axis": 1}, 18),
    ("Expand", [f(3, 1), ints(2, 1, 4)], {}, 18),
    ("Tile", [f(3, 2), ints(2, 3)], {}, 18),
    ("Shape", [f(3, 4, 5)], {"start": 1}, 18),
    ("Size", [f(3, 4, 5)], {}, 18),
    ("Constant", [], {"value_floats": [1.0, 2.5]}, 18),
    ("Constant", [], {"value_int": 3}, 18),
    ("ConstantOfShape", [ints(2, 3)], {"value": helper.make_tensor("v", TensorProto.INT64, [1], [4])}, 18),
    ("Range", [np.array(2), np.array(11), np.array(3)], {}, 18),
    ("ReverseSequence", [f(5, 3, 2), ints(5, 1, 3)], {}, 18),
    ("Scan", [f(2), f(7, 2)], {"body": running(), "num_scan_inputs": 1}, 18),
    ("Scan", [f(2), f(2, 7)], {"body": running(), "num_scan_inputs": 1, **BACKWARDS}, 18),
    ("Scan", [f(2), f(7, 3, 2)], {"body": running(of_rows=True), "num_scan_inputs": 1}, 18),
]


@pytest.mark.parametrize(
    ("op", "arrays", "attributes", "opset"), CASES, ids=[f"{c[0]}-{k}" for k, c in enumerate(CASES)]
)
def test_nodes(op: str, arrays: list[np.ndarray], attributes: dict[str, Any], opset: int) -> None:
    inputs = {f"i{k}": array for k, array in enumerate(arrays)}
    node = helper.make_node(op, list(inputs), ["o0", "o1"][: 2 if op in ("Split", "TopK", "Scan") else 1], **attributes)
    model = of_node(node, inputs, opset)
    found = lstmcore.from_onnx(model)(inputs)
    for mine, theirs in zip(found.values(), infer(model, inputs), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_every_node_is_tested() -> None:
    assert {case[0] for case in CASES} == set(NODES)


class Tagger(torch.nn.Module):
    def __init__(self, kind: type = torch.nn.LSTM) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(13, 6)
        self.recurrent = kind(6, 11, num_layers=2, bidirectional=True, batch_first=True)
        self.dense = torch.nn.Linear(22, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.softmax(self.dense(self.recurrent(self.embedding(x))[0]), -1)
        return result


def export(module: torch.nn.Module, path: Path) -> None:
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "B", 1: "T"}}}
    torch.onnx.export(module, (torch.zeros(3, 8, dtype=torch.int64),), path, opset_version=17, dynamo=False, **names)


exporting = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning"
)


@exporting
@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_models_from_torch(kind: type, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Tagger(kind).eval()
    export(module, tmp_path / "tagger.onnx")
    model = lstmcore.from_onnx(tmp_path / "tagger.onnx")
    assert len(model.layers) == 2
    for shape in ((3, 8), (1, 1), (5, 20)):
        tokens = torch.randint(0, 13, shape)
        found = model({"x": tokens.numpy()})["y"]
        np.testing.assert_allclose(found, module(tokens).detach().numpy(), rtol=0, atol=1e-6)


def test_inputs_that_may_be_left_out() -> None:
    add, w = helper.make_node("Add", ["X", "w"], ["Y"]), f(2)
    model = of_node(add, {"X": f(2), "w": w}, w=w)
    loaded = lstmcore.from_onnx(model)
    x = f(2)
    assert loaded.optional == ["w"]
    assert np.array_equal(loaded({"X": x})["Y"], x + w)
    assert np.array_equal(loaded({"X": x, "w": x})["Y"], x + x)
    model.ir_version = 3  # there, every initializer is listed as an input
    assert list(lstmcore.from_onnx(model).inputs) == ["X"]


def test_text_as_labels() -> None:
    labels = np.array(["no", "yes"], object)
    node = helper.make_node("Gather", ["labels", "X"], ["Y"])
    found = lstmcore.from_onnx(of_node(node, {"X": ints(1, 0)}, labels=labels))({"X": ints(1, 0)})
    assert found["Y"].tolist() == ["yes", "no"]


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"onnx.ModelProto or the path of one, got bytes"):
        lstmcore.from_onnx(b"")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        lstmcore.from_onnx(tmp_path / "none.onnx")
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"bad.onnx' is not an ONNX model"):
        lstmcore.from_onnx(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="the model says no opset, and so is none or not whole"):
        lstmcore.from_onnx(path)
    relu = helper.make_node("Relu", ["X"], ["Y"], name="r")
    x = {"X": f(2)}
    with pytest.raises(ValueError, match="opset 6; 7 is the oldest"):
        lstmcore.from_onnx(of_node(relu, x, 6))
    custom = helper.make_node("Relu", ["X"], ["Y"], name="r", domain="com.example")
    with pytest.raises(ValueError, match=r"node 'r' \(Relu\) is of domain 'com.example'"):
        lstmcore.from_onnx(of_node(custom, x))
    branch = of_node(relu, x).graph
    with pytest.raises(ValueError, match=r"attribute 'then_branch' of node 'if' \(If\) is a subgraph"):
        lstmcore.from_onnx(of_node(helper.make_node("If", ["X"], ["Y"], name="if", then_branch=branch), x))
    old = helper.make_node("Scan", ["", "X", "X"], ["Y", "Z"], name="s", body=running(), num_scan_inputs=1)
    with pytest.raises(
        ValueError, match=r"attribute 'body' of node 's' \(Scan\) is a subgraph; only that of a Scan of"
    ):
        lstmcore.from_onnx(of_node(old, x, 8))
    outside = of_node(helper.make_node("Add", ["X", "w"], ["Y"]), x, w=f(2))
    onnx.save(outside, path, save_as_external_data=True, size_threshold=0)
    with pytest.raises(ValueError, match=r"initializer 'w' has its data in another file: pass onnx.load\(path\)"):
        lstmcore.from_onnx(path)
    assert lstmcore.from_onnx(onnx.load(path))(x)["Y"].shape == (2,)
    broken = of_node(helper.make_node("Add", ["X", "w"], ["Y"]), x, w=f(2))
    broken.graph.initializer[0].raw_data = b"123"
    with pytest.raises(ValueError, match="initializer 'w' cannot be read"):
        lstmcore.from_onnx(broken)
