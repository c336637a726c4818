"""What an ONNX graph is here, and what computes it: its nodes in a row, one function of arrays each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lstmcore._recurrent import Recurrent
from lstmcore._validation import Array
from lstmcore.interop._onnx_nodes import NODES
from lstmcore.interop._onnx_recurrent import WEIGHTS, RecurrentNode, weights_of

RECURRENT = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True)
class Node:
    """One operator of a graph.

    Attributes
    ----------
    op : str
        Name of the operator, such as "LSTM".
    inputs, outputs : sequence of str
        Names of values; "" is an input or output that is left out.
    attributes : dict
        Numbers, text, lists of them, arrays, graphs.
    name : str
        Name of the node, or "".
    """

    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    def __str__(self) -> str:
        """Return the node as messages name it."""
        return f"node {self.label!r} ({self.op})"

    @property
    def label(self) -> str:
        """The node's name, or that of its first output."""
        return self.name or next(filter(None, self.outputs), self.op)


@dataclass(frozen=True)
class Graph:
    """A graph as `Program` runs it.

    Attributes
    ----------
    inputs : dict of str to (dtype, shape)
        What a call must give. The shape is a tuple of int, or of str or None for sizes that may vary; None: any.
    outputs : sequence of str
        What a call returns.
    nodes : sequence of Node
        In an order in which they can be computed.
    constants : dict of str to ndarray
        Initializers.
    defaults : dict of str to ndarray
        Of the inputs that a call may leave out.
    opset : int
        Version of the operators.
    """

    inputs: dict[str, tuple[np.dtype[Any], tuple[int | str | None, ...] | None]]
    outputs: Sequence[str]
    nodes: Sequence[Node]
    constants: dict[str, Array] = field(default_factory=dict)
    defaults: dict[str, Array] = field(default_factory=dict)
    opset: int = 22


class Program:
    """A graph as a function of its inputs. What depends on constants alone is computed once, here.

    Parameters
    ----------
    graph : Graph
        The graph; that of a node, such as the body of a Scan, is a program of its own.
    constants : dict of str to ndarray
        Of the graph around it.
    around : set of str
        Other values of the graph around it.

    Attributes
    ----------
    inputs, outputs : list of str
        What a call takes and returns.
    captured : list of str
        The values of the graph around it that it reads: a call takes these after the inputs.
    layers : dict of str to Recurrent
        The recurrent nodes by name, those of subgraphs too.
    """

    def __init__(self, graph: Graph, constants: Mapping[str, Array] = {}, around: Set[str] = frozenset()) -> None:
        self.inputs, self.outputs = list(graph.inputs), list(graph.outputs)
        self.captured: list[str] = []
        self.layers: dict[str, Recurrent] = {}
        self._constants = {**constants, **graph.constants}
        self._steps: list[tuple[Node, Callable[..., Any], list[str]]] = []
        self._known, self._around = {"", *self.inputs, *self._constants}, around
        for node in graph.nodes:
            self._find(node.inputs, f"{node} reads")
            try:
                step = self._step(node, graph.opset)
            except (TypeError, AttributeError) as error:  # an attribute of a type that the operator does not have
                raise ValueError(f"{node} cannot be read: {error}") from error
            self._find(step[2], f"{node} reads")  # its subgraphs, too
            if all(name == "" or name in self._constants for name in step[2]):
                self._constants.update(_computed(*step, self._constants))
            else:
                self._steps.append(step)
            self._known.update(node.outputs)
        self._find(self.outputs, "the graph returns")

    def __call__(self, *arrays: Array) -> list[Array]:
        """Compute the outputs from the inputs and what is captured."""
        values = {**self._constants, **dict(zip([*self.inputs, *self.captured], arrays, strict=True))}
        for step in self._steps:
            values.update(_computed(*step, values))
        return [values[name] for name in self.outputs]

    def _find(self, names: Sequence[str], reader: str) -> None:
        """Capture what comes from around, and raise ValueError for what comes from nowhere."""
        for name in names:
            if name in self._known:
                continue
            if name not in self._around:
                raise ValueError(f"{reader} {name!r}, which nothing before it computes")
            self.captured.append(name)
            self._known.add(name)

    def _step(self, node: Node, opset: int) -> tuple[Node, Callable[..., Any], list[str]]:
        """Return a node, what computes it, and the names of the values that this takes."""
        if node.op in RECURRENT:
            weights = weights_of(node)
            for role, name in weights.items():
                if name not in self._constants:
                    raise ValueError(f"{role} of {node} must be a constant, but {name!r} depends on the inputs")
            recurrent = RecurrentNode(node, {role: self._constants[name] for role, name in weights.items()})
            self.layers[node.label] = recurrent.layer
            return node, recurrent, [name for place, name in enumerate(node.inputs) if place not in WEIGHTS]
        if node.op not in NODES:
            raise ValueError(f"{node} cannot be mapped; operators that can: {', '.join([*RECURRENT, *NODES])}")
        bodies = {
            name: Program(value, self._constants, self._known | self._around)
            for name, value in node.attributes.items()
            if isinstance(value, Graph)
        }
        names = list(node.inputs)
        for body in bodies.values():
            names += body.captured
            self.layers |= body.layers
        return node, _function(replace(node, attributes={**node.attributes, **bodies}), opset), names


def _function(node: Node, opset: int) -> Callable[..., Any]:
    """Return what computes a node: a function of its inputs. An attribute that it does not know is an error."""
    compute = NODES[node.op]
    names = set(inspect.signature(compute).parameters)
    unknown = sorted(set(node.attributes) - (names - {"opset"}))
    if unknown:
        raise ValueError(f"{node} has the attribute {unknown[0]!r}, which cannot be mapped")
    options = {**node.attributes, "opset": opset} if "opset" in names else node.attributes
    return lambda *arrays: compute(*arrays, **options)


def _computed(
    node: Node, compute: Callable[..., Any], names: list[str], values: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the outputs of a node by name."""
    arrays = [values[name] if name else None for name in names]
    try:
        result = compute(*arrays)
    except (ValueError, TypeError, IndexError, ArithmeticError, MemoryError) as error:
        given = ", ".join(
            f"{name} {array.shape}" for name, array in zip(names, arrays, strict=True) if array is not None
        )
        raise ValueError(f"{node} of {given or 'nothing'}: {error}") from error
    results = result if isinstance(result, tuple) else (result,)
    if len(node.outputs) > len(results):
        raise ValueError(f"{node} has {len(node.outputs)} outputs, of which {len(results)} can be mapped")
    return {name: np.asarray(value) for name, value in zip(node.outputs, results, strict=False) if name}
