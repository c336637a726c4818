"""Intervals from the errors of forecasts that training did not see: split conformal prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._validation import Array


@dataclass(frozen=True)
class Calibration:
    """Sorted errors of forecasts, in units of the series.

    An interval's lower end is the forecast plus the error of rank ⌊(N + 1)·α/2⌋ of the N, its upper end the forecast
    plus that of rank ⌈(N + 1)·(1 − α/2)⌉: if past and future errors are exchangeable, an outcome lies below or above
    with probability α/2 at most each (Vovk et al. 2005; for quantiles Romano et al. 2019).

    Attributes
    ----------
    errors : ndarray [steps, n_targets, Q, N]
        Outcome − forecast at each step ahead, ascending along the last axis.
    """

    errors: Array

    @classmethod
    def fit(cls, outcomes: Array, forecasts: Array, units: Array) -> Calibration:
        """Make it of outcomes [N, steps, n], forecasts [N, steps, n, Q] and units [N, n]."""
        errors = (outcomes[..., None] - forecasts) / units[:, None, :, None]
        return cls(np.sort(np.moveaxis(errors, 0, -1), axis=-1))

    def interval(self, forecasts: Array, units: Array, coverage: float, quantiles: tuple[float, ...] | None) -> Array:
        """Ends [S, steps, n, 2] of the intervals around forecasts [S, steps, n, Q], given units [S, n].

        Raises
        ------
        ValueError
            If there are more steps than were calibrated, or too few errors for this coverage.
        """
        n_steps, n_errors = forecasts.shape[1], self.errors.shape[-1]
        if n_steps > len(self.errors):
            raise ValueError(f"steps must be at most {len(self.errors)}, which intervals are made for, got {n_steps}")
        tail = (1 - coverage) / 2
        rank = math.floor((n_errors + 1) * tail + 1e-9)
        if rank < 1:
            raise ValueError(
                f"coverage={coverage!r} needs {math.ceil(1 / tail - 1e-9) - 1} errors to calibrate with, there are "
                f"{n_errors}: a longer series, a larger calibration_fraction or a lower coverage"
            )
        lower, upper = _columns(quantiles, tail)
        errors = self.errors[:n_steps]
        ends = [
            forecasts[..., column] + units[:, None] * errors[:, :, column, row]
            for column, row in ((lower, rank - 1), (upper, n_errors - rank))
        ]
        return np.sort(np.stack(ends, axis=-1), axis=-1)

    def to_config(self) -> list[Any]:
        """Lists for JSON."""
        return list(self.errors.tolist())

    @classmethod
    def from_config(cls, config: list[Any]) -> Calibration:
        """Read what `to_config` wrote."""
        return cls(np.array(config, dtype=np.float64))


def quantile_interval(forecasts: Array, coverage: float, quantiles: tuple[float, ...] | None) -> Array:
    """Ends [..., 2] of an interval that are themselves among the forecast quantiles [..., Q]."""
    tail = (1 - coverage) / 2
    found = np.asarray(quantiles or ())
    ends = [np.flatnonzero(np.isclose(found, level, atol=1e-6)) for level in (tail, 1 - tail)]
    if not all(end.size for end in ends):
        raise ValueError(
            f"coverage={coverage!r} needs calibration_fraction in fit, or quantiles {tail:.4g} and {1 - tail:.4g}; "
            f"the model has quantiles={quantiles}"
        )
    return np.stack([forecasts[..., end[0]] for end in ends], axis=-1)


def check_coverage(coverage: Any) -> float:
    """Return `coverage` as a float between 0 and 1, or raise ValueError."""
    if not 0 < check.real(coverage, "coverage") < 1:
        raise ValueError(f"coverage must lie between 0 and 1, got {coverage!r}")
    return float(coverage)


def _columns(quantiles: tuple[float, ...] | None, tail: float) -> tuple[int, int]:
    """Which quantiles are nearest to the ends."""
    if quantiles is None:
        return 0, 0
    levels = np.asarray(quantiles)
    return int(np.abs(levels - tail).argmin()), int(np.abs(levels - (1 - tail)).argmin())
