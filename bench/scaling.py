"""How time and memory of our layers grow with steps, rows, hidden units and threads.

    python bench/scaling.py [--work cost memory tbptt] [--threads 1 2] [--rounds 5]

cost    time of inference and of a training step as T, B and H double, and a fit of time ∝ T^a, B^a, H^a; speed-up by
        threads.
memory  of a training step, in a fresh process each: what the layer has for its weights beside the parameters, what it
        holds and what it needs at its peak for the steps, per step and row in units of H floats.
tbptt   a sequence of a million steps, by truncated and by full backpropagation through time.

Memory is what the kernel says: resident pages, and their high-water mark. x and dy are the caller's and not counted,
y is.
"""

from __future__ import annotations

import argparse
import inspect
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import layer_of, medians, training_step
from shapes import SEQUENCES, Shape

import lstmcore
from lstmcore import _isa, optimizers
from lstmcore.layers import LSTM, Recurrent

RECOMPUTE = (False, True) if "recompute" in inspect.signature(LSTM).parameters else (False,)
BASE = Shape("lstm", 64, 64, 32, 50)
SWEEPS = {
    "T": [BASE._replace(steps=25 * 2**i) for i in range(6)],
    "B": [BASE._replace(batch=2**i) for i in range(9)],
    "H": [BASE._replace(input_size=16 * 2**i, hidden_size=16 * 2**i) for i in range(6)],
}
FIELDS = {"T": "steps", "B": "batch", "H": "hidden_size"}
MIB = 2.0**20


def kind(recompute: bool) -> dict[str, Any]:
    """Return the options of a layer that stores its gates, or recomputes them."""
    return {"recompute": True} if recompute else {}


# ---- time -----------------------------------------------------------------------------------------------------------


def times(shape: Shape, threads: list[int], rounds: int) -> list[list[float]]:
    """Return seconds of inference and of a training step for each number of threads."""
    layer, x, dy = layer_of(shape), shape.x(), shape.dy()

    def on(n: int, run: Callable[..., object], *arguments: object) -> None:
        lstmcore.set_num_threads(n)
        run(*arguments)

    calls = ((layer, x), (training_step, layer, x, dy))
    seconds = medians([partial(on, n, *call) for n in threads for call in calls], rounds)
    return [seconds[i : i + 2] for i in range(0, len(seconds), 2)]


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Return a of the fit seconds ∝ size^a over the larger half of the sizes."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(seconds[half:]), 1)[0])


def sweep(symbol: str, threads: list[int], rounds: int) -> None:
    """Print the times as one size doubles; beyond the first number of threads, the speed-up."""
    shapes = SWEEPS[symbol]
    fixed = ", ".join(f"{name}={getattr(BASE, field)}" for name, field in FIELDS.items() if name != symbol)
    print(
        f"\nAgainst {symbol}: lstm, {'I=H' if symbol == 'H' else f'I={BASE.input_size}'}, {fixed}; {threads[0]} thread"
    )
    print(f"{'':6} {'infer':>30}   {'train':>30}   speed-up, infer and train")
    print(
        f"{symbol:>6}" + 2 * f" {'µs':>10} {'ns/step·row':>11} {'GF/s':>7}  ", *(f"{n:5} threads" for n in threads[1:])
    )
    columns = []
    for shape in shapes:
        first, *others = times(shape, threads, rounds)
        columns.append([second for pair in (first, *others) for second in pair])
        print(f"{getattr(shape, FIELDS[symbol]):6}", end="")
        training = 2 + shape.hidden_size / (shape.input_size + shape.hidden_size)  # no dx
        for seconds, flops in zip(first, (shape.forward_flops, training * shape.forward_flops), strict=True):
            each = seconds / (shape.steps * shape.batch)
            print(f" {seconds * 1e6:10.1f} {each * 1e9:11.1f} {flops / seconds / 1e9:7.1f}  ", end="")
        print(*(f"{first[0] / pair[0]:6.2f} {first[1] / pair[1]:6.2f}" for pair in others), flush=True)
    sizes = [getattr(shape, FIELDS[symbol]) for shape in shapes]
    fits = [exponent(sizes, list(column)) for column in zip(*columns, strict=True)]
    for n, infer, train in zip(threads, fits[::2], fits[1::2], strict=True):
        print(f"{n} thread{'s' * (n > 1)}, larger half: infer ∝ {symbol}^{infer:.2f}, train ∝ {symbol}^{train:.2f}")


