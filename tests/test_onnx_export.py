"""`to_onnx` where the package onnx is not needed: what it refuses. What it writes: tests/peers/test_onnx_export.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import lstmcore


@pytest.mark.parametrize(
    ("what", "options", "error", "message"),
    [
        ([], {}, TypeError, "what must be a recurrent layer, .* got list"),
        (lstmcore.TreeLSTM(2, 3), {}, TypeError, "got TreeLSTM, which has no form in ONNX"),
        (lstmcore.LSTM(2, 3), {"opset": 13}, ValueError, "opset must be at least 14, got 13"),
        (lstmcore.LSTM(2, 3), {"opset": "17"}, TypeError, "opset must be an integer, got '17'"),
        (lstmcore.LSTM(2, 3), {"path": 3}, TypeError, "path must be a string or a path, got 3"),
    ],
)
def test_bad_arguments_are_named(what: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        lstmcore.to_onnx(what, **options)


def test_an_estimator_must_be_fitted() -> None:
    exceptions = pytest.importorskip("sklearn.exceptions")
    with pytest.raises(exceptions.NotFittedError, match="RNNClassifier instance is not fitted"):
        lstmcore.to_onnx(lstmcore.RNNClassifier())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match="to_onnx needs the package onnx: pip install onnx onnxruntime"):
        lstmcore.to_onnx(lstmcore.LSTM(2, 3), tmp_path / "layer.onnx")
    assert not list(tmp_path.iterdir())
