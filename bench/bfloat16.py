"""Inference on weights rounded to bfloat16: how much faster one step is, and what it costs in accuracy.

    python bench/bfloat16.py

Accuracy on the estimators' real data: scikit-learn's digits (8 rows of 8 pixels, classified) and the exchange rates of
the demo (quantile loss of the next days, on two years that the model has not seen).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import lstmcore
from lstmcore._demo import rivals
from lstmcore._demo.rates import find_archive, read_rates
from lstmcore.demo import Settings, make_forecaster

SIZES = ((16, 32), (64, 64), (64, 128), (128, 256), (512, 512), (1024, 1024))


def microseconds(runs: list[Callable[[], object]], rounds: int = 15) -> list[float]:
    """Return the median time of a call of each, in turns."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, found in zip(runs, times, strict=True):
            start, calls = time.perf_counter(), 0
            while time.perf_counter() - start < 0.005:
                run()
                calls += 1
            found.append((time.perf_counter() - start) / calls * 1e6)
    return [statistics.median(found) for found in times]


def steps() -> None:
    """Print the time of one step with weights of either type."""
    print(f"one LSTM step, µs {'I':>6} {'H':>5} {'float32':>9} {'bfloat16':>9} {'ratio':>6}")
    for inputs, hidden in SIZES:
        x = np.ones((1, inputs), np.float32)
        layers = [lstmcore.LSTM(inputs, hidden, seed=0, weight_dtype=kind) for kind in (None, "bfloat16")]
        full, half = microseconds([partial(layer.step, x, layer.step(x)[1]) for layer in layers])
        print(f"{inputs:24} {hidden:5} {full:9.2f} {half:9.2f} {full / half:6.2f}")


def digits(folder: Path) -> None:
    """Print the accuracy on held-out digits."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    X = data.images.astype(np.float32) / 16
    X_train, X_test, y_train, y_test = train_test_split(X, data.target, test_size=0.5, random_state=0)
    for cell in ("lstm", "gru"):
        model = lstmcore.RNNClassifier(cell=cell, hidden_size=64, max_epochs=30, random_state=0).fit(X_train, y_train)
        model.save(folder / "digits.safetensors")
        full, half = both(folder / "digits.safetensors")
        accuracy = [float(np.mean(m.predict(X_test) == y_test)) for m in (full, half)]
        worst = float(np.abs(full.predict_proba(X_test) - half.predict_proba(X_test)).max())
        print(f"digits, {cell}: accuracy {accuracy[0]:.4f} and {accuracy[1]:.4f}; probabilities differ by {worst:.4f}")


def exchange_rates(folder: Path) -> None:
    """Print the quantile loss of forecasts of held-out days."""
    settings = Settings()
    rates = read_rates(find_archive(), settings.currencies)
    y = np.log(rates.values)
    first = int(np.searchsorted(rates.dates, rates.dates[-1] - np.timedelta64(settings.test_days, "D")))
    make_forecaster(settings).fit(y[:first]).save(folder / "rates.safetensors")
    origins = np.arange(first, len(y) - settings.horizon)
    outcome = rivals.future(y, settings.horizon)[origins]
    loss = []
    for model in both(folder / "rates.safetensors"):
        error = outcome[..., None] - model.forecasts(y)[origins]
        q = np.asarray(settings.quantiles)
        loss.append(float(np.maximum(q * error, (q - 1) * error).mean()))
    print(f"exchange rates: quantile loss {loss[0]:.4e} and {loss[1]:.4e}, {loss[1] / loss[0] - 1:+.3%}")


def both(path: Path) -> tuple[Any, Any]:
    """Return a saved model with weights of either type."""
    return lstmcore.load(path), lstmcore.load(path, weight_dtype="bfloat16")


def main() -> None:
    """Print all of it."""
    lstmcore.set_num_threads(1)
    steps()
    with tempfile.TemporaryDirectory() as name:
        digits(Path(name))
        exchange_rates(Path(name))


if __name__ == "__main__":
    main()
