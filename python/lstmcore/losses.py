"""Losses: the mean over a batch and its gradient, computed in the core."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lstmcore import _validation as check
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
    """Softmax cross-entropy −log p[label], as ``torch.nn.functional.cross_entropy``; targets are class numbers.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        In [0, 1). The label's share of the target distribution shrinks to ``1 - label_smoothing``; the rest is spread
        over all classes, the label's own among them (Szegedy et al. 2016, section 7).

    Examples
    --------
    >>> import numpy as np
    >>> loss, gradient = CrossEntropy()(np.zeros((1, 4)), np.array([2]))
    >>> round(loss, 4)  # log 4
    1.3863
    """

    name = "cross_entropy"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = check.fraction(label_smoothing, "label_smoothing")

    def _compute(self, output: Array, target: Array, weights: Array | None) -> tuple[float, Array]:
        return core.cross_entropy(output, target, weights, self.label_smoothing)


class BinaryCrossEntropy(Loss):
    """Cross-entropy −y·log p − (1 − y)·log(1 − p) with p = σ(output), for labels that exclude no other.

    `target` [B, n_labels] holds numbers from 0 to 1; the mean runs over samples and labels, as in
    ``torch.nn.functional.binary_cross_entropy_with_logits``.

    Examples
    --------
    >>> import numpy as np
    >>> loss, gradient = BinaryCrossEntropy()(np.zeros((1, 2)), np.array([[1.0, 0.0]]))
    >>> gradient
    array([[-0.25,  0.25]])
    """

    name = "binary_cross_entropy"

    def _compute(self, output: Array, target: Array, weights: Array | None) -> tuple[float, Array]:
        return core.binary_cross_entropy(output, target, weights)


class Squared(Loss):
    """Squared error (output − target)²."""

    name = "squared"

    def _compute(self, output: Array, target: Array, weights: Array | None) -> tuple[float, Array]:
        return core.squared_loss(output, target, weights)


class Absolute(Loss):
    """Absolute error ``|output − target|``: the model learns the median."""

    name = "absolute"

    def _compute(self, output: Array, target: Array, weights: Array | None) -> tuple[float, Array]:
        return core.absolute_loss(output, target, weights)


class Huber(Loss):
    """Huber (1964): ``½e²`` where ``|e| ≤ delta``, ``delta·(|e| − ½delta)`` beyond, as in ``torch.nn.HuberLoss``."""

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
