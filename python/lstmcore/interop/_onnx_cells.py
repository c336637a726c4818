"""Cells as ONNX has them: blocks of its three operators where they fit, else one step of the cell for a Scan.

The equations are those of docs/cells.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstmcore._recurrent import Recurrent
from lstmcore._validation import Array
from lstmcore.interop._onnx_graph import Value, hardtanh, identity, relu, sigmoid, tanh

_OPEN = 100.0  # the bias of a gate that is always 1: its sigmoid rounds to 1
_GATES = {
    **{"lstm_coupled": "igo", "lstm_coupled_peephole": "igo", "lstm_no_input_gate": "fgo"},
    **{"lstm_no_forget_gate": "igo", "lstm_no_output_gate": "ifg"},
}
LSTMS = (
    *("lstm", "lstm_peephole", "lstm_no_input_activation", "lstm_no_output_activation"),
    *_GATES,
)
GRUS = ("gru", "gru_reset_before", "mgu")
RNNS = {"rnn_tanh": tanh, "rnn_relu": relu, "rnn_hardtanh": hardtanh, "indrnn": relu, "indrnn_tanh": tanh}


class Cell(NamedTuple):
    """One layer of a stack in one direction.

    Attributes
    ----------
    name : str
        Of the cell.
    w : dict of str to ndarray
        Parameters by their short names; absent biases are zero. Those of LSTMs, GRUs and RNNs fill all blocks of the
        plain cell: i, f, g, o or r, z, n.
    width : int
        Hidden units, H.
    """

    name: str
    w: dict[str, Array]
    width: int


def cell(layer: Recurrent, index: int, direction: int) -> Cell:
    """Return a layer of a stack."""
    suffix = f"_l{index}" + "_reverse" * direction
    w = {name.removesuffix(suffix): value for name, value in layer.parameters.items() if name.endswith(suffix)}
    name, width = layer.cell, layer.hidden_size
    if name == "rnn_clockwork":
        w = _one_matrix(w, layer)
    for side in ("ih", "hh"):
        w.setdefault(f"bias_{side}", np.zeros(len(w[f"weight_{side}"]), layer.dtype))
    if name in LSTMS:
        w = _four_blocks(w, name)
    elif name == "mgu":  # r = f and z = 1 − f = σ(−a)
        w = {key: _joined([f, -f, n]) for key, (f, n) in _blocks(w, 2).items()}
    elif name in ("indrnn", "indrnn_tanh"):
        w = {**w, "weight_hh": np.diag(w["weight_hh"]), "bias_hh": np.zeros(width, layer.dtype)}
    return Cell(name, w, width)


def _four_blocks(w: dict[str, Array], name: str) -> dict[str, Array]:
    """An LSTM with some of the gates as one with all: f = 1 − σ(a) = σ(−a), and a gate that is 1 has a large bias."""
    gates, coupled = _GATES.get(name, "ifgo"), "coupled" in name
    filled = {}
    for key, blocks in _blocks(w, len(gates)).items():
        found = dict(zip(gates, blocks, strict=True))
        missing = np.full_like(blocks[0], _OPEN if key == "bias_ih" else 0)
        if coupled:
            found["f"] = -found["i"]
        filled[key] = _joined([found.get(gate, missing) for gate in "ifgo"])
    others = {key: value for key, value in w.items() if key not in filled}
    if coupled and "weight_ci" in w:
        others["weight_cf"] = -w["weight_ci"]
    return {**filled, **others}


def _blocks(w: dict[str, Array], n: int) -> dict[str, list[Array]]:
    return {f"{kind}_{side}": np.split(w[f"{kind}_{side}"], n) for kind in ("weight", "bias") for side in ("ih", "hh")}


def _joined(blocks: list[Array]) -> Array:
    return np.concatenate(blocks)


def _one_matrix(w: dict[str, Array], layer: Recurrent) -> dict[str, Array]:
    """The modules of a clockwork cell as one RNN, whose matrix U has zeros where a module sees no other."""
    periods = layer.periods or (1, 2, 4, 8)
    sizes = [len(w[f"weight_hh_m{m}"]) for m in range(sum(name.startswith("weight_hh_m") for name in w))]
    ends, n_inputs = np.cumsum(sizes), w["weight_ih_m0"].shape[1] - sum(sizes[1:])
    recurrent = np.zeros((ends[-1], ends[-1]), layer.dtype)
    for m, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        recurrent[end - size : end, end - size : end] = w[f"weight_hh_m{m}"]
        recurrent[end - size : end, end:] = w[f"weight_ih_m{m}"][:, n_inputs:]
    joined = {"weight_ih": [w[f"weight_ih_m{m}"][:, :n_inputs] for m in range(len(sizes))]}
    for side in ("ih", "hh"):
        joined[f"bias_{side}"] = [w[f"bias_{side}_m{m}"] for m in range(len(sizes)) if f"bias_{side}_m{m}" in w]
    one = {key: _joined(parts) for key, parts in joined.items() if parts}
    ticks = np.repeat(periods[: len(sizes)], sizes).astype(layer.dtype)
    return {**one, "weight_hh": recurrent, "periods": ticks, "cycle": np.lcm.reduce(periods[: len(sizes)])}


# ---- operators ------------------------------------------------------------------------------------------------------


class Operator(NamedTuple):
    """How a cell is one of ONNX's operators: its name, the order of its blocks in ours, and its attributes."""

    name: str
    order: Sequence[int]
    attributes: dict[str, Any]


