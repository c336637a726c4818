"""Columns to zero mean and unit variance, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmcore._validation import Array


@dataclass(frozen=True, eq=False)
class Standardizer:
    """(values − mean) / scale by column, in float64.

    Attributes
    ----------
    mean, scale : ndarray [n] of float64
        A constant column has scale 1.
    """

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, values: Array, weights: Array | None = None) -> Standardizer:
        """Take weighted mean and standard deviation of the columns of `values` [n_rows, n], where they are not NaN.

        Rows of weight 0 (`weights` [n_rows], none negative) do not count at all, whatever they hold. A column without
        any value has mean 0 and scale 1.
        """
        values = np.asarray(values, dtype=np.float64)
        if weights is not None and not weights.all():
            values, weights = values[weights > 0], weights[weights > 0]
        observed = ~np.isnan(values)
        counts = observed if weights is None else observed * weights[:, None]
        total = counts.sum(axis=0, dtype=np.float64)
        total[total == 0] = 1
        # Distances from the least value: exactly 0 in a constant column, and precise far from 0.
        least = np.where(observed, values, np.inf).min(axis=0, initial=np.inf)
        least[np.isinf(least)] = 0
        distance = np.where(observed, values - least, 0)
        mean = (counts * distance).sum(axis=0) / total
        scale = np.sqrt((counts * (distance - mean) ** 2).sum(axis=0) / total)
        mean += least
        return cls(mean, np.where(scale <= 1e-12 * np.abs(mean), 1.0, scale))

    def apply(self, values: Array) -> Array:
        """Standardize: [..., n] to float64 [..., n]."""
        return np.asarray((values - self.mean) / self.scale)

    def undo(self, values: Array) -> Array:
        """Return standardized `values` [..., n] to their own units, float64."""
        return np.asarray(values * self.scale + self.mean)

    def to_config(self) -> dict[str, list[float]]:
        """Lists for JSON, which keeps every bit of a float64."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Standardizer:
        """Read what `to_config` wrote."""
        mean, scale = (np.array(config[name], dtype=np.float64) for name in ("mean", "scale"))
        if mean.ndim != 1 or mean.shape != scale.shape or not (np.isfinite(mean).all() and np.isfinite(scale).all()):
            raise ValueError(f"mean and scale must be finite, as many of one as of the other, got {mean} and {scale}")
        return cls(mean, scale)
