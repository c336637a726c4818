"""The tables of the documentation that compare.py, scaling.py, bfloat16.py, streams.py and accuracy.py do not print.

    python bench/tables.py [cells] [deep] [directions] [regularisation] [bands]

cells           training speed of every cell, as a share of the plain LSTM's, GRU's or RNN's (docs/cells.md)
deep            the same of the cells that stand on each other or tick, calling them too (docs/cells.md)
directions      a bidirectional layer against its two directions one after the other (docs/performance.md)
regularisation  what it gains on few and noisy gestures (docs/guide/tuning.md)
bands           how much lies inside of 80 % bands (docs/guide/forecasting.md)

Times are medians of interleaved calls on all cores, unless LSTMCORE or OMP settings say otherwise.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import lstmcore
from lstmcore.layers import Recurrent


def interleaved(calls: list[Callable[[], Any]], rounds: int = 15, at_least: float = 0.01) -> list[float]:
    """Median seconds of each call."""
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
    return [statistics.median(found) for found in times]


def train(layer: Recurrent, x: np.ndarray) -> Callable[[], Any]:
    """A forward and a backward pass."""
    dy = np.ones((*x.shape[:2], layer.output_size), np.float32)

    def call() -> None:
        layer.forward(x)
        layer.backward(dy, need_dx=False)

    return call


def cells() -> None:
    """B = 32, T = 50, I = 64, one thread."""
    lstmcore.set_num_threads(1)
    plain = {"lstm": "lstm", "gru": "gru", "rnn": "rnn_tanh", "mgu": "gru", "indrnn": "rnn_relu", "grid": "lstm"}
    sizes, x = (64, 128, 256), np.random.default_rng(0).standard_normal((50, 32, 64), np.float32)
    print(f"{'training speed':24}" + "".join(f"{f'H={size}':>8}" for size in sizes))
    for cell in lstmcore.cells():
        line = f"{cell:24}"
        for size in sizes:
            pair = [train(Recurrent(name, 64, size, seed=0), x) for name in (cell, plain[cell.split("_")[0]])]
            mine, base = interleaved(pair)
            line += f"{100 * base / mine:7.0f}%"
        print(line, flush=True)
    lstmcore.set_num_threads(0)


def deep() -> None:
    """Training (calling) as a share of the plain cell's speed; B = 32, I = 64, one thread."""
    lstmcore.set_num_threads(1)
    rng = np.random.default_rng(0)
    print(f"{'':18}" + "".join(f"{f'H={size}':>16}" for size in (64, 128, 256)))
    for cell, plain, layers, steps in (
        ("lstm_depth_gated", "lstm", 2, 100),
        ("grid_lstm", "lstm", 2, 100),
        ("rnn_clockwork", "rnn_tanh", 1, 50),
    ):
        line, x = f"{cell:18}", rng.standard_normal((steps, 32, 64), np.float32)
        for size in (64, 128, 256):
            pair = [Recurrent(name, 64, size, layers, seed=0) for name in (cell, plain)]
            mine, base, my_call, base_call = interleaved(
                [*(train(layer, x) for layer in pair), *(lambda layer=layer, x=x: layer(x) for layer in pair)]
            )
            line += f"{f'{100 * base / mine:.0f} % ({100 * base_call / my_call:.0f} %)':>16}"
        print(line, flush=True)
    lstmcore.set_num_threads(0)


def directions() -> None:
    """LSTM, I = 64, T = 100: gain over two layers called one after the other, inference / training."""
    sizes = (32, 64, 128, 256, 512)
    print(f"{'':8}" + "".join(f"{f'H={size}':>14}" for size in sizes))
    for rows in (1, 4, 16):
        x, line = np.random.default_rng(0).standard_normal((100, rows, 64), np.float32), f"B={rows:<6}"
        reverse = np.ascontiguousarray(x[::-1])
        for size in sizes:
            both = Recurrent("lstm", 64, size, bidirectional=True, seed=0)
            forth, back = Recurrent("lstm", 64, size, seed=0), Recurrent("lstm", 64, size, seed=1)
            train_forth, train_back = train(forth, x), train(back, reverse)
            times = interleaved(
                [
                    lambda both=both, x=x: both(x),
                    lambda forth=forth, back=back, x=x, reverse=reverse: (forth(x), back(reverse)),
                    train(both, x),
                    lambda a=train_forth, b=train_back: (a(), b()),
                ]
            )
            line += f"{times[1] / times[0]:6.2f} / {times[3] / times[2]:4.2f}"
        print(line, flush=True)


CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])


def gesture(shape: int, rng: np.random.Generator, shake: float = 0.2) -> np.ndarray:
    """Steps from point to point of a shape drawn by a hand that shakes, as in examples/classify_gestures.py."""
    speed = rng.uniform(0.3, 1.0, rng.integers(15, 60))
    s = np.cumsum(speed) / speed.sum()
    points = (
        np.column_stack([np.cos(2 * np.pi * s), np.sin(2 * np.pi * s)]),
        np.column_stack([np.sin(2 * np.pi * s), np.sin(4 * np.pi * s)]),
        np.column_stack([2 * s, np.abs(6 * s % 2 - 1)]),
        np.column_stack([np.interp(4 * s, np.arange(5), CORNERS[:, i]) for i in range(2)]),
    )[shape]
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.diff(rng.uniform(0.5, 2.0) * points @ turn + rng.normal(0, shake, points.shape), axis=0)


def regularisation() -> None:
    """300 gestures to learn from, 1,500 to test; mean and standard deviation of three seeds."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 1800)
    X = [gesture(shape, rng) for shape in y]
    base = dict(cell="gru", pooling="mean", max_epochs=200, learning_rate=3e-3)
    tried: list[dict[str, Any]] = [
        {},
        {"max_epochs": 60},
        {"early_stopping": True, "n_iter_no_change": 30},
        {"weight_decay": 1e-4},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"label_smoothing": 0.1},
        {"dropout": 0.5},
        {"recurrent_dropout": 0.25},
        {"zoneout": 0.1},
        {"zoneout": 0.3},
        {"num_layers": 2},
        {"num_layers": 2, "dropout": 0.5},
    ]
    for options in tried:
        fits = [lstmcore.RNNClassifier(**{**base, **options}, random_state=s).fit(X[:300], y[:300]) for s in range(3)]
        scores = [fit.score(X[300:], y[300:]) for fit in fits]
        training = statistics.mean(fit.score(X[:300], y[:300]) for fit in fits)
        name = ", ".join(f"{key}={value!r}" for key, value in options.items()) or "none"
        print(f"| `{name}` | {training:.3f} | {np.mean(scores):.3f} ± {np.std(scores):.3f} |", flush=True)


def bands() -> None:
    """Share inside of 80 % bands, and the error of the median, of the guide's daily series."""
    t, rng = np.arange(1200), np.random.default_rng(0)
    y = 50 + 8 * np.sin(2 * np.pi * t / 7) + 5 * np.sin(2 * np.pi * t / 91) + rng.normal(0, 2, t.size)
    base = dict(window=64, horizon=7, hidden_size=32, quantiles=(0.1, 0.5, 0.9), learning_rate=5e-3, random_state=0)
    tried: list[dict[str, Any]] = [
        {"max_epochs": 15},
        {"max_epochs": 60},
        {"max_epochs": 200},
        {"max_epochs": 200, "early_stopping": True},
        {"max_epochs": 200, "weight_decay": 1e-3},
        {"max_epochs": 200, "hidden_size": 8},
    ]
    origins = np.arange(999, 1200 - 7)
    truth = y[origins[:, None] + np.arange(1, 8)]
    for options in tried:
        forecaster = lstmcore.RNNForecaster(**{**base, **options}).fit(y[:1000]).update(y[1000:])
        low, median, high = np.moveaxis(forecaster.predict_in_sample()[origins], -1, 0)
        inside = ((low <= truth) & (truth <= high)).mean()
        name = ", ".join(f"{key}={value!r}" for key, value in options.items())
        print(f"| `{name}` ({forecaster.n_iter_}) | {100 * inside:.0f} % | {np.abs(median - truth).mean():.2f} |")


TABLES = {table.__name__: table for table in (cells, deep, directions, regularisation, bands)}


def main() -> None:
    """Print the tables that the command line names; all by default."""
    names = sys.argv[1:] or list(TABLES)
    for name in names:
        if name not in TABLES:
            raise SystemExit(f"{name!r} is none of {', '.join(TABLES)}")
    for name in names:
        print(f"\n{name}: {TABLES[name].__doc__}")
        TABLES[name]()


if __name__ == "__main__":
    main()