def operator(name: str, directions: int) -> Operator | None:
    """Return the operator of a cell, None if there is none."""
    if name in LSTMS:
        activations = ["Sigmoid", "Tanh", "Tanh"]
        if name in ("lstm_no_input_activation", "lstm_no_output_activation"):
            activations[1 if "input" in name else 2] = "Affine"
        return Operator("LSTM", (0, 3, 1, 2), _activations(activations, directions))
    if name in GRUS:
        return Operator("GRU", (1, 0, 2), {"linear_before_reset": int(name == "gru")})
    if name == "rnn_hardtanh":  # the identity of an argument that is clipped
        return Operator("RNN", (0,), {**_activations(["Affine"], directions), "clip": 1.0})
    if name in RNNS:
        return Operator("RNN", (0,), {"activations": [RNNS[name].__name__.capitalize()] * directions})
    return None


def _activations(names: list[str], directions: int) -> dict[str, Any]:
    """Attributes of these activations in each direction; Affine, α x + β, is the identity here."""
    n_affine = directions * names.count("Affine")
    if not n_affine:
        return {}
    constants = {"activation_alpha": [1.0] * n_affine, "activation_beta": [0.0] * n_affine}
    return {"activations": names * directions, **constants}


def operator_weights(parts: Sequence[Cell], found: Operator) -> list[Array | None]:
    """W, R, B and, of LSTMs with peepholes, P of the directions of a layer, in the operator's order of blocks."""

    def ordered(key: str, w: dict[str, Array]) -> Array:
        blocks = np.split(w[key], len(found.order))
        return _joined([blocks[k] for k in found.order])

    keys = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    W, R, b, b2 = (np.stack([ordered(key, part.w) for part in parts]) for key in keys)
    peepholes = None
    if any(key in parts[0].w for key in ("weight_ci", "weight_cf", "weight_co")):
        none = np.zeros(parts[0].width, W.dtype)
        peepholes = np.stack([_joined([part.w.get(f"weight_c{k}", none) for k in "iof"]) for part in parts])
    return [W, R, np.concatenate([b, b2], axis=1), peepholes]


# ---- steps for a Scan -----------------------------------------------------------------------------------------------


class Stepped(NamedTuple):
    """What a step gives: the new states, the output, and what the layer above gets beside it."""

    states: tuple[Value, ...]
    y: Value
    upper: Value | None = None


def input_sums(part: Cell, x: Value) -> Value:
    """What a step sees of the inputs of all steps: W x + b, normalised where the cell has it so."""
    sums = x @ part.w["weight_ih"].T
    if "weight_ln_ih" in part.w:
        sums = _normalised(sums, _groups(part)) * part.w["weight_ln_ih"]
    return sums + part.w["bias_ih"]


def _groups(part: Cell) -> list[int]:
    """What a layer-normalised cell normalises together: all gates of an LSTM, of a GRU r and z, and n by itself."""
    return [4 * part.width] if part.name == "lstm_layernorm" else [2 * part.width, part.width]


def _normalised(a: Value, sizes: Sequence[int]) -> Value:
    parts = []
    for part in a.split(sizes):
        centred = part - part.reduce("Mean", -1, keepdims=True)
        variance = (centred * centred).reduce("Mean", -1, keepdims=True)
        parts.append(centred / a.graph("Sqrt", variance + 1e-5))
    return a.graph.concat(parts, -1)


def _sums(part: Cell, x: Value, h: Value) -> Value:
    return x + (h @ part.w["weight_hh"].T + part.w["bias_hh"])


def _seen(w: dict[str, Array], key: str, a: Value, c: Value) -> Value:
    """A gate's sum with its peephole, if it has one."""
    return a + c * w[key] if key in w else a


def _lstm(part: Cell, x: Value, states: Sequence[Value], lower: Value | None) -> Stepped:
    (h, c), w = states, part.w
    a_i, a_f, a_g, a_o = _sums(part, x, h).parts(4, part.width)
    i = sigmoid(_seen(w, "weight_ci", a_i, c))
    f = sigmoid(_seen(w, "weight_cf", a_f, c))
    g = (identity if part.name == "lstm_no_input_activation" else tanh)(a_g)
    c = f * c + i * g
    o = sigmoid(_seen(w, "weight_co", a_o, c))
    h = o * (identity if part.name == "lstm_no_output_activation" else tanh)(c)
    if "weight_hr" in w:
        h = h @ w["weight_hr"].T
    return Stepped((h, c), h)


