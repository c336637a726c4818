"""Series and options that the tests of forecasters share."""

from __future__ import annotations

from typing import Any

import numpy as np

QUICK: dict[str, Any] = {"window": 12, "hidden_size": 8, "max_epochs": 3, "random_state": 0}


def walk(n_rows: int, n_columns: int | None = None, seed: int = 0) -> np.ndarray:
    shape = (n_rows,) if n_columns is None else (n_rows, n_columns)
    return np.random.default_rng(seed).standard_normal(shape).cumsum(axis=0)


def seasonal(n_rows: int, seed: int = 0) -> np.ndarray:
    """Period 12, first-order autoregressive noise around it."""
    rng = np.random.default_rng(seed)
    noise = np.zeros(n_rows)
    for t in range(1, n_rows):
        noise[t] = 0.7 * noise[t - 1] + 0.3 * rng.standard_normal()
    return 5 + 2 * np.sin(2 * np.pi * np.arange(n_rows) / 12) + noise
