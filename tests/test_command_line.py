"""python -m lstmcore: what it prints and writes, and that errors are one line and a status."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest

import lstmcore
from lstmcore.__main__ import main
from lstmcore._cli.convert import from_state_dict

GOLDEN = golden.FOLDER / "format1"
X = np.random.default_rng(0).standard_normal((3, 4, 2))


def table(text: str) -> list[list[str]]:
    return list(csv.reader(text.splitlines()))


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The three sequences, as .npy, as .csv and as .csv with names."""
    paths = [tmp_path / name for name in ("a.npy", "b.csv", "c.csv")]
    np.save(paths[0], X[0])
    for path, x, header in ((paths[1], X[1], ""), (paths[2], X[2], "left,right")):
        np.savetxt(path, x, "%.17g", ",", header=header, comments="")
    return [str(path) for path in paths]


def fails(arguments: list[Any], capsys: pytest.CaptureFixture[str]) -> str:
    assert main([str(argument) for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


# ---- predict ----


def test_predictions_of_a_classifier(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = GOLDEN / "classifier.safetensors"
    assert main(["predict", str(path), *files]) == 0
    head, *rows = table(capsys.readouterr().out)
    model = lstmcore.load(path)
    assert head == ["file", "prediction", "a", "b", "ü"]
    assert [row[:2] for row in rows] == [[file, label] for file, label in zip(files, model.predict(X), strict=True)]
    np.testing.assert_array_equal(np.array([row[2:] for row in rows], np.float32), model.predict_proba(X))


@pytest.mark.parametrize("names", ["", "length,height\n", ",height\n"])
def test_a_file_may_come_twice(names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"{names}1,2\n")
    assert main(["predict", str(GOLDEN / "regressor.safetensors"), str(path), str(path)]) == 0
    _, first, second = table(capsys.readouterr().out)
    assert first == second


def test_predictions_of_other_models(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.csv"
    assert main(["predict", str(GOLDEN / "online_regressor.safetensors"), *files, "--output", str(output)]) == 0
    assert capsys.readouterr().out == ""
    expected = lstmcore.load(GOLDEN / "online_regressor.safetensors").predict(X)
    found = table(output.read_text())
    assert found[0] == ["file", "prediction"]
    np.testing.assert_array_equal([float(row[1]) for row in found[1:]], expected)
    assert main(["predict", str(GOLDEN / "tagger.safetensors"), *files]) == 0
    tags = table(capsys.readouterr().out)
    assert tags[0] == ["file", "step", "prediction"]
    assert [row[1] for row in tags[1:5]] == ["0", "1", "2", "3"]
    assert [row[2] for row in tags[1:]] == [
        str(tag) for row in lstmcore.load(GOLDEN / "tagger.safetensors").predict(X) for tag in row
    ]
    assert main(["predict", str(GOLDEN / "classifier_multilabel.safetensors"), files[0]]) == 0
    assert table(capsys.readouterr().out)[0] == ["file", "prediction", "0", "1", "2"]


def test_forecasts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series = 5 + np.random.default_rng(0).standard_normal(30).cumsum()
    np.save(tmp_path / "y.npy", series)
    path = GOLDEN / "forecaster.safetensors"
    assert main(["predict", str(path), str(tmp_path / "y.npy"), "--steps", "5"]) == 0
    head, *rows = table(capsys.readouterr().out)
    assert head == ["file", "step", "forecast"]
    assert [row[1] for row in rows] == ["1", "2", "3", "4", "5"]
    np.testing.assert_array_equal([float(row[2]) for row in rows], lstmcore.load(path).predict(series, 5))


def test_predict_says_what_is_wrong(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, wide = GOLDEN / "regressor.safetensors", tmp_path / "wide.csv"
    assert "there is no model file" in fails(["predict", tmp_path / "none", files[0]], capsys)
    assert "there is no file nothing.npy" in fails(["predict", model, "nothing.npy"], capsys)
    assert "must be a file of .npy, .csv" in fails(["predict", model, "x.xlsx"], capsys)
    assert "--steps is for forecasters" in fails(["predict", model, files[0], "--steps", "2"], capsys)
    assert "holds LSTM; predict takes classifiers" in fails(["predict", GOLDEN / "LSTM.safetensors", files[0]], capsys)
    wide.write_text("1,2,3\n4,5,6\n")
    assert "X has 3 features a step, but the model expects 2" in fails(["predict", model, wide], capsys)
    for content in ("1,2\n3\n", "1,2\nx,y\n", "1,NA\n2,3\n", ""):
        wide.write_text(content)
        assert "wide.csv" in fails(["predict", model, wide], capsys)
    assert "there is no folder" in fails(["predict", model, files[0], "--output", tmp_path / "no" / "out.csv"], capsys)
    np.save(tmp_path / "objects.npy", np.array([print], object), allow_pickle=True)
    assert "objects.npy cannot be read" in fails(["predict", model, tmp_path / "objects.npy"], capsys)


# ---- convert ----


def test_convert_to_c(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lstmcore.GRU(3, 8, seed=0).save(tmp_path / "m.safetensors")
    assert main(["convert", str(tmp_path / "m.safetensors"), str(tmp_path / "my-gru.h")]) == 0
    assert "GRU(3, 8); 1184 bytes of constants, 32 of state, 128 on the stack of a step" in capsys.readouterr().out
    assert "my_gru_step(" in (tmp_path / "my-gru.h").read_text()
    assert main(["convert", str(tmp_path / "m.safetensors"), str(tmp_path / "m.h"), "--name", "x"]) == 0
    assert (tmp_path / "m.h").read_text() == lstmcore.to_c(lstmcore.GRU(3, 8, seed=0), name="x")


def test_convert_copies_whole_models(tmp_path: Path) -> None:
    source, target = GOLDEN / "classifier.safetensors", tmp_path / "copy.safetensors"
    assert main(["convert", str(source), str(target)]) == 0
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    "layer",
    [
        lstmcore.LSTM(2, 3, 2, bidirectional=True, proj_size=2, seed=0),
        lstmcore.GRU(2, 3, bias=False, dtype="float64", seed=0),
        lstmcore.RNN(2, 1, seed=0),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_of_state_dicts(layer: Any) -> None:
    found = from_state_dict({f"encoder.{name}": value for name, value in layer.parameters.items()})
    assert repr(found) == repr(layer)
    assert found.flat_parameters.tobytes() == layer.flat_parameters.tobytes()


def test_state_dicts_that_are_no_layer() -> None:
    good = dict(lstmcore.GRU(2, 3).parameters)
    with pytest.raises(ValueError, match=r"has weight_ih_l0, got \['a'\]"):
        from_state_dict({"a": np.zeros(3)})
    with pytest.raises(ValueError, match=r"also has \['fc.weight'\]: see from_torch"):
        from_state_dict({**good, "fc.weight": np.zeros((1, 3))})
    with pytest.raises(ValueError, match=r"has 4, 3 or 1 blocks of rows, got shape \(6, 3\)"):
        from_state_dict({**good, "weight_hh_l0": np.zeros((6, 3))})


def test_convert_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = GOLDEN / "classifier.safetensors"
    assert "cannot be written: its suffix must be one of .safetensors, .onnx, .h" in fails(
        ["convert", model, tmp_path / "a.docx"], capsys
    )
    assert "cannot be read: its suffix must be" in fails(["convert", tmp_path / "a.onnx", tmp_path / "a.h"], capsys)
    assert "there is no file" in fails(["convert", tmp_path / "a.safetensors", tmp_path / "a.h"], capsys)
    assert "--name is for a .h" in fails(["convert", model, tmp_path / "a.safetensors", "--name", "x"], capsys)
    assert "bidirectional=True cannot go to C" in fails(
        ["convert", GOLDEN / "LSTM.safetensors", tmp_path / "a.h"], capsys
    )
    assert not list(tmp_path.iterdir())


# ---- info, bench, and the command itself ----


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert "instruction set" in capsys.readouterr().out


def test_bench(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--cell", "gru,mgu", "--hidden-size", "8", "--seconds", "0.01"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in rows[-2:]] == [["gru", "8"], ["mgu", "8"]]
    assert all(float(number.replace(",", "")) > 0 for row in rows[-2:] for number in row[2:])
    assert "--cell must be one of" in fails(["bench", "--cell", "grue"], capsys)
    assert "--hidden-size must be positive integers" in fails(["bench", "--hidden-size", "8,x"], capsys)
    assert "--seconds must be positive" in fails(["bench", "--seconds", "0"], capsys)


@pytest.mark.parametrize("arguments", [[], ["paint"], ["predict"], ["convert", "a"], ["bench", "--seconds", "long"]])
def test_wrong_calls(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: python -m lstmcore" in capsys.readouterr().err


def test_the_command(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "lstmcore", "predict", str(tmp_path / "none"), "x.npy"]
    done = subprocess.run(call, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"python -m lstmcore: there is no model file {tmp_path / 'none'}\n"
