"""Recurrent layers: LSTM, GRU, RNN, and `from_cell` for any registered cell.

Constructor arguments have the names and the order of `torch.nn`; what is ours alone is keyword-only. Parameters have
torch's names, shapes and gate order. docs/cells.md has the equations.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._recurrent import Recurrent
from lstmcore._states import State
from lstmcore._tbptt import Window
from lstmcore.time_delay import CELLS as TIME_DELAY_CELLS
from lstmcore.time_delay import TimeDelay

__all__ = ["GRU", "LSTM", "RNN", "Recurrent", "State", "TimeDelay", "Window", "from_cell"]

Seed = int | np.random.Generator | None


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    i, f, o = sigmoid(W x + b + U h' + b'), g = tanh(W x + b + U h' + b'), c = f c' + i g, h = o tanh(c); with a
    projection h = V (o tanh(c)). Gates lie in the order i, f, g, o; i, g, o when coupled.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size
        As in `Recurrent` and `torch.nn.LSTM`.
    peepholes : bool, str or None, default=None
        Gates that see the cell state too (Gers & Schmidhuber 2000): i and f the last one, o the new one. Letters such
        as "io", or True for all; None and False for none.
    coupled : bool, default=False
        The forget gate is f = 1 - i (Greff et al. 2015, CIFG): three blocks of weights and not four.
    recurrent_init, forget_bias, recompute, weight_dtype, recurrent_dropout, zoneout, dtype, seed
        As in `Recurrent`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = LSTM(3, 8, seed=0)
    >>> y, (h, c) = layer(np.ones((5, 2, 3), np.float32))
    >>> y.shape, h.shape, c.shape
    ((5, 2, 8), (1, 2, 8), (1, 2, 8))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        peepholes: bool | str | None = None,
        coupled: bool = False,
        recurrent_init: str = "uniform",
        forget_bias: float | None = None,
        recompute: bool = False,
        weight_dtype: str | None = None,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.coupled = check.flag(coupled, "coupled")
        super().__init__(
            "lstm_coupled" if coupled else "lstm",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            recurrent_init=recurrent_init,
            forget_bias=forget_bias,
            recompute=recompute,
            weight_dtype=weight_dtype,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            peepholes=peepholes,
            dtype=dtype,
            seed=seed,
        )


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014).

    r, z = sigmoid(W x + b + U h' + b'), h = (1 - z) n + z h', gates in the order r, z, n. Textbooks that write
    h = (1 - z) h' + z n use the complement of this z.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        As in `Recurrent` and `torch.nn.GRU`.
    reset_after : bool, default=True
        True: n = tanh(W x + b + r (U h' + b')), as in torch, cuDNN and Keras. False: n = tanh(W x + b + U (r h') + b'),
        as in the paper.
    recurrent_init, recompute, weight_dtype, recurrent_dropout, zoneout, dtype, seed
        As in `Recurrent`.

    Examples
    --------
    >>> import numpy as np
    >>> y, h = GRU(3, 8, seed=0)(np.ones((5, 2, 3), np.float32), lengths=[5, 2])
    >>> y.shape, h.shape
    ((5, 2, 8), (1, 2, 8))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset_after: bool = True,
        recurrent_init: str = "uniform",
        recompute: bool = False,
        weight_dtype: str | None = None,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.reset_after = check.flag(reset_after, "reset_after")
        super().__init__(
            "gru" if reset_after else "gru_reset_before",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            recurrent_init=recurrent_init,
            recompute=recompute,
            weight_dtype=weight_dtype,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            dtype=dtype,
            seed=seed,
        )


class RNN(Recurrent):
    """Simple recurrent network (Elman 1990): h = phi(W x + b + U h' + b').

    Parameters
    ----------
    input_size, hidden_size, num_layers
        As in `Recurrent` and `torch.nn.RNN`.
    nonlinearity : {"tanh", "relu", "hardtanh"}, default="tanh"
        phi; hardtanh is max(-1, min(1, a)).
    bias, batch_first, dropout, bidirectional
        As in `Recurrent` and `torch.nn.RNN`.
    residual : bool, default=False
        h = h' + tanh(...): with nonlinearity="tanh" only.
    periods : sequence of int or None, default=None
        A clockwork RNN (Koutnik et al. 2014): as many groups of units, each of which computes at the steps that its
        period divides, and sees itself and the slower groups. Its state is (h, clock). With nonlinearity="tanh" only.
    recurrent_init, recompute, weight_dtype, recurrent_dropout, zoneout, dtype, seed
        As in `Recurrent`.

    Examples
    --------
    >>> import numpy as np
    >>> y, h = RNN(3, 8, nonlinearity="relu", seed=0)(np.ones((5, 2, 3), np.float32))
    >>> y.shape, h.shape
    ((5, 2, 8), (1, 2, 8))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        residual: bool = False,
        periods: Sequence[int] | None = None,
        recurrent_init: str = "uniform",
        recompute: bool = False,
        weight_dtype: str | None = None,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.nonlinearity = check.choice(nonlinearity, "nonlinearity", ("tanh", "relu", "hardtanh"))
        self.residual = check.flag(residual, "residual")
        for name, chosen in (("residual=True", residual), (f"periods={periods!r}", periods is not None)):
            if chosen and nonlinearity != "tanh":
                raise ValueError(f"{name} needs nonlinearity='tanh', got {nonlinearity!r}")
        if residual and periods is not None:
            raise ValueError(f"periods must be None with residual=True, got {periods!r}")
        super().__init__(
            "rnn_residual" if residual else f"rnn_{nonlinearity}" if periods is None else "rnn_clockwork",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            recurrent_init=recurrent_init,
            recompute=recompute,
            weight_dtype=weight_dtype,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            periods=periods,
            dtype=dtype,
            seed=seed,
        )


def from_cell(cell: str, input_size: int, hidden_size: int, **options: Any) -> Recurrent:
    """Return a layer of any registered cell, or a `TimeDelay`, by its name.

    Parameters
    ----------
    cell : str
        A name listed by `lstmcore.cells`, such as "lstm" or "gru_reset_before", or "tdnn_tanh", "tdnn_relu",
        "tdnn_hardtanh" or "tdnn_linear".
    input_size, hidden_size : int
        As in `Recurrent`.
    **options
        Further arguments of `Recurrent`, or of `TimeDelay`, by name.

    Returns
    -------
    Recurrent
        The layer.

    Raises
    ------
    ValueError, TypeError
        If the cell or an option is unknown, with the valid names, or a value is not as described.
    """
    recurrent = inspect.signature(Recurrent).parameters
    if cell not in TIME_DELAY_CELLS:
        for name in options:
            check.choice(name, "option", list(recurrent)[3:])
        return Recurrent(cell, input_size, hidden_size, **options)
    valid = list(inspect.signature(TimeDelay).parameters)[2:]
    for name in [name for name in options if name not in valid]:
        default = recurrent[check.choice(name, "option", [*valid, *list(recurrent)[3:]])].default
        if (value := options.pop(name)) != default:
            raise ValueError(f"{name} must be {default!r} for cell {cell!r}, which feeds nothing back, got {value!r}")
    return TimeDelay(input_size, hidden_size, **{**options, "nonlinearity": cell.removeprefix("tdnn_")})
