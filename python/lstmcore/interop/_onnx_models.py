"""Networks and fitted models as graphs: from what users have to what they want, in their units."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from lstmcore._inputs import Inputs
from lstmcore._isa import core
from lstmcore._recurrent import Recurrent
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array
from lstmcore.forecasting import ForecasterModel
from lstmcore.interop import _onnx_layers as layers
from lstmcore.interop._onnx_graph import Graph, Value, sigmoid
from lstmcore.interop._onnx_layers import Steps
from lstmcore.language import LanguageModel
from lstmcore.model import ClassifierModel, RegressorModel, SequenceModel, TaggerModel
from lstmcore.network import Network


def layer(graph: Graph, what: Recurrent) -> None:
    """A layer: x, lengths and states to y and states, in the arrays that calling the layer takes and gives."""
    layers.check_layer(what)
    axes = ["batch", "time"] if what.batch_first else ["time", "batch"]
    given = graph.input("x", what.dtype, [*axes, what.input_size])
    x = given.transpose(1, 0, 2) if what.batch_first else given
    steps = Steps.declared(graph, x)
    y, final = layers.recurrent(what, x, layers.declared_states(graph, what, steps), steps)
    graph.output("y", y.transpose(1, 0, 2) if what.batch_first else y, [*axes, what.output_size])
    layers.output_states(graph, what, final)


def network(graph: Graph, what: Network, output: str = "output") -> None:
    """A network: x or tokens, lengths, states or static features to outputs and states."""
    layers.check_network(what)
    if what.embedding is None:
        x = graph.input("x", what.dtype, ["batch", "time", what.n_features]).transpose(1, 0, 2)
    else:
        x = graph.input("tokens", np.int64, ["batch", "time"]).transpose(1, 0)
    steps = Steps.declared(graph, x)
    if what.initial is None:
        states = layers.declared_states(graph, what.recurrent, steps)
    else:
        states = layers.states_from_static(what, graph.input("static", what.dtype, ["batch", what.n_static]))
    outputs, final = layers.network_outputs(what, x, states, steps)
    if what.pooling is None:
        graph.output(output, outputs.transpose(1, 0, 2), ["batch", "time", what.n_outputs])
    else:
        graph.output(output, outputs, ["batch", what.n_outputs])
    layers.output_states(graph, what.recurrent, final)


def language_model(graph: Graph, what: LanguageModel) -> None:
    """A language model: token numbers and states to logits and states."""
    network(graph, what.network, "logits")


# ---- models of sequences --------------------------------------------------------------------------------------------


def classifier(graph: Graph, what: ClassifierModel) -> None:
    """A classifier: X to labels and probabilities."""
    outputs = _sequence_outputs(graph, what)
    if what.multilabel:
        graph.output("label", (outputs > 0.0).cast(np.int64), ["batch", len(what.classes)])
        graph.output("probabilities", sigmoid(outputs), ["batch", len(what.classes)])
        return
    _output_classes(graph, what.classes, outputs, ["batch"])


def tagger(graph: Graph, what: TaggerModel) -> None:
    """A tagger: X to labels and probabilities of every step."""
    _output_classes(graph, what.classes, _sequence_outputs(graph, what).transpose(1, 0, 2), ["batch", "step"])


def regressor(graph: Graph, what: RegressorModel) -> None:
    """A regressor: X to predictions, and quantiles if there are any."""
    n = len(what.quantiles or (0.5,))
    outputs = _sequence_outputs(graph, what).cast(np.float64)
    values = _ascending(outputs.reshape(0, -1, n), n)
    mean, scale = (_column(each)[:, None] for each in (what.scaler.mean, what.scaler.scale))
    values = values * scale + mean
    axes: list[Any] = ["batch"] if what.squeeze else ["batch", len(what.scaler.mean)]
    values = values.squeeze(1) if what.squeeze else values
    middle = int(np.argmin(np.abs(np.array(what.quantiles or (0.5,)) - 0.5)))
    graph.output("prediction", values.slice(-1, middle, middle + 1).squeeze(-1), axes)
    if what.quantiles is not None:
        graph.output("quantiles", values, [*axes, n])


def _output_classes(graph: Graph, classes: Array, outputs: Value, axes: Sequence[str]) -> None:
    if classes.dtype.kind not in "OUbiuf":
        raise ValueError(f"class labels of {classes.dtype} have no form in ONNX: {classes.tolist()}")
    largest = graph("ArgMax", outputs, axis=-1, keepdims=0, dtype=np.int64)
    graph.output("label", graph("Gather", graph.constant(classes), largest), axes)
    graph.output("probabilities", graph("Softmax", outputs, axis=-1), [*axes, len(classes)])


def _sequence_outputs(graph: Graph, what: SequenceModel) -> Value:
    """The network's outputs for raw X: [B, n], or of every step [T, B, n]."""
    net = what.network
    layers.check_network(net)
    x, steps = _seen(graph, what.inputs)
    if net.initial is None:
        states = layers.zero_states(net.recurrent, steps.batch)
    else:
        static = graph.input("static", np.float64, ["batch", net.n_static])
        states = layers.states_from_static(net, _standardized(static, what.inputs.static_scaler, net.dtype))
    return layers.network_outputs(net, x, states, steps)[0]


