"""From ONNX: recurrent nodes as layers, and whole graphs of them and of what stands around them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._validation import Array
from lstmcore.interop._onnx_program import RECURRENT, Graph, Node, Program
from lstmcore.interop._onnx_recurrent import weights_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from onnx import ModelProto

_OLDEST_OPSET = 7
_FIRST_SCAN = 9  # opset of the Scan without a batch axis
_FIRST_WITH_OPTIONAL_INPUTS = 4  # version of the file format


def from_onnx(model: ModelProto | str | os.PathLike[str]) -> OnnxModel:
    """Return a callable that computes what an ONNX model computes, its recurrent nodes by this package's kernels.

    Needs the package ``onnx``, and not ONNX Runtime. Nothing in the file is run as code.

    Parameters
    ----------
    model : onnx.ModelProto, str or path
        A model, or its file. LSTM, GRU and RNN nodes may have everything that the operators have, but weights that
        depend on the inputs of a call. Around them stand the nodes that exporters put there: Gather, Transpose,
        Reshape, Slice, Concat, MatMul, Gemm, arithmetic, comparisons, reductions, activations, Scan; so all that
        `to_onnx` writes. Opset 7 or newer.

    Returns
    -------
    OnnxModel
        Call it with a dict of the model's inputs.

    Raises
    ------
    TypeError
        If `model` is none of these.
    ValueError
        If the file cannot be read, or if the model has an operator, an attribute, external data or a subgraph that
        cannot be mapped; the message names it.

    Examples
    --------
    >>> model = lstmcore.from_onnx("model.onnx")  # doctest: +SKIP
    >>> outputs = model({"X": x})  # doctest: +SKIP
    >>> model.layers  # doctest: +SKIP
    {'lstm': Recurrent('lstm', 8, 32)}
    """
    import onnx
    from google.protobuf.message import DecodeError

    if isinstance(model, (str, os.PathLike)):
        try:
            model = onnx.load(os.fspath(model), load_external_data=False)
        except DecodeError as error:
            raise ValueError(f"{os.fspath(model)!r} is not an ONNX model: {error}") from None
    if not isinstance(model, onnx.ModelProto):
        raise TypeError(f"model must be an onnx.ModelProto or the path of one, got {type(model).__name__}")
    return OnnxModel(_read(model))


class OnnxModel:
    """An ONNX graph that computes; `from_onnx` makes it.

    Recurrent nodes run on this package's kernels, with the same bits for any number of threads or batch split; the
    other nodes are NumPy's, and the body of a Scan is run once a step. What depends on constants alone is computed
    once, here.

    Attributes
    ----------
    inputs : dict of str to (dtype, shape)
        What a call takes. A size that may vary is a name or None; so is the shape, if any will do.
    optional : list of str
        The inputs that a call may leave out, since the model has a value for them.
    outputs : list of str
        What a call returns.
    layers : dict of str to Recurrent
        The recurrent nodes by name (that of its first output for a node without one), bound to copies of the weights:
        they can be trained, and a call uses what they have become. Of a reverse node: what sees the steps in reverse.
        A layer with activations or a clip that no cell of `lstmcore.cells` has is for inference alone.
    """

    def __init__(self, graph: Graph) -> None:
        self.inputs, self.outputs, self.optional = dict(graph.inputs), list(graph.outputs), list(graph.defaults)
        self._defaults, self._program = dict(graph.defaults), Program(graph)
        self.layers = self._program.layers

    def __call__(self, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """Compute the outputs.

        Parameters
        ----------
        inputs : dict of str to array-like
            Every input of the model but those that are optional, by its name. Converted to the model's dtypes.

        Returns
        -------
        dict of str to ndarray
            Every output of the model by its name.

        Raises
        ------
        ValueError, TypeError
            If an input is missing, unknown or not as the model describes it, or if a node cannot compute; the message
            names it and quotes shapes.
        """
        values = {**self._defaults, **self._checked(inputs)}
        found = self._program(*[values[name] for name in self.inputs])
        return dict(zip(self.outputs, found, strict=True))

    def __repr__(self) -> str:
        """Return inputs, outputs and layers."""
        return f"<OnnxModel {', '.join(self.inputs)} -> {', '.join(self.outputs)}; layers {self.layers}>"

    def _checked(self, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
        if not isinstance(inputs, Mapping):
            raise TypeError(f"inputs must be a dict of the model's inputs by name, got {type(inputs).__name__}")
        for name in inputs:
            check.choice(name, "input", self.inputs)
        values = {}
        for name, (dtype, shape) in self.inputs.items():
            if name not in inputs and name in self._defaults:
                continue
            if name not in inputs:
                raise ValueError(f"input {name!r} is missing; the model takes {', '.join(map(repr, self.inputs))}")
            array = check.numeric(inputs[name], f"input {name!r}")
            if dtype.kind in "iu" and array.dtype.kind == "f":
                raise TypeError(f"input {name!r} must be of integers, {dtype}, got {array.dtype}")
            if shape is not None and not _fits(array.shape, shape):
                sizes = ", ".join("?" if size is None else str(size) for size in shape)
                raise ValueError(f"input {name!r} must have shape [{sizes}], got {array.shape}")
            values[name] = check.contiguous(array, dtype)
        return values


def _fits(shape: tuple[int, ...], wanted: tuple[int | str | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        size == want for size, want in zip(shape, wanted, strict=True) if isinstance(want, int)
    )


# ---- reading a file -------------------------------------------------------------------------------------------------


def _read(model: ModelProto) -> Graph:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    if not versions:
        raise ValueError("the model says no opset, and so is none or not whole")
    if opset < _OLDEST_OPSET:
        raise ValueError(f"the model is of opset {opset}; {_OLDEST_OPSET} is the oldest that can be mapped")
    return _graph(model.graph, opset, model.ir_version)


def _graph(graph: Any, opset: int, ir_version: int) -> Graph:
    if graph.sparse_initializer:
        raise ValueError(f"initializer {graph.sparse_initializer[0].values.name!r} is sparse, which cannot be mapped")
    nodes = [_node(proto, opset, ir_version) for proto in graph.node]
    constants = {tensor.name: _array(tensor, f"initializer {tensor.name!r}") for tensor in graph.initializer}
    weights = {name for node in nodes if node.op in RECURRENT for name in weights_of(node).values()}
    inputs, defaults = {}, {}
    for value in graph.input:
        if value.name in constants:
            # An input with a value. In the oldest files all weights are such; later, who lists them means them fixed.
            if ir_version < _FIRST_WITH_OPTIONAL_INPUTS or value.name in weights:
                continue
            defaults[value.name] = constants.pop(value.name)
        if value.type.WhichOneof("value") != "tensor_type":
            raise ValueError(f"input {value.name!r} is not a tensor, and cannot be mapped")
        kind = value.type.tensor_type
        shape = tuple(_size(dim) for dim in kind.shape.dim) if kind.HasField("shape") else None
        inputs[value.name] = _dtype(kind.elem_type, f"input {value.name!r}"), shape
    return Graph(inputs, [value.name for value in graph.output], nodes, constants, defaults, opset)


def _dtype(kind: Any, where: str) -> np.dtype[Any]:
    from onnx import helper

    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind))
    except (KeyError, TypeError):
        dtype = np.dtype("V")
    if dtype.kind not in "fiub":
        raise ValueError(f"{where} is of element type {kind}, which cannot be mapped")
    return dtype


def _size(dim: Any) -> int | str | None:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None


def _node(proto: Any, opset: int, ir_version: int) -> Node:
    node = Node(proto.op_type, list(proto.input), list(proto.output), {}, proto.name)
    if proto.domain not in ("", "ai.onnx"):
        raise ValueError(f"{node} is of domain {proto.domain!r}, which cannot be mapped")
    for attribute in proto.attribute:
        body = node.op == "Scan" and attribute.name == "body" and opset >= _FIRST_SCAN
        node.attributes[attribute.name] = (
            _graph(attribute.g, opset, ir_version) if body else _attribute(attribute, node)
        )
    return node


def _attribute(attribute: Any, node: Node) -> Any:
    from onnx import AttributeProto, helper

    where = f"attribute {attribute.name!r} of {node}"
    if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
        raise ValueError(f"{where} is a subgraph; only that of a Scan of opset {_FIRST_SCAN} or newer can be mapped")
    if attribute.type == AttributeProto.TENSOR:
        return _array(attribute.t, where)
    if attribute.type == AttributeProto.STRING:
        return attribute.s.decode()
    if attribute.type == AttributeProto.STRINGS:
        return [text.decode() for text in attribute.strings]
    if attribute.type not in (AttributeProto.FLOAT, AttributeProto.FLOATS, AttributeProto.INT, AttributeProto.INTS):
        raise ValueError(
            f"{where} is of type {AttributeProto.AttributeType.Name(attribute.type)}, which cannot be mapped"
        )
    value = helper.get_attribute_value(attribute)
    if node.op == "Cast" and attribute.name == "to":
        return _dtype(value, where)
    return value if attribute.type in (AttributeProto.FLOAT, AttributeProto.INT) else list(value)


def _array(tensor: Any, where: str) -> Array:
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL:
        raise ValueError(f"{where} has its data in another file: pass onnx.load(path), which reads it")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{where} cannot be read: {error}") from None
    if array.dtype.kind == "O":  # text
        return array.astype(str)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where} is of {array.dtype}, which cannot be mapped")
    return array
