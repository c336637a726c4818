"""Losses: the mean over a batch and its gradient, computed in the core."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lstmcore._isa import core
from lstmcore._validation import Array


class Loss:
    """A loss: ``loss(output, target, weights=None)`` gives its mean and the gradient of that mean.

    `output` is [B, n_outputs], `target` [B, n_targets] of the same dtype ([B] of int64 for
    `CrossEntropy`); `weights` [B] of the same dtype weigh the samples: the mean is Σ w·loss / Σ w.
    Returns ``(float, ndarray [B, n_outputs])``.
    """

    name: str

    def __call__(self, output: Array, target: Array, weights: Array | None = None) -> tuple[float, Array]:
        """Return the mean loss and its gradient with respect to `output`."""
        return self._compute(output, target, weights)

    def _compute(self, output: Array, target: Array, weights: Array | None) -> tuple[float, Array]:
        raise NotImplementedError

    def n_outputs(self, n_targets: int) -> int:
        """Width of the network's output for `n_targets` target columns."""
        return n_targets


class CrossEntropy(Loss):
    """Softmax cross-entropy −log p[label]; targets are class numbers."""

    name = "cross_entropy"

    def _compute(self, output: Array, target: Array, weights: Array | None) -> tuple[float, Array]:
        return core.cross_entropy(output, target, weights)


class Squared(Loss):
    """Squared error (output − target)²."""

    name = "squared"

    def _compute(self, output: Array, target: Array, weights: Array | None) -> tuple[float, Array]:
        return core.squared_loss(output, target, weights)


class Absolute(Loss):
    """Absolute error |output − target|: the model learns the median."""

    name = "absolute"

    def _compute(self, output: Array, target: Array, weights: Array | None) -> tuple[float, Array]:
        return core.absolute_loss(output, target, weights)


class Huber(Loss):
    """Huber (1964): ½e² where |e| ≤ delta, delta·(|e| − ½delta) beyond, as in ``torch.nn.HuberLoss``."""

    name = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        if not delta > 0:
            raise ValueError(f"delta must be positive, got {delta!r}")
        self.delta = float(delta)

    def _compute(self, output: Array, target: Array, weights: Array | None) -> tuple[float, Array]:
        return core.huber_loss(output, target, self.delta, weights)


class Quantile(Loss):
    """Pinball loss (Koenker & Bassett 1978), max(q·e, (q−1)·e) with e = target − output.

    Output column ``j * len(quantiles) + k`` is quantile k of target j.
    """

    name = "quantile"

    def __init__(self, quantiles: Sequence[float] = (0.1, 0.5, 0.9)) -> None:
        self.quantiles = check_quantiles(quantiles)

    def _compute(self, output: Array, target: Array, weights: Array | None) -> tuple[float, Array]:
        return core.quantile_loss(output, target, self.quantiles, weights)

    def n_outputs(self, n_targets: int) -> int:
        """One column for each target and quantile."""
        return n_targets * len(self.quantiles)


REGRESSION_LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (Squared, Absolute, Huber, Quantile)}


def check_quantiles(quantiles: Any) -> list[float]:
    """Return `quantiles` as an ascending list of floats between 0 and 1, or raise ValueError."""
    values = [float(q) for q in np.atleast_1d(np.asarray(quantiles, dtype=float)).ravel()]
    ascending = all(a < b for a, b in itertools.pairwise(values))
    if not values or not ascending or not all(0 < q < 1 for q in values):
        raise ValueError(f"quantiles must ascend and lie between 0 and 1, got {quantiles!r}")
    return values