def _seen(graph: Graph, inputs: Inputs) -> tuple[Value, Steps]:
    """What the network sees of raw X, time-major, and its steps: `Inputs.apply` as nodes."""
    if inputs.n_tokens is not None:
        tokens = graph.input("X", np.int64, ["batch", "time"]).transpose(1, 0)
        return tokens, Steps.declared(graph, tokens)
    x = graph.input("X", np.float64, ["batch", "time", inputs.n_features]).transpose(1, 0, 2)
    steps = Steps.declared(graph, x)
    x = _standardized(x, inputs.scaler, inputs.dtype)
    size = inputs.patch_size
    if size > 1:  # the first time point comes more than once where a length is no multiple
        n_steps, n_patches, lengths = x.size(0), *((n + (size - 1)) / size for n in (x.size(0), steps.lengths))
        point = graph.range(n_patches * size) - (lengths * size - steps.lengths).expand_dims(1)
        x = x.at(graph("Min", graph("Max", point, 0), n_steps - 1)).transpose(1, 0, 2)
    if inputs.fill is not None:
        x = _observed(x, inputs.fill.astype(inputs.dtype), steps.batch)
    if size > 1:
        width = inputs.n_inputs // size
        x = x.reshape(-1, size, steps.batch, width).transpose(0, 2, 1, 3).reshape(0, 0, size * width)
        steps = Steps.of(x, lengths)
    return x, steps


def _observed(x: Value, fill: Array, batch: Value) -> Value:
    """Show values, what was observed and for how long not: [T, B, F] with NaN to [T, B, 3F]."""
    graph = x.graph

    def step(before: list[Value], seen: list[Value]) -> tuple[list[Value], list[Value]]:
        (last, age), (now,) = before, seen
        missing = graph("IsNaN", now, dtype=bool)
        value = graph.where(missing, last, now)
        observed, elapsed = graph("Not", missing).cast(x.dtype), graph("Log", age + 1.0).cast(x.dtype)
        return [value, graph.where(missing, age + 1.0, 1.0)], [graph.concat([value, observed, elapsed], -1)]

    start = [graph.constant(each[None]).expand(batch, len(fill)) for each in (fill, np.zeros(len(fill)))]
    return graph.scan(step, start, [x])[1][0]


def _standardized(values: Value, scaler: Standardizer | None, dtype: Any) -> Value:
    if scaler is not None:
        values = (values - _column(scaler.mean)) / _column(scaler.scale)
    return values.cast(dtype)


def _column(values: Array) -> Array:
    return np.asarray(values, np.float64)


def _ascending(values: Value, n: int) -> Value:
    """Values in ascending order over the last axis, of length n."""
    if n == 1:
        return values
    return values.graph.nodes("TopK", 2, values, np.array([n]), largest=0)[0]


# ---- forecasters ----------------------------------------------------------------------------------------------------


def forecaster(graph: Graph, what: ForecasterModel) -> None:
    """A forecaster: series so far, and what goes with them, to the forecasts after the last step of each."""
    layout, frame, net = what.layout, what.scaling.frame, what.network
    layers.check_network(net)
    if layout.steps > layout.horizon:
        raise ValueError(
            f"strategy='recursive', which feeds forecasts of {layout.horizon} step(s) back to get {layout.steps} far, "
            f"has no form in ONNX: fit with strategy='direct'"
        )
    n, quantiles = layout.n_targets, len(layout.quantiles or (0.5,))
    given = graph.input("y", np.float64, ["batch", "time", *([] if layout.univariate else [n])])
    y = (given.expand_dims(2) if layout.univariate else given).transpose(1, 0, 2)
    steps = Steps.declared(graph, y)
    seen, base, unit = _framed(frame, y, steps, layout.horizon)
    covariates = _covariates(graph, what, y.size(0))
    x = _standardized(graph.concat([*seen, *covariates], -1), what.scaling.inputs, net.dtype)
    states = layers.zero_states(net.recurrent, steps.batch)
    hidden, final = layers.recurrent(net.recurrent, x, states, steps)
    outputs = layers.dense(net.dense, layers.last(net.recurrent, hidden, final, steps))
    answers = outputs.cast(np.float64).reshape(0, layout.horizon, n, quantiles)
    mean, scale = (
        _column(each).reshape(layout.horizon, n, 1) for each in (what.scaling.outputs.mean, what.scaling.outputs.scale)
    )
    forecast = base.expand_dims(3) + unit.expand_dims(1, 3) * (answers * scale + mean)
    axes: list[Any] = ["batch", layout.horizon]
    if layout.univariate:
        forecast = forecast.squeeze(2)
    else:
        axes.append(n)
    if layout.quantiles is None:
        graph.output("forecast", forecast.squeeze(-1), axes)
    else:
        graph.output("forecast", _ascending(forecast, quantiles), [*axes, quantiles])


