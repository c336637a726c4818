"""Random sequences of different lengths, and something to learn of them."""

from __future__ import annotations

import numpy as np


def ragged(rng: np.random.Generator, n: int = 60, features: int = 2) -> list[np.ndarray]:
    return [rng.standard_normal((length, features)) for length in rng.integers(1, 13, n)]


def sums(X: list[np.ndarray]) -> np.ndarray:
    return np.array([float(row[:, 0].sum()) for row in X])
