"""Nodes of ONNX as functions of NumPy arrays; LSTM, GRU and RNN are elsewhere.

`NODES` is the only list of them. The parameters of a function are the node's inputs, None where one is left out, and
the attributes that it understands; what is an attribute in one version of an operator and an input in another is one
parameter. `opset` is the version, and a subgraph is what computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore._validation import Array

if TYPE_CHECKING:
    from lstmcore.interop._onnx_program import Program


# ---- arithmetic -----------------------------------------------------------------------------------------------------


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return a / b
    return np.where((a % b != 0) & ((a < 0) != (b < 0)), a // b + 1, a // b).astype(a.dtype)  # towards zero


def _modulo(a: Array, b: Array, *, fmod: int = 0) -> Array:
    return np.fmod(a, b) if fmod else np.mod(a, b)


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, np.ones_like(x)) / (1 + e)


def _hard_sigmoid(x: Array, *, alpha: float = 0.2, beta: float = 0.5) -> Array:
    return np.clip(x.dtype.type(alpha) * x + x.dtype.type(beta), 0, 1)


def _leaky_relu(x: Array, *, alpha: float = 0.01) -> Array:
    return np.where(x < 0, x.dtype.type(alpha) * x, x)


def _elu(x: Array, *, alpha: float = 1.0) -> Array:
    return np.where(x < 0, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)), x)


def _clip(x: Array, min: Any = None, max: Any = None) -> Array:
    return x if min is None and max is None else np.clip(x, min, max).astype(x.dtype, copy=False)


def _gemm(
    a: Array, b: Array, c: Array | None = None, *, alpha: float = 1, beta: float = 1, transA: int = 0, transB: int = 0
) -> Array:
    y = (a.T if transA else a) @ (b.T if transB else b)
    y = y if alpha == 1 else a.dtype.type(alpha) * y
    return y if c is None else y + (c if beta == 1 else a.dtype.type(beta) * c)


def _softmax(x: Array, *, axis: int | None = None, opset: int, log: bool = False) -> Array:
    axis = (-1 if opset >= 13 else 1) if axis is None else axis
    shape = x.shape
    if opset < 13:  # over all axes from this one on
        axis %= max(x.ndim, 1)
        x, axis = x.reshape(int(np.prod(shape[:axis])), -1), 1
    x = x - x.max(axis=axis, keepdims=True)
    e = np.exp(x)
    total = e.sum(axis=axis, keepdims=True)
    return (x - np.log(total) if log else e / total).reshape(shape)


def _log_softmax(x: Array, *, axis: int | None = None, opset: int) -> Array:
    return _softmax(x, axis=axis, opset=opset, log=True)


def _cast(x: Array, *, to: Any, saturate: int = 1) -> Array:
    with np.errstate(invalid="ignore"):
        return x.astype(to)


def _dropout(x: Array, ratio: Any = None, training_mode: Any = None, *, seed: int = 0) -> tuple[Array, Array]:
    if training_mode is not None and np.any(training_mode):
        raise ValueError("training_mode must be false")
    return x, np.ones(x.shape, bool)


def _cumulative_sum(x: Array, axis: Array, *, exclusive: int = 0, reverse: int = 0) -> Array:
    k = int(axis)
    x = np.flip(x, k) if reverse else x
    y = np.cumsum(x, k, dtype=x.dtype) - (x if exclusive else 0)
    return np.flip(y, k) if reverse else y


# ---- reductions -----------------------------------------------------------------------------------------------------


def _reduction(reduce: Any) -> Callable[..., Array]:
    def compute(x: Array, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
        if axes is None or np.size(axes) == 0:
            return x if noop_with_empty_axes else reduce(x, axis=None, keepdims=bool(keepdims))
        return reduce(x, axis=_integers(axes), keepdims=bool(keepdims))

    return compute


def _sum(x: Array, **options: Any) -> Array:
    return np.sum(x, dtype=x.dtype, **options)


def _product(x: Array, **options: Any) -> Array:
    return np.prod(x, dtype=x.dtype, **options)


def _extreme_place(find: Any) -> Callable[..., Array]:
    def compute(x: Array, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Array:
        if select_last_index:
            return x.shape[axis] - 1 - find(np.flip(x, axis), axis=axis, keepdims=bool(keepdims))
        return find(x, axis=axis, keepdims=bool(keepdims))

    return compute


def _top(x: Array, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Array, Array]:
    if largest:  # of equal numbers the first
        order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    places = np.take(order, range(*_integers(k)), axis)
    return np.take_along_axis(x, places, axis), places


# ---- shapes ---------------------------------------------------------------------------------------------------------


def _reshape(x: Array, shape: Array, *, allowzero: int = 0) -> Array:
    return x.reshape([x.shape[k] if n == 0 and not allowzero else int(n) for k, n in enumerate(shape)])


def _integers(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in np.ravel(values))


def _squeeze(x: Array, axes: Any = None) -> Array:
    return np.squeeze(x, None if axes is None else _integers(axes))


def _unsqueeze(x: Array, axes: Any) -> Array:
    return np.expand_dims(x, _integers(axes))


def _slice(x: Array, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Array:
    where = [slice(None)] * x.ndim
    axes = range(len(starts)) if axes is None else _integers(axes)
    steps = [1] * len(starts) if steps is None else _integers(steps)
    for start, end, axis, step in zip(_integers(starts), _integers(ends), axes, steps, strict=True):
        before_first = step < 0 and end < -x.shape[axis]
        where[axis] = slice(start, None if before_first else end, step)
    return x[tuple(where)]


def _split(x: Array, split: Any = None, *, axis: int = 0, num_outputs: int | None = None) -> tuple[Array, ...]:
    if split is not None:
        return tuple(np.split(x, np.cumsum(split)[:-1], axis))
    if num_outputs is None:
        raise ValueError("the sizes of its parts must be given")
    each = -(-x.shape[axis] // num_outputs)
    return tuple(np.split(x, [each * (k + 1) for k in range(num_outputs - 1)], axis))


def _gather(x: Array, indices: Array, *, axis: int = 0) -> Array:
    return np.take(x, indices, axis=axis)


def _gather_nd(x: Array, indices: Array, *, batch_dims: int = 0) -> Array:
    outer = np.indices(indices.shape[:-1], sparse=True)[:batch_dims]
    return x[tuple([*outer, *np.moveaxis(indices, -1, 0)])]


def _gather_elements(x: Array, indices: Array, *, axis: int = 0) -> Array:
    return np.take_along_axis(x, indices, axis)


def _concat(*parts: Array, axis: int) -> Array:
    return np.concatenate(parts, axis)


def _transpose(x: Array, *, perm: Sequence[int] | None = None) -> Array:
    return np.transpose(x, perm)


def _flatten(x: Array, *, axis: int = 1) -> Array:
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


def _expand(x: Array, shape: Array) -> Array:
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, _integers(shape)))


def _shape(x: Array, *, start: int = 0, end: int | None = None) -> Array:
    return np.array(x.shape[start:end], np.int64)


def _constant(
    *,
    value: Array | None = None,
    value_float: float | None = None,
    value_floats: Any = None,
    value_int: int | None = None,
    value_ints: Any = None,
) -> Array:
    if value is not None:
        return value
    numbers = value_float if value_floats is None else value_floats
    if numbers is not None:
        return np.asarray(numbers, np.float32)
    return np.asarray(value_int if value_ints is None else value_ints, np.int64)


def _constant_of_shape(shape: Array, *, value: Array | None = None) -> Array:
    fill = np.zeros(1, np.float32) if value is None else value
    return np.full(_integers(shape), fill.reshape(-1)[0], fill.dtype)


def _range(start: Array, limit: Array, delta: Array) -> Array:
    return np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def _reverse_sequence(x: Array, lengths: Array, *, batch_axis: int = 1, time_axis: int = 0) -> Array:
    rows = np.moveaxis(x, (time_axis, batch_axis), (0, 1))
    return np.moveaxis(reverse_steps(rows, lengths), (0, 1), (time_axis, batch_axis))


def reverse_steps(x: Array, lengths: Array | None) -> Array:
    """Return x [T, B, ...] with the steps before each row's length in reverse."""
    if lengths is None:
        return x[::-1]
    t = np.arange(len(x))[:, None]
    return x[np.where(t < lengths, lengths - 1 - t, t), np.arange(x.shape[1])]


