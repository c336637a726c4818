"""Live streams: one step of many in one call, beside ONNX Runtime on the same batch; one stream beside `layer.step`.

python bench/streams.py [--threads N]: medians of interleaved rounds, and their ratios in each round. ONNX Runtime gets the
LSTM and the dense layer with its states bound to its own memory, and x that is standardized already; ours also
standardizes, and finds the label.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from peers_layers import onnx_weights
from shapes import Shape

import lstmcore
from lstmcore.model import ClassifierModel

N_FEATURES, N_CLASSES = 4, 3


def fitted(cell: str, hidden_size: int) -> ClassifierModel:
    """Return a classifier whose recurrent parameters are those of the shape."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 10, N_FEATURES), np.float32), np.arange(60) % N_CLASSES
    model = lstmcore.RNNClassifier(cell=cell, hidden_size=hidden_size, max_epochs=1, random_state=0).fit(X, y).model_
    model.network.recurrent.load_parameters(Shape(cell, N_FEATURES, hidden_size, 1, 1).parameters())
    return model


def onnx_step(model: ClassifierModel, n_streams: int, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that advances ONNX Runtime's streams by x [n_streams, N_FEATURES] and returns logits."""
    hidden, dense = model.network.recurrent.hidden_size, model.network.dense.parameters
    weights = onnx_weights(Shape("lstm", N_FEATURES, hidden, 1, 1))
    constants = {**weights, "Wd": dense["weight"], "bd": dense["bias"], "first": np.array([0], np.int64)}
    state = [1, n_streams, hidden]
    nodes = [
        helper.make_node("LSTM", ["X", "W", "R", "B", "", "h", "c"], ["", "h1", "c1"], hidden_size=hidden),
        helper.make_node("Squeeze", ["h1", "first"], ["rows"]),
        helper.make_node("Gemm", ["rows", "Wd", "bd"], ["logits"], transB=1),
    ]
    shapes = {"X": [1, n_streams, N_FEATURES], "h": state, "c": state}
    results = {"h1": state, "c1": state, "logits": [n_streams, N_CLASSES]}
    graph = helper.make_graph(
        nodes,
        "step",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in results.items()],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    runtime = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    values = {n: onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(s, np.float32)) for n, s in results.items()}
    before = {n: onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(state, np.float32)) for n in ("h", "c")}
    turns = []
    for into, out_of in ((before, values), (values, before)):
        binding = runtime.io_binding()
        for name in ("h", "c"):
            binding.bind_ortvalue_input(name, (into[name] if into is before else into[f"{name}1"]))
            binding.bind_ortvalue_output(f"{name}1", (out_of[name] if out_of is before else out_of[f"{name}1"]))
        binding.bind_ortvalue_output("logits", values["logits"])
        turns.append(binding)

    def step(x: np.ndarray) -> np.ndarray:
        turns.reverse()
        turns[1].bind_cpu_input("X", x[None])
        runtime.run_with_iobinding(turns[1])
        return values["logits"].numpy()

    return step


def medians(calls: list[Callable[[], Any]], rounds: int = 21, at_least: float = 0.02) -> tuple[list[float], float]:
    """Median seconds of each call, and the median over the rounds of how long the last takes by the first."""
    repeats = []
    for call in calls:
        call()
        start = time.perf_counter()
        call()
        repeats.append(max(1, int(at_least / (time.perf_counter() - start))))
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, n, found in zip(calls, repeats, times, strict=True):
            start = time.perf_counter()
            for _ in range(n):
                call()
            found.append((time.perf_counter() - start) / n)
    ratios = [last / first for first, last in zip(times[0], times[-1], strict=True)]
    return [statistics.median(found) for found in times], statistics.median(ratios)


def beside_onnx_runtime(threads: int) -> None:
    """Many streams of an LSTM classifier: microseconds a step of all."""
    print(f"{'H':>5}{'streams':>9}{'ours':>10}{'half':>10}{'ORT':>10}{'ratio':>8}   (half: every other stream)")
    for hidden, n_streams in ((32, 1), (32, 100), (64, 1), (64, 1_000), (64, 10_000), (128, 10_000)):
        model = fitted("lstm", hidden)
        scaler = model.inputs.scaler
        x = np.random.default_rng(1).standard_normal((n_streams, N_FEATURES), np.float32)
        scaled = ((x - scaler.mean) / scaler.scale).astype(np.float32)
        session, reference = model.session(n_streams), onnx_step(model, n_streams, threads)
        for _ in range(3):
            error = np.abs(session.outputs(x) - reference(scaled)).max()
        assert error < 1e-4, error
        some = np.arange(0, n_streams, 2)
        chosen = np.ascontiguousarray(x[some])
        (ours, half, theirs), ratio = medians(
            [lambda: session.step(x), lambda: session.step(chosen, some), lambda: reference(scaled)]
        )
        row = f"{hidden:5}{n_streams:9,}{1e6 * ours:10.1f}{1e6 * half:10.1f}{1e6 * theirs:10.1f}{ratio:8.2f}"
        print(row, flush=True)


def beside_a_layer() -> None:
    """One stream: microseconds a step."""
    print(
        f"\n{'cell':>5}{'H':>5}{'classifier':>12}{'regressor':>11}{'1 of 10,000':>13}{'forecaster':>12}{'layer.step':>12}"
    )
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 10, N_FEATURES), np.float32), rng.standard_normal(60)
    x, now = X[:1, 0].copy(), np.array([0.3])
    for cell in ("lstm", "gru"):
        options = {"cell": cell, "hidden_size": 32, "max_epochs": 1, "random_state": 0}
        one, many = (fitted(cell, 32).session(n) for n in (1, 10_000))
        regressor = lstmcore.RNNRegressor(**options).fit(X, y).model_.session()
        forecaster = lstmcore.RNNForecaster(window=24, horizon=3, **options).fit(np.sin(np.arange(200.0))).model_
        live, layer = forecaster.session(), lstmcore.from_cell(cell, N_FEATURES, 32)
        state = layer.step(x)[1]
        times, _ = medians(
            [
                lambda: one.step(x),
                lambda: regressor.step(x),
                lambda: many.step(x, 17),
                lambda: live.step(now),
                lambda: layer.step(x, state),
            ]
        )
        print(
            f"{cell:>5}{32:5}" + "".join(f"{1e6 * t:{w}.2f}" for t, w in zip(times, (12, 11, 13, 12, 12), strict=True))
        )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=lstmcore.get_num_threads())
    threads = parser.parse_args().threads
    lstmcore.set_num_threads(threads)
    print(f"{threads} thread(s), onnxruntime {onnxruntime.__version__}")
    beside_onnx_runtime(threads)
    beside_a_layer()


if __name__ == "__main__":
    main()
