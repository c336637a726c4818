"""LSTM, GRU and RNN nodes of ONNX as layers.

A node in a standard form is a registered cell: the same kernel and the same bits as any other layer, and it can be
trained. A node with other activations, or with a clip, is the same cell with its activations chosen at run time, for
inference.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._recurrent import Recurrent
from lstmcore._validation import Array
from lstmcore.interop._onnx_nodes import reverse_steps

if TYPE_CHECKING:
    from lstmcore.interop._onnx_program import Node

Chosen = list[tuple[Any, ...]]  # (name, α, β) of each activation of a direction, the numbers that it takes alone

# An activation's number in the core (Kind in cells/general.hpp), and the α and β that it takes, with what they are when
# a node does not say; None: it must.
_ACTIVATIONS: dict[str, tuple[int, tuple[float | None, ...]]] = {
    "affine": (0, (None, None)),
    "relu": (1, ()),
    "leakyrelu": (2, (0.01,)),
    "thresholdedrelu": (3, (1.0,)),
    "scaledtanh": (4, (None, None)),
    "tanh": (4, ()),  # a scaled one, with α = β = 1
    "sigmoid": (5, ()),
    "hardsigmoid": (6, (0.2, 0.5)),
    "softsign": (7, ()),
    "softplus": (8, ()),
    "elu": (9, (1.0,)),
}
_DEFAULTS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# Blocks of ONNX in the order of torch: i o f c to i f g o, z r h to r z n.
_ORDER = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}
_COUPLED = [0, 3, 1]  # i g o
_DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
_SATURATED = 709.0  # beyond it neither sigmoid nor tanh changes, so that a clip there bounds nothing

_ATTRIBUTES = {"activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout"}
_OWN_ATTRIBUTES = {"LSTM": {"input_forget"}, "GRU": {"linear_before_reset"}, "RNN": set()}
# The inputs that are weights, by their places; the others are given to a call.
WEIGHTS = {1: "W", 2: "R", 3: "B", 7: "P"}


def weights_of(node: Node) -> dict[str, str]:
    """Return the names of the values that are the node's W, R, B and P, as far as it has them."""
    return {WEIGHTS[place]: name for place, name in enumerate(node.inputs) if place in WEIGHTS and name}