# ---- loops ----------------------------------------------------------------------------------------------------------


def _scan(
    *arrays: Array,
    body: Program,
    num_scan_inputs: int,
    scan_input_axes: Sequence[int] = (),
    scan_input_directions: Sequence[int] = (),
    scan_output_axes: Sequence[int] = (),
    scan_output_directions: Sequence[int] = (),
) -> tuple[Array, ...]:
    """Return the final states and the outputs of all steps, from states, sequences and what the body has captured."""
    n_inputs, n_states = len(body.inputs), len(body.inputs) - num_scan_inputs
    if not 0 < num_scan_inputs <= n_inputs:
        raise ValueError(f"num_scan_inputs must be from 1 to {n_inputs}, got {num_scan_inputs}")
    states, sequences, captured = list(arrays[:n_states]), arrays[n_states:n_inputs], arrays[n_inputs:]
    plain = [0] * max(num_scan_inputs, len(body.outputs) - n_states)
    entries = [
        np.moveaxis(x, axis, 0)[:: -1 if reverse else 1]
        for x, axis, reverse in zip(sequences, scan_input_axes or plain, scan_input_directions or plain, strict=False)
    ]
    steps = []
    for entry in zip(*entries, strict=True):
        found = body(*states, *entry, *captured)
        states = found[:n_states]
        steps.append(found[n_states:])
    if not steps:
        raise ValueError("there is no step, and so the shapes of the outputs are not known")
    ys = zip(zip(*steps, strict=True), scan_output_axes or plain, scan_output_directions or plain, strict=False)
    return (*states, *(np.stack(y[::-1] if reverse else y, axis) for y, axis, reverse in ys))


