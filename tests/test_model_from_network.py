"""`model_from_network`: models of each kind, the same after a file; `Network.predict` of arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstmcore
from lstmcore.embedding import Embedding
from lstmcore.model import ClassifierModel, RegressorModel, TaggerModel
from lstmcore.network import Dense, Network


def network(
    pooling: str | None, n_outputs: int, *, bias: bool = True, tokens: int = 0, dtype: str = "float32"
) -> Network:
    embedding = Embedding(tokens, 3, seed=0, dtype=dtype) if tokens else None
    recurrent = lstmcore.GRU(3, 6, num_layers=2, seed=1, dtype=dtype)
    return Network(recurrent, pooling, Dense(6, n_outputs, bias, seed=2, dtype=dtype), embedding=embedding)


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((5, 9, 3)).astype(np.float32)


def softmax(a: np.ndarray) -> np.ndarray:
    exp = np.exp(a.astype(np.float64))
    return exp / exp.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("pooling", ["last", "attention"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_classifier(pooling: str, bias: bool, X: np.ndarray, tmp_path: Path) -> None:
    source = network(pooling, 3, bias=bias)
    outputs = source.predict(X)
    model = lstmcore.model_from_network(source, ["a", "b", "c"])
    assert isinstance(model, ClassifierModel)
    np.testing.assert_allclose(model.predict_proba(X), softmax(outputs), atol=1e-6)
    assert model.predict(X).tolist() == np.array(["a", "b", "c"])[outputs.argmax(axis=1)].tolist()
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(
        lstmcore.load(tmp_path / "model.safetensors").predict_proba(X), model.predict_proba(X)
    )
    session = model.session(5)
    for t in range(9):
        last = session.step_proba(X[:, t])
    np.testing.assert_array_equal(last, model.predict_proba(X))
    np.testing.assert_array_equal(source.predict(X), outputs)  # it was copied


def test_one_logit_for_two_classes(X: np.ndarray) -> None:
    source = network("mean", 1)
    model = lstmcore.model_from_network(source, [0, 1])
    sigmoid = 1 / (1 + np.exp(-source.predict(X)[:, 0].astype(np.float64)))
    np.testing.assert_allclose(model.predict_proba(X), np.stack([1 - sigmoid, sigmoid], axis=1), atol=1e-6)


def test_several_labels_at_once(X: np.ndarray) -> None:
    source = network("max", 2)
    model = lstmcore.model_from_network(source, [0, 1], multilabel=True)
    np.testing.assert_allclose(model.predict_proba(X), 1 / (1 + np.exp(-source.predict(X))), atol=1e-6)


def test_a_tagger_of_tokens(rng: np.random.Generator, tmp_path: Path) -> None:
    source = network(None, 2, tokens=7)
    tokens = [rng.integers(0, 7, length) for length in (4, 1, 9)]
    model = lstmcore.model_from_network(source, ["x", "y"])
    assert isinstance(model, TaggerModel)
    labels = np.array(["x", "y"])[source.predict(tokens).argmax(axis=1)]
    assert np.concatenate(model.predict(tokens)).tolist() == labels.tolist()
    model.save(tmp_path / "tagger.safetensors")
    again = lstmcore.load(tmp_path / "tagger.safetensors")
    assert np.concatenate(again.predict(tokens)).tolist() == labels.tolist()
    with pytest.raises(ValueError, match="whole numbers from 0 to 6"):
        model.predict([[7]])


@pytest.mark.parametrize(("n_outputs", "shape"), [(1, (5,)), (2, (5, 2))])
def test_a_regressor(n_outputs: int, shape: tuple[int, ...], X: np.ndarray) -> None:
    source = network("last", n_outputs, dtype="float64")
    model = lstmcore.model_from_network(source)
    assert isinstance(model, RegressorModel)
    np.testing.assert_array_equal(model.predict(X), source.predict(X).reshape(shape))


BAD: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((network("last", 3), ["a", "b"]), {}, r"classes must be 3 labels, one for each output, got \['a', 'b'\]"),
    ((network("last", 1), ["a"]), {"multilabel": 1}, "multilabel must be True or False"),
    ((network("last", 2),), {"multilabel": True}, "multilabel=True needs classes"),
    ((network(None, 2),), {}, "answers at every step needs classes"),
    ((lstmcore.GRU(2, 3),), {}, "network must be a Network, got GRU"),
]


@pytest.mark.parametrize(("arguments", "options", "message"), BAD)
def test_what_is_refused(arguments: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        lstmcore.model_from_network(*arguments, **options)


def test_a_network_predicts_from_arrays(X: np.ndarray) -> None:
    source = network("last", 2)
    expected = source.predict(lstmcore.Sequences(X.reshape(-1, 3), np.arange(5) * 9, np.full(5, 9)))
    np.testing.assert_array_equal(source.predict(X), expected)
    np.testing.assert_array_equal(source.predict(list(X.astype(np.float64))), expected)
    with pytest.raises(ValueError, match="X has 2 features a step, but the model expects 3"):
        source.predict(X[..., :2])
    X[3, 2, 1] = np.nan
    with pytest.raises(ValueError, match="X contains NaN: sequence 3, step 2, feature 1"):
        source.predict(X)
