"""Layers of lstmcore, PyTorch, ONNX Runtime and OpenVINO with the same weights, each used the fastest way it documents.

A library's `prepare(task)` gives named calls to be timed; what a call returns at first is compared between libraries:
outputs, or for a training step the gradient of the recurrent weights.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
from fit import KerasFit, fit_ours, fit_torch
from shapes import Shape, Task

Run = Callable[[], Any]
MODULES = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}


class Library:
    """One library, imported when it is made, on a number of threads."""

    name: str
    modules: tuple[str, ...]  # its own, and what else is needed
    works: tuple[str, ...]

    def __init__(self, threads: int) -> None:
        raise NotImplementedError

    def prepare(self, task: Task) -> dict[str, Run]:
        """Return what is to be timed, by name: the library's, and the way it is used if there are several."""
        raise NotImplementedError

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Versions of its modules; empty if one is not installed."""
        if any(importlib.util.find_spec(module) is None for module in cls.modules):
            return {}
        distributions = metadata.packages_distributions()
        return {module: metadata.version(distributions.get(module, [module])[0]) for module in cls.modules}


class Ours(Library):
    """lstmcore, on the instruction set that LSTMCORE_ISA names."""

    name, modules = "lstmcore", ("lstmcore",)
    works = ("step", "one", "infer", "train", "ragged", "fit")

    def __init__(self, threads: int) -> None:
        import lstmcore

        lstmcore.set_num_threads(threads)
        self.module = lstmcore

    def prepare(self, task: Task) -> dict[str, Run]:
        if task.work == "fit":
            return {self.name: fit_ours(task)}
        shape, x = task.shape, task.shape.x()
        layer = getattr(self.module, MODULES[shape.cell])(shape.input_size, shape.hidden_size)
        layer.load_parameters(shape.parameters())
        lengths = None if task.shortest is None else task.lengths
        dy = shape.dy(lengths)

        def train() -> Any:
            layer.parameters_changed()
            layer.forward(x, lengths=lengths)
            layer.backward(dy, need_dx=False)
            return layer.gradients["weight_hh_l0"]

        if task.work == "step":
            x_t, state = x[0], tuple(shape.state()) if shape.cell == "lstm" else shape.state()[0]
            return {self.name: lambda: layer.step(x_t, state)[0]}
        return {self.name: train if task.work in ("train", "ragged") else lambda: layer(x)[0]}


class Torch(Library):
    """PyTorch: inference mode, and gradients that are None at the start of a training step."""

    name, modules = "PyTorch", ("torch",)
    works = ("step", "one", "infer", "train", "ragged", "fit")

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch = torch

    def prepare(self, task: Task) -> dict[str, Run]:
        torch, shape = self.torch, task.shape
        if task.work == "fit":
            if task.shortest is None:
                return {self.name: fit_torch(task)}
            return {f"{self.name} {way}": fit_torch(task, packed=way == "packed") for way in ("padded", "packed")}
        layer = getattr(torch.nn, MODULES[shape.cell])(shape.input_size, shape.hidden_size)
        layer.load_state_dict({name: torch.from_numpy(value) for name, value in shape.parameters().items()})
        x, lengths = torch.from_numpy(shape.x()), torch.from_numpy(task.lengths)
        dy = torch.from_numpy(shape.dy(task.lengths))
        parts = [torch.from_numpy(part) for part in shape.state()]
        state = None if task.work != "step" else tuple(parts) if shape.cell == "lstm" else parts[0]

        def infer() -> Any:
            with torch.inference_mode():
                return layer(x, state)[0]

        def train() -> Any:
            layer.zero_grad(set_to_none=True)
            layer(x)[0].backward(dy)
            return layer.weight_hh_l0.grad

        def packed() -> Any:
            layer.zero_grad(set_to_none=True)
            batch = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(layer(batch)[0], total_length=shape.steps)
            y.backward(dy)
            return layer.weight_hh_l0.grad

        if task.work == "ragged":
            return {f"{self.name} padded": train, f"{self.name} packed": packed}
        return {self.name: train if task.work == "train" else infer}


class OnnxRuntime(Library):
    """ONNX Runtime on one LSTM, GRU or RNN node."""

    name, modules = "ONNX Runtime", ("onnxruntime", "onnx")
    works = ("step", "one", "infer")

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self.module = onnxruntime
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads, self.options.inter_op_num_threads = threads, 1

    def prepare(self, task: Task) -> dict[str, Run]:
        model, feeds = onnx_model(task)
        session = self.module.InferenceSession(model, self.options, providers=["CPUExecutionProvider"])
        return {self.name: lambda: session.run(None, feeds)[0]}


class OpenVino(Library):
    """OpenVINO on the same ONNX model, in float32: by itself it may choose bfloat16."""

    name, modules = "OpenVINO", ("openvino", "onnx")
    works = ("step", "one", "infer")

    def __init__(self, threads: int) -> None:
        import openvino

        self.core = openvino.Core()
        self.config = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }

    def prepare(self, task: Task) -> dict[str, Run]:
        model, feeds = onnx_model(task)
        request = self.core.compile_model(self.core.read_model(model), "CPU", self.config).create_infer_request()
        return {self.name: lambda: request.infer(feeds, share_inputs=True, share_outputs=True)[0]}


class Keras(Library):
    """Keras on TensorFlow."""

    name, modules = "Keras", ("keras", "tensorflow")
    works = ("fit",)

    def __init__(self, threads: int) -> None:
        self.fit = KerasFit(threads)

    def prepare(self, task: Task) -> dict[str, Run]:
        return {self.name: self.fit.prepare(task)}


LIBRARIES: tuple[type[Library], ...] = (Ours, Torch, OnnxRuntime, OpenVino, Keras)

# Where ONNX's gates are among PyTorch's: iofc among ifgo, zrh among rzn.
ONNX_GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}


def onnx_model(task: Task) -> tuple[bytes, dict[str, np.ndarray]]:
    """Return a model of one node, all of its shapes fixed, and its inputs: x, and the state of a single step.

    Its outputs are Y of whole sequences, but for a single step Y_h and Y_c, which the next one needs.
    """
    from onnx import TensorProto, helper, numpy_helper

    shape, step = task.shape, task.work == "step"
    rows = shape.batch, shape.hidden_size
    attributes: dict[str, Any] = {"hidden_size": shape.hidden_size}
    if shape.cell == "gru":
        attributes["linear_before_reset"] = 1
    feeds = {"X": shape.x()}
    if step:
        feeds |= dict(zip(("initial_h", "initial_c"), shape.state(), strict=False))
    outputs = {"Y": [shape.steps, 1, *rows]}
    if step:
        outputs = {name: [1, *rows] for name in ("Y_h", "Y_c")[: len(shape.state())]}
    node = helper.make_node(
        shape.cell.upper(),
        ["X", "W", "R", "B", "", *(name for name in feeds if name != "X")],
        ["", *outputs] if step else [*outputs],
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        shape.cell,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in feeds.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name, sizes in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in onnx_weights(shape).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString(), feeds


def onnx_weights(shape: Shape) -> dict[str, np.ndarray]:
    """Return W [1, GH, I], R [1, GH, H] and B [1, 2GH] in ONNX's order of gates."""
    order = list(ONNX_GATES[shape.cell])
    blocks = {
        name: value.reshape(len(order), shape.hidden_size, -1)[order].reshape(value.shape)
        for name, value in shape.parameters().items()
    }
    bias = np.concatenate([blocks["bias_ih_l0"], blocks["bias_hh_l0"]])
    return {"W": blocks["weight_ih_l0"][None], "R": blocks["weight_hh_l0"][None], "B": bias[None]}
