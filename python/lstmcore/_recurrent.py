"""The class behind every recurrent layer: parameters, checks, and the calls into the C++ core."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from lstmcore import _init, _options
from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._packing import Packing
from lstmcore._parameters import Layer
from lstmcore._states import State, StateLayout
from lstmcore._tbptt import Window, windows
from lstmcore._validation import Array


class Recurrent(Layer):
    """A stack of layers of any registered cell, in one direction or both.

    `LSTM`, `GRU` and `RNN` are this class with the cell picked by their options; `from_cell` picks it by name.

    Parameters
    ----------
    cell : str
        Name of a registered cell, see `lstmcore.cells`.
    input_size : int
        Features of the input, I.
    hidden_size : int
        Hidden units, H.
    num_layers : int, default=1
        Layers stacked on each other; each reads the outputs of the one below.
    bias : bool, default=True
        Whether the cells have the biases b_ih and b_hh.
    batch_first : bool, default=False
        Whether x, y, dx and dy are [B, T, ...] and not [T, B, ...]. States are [layers, B, ...] in either case.
    dropout : float, default=0.0
        Share of each layer's outputs, but the last layer's, that `forward` drops. Calling the layer drops nothing.
    bidirectional : bool, default=False
        Whether a second cell reads each sequence from its end; outputs are concatenated, forward direction first.
    proj_size : int, default=0
        Width P to which h is projected (Sak et al. 2014), 0 for none. For cells with a projection only.
    dtype : {"float32", "float64"}, default="float32"
        Type of parameters, states and outputs. Inputs of another numeric type are converted.
    seed : int, numpy.random.Generator or None, default=None
        Source of the initial parameters and of the masks of `forward`.
    recurrent_init : {"uniform", "orthogonal"}, default="uniform"
        All parameters are drawn from U(-1/sqrt(H), 1/sqrt(H)), as in torch; "orthogonal" makes each gate's block of
        the recurrent weights orthogonal instead.
    forget_bias : float or None, default=None
        Initial bias of the forget gate, for cells that have one; None leaves the drawn values.
    recompute : bool, default=False
        Keep only the states between `forward` and `backward`, which then computes the gates again: about a third of
        the memory, about a quarter to a third more time, gradients of the same bits.
    weight_dtype : {None, "bfloat16"}, default=None
        "bfloat16": calling the layer and `step` use weights rounded to bfloat16 (8 significant bits; sums stay
        float32), which halves the memory traffic that bounds small batches. Vectors (biases, peepholes), `forward` and
        `backward` keep full precision. For dtype="float32" only.
    recurrent_dropout : float, default=0.0
        Share of h that U does not see in `forward`, with one mask for all steps of a sequence (Gal & Ghahramani 2016);
        the rest is divided by 1 - recurrent_dropout. Calling the layer drops nothing.
    zoneout : float, default=0.0
        Probability that a unit keeps its h, and by a draw of its own its c, at a step of `forward` (Krueger et al.
        2017). Calling the layer and `step` take the expectation, zoneout * old + (1 - zoneout) * new.
    periods : sequence of int or None, default=None
        For clockwork cells only: the period in steps of each group of units, increasing (Koutnik et al. 2014). None: 1,
        2, 4, 8.
    peepholes : bool, str or None, default=None
        Gates of an LSTM that see the cell state too: letters such as "io", True for all that the cell has, False for
        none, None for what its name says: all of "lstm_peephole" and "lstm_coupled_peephole", none of any other.

    Attributes
    ----------
    parameters, gradients : dict of str to ndarray
        Read-only views of the parameters, and views of the gradients that `backward` adds into.
    flat_parameters, flat_gradients : ndarray [n_parameters]
        What they are views of.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; the message names it and quotes the value.
    """

    # The arguments from which `from_cell` makes such a layer again.
    config_names: ClassVar[tuple[str, ...]] = (
        *("cell", "input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size"),
        *("dropout", "recurrent_dropout", "zoneout", "peepholes", "periods"),
    )
    _activations: Sequence[float] = ()  # of each direction, chosen for inference (interop/_onnx_recurrent.py)

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Any = "float32",
        seed: int | np.random.Generator | None = None,
        recurrent_init: str = "uniform",
        forget_bias: float | None = None,
        recompute: bool = False,
        weight_dtype: str | None = None,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        periods: Sequence[int] | None = None,
        peepholes: bool | str | None = None,
    ) -> None:
        registry = {info["name"]: info for info in core.cells()}
        self.cell, self.peepholes = _options.peepholes(peepholes, check.choice(cell, "cell", registry), registry)
        self.input_size = check.integer(input_size, "input_size")
        self.hidden_size = check.integer(hidden_size, "hidden_size")
        self.num_layers = check.integer(num_layers, "num_layers")
        self.bias = check.flag(bias, "bias")
        self.batch_first = check.flag(batch_first, "batch_first")
        self.dropout = check.fraction(dropout, "dropout")
        self.bidirectional = check.flag(bidirectional, "bidirectional")
        self.proj_size = _options.projection(proj_size, self.hidden_size, registry[self.cell])
        self.dtype = check.scalar_type(dtype)
        self.recurrent_init = check.choice(recurrent_init, "recurrent_init", ("uniform", "orthogonal"))
        self.forget_bias = _options.forget_bias(forget_bias, self.cell, self.bias)
        self.recompute = check.flag(recompute, "recompute")
        self.weight_dtype = _options.weight_dtype(weight_dtype, self.dtype)
        self.recurrent_dropout = _options.recurrent_noise(recurrent_dropout, "recurrent_dropout", registry[cell])
        self.zoneout = _options.recurrent_noise(zoneout, "zoneout", registry[cell])
        self.periods = _options.periods(periods, self.hidden_size, registry[cell])
        if self.dropout and self.num_layers == 1:
            warnings.warn(
                f"dropout={self.dropout} has no effect with num_layers=1: it applies between layers", stacklevel=3
            )
        self._rng = check.generator(seed)
        self._build()
        self._initialise()

    # ---- construction -------------------------------------------------------------------------------------------

    def _build(self) -> None:
        """Create the core's object and the parameter vectors, all zero."""
        info = next(info for info in core.cells() if info["name"] == self.cell)
        wide = info["state_parts"] * (self.proj_size or self.hidden_size)
        widths = {"h": wide, "c": self.hidden_size, "clock": 1}
        self.own_output = bool(info["own_output"])  # y is not h
        directions = 2 if self.bidirectional else 1
        self._states = StateLayout(
            self.cell, {symbol: widths[symbol] for symbol in info["states"]}, self.num_layers * directions, self.dtype
        )
        kind = core.RecurrentF32 if self.dtype == np.float32 else core.RecurrentF64
        self._core = kind(
            self.cell,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bias,
            self.dropout,
            self.bidirectional,
            self.proj_size,
            self.weight_dtype == "bfloat16",
            self.recompute,
            self.recurrent_dropout,
            self.zoneout,
            self.periods or (),
            self.peepholes or "",
            self._activations,
        )
        self._core_step = self._core.step
        self._packing: Packing | None = None  # of the last forward, until its backward
        self._own_parameters()

    def _initialise(self) -> None:
        writable = dict(self._views(self.flat_parameters))
        _init.uniform(self.flat_parameters, self.hidden_size, self._rng)
        _init.no_rescaling(writable)
        _init.from_none_to_all(writable, self._rng)
        if self.recurrent_init == "orthogonal":
            if any(value.ndim == 1 for name, value in writable.items() if name.startswith("weight_hh")):
                raise ValueError(
                    f"recurrent_init must be 'uniform' for cell {self.cell!r}, whose units do not see each other, "
                    f"got 'orthogonal'"
                )
            _init.orthogonal(writable, self.hidden_size, self._rng)
        if self.forget_bias is not None:
            _init.set_forget_bias(writable, self.cell, self.hidden_size, self.forget_bias)
        self._core.parameters_changed()

    @property
    def output_size(self) -> int:
        """Width of y: H, or P with a projection, twice that with both directions."""
        return (self.proj_size or self.hidden_size) * (2 if self.bidirectional else 1)

    @property
    def state_size(self) -> int:
        """Numbers that carry one sequence from step to step: the states of all layers and directions but a clock."""
        return self._states.count * sum(self._states.learned.values())

    @property
    def draws_masks(self) -> bool:
        """Whether `forward` depends on random masks, so that a pass in training needs a seed."""
        return self.dropout > 0 or self.recurrent_dropout > 0 or self.zoneout > 0

    # ---- computing ----------------------------------------------------------------------------------------------

    def __call__(
        self, x: ArrayLike, state: State | None = None, lengths: ArrayLike | None = None
    ) -> tuple[Array, State]:
        """Compute the outputs of all steps; nothing is kept for `backward`, and nothing is dropped.

        Parameters
        ----------
        x : array-like [T, B, I], or [B, T, I] with batch_first
            Finite numbers. With lengths, what lies beyond a sequence's length is not read.
        state : (h, c) for an LSTM, h for a GRU or RNN, (h, clock) for a clockwork RNN, or None
            The initial state; each array [num_layers * directions, B, H] (h of a projected LSTM: P, of full gate
            recurrence: 4 H; a clock, the steps so far: 1). None, also in place of h or c, is zero.
        lengths : array-like of int [B] or None
            Steps of each sequence, 1 to T, in any order. None: all have T.

        Returns
        -------
        y : ndarray [T, B, D*H], or [B, T, D*H] with batch_first
            Outputs of the last layer, zero beyond each length. Width D*P with a projection.
        state : as the argument
            After each sequence's last step.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described; the message names it and quotes the value.
        """
        rows, packing, states = self._prepared(x, state, lengths)
        y, states = self._core.infer(rows, packing.batch_sizes, states)
        return packing.unpack(y), self._states.returned(states, packing)

    def forward(
        self, x: ArrayLike, state: State | None = None, lengths: ArrayLike | None = None
    ) -> tuple[Array, State]:
        """Compute the same as calling the layer, with its dropouts and zoneout, and keep what `backward` needs.

        Each call draws masks of its own from the layer's seed. An array of the layer's dtype in time-major order is
        kept by reference: leave it unchanged until `backward`.
        Parameters, returns and errors are those of calling the layer.
        """
        rows, packing, states = self._prepared(x, state, lengths)
        seed = int(self._rng.integers(2**63)) if self.draws_masks else 0
        self._packing = None  # a failing forward leaves nothing to go back through
        y, states = self._core.forward(rows, packing.batch_sizes, states, seed, True)
        self._packing = packing
        return packing.unpack(y), self._states.returned(states, packing)

    def backward(
        self, dy: ArrayLike | None, dstate: State | None = None, *, need_dx: bool = True
    ) -> tuple[Array | None, State]:
        """Propagate gradients back through the last `forward`, once; parameter gradients add into `gradients`.

        Parameters
        ----------
        dy : array-like of y's shape, or None
            Gradient of the loss with respect to y; padding is not read. None is zero.
        dstate : as the state, or None
            Gradient with respect to the final state. None, also in place of h or c, is zero.
        need_dx : bool, default=True
            Whether the gradient of the input is wanted; without it the first layer has less to do.

        Returns
        -------
        dx : ndarray of x's shape, or None
            Gradient with respect to x, zero in the padding.
        dstate : as the state
            Gradient with respect to the initial state.

        Raises
        ------
        RuntimeError
            If there was no `forward`, or its `backward` has been run.
        ValueError, TypeError
            If a gradient has the wrong shape or type or is not finite.
        """
        packing = self._packing
        if packing is None:
            raise RuntimeError("backward needs a forward before it, and each forward allows one backward")
        rows = None
        if dy is not None:
            outer = (packing.batch, packing.steps) if self.batch_first else (packing.steps, packing.batch)
            axes = "[B, T, width]" if self.batch_first else "[T, B, width]"
            rows = packing.pack(check.exact_shape(dy, "dy", (*outer, self.output_size), axes), self.dtype, "dy")
        dstates = self._states.checked(dstate, "dstate", packing)
        self._packing = None
        dx, dstates = self._core.backward(rows, dstates, check.flag(need_dx, "need_dx"))
        return None if dx is None else packing.unpack(dx), self._states.returned(dstates, packing)

    def step(self, x: Array, state: State | None = None) -> tuple[Array, State]:
        """Advance every stream by one time step; the fast path for live data.

        Parameters
        ----------
        x : array-like [B, I]
            One step of B streams. Fastest when contiguous and of the layer's dtype.
        state : as in calling the layer
            None starts from zero. Pass on what the last call returned.

        Returns
        -------
        y : ndarray [B, H], or [B, P]
            Outputs of the last layer: the same bits as those of the whole sequence.
        state : as the argument
            After this step.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, or the layer is bidirectional.
        """
        try:  # the core takes what is right as it is, and says so before it computes if it is not
            if self._states.single:
                y, (h,) = self._core_step(x, None if state is None else (state,))
                return y, h
            return self._core_step(x, state)
        except (TypeError, ValueError):
            return self._checked_step(x, state)

    def _checked_step(self, x: ArrayLike, state: State | None) -> tuple[Array, State]:
        """Check and convert the arguments of a step, then run it."""
        if self.bidirectional:
            raise ValueError("step needs a layer with bidirectional=False: the second direction starts at the end")
        source = self._with_features(x, "[B, I]")
        row = check.contiguous(source, self.dtype)
        check.finite(row, "x", source)
        packing = Packing(1, len(row), False, None)
        y, states = self._core_step(row, self._states.checked(state, "state", packing))
        return y, self._states.returned(states, packing)

    def gates(self, x: ArrayLike, state: State | None = None, lengths: ArrayLike | None = None) -> dict[str, Array]:
        """Compute what every cell does at every step: its gates and its states, for looking at.

        Nothing is dropped, and a `forward` that waits for its `backward` is not disturbed. Parameters and errors are
        those of calling the layer.

        Returns
        -------
        dict of str to ndarray [T, B, H], or [B, T, H] with batch_first
            Activations and states after the step, zero beyond each length, named like the parameters: ``"i_l0"``, ...,
            ``"h_l1_reverse"``. LSTM: i, f, g, o, c, h (coupled: no f, which is 1 - i; depth-gated: also d; grid: also
            depth_i, depth_f, depth_g, depth_o); GRU: r, z, n, h; RNN: h. The width of a projected h is P.

        Examples
        --------
        >>> import numpy as np
        >>> import lstmcore
        >>> found = lstmcore.LSTM(3, 8, seed=0).gates(np.ones((5, 2, 3)))
        >>> list(found), found["f_l0"].shape
        (['i_l0', 'f_l0', 'g_l0', 'o_l0', 'c_l0', 'h_l0'], (5, 2, 8))
        """
        rows, packing, states = self._prepared(x, state, lengths)
        traces = self._core.gates(rows, packing.batch_sizes, states)
        return {name: packing.unpack(values) for name, values in traces.items()}

    def tbptt(self, x: ArrayLike, state: State | None = None, *, k1: int, k2: int | None = None) -> Iterator[Window]:
        """Train by truncated backpropagation through time: yield the windows of a long batch, one after another.

        For each window end t = k1, 2 k1, ..., T the loss gradients of the steps (t - k1, t] flow back through the
        steps (t - k2, t]; the state is carried on, its gradient is cut (Williams & Peng 1990, BPTT(h; h')).
        k1 = k2 = T is full backpropagation. The last window is shorter if k1 does not divide T.

        With k2 > k1 the steps (t - k2, t - k1] are run again. Parameters may change between windows: each window is
        run with the current ones, and so is the advance of the state at its start.

        Parameters
        ----------
        x : array-like [T, B, I], or [B, T, I] with batch_first
            As in calling the layer.
        state : as in calling the layer
            The initial state.
        k1 : int
            Steps from one window to the next.
        k2 : int or None, default=None
            Steps that gradients flow back, at least k1. None: k1.

        Yields
        ------
        Window
            Its `y` holds the outputs of the steps start:stop; call its `backward` with their gradient.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, or the layer is bidirectional.

        Examples
        --------
        >>> for window in layer.tbptt(x, k1=20, k2=40):  # doctest: +SKIP
        ...     layer.zero_gradients()
        ...     window.backward(loss_gradient(window.y, targets[window.start:window.stop]))
        ...     update(layer)
        """
        return windows(self, x, state, k1, k2)

    # ---- conversion ---------------------------------------------------------------------------------------------

    def checked_input(self, x: ArrayLike) -> Array:
        """Return x as an array of numbers with this layer's axes and features."""
        return self._with_features(x, "[B, T, I]" if self.batch_first else "[T, B, I]")

    def _with_features(self, x: ArrayLike, axes: str) -> Array:
        array = check.shaped(x, "x", axes)
        if array.shape[-1] != self.input_size:
            raise ValueError(
                f"x has {array.shape[-1]} features, but the layer's input_size is {self.input_size} "
                f"(shape {array.shape}, read as {axes})"
            )
        return array

    def _prepared(self, x: Any, state: Any, lengths: Any) -> tuple[Array, Packing, list[Array | None] | None]:
        """Return packed rows, their packing and the core's states, all checked."""
        array = self.checked_input(x)
        batch, steps = array.shape[:2] if self.batch_first else array.shape[1::-1]
        packing = Packing(steps, batch, self.batch_first, check.sequence_lengths(lengths, steps, batch))
        rows = packing.pack(array, self.dtype, "x")
        return rows, packing, self._states.checked(state, "state", packing)

    # ---- copying ------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Return configuration and parameters; gradients and an unfinished forward are not carried along."""
        made = ("_core_step", "_states", "_packing")
        state = {name: value for name, value in super().__getstate__().items() if name not in made}
        return {**state, "_rng": copy.deepcopy(self._rng)}  # copies draw the same masks, and none draws another's

    def __repr__(self) -> str:
        """Return the constructor call, options at their defaults left out."""
        return _options.constructor_call(self)