# ---- the list -------------------------------------------------------------------------------------------------------


def _one(f: Any) -> Callable[[Array], Array]:
    return lambda x: f(x)


def _two(f: Any) -> Callable[[Array, Array], Array]:
    return lambda a, b: f(a, b)


def _many(f: Any) -> Callable[..., Array]:
    def compute(*parts: Array) -> Array:
        result = parts[0]
        for part in parts[1:]:
            result = f(result, part)
        return result

    return compute


NODES: dict[str, Callable[..., Any]] = {
    "Identity": _one(np.asarray),
    "Neg": _one(np.negative),
    "Abs": _one(np.abs),
    "Sqrt": _one(np.sqrt),
    "Exp": _one(np.exp),
    "Log": _one(np.log),
    "Floor": _one(np.floor),
    "Ceil": _one(np.ceil),
    "Round": _one(np.round),
    "Sign": _one(np.sign),
    "Reciprocal": _one(np.reciprocal),
    "Not": _one(np.logical_not),
    "IsNaN": _one(np.isnan),
    "Tanh": _one(np.tanh),
    "Relu": _one(lambda x: np.maximum(x, 0)),
    "Softplus": _one(lambda x: np.logaddexp(x, np.zeros_like(x))),
    "Softsign": _one(lambda x: x / (1 + np.abs(x))),
    "Sigmoid": _sigmoid,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _leaky_relu,
    "Elu": _elu,
    "Clip": _clip,
    "Cast": _cast,
    "Dropout": _dropout,
    "Add": _two(np.add),
    "Sub": _two(np.subtract),
    "Mul": _two(np.multiply),
    "Div": _divide,
    "Mod": _modulo,
    "Pow": _two(lambda a, b: np.power(a, b).astype(a.dtype)),
    "Equal": _two(np.equal),
    "Less": _two(np.less),
    "LessOrEqual": _two(np.less_equal),
    "Greater": _two(np.greater),
    "GreaterOrEqual": _two(np.greater_equal),
    "And": _two(np.logical_and),
    "Or": _two(np.logical_or),
    "Xor": _two(np.logical_xor),
    "Min": _many(np.minimum),
    "Max": _many(np.maximum),
    "Sum": _many(np.add),
    "Where": lambda condition, a, b: np.where(condition, a, b),
    "MatMul": _two(np.matmul),
    "Gemm": _gemm,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "CumSum": _cumulative_sum,
    "ReduceSum": _reduction(_sum),
    "ReduceMean": _reduction(np.mean),
    "ReduceMax": _reduction(np.max),
    "ReduceMin": _reduction(np.min),
    "ReduceProd": _reduction(_product),
    "ArgMax": _extreme_place(np.argmax),
    "ArgMin": _extreme_place(np.argmin),
    "TopK": _top,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "GatherElements": _gather_elements,
    "Expand": _expand,
    "Tile": _two(lambda x, repeats: np.tile(x, repeats)),
    "Shape": _shape,
    "Size": _one(lambda x: np.asarray(x.size, np.int64)),
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "ReverseSequence": _reverse_sequence,
    "Scan": _scan,
}
