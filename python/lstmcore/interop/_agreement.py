"""The check behind every conversion: both sides on the same random input; and what may be converted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def no_layer(what: Any) -> str:
    """Say that something is no layer and no network, and where the network of a model is."""
    attribute = next((each for each in ("model_", "network") if hasattr(what, each)), None)
    path = {None: "", "model_": ": its model_.network is one", "network": ": its .network is one"}[attribute]
    return f"layer must be a recurrent layer or a Network, got {type(what).__name__}{path}"
