"""``python -m lstmcore bench``: speeds of recurrent layers on this CPU."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from lstmcore import _validation as check
from lstmcore import cells, get_num_threads
from lstmcore._isa import isa
from lstmcore.layers import from_cell

STEPS, BATCH = 100, 64


def run(cell: str, hidden_size: str, seconds: float) -> None:
    """Print a table: microseconds of a step, sequences a second forward, and forward and backward."""
    names = [check.choice(name, "--cell", cells()) for name in cell.split(",")]
    try:
        sizes = [check.integer(int(size), "--hidden-size") for size in hidden_size.split(",")]
    except ValueError:
        raise ValueError(f"--hidden-size must be positive integers separated by commas, got {hidden_size!r}") from None
    if check.real(seconds, "--seconds") <= 0:
        raise ValueError(f"--seconds must be positive, got {seconds}")
    print(f"{isa()}, {get_num_threads()} thread(s), float32; as many inputs as hidden units.")
    print(f"step: microseconds of one step of one stream; inference, training: sequences of {STEPS} steps a second,")
    print(f"{BATCH} at once; training is forward and backward.\n")
    print(f"{'cell':<24} {'H':>5} {'step':>8} {'inference':>10} {'training':>10}")
    for name in names:
        for size in sizes:
            step, inference, training = _measured(name, size, seconds)
            print(
                f"{name:<24} {size:>5} {1e6 * step:>8.1f} {BATCH / inference:>10,.0f} {BATCH / training:>10,.0f}",
                flush=True,
            )


def _measured(cell: str, size: int, seconds: float) -> tuple[float, float, float]:
    """Seconds of a step, of a batch forward, and of a batch forward and backward."""
    layer = from_cell(cell, size, size, seed=0)
    x = np.random.default_rng(0).standard_normal((STEPS, BATCH, size), dtype=np.float32)
    row, state = x[0, :1].copy(), layer(x[:1, :1].copy())[1]
    dy = np.ones((STEPS, BATCH, size), np.float32)

    def train() -> None:
        layer.forward(x)
        layer.backward(dy)

    return tuple(_time(work, seconds) for work in (lambda: layer.step(row, state), lambda: layer(x), train))  # type: ignore[return-value]


def _time(work: Callable[[], object], seconds: float) -> float:
    """Seconds that `work` takes: the least of as many rounds as fill `seconds`, after one that does not count."""
    work()
    best, spent, count = math.inf, 0.0, 1
    while spent < seconds:
        begin = time.perf_counter()
        for _ in range(count):
            work()
        round_ = time.perf_counter() - begin
        best, spent = min(best, round_ / count), spent + round_
        count = max(1, int(0.2 * seconds / best))
    return best
