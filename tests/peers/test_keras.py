"""`from_keras` and `to_keras`: both ways, the same numbers, and what cannot be mapped is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstmcore
from lstmcore.embedding import Embedding
from lstmcore.network import Dense, Network

keras = pytest.importorskip("keras")
K = keras.layers


def drawn(layer: Any) -> Any:
    """The same layer, biases and all drawn anew."""
    rng = np.random.default_rng(3)
    layer.set_weights([rng.uniform(-0.6, 0.6, weight.shape) for weight in layer.get_weights()])
    return layer


def built(layer: Any, width: int = 4) -> Any:
    layer.build((None, None, width))
    return drawn(layer)


def model(*layers: Any, width: int = 4) -> Any:
    """A Sequential from [B, T, width], or of tokens [B, T]."""
    tokens = isinstance(layers[0], K.Embedding)
    start = keras.Input((None,), dtype="int32") if tokens else keras.Input((None, width))
    return drawn(keras.Sequential([start, *layers]))


def numbers(source: Any, *inputs: Any, **options: Any) -> list[np.ndarray]:
    outputs = source(*inputs, training=False, **options)
    listed = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [np.array(keras.ops.convert_to_numpy(output)) for output in listed]


LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("LSTM", {"use_bias": False, "recurrent_dropout": 0.3}),
    ("LSTM", {"dtype": "float64"}),
    ("GRU", {}),
    ("GRU", {"reset_after": False}),
    ("GRU", {"use_bias": False}),
    ("SimpleRNN", {}),
    ("SimpleRNN", {"activation": "relu"}),
    ("SimpleRNN", {"activation": "hard_tanh"}),
]


@pytest.mark.parametrize("both", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_recurrent_layers_there_and_back(kind: str, options: dict[str, Any], both: bool) -> None:
    theirs = getattr(K, kind)(6, return_sequences=True, return_state=True, **options)
    if both:
        theirs = K.Bidirectional(theirs, dtype=options.get("dtype"))
    built(theirs)
    layer = lstmcore.from_keras(theirs)
    assert isinstance(layer, lstmcore.layers.Recurrent)
    assert (layer.batch_first, layer.bidirectional, layer.hidden_size) == (True, both, 6)
    assert layer.recurrent_dropout == options.get("recurrent_dropout", 0.0)

    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 9, 4)).astype(layer.dtype)
    _, zero = layer(x)
    state = [rng.standard_normal(part.shape).astype(layer.dtype) for part in (zero if kind == "LSTM" else [zero])]
    given = [part[direction] for direction in range(1 + both) for part in state]
    expected = numbers(theirs, keras.ops.convert_to_tensor(x), initial_state=given)
    y, final = layer(x, tuple(state) if kind == "LSTM" else state[0])
    ends = [part[direction] for direction in range(1 + both) for part in (final if kind == "LSTM" else [final])]
    for mine, other in zip([y, *ends], expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-13 if layer.dtype == np.float64 else 2e-6)

    back = lstmcore.to_keras(layer)
    for mine, other in zip(back.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_allclose(numbers(back, x)[0], layer(x)[0], atol=2e-6)


def test_biases_are_added_up_where_keras_has_one() -> None:
    layer = lstmcore.LSTM(3, 5, num_layers=2, bidirectional=True, dropout=0.25, seed=0)
    theirs = lstmcore.to_keras(layer)
    assert [type(part).__name__ for part in theirs.layers] == ["Bidirectional", "Dropout", "Bidirectional"]
    bias = layer.parameters["bias_ih_l1_reverse"] + layer.parameters["bias_hh_l1_reverse"]
    np.testing.assert_array_equal(theirs.get_weights()[-1], bias)
    again = lstmcore.from_keras(theirs)
    assert (again.num_layers, again.dropout, again.bidirectional) == (2, 0.25, True)


MODELS: dict[str, list[Any]] = {
    "last": [lambda: K.LSTM(6), lambda: K.Dense(3)],
    "every step": [lambda: K.GRU(6, return_sequences=True), lambda: K.TimeDistributed(K.Dense(3, use_bias=False))],
    "mean": [
        lambda: K.Bidirectional(K.GRU(5, return_sequences=True, reset_after=False)),
        K.GlobalAveragePooling1D,
        lambda: K.Dropout(0.4),
        lambda: K.Dense(2, activation="softmax"),
    ],
    "max": [lambda: K.SimpleRNN(6, return_sequences=True), K.GlobalMaxPooling1D, lambda: K.Dense(1)],
    "narrower": [
        lambda: K.LSTM(8, return_sequences=True, dropout=0.0),
        lambda: K.Dropout(0.2),
        lambda: K.LSTM(5),
        lambda: K.Dense(2),
        lambda: K.Activation("sigmoid"),
    ],
    "wider, one direction after both": [
        lambda: K.Bidirectional(K.GRU(3, return_sequences=True)),
        lambda: K.GRU(7, return_sequences=True, use_bias=False),
        lambda: K.Dense(2),
    ],
    "backwards": [lambda: K.LSTM(6, go_backwards=True), lambda: K.Dense(2)],
    "stacked cells backwards": [
        lambda: K.RNN([K.SimpleRNNCell(5), K.SimpleRNNCell(5)], go_backwards=True),
        lambda: K.Dense(2),
    ],
    "stacked cells": [lambda: K.RNN([K.GRUCell(5), K.GRUCell(4)]), lambda: K.Dense(2)],
}


@pytest.mark.parametrize("name", MODELS)
def test_models_there_and_back(name: str, tmp_path: Path) -> None:
    theirs = model(*(make() for make in MODELS[name]))
    network = lstmcore.from_keras(theirs)
    x = np.random.default_rng(1).standard_normal((5, 11, 4)).astype(np.float32)
    logits = network.predict(x)
    if name == "mean":
        assert network.dropout == pytest.approx(0.4)
        found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    else:
        found = 1 / (1 + np.exp(-logits)) if name == "narrower" else logits
    expected = numbers(theirs, x)[0]
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=2e-6)

    theirs.save(tmp_path / "model.keras")
    again = lstmcore.from_keras(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.flat_parameters, network.flat_parameters)
    back = numbers(lstmcore.to_keras(network), x)[0]
    np.testing.assert_allclose(back.reshape(logits.shape), logits, atol=2e-6)


def test_what_makes_a_stack_wider_gets_no_gradients() -> None:
    theirs = model(K.Bidirectional(K.LSTM(6, return_sequences=True)), K.LSTM(4), K.Dense(3))
    network = lstmcore.from_keras(theirs)
    added = network.flat_parameters == 0
    assert added.any()
    x = np.random.default_rng(0).standard_normal((4, 9, 4)).astype(np.float32)
    outputs = network.forward(lstmcore.sequences_from_mask(x, np.ones((4, 9), bool)).batch(np.arange(4)))
    network.backward(np.ones_like(outputs))
    # The dense layer's and the second layer's own first biases b_hh are zero too, but are read.
    read = np.concatenate([np.full(value.size, "bias_hh" in name) for name, value in network.parameters.items()])
    np.testing.assert_array_equal(network.flat_gradients[added & ~read], 0.0)


def test_a_network_of_float64() -> None:
    chain = [K.Embedding(9, 3, dtype="float64"), K.GRU(5, dtype="float64"), K.Dense(2, dtype="float64")]
    theirs = model(*chain)
    network = lstmcore.from_keras(theirs)
    assert network.dtype == np.float64
    tokens, atol = np.random.default_rng(0).integers(0, 9, (4, 6)), 1e-14
    if keras.backend.backend() == "torch":
        atol = 2e-6  # there Keras multiplies matrices of float64 in float32
    np.testing.assert_allclose(network.predict(tokens), numbers(theirs, tokens)[0], atol=atol)
    np.testing.assert_allclose(numbers(lstmcore.to_keras(network), tokens)[0], network.predict(tokens), atol=atol)


def test_layers_of_float64_behind_an_input_of_float32() -> None:
    theirs = drawn(keras.Sequential([keras.Input((None, 4)), K.LSTM(3, dtype="float64"), K.Dense(2, dtype="float64")]))
    assert lstmcore.from_keras(theirs).dtype == np.float64


def test_a_file_runs_no_code(tmp_path: Path) -> None:
    ran: list[int] = []
    theirs = keras.Sequential([keras.Input((None, 4)), K.Lambda(lambda x: ran.append(1) or x), K.LSTM(3)])
    theirs.save(tmp_path / "lambda.keras")
    ran.clear()
    with pytest.raises(ValueError, match=r"unsafe|safe_mode|lambda"):
        lstmcore.from_keras(str(tmp_path / "lambda.keras"))
    assert not ran


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*model\.keras"):
        lstmcore.from_keras(tmp_path / "model.keras")
    model(K.LSTM(3)).save(tmp_path / "model.keras")
    (tmp_path / "half.keras").write_bytes((tmp_path / "model.keras").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"half\.keras' is not a \.keras file, or not a whole one"):
        lstmcore.from_keras(tmp_path / "half.keras")


def tokens_with_holes(rng: np.random.Generator) -> np.ndarray:
    tokens = rng.integers(1, 9, (6, 10)) * (rng.random((6, 10)) < 0.6)
    tokens[:, 4] = 3
    return tokens


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_masks_with_holes_leave_steps_out(every_step: bool, both: bool, rng: np.random.Generator) -> None:
    gru = K.GRU(5, return_sequences=every_step)
    theirs = model(K.Embedding(9, 3, mask_zero=True), K.Bidirectional(gru) if both else gru, K.Dense(2))
    network = lstmcore.from_keras(theirs)
    tokens = tokens_with_holes(rng)
    found = network.predict(lstmcore.sequences_from_mask(tokens, tokens != 0))
    expected = numbers(theirs, tokens)[0]
    np.testing.assert_allclose(found, expected[tokens != 0] if every_step else expected, atol=2e-6)


def test_masking_and_a_mean_of_what_is_left(rng: np.random.Generator) -> None:
    theirs = model(K.Masking(-1.0), K.LSTM(5, return_sequences=True), K.GlobalAveragePooling1D(), K.Dense(2))
    network = lstmcore.from_keras(theirs)
    x = rng.standard_normal((4, 7, 4)).astype(np.float32)
    mask = rng.random((4, 7)) < 0.6
    mask[:, 2] = True
    x[~mask] = -1.0
    found = network.predict(lstmcore.sequences_from_mask(x, mask))
    np.testing.assert_allclose(found, numbers(theirs, x)[0], atol=2e-6)


@pytest.mark.parametrize("every_step", [False, True])
def test_masks_of_functional_models(every_step: bool, rng: np.random.Generator, tmp_path: Path) -> None:
    start = keras.Input((None,), dtype="int32")
    x = K.Embedding(9, 3, mask_zero=True)(start)
    x = K.Bidirectional(K.GRU(5, return_sequences=True))(x)
    x = K.Dense(2)(K.GRU(5, return_sequences=every_step)(x))
    theirs = drawn(keras.Model(start, x))
    theirs.save(tmp_path / "model.keras")
    tokens = tokens_with_holes(rng)
    expected = numbers(theirs, tokens)[0]
    for source in (theirs, tmp_path / "model.keras"):
        found = lstmcore.from_keras(source).predict(lstmcore.sequences_from_mask(tokens, tokens != 0))
        np.testing.assert_allclose(found, expected[tokens != 0] if every_step else expected, atol=2e-6)


def test_masks_of_ones_own_do_not_map() -> None:
    start = keras.Input((None,), dtype="int32")
    embedded = K.Embedding(9, 3)(start)
    theirs = keras.Model(start, K.Dense(2)(K.GRU(5)(embedded, mask=keras.ops.not_equal(start, 5))))
    with pytest.raises(ValueError, match=r"GRU 'gru.*' has 2 inputs: only chains map"):
        lstmcore.from_keras(theirs)


def test_a_network_with_tokens_becomes_a_model() -> None:
    network = Network(
        lstmcore.GRU(3, 5, seed=0), "last", Dense(5, 2, seed=0), embedding=Embedding(9, 3, trainable=False, seed=0)
    )
    theirs = lstmcore.to_keras(network)
    tokens = np.random.default_rng(0).integers(0, 9, (4, 6))
    np.testing.assert_allclose(numbers(theirs, tokens)[0], network.predict(tokens), atol=2e-6)
    assert not theirs.layers[0].trainable
    assert np.array_equal(lstmcore.from_keras(theirs).embedding.weight, network.embedding.weight)


def test_functional_chains_and_models_inside() -> None:
    start = keras.Input((None, 4))
    inner = keras.Sequential([keras.Input((None, 4)), K.LSTM(5, return_sequences=True), K.LSTM(5)])
    theirs = drawn(keras.Model(start, K.Dense(2)(inner(start))))
    network = lstmcore.from_keras(theirs)
    x = np.random.default_rng(0).standard_normal((3, 8, 4)).astype(np.float32)
    np.testing.assert_allclose(network.predict(x), numbers(theirs, x)[0], atol=2e-6)
    branched = keras.Model(start, K.Dense(2)(K.Concatenate()([K.LSTM(3)(start), K.LSTM(3)(start)])))
    with pytest.raises(ValueError, match=r"Concatenate 'concatenate.*' has 2 inputs: only chains map"):
        lstmcore.from_keras(branched)
    _, _, c = K.LSTM(3, return_state=True)(start)
    with pytest.raises(ValueError, match=r"LSTM 'lstm.*' is read at output 2"):
        lstmcore.from_keras(keras.Model(start, K.Dense(2)(c)))


def test_states_of_a_stateful_layer_are_left_as_they_were() -> None:
    theirs = keras.Sequential([keras.Input((5, 4), batch_size=2), K.LSTM(3, stateful=True)])
    x = np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32)
    first = numbers(theirs, x)[0]
    layer = lstmcore.from_keras(theirs)
    y, state = layer(x)
    np.testing.assert_allclose(y[:, -1], first, atol=2e-6)
    np.testing.assert_allclose(layer(x, state)[0][:, -1], numbers(theirs, x)[0], atol=2e-6)


def test_what_concerns_training_alone_is_lost_with_a_warning() -> None:
    theirs = model(K.Dropout(0.5), K.LSTM(4, dropout=0.2, return_sequences=True), K.LSTM(4), K.Dense(1))
    with pytest.warns(UserWarning, match=r"training alone is lost: dropout=0.6 before the first recurrent layer"):
        network = lstmcore.from_keras(theirs)
    assert network.recurrent.dropout == 0.0
    theirs = model(K.GRU(4, recurrent_dropout=0.1, return_sequences=True), K.GRU(4), K.Dense(1))
    with pytest.warns(UserWarning, match=r"recurrent_dropout that differs between recurrent layers, \[0.1, 0.0\]"):
        lstmcore.from_keras(theirs)


class Cell(K.SimpleRNNCell):  # type: ignore[misc]
    """Somebody's own."""