class GeneralRecurrent(Recurrent):
    """A layer whose activations are chosen at run time: for inference.

    Parameters
    ----------
    cell : str
        The cell that it would be with sigmoid and tanh.
    input_size, hidden_size, bias, batch_first, bidirectional, dtype
        As in `Recurrent`.
    activations : list of list of (name, alpha, beta)
        Of each direction: of the gates, the candidate and the memory, as far as the cell has them. alpha and beta only
        where the function takes them.
    clip : float
        What the gates and the candidate sum up is cut off at plus and minus this.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        activations: list[Chosen],
        clip: float = math.inf,
        *,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        dtype: Any = "float32",
    ) -> None:
        self.activations, self.clip = activations, clip
        self._activations: list[float] = []
        for chosen in activations:
            self._activations.append(clip)
            for name, *numbers in chosen:
                self._activations += [_ACTIVATIONS[name][0], *[*numbers, 1.0, 1.0][:2]]
        super().__init__(
            cell, input_size, hidden_size, 1, bias, batch_first, bidirectional=bidirectional, dtype=dtype, seed=0
        )


class RecurrentNode:
    """An LSTM, GRU or RNN node with its weights: a function of X, sequence_lens, initial_h and initial_c.

    Parameters
    ----------
    node : Node
        The node.
    weights : dict of str to ndarray
        W, R and, where the node has them, B and P.
    """

    def __init__(self, node: Node, weights: dict[str, Array]) -> None:
        self._op, attributes = node.op, node.attributes
        unknown = sorted(set(attributes) - _ATTRIBUTES - _OWN_ATTRIBUTES[node.op])
        if unknown:
            raise ValueError(f"{node} has the attribute {unknown[0]!r}, which cannot be mapped")
        direction = check.choice(attributes.get("direction", "forward"), f"direction of {node}", _DIRECTIONS)
        self._reverse, self._directions = direction == "reverse", _DIRECTIONS[direction]
        self._batch_first = bool(attributes.get("layout", 0))
        self._check_shapes(node, weights)
        chosen, clip = _activations(node, self._directions), attributes.get("clip", math.inf)
        if not clip >= 0:
            raise ValueError(f"clip of {node} must be 0 or more, got {clip!r}")
        cell, dtype = _cell(node, "P" in weights), np.float64 if weights["W"].dtype == np.float64 else np.float32
        options: dict[str, Any] = {
            "input_size": weights["W"].shape[2],
            "hidden_size": weights["R"].shape[2],
            "bias": "B" in weights,
            "batch_first": self._batch_first,
            "bidirectional": self._directions == 2,
            "dtype": dtype,
        }
        self.layer: Recurrent
        if clip >= _SATURATED and chosen == [[(name,) for name in _DEFAULTS[node.op]]] * self._directions:
            self.layer = Recurrent(cell, **options, seed=0)
        elif clip == math.inf and node.op == "RNN" and chosen == [[("relu",)]] * self._directions:
            self.layer = Recurrent("rnn_relu", **options, seed=0)
        else:
            self.layer = GeneralRecurrent(cell, activations=chosen, clip=clip, **options)
        self.layer.load_parameters(_parameters(node, {name: value.astype(dtype) for name, value in weights.items()}))

    def _check_shapes(self, node: Node, weights: dict[str, Array]) -> None:
        D, G = self._directions, _GATES[node.op]
        for name in ("W", "R"):
            if name not in weights or weights[name].ndim != 3:
                found = weights[name].shape if name in weights else "none"
                raise ValueError(f"{name} of {node} must have 3 dimensions, got {found}")
        H, inputs = weights["R"].shape[2], weights["W"].shape[2]
        if node.attributes.get("hidden_size", H) != H:
            raise ValueError(f"hidden_size of {node} is {node.attributes['hidden_size']}, but R is for {H}")
        shapes = {"W": (D, G * H, inputs), "R": (D, G * H, H), "B": (D, 2 * G * H), "P": (D, 3 * H)}
        for name, value in weights.items():
            if value.shape != shapes[name] or value.dtype.kind != "f":
                raise ValueError(
                    f"{name} of {node} must be of floating point and of shape {shapes[name]}, "
                    f"got {value.dtype} and {value.shape}"
                )

    def __call__(
        self,
        x: Array,
        sequence_lens: Array | None = None,
        initial_h: Array | None = None,
        initial_c: Array | None = None,
    ) -> tuple[Array, ...]:
        """Compute Y, Y_h and, of an LSTM, Y_c."""
        layer = self.layer
        x = check.shaped(x, "X", "[B, T, I]" if self._batch_first else "[T, B, I]")
        steps, batch = x.shape[1::-1] if self._batch_first else x.shape[:2]
        lengths = _lengths(sequence_lens, steps, batch)
        states = [self._initial(initial_h, "initial_h", batch)]
        if self._op == "LSTM":
            states.append(self._initial(initial_c, "initial_c", batch))
        if lengths is None or lengths.all():
            y, final = self._run(x, lengths, states)
        else:  # a row without steps ends where it began
            rows = np.flatnonzero(lengths)
            y = np.zeros((*x.shape[:2], layer.output_size), layer.dtype)
            final = [state.copy() for state in states]
            if len(rows):
                some = x.take(rows, 0 if self._batch_first else 1)
                found, ends = self._run(some, lengths[rows], [state[:, rows] for state in states])
                y[(rows if self._batch_first else (slice(None), rows))] = found
                for state, end in zip(final, ends, strict=True):
                    state[:, rows] = end
        y = y.reshape(*y.shape[:2], self._directions, layer.hidden_size)
        y = y if self._batch_first else y.swapaxes(1, 2)
        return tuple(out.astype(x.dtype, copy=False) for out in (y, *map(self._outside, final)))

    def _run(self, x: Array, lengths: Array | None, states: list[Array]) -> tuple[Array, list[Array]]:
        if self._reverse:
            x = self._reversed(x, lengths)
        y, final = self.layer(x, tuple(states) if len(states) == 2 else states[0], lengths)
        return self._reversed(y, lengths) if self._reverse else y, list(final) if len(states) == 2 else [final]

    def _reversed(self, x: Array, lengths: Array | None) -> Array:
        if self._batch_first:
            return reverse_steps(x.swapaxes(0, 1), lengths).swapaxes(0, 1)
        return reverse_steps(x, lengths)

    def _initial(self, state: Array | None, name: str, batch: int) -> Array:
        D, H = self._directions, self.layer.hidden_size
        if state is None:
            return np.zeros((D, batch, H), self.layer.dtype)
        shape, axes = ((batch, D, H), "[B, D, H]") if self._batch_first else ((D, batch, H), "[D, B, H]")
        return self._outside(check.exact_shape(state, name, shape, axes)).astype(self.layer.dtype, copy=False)

    def _outside(self, state: Array) -> Array:
        """[D, B, H] to the node's layout, and back."""
        return state.swapaxes(0, 1) if self._batch_first else state