def _framed(frame: Any, y: Value, steps: Steps, horizon: int) -> tuple[list[Value], Value, Value]:
    """`Frame.advance` as nodes: what the network sees of y [T, B, n], and base [B, horizon, n] and unit [B, n]."""
    graph, n_steps, period = y.graph, y.size(0), frame.period
    if frame.scale is None:
        centre, size = _measured(frame, y, steps)
    else:
        centre, size = (graph.constant(_column(each)[None]) for each in frame.scale)
    if not period:
        return [(y - centre) / size], centre.expand_dims(1), size
    known = graph.concat([*[y.slice(0, 0, 1)] * period, y], 0)  # the first changes are from the first value
    change, unit, before = (y - known.slice(0, 0, n_steps)) / size, size, None
    if frame.halflife is not None:
        before, latest = _recent_size(frame, change, steps)
        unit = latest * size
    seen = [change]
    if period > 1:
        seen.append((y - known.slice(0, period - 1, n_steps + (period - 1))) / size)
    if before is not None:
        limit = core.Frame.limits[1]
        seen = [graph("Clip", each / before, -limit, limit) for each in seen]
    rows = graph.constant(np.arange(horizon) % period) + steps.lengths.expand_dims(1)
    return seen, known.at(rows), unit


def _recent_size(frame: Any, change: Value, steps: Steps) -> tuple[Value, Value]:
    """Recent size of changes [T, B, n], before each, and [B, n] after the last: roots of running mean squares."""
    graph, decay = change.graph, 0.5 ** (1.0 / frame.halflife)

    def step(before: list[Value], seen: list[Value]) -> tuple[list[Value], list[Value]]:
        mean = before[0] * decay + seen[0] * (1.0 - decay)
        return [mean], [before[0], mean]

    def size(mean_square: Value) -> Value:
        return graph("Max", graph("Sqrt", mean_square), core.Frame.limits[0])

    start = graph.constant(np.ones((1, 1))).expand(steps.batch, change.size(2))
    before, after = graph.scan(step, [start], [change * change])[1]
    return size(before), size(steps.last(after))


def _measured(frame: Any, y: Value, steps: Steps) -> tuple[Value, Value]:
    """`Frame.measure` of each series as nodes: centre and size [B, n]."""
    graph, n = y.graph, steps.lengths.expand_dims(1).cast(np.float64)

    def mean(values: Value, alive: Value, count: Value) -> Value:
        return graph.where(alive, values, 0.0).reduce("Sum", 0) / count

    if not frame.period:
        centre = mean(y, steps.alive, n)
        away = y - centre
        size = graph("Sqrt", mean(away * away, steps.alive, n))
        moves = size > graph("Abs", centre) * 1e-12
    else:
        end = y.size(0)
        change = y.slice(0, frame.period, end) - y.slice(0, 0, end - frame.period)
        size = graph("Sqrt", mean(change * change, steps.alive.slice(0, frame.period, end), n - float(frame.period)))
        centre, moves = size * 0.0, size > 0.0
    return centre, graph.where(moves, size, 1.0)


def _covariates(graph: Graph, what: ForecasterModel, n_steps: Value) -> list[Value]:
    """Columns beside the targets, as `Layout.covariates` joins them: [T, B, m] in float64."""
    layout, parts = what.layout, []
    if layout.n_exog:
        parts.append(graph.input("X", np.float64, ["batch", "time", layout.n_exog]).transpose(1, 0, 2))
    if layout.n_ahead:
        known = graph.input("known", np.float64, ["batch", "time_and_horizon", layout.n_ahead]).transpose(1, 0, 2)
        if layout.n_calendar:
            parts.append(known.slice(2, 0, layout.n_calendar).slice(0, 1, n_steps + 1))
        if layout.n_known:
            columns = known.slice(2, layout.n_calendar, layout.n_ahead)
            parts += [columns.slice(0, k, n_steps + k) for k in range(1, layout.horizon + 1)]
    return parts


def vocabulary(what: Any) -> dict[str, str]:
    """Metadata that tell the tokens of a language model, as JSON."""
    if not isinstance(what, LanguageModel):
        return {}
    return {"lstmcore.level": what.vocabulary.level, "lstmcore.tokens": json.dumps(what.vocabulary.tokens)}