UNMAPPED: list[tuple[Any, str]] = [
    (lambda: built(K.LSTM(3, activation="relu")), r"LSTMCells with activation='relu', recurrent_activation='sigmoid'"),
    (lambda: built(K.SimpleRNN(3, activation="linear")), "SimpleRNN 'simple_rnn.*' is of .* activation='linear'"),
    (lambda: built(K.Bidirectional(K.GRU(3), merge_mode="sum")), "merge_mode='sum': only 'concat' maps"),
    (
        lambda: built(K.Bidirectional(K.LSTM(4), backward_layer=K.LSTM(3, go_backwards=True))),
        r"directions of different units, \[4, 3\]",
    ),
    (lambda: built(K.LSTM(3, go_backwards=True)), "LSTM 'lstm.*' has go_backwards=True: map it with"),
    (lambda: built(K.GRU(3, go_backwards=True, return_sequences=True)), "returns sequences in reverse"),
    (lambda: built(K.GRU(3, dtype="mixed_bfloat16")), "dtype of the recurrent layers .* got 'bfloat16'"),
    (lambda: built(K.RNN([K.GRUCell(3), K.LSTMCell(3)])), "must be of one kind"),
    (lambda: built(K.RNN(Cell(3))), "RNN 'rnn.*' is of Cells"),
    (lambda: K.LSTM(3, name="fresh"), "LSTM 'fresh' must be built"),
    (lambda: keras.Sequential([K.LSTM(3)]), "must be built, Sequential or functional"),
    (lambda: model(K.Conv1D(3, 2), K.LSTM(3)), "Conv1D 'conv1d.*' cannot be mapped"),
    (lambda: model(K.Dense(3), K.LSTM(3)), "LSTM 'lstm.*' stands where it cannot be mapped"),
    (lambda: model(K.LSTM(3), K.Dense(3), K.Dense(1)), "Dense 'dense.*' stands where"),
    (lambda: model(K.LSTM(3), K.Dense(3, activation="relu")), "activation='relu': only linear, softmax and sigmoid"),
    (lambda: model(K.LSTM(3), K.Activation("softmax")), "Activation 'activation.*' cannot be mapped"),
    (lambda: model(K.LSTM(3, return_sequences=True), K.LSTM(2)), r"different units or directions, \[\[3\], \[2\]\]"),
    (lambda: model(K.Masking(), K.LSTM(3)), "a model with masks must have a Dense"),
    (lambda: model(K.Dense(2)), "must have an LSTM, GRU or SimpleRNN"),
    (lambda: "model.h5", "source must be a file with the suffix .keras, got 'model.h5'"),
]


