"""Layers and networks as nodes: recurrent stacks, embedding, pooling, dense. Time-major inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lstmcore._recurrent import Recurrent
from lstmcore._validation import Array
from lstmcore.interop import _onnx_cells as cells
from lstmcore.interop._onnx_graph import Graph, Value, hardtanh, identity, relu, tanh
from lstmcore.network import Dense, Network
from lstmcore.time_delay import TimeDelay

_ENDLESS = np.array([np.iinfo(np.int64).max])  # lengths that are not given: all steps
_PHI = {"tanh": tanh, "relu": relu, "hardtanh": hardtanh, "linear": identity}


class Steps(NamedTuple):
    """Which steps there are.

    Attributes
    ----------
    batch : Value
        B as int64 [1].
    lengths : Value
        Steps of each sequence, int64 [B].
    alive : Value
        Whether a step is one of its sequence, bool [T, B, 1].
    """

    batch: Value
    lengths: Value
    alive: Value

    @classmethod
    def of(cls, x: Value, lengths: Value) -> Steps:
        """Those of time-major x [T, B, ...] and lengths [B] or [1]; longer ones are cut."""
        graph, n_steps, batch = x.graph, x.size(0), x.size(1)
        # Expanded first: ONNX Runtime reuses memory of what it takes for [B], which a default of one length is not.
        lengths = graph("Min", lengths.expand(batch), n_steps)
        return cls(batch, lengths, graph.range(n_steps).expand_dims(1, 2) < lengths.expand_dims(0, 2))

    @classmethod
    def declared(cls, graph: Graph, x: Value) -> Steps:
        """Those of time-major x, with an input for the lengths that may be left out."""
        return cls.of(x, graph.input("lengths", np.int64, ["batch"], _ENDLESS))

    def last(self, values: Value) -> Value:
        """The entries [B, W] of values [T, B, W] at the last step of each sequence."""
        return values.at((self.lengths - 1).expand_dims(1)).squeeze(1)


# ---- recurrent layers -----------------------------------------------------------------------------------------------


def check_layer(layer: Recurrent) -> None:
    """Raise ValueError for a layer that ONNX cannot take."""
    if not isinstance(layer, TimeDelay) and layer.cell not in cells.STEPS:
        raise ValueError(f"cell {layer.cell!r} has no form in ONNX; these have: {', '.join(cells.STEPS)}, tdnn_*")
    if getattr(layer, "_activations", ()):
        raise ValueError(f"{layer!r} came from ONNX, with activations that no cell here has: keep that model")
    if getattr(layer, "weight_dtype", None) is not None:
        raise ValueError(
            f"weight_dtype={layer.weight_dtype!r} has no counterpart in ONNX: export the layer with weight_dtype=None"
        )


def state_names(layer: Recurrent) -> list[tuple[str, str]]:
    """Names of the initial and the final state of each kind: ("h0", "h_n"), ("c0", "c_n")."""
    return [(f"{symbol}0", f"{symbol}_n") for symbol in layer._states.widths]


def declared_states(graph: Graph, layer: Recurrent, steps: Steps) -> list[Value]:
    """Inputs for the states before the first step, which are zero if left out."""
    states = []
    for (name, _), width in zip(state_names(layer), layer._states.widths.values(), strict=True):
        shape = (layer._states.count, 1, width)
        given = graph.input(name, layer.dtype, [shape[0], "batch", width], np.zeros(shape, layer.dtype))
        states.append(given.expand(shape[0], steps.batch, width))
    return states


def output_states(graph: Graph, layer: Recurrent, states: Sequence[Value]) -> None:
    """Declare the states after the last step as outputs."""
    widths = layer._states.widths.values()
    for (_, name), state, width in zip(state_names(layer), states, widths, strict=True):
        graph.output(name, state, [layer._states.count, "batch", width])


def recurrent(layer: Recurrent, x: Value, states: list[Value], steps: Steps) -> tuple[Value, list[Value]]:
    """A layer: x [T, B, I] and states [layers · directions, B, width] to y [T, B, width] and the states at the end.

    y is zero beyond each length.
    """
    if isinstance(layer, TimeDelay):
        return _time_delay(layer, x, states, steps)
    if layer.cell == "rnn_clockwork":
        states = [states[0], x.graph("Round", states[1])]
    directions = 2 if layer.bidirectional else 1
    found = cells.operator(layer.cell, directions)
    if layer.dtype != np.float32 or layer.proj_size or layer.zoneout:
        found = None  # runtimes have these operators in float32; ONNX has neither projections nor expectations
    finals: list[list[Value]] = []
    lower: list[Value | None] = [None] * directions
    for index in range(layer.num_layers):
        parts = [cells.cell(layer, index, direction) for direction in range(directions)]
        first = index * directions
        before = [s.slice(0, first, first + directions) for s in states] if layer.num_layers > 1 else states
        if found is not None:
            x, after = _operated(found, parts, x, before, steps)
        else:
            x, after = _scanned(layer, parts, x, before, steps, lower)
        finals.append(after)
    return x, [x.graph.concat(list(each), 0) for each in zip(*finals, strict=True)]


def _operated(
    found: cells.Operator, parts: list[cells.Cell], x: Value, states: list[Value], steps: Steps
) -> tuple[Value, list[Value]]:
    """One layer by ONNX's own operator."""
    graph, n = x.graph, len(parts)
    W, R, B, P = cells.operator_weights(parts, found)
    options = {**found.attributes, "hidden_size": parts[0].width, "direction": "bidirectional" if n > 1 else "forward"}
    peepholes = [] if P is None else [P]
    lengths = steps.lengths.cast(np.int32)
    y, *final = graph.nodes(found.name, 1 + len(states), x, W, R, B, lengths, *states, *peepholes, **options)
    if n == 1:
        return y.squeeze(1), final
    return y.transpose(0, 2, 1, 3).reshape(0, 0, n * parts[0].width), final


