"""Embedding: learned or given vectors for tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._parameters import Layer, check_count
from lstmcore._validation import Array


class Embedding(Layer):
    """A vector for each token, as ``torch.nn.Embedding``.

    Tokens come as rows x [N, 1] of the layer's own dtype that hold whole numbers, so that they travel like any other
    feature of a sequence; float32 is exact up to 2²⁴.

    Parameters
    ----------
    n_tokens : int
        Tokens are 0 … n_tokens − 1.
    dim : int
        Columns of a vector.
    vectors : array-like [n_tokens, dim], optional
        Start from these, pretrained ones for instance. Default: drawn from N(0, 1), as in PyTorch; columns of unit
        variance are what the initial weights of a recurrent layer expect, and what standardized features have too.
    trainable : bool, default=True
        Whether the vectors are the parameter "weight" [n_tokens, dim]. If not, they are constants and the layer has
        no parameters.
    dtype : {"float32", "float64"}, default="float32"
        Type of inputs, vectors and gradients.
    seed : int, numpy.random.Generator or None, default=None
        Of the vectors that are drawn.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or `vectors` has another shape or a value that is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Embedding(3, 2, vectors=[[0, 0], [1, 2], [3, 4]])
    >>> layer(np.array([[2], [1]], dtype=np.float32))
    array([[3., 4.],
           [1., 2.]], dtype=float32)
    """

    def __init__(
        self,
        n_tokens: int,
        dim: int,
        *,
        vectors: ArrayLike | None = None,
        trainable: bool = True,
        dtype: Any = "float32",
        seed: Any = None,
    ) -> None:
        self.n_tokens, self.dim = check.integer(n_tokens, "n_tokens"), check.integer(dim, "dim")
        self.trainable = check.flag(trainable, "trainable")
        self.dtype = check.scalar_type(dtype)
        largest = 1 << (np.finfo(self.dtype).nmant + 1)
        if self.n_tokens > largest:
            raise ValueError(f"n_tokens must be at most {largest} in {self.dtype}, got {n_tokens}")
        shape = (self.n_tokens, self.dim)
        check_count(self.n_tokens * self.dim)
        if vectors is None:
            start = check.generator(seed).standard_normal(shape).astype(self.dtype)
        else:
            source = check.exact_shape(vectors, "vectors", shape, "[n_tokens, dim]")
            start = np.array(check.contiguous(source, self.dtype))
            check.finite(start, "vectors", source)
        self._constant = None if self.trainable else start
        self._build()
        if self.trainable:
            self.flat_parameters[...] = start.ravel()
            self.parameters_changed()

    def _build(self) -> None:
        make = core.EmbeddingF32 if self.dtype == np.float32 else core.EmbeddingF64
        self._core = make(self.n_tokens, self.dim, self._constant)
        self._own_parameters()

    @property
    def weight(self) -> Array:
        """The vectors [n_tokens, dim], read-only."""
        if self._constant is None:
            return self.parameters["weight"]
        view = self._constant.view()
        view.flags.writeable = False
        return view

    def _file_tensors(self) -> dict[str, Array]:
        return {"weight": self.weight}

    @classmethod
    def _from_file(cls, config: dict[str, Any], tensors: Mapping[str, Array], weight_dtype: str | None) -> Embedding:
        return super()._from_file({**config, "vectors": tensors["weight"]}, tensors, weight_dtype)

    def __call__(self, x: Array) -> Array:
        """Look up the vectors [N, dim] of tokens x [N, 1]; nothing is kept.

        Raises
        ------
        ValueError
            If one is not a whole number from 0 to n_tokens − 1: the message names it.
        """
        return self._core.infer(x)

    def forward(self, x: Array) -> Array:
        """Compute the same, keeping what `backward` needs."""
        return self._core.forward(x)

    def backward(self, dy: Array) -> None:
        """Add that of y [N, dim] into the gradients of the tokens' vectors, rows ascending; tokens have none."""
        self._core.backward(dy)