def _cell(node: Node, peepholes: bool) -> str:
    if node.op == "RNN":
        return "rnn_tanh"
    if node.op == "GRU":
        return "gru" if node.attributes.get("linear_before_reset", 0) else "gru_reset_before"
    return f"lstm{'_coupled' * bool(node.attributes.get('input_forget', 0))}{'_peephole' * peepholes}"


def _activations(node: Node, directions: int) -> list[Chosen]:
    """Return what each direction's activations are."""
    default = _DEFAULTS[node.op]
    names = list(node.attributes.get("activations", default * directions))
    if len(names) != len(default) * directions:
        raise ValueError(f"activations of {node} must be {len(default) * directions} names, got {names}")
    given = {symbol: list(node.attributes.get(f"activation_{symbol}", ())) for symbol in ("alpha", "beta")}
    chosen: Chosen = []
    for name in names:
        function, numbers = check.choice(name.lower(), f"activation of {node}", _ACTIVATIONS), []
        for (symbol, queue), usual in zip(given.items(), _ACTIVATIONS[function][1], strict=False):
            value = queue.pop(0) if queue else usual  # in the order of the functions that take one
            if value is None:
                raise ValueError(f"{node} must give activation_{symbol} of {name!r}")
            numbers.append(float(value))
        chosen.append((function, *numbers))
    for symbol, queue in given.items():
        if queue:
            raise ValueError(f"activation_{symbol} of {node} has {len(queue)} more than its activations take")
    return [chosen[k : k + len(default)] for k in range(0, len(chosen), len(default))]


def _parameters(node: Node, weights: dict[str, Array]) -> dict[str, Array]:
    """Return the node's weights under torch's names and in torch's order."""
    coupled = bool(node.attributes.get("input_forget", 0))
    order, blocks = _COUPLED if coupled else _ORDER[node.op], _GATES[node.op]
    result: dict[str, Array] = {}

    def put(name: str, value: Array) -> None:  # value: [blocks H, ...]
        result[name] = np.concatenate([np.split(value, blocks)[k] for k in order])

    for d in range(len(weights["W"])):
        end = "_l0_reverse" if d else "_l0"
        put(f"weight_ih{end}", weights["W"][d])
        put(f"weight_hh{end}", weights["R"][d])
        if "B" in weights:
            for name, bias in zip(("bias_ih", "bias_hh"), np.split(weights["B"][d], 2), strict=True):
                put(f"{name}{end}", bias)
        if "P" in weights:
            peepholes = dict(zip("iof", np.split(weights["P"][d], 3), strict=True))
            result |= {f"weight_c{gate}{end}": peepholes[gate] for gate in ("io" if coupled else "ifo")}
    return result


def _lengths(sequence_lens: Array | None, steps: int, batch: int) -> Array | None:
    """Return the lengths as int64, None where all rows have all steps."""
    if sequence_lens is None:
        return None
    lengths = check.exact_shape(sequence_lens, "sequence_lens", (batch,), "[B]")
    if lengths.dtype.kind not in "iu" or lengths.min() < 0 or lengths.max() > steps:
        raise ValueError(f"sequence_lens must be integers from 0 to T={steps}, got {lengths.tolist()}")
    return None if lengths.min() == steps else lengths.astype(np.int64)