def team(rounds: int, largest: int) -> None:
    """Print the speed-up for each number of threads."""
    shapes = [shape for shape in SEQUENCES if shape.cell == "lstm" and shape.hidden_size <= 512]
    threads = list(range(1, largest + 1))
    print(f"\nSpeed-up over one thread, infer and train\n{'cell':4} {'I':>5} {'H':>5} {'B':>4} {'T':>4}", end="")
    print(*(f"{n:5} threads" for n in threads[1:]))
    for shape in shapes:
        first, *others = times(shape, threads, rounds)
        print(shape, *(f"{first[0] / pair[0]:6.2f} {first[1] / pair[1]:6.2f}" for pair in others), flush=True)


# ---- memory ---------------------------------------------------------------------------------------------------------


def status(field: str) -> int:
    """Return a size of this process in bytes: VmRSS, RssAnon, VmHWM."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field + ":"))


def forget_peak() -> int:
    """Set the high-water mark to what is resident now, and return it."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status("VmRSS")


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return function(*arguments) of a new process, which starts with no memory of this one."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(1 << 16)  # an array's pages go back when it does
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


class Memory(NamedTuple):
    """Bytes of a training step."""

    weights: int  # gradients and packed copies of the parameters
    held: float  # for the steps, after backward
    peak: float  # for the steps, at most


def training_memory(shape: Shape, recompute: bool) -> Memory:
    """Return the memory of a training step, to be run in a fresh process."""
    lstmcore.set_num_threads(1)
    x, dy = shape.x(), shape.dy()
    tiny = shape._replace(input_size=1, hidden_size=8, batch=1, steps=2)
    training_step(layer_of(tiny, **kind(recompute)), tiny.x(), tiny.dy())  # code is loaded
    before = status("RssAnon")
    layer = layer_of(shape, **kind(recompute))
    training_step(layer, x[:1], dy[:1])
    one_step, start = status("RssAnon"), forget_peak()
    training_step(layer, x, dy)
    peak, held = status("VmHWM") - start, status("RssAnon") - one_step
    per_step = shape.steps / (shape.steps - 1)  # the first one was there
    return Memory(one_step - before - layer.flat_parameters.nbytes, held * per_step, peak * per_step)