def _scanned(
    layer: Recurrent,
    parts: list[cells.Cell],
    x: Value,
    states: list[Value],
    steps: Steps,
    lower: list[Value | None],
) -> tuple[Value, list[Value]]:
    """One layer by a Scan in each direction; `lower`, which linked cells get from below, is replaced."""
    graph, run, kept = x.graph, cells.STEPS[layer.cell], layer.zoneout
    ys, finals = [], []
    for direction, part in enumerate(parts):
        below = lower[direction]
        sequences = [cells.input_sums(part, x), steps.alive, *([] if below is None else [below])]

        def step(
            before: list[Value], seen: list[Value], part: cells.Cell = part
        ) -> tuple[Sequence[Value], Sequence[Value]]:
            sums, alive, *rest = seen
            found = run(part, sums, before, rest[0] if rest else None)
            after, y = list(found.states), found.y
            if kept:  # the expectation of zoneout
                after = [old * kept + new * (1 - kept) for old, new in zip(before, after, strict=True)]
                if layer.cell == "lstm_full_gate_recurrence":
                    y = after[0].split([part.width, 3 * part.width])[0]
                elif layer.cell != "grid_lstm":  # whose output is not its state
                    y = after[0]
            after = [graph.where(alive, new, old) for old, new in zip(before, after, strict=True)]
            upper = [] if found.upper is None else [found.upper]
            return after, [graph.where(alive, y, 0.0), *upper]

        before = [state.slice(0, direction, direction + 1).squeeze(0) for state in states]
        final, (y, *upper) = graph.scan(step, before, sequences, reverse=direction == 1)
        lower[direction] = upper[0] if upper else None
        ys.append(y)
        finals.append([state.expand_dims(0) for state in final])
    return graph.concat(ys, -1), [graph.concat(list(each), 0) for each in zip(*finals, strict=True)]


