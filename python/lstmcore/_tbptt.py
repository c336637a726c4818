"""Truncated backpropagation through time over one long batch, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lstmcore import _validation as check
from lstmcore._states import State
from lstmcore._validation import Array

if TYPE_CHECKING:
    from lstmcore._recurrent import Recurrent


class Window:
    """One window of truncated backpropagation through time, see `Recurrent.tbptt`.

    Attributes
    ----------
    start, stop : int
        The steps whose outputs, and loss, belong to this window.
    reach : int
        The first step that its gradients flow back to: start, or earlier with k2 > k1.
    y : ndarray [stop - start, B, D*H], or [B, stop - start, D*H] with batch_first
        Outputs of the steps start:stop.
    state : as the layer's
        State after step stop - 1.
    """

    def __init__(self, layer: Recurrent, reach: int, start: int, stop: int, y: Array, state: State) -> None:
        self._layer = layer
        self.reach, self.start, self.stop = reach, start, stop
        self.y, self.state = y, state

    def backward(self, dy: ArrayLike, *, need_dx: bool = False) -> Array | None:
        """Propagate the gradient of this window's outputs back to step `reach`; call it before the next window.

        Parameters
        ----------
        dy : array-like of y's shape
            Gradient of the loss with respect to y.
        need_dx : bool, default=False
            Whether the gradient of the input is wanted.

        Returns
        -------
        dx : ndarray [stop - reach, B, I], or [B, stop - reach, I] with batch_first, or None
            Gradient with respect to the inputs of the steps reach:stop.

        Raises
        ------
        RuntimeError
            If it has been called before, or the layer has gone on.
        ValueError, TypeError
            If dy has the wrong shape or type or is not finite.
        """
        axes = "[B, T, width]" if self._layer.batch_first else "[T, B, width]"
        tail = check.exact_shape(dy, "dy", self.y.shape, axes)
        time = 1 if self._layer.batch_first else 0
        shape = list(tail.shape)
        shape[time] = self.start - self.reach
        dx, _ = self._layer.backward(np.concatenate([np.zeros(shape, tail.dtype), tail], time), need_dx=need_dx)
        return dx


def windows(layer: Recurrent, x: ArrayLike, state: Any, k1: int, k2: int | None) -> Iterator[Window]:
    """Check the arguments of `Recurrent.tbptt` now, and return the generator of its windows."""
    k1 = check.integer(k1, "k1")
    k2 = k1 if k2 is None else check.integer(k2, "k2")
    if k2 < k1:
        raise ValueError(f"k2 must be at least k1={k1}, got {k2}: the first steps of a window would get no gradient")
    if layer.bidirectional:
        raise ValueError("tbptt needs a layer with bidirectional=False: the backward direction has no state to carry")
    source = layer.checked_input(x)
    array = check.contiguous(source, layer.dtype)
    check.finite(array, "x", source)
    return _generate(layer, array, state, k1, k2)


def _generate(layer: Recurrent, x: Array, state: Any, k1: int, k2: int) -> Iterator[Window]:
    steps = x.shape[1] if layer.batch_first else x.shape[0]
    reach = 0  # the step before which `state` stands, and at which gradients are cut
    for start in range(0, steps, k1):
        stop = min(start + k1, steps)
        y, after = layer.forward(_part(layer, x, reach, stop), state)
        yield Window(layer, reach, start, stop, _part(layer, y, start - reach, stop - reach), after)
        next_reach = max(0, stop - (k2 - k1))
        if next_reach == stop:
            state = after
        elif next_reach > reach:
            _, state = layer(_part(layer, x, reach, next_reach), state)
        reach = next_reach


def _part(layer: Recurrent, array: Array, start: int, stop: int) -> Array:
    """Return the steps start:stop of an array [T, B, ...] or [B, T, ...]."""
    return array[:, start:stop] if layer.batch_first else array[start:stop]
