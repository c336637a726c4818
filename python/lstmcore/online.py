"""Real-time recurrent learning: the gradient of a layer forward in time, for streams without end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._recurrent import Recurrent
from lstmcore._validation import Array

METHODS = ("rtrl", "snap1")


class RTRL:
    """Gradients of a layer on one stream, exact at every step, in memory that does not grow with the stream.

    Beside its state the stream carries the influence matrix J = ∂(h, c)/∂θ of all parameters θ. A step of the layer
    multiplies it by ∂(h, c)/∂(h', c') and adds what the parameters do in that step; a loss that sees h has the gradient
    (∂loss/∂h) J_h at once. There is nothing to go back through, so the optimizer may step at every step.

    Parameters
    ----------
    layer : LSTM, GRU, RNN or Recurrent
        One layer in one direction, without projection, recurrent_dropout and zoneout, of one of the cells that
        `rtrl_cells` lists. Its parameters are read at each step: change them whenever you like.
    method : {"rtrl", "snap1"}, default="rtrl"
        "rtrl": all of J (Williams & Zipser 1989). A step costs about 2 P H² operations for each of h and c, with P
        parameters, which are about 4 H² for an LSTM; memory is P H numbers for each. "snap1": of J only how a parameter
        moves the unit that it belongs to, along ways that stay in that unit (Menick et al. 2020): a few operations and
        numbers for each parameter, and a gradient that lacks the ways over other units.

    Attributes
    ----------
    layer, method
        As given.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; the message names it and quotes the value.

    Notes
    -----
    While the parameters stand still, the sum of the gradients over a stream equals that of full back-propagation
    through time. While they move, J holds derivatives at the parameters as they were, as in every online method.

    References
    ----------
    R. J. Williams and D. Zipser, "A learning algorithm for continually running fully recurrent neural networks", Neural
    Computation 1 (1989). J. Menick, E. Elsen, U. Evci, S. Osindero, K. Simonyan and A. Graves, "A practical sparse
    approximation for real time recurrent learning", arXiv:2006.07232 (2020).

    Examples
    --------
    Learn to say the input of two steps before:

    >>> import numpy as np, lstmcore
    >>> layer = lstmcore.LSTM(1, 8, seed=0)
    >>> stream = lstmcore.RTRL(layer)
    >>> optimizer = lstmcore.Adam(layer, learning_rate=1e-2)
    >>> bits = np.random.default_rng(0).integers(0, 2, 3000)
    >>> errors = []
    >>> for t in range(2, 3000):
    ...     h = stream.step(bits[t : t + 1])
    ...     errors.append(h[0] - 0.5 * bits[t - 2])
    ...     stream.backward(np.where(np.arange(8) == 0, errors[-1], 0))
    ...     norm = optimizer.step()
    >>> bool(np.mean(np.square(errors[-100:])) < 0.01 * np.mean(np.square(errors[:100])))
    True
    """

    def __init__(self, layer: Recurrent, method: str = "rtrl") -> None:
        if not isinstance(layer, Recurrent):
            raise TypeError(f"layer must be a recurrent layer, got {type(layer).__name__}")
        self.method = check.choice(method, "method", METHODS)
        check_cell(layer.cell)
        for name, wanted in (("num_layers", 1), ("bidirectional", False), ("proj_size", 0)):
            if getattr(layer, name) != wanted:
                raise ValueError(f"layer must have {name}={wanted!r} for RTRL, got {getattr(layer, name)!r}")
        for name in ("recurrent_dropout", "zoneout"):
            if getattr(layer, name):
                raise ValueError(f"layer must have {name}=0 for RTRL, got {getattr(layer, name)!r}")
        self.layer = layer
        self._build()
        if layer.n_parameters != self._core.n_parameters:
            raise ValueError(
                f"layer must have the {self._core.n_parameters} parameters of cell {layer.cell!r} as it is by default "
                f"for RTRL, got {layer!r}, which has {layer.n_parameters}"
            )

    def _build(self) -> None:
        layer = self.layer
        kind = core.RtrlF32 if layer.dtype == np.float32 else core.RtrlF64
        self._core = kind(layer.cell, layer.input_size, layer.hidden_size, layer.bias, self.method == "rtrl")

    def __repr__(self) -> str:
        return f"RTRL({self.layer!r}, method={self.method!r})"

    def step(self, x: ArrayLike) -> Array:
        """Advance the stream by one step.

        Parameters
        ----------
        x : array-like [I]
            Finite numbers.

        Returns
        -------
        ndarray [H]
            h after the step: the same bits as `Recurrent.step` gives.

        Raises
        ------
        ValueError, TypeError
            If `x` is not as described; the stream stays where it is.
        """
        return self._core.step(self.layer.flat_parameters, self._vector(x, "x", self.layer.input_size, "[I]"))

    def backward(self, dh: ArrayLike) -> None:
        """Add the gradient of a loss that sees the latest h into ``layer.gradients``.

        Parameters
        ----------
        dh : array-like [H]
            Gradient of the loss with respect to the h that the latest `step` returned. Call it once a step, or not at
            all where nothing is to be learnt.

        Raises
        ------
        ValueError, TypeError
            If `dh` is not as described.
        """
        self._core.backward(self._vector(dh, "dh", self.layer.hidden_size, "[H]"), self.layer.flat_gradients)

    def reset(self, state: Any = None) -> None:
        """Begin a new sequence: nothing has influenced the state.

        Parameters
        ----------
        state : (h, c), or h of a cell without c, or None
            The state to begin from, arrays [H]. None is zero.

        Raises
        ------
        ValueError, TypeError
            If `state` is not as described.
        """
        if state is None:
            self._core.reset()
            return
        names = list(self._core.snapshot(False))
        parts = (state,) if len(names) == 1 else state
        if len(names) > 1 and not (isinstance(parts, (tuple, list)) and len(parts) == len(names)):
            raise TypeError(f"state must be a tuple ({', '.join(names)}) of arrays, got {type(state).__name__}")
        H = self.layer.hidden_size
        self._core.restore({name: self._vector(part, name, H, "[H]") for name, part in zip(names, parts, strict=True)})

    @property
    def state(self) -> Any:
        """The state after the latest step: (h, c), or h of a cell without c; arrays [H], copies."""
        states = tuple(self._core.snapshot(False).values())
        return states if len(states) > 1 else states[0]

    @property
    def influence(self) -> dict[str, Array]:
        """Return ∂h/∂θ for each parameter by name, a copy.

        Returns
        -------
        dict of str to ndarray
            With "rtrl" the shape of the parameter and a last axis H; with "snap1" its shape alone, of the derivative of
            the unit that it belongs to.
        """
        values = self._core.snapshot(True)["dh"]
        last = (self.layer.hidden_size,) if self.method == "rtrl" else ()
        return {
            name: values[offset : offset + math.prod(shape)].reshape(*shape, *last)
            for name, shape, offset in self.layer.parameter_table()
        }

    def _vector(self, value: ArrayLike, name: str, size: int, axes: str) -> Array:
        source = check.exact_shape(value, name, (size,), axes)
        vector = check.contiguous(source, self.layer.dtype)
        check.finite(vector, name, source)
        return vector

    def __getstate__(self) -> dict[str, Any]:
        """Return layer, method, and where the stream is."""
        return {**self.__dict__, "_core": self._core.snapshot(True)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.__dict__.update(state)
        self._build()
        self._core.restore(state["_core"])


def rtrl_cells() -> list[str]:
    """Return the names of the cells that real-time recurrent learning takes.

    They have one stage and no normalisation, so that only products with weights mix units. The others, such as the GRU
    that resets before the product, have to be trained by back-propagation.

    Examples
    --------
    >>> "lstm_peephole" in rtrl_cells(), "gru_reset_before" in rtrl_cells()
    (True, False)
    """
    return list(core.rtrl_cells())


def check_cell(cell: str) -> str:
    """Return `cell` if `rtrl_cells` lists it, or raise ValueError."""
    if cell not in rtrl_cells():
        raise ValueError(f"cell {cell!r} has no RTRL, which needs one of {', '.join(rtrl_cells())}")
    return cell
