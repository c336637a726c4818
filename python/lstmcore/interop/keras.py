"""From Keras and back: recurrent layers, and embedding, recurrent layers, pooling and a dense layer in a row.

Keras keeps weights transposed, has one bias where torch has two (but in a GRU with ``reset_after``), and the gates of a
GRU in the order z, r, n.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lstmcore._recurrent import Recurrent
from lstmcore._validation import Array
from lstmcore.frames import sequences_from_mask
from lstmcore.interop._agreement import compare, no_layer
from lstmcore.interop._keras_chain import GATES, Chain, layers_of
from lstmcore.network import Network

# From our cell to a layer of Keras.
_LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {"reset_after": True}),
    "gru_reset_before": ("GRU", {"reset_after": False}),
    "rnn_tanh": ("SimpleRNN", {"activation": "tanh"}),
    "rnn_relu": ("SimpleRNN", {"activation": "relu"}),
    "rnn_hardtanh": ("SimpleRNN", {"activation": "hard_tanh"}),
}
_POOLINGS = {"mean": "GlobalAveragePooling1D", "max": "GlobalMaxPooling1D", "last": None, None: None}
_STEPS, _BATCH = 7, 3


def from_keras(source: Any) -> Recurrent | Network:
    """Return a layer or network that computes what a Keras layer or model computes.

    Parameters
    ----------
    source : keras.layers.Layer, keras.Model, str or path
        A built ``LSTM``, ``GRU``, ``SimpleRNN``, ``RNN`` of such cells, or a ``Bidirectional`` of one of them with
        merge_mode="concat"; or a model, Sequential or functional, that is a chain of: ``Embedding``, ``Masking``,
        recurrent layers of one kind, ``GlobalAveragePooling1D`` or ``GlobalMaxPooling1D``, and one ``Dense`` (also in
        ``TimeDistributed``); all but the recurrent layers may be missing. Or the ``.keras`` file of one, which Keras
        reads in its safe mode. Of float32 or float64, on any backend; it is not changed.

    Returns
    -------
    Recurrent
        An `LSTM`, `GRU` or `RNN` with ``batch_first=True``, for recurrent layers alone. It gives the outputs of every
        step and the final states, whatever return_sequences and return_state are.
    Network
        For a model with a Dense. Its outputs are what goes into a last softmax or sigmoid. Recurrent layers of
        different widths or directions become a stack of the widest; what is added to them is zero and stays zero.

    Warns
    -----
    UserWarning
        If something that concerns training alone is lost, such as dropout before the first recurrent layer.

    Raises
    ------
    TypeError
        If `source` is none of these.
    FileNotFoundError
        If there is no such file.
    ValueError
        If it has a part or an option that cannot be mapped; the message names it. If the file is damaged.
    RuntimeError
        If the two do not compute the same on random input, masked where the model masks (checked on every call).

    Notes
    -----
    A network takes sequences without the steps that Keras masks: `sequences_from_mask` leaves them out.

    Examples
    --------
    >>> import keras  # doctest: +SKIP
    >>> layers = [keras.Input((None, 3)), keras.layers.GRU(32), keras.layers.Dense(1)]  # doctest: +SKIP
    >>> network = from_keras(keras.Sequential(layers))  # doctest: +SKIP
    """
    import keras

    if isinstance(source, (str, os.PathLike)):
        if Path(source).suffix != ".keras":
            raise ValueError(f"source must be a file with the suffix .keras, got {os.fspath(source)!r}")
        if not Path(source).is_file():
            raise FileNotFoundError(f"there is no file {os.fspath(source)}")
        if not zipfile.is_zipfile(source):
            raise ValueError(f"{os.fspath(source)!r} is not a .keras file, or not a whole one")
        source = keras.saving.load_model(source, compile=False, safe_mode=True)
    if not isinstance(source, keras.layers.Layer):
        raise TypeError(f"source must be a layer or model of Keras or a .keras file, got {type(source).__name__}")
    chain = Chain()
    for layer in layers_of(source):
        chain.add(layer)
    if not chain.stages:
        raise ValueError(f"source must have an LSTM, GRU or SimpleRNN, {source.name!r} has none")
    if chain.dense is None:
        layer = chain.recurrent()
        _check_layer(layer, chain, source)
        return layer
    network = chain.network()
    _check_network(network, chain, source)
    return network


def to_keras(layer: Recurrent | Network) -> Any:
    """Return a Keras model that computes what a layer or network computes.

    Parameters
    ----------
    layer : Recurrent or Network
        Its cell must be one that Keras has: "lstm", "gru", "gru_reset_before", "rnn_tanh", "rnn_relu" or
        "rnn_hardtanh", without projection and zoneout. A network's pooling must be "last", "mean", "max" or None.

    Returns
    -------
    keras.Sequential
        From [B, T, I], or token numbers [B, T], to the outputs of every step, or of a network to [B, n_outputs] or
        [B, T, n_outputs]; a layer of Keras for each layer of ours. The two biases of an LSTM, an RNN or a GRU that
        resets before are added up.

    Raises
    ------
    TypeError
        If `layer` is neither.
    ValueError
        If it has a part that Keras has not; the message names it.
    RuntimeError
        If the two do not compute the same on random input (checked on every call).
    """
    import keras

    if not isinstance(layer, (Recurrent, Network)):
        raise TypeError(no_layer(layer))
    kinds = keras.layers
    if isinstance(layer, Recurrent):
        parts = _keras_stack(layer, every_step=True)
        model = _assembled(keras.Input((None, layer.input_size), dtype=layer.dtype.name), parts)
    else:
        parts = _keras_stack(layer.recurrent, every_step=layer.pooling != "last")
        inputs = keras.Input((None, layer.n_features), dtype=layer.dtype.name)
        if layer.initial is not None:
            raise ValueError(f"static features ({layer.n_static}) have no counterpart in a row of layers")
        if layer.pooling not in _POOLINGS:
            raise ValueError(f"pooling {layer.pooling!r} has no counterpart in Keras")
        own: dict[str, Any] = {"dtype": layer.dtype.name}
        if (source := layer.embedding) is not None:
            inputs = keras.Input((None,), dtype="int32")
            vectors = kinds.Embedding(source.n_tokens, source.dim, trainable=source.trainable, **own)
            parts.insert(0, (vectors, [source.weight]))
        if (pooling := _POOLINGS[layer.pooling]) is not None:
            parts.append((getattr(kinds, pooling)(**own), []))
        if layer.dropout:
            parts.append((kinds.Dropout(layer.dropout, **own), []))
        dense = kinds.Dense(layer.n_outputs, use_bias=layer.dense.bias, **own)
        parts.append((dense, [value.T for value in layer.dense.parameters.values()]))
        model = _assembled(inputs, parts)
    chain = Chain()
    for part in model.layers:
        chain.add(part)
    if isinstance(layer, Network):
        _check_network(layer, chain, model)
    else:
        _check_layer(layer, chain, model)
    return model


def _keras_stack(layer: Recurrent, every_step: bool) -> list[tuple[Any, list[Array]]]:
    """The layers of Keras for a stack, each with the arrays for its `set_weights`."""
    import keras

    if layer.cell not in _LAYERS:
        raise ValueError(f"cell {layer.cell!r} has no counterpart in Keras, which has {', '.join(_LAYERS)}")
    for option, plain in (("proj_size", 0), ("zoneout", 0.0), ("weight_dtype", None)):
        if (found := getattr(layer, option)) != plain:
            raise ValueError(f"{option}={found!r} has no counterpart in Keras")
    kind, options = _LAYERS[layer.cell]
    own = {"dtype": layer.dtype.name}
    parts: list[tuple[Any, list[Array]]] = []
    for k in range(layer.num_layers):
        if k and layer.dropout:
            parts.append((keras.layers.Dropout(layer.dropout, **own), []))
        made = getattr(keras.layers, kind)(
            layer.hidden_size,
            use_bias=layer.bias,
            recurrent_dropout=layer.recurrent_dropout,
            return_sequences=every_step or k + 1 < layer.num_layers,
            **own,
            **options,
        )
        arrays = _keras_weights(layer, kind, f"_l{k}")
        if layer.bidirectional:
            made = keras.layers.Bidirectional(made, **own)
            arrays += _keras_weights(layer, kind, f"_l{k}_reverse")
        parts.append((made, arrays))
    return parts


def _keras_weights(layer: Recurrent, kind: str, suffix: str) -> list[Array]:
    gates = GATES[kind]

    def theirs(name: str) -> Array:  # [gates * H, columns] or [gates * H]
        value = layer.parameters[name + suffix]
        return value.reshape(len(gates), layer.hidden_size, -1)[gates].reshape(len(value), -1).T

    arrays = [theirs("weight_ih"), theirs("weight_hh")]
    if layer.bias:
        both = np.concatenate([theirs("bias_ih"), theirs("bias_hh")])
        arrays.append(both if layer.cell == "gru" else both.sum(axis=0))
    return arrays


def _assembled(inputs: Any, parts: list[tuple[Any, list[Array]]]) -> Any:
    import keras

    model = keras.Sequential([inputs, *(part for part, _ in parts)])
    for part, arrays in parts:
        part.set_weights([np.asarray(array) for array in arrays])
    return model


# ---- the same numbers -----------------------------------------------------------------------------------------------

_FINISH: dict[str, Callable[[Array], Array]] = {
    "linear": lambda a: a,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "softmax": lambda a: np.exp(a - a.max(-1, keepdims=True)) / np.exp(a - a.max(-1, keepdims=True)).sum(-1)[..., None],
}


def _check_layer(layer: Recurrent, chain: Chain, source: Any) -> None:
    x, _ = _sample(layer.input_size, layer.dtype, chain, source)
    y, state = layer(x if layer.batch_first else x.swapaxes(0, 1))
    y = y if layer.batch_first else y.swapaxes(0, 1)
    if not chain.stages[-1].every_step:
        h = state[0] if isinstance(state, tuple) else state
        y = np.concatenate(list(h[-2:] if layer.bidirectional else h[-1:]), axis=-1)
    _compare(y, _run(source, chain, x), layer.cell)


def _check_network(network: Network, chain: Chain, source: Any) -> None:
    x, mask = _sample(network.n_features, network.dtype, chain, source)
    expected = _run(source, chain, x)
    outputs = network.predict(sequences_from_mask(x, mask))
    found = _FINISH[chain.finish](outputs.astype(np.float64)).astype(network.dtype)
    _compare(found, expected[mask] if network.pooling is None else expected, "the network")


def _compare(ours: Array, theirs: Array, name: str) -> None:
    import keras

    dtype = ours.dtype.name  # on PyTorch, Keras multiplies matrices of float64 in float32
    compare([ours], [theirs], name, "Keras", str(keras.backend.result_type(dtype, dtype)))


def _sample(width: int, dtype: np.dtype[Any], chain: Chain, source: Any) -> tuple[Array, Array]:
    """Random input of a model and which of its steps count: all, or if it masks some of each sequence."""
    rng = np.random.default_rng(0)
    inputs = getattr(source, "inputs", None)
    shape = inputs[0].shape[:2] if inputs else (None, None)
    batch, steps = (given or default for given, default in zip(shape, (_BATCH, _STEPS), strict=True))
    mask = np.ones((batch, steps), bool)
    if chain.mask_value is not None:
        mask = rng.random((batch, steps)) < 0.6
        mask[np.arange(batch), rng.integers(0, steps, batch)] = True
    if chain.embedding is not None:
        return rng.integers(0 if mask.all() else 1, chain.embedding.input_dim, mask.shape) * mask, mask
    x = rng.standard_normal((batch, steps, width))
    x = (x.astype(inputs[0].dtype) if inputs else x).astype(dtype)  # a model casts to what its Input is of
    if chain.mask_value is not None:
        x[~mask] = chain.mask_value
    return x, mask


def _run(source: Any, chain: Chain, x: Array) -> Array:
    """What Keras computes, from zero states, which a stateful layer then gets back."""
    import keras

    with _unchanged(source):
        outputs = source(keras.ops.convert_to_tensor(x), training=False)
        first = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
        return np.asarray(keras.ops.convert_to_numpy(first))


@contextmanager
def _unchanged(source: Any) -> Iterator[None]:
    """Zero states of stateful layers, and afterwards those from before."""
    import keras

    stateful = [layer for layer in layers_of(source) if getattr(layer, "stateful", False)]
    kept = [[keras.ops.convert_to_numpy(state).copy() for state in keras.tree.flatten(la.states)] for la in stateful]
    for layer in stateful:
        layer.reset_state()
    try:
        yield
    finally:
        for layer, values in zip(stateful, kept, strict=True):
            for state, value in zip(keras.tree.flatten(layer.states), values, strict=True):
                state.assign(value)
