"""Ours against PyTorch: the same layer with the same weights and threads, timed in turns in one process.

    python bench/compare.py [--threads 1 2] [--only lstm] [--rounds 9] [--largest 600]

Times are medians over the rounds of one call; ratios above 1 mean that ours is faster. A training step is a forward
pass and a backward pass with given output gradients, into all parameter gradients but not into x, after a change of
the weights. Layers are called as users call them, checks of the input included.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from shapes import RAGGED, SEQUENCES, SINGLE_STEPS, Shape

import lstmcore
from lstmcore import _isa

Run = Callable[[], object]
MODULES = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}


def seconds(run: Run, repeats: int) -> float:
    """Return the time of one call, from `repeats` of them."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def medians(runs: list[Run], rounds: int, at_least: float) -> list[float]:
    """Return each run's median time of a call: all of them in turns, so that all meet the same machine."""
    repeats = []
    for run in runs:
        run()
        once = min(seconds(run, 1), seconds(run, 1))
        repeats.append(max(1, math.ceil(at_least / max(once, 1e-7))))
    times = [[seconds(run, n) for run, n in zip(runs, repeats, strict=True)] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


class Pair:
    """One shape in both libraries, with the same weights and input."""

    def __init__(self, shape: Shape) -> None:
        torch.manual_seed(0)
        self.shape = shape
        sizes = shape.input_size, shape.hidden_size
        self.theirs = getattr(torch.nn, MODULES[shape.cell])(*sizes)
        self.ours = getattr(lstmcore, MODULES[shape.cell])(*sizes, seed=0)
        self.ours.load_parameters(self.theirs.state_dict())
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((shape.steps, shape.batch, shape.input_size), dtype=np.float32)
        self.dy = rng.standard_normal((shape.steps, shape.batch, shape.hidden_size), dtype=np.float32)
        self.x_torch, self.dy_torch = torch.from_numpy(self.x), torch.from_numpy(self.dy)

    def agree(self) -> None:
        """Refuse to time two things that do not compute the same."""
        with torch.inference_mode():
            expected = self.theirs(self.x_torch)[0].numpy()
        worst = float(np.abs(self.ours(self.x)[0] - expected).max())
        if not worst < 1e-4:
            raise SystemExit(f"{self.shape}: outputs differ by {worst}")

    def steps(self) -> list[Run]:
        """One step with carried state, of streams that go on."""
        x_t, x_torch = self.x[0], self.x_torch
        _, state = self.ours.step(x_t)

        def theirs() -> object:
            with torch.inference_mode():
                return self.theirs(x_torch, state_torch)

        with torch.inference_mode():
            _, state_torch = self.theirs(x_torch)
        return [lambda: self.ours.step(x_t, state), theirs]

    def inference(self) -> list[Run]:
        """A whole batch of sequences."""

        def theirs() -> object:
            with torch.inference_mode():
                return self.theirs(self.x_torch)

        return [lambda: self.ours(self.x), theirs]

    def training(self, lengths: np.ndarray | None = None) -> list[Run]:
        """A forward and a backward pass after a change of weights; with lengths theirs twice, padded and packed."""

        def ours() -> object:
            self.ours.parameters_changed()
            self.ours.forward(self.x, lengths=lengths)
            return self.ours.backward(self.dy, need_dx=False)

        def padded() -> None:
            self.theirs.zero_grad(set_to_none=True)
            self.theirs(self.x_torch)[0].backward(self.dy_torch)

        if lengths is None:
            return [ours, padded]
        lengths_torch = torch.from_numpy(lengths)

        def packed() -> None:
            self.theirs.zero_grad(set_to_none=True)
            batch = torch.nn.utils.rnn.pack_padded_sequence(self.x_torch, lengths_torch, enforce_sorted=False)
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(self.theirs(batch)[0], total_length=self.shape.steps)
            y.backward(self.dy_torch)

        return [ours, padded, packed]


def rows(shapes: list[Shape], rounds: int, at_least: float) -> Iterator[tuple[str, Shape, list[float], int]]:
    """Yield work, shape, times and operations of everything that is compared."""
    for shape in SINGLE_STEPS:
        if shape in shapes:
            pair = Pair(shape)
            pair.agree()
            yield "step", shape, medians(pair.steps(), rounds, at_least), shape.forward_flops
    for shape in SEQUENCES:
        if shape in shapes:
            pair = Pair(shape)
            pair.agree()
            yield "infer", shape, medians(pair.inference(), rounds, at_least), shape.forward_flops
            yield "train", shape, medians(pair.training(), rounds, at_least), 3 * shape.forward_flops
    if RAGGED in shapes:
        lengths = np.random.default_rng(0).integers(7, RAGGED.steps + 1, RAGGED.batch)
        share = float(lengths.sum()) / (RAGGED.steps * RAGGED.batch)
        ours, padded, packed = medians(Pair(RAGGED).training(lengths), rounds, at_least)
        flops = int(3 * RAGGED.forward_flops * share)
        yield "ragged/padded", RAGGED, [ours, padded], flops
        yield "ragged/packed", RAGGED, [ours, packed], flops


def compare(shapes: list[Shape], threads: int, rounds: int, at_least: float) -> None:
    """Print one table."""
    lstmcore.set_num_threads(threads)
    torch.set_num_threads(threads)
    print(f"\n{threads} thread{'s' * (threads > 1)}, float32, {_isa.isa()}, PyTorch {torch.__version__}")
    print(f"{'work':14} {'cell':4} {'I':>5} {'H':>5} {'B':>4} {'T':>4} {'ours µs':>11} {'torch µs':>11}", end="")
    print(f" {'ours GF/s':>10} {'torch GF/s':>10} {'ratio':>7}")
    ratios: dict[tuple[str, str], list[float]] = {}
    for work, shape, (ours, theirs), flops in rows(shapes, rounds, at_least):
        print(f"{work:14} {shape} {ours * 1e6:11.1f} {theirs * 1e6:11.1f}", end="")
        print(f" {flops / ours / 1e9:10.1f} {flops / theirs / 1e9:10.1f} {theirs / ours:7.2f}", flush=True)
        ratios.setdefault((work, shape.cell), []).append(theirs / ours)
    for (work, cell), values in ratios.items():
        if len(values) > 1:
            print(f"geometric mean, {work} {cell}: {statistics.geometric_mean(values):.2f}, least {min(values):.2f}")


def main() -> None:
    """Read the command line and print a table for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="shapes of one cell: lstm, gru or rnn")
    parser.add_argument("--largest", type=int, default=1 << 30, help="largest hidden size to run")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--at-least", type=float, default=0.01, help="seconds of calls in each round")
    options = parser.parse_args()
    shapes = [
        shape
        for shape in (*SINGLE_STEPS, *SEQUENCES, RAGGED)
        if options.only in ("", shape.cell) and shape.hidden_size <= options.largest
    ]
    if os.getloadavg()[0] > 0.5 * len(os.sched_getaffinity(0)):
        print(f"The machine is busy (load average {os.getloadavg()[0]:.1f}): figures will mean little.")
    for threads in options.threads:
        compare(shapes, threads, options.rounds, options.at_least)


if __name__ == "__main__":
    main()