def _time_delay(layer: TimeDelay, x: Value, states: list[Value], steps: Steps) -> tuple[Value, list[Value]]:
    """Shifted copies of the inputs, the remembered ones before them; the state is (latest output, latest inputs)."""
    graph, depth = x.graph, max(layer.delays)
    n_steps, remembered = x.size(0), []
    sizes = [depth * (layer.hidden_size if index else layer.input_size) for index in range(layer.num_layers)]
    before = states[1].squeeze(0).split(sizes) if depth else []
    for index in range(layer.num_layers):
        width = layer.hidden_size if index else layer.input_size
        known = x
        if depth:
            oldest_first = before[index].reshape(-1, depth, width).transpose(1, 0, 2).slice(0, depth, -depth - 1, -1)
            known = graph.concat([oldest_first, x], 0)
            latest = graph.constant(np.arange(depth - 1, -1, -1)) + steps.lengths.expand_dims(1)
            remembered.append(known.at(latest).reshape(-1, sizes[index]))
        weight = layer.parameters[f"weight_ih_l{index}"]
        sums = None
        for k, delay in enumerate(layer.delays):
            start = depth - delay
            term = known.slice(0, start, n_steps + start) @ weight[:, k].T
            sums = term if sums is None else sums + term
        assert sums is not None
        if layer.bias:
            sums = sums + layer.parameters[f"bias_ih_l{index}"]
        x = _PHI[layer.nonlinearity](sums)
    after = graph.concat(remembered, 1).expand_dims(0) if depth else states[1]
    return graph.where(steps.alive, x, 0.0), [steps.last(x).expand_dims(0), after]


# ---- around them ----------------------------------------------------------------------------------------------------


def dense(layer: Dense, x: Value) -> Value:
    """Return x Wᵀ + b."""
    y = x @ layer.parameters["weight"].T
    return y + layer.parameters["bias"] if layer.bias else y


def last(layer: Recurrent, y: Value, final: list[Value], steps: Steps) -> Value:
    """What the head sees with pooling "last" [B, width]: the last state, or the last output where that is another."""
    directions = 2 if layer.bidirectional else 1
    if not layer.own_output:
        top = final[0].slice(0, layer._states.count - directions, layer._states.count)
        return y.graph.concat([h.squeeze(0) for h in top.split([1] * directions, axis=0)], 1)
    forward, *backward = y.parts(directions, layer.output_size // directions)
    return y.graph.concat([steps.last(forward), *(each.slice(0, 0, 1).squeeze(0) for each in backward)], 1)


def pooled(network: Network, y: Value, final: list[Value], steps: Steps) -> Value:
    """What the head sees of outputs y [T, B, width]: [B, width], or y itself with pooling None."""
    graph, kind = y.graph, network.pooling
    if kind == "last":
        return last(network.recurrent, y, final, steps)
    if kind == "mean":  # y is zero beyond the lengths
        return y.reduce("Sum", 0) / steps.lengths.expand_dims(1).cast(y.dtype)
    if kind == "max":
        return graph.where(steps.alive, y, -np.inf).reduce("Max", 0)
    if kind == "attention":
        scores = y @ network.parameters["pooling.weight"][:, None]
        weights = graph("Softmax", graph.where(steps.alive, scores, -np.inf), axis=0)
        return (weights * y).reduce("Sum", 0)
    return y


def check_network(network: Network) -> None:
    """Raise ValueError for a network that ONNX cannot take."""
    if not isinstance(network.recurrent, Recurrent):
        raise ValueError(f"{type(network.recurrent).__name__} has no form in ONNX: it reads trees or graphs")
    check_layer(network.recurrent)


def states_from_static(network: Network, static: Value) -> list[Value]:
    """States [layers · directions, B, width] from static features [B, n_static] as the network sees them."""
    assert network.initial is not None
    layout = network.recurrent._states
    flat = dense(network.initial, static)
    parts = flat.split([layout.count * width for width in layout.learned.values()])
    states = [
        part.reshape(-1, layout.count, width).transpose(1, 0, 2)
        for part, width in zip(parts, layout.learned.values(), strict=True)
    ]
    return states + zero_states(network.recurrent, static.size(0))[len(states) :]


def zero_states(layer: Recurrent, batch: Value) -> list[Value]:
    """States that sequences start from."""
    layout = layer._states
    none = batch.graph.constant(np.zeros((1, 1, 1), layer.dtype))
    return [none.expand(layout.count, batch, width) for width in layout.widths.values()]


def network_outputs(network: Network, x: Value, states: list[Value], steps: Steps) -> tuple[Value, list[Value]]:
    """A network: x [T, B, I], or tokens [T, B], to its outputs [B, n] or [T, B, n], and the states at the end."""
    if network.embedding is not None:
        weight: Array = network.embedding.weight
        x = x.graph("Gather", np.ascontiguousarray(weight), x, dtype=network.dtype)
    y, final = recurrent(network.recurrent, x, states, steps)
    return dense(network.dense, pooled(network, y, final, steps)), final
