"""Pooling over the steps of a sequence: from the outputs of a recurrent layer to one row of features."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._parameters import Layer
from lstmcore._validation import Array

POOLINGS = ("mean", "max", "attention")


class Pooling(Layer):
    """Mean, maximum or learned attention over the steps of each sequence.

    Rows come packed: time-major, sequences sorted by length, longest first; the rows of step t are those of the first
    ``batch_sizes[t]`` sequences (see `lstmcore.sequences.Batch`).

    Parameters
    ----------
    kind : {"mean", "max", "attention"}
        "attention": a_t = softmax_t(w·y_t), features Σ_t a_t·y_t, with one learned vector w, the parameter "weight"
        [width] (Felbo et al. 2017, "Using millions of emoji occurrences ...", section 3.3). It starts at zero: as the
        mean. The gradient of "max" goes to the first step that has the maximum.
    width : int
        Columns of y.
    dtype : {"float32", "float64"}, default="float32"
        Type of parameters, inputs and outputs.

    Raises
    ------
    ValueError, TypeError
        If an option is not one of those; from the methods if an array is not contiguous, of the layer's dtype and of
        the stated shape.

    Examples
    --------
    Two sequences, of three steps and of one:

    >>> import numpy as np
    >>> y = np.array([[1.0, 4.0], [5.0, 6.0], [3.0, 0.0], [2.0, 2.0]])
    >>> Pooling("mean", 2, dtype="float64")(y, np.array([2, 1, 1]))
    array([[2., 2.],
           [5., 6.]])
    """

    def __init__(self, kind: str, width: int, *, dtype: Any = "float32") -> None:
        self.kind = check.choice(kind, "kind", POOLINGS)
        self.width = check.integer(width, "width")
        self.dtype = check.scalar_type(dtype)
        self._build()

    def _build(self) -> None:
        make = core.PoolingF32 if self.dtype == np.float32 else core.PoolingF64
        self._core = make(self.kind, self.width)
        self._own_parameters()

    def __call__(self, y: Array, batch_sizes: Array) -> Array:
        """Pool packed rows y [N, width] with batch_sizes [T] of int64; returns [B, width]. Nothing is kept."""
        return self._core.infer(y, batch_sizes)

    def forward(self, y: Array, batch_sizes: Array) -> Array:
        """Compute the same for a `backward`, until which `y` is kept and must not be written to."""
        return self._core.forward(y, batch_sizes)

    def backward(self, dfeatures: Array) -> Array:
        """Add into the gradients, given that of the features [B, width]; return the gradient of y [N, width]."""
        return self._core.backward(dfeatures)

    def attention(self, y: Array, batch_sizes: Array) -> Array:
        """Return how much of each row goes into the features: [N], the sum over a sequence is 1.

        Raises
        ------
        ValueError
            If the kind is not "attention".
        """
        if self.kind != "attention":
            raise ValueError(f"only kind='attention' has attention weights, this is {self.kind!r}")
        return self._core.attention(y, batch_sizes)
