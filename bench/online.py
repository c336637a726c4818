"""What one step of learning from a stream costs: RTRL, SnAp-1, and back-propagation truncated to the last k steps.

    python bench/online.py [--sizes 8 16 32 64] [--cells lstm gru rnn_tanh] [--truncations 10 50] [--rounds 7]

A step is: the cell, the gradient of a loss that sees h, and nothing else; no head, no optimizer. Truncated
back-propagation runs the last k steps again at each step, since the parameters have moved. Times are medians of rounds
in turn, in one process, one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

import lstmcore
from lstmcore import _isa
from lstmcore.layers import from_cell

INPUTS = 8


def method(cell: str, hidden_size: int, name: str) -> Callable[[np.ndarray], None]:
    """Return what a method does at a step, given the next row."""
    layer = from_cell(cell, INPUTS, hidden_size, seed=0)
    dh = np.full(hidden_size, 1 / hidden_size, np.float32)
    if name in ("rtrl", "snap1"):
        stream = lstmcore.RTRL(layer, name)

        def step(x: np.ndarray) -> None:
            stream.step(x)
            stream.backward(dh)
            layer.zero_gradients()

        return step
    steps = int(name)
    window, dy = np.zeros((steps, 1, INPUTS), np.float32), np.zeros((steps, 1, hidden_size), np.float32)
    dy[-1] = dh

    def truncated(x: np.ndarray) -> None:
        window[:-1] = window[1:]
        window[-1] = x
        layer.parameters_changed()  # they move at every step: weights are packed anew, as RTRL does
        layer.forward(window)
        layer.backward(dy, need_dx=False)
        layer.zero_gradients()

    return truncated


def microseconds(steps: list[Callable[[np.ndarray], None]], rounds: int) -> list[float]:
    """Return the median time of each, taken in turn."""
    rows = np.random.default_rng(0).standard_normal((4096, INPUTS)).astype(np.float32)
    times = np.empty((rounds, len(steps)))
    repeats = []
    for step in steps:  # about 20 ms a round
        began = time.perf_counter()
        for x in rows[:20]:
            step(x)
        repeats.append(int(np.clip(0.02 * 20 / (time.perf_counter() - began), 5, len(rows))))
    for taken in times:
        for i, (step, n) in enumerate(zip(steps, repeats, strict=True)):
            began = time.perf_counter()
            for x in rows[:n]:
                step(x)
            taken[i] = (time.perf_counter() - began) / n
    return list(np.median(times, axis=0) * 1e6)


def main() -> None:
    """Read the command line and print a table for each cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru", "rnn_tanh"])
    parser.add_argument("--truncations", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    lstmcore.set_num_threads(1)
    names = ["rtrl", "snap1", *map(str, options.truncations)]
    titles = ["RTRL", "SnAp-1", *(f"BPTT {k}" for k in options.truncations)]
    print(f"lstmcore {lstmcore.__version__}, {_isa.isa()}, float32, {INPUTS} inputs, one thread; microseconds a step")
    for cell in options.cells:
        print(f"\n| {cell}, H | parameters | " + " | ".join(titles) + " | RTRL / SnAp-1 | RTRL, 10⁹ operations/s |")
        print("|" + "---|" * (4 + len(names)))
        found = []
        for size in options.sizes:
            layer = from_cell(cell, INPUTS, size)
            taken = microseconds([method(cell, size, name) for name in names], options.rounds)
            found.append(taken)
            states = 2 if cell.startswith("lstm") else 1
            speed = 2e-3 * states * layer.n_parameters * size**2 / taken[0]
            cells = [f"{value:,.1f}" for value in taken] + [f"{taken[0] / taken[1]:.1f}", f"{speed:.0f}"]
            print(f"| {size} | {layer.n_parameters:,} | " + " | ".join(cells) + " |", flush=True)
        if len(found) > 1:
            powers = np.log(np.divide(found[-1], found[-2])) / np.log(options.sizes[-1] / options.sizes[-2])
            fits = ", ".join(f"{title} H^{power:.1f}" for title, power in zip(titles, powers, strict=True))
            print(f"\nbetween the last two: {fits}")


if __name__ == "__main__":
    main()