def _full_gate_recurrence(part: Cell, x: Value, states: Sequence[Value], lower: Value | None) -> Stepped:
    (joined, c), w, H = states, part.w, part.width
    h, gates = joined.split([H, 3 * H])
    a_i, a_f, a_g, a_o = _sums(part, x, h).parts(4, H)
    r_i, r_f, r_o = (gates @ w["weight_gates"].T).parts(3, H)
    i = sigmoid(_seen(w, "weight_ci", a_i + r_i, c))
    f = sigmoid(_seen(w, "weight_cf", a_f + r_f, c))
    c = f * c + i * tanh(a_g)
    o = sigmoid(_seen(w, "weight_co", a_o + r_o, c))
    h = o * tanh(c)
    return Stepped((h.graph.concat([h, i, f, o], -1), c), h)


def _depth_gated(part: Cell, x: Value, states: Sequence[Value], lower: Value | None) -> Stepped:
    (h, c), w, H = states, part.w, part.width
    below = None
    if lower is not None:
        x, a_d = x.split([4 * H, H])
        below = sigmoid(a_d + c * w["weight_cd"] + lower * w["weight_ld"]) * lower
    a_i, a_f, a_g, a_o = _sums(part, x, h).parts(4, H)
    kept = sigmoid(a_f + c * w["weight_cf"]) * c
    c = sigmoid(a_i + c * w["weight_ci"]) * tanh(a_g) + (kept if below is None else below + kept)
    h = sigmoid(a_o + c * w["weight_co"]) * tanh(c)
    return Stepped((h, c), h, c)


def _grid(part: Cell, x: Value, states: Sequence[Value], lower: Value | None) -> Stepped:
    h, c = states
    i, f, g, o, *depth = _sums(part, x, h).parts(7 if lower is None else 8, part.width)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    m = sigmoid(depth[0]) * tanh(depth[-2])
    if lower is not None:
        m = sigmoid(depth[1]) * lower + m
    return Stepped((sigmoid(o) * tanh(c), c), sigmoid(depth[-1]) * tanh(m), m)


def _lstm_layernorm(part: Cell, x: Value, states: Sequence[Value], lower: Value | None) -> Stepped:
    (h, c), w, H = states, part.w, part.width
    sums = _normalised(h @ w["weight_hh"].T, _groups(part)) * w["weight_ln_hh"] + w["bias_hh"]
    a_i, a_f, a_g, a_o = (x + sums).parts(4, H)
    c = sigmoid(a_f) * c + sigmoid(a_i) * tanh(a_g)
    scaled = _normalised(c, [H]) * w["weight_ln_c"]
    h = sigmoid(a_o) * tanh(scaled + w["bias_ln_c"] if "bias_ln_c" in w else scaled)
    return Stepped((h, c), h)


def _gru(part: Cell, x: Value, states: Sequence[Value], lower: Value | None) -> Stepped:
    (h,), w, H = states, part.w, part.width
    x_r, x_z, x_n = x.parts(3, H)
    if part.name in ("gru", "gru_layernorm"):  # the reset gate after the product
        sums = h @ w["weight_hh"].T
        if part.name == "gru_layernorm":
            sums = _normalised(sums, _groups(part)) * w["weight_ln_hh"]
        h_r, h_z, h_n = (sums + w["bias_hh"]).parts(3, H)
        n = tanh(x_n + sigmoid(x_r + h_r) * h_n)
    else:
        (u_r, u_z, u_n), (b_r, b_z, b_n) = np.split(w["weight_hh"], 3), np.split(w["bias_hh"], 3)
        h_z = h @ u_z.T + b_z
        n = tanh(x_n + (sigmoid(x_r + (h @ u_r.T + b_r)) * h @ u_n.T + b_n))
    z = sigmoid(x_z + h_z)
    h = (1 - z) * n + z * h
    return Stepped((h,), h)


def _rnn(part: Cell, x: Value, states: Sequence[Value], lower: Value | None) -> Stepped:
    h = RNNS[part.name](_sums(part, x, states[0]))
    return Stepped((h,), h)


def _residual(part: Cell, x: Value, states: Sequence[Value], lower: Value | None) -> Stepped:
    h = states[0] + tanh(_sums(part, x, states[0]))
    return Stepped((h,), h)


def _clockwork(part: Cell, x: Value, states: Sequence[Value], lower: Value | None) -> Stepped:
    (h, clock), w, graph = states, part.w, x.graph
    idle = graph("Mod", clock, w["periods"], fmod=1) > 0.5
    h = graph.where(idle, h, tanh(_sums(part, x, h)))
    return Stepped((h, graph("Mod", clock + 1, float(w["cycle"]), fmod=1)), h)


Step = Callable[[Cell, Value, Sequence[Value], "Value | None"], Stepped]
STEPS: dict[str, Step] = {
    **dict.fromkeys(LSTMS, _lstm),
    **dict.fromkeys((*GRUS, "gru_layernorm"), _gru),
    **dict.fromkeys(RNNS, _rnn),
    "lstm_full_gate_recurrence": _full_gate_recurrence,
    "lstm_depth_gated": _depth_gated,
    "grid_lstm": _grid,
    "lstm_layernorm": _lstm_layernorm,
    "rnn_residual": _residual,
    "rnn_clockwork": _clockwork,
}