def memory(rounds: int) -> None:
    """Print memory and time of a training step, with gates stored and recomputed."""
    shapes = [shape for shape in SEQUENCES if shape.cell in ("lstm", "gru")]
    names = ["recomputed" if recompute else "stored" for recompute in RECOMPUTE]
    print("\nMemory of a training step beyond x, dy and the parameters; T is raised where little is held")
    print(f"{'cell':4} {'I':>5} {'H':>5} {'B':>4} {'T':>5} {'parameters':>10} {'gradients':>10}", end="")
    print(*(f"{name + ': held':>16} {'peak':>8} {'held':>6} {'peak':>6}" for name in names))
    print(
        f"{'':27} {'MiB':>10} {'+ packed':>10}", *(f"{'MiB':>16} {'MiB':>8} {'H floats/step·row':>13}" for _ in names)
    )
    for shape in shapes:
        one = shape.batch * shape.hidden_size
        longer = shape._replace(steps=max(shape.steps, 2**20 // one))
        parameters = layer_of(shape).flat_parameters.nbytes
        found = [in_fresh_process(training_memory, longer, recompute) for recompute in RECOMPUTE]
        print(f"{str(longer)[:-5]} {longer.steps:5} {parameters / MIB:10.2f} {found[0].weights / MIB:10.2f}", end=" ")
        unit = 4 * one * longer.steps
        print(*(f"{m.held / MIB:16.1f} {m.peak / MIB:8.1f} {m.held / unit:6.2f} {m.peak / unit:6.2f}" for m in found))
    lstmcore.set_num_threads(1)
    print(f"\nTime of a training step, one thread\n{'cell':4} {'I':>5} {'H':>5} {'B':>4} {'T':>4}", end=" ")
    print(*(f"{name + ', ms':>15}" for name in names))
    for shape in shapes:
        x, dy = shape.x(), shape.dy()
        layers = [layer_of(shape, **kind(recompute)) for recompute in RECOMPUTE]
        seconds = medians([partial(training_step, layer, x, dy) for layer in layers], rounds)
        print(shape, *(f"{second * 1e3:15.3f}" for second in seconds), flush=True)


# ---- a long sequence ------------------------------------------------------------------------------------------------


def train_long(layer: Recurrent, signal: np.ndarray, k1: int) -> list[float]:
    """Teach the first hidden unit to say the next value of a signal [T + 1, 1, 1]; return the loss of each window."""
    optimizer = optimizers.Adam(layer, learning_rate=1e-2)
    losses = []
    for window in layer.tbptt(signal[:-1], k1=k1):
        error = window.y[:, :, 0] - signal[window.start + 1 : window.stop + 1, :, 0]
        dy = np.zeros_like(window.y)
        dy[:, :, 0] = error / len(error)
        window.backward(dy)
        optimizer.step(clip_norm=1.0)
        losses.append(float(np.mean(error**2)))
    return losses


class Long(NamedTuple):
    """What training on a long sequence took."""

    peak: int
    seconds: float
    losses: list[float]


def long_sequence(steps: int, hidden_size: int, k1: int, recompute: bool) -> Long:
    """Train on one sequence, to be run in a fresh process."""
    lstmcore.set_num_threads(1)
    signal = 0.5 * np.sin(0.1 * np.arange(steps + 1, dtype=np.float32))[:, None, None]
    train_long(LSTM(1, 8, seed=0, **kind(recompute)), signal[:5], 2)  # code is loaded
    start = forget_peak()
    began = time.perf_counter()
    losses = train_long(LSTM(1, hidden_size, seed=0, **kind(recompute)), signal, k1)
    seconds = time.perf_counter() - began
    return Long(status("VmHWM") - start, seconds, losses)


def tbptt(steps: int = 1_000_000, hidden_size: int = 16) -> None:
    """Print peak memory and time of training on a sequence of a million steps."""
    print(f"\nTraining on one sequence of {steps:,} steps, lstm I=1 H={hidden_size} B=1, one thread, Adam")
    print(f"{'k1 = k2':>10} {'gates':>12} {'peak MiB beyond x':>18} {'seconds':>8} {'ns/step':>8}", end="")
    print("  loss, first and last tenth")
    for k1 in (100, 1000, 10_000, steps):
        for recompute in RECOMPUTE:
            result = in_fresh_process(long_sequence, steps, hidden_size, k1, recompute)
            tenth = max(1, len(result.losses) // 10)
            ends = np.mean(result.losses[:tenth]), np.mean(result.losses[-tenth:])
            print(f"{k1:10,} {'recomputed' if recompute else 'stored':>12} {result.peak / MIB:18.2f}", end="")
            print(
                f" {result.seconds:8.2f} {result.seconds / steps * 1e9:8.0f}  {ends[0]:.4f} {ends[1]:.4f}", flush=True
            )


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs="+", choices=["cost", "memory", "tbptt"], default=["cost", "memory", "tbptt"])
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, len(os.sched_getaffinity(0))}))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"lstmcore {lstmcore.__version__}, {_isa.isa()}, float32; times are medians")
    if "cost" in options.work:
        for symbol in SWEEPS:
            sweep(symbol, options.threads, options.rounds)
        team(options.rounds, max(options.threads))
    if "memory" in options.work:
        memory(options.rounds)
    if "tbptt" in options.work:
        tbptt()


if __name__ == "__main__":
    main()
