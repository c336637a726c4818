"""The time-delay neural network, which remembers a fixed number of steps: the rival of recurrent networks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lstmcore import _init
from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._packing import Packing
from lstmcore._recurrent import Recurrent
from lstmcore._states import State, StateLayout
from lstmcore._validation import Array

__all__ = ["TimeDelay"]

NONLINEARITIES = ("tanh", "relu", "hardtanh", "linear")
CELLS = tuple(f"tdnn_{phi}" for phi in NONLINEARITIES)  # the names that stand beside those of the registered cells


class TimeDelay(Recurrent):
    """Time-delay neural network (Waibel et al. 1989): h_t = phi(sum over k of W_k x_(t - d_k) + b).

    A causal, dilated convolution over time with the interface of a recurrent layer: estimators, sessions and truncated
    gradients take it as one, under the names "tdnn_tanh", "tdnn_relu", "tdnn_hardtanh" and "tdnn_linear" of `cell`.
    What lies more than ``num_layers * max(delays)`` steps back has no influence; nothing is fed back, so that no
    gradient vanishes or explodes over time. Fed with its own forecasts it is a NARX network, see `RNNForecaster`.

    Parameters
    ----------
    input_size : int
        Features of the input, I.
    hidden_size : int
        Units of each layer, H.
    delays : int or iterable of int, default=8
        How many steps back each of K weight matrices looks: different integers of at least 0. A number K means the
        latest K inputs, 0 ... K - 1.
    nonlinearity : {"tanh", "relu", "hardtanh", "linear"}, default="tanh"
        phi. A "linear" layer under a dense one is a linear autoregression.
    num_layers : int, default=1
        Layers stacked on each other, each with these delays.
    bias : bool, default=True
        Whether there is a b.
    batch_first, dropout, dtype, seed
        As in `Recurrent`. All parameters are drawn from U(-1/sqrt(n), 1/sqrt(n)) for the n = K I inputs of a unit, as
        in ``torch.nn.Conv1d``.

    Attributes
    ----------
    parameters, gradients : dict of str to ndarray
        "weight_ih_l0" [H, K, I], in which [:, k] is W_k, "bias_ih_l0" [H], and so on for each layer.
    delays : tuple of int
        The delays, one by one.
    memory : int
        Steps before the present one that an output depends on.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; the message names it and quotes the value.

    Notes
    -----
    The state is a pair (h, x). h [1, B, H] is the latest output, which nothing reads; x [1, B, D (I + (num_layers - 1)
    H)] holds the latest D = max(delays) inputs of each layer, the latest first. Before the first step lie zeros.

    References
    ----------
    A. Waibel et al. (1989), "Phoneme recognition using time-delay neural networks", IEEE Transactions on Acoustics,
    Speech, and Signal Processing 37.

    Examples
    --------
    >>> import numpy as np
    >>> layer = TimeDelay(3, 8, delays=(0, 1, 7), seed=0)
    >>> y, (h, x) = layer(np.ones((5, 2, 3), np.float32))
    >>> y.shape, h.shape, x.shape
    ((5, 2, 8), (1, 2, 8), (1, 2, 21))
    """

    # What a recurrent stack can have and this cannot.
    bidirectional, proj_size, recompute, recurrent_dropout, zoneout = False, 0, False, 0.0, 0.0
    config_names = ("cell", "input_size", "hidden_size", "num_layers", "delays", "bias", "dropout")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        delays: int | Iterable[int] = 8,
        nonlinearity: str = "tanh",
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        *,
        dtype: Any = "float32",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.input_size = check.integer(input_size, "input_size")
        self.hidden_size = check.integer(hidden_size, "hidden_size")
        self.delays = checked_delays(delays)
        self.nonlinearity = check.choice(nonlinearity, "nonlinearity", NONLINEARITIES)
        self.cell = f"tdnn_{nonlinearity}"
        self.num_layers = check.integer(num_layers, "num_layers")
        self.bias = check.flag(bias, "bias")
        self.batch_first = check.flag(batch_first, "batch_first")
        self.dropout = check.fraction(dropout, "dropout")
        self.dtype = check.scalar_type(dtype)
        if self.dropout and self.num_layers == 1:
            warnings.warn(
                f"dropout={self.dropout} has no effect with num_layers=1: it applies between layers", stacklevel=2
            )
        self._rng = check.generator(seed)
        self._build()
        for name, view in self._views(self.flat_parameters):
            inputs = len(self.delays) * (self.input_size if name.endswith("_l0") else self.hidden_size)
            _init.uniform(view.reshape(-1), inputs, self._rng)
        self._core.parameters_changed()

    def _build(self) -> None:
        """Create the core's object and the parameter vectors, all zero."""
        remembered = max(self.delays) * (self.input_size + (self.num_layers - 1) * self.hidden_size)
        self._states = StateLayout(self.cell, {"h": self.hidden_size, "x": remembered}, 1, self.dtype)
        kind = core.TimeDelayF32 if self.dtype == np.float32 else core.TimeDelayF64
        self._core = kind(
            self.input_size,
            self.hidden_size,
            self.num_layers,
            list(self.delays),
            self.nonlinearity,
            self.bias,
            self.dropout,
        )
        self._core_step = self._core.step
        self._packing: Packing | None = None  # of the last forward, until its backward
        self._own_parameters()

    @property
    def memory(self) -> int:
        """Steps before the present one that an output depends on."""
        return self.num_layers * max(self.delays)

    def gates(self, x: ArrayLike, state: State | None = None, lengths: ArrayLike | None = None) -> dict[str, Array]:
        """Raise TypeError: there are no gates."""
        raise TypeError(f"gates needs a recurrent layer, {self!r} has no gates")


def checked_delays(delays: Any) -> tuple[int, ...]:
    """Return `delays` one by one, or raise ValueError or TypeError."""
    if not isinstance(delays, Iterable):
        return tuple(range(check.integer(delays, "delays")))
    if isinstance(delays, str):
        raise TypeError(f"delays must be an integer or integers, got {delays!r}")
    result = tuple(check.integer(d, f"delays[{k}]", 0) for k, d in enumerate(delays))
    if not result or len(set(result)) < len(result):
        raise ValueError(f"delays must hold different integers, one at least, got {list(result)}")
    return result
