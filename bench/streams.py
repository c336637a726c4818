"""Live streams: one step of many in one call, beside ONNX Runtime on the same batch; one stream beside `layer.step`.

python bench/streams.py [--threads N]: medians of interleaved rounds, and the median ratio of a round. ONNX Runtime has
a process of its own, since idle threads of either library spin for a while. It gets the LSTM and the dense layer with
its states bound to its own memory, and x that is standardized already; ours also standardizes, and finds the label.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from peers_layers import onnx_weights
from shapes import Shape

import lstmcore
from lstmcore.layers import from_cell
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


class Apart:
    """ONNX Runtime's streams in a process of their own: called, it takes so many steps and returns their seconds."""

    def __init__(self, hidden: int, n_streams: int, threads: int, x: np.ndarray) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, hidden, n_streams, threads, x), daemon=True)
        self._process.start()
        self.third: np.ndarray = self._connection.recv()  # logits after three steps

    def __call__(self, n: int) -> float:
        self._connection.send(n)
        return self._connection.recv()

    def close(self) -> None:
        """End the process."""
        self._connection.send(0)
        self._process.join()


def _serve(connection: Any, hidden: int, n_streams: int, threads: int, x: np.ndarray) -> None:
    step = onnx_step(fitted("lstm", hidden), n_streams, threads)
    connection.send([step(x) for _ in range(3)][-1])
    while n := connection.recv():
        connection.send(seconds(partial(step, x), n))


def seconds(call: Callable[[], Any], n: int) -> float:
    """How long n calls take."""
    start = time.perf_counter()
    for _ in range(n):
        call()
    return time.perf_counter() - start


def medians(
    timers: list[Callable[[int], float]], rounds: int = 21, at_least: float = 0.05, pause: float = 0.0
) -> tuple[list[float], float]:
    """Median seconds of a call, given what times n of them, and the median ratio of last to first in a round."""
    repeats = []
    for timer in timers:
        timer(1)
        repeats.append(max(1, int(at_least / timer(1))))
    times: list[list[float]] = [[] for _ in timers]
    for _ in range(rounds):
        for timer, n, found in zip(timers, repeats, times, strict=True):
            time.sleep(pause)
            found.append(timer(n) / n)
    ratios = [last / first for first, last in zip(times[0], times[-1], strict=True)]
    return [statistics.median(found) for found in times], statistics.median(ratios)


def beside_onnx_runtime(threads: int) -> None:
    """Many streams of an LSTM classifier: microseconds a step of all."""
    print(f"{'H':>5}{'streams':>9}{'ours':>10}{'half':>10}{'ORT':>10}{'ratio':>8}   (half: every other stream)")
    for hidden, n_streams in ((32, 1), (32, 100), (64, 1), (64, 1_000), (64, 10_000), (128, 10_000)):
        model = fitted("lstm", hidden)
        scaler = model.inputs.scaler
        x = np.random.default_rng(1).standard_normal((n_streams, N_FEATURES), np.float32)
        theirs = Apart(hidden, n_streams, threads, ((x - scaler.mean) / scaler.scale).astype(np.float32))
        session = model.session(n_streams)
        third = [session.outputs(x) for _ in range(3)][-1]
        error = np.abs(third - theirs.third).max()
        assert error < 1e-4, error
        some = np.arange(0, n_streams, 2)
        calls = [partial(session.step, x), partial(session.step, np.ascontiguousarray(x[some]), some)]
        (ours, half, other), ratio = medians([*(partial(seconds, call) for call in calls), theirs], pause=0.1)
        theirs.close()
        print(
            f"{hidden:5}{n_streams:9,}{1e6 * ours:10.1f}{1e6 * half:10.1f}{1e6 * other:10.1f}{ratio:8.2f}", flush=True
        )


def beside_a_layer() -> None:
    """One stream: microseconds a step."""
    names = ("classifier", "regressor", "1 of 10,000", "forecaster", "layer.step")
    print(f"\n{'cell':>5}{'H':>5}" + "".join(f"{name:>13}" for name in names))
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 10, N_FEATURES), np.float32), rng.standard_normal(60)
    x = X[:1, 0].copy()
    for cell in ("lstm", "gru"):
        options = {"cell": cell, "hidden_size": 32, "max_epochs": 1, "random_state": 0}
        one, many = (fitted(cell, 32).session(n) for n in (1, 10_000))
        regressor = lstmcore.RNNRegressor(**options).fit(X, y).model_.session()
        forecaster = lstmcore.RNNForecaster(window=24, horizon=3, **options).fit(np.sin(np.arange(200.0))).model_
        live, layer = forecaster.session(), from_cell(cell, N_FEATURES, 32)
        state = layer.step(x)[1]
        calls = [
            partial(one.step, x),
            partial(regressor.step, x),
            partial(many.step, x, 17),
            partial(live.step, 0.3),
            partial(layer.step, x, state),
        ]
        times, _ = medians([partial(seconds, call) for call in calls])
        print(f"{cell:>5}{32:5}" + "".join(f"{1e6 * t:13.2f}" for t in times))


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
