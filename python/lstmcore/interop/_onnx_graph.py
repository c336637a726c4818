"""A graph of ONNX written as expressions: values have operators, and each operator adds a node.

Equations over values read as those over arrays. Time is the first axis, the batch the second; what is a NumPy array
becomes an initializer of the graph, and a Python number one of the type of the value beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from lstmcore._validation import Array

_SMALL = 64  # constants of so many numbers are stored once


class Value:
    """A tensor of the graph, of a known dtype; its operators are those of ONNX, which broadcast as NumPy's do."""

    __slots__ = ("dtype", "graph", "name")
    __array_ufunc__ = None  # `array * value` is a node, too

    def __init__(self, graph: Graph, name: str, dtype: Any) -> None:
        self.graph, self.name, self.dtype = graph, name, np.dtype(dtype)

    def __add__(self, other: Any) -> Value:
        return self.graph("Add", self, other)

    def __sub__(self, other: Any) -> Value:
        return self.graph("Sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.graph("Sub", self.graph.constant(other, self.dtype), self)

    def __mul__(self, other: Any) -> Value:
        return self.graph("Mul", self, other)

    def __truediv__(self, other: Any) -> Value:
        return self.graph("Div", self, other)

    def __matmul__(self, other: Any) -> Value:
        return self.graph("MatMul", self, other)

    __radd__, __rmul__ = __add__, __mul__

    def __lt__(self, other: Any) -> Value:
        return self.graph("Less", self, other, dtype=bool)

    def __gt__(self, other: Any) -> Value:
        return self.graph("Greater", self, other, dtype=bool)

    def cast(self, dtype: Any) -> Value:
        """The same numbers in another type."""
        return self if self.dtype == dtype else self.graph("Cast", self, to=_type(dtype), dtype=dtype)

    def transpose(self, *axes: int) -> Value:
        """The axes in another order."""
        return self.graph("Transpose", self, perm=axes)

    def expand_dims(self, *axes: int) -> Value:
        """New axes of length 1."""
        return self.graph("Unsqueeze", self, np.array(axes))

    def squeeze(self, *axes: int) -> Value:
        """The value without axes of length 1."""
        return self.graph("Squeeze", self, np.array(axes))

    def reshape(self, *shape: int | Value) -> Value:
        """The value in another shape, of numbers and of values [1] from `size`."""
        return self.graph("Reshape", self, self.graph.shape(*shape))

    def expand(self, *shape: int | Value) -> Value:
        """The value broadcast to a shape."""
        return self.graph("Expand", self, self.graph.shape(*shape))

    def size(self, axis: int) -> Value:
        """Length of an axis, as int64 [1]."""
        return self.graph("Gather", self.graph("Shape", self, dtype=np.int64), np.array([axis]))

    def slice(self, axis: int, start: int | Value, stop: int | Value, step: int = 1) -> Value:
        """Part of an axis."""
        ends = [np.array([end]) if isinstance(end, int) else end for end in (start, stop)]
        return self.graph("Slice", self, *ends, np.array([axis]), np.array([step]))

    def split(self, sizes: Sequence[int], axis: int = -1) -> list[Value]:
        """Parts of an axis, of these lengths."""
        if len(sizes) == 1:
            return [self]
        return self.graph.nodes("Split", len(sizes), self, np.array(sizes, np.int64), axis=axis)

    def parts(self, n: int, width: int) -> list[Value]:
        """`n` parts of the last axis, each of this width."""
        return self.split([width] * n)

    def reduce(self, kind: str, *axes: int, keepdims: bool = False) -> Value:
        """Sum, Mean or Max over axes."""
        given: dict[str, Any] = {"keepdims": int(keepdims)}
        if kind != "Sum" and self.graph.opset < 18:  # axes were an attribute
            return self.graph(f"Reduce{kind}", self, axes=axes, **given)
        return self.graph(f"Reduce{kind}", self, np.array(axes), **given)

    def at(self, index: Value) -> Value:
        """Entries of the first axis, of each row of the batch its own: [N, B, ...] and int64 [B, K] to [B, K, ...]."""
        return self.graph("GatherND", self.transpose(1, 0, 2), index.expand_dims(2), batch_dims=1)


class _Scope(NamedTuple):
    """Nodes, and what each kind of node and inputs gives."""

    nodes: list[Any]
    known: dict[Any, list[Value]]


class Graph:
    """What will be a model.

    Parameters
    ----------
    opset : int
        Version of the operators.
    """

    def __init__(self, opset: int) -> None:
        import onnx

        self.onnx, self.opset = onnx, opset
        self._scopes = [_Scope([], {})]  # the graph, and the Scan bodies that are being written
        self._initializers: dict[Any, Any] = {}
        self._defaults: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._n_names = 0

    # ---- nodes ----

    def __call__(self, op: str, *inputs: Any, dtype: Any = None, **attributes: Any) -> Value:
        """Add a node with one output, of `dtype`, or else of the type of the first input."""
        return self.nodes(op, 1, *inputs, dtype=dtype, **attributes)[0]

    def nodes(self, op: str, n_outputs: int, *inputs: Any, dtype: Any = None, **attributes: Any) -> list[Value]:
        """Add a node with several outputs; an input that is None is left out. Equal nodes are one."""
        first = next(x for x in inputs if isinstance(x, (Value, np.ndarray)))
        values = [None if x is None else x if isinstance(x, Value) else self.constant(x, first.dtype) for x in inputs]
        names = [x.name if x is not None else "" for x in values]
        nodes, known = self._scopes[-1]
        key = (op, *names, repr(attributes))
        if key not in known:
            known[key] = [self._new(op, first.dtype if dtype is None else dtype) for _ in range(n_outputs)]
            outputs = [y.name for y in known[key]]
            nodes.append(self.onnx.helper.make_node(op, names, outputs, outputs[0], **attributes))
        return known[key]

    def constant(self, value: Any, dtype: Any = None) -> Value:
        """An array as it is, or a number in a type of its own; small ones that are equal are stored once."""
        array = value if isinstance(value, np.ndarray) else np.array(value, dtype)
        key: Any = (array.dtype.str, repr(array.tolist())) if array.size <= _SMALL else len(self._initializers)
        if key not in self._initializers:
            name = self._new("constant", array.dtype).name
            source = array.astype(object) if array.dtype.kind == "U" else np.ascontiguousarray(array)
            self._initializers[key] = self.onnx.numpy_helper.from_array(source.reshape(array.shape), name)
        return Value(self, self._initializers[key].name, array.dtype)

    def where(self, condition: Value, one: Value | float, other: Value | float) -> Value:
        """One where the condition holds, the other elsewhere; one of them at least is a value."""
        dtype = one.dtype if isinstance(one, Value) else other.dtype  # type: ignore[union-attr]
        one, other = (x if isinstance(x, Value) else self.constant(x, dtype) for x in (one, other))
        return self("Where", condition, one, other, dtype=dtype)

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        """Values one after another."""
        return values[0] if len(values) == 1 else self("Concat", *values, axis=axis)

    def shape(self, *sizes: int | Value) -> Value:
        """A shape as int64 [n], from numbers and values [1]."""
        if all(isinstance(size, int) for size in sizes):
            return self.constant(np.array(sizes))
        return self.concat([self.constant(np.array([s])) if isinstance(s, int) else s for s in sizes], 0)

    def range(self, n: Value) -> Value:
        """Return 0, 1, ..., n − 1 of int64, for n [1]."""
        return self("Range", np.array(0), n.squeeze(0), np.array(1))

    def scan(
        self,
        step: Callable[[list[Value], list[Value]], tuple[Sequence[Value], Sequence[Value]]],
        states: Sequence[Value],
        sequences: Sequence[Value],
        reverse: bool = False,
    ) -> tuple[list[Value], list[Value]]:
        """Run a step over the first axis of sequences: (states, entries) to (new states, outputs).

        Returns the final states and the outputs of all steps.
        """
        with self._body() as nodes:
            before, entries = ([self._new("entry", x.dtype) for x in each] for each in (states, sequences))
            after, found = step(before, entries)
            outputs = [self._named(y, self._new("result", y.dtype).name) for y in (*after, *found)]
        helper = self.onnx.helper
        ends, starts = (
            [helper.make_tensor_value_info(x.name, _type(x.dtype), None) for x in each]
            for each in (outputs, [*before, *entries])
        )
        options = {
            "body": helper.make_graph(nodes, self._new("body", bool).name, starts, ends),
            "num_scan_inputs": len(sequences),
            "scan_input_directions": [int(reverse)] * len(sequences),
            "scan_output_directions": [int(reverse)] * len(found),
        }
        results = self.nodes("Scan", len(outputs), *states, *sequences, **options)
        for result, output in zip(results, outputs, strict=True):
            result.dtype = output.dtype
        return results[: len(states)], results[len(states) :]

    def _named(self, value: Value, name: str) -> Value:
        """Give a value another name."""
        self._scopes[-1].nodes.append(self.onnx.helper.make_node("Identity", [value.name], [name], name))
        return Value(self, name, value.dtype)

    @contextmanager
    def _body(self) -> Iterator[list[Any]]:
        self._scopes.append(_Scope([], {}))
        yield self._scopes[-1].nodes
        self._scopes.pop()

    def _new(self, stem: str, dtype: Any) -> Value:
        self._n_names += 1
        return Value(self, f"{stem.lower()}_{self._n_names}", dtype)

    # ---- ends ----

    def input(self, name: str, dtype: Any, shape: Sequence[int | str], default: Array | None = None) -> Value:
        """Declare what is fed; strings are the names of axes of any length. With a `default` it may be left out."""
        self._inputs.append(self.onnx.helper.make_tensor_value_info(name, _type(dtype), list(shape)))
        if default is not None:
            self._defaults.append(self.onnx.numpy_helper.from_array(default.astype(dtype), name))
        return Value(self, name, dtype)

    def output(self, name: str, value: Value, shape: Sequence[int | str]) -> None:
        """Declare what comes out."""
        self._named(value, name)
        self._outputs.append(self.onnx.helper.make_tensor_value_info(name, _type(value.dtype), list(shape)))

    def model(self, metadata: dict[str, str], version: str) -> Any:
        """Return the checked onnx.ModelProto."""
        helper = self.onnx.helper
        nodes, used = self._needed()
        constants = [each for each in self._initializers.values() if each.name in used]
        graph = helper.make_graph(nodes, "lstmcore", self._inputs, self._outputs, [*constants, *self._defaults])
        opsets = [helper.make_opsetid("", self.opset)]
        made: dict[str, Any] = {"producer_name": "lstmcore", "producer_version": version}
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets), **made
        )
        helper.set_model_props(model, metadata)
        self.onnx.checker.check_model(model, full_check=True)
        return model

    def _needed(self) -> tuple[list[Any], set[str]]:
        """Nodes on which an output depends, and all names that they read, in the bodies of Scans too."""
        used, nodes = {output.name for output in self._outputs}, []
        for node in reversed(self._scopes[0].nodes):
            if used.intersection(node.output):
                nodes.append(node)
                bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
                used.update(node.input, *(inner.input for body in bodies for inner in body.node))
        return nodes[::-1], used


def _type(dtype: Any) -> int:
    import onnx

    dtype = np.dtype(dtype)
    return onnx.TensorProto.STRING if dtype.kind in "OU" else int(onnx.helper.np_dtype_to_tensor_dtype(dtype))


def sigmoid(a: Value) -> Value:
    """1 / (1 + exp(−a))."""
    return a.graph("Sigmoid", a)


def tanh(a: Value) -> Value:
    """Hyperbolic tangent."""
    return a.graph("Tanh", a)


def relu(a: Value) -> Value:
    """max(0, a)."""
    return a.graph("Relu", a)


def hardtanh(a: Value) -> Value:
    """max(−1, min(1, a))."""
    return a.graph("Clip", a, -1.0, 1.0)


def identity(a: Value) -> Value:
    """Return a itself."""
    return a
