"""What an exported model must compute: an example of ragged input, and our own answers to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from lstmcore._recurrent import Recurrent
from lstmcore._validation import Array
from lstmcore.forecasting import ForecasterModel
from lstmcore.interop import _agreement
from lstmcore.interop.onnx import from_onnx
from lstmcore.language import LanguageModel
from lstmcore.model import ClassifierModel, RegressorModel, SequenceModel
from lstmcore.network import Network
from lstmcore.sequences import Sequences

_RAGGED, _WHOLE = np.array([5, 7, 1]), np.array([6, 6, 6])

Arrays = dict[str, Array]


def compare(model: Any, what: Any) -> None:
    """Raise RuntimeError unless ONNX Runtime, or without it `from_onnx`, gives the outputs of `what` on two examples.

    One is ragged, the other has sequences of one length and leaves `lengths` out.
    """
    library, run = _runner(model)
    dtype = (what if isinstance(what, (Recurrent, Network)) else what.network).dtype.name
    for lengths in (_RAGGED, _WHOLE):
        feed, expected = example(what, lengths)
        if lengths is _WHOLE:
            del feed["lengths"]
        for (name, ours), theirs in zip(expected.items(), run(list(expected), feed), strict=True):
            if ours.shape != theirs.shape:
                raise RuntimeError(f"{name} has shape {theirs.shape} in {library}, not {ours.shape}")
            counts = ~np.isnan(ours)  # NaN stands where any value will do
            _agreement.compare([ours[counts]], [theirs[counts]], name, library, dtype)


def _runner(model: Any) -> tuple[str, Callable[[list[str], Arrays], list[Array]]]:
    """Who computes the outputs of some names, and how."""
    try:
        import onnxruntime
    except ImportError:
        return _from_onnx(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        name, opset = f"ONNX Runtime {onnxruntime.__version__}", model.opset_import[0].version
        if not any(reason in str(error) for reason in ("Unsupported model IR version", "ValidateOpset")):
            raise RuntimeError(f"{name} cannot load what was exported: {error}") from error
        warnings.warn(f"{name} cannot load opset {opset}: the model is compared through from_onnx", stacklevel=4)
        return _from_onnx(model)
    return "ONNX Runtime", session.run


def _from_onnx(model: Any) -> tuple[str, Callable[[list[str], Arrays], list[Array]]]:
    loaded = from_onnx(model)
    return "from_onnx", lambda names, feed: [loaded(feed)[name] for name in names]


def example(what: Any, lengths: Array) -> tuple[Arrays, Arrays]:
    """Inputs of an exported model, and the outputs that it must have."""
    rng = np.random.default_rng(0)
    if isinstance(what, Recurrent):
        return _of_layer(what, lengths, rng)
    if isinstance(what, Network):
        return _of_network(what, lengths, rng, "output")
    if isinstance(what, LanguageModel):
        return _of_network(what.network, lengths, rng, "logits")
    if isinstance(what, ForecasterModel):
        return _of_forecaster(what, lengths, rng)
    return _of_sequences(what, lengths, rng)


def _of_layer(layer: Recurrent, lengths: Array, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    batch, steps = len(lengths), lengths.max()
    axes = (batch, steps) if layer.batch_first else (steps, batch)
    x = rng.standard_normal((*axes, layer.input_size)).astype(layer.dtype)
    state = [
        np.rint(3 * np.abs(each)) if name == "clock" else each
        for name, zeros in zip(layer._states.widths, layer._states.zeros(batch), strict=True)
        for each in [rng.standard_normal(zeros.shape).astype(layer.dtype)]
    ]
    y, after = layer(x, state[0] if layer._states.single else tuple(state), lengths)
    finals = [after] if layer._states.single else after
    names = layer._states.widths
    feed = {"x": x, "lengths": lengths, **{f"{k}0": v for k, v in zip(names, state, strict=True)}}
    return feed, {"y": y, **{f"{k}_n": v for k, v in zip(names, finals, strict=True)}}


def _of_network(network: Network, lengths: Array, rng: np.random.Generator, output: str) -> tuple[Arrays, Arrays]:
    feed: Arrays = {"lengths": lengths}
    shape = (len(lengths), lengths.max())
    if network.embedding is None:
        x = feed["x"] = rng.standard_normal((*shape, network.n_features)).astype(network.dtype)
    else:
        tokens = feed["tokens"] = rng.integers(0, network.embedding.n_tokens, shape)
        x = tokens[..., None].astype(network.dtype)
    static = None
    if network.n_static:
        static = feed["static"] = rng.standard_normal((shape[0], network.n_static)).astype(network.dtype)
    rows = np.concatenate([row[:n] for row, n in zip(x, lengths, strict=True)])
    found = network.predict(Sequences(rows, np.cumsum(lengths) - lengths, lengths, static))
    if network.pooling is None:
        found = _padded(np.split(found, np.cumsum(lengths)[:-1]))
    return feed, {output: found}


def _of_sequences(model: SequenceModel, lengths: Array, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    inputs, shape = model.inputs, (len(lengths), lengths.max())
    feed: Arrays = {"lengths": lengths}
    if inputs.n_tokens is not None:
        feed["X"] = rng.integers(0, inputs.n_tokens, shape)
        rows = [row[:n, None] for row, n in zip(feed["X"], lengths, strict=True)]
    else:
        X = rng.standard_normal((*shape, inputs.n_features))
        if inputs.scaler is not None:
            X = inputs.scaler.undo(X)
        if inputs.fill is not None:
            X[rng.random(X.shape) < 0.3] = np.nan
        feed["X"] = X
        rows = [row[:n] for row, n in zip(feed["X"], lengths, strict=True)]
    static = None
    if model.network.n_static:
        static = rng.standard_normal((shape[0], model.network.n_static))
        if inputs.static_scaler is not None:
            static = inputs.static_scaler.undo(static)
        feed["static"] = static
    if isinstance(model, RegressorModel):
        expected = {"prediction": model.predict(rows, static)}
        if model.quantiles is not None:
            expected["quantiles"] = model.predict_quantiles(rows, static)
        return feed, expected
    found = model.predict_proba(rows, static)  # type: ignore[attr-defined]
    return feed, {"probabilities": found if isinstance(model, ClassifierModel) else _padded(found)}


def _of_forecaster(model: ForecasterModel, lengths: Array, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    layout, frame = model.layout, model.scaling.frame
    lengths = lengths + (frame.period + 1)
    y = rng.standard_normal((len(lengths), lengths.max(), layout.n_targets)).cumsum(axis=1)
    if frame.scale is not None:
        y = frame.scale.centre + frame.scale.size * y
    feed: Arrays = {"lengths": lengths, "y": y[..., 0] if layout.univariate else y}
    if layout.n_exog:
        feed["X"] = rng.standard_normal((*y.shape[:2], layout.n_exog))
    if layout.n_ahead:
        feed["known"] = rng.standard_normal((len(y), y.shape[1] + layout.horizon, layout.n_ahead))
    forecasts = []
    for i, n in enumerate(lengths):
        known = feed["known"][i, : n + layout.horizon] if layout.n_ahead else None
        exog = feed["X"][i, :n] if layout.n_exog else None
        forecasts.append(model.predict(feed["y"][i, :n], X=exog, known=known))
    return feed, {"forecast": np.stack(forecasts)}


def _padded(rows: list[Array]) -> Array:
    """Arrays [n, ...] of several lengths as one, NaN beyond."""
    result = np.full((len(rows), max(map(len, rows)), *rows[0].shape[1:]), np.nan)
    for i, row in enumerate(rows):
        result[i, : len(row)] = row
    return result
