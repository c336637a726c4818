"""Model files: what is read is what was written, and nothing else is taken for one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import lstmcore
from lstmcore import RNNClassifier, RNNRegressor, model_file
from lstmcore._standardizer import Standardizer
from lstmcore.model import ClassifierModel, RegressorModel

SMALL: dict[str, Any] = dict(hidden_size=6, max_epochs=2, random_state=0)


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((30, 5, 2))


@pytest.fixture
def saved(X: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    RNNRegressor(**SMALL).fit(X, X.sum(axis=(1, 2))).save(path)
    return path


def contents(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        return tensors, json.loads(file.metadata()["lstmcore"])


@pytest.mark.parametrize(
    "options",
    [{}, {"cell": "gru", "bidirectional": True, "num_layers": 2, "dropout": 0.1}, {"pooling": "mean", "cell": "rnn"}],
    ids=str,
)
def test_models_come_back(options: dict[str, Any], X: np.ndarray, tmp_path: Path) -> None:
    y = X.sum(axis=(1, 2))
    path = tmp_path / "model.safetensors"
    for target in (y, np.column_stack([y, 3 * y])):
        reg = RNNRegressor(**SMALL, **options).fit(X, target)
        reg.save(str(path))
        model = lstmcore.load(str(path))
        assert isinstance(model, RegressorModel)
        assert model.predict(X).tobytes() == reg.predict(X).tobytes()
        assert model.predict(X).shape == target.shape
    clf = RNNClassifier(**SMALL, **options).fit(X, y > 0)
    clf.save(path)
    model = lstmcore.load(path)
    assert isinstance(model, ClassifierModel)
    assert model.predict_proba(X).tobytes() == clf.predict_proba(X).tobytes()
    assert model.predict(X).dtype == bool


def test_quantiles_come_back(X: np.ndarray, tmp_path: Path) -> None:
    reg = RNNRegressor(loss="quantile", quantiles=[0.25, 0.75], **SMALL).fit(X, X.sum(axis=(1, 2)))
    reg.save(tmp_path / "m")
    model = lstmcore.load(tmp_path / "m")
    assert model.predict_quantiles(X).tobytes() == reg.predict_quantiles(X).tobytes()


@pytest.mark.parametrize(
    "labels",
    [["a", "ü"], [3, -1], [1.0, 2.0], [True, False], np.array(["x", "long"], object), np.array([1, 2], np.uint8)],
    ids=str,
)
def test_labels_come_back(labels: Any, X: np.ndarray, tmp_path: Path) -> None:
    y = np.asarray(labels)[np.arange(30) % 2]
    clf = RNNClassifier(**SMALL).fit(X, y)
    clf.save(tmp_path / "m")
    predicted = lstmcore.load(tmp_path / "m").predict(X)
    np.testing.assert_array_equal(predicted, clf.predict(X))
    assert predicted.dtype == clf.classes_.dtype


def test_saving_a_loaded_model_gives_the_same_file(saved: Path) -> None:
    again = saved.with_name("again")
    lstmcore.load(saved).save(again)
    assert again.read_bytes() == saved.read_bytes()


def test_a_loaded_model_says_what_it_is(saved: Path) -> None:
    assert repr(lstmcore.load(saved)) == "RegressorModel(Recurrent('lstm', 2, 6), pooling='last', outputs=1)"


def test_weights_as_bfloat16(saved: Path, X: np.ndarray) -> None:
    exact, half = lstmcore.load(saved), lstmcore.load(saved, weight_dtype="bfloat16")
    predicted = half.predict(X)
    assert 0 < np.abs(predicted - exact.predict(X)).max() < 0.02
    session = half.session(len(X))
    for t in range(X.shape[1]):
        streamed = session.step(X[:, t])
    assert streamed.tobytes() == predicted.tobytes()
    with pytest.raises(ValueError, match="weight_dtype must be one of 'bfloat16', got 'int4'"):
        lstmcore.load(saved, weight_dtype="int4")


def test_the_file_is_plain_data(saved: Path) -> None:
    tensors, config = contents(saved)
    assert {name: array.shape for name, array in tensors.items()} == {
        "recurrent.weight_ih_l0": (24, 2),
        "recurrent.weight_hh_l0": (24, 6),
        "recurrent.bias_ih_l0": (24,),
        "recurrent.bias_hh_l0": (24,),
        "dense.weight": (1, 6),
        "dense.bias": (1,),
    }
    assert config["format"] == model_file.FORMAT == 1
    assert config["kind"] == "regressor"
    assert config["network"]["recurrent"]["cell"] == "lstm"


def test_failed_save_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, model = saved.read_bytes(), lstmcore.load(saved)

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        model.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_not_model_files(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no model file .*nowhere"):
        lstmcore.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is no file"):
        lstmcore.load(tmp_path)
    with pytest.raises(TypeError, match="path must be a string or a path, got 7"):
        lstmcore.load(7)
    path = tmp_path / "other"
    for content in (b"", b"hello", b"\x80\x04K\x01.", saved.read_bytes()[:-10], saved.read_bytes()[:100]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="other is not a model file, or not a whole one"):
            lstmcore.load(path)
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="other is a safetensors file, but not a model of lstmcore"):
        lstmcore.load(path)


def rewrite(path: Path, change: Any) -> None:
    tensors, config = contents(path)
    change(tensors, config)
    save_file(tensors, path, {"lstmcore": json.dumps(config)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, c: c.update(format=99), "has format 99; this version of lstmcore reads up to 1: update lstmcore"),
        (lambda t, c: t.pop("dense.bias"), r"damaged model file: .*lacks \['dense.bias'\]"),
        (lambda t, c: t.update(more=np.zeros(2)), r"damaged model file: .*unknown names \['more'\]"),
        (lambda t, c: t.update({"dense.bias": np.zeros(2)}), r"damaged model file: .*dense.bias.*\(1,\)"),
        (lambda t, c: t["dense.weight"].fill(np.nan), "damaged model file: .*dense.weight.*nan"),
        (lambda t, c: c.update(kind="painter"), "damaged model file: KeyError: 'painter'"),
        (lambda t, c: c.pop("task"), "damaged model file: KeyError: 'task'"),
        (
            lambda t, c: c["network"]["recurrent"].update(cell="lstn"),
            "damaged model file: .*cell must be one of .*'lstn'",
        ),
        (lambda t, c: c["network"]["recurrent"].update(hidden_size=7), "damaged model file: .*weight_ih_l0"),
    ],
)
def test_damaged_files(change: Any, message: str, saved: Path) -> None:
    rewrite(saved, change)
    with pytest.raises(ValueError, match=message):
        lstmcore.load(saved)


def test_labels_that_no_file_can_hold(X: np.ndarray, tmp_path: Path) -> None:
    clf = RNNClassifier(**SMALL).fit(X, np.array([b"a", b"b"])[np.arange(30) % 2].astype(object).astype(str))
    clf.model_.classes = np.array(["2020-01-01", "2020-01-02"], "datetime64[D]")
    with pytest.raises(TypeError, match="class labels must be strings, integers, floats or booleans to be saved"):
        clf.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_standardizer_keeps_every_bit(rng: np.random.Generator) -> None:
    values = 1e-3 * rng.standard_normal((50, 3)) + [1e6, 0, 7]
    values[:, 2] = 7
    scaler = Standardizer.fit(values)
    np.testing.assert_allclose(scaler.apply(values).std(axis=0), [1, 1, 0], atol=1e-9)
    np.testing.assert_allclose(scaler.undo(scaler.apply(values)), values, rtol=1e-12)
    again = Standardizer.from_config(json.loads(json.dumps(scaler.to_config())))
    assert again.mean.tobytes() == scaler.mean.tobytes()
    assert again.scale.tobytes() == scaler.scale.tobytes()
