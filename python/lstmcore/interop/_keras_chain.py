"""The layers of a Keras model as one stack of ours, with what stands before and after it.

Recurrent layers of different widths or directions become one stack as wide as the widest, in both directions if one has
both. What is added has zero weights: it computes zeros, which nothing reads, and gets no gradients, so it stays zero.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._recurrent import Recurrent
from lstmcore._validation import Array
from lstmcore.embedding import Embedding
from lstmcore.layers import GRU, LSTM, RNN
from lstmcore.network import Dense, Network

GATES = {"LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2], "SimpleRNN": [0]}
"""Where each gate of one side stands on the other: i, f, g, o on both; r, z, n here and z, r, n in Keras."""

# What a cell of Keras says of itself: its class, activations and reset_after.
_CELLS: dict[tuple[Any, ...], tuple[type[Recurrent], dict[str, Any]]] = {
    ("LSTM", "tanh", "sigmoid", None): (LSTM, {}),
    ("GRU", "tanh", "sigmoid", True): (GRU, {}),
    ("GRU", "tanh", "sigmoid", False): (GRU, {"reset_after": False}),
    ("SimpleRNN", "tanh", None, None): (RNN, {}),
    ("SimpleRNN", "relu", None, None): (RNN, {"nonlinearity": "relu"}),
    ("SimpleRNN", "hard_tanh", None, None): (RNN, {"nonlinearity": "hardtanh"}),
}
_ORDER = ("Embedding", "Masking", "recurrent", "pooling", "Dense")


@dataclass
class Stage:
    """One recurrent layer: its cells of Keras, forward and backward, one of which may be missing.

    Attributes
    ----------
    name : str
        What messages call it.
    cells : list
        Two of them.
    every_step : bool
        Whether it returns sequences.
    dropped : float
        Share of its input that training drops.
    """

    name: str
    cells: list[Any]
    every_step: bool
    dropped: float

    @property
    def present(self) -> list[tuple[int, Any]]:
        """The cells that there are, with their direction: 0 forward, 1 backward."""
        return [(direction, cell) for direction, cell in enumerate(self.cells) if cell is not None]


@dataclass
class Chain:
    """The parts of a model, `add`ed in order; then `recurrent` or `network` makes ours."""

    embedding: Any = None
    mask_value: float | None = None  # of Masking, or the token 0 of an Embedding
    stages: list[Stage] = field(default_factory=list)
    pooling: str | None = None
    dense: Any = None
    finish: str = "linear"  # the activation after the dense layer
    dropout: float = 0.0
    _dropped: float = 0.0  # since the last layer that is no Dropout
    _at: int = -1  # the part of _ORDER that came last
    _lost: list[str] = field(default_factory=list)

    # ---- reading ------------------------------------------------------------------------------------------------

    def add(self, layer: Any) -> None:
        """Take the next layer, or raise ValueError that names it."""
        import keras

        kinds = keras.layers
        if isinstance(layer, kinds.Dropout):
            self._dropped = 1 - (1 - self._dropped) * (1 - layer.rate)
        elif isinstance(layer, kinds.Embedding):
            self._arrive("Embedding", layer)
            self.embedding, self.mask_value = layer, 0.0 if layer.mask_zero else None
        elif isinstance(layer, kinds.Masking):
            self._arrive("Masking", layer)
            self.mask_value = float(layer.mask_value)
        elif isinstance(layer, (kinds.RNN, kinds.Bidirectional)):
            self._arrive("recurrent", layer)
            self._add_recurrent(layer)
        elif isinstance(layer, (kinds.GlobalAveragePooling1D, kinds.GlobalMaxPooling1D)):
            self._arrive("pooling", layer)
            self._add_pooling(layer, "mean" if isinstance(layer, kinds.GlobalAveragePooling1D) else "max")
        elif isinstance(layer, (kinds.Dense, kinds.TimeDistributed)):
            self._arrive("Dense", layer)
            self._add_dense(layer)
        elif isinstance(layer, kinds.Activation) and self.dense is not None and self.finish == "linear":
            self._finish_with(layer)
        else:
            raise ValueError(
                f"{named(layer)} cannot be mapped: only Embedding, Masking, LSTM, GRU, SimpleRNN, Bidirectional, "
                f"Dropout, global pooling and Dense can"
            )

    def _arrive(self, part: str, layer: Any) -> None:
        at = _ORDER.index(part)
        if at < self._at or (at == self._at and part != "recurrent"):
            raise ValueError(
                f"{named(layer)} stands where it cannot be mapped: one Embedding, one Masking, recurrent layers, one "
                f"global pooling and one Dense can, in this order"
            )
        self._at = at

    def _add_recurrent(self, layer: Any) -> None:
        import keras

        if isinstance(layer, keras.layers.Bidirectional):
            if layer.merge_mode != "concat":
                raise ValueError(
                    f"{named(layer)} has merge_mode={layer.merge_mode!r}: only 'concat' maps; then the halves of "
                    f"the last axis may be merged outside"
                )
            ways = [_cells(layer.forward_layer), _cells(layer.backward_layer)]
            if layer.forward_layer.go_backwards or len(ways[0]) > 1:
                raise ValueError(f"{named(layer)} wraps a layer that itself goes backwards, or stacked cells")
        else:
            if layer.go_backwards and layer.return_sequences:
                raise ValueError(
                    f"{named(layer)} has go_backwards=True and returns sequences in reverse: map it with "
                    f"go_backwards=False, and give the result sequences that are reversed in time"
                )
            cells = _cells(layer)
            missing: list[Any] = [None] * len(cells)
            ways = [missing, cells] if layer.go_backwards else [cells, missing]
        for k, pair in enumerate(zip(*ways, strict=True)):
            units = [cell.units for cell in pair if cell is not None]
            if len(set(units)) > 1:
                raise ValueError(f"{named(layer)} has directions of different units, {units}")
            first = next(cell for cell in pair if cell is not None)
            dropped = 1 - (1 - self._dropped) * (1 - first.dropout)
            self.stages.append(Stage(named(layer), list(pair), layer.return_sequences or k + 1 < len(ways[0]), dropped))
            self._dropped = 0.0

    def _add_pooling(self, layer: Any, kind: str) -> None:
        if layer.data_format != "channels_last" or layer.keepdims:
            raise ValueError(f"{named(layer)} must have data_format='channels_last' and keepdims=False")
        if kind == "max" and self.mask_value is not None:
            raise ValueError(f"{named(layer)} does not see the mask: it takes masked steps into its maximum")
        self.pooling = kind

    def _add_dense(self, layer: Any) -> None:
        import keras

        inner = layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer
        if not isinstance(inner, keras.layers.Dense):
            raise ValueError(f"{named(layer)} wraps {named(inner)}: only Dense can be mapped")
        self.dense, self.dropout = inner, self._dropped
        self._finish_with(inner)

    def _finish_with(self, layer: Any) -> None:
        import keras

        found = keras.activations.serialize(layer.activation)
        if found not in ("linear", "softmax", "sigmoid"):
            raise ValueError(f"{named(layer)} has activation={found!r}: only linear, softmax and sigmoid map")
        self.finish = found

    # ---- making -------------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> str:
        """Of the recurrent layers."""
        found = {str(cell.compute_dtype) for stage in self.stages for _, cell in stage.present}
        return check.choice(" and ".join(sorted(found)), "dtype of the recurrent layers", ("float32", "float64"))

    def recurrent(self) -> Recurrent:
        """Return a layer, for recurrent layers alone."""
        for part, found in (("an Embedding", self.embedding), ("masks", self.mask_value), ("a pooling", self.pooling)):
            if found is not None:
                raise ValueError(f"a model with {part} must have a Dense after its recurrent layers")
        for stage in self.stages:
            if stage.cells[0] is None:
                raise ValueError(
                    f"{stage.name} has go_backwards=True: map it with go_backwards=False, and give the result "
                    f"sequences that are reversed in time"
                )
        shapes = [[cell.units for _, cell in stage.present] for stage in self.stages]
        if any(shape != shapes[0] for shape in shapes) or len(set(shapes[0])) > 1:
            raise ValueError(
                f"recurrent layers with different units or directions, {shapes}, are one stack only with a Dense "
                f"after them"
            )
        return self._stack(batch_first=True)[0]

    def network(self) -> Network:
        """Return a network, for a chain with a Dense."""
        pooling = self.pooling if self.stages[-1].every_step else "last"
        recurrent, columns = self._stack(batch_first=False)
        kernel, *bias = weights(self.dense)
        weight = np.zeros((kernel.shape[1], recurrent.output_size), self.dtype)
        weight[:, columns] = kernel.T
        dense = Dense(recurrent.output_size, kernel.shape[1], bool(bias), dtype=self.dtype, seed=0)
        dense.load_parameters({"weight": weight} | ({"bias": bias[0]} if bias else {}))
        embedding = None
        if self.embedding is not None:
            vectors = weights(self.embedding)[0]
            embedding = Embedding(*vectors.shape, vectors=vectors, trainable=self.embedding.trainable, dtype=self.dtype)
        return Network(recurrent, pooling, dense, dropout=self.dropout, embedding=embedding)

    def _stack(self, batch_first: bool) -> tuple[Recurrent, Array]:
        """Return our stack, and which columns of its output hold what the last layer of Keras puts out."""
        cells = [cell for stage in self.stages for _, cell in stage.present]
        kinds = {_kind(cell, stage.name): None for stage in self.stages for _, cell in stage.present}
        if len(kinds) > 1:
            raise ValueError(f"recurrent layers must be of one kind to become one stack, got {list(kinds)}")
        (kind,) = kinds
        make: Any
        make, options = _CELLS[kind]
        gates = GATES[kind[0]]
        hidden_size = max(cell.units for cell in cells)
        columns = np.arange(weights(cells[0])[0].shape[0])
        layer: Recurrent = make(
            len(columns),
            hidden_size,
            len(self.stages),
            bias=any(cell.use_bias for cell in cells),
            batch_first=batch_first,
            dropout=self._same("dropout", [stage.dropped for stage in self.stages[1:]] or [0.0]),
            bidirectional=any(stage.cells[1] is not None for stage in self.stages),
            recurrent_dropout=self._same("recurrent_dropout", [cell.recurrent_dropout for cell in cells]),
            dtype=self.dtype,
            seed=0,
            **options,
        )
        parameters = {name: np.zeros_like(value) for name, value in layer.parameters.items()}
        for k, stage in enumerate(self.stages):
            for direction, cell in stage.present:
                suffix = f"_l{k}" + ("_reverse" if direction else "")
                for name, value in _parameters(cell, gates).items():
                    whole = parameters[name + suffix].reshape(len(gates), hidden_size, -1)
                    across = columns if name == "weight_ih" else np.arange(value.shape[2])
                    whole[:, : cell.units, across] = value
            columns = np.concatenate([d * hidden_size + np.arange(cell.units) for d, cell in stage.present])
        layer.load_parameters(parameters)
        if self.stages[0].dropped:
            self._lost.append(f"dropout={self.stages[0].dropped:g} before the first recurrent layer")
        if self._lost:
            warnings.warn(f"what concerns training alone is lost: {', '.join(self._lost)}", stacklevel=4)
        return layer, columns

    def _same(self, name: str, rates: list[float]) -> float:
        """Return what all recurrent layers drop, or 0 if they differ: training alone sees it."""
        if len(set(rates)) == 1:
            return rates[0]
        self._lost.append(f"{name} that differs between recurrent layers, {rates}")
        return 0.0


def layers_of(source: Any) -> Iterator[Any]:
    """The layers of a model that is a chain, in order; of a layer itself."""
    import keras

    if not isinstance(source, keras.Model):
        if not source.built:
            raise ValueError(f"{named(source)} must be built: call it, or its build(shape), once")
        yield source
        return
    if isinstance(source, keras.Sequential) and source.built:
        found = list(source.layers)
    elif getattr(source, "inputs", None) is None or len(source.inputs) != 1 or len(source.outputs) != 1:
        raise ValueError(f"{named(source)} must be built, Sequential or functional, of one input and one output")
    else:
        found, tensor = [], source.outputs[0]
        while not isinstance((history := tensor._keras_history).operation, keras.layers.InputLayer):
            inputs = _inputs(history.operation._inbound_nodes[history.node_index])
            if len(inputs) != 1:
                raise ValueError(f"{named(history.operation)} has {len(inputs)} inputs: only chains map")
            found.insert(0, history.operation)
            if history.tensor_index:
                raise ValueError(
                    f"{named(history.operation)} is read at output {history.tensor_index}: only chains map"
                )
            tensor = inputs[0]
    for layer in found:
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer


def _inputs(node: Any) -> list[Any]:
    """What a layer of a functional model reads, but for the mask that goes along with it."""
    tensors, mask = node.input_tensors, node.arguments.kwargs.get("mask")
    if all(getattr(tensor, "_keras_mask", None) is None for tensor in tensors):
        return list(tensors)
    return [tensor for tensor in tensors if tensor is not mask]


def weights(layer: Any) -> list[Array]:
    """The arrays of a layer of Keras, on any backend."""
    import keras

    return [np.asarray(keras.ops.convert_to_numpy(weight)) for weight in layer.weights]


def _cells(layer: Any) -> list[Any]:
    """The cells of a recurrent layer, from the input up, if there are cells like them here."""
    import keras

    cells = list(layer.cell.cells) if isinstance(layer.cell, keras.layers.StackedRNNCells) else [layer.cell]
    for cell in cells:
        _kind(cell, named(layer))
    return cells


def _kind(cell: Any, name: str) -> tuple[Any, ...]:
    """What `_CELLS` knows a cell by."""
    import keras

    def activation(which: str) -> Any:
        return keras.activations.serialize(getattr(cell, which)) if hasattr(cell, which) else None

    kind = type(cell).__name__.removesuffix("Cell")
    found = (kind, activation("activation"), activation("recurrent_activation"), getattr(cell, "reset_after", None))
    if found not in _CELLS:
        said = f"activation={found[1]!r}" + ("" if found[2] is None else f", recurrent_activation={found[2]!r}")
        known = "LSTM and GRU with tanh and sigmoid, SimpleRNN with tanh, relu or hard_tanh"
        raise ValueError(f"{name} is of {type(cell).__name__}s with {said}: only {known} map")
    return found


def _parameters(cell: Any, gates: list[int]) -> dict[str, Array]:
    """Parameters of a cell in our names and gate order, [gates, units, columns]."""
    kernel, recurrent, *bias = weights(cell)

    def ours(array: Array) -> Array:  # [columns, gates * units]
        return array.reshape(len(array), len(gates), -1)[:, gates].transpose(1, 2, 0)

    found = {"weight_ih": ours(kernel), "weight_hh": ours(recurrent)}
    if bias:
        rows = np.atleast_2d(bias[0])  # of the input, and of the recurrent product with reset_after
        found |= {name: ours(row[None]) for name, row in zip(("bias_ih", "bias_hh"), rows, strict=False)}
    return found


def named(layer: Any) -> str:
    """Return class and name of a layer, for messages."""
    return f"{type(layer).__name__} {layer.name!r}"
