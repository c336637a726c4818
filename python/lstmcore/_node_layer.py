"""What layers over the nodes of graphs have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from numpy.typing import ArrayLike

from lstmcore import _edges, _options
from lstmcore import _validation as check
from lstmcore._parameters import Layer
from lstmcore._validation import Array


class NodeLayer(Layer):
    """Base of `TreeLSTM` and `GatedGraph`: states [N, H] of nodes, of their features [N, I] and edges [E, 2].

    Subclasses give `_infer_rows`, `_forward_rows` and `_backward_rows`, which take what has been checked, and
    `_CONFIG`: the names of the constructor's arguments that a file holds.
    """

    bidirectional = False
    draws_masks = False
    input_size: int
    hidden_size: int
    n_edge_features = 0
    _CONFIG: ClassVar[tuple[str, ...]]

    def __repr__(self) -> str:
        """Return the constructor call, options at their defaults left out."""
        return _options.constructor_call(self)

    @property
    def output_size(self) -> int:
        """Width of h."""
        return self.hidden_size

    def config(self) -> dict[str, Any]:
        """Arguments, ready for JSON, that make such a layer."""
        return {name: getattr(self, name) for name in self._CONFIG}

    def backward(self, dh: ArrayLike, *, need_dx: bool = True) -> Array | None:
        """Propagate gradients back through the last `forward`, once; parameter gradients add into `gradients`.

        Parameters
        ----------
        dh : array-like [N, H]
            Gradient of the loss with respect to the states of all nodes.
        need_dx : bool, default=True
            Whether the gradient of x is wanted.

        Returns
        -------
        dx : ndarray [N, I] or None

        Raises
        ------
        RuntimeError
            If there was no `forward`, or its `backward` has been run.
        ValueError, TypeError
            If dh has the wrong shape or type or is not finite.
        """
        return self._backward_rows(
            _edges.checked_rows(dh, self.hidden_size, self.dtype, "dh"), check.flag(need_dx, "need_dx")
        )

    def _infer_rows(self, x: Array, edges: Array, types: Array | None, features: Array | None = None) -> Array:
        """Compute h for checked arguments: x [N, I] of the layer's dtype, edges [E, 2] and types [E] of int64.

        features: [E, n_edge_features] of the layer's dtype, None if that is 0.
        """
        raise NotImplementedError

    def _forward_rows(self, x: Array, edges: Array, types: Array | None, features: Array | None = None) -> Array:
        """Compute the same, keeping what `_backward_rows` needs."""
        raise NotImplementedError

    def _backward_rows(self, dh: Array, need_dx: bool = True) -> Array | None:
        """Add into the gradients, given that of h; return the gradient of x."""
        raise NotImplementedError
