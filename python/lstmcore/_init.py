"""Initial values of a layer's parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lstmcore._validation import Array

# Where an LSTM keeps its forget gate: the block of the bias and its sign. A coupled cell has f = 1 - i = sigmoid(-a_i),
# and what an mgu keeps is 1 - f.
_FORGET_BLOCK = {
    "lstm": (1, 1.0),
    "lstm_peephole": (1, 1.0),
    "lstm_coupled": (0, -1.0),
    "lstm_coupled_peephole": (0, -1.0),
    "lstm_full_gate_recurrence": (1, 1.0),
    "lstm_no_input_gate": (0, 1.0),
    "lstm_no_output_gate": (1, 1.0),
    "lstm_no_input_activation": (1, 1.0),
    "lstm_no_output_activation": (1, 1.0),
    "lstm_layernorm": (1, 1.0),
    "lstm_depth_gated": (1, 1.0),
    "grid_lstm": (1, 1.0),
    "mgu": (0, -1.0),
}


def has_forget_gate(cell: str) -> bool:
    """Say whether `set_forget_bias` knows this cell's forget gate."""
    return cell in _FORGET_BLOCK


def uniform(vector: Array, hidden_size: int, rng: np.random.Generator) -> None:
    """Fill a flat parameter vector from U(-1/sqrt(H), 1/sqrt(H)), PyTorch's default for recurrent layers.

    Values are drawn in float64 and then rounded, so that one seed means the same layer in either precision.
    """
    bound = 1.0 / math.sqrt(hidden_size)
    vector[...] = rng.uniform(-bound, bound, vector.size)


def orthogonal(parameters: Mapping[str, Array], hidden_size: int, rng: np.random.Generator) -> None:
    """Make each gate's block [H, P] of every recurrent weight orthogonal (Saxe et al. 2014, section 3).

    Where P < H, as with a projection, the columns of a block are orthonormal.
    """
    for name, weight in parameters.items():
        if name.startswith("weight_hh"):
            rows = min(hidden_size, len(weight))  # fewer in a module of a clockwork cell
            for block in weight.reshape(-1, rows, weight.shape[1]):
                q, r = np.linalg.qr(rng.standard_normal(block.shape))
                block[...] = q * np.sign(np.diag(r))  # the signs make q uniform over orthogonal matrices


def no_rescaling(parameters: Mapping[str, Array]) -> None:
    """Start layer normalisation as nothing but that: gains 1, and for c a bias of 0 (Ba et al. 2016)."""
    for name, vector in parameters.items():
        if "_ln_" in name:
            vector[...] = 1.0 if name.startswith("weight") else 0.0


def from_none_to_all(parameters: Mapping[str, Array], rng: np.random.Generator) -> None:
    """Draw recurrent weights that are a vector from U(0, 1): units that remember nothing, all, and what lies between.

    Li et al. (2018), section 5.1, start from U(0, 2^(1/T)) in the last layer.
    """
    for name, vector in parameters.items():
        if name.startswith("weight_hh") and vector.ndim == 1:
            vector[...] = rng.uniform(0.0, 1.0, vector.size)


def set_forget_bias(parameters: Mapping[str, Array], cell: str, hidden_size: int, value: float) -> None:
    """Set the forget gate's bias to `value` (Gers et al. 2000; Jozefowicz et al. 2015): b_ih holds it, b_hh is 0."""
    block, sign = _FORGET_BLOCK[cell]
    gate = slice(block * hidden_size, (block + 1) * hidden_size)
    for name, bias in parameters.items():
        if name.startswith("bias_ih"):
            bias[gate] = sign * value
        elif name.startswith("bias_hh"):
            bias[gate] = 0.0