@pytest.mark.parametrize(("make", "message"), UNMAPPED)
def test_what_cannot_be_mapped_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lstmcore.from_keras(make())


@pytest.mark.filterwarnings("ignore:Layer 'global_max_pooling1d:UserWarning")  # Keras says so, too
def test_a_maximum_does_not_see_the_mask() -> None:
    theirs = model(K.Masking(), K.LSTM(3, return_sequences=True), K.GlobalMaxPooling1D(), K.Dense(1))
    with pytest.raises(ValueError, match=r"GlobalMaxPooling1D 'global_max.*' does not see the mask"):
        lstmcore.from_keras(theirs)


def test_a_model_that_does_more_than_its_layers_say_is_found_out() -> None:
    class Louder(K.LSTM):  # type: ignore[misc]
        def call(self, *arguments: Any, **options: Any) -> Any:
            return 2 * super().call(*arguments, **options)

    with pytest.raises(RuntimeError, match=r"lstm differs from Keras by [\d.]+ on random input"):
        lstmcore.from_keras(built(Louder(3)))


def test_what_keras_has_not_is_named() -> None:
    for layer, message in (
        (lstmcore.LSTM(2, 3, peepholes=True), "cell 'lstm_peephole' has no counterpart in Keras"),
        (lstmcore.LSTM(2, 3, proj_size=2), "proj_size=2 has no counterpart"),
        (lstmcore.GRU(2, 3, zoneout=0.1), "zoneout=0.1 has no counterpart"),
        (Network(lstmcore.GRU(2, 3), "attention", Dense(3, 1)), "pooling 'attention' has no counterpart"),
        (Network(lstmcore.GRU(2, 3), "last", Dense(3, 1), initial=Dense(4, 3)), r"static features \(4\)"),
    ):
        with pytest.raises(ValueError, match=message):
            lstmcore.to_keras(layer)
    with pytest.raises(TypeError, match="layer must be a recurrent layer or a Network, got list"):
        lstmcore.to_keras([])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"source must be a layer or model of Keras or a .keras file, got dict"):
        lstmcore.from_keras({})
