"""Every cell in plain float64 NumPy: one equation a line, loops over time, nothing clever.

`w` holds one cell's parameters by their short names; absent biases are zero; `mask` is what U sees h multiplied with.
All functions also take complex arrays, so
that a derivative is the imaginary part of one evaluation at x + 1e-30 i: exact, with no difference taken
(Squire & Trapp 1998). Comparisons therefore look at real parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from noise import Noise

Array = np.ndarray
Weights = Mapping[str, Array]


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def relu(a: Array) -> Array:
    return np.where(a.real > 0, a, 0)


def hardtanh(a: Array) -> Array:
    return np.where(a.real > 1, 1, np.where(a.real < -1, -1, a))


def identity(a: Array) -> Array:
    return a


def split(a: Array, parts: int) -> list[Array]:
    return np.split(a, parts, axis=-1)


def inputs_and_recurrence(w: Weights, x: Array, h: Array) -> Array:
    return x @ w["weight_ih"].T + w["bias_ih"] + (w["mask"] * h) @ w["weight_hh"].T + w["bias_hh"]


def projected(w: Weights, h: Array) -> Array:
    return h @ w["weight_hr"].T if "weight_hr" in w else h


# One step of each cell: (w, x [B, I], state) -> new state, whose first part is the output.


def lstm(w, x, state):
    h, c = state
    a_i, a_f, a_g, a_o = split(inputs_and_recurrence(w, x, h), 4)
    i = sigmoid(a_i)
    f = sigmoid(a_f)
    g = np.tanh(a_g)
    o = sigmoid(a_o)
    c = f * c + i * g
    return projected(w, o * np.tanh(c)), c


def lstm_peephole(w, x, state):
    h, c = state
    a_i, a_f, a_g, a_o = split(inputs_and_recurrence(w, x, h), 4)
    i = sigmoid(a_i + w.get("weight_ci", 0) * c)
    f = sigmoid(a_f + w.get("weight_cf", 0) * c)
    g = np.tanh(a_g)
    c = f * c + i * g
    o = sigmoid(a_o + w.get("weight_co", 0) * c)
    return projected(w, o * np.tanh(c)), c


def lstm_coupled(w, x, state):
    h, c = state
    a_i, a_g, a_o = split(inputs_and_recurrence(w, x, h), 3)
    i = sigmoid(a_i)
    f = 1 - i
    g = np.tanh(a_g)
    o = sigmoid(a_o)
    c = f * c + i * g
    return projected(w, o * np.tanh(c)), c


def lstm_coupled_peephole(w, x, state):
    h, c = state
    a_i, a_g, a_o = split(inputs_and_recurrence(w, x, h), 3)
    i = sigmoid(a_i + w.get("weight_ci", 0) * c)
    f = 1 - i
    g = np.tanh(a_g)
    c = f * c + i * g
    o = sigmoid(a_o + w.get("weight_co", 0) * c)
    return projected(w, o * np.tanh(c)), c


def ablated(w, x, state, missing="", g_is=np.tanh, out_is=np.tanh):
    """The LSTM without some gates or with other activations (Greff et al. 2015); absent peepholes are zero."""
    h, c = state
    present = [gate for gate in "ifgo" if gate not in missing]
    a = dict(zip(present, split(inputs_and_recurrence(w, x, h), len(present)), strict=True))

    def gate(name, seen):
        return sigmoid(a[name] + w.get(f"weight_c{name}", 0) * seen) if name in a else 1

    c_new = gate("f", c) * c + gate("i", c) * g_is(a["g"])
    return gate("o", c_new) * out_is(c_new), c_new


def lstm_no_input_gate(w, x, state):
    return ablated(w, x, state, missing="i")


def lstm_no_forget_gate(w, x, state):
    return ablated(w, x, state, missing="f")


def lstm_no_output_gate(w, x, state):
    return ablated(w, x, state, missing="o")


def lstm_no_input_activation(w, x, state):
    return ablated(w, x, state, g_is=identity)


def lstm_no_output_activation(w, x, state):
    return ablated(w, x, state, out_is=identity)


def lstm_full_gate_recurrence(w, x, state):
    joined, c = state
    h, *gates = split(w["mask"] * joined, 4)
    a_i, a_f, a_g, a_o = split(inputs_and_recurrence({**w, "mask": 1.0}, x, h), 4)
    r_i, r_f, r_o = split(np.concatenate(gates, axis=-1) @ w["weight_gates"].T, 3)
    i = sigmoid(a_i + r_i + w.get("weight_ci", 0) * c)
    f = sigmoid(a_f + r_f + w.get("weight_cf", 0) * c)
    c = f * c + i * np.tanh(a_g)
    o = sigmoid(a_o + r_o + w.get("weight_co", 0) * c)
    return np.concatenate([o * np.tanh(c), i, f, o], axis=-1), c


def gru(w, x, state):
    (h,) = state
    x_r, x_z, x_n = split(x @ w["weight_ih"].T + w["bias_ih"], 3)
    h_r, h_z, h_n = split((w["mask"] * h) @ w["weight_hh"].T + w["bias_hh"], 3)
    r = sigmoid(x_r + h_r)
    z = sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * h,)


def gru_reset_before(w, x, state):
    (h,) = state
    x_r, x_z, x_n = split(x @ w["weight_ih"].T + w["bias_ih"], 3)
    u_r, u_z, u_n = np.split(w["weight_hh"], 3)
    b_r, b_z, b_n = split(w["bias_hh"], 3)
    seen = w["mask"] * h
    r = sigmoid(x_r + seen @ u_r.T + b_r)
    z = sigmoid(x_z + seen @ u_z.T + b_z)
    n = np.tanh(x_n + (r * seen) @ u_n.T + b_n)
    return ((1 - z) * n + z * h,)


def mgu(w, x, state):
    (h,) = state
    x_f, x_n = split(x @ w["weight_ih"].T + w["bias_ih"], 2)
    u_f, u_n = np.split(w["weight_hh"], 2)
    b_f, b_n = split(w["bias_hh"], 2)
    seen = w["mask"] * h
    f = sigmoid(x_f + seen @ u_f.T + b_f)
    n = np.tanh(x_n + (f * seen) @ u_n.T + b_n)
    return ((1 - f) * h + f * n,)


def normalised(a: Array, sizes: list[int]) -> Array:
    """Groups of columns, each normalised over all of itself (Ba, Kiros & Hinton 2016)."""
    groups = np.split(a, np.cumsum(sizes)[:-1], axis=-1)
    centred = [group - group.mean(axis=-1, keepdims=True) for group in groups]
    return np.concatenate([c / np.sqrt((c**2).mean(axis=-1, keepdims=True) + 1e-5) for c in centred], axis=-1)


def lstm_layernorm(w, x, state):
    h, c = state
    x_sums = w["weight_ln_ih"] * normalised(x @ w["weight_ih"].T, [4 * c.shape[1]]) + w["bias_ih"]
    h_sums = w["weight_ln_hh"] * normalised((w["mask"] * h) @ w["weight_hh"].T, [4 * c.shape[1]]) + w["bias_hh"]
    a_i, a_f, a_g, a_o = split(x_sums + h_sums, 4)
    c = sigmoid(a_f) * c + sigmoid(a_i) * np.tanh(a_g)
    return sigmoid(a_o) * np.tanh(w["weight_ln_c"] * normalised(c, [c.shape[1]]) + w.get("bias_ln_c", 0)), c


def gru_layernorm(w, x, state):
    (h,) = state
    groups = [2 * h.shape[1], h.shape[1]]  # r and z together, n by itself
    x_r, x_z, x_n = split(w["weight_ln_ih"] * normalised(x @ w["weight_ih"].T, groups) + w["bias_ih"], 3)
    h_sums = w["weight_ln_hh"] * normalised((w["mask"] * h) @ w["weight_hh"].T, groups) + w["bias_hh"]
    h_r, h_z, h_n = split(h_sums, 3)
    r = sigmoid(x_r + h_r)
    z = sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * h,)


def rnn_tanh(w, x, state):
    (h,) = state
    return (np.tanh(inputs_and_recurrence(w, x, h)),)


def rnn_relu(w, x, state):
    (h,) = state
    return (relu(inputs_and_recurrence(w, x, h)),)


def rnn_hardtanh(w, x, state):
    (h,) = state
    return (hardtanh(inputs_and_recurrence(w, x, h)),)


def rnn_residual(w, x, state):
    (h,) = state
    return (h + np.tanh(inputs_and_recurrence(w, x, h)),)


class Linked(tuple):
    """A new state, what the layer above gets of it beside y, and y where that is not h."""

    def __new__(cls, state: tuple, upper: Array, y: Array | None = None) -> Linked:
        self = super().__new__(cls, state)
        self.upper, self.y = upper, state[0] if y is None else y
        return self


# Linked cells also take `lower`, which the layer below hands up; None in the lowest layer.


def lstm_depth_gated(w, x, state, lower):
    h, c = state
    x_sums = x @ w["weight_ih"].T + w["bias_ih"]
    h_sums = (w["mask"] * h) @ w["weight_hh"].T + w["bias_hh"]
    a_i, a_f, a_g, a_o = split(x_sums[:, : h_sums.shape[1]] + h_sums, 4)
    i = sigmoid(a_i + w["weight_ci"] * c)
    f = sigmoid(a_f + w["weight_cf"] * c)
    g = np.tanh(a_g)
    below = 0
    if lower is not None:
        d = sigmoid(x_sums[:, h_sums.shape[1] :] + w["weight_cd"] * c + w["weight_ld"] * lower)
        below = d * lower
    c = below + f * c + i * g
    o = sigmoid(a_o + w["weight_co"] * c)
    return Linked((o * np.tanh(c), c), c)


def grid_lstm(w, x, state, lower):
    h, c = state
    sums = split(inputs_and_recurrence(w, x, h), 7 if lower is None else 8)
    i, f, g, o = sigmoid(sums[0]), sigmoid(sums[1]), np.tanh(sums[2]), sigmoid(sums[3])
    c = f * c + i * g
    h = o * np.tanh(c)
    i, g, o = sigmoid(sums[4]), np.tanh(sums[-2]), sigmoid(sums[-1])
    m = i * g if lower is None else sigmoid(sums[5]) * lower + i * g
    return Linked((h, c), m, o * np.tanh(m))


def rnn_clockwork(w, x, state):
    h, clock = state
    modules = sum(name.startswith("weight_hh_m") for name in w)
    ends = np.cumsum([len(w[f"weight_hh_m{m}"]) for m in range(modules)])
    parts = []
    for m, (period, end) in enumerate(zip(w.get("periods", (1, 2, 4, 8)), ends, strict=False)):
        old = h[:, end - len(w[f"weight_hh_m{m}"]) : end]
        zero = np.zeros(old.shape[1])
        sums = np.concatenate([x, h[:, end:]], axis=1) @ w[f"weight_ih_m{m}"].T + w.get(f"bias_ih_m{m}", zero)
        sums = sums + old @ w[f"weight_hh_m{m}"].T + w.get(f"bias_hh_m{m}", zero)
        parts.append(np.where(clock.real % period == 0, np.tanh(sums), old))
    longest = np.lcm.reduce(w.get("periods", (1, 2, 4, 8))[:modules])
    return np.concatenate(parts, axis=1), (clock.real + 1) % longest


def indrnn(w, x, state, phi=relu):
    (h,) = state
    return (phi(x @ w["weight_ih"].T + w["bias_ih"] + w["weight_hh"] * (w["mask"] * h)),)


def indrnn_tanh(w, x, state):
    return indrnn(w, x, state, np.tanh)


CELLS: dict[str, Callable] = {
    step.__name__: step
    for step in (
        lstm,
        lstm_peephole,
        lstm_coupled,
        lstm_coupled_peephole,
        lstm_no_input_gate,
        lstm_no_forget_gate,
        lstm_no_output_gate,
        lstm_no_input_activation,
        lstm_no_output_activation,
        lstm_full_gate_recurrence,
        gru,
        gru_reset_before,
        mgu,
        lstm_layernorm,
        gru_layernorm,
        rnn_tanh,
        rnn_relu,
        rnn_hardtanh,
        rnn_residual,
        lstm_depth_gated,
        grid_lstm,
        rnn_clockwork,
        indrnn,
        indrnn_tanh,
    )
}
LINKED = ("lstm_depth_gated", "grid_lstm")


def cell_weights(parameters: Weights, layer: int, direction: int) -> dict[str, Array]:
    """The parameters of one cell of a stack by their short names, with zeros for absent biases."""
    suffix = f"_l{layer}" + "_reverse" * direction
    w = {name.removesuffix(suffix): value for name, value in parameters.items() if name.endswith(suffix)}
    zeros = {f"bias_{side}": np.zeros(len(w.get(f"weight_{side}", ()))) for side in ("ih", "hh")}
    return {**zeros, "mask": 1.0, **w}


def reversed_sequences(x: Array, lengths: Array) -> Array:
    """Each sequence from its own end to its start; padding stays where it is."""
    result = x.copy()
    for b, length in enumerate(lengths):
        result[:length, b] = x[:length, b][::-1]
    return result


def run_cell(
    step: Callable,
    w: Weights,
    x: Array,
    state: tuple,
    lengths: Array,
    kept: list[Array] | None = None,
    link: list[Array | None] | None = None,
) -> tuple[Array, tuple]:
    """One cell over time: x [T, B, I] to y [T, B, P], zero beyond each length, and the state after each last step.

    kept: for each state the share [T, B, width] of the old one that zoneout keeps.
    link: of a linked cell, what comes from below at each step; it is replaced by what goes up.
    """
    outputs = []
    for t in range(len(x)):
        alive = (t < lengths)[:, None]
        found = new = step(w, x[t], state) if link is None else step(w, x[t], state, link[t])
        if kept is not None:
            new = tuple(k[t] * old + (1 - k[t]) * s for k, old, s in zip(kept, state, new, strict=True))
        state = tuple(np.where(alive, after, before) for after, before in zip(new, state, strict=True))
        parts = 4 if "weight_gates" in w else 1  # of h, which are the output and what else the next step sees
        own_output = isinstance(found, Linked) and found.y is not found[0]
        outputs.append(np.where(alive, found.y if own_output else split(new[0], parts)[0], 0))
        if link is not None:
            link[t] = found.upper
    return np.stack(outputs), state


def run(
    cell: str,
    parameters: Weights,
    x: Array,
    states: tuple,
    lengths: Array | None = None,
    num_layers: int = 1,
    bidirectional: bool = False,
    noise: Noise | None = None,
) -> tuple[Array, tuple]:
    """A stack: x [T, B, I], states each [num_layers * directions, B, width] to y [T, B, D*P] and the new states."""
    lengths = np.full(x.shape[1], len(x)) if lengths is None else np.asarray(lengths)
    finals = []
    links = [[None] * len(x) for _ in range(2)] if cell in LINKED else [None, None]
    for layer in range(num_layers):
        outputs = []
        for direction in range(2 if bidirectional else 1):
            k = len(finals)
            w = cell_weights(parameters, layer, direction)
            turned = (lambda a: reversed_sequences(a, lengths)) if direction else (lambda a: a)
            initial, kept = tuple(state[k] for state in states), None
            if noise is not None:
                w["mask"] = noise.mask(k, initial[0].shape[1])
                kept = [turned(noise.kept(k, j, part.shape[1])) for j, part in enumerate(initial)]
            y, final = run_cell(CELLS[cell], w, turned(x), initial, lengths, kept, links[direction])
            outputs.append(turned(y))
            finals.append(final)
        x = np.concatenate(outputs, axis=-1)
    return x, tuple(np.stack(parts) for parts in zip(*finals, strict=True))
