"""The check behind every conversion: both sides on the same random input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lstmcore._validation import Array

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
"""How far apart results may be, times the largest of them where that is above 1."""


def compare(
    ours: Sequence[Array], theirs: Sequence[Array], name: str, library: str, precision: str | None = None
) -> None:
    """Raise RuntimeError unless two lists of results are the same but for rounding.

    `precision` is what the other library computes in; None: the layer's dtype, which our results have.
    """
    for mine, other in zip(ours, theirs, strict=True):
        allowed = TOLERANCE[precision or mine.dtype.name] * max(1.0, float(np.abs(other).max(initial=0.0)))
        found = float(np.abs(mine - other).max(initial=0.0))
        if not found <= allowed:
            raise RuntimeError(f"{name} differs from {library} by {found:.3g} on random input, more than {allowed:.3g}")
