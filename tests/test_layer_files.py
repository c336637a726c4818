"""Files of layers and networks, and golden files: what every released format holds stays readable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from cases import same_bits
from safetensors import safe_open
from safetensors.numpy import load_file

import lstmcore
from lstmcore import model_file
from lstmcore._isa import isa
from lstmcore.layers import from_cell

KINDS = {**golden.layers(), **golden.models()}


def round_trip(layer: Any, path: Path) -> Any:
    layer.save(path)
    return lstmcore.load(path)


@pytest.mark.parametrize("name", golden.layers())
def test_layers_come_back(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    layer = kind.make()
    loaded = round_trip(layer, tmp_path / "layer.safetensors")
    assert type(loaded) is type(layer)
    if "object at" not in repr(layer) and name != "Network":  # in which any layer comes back as `from_cell` makes it
        assert repr(loaded) == repr(layer)
    assert same_bits(loaded.flat_parameters, layer.flat_parameters)
    assert same_bits(np.asarray(kind.answer(loaded, kind.inputs)), np.asarray(kind.answer(layer, kind.inputs)))
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "layer.safetensors").read_bytes()


@pytest.mark.parametrize("cell", lstmcore.cells())
def test_every_cell_comes_back(cell: str, tmp_path: Path) -> None:
    layer = from_cell(cell, 2, 5, num_layers=2, seed=1)
    loaded = round_trip(layer, tmp_path / "f")
    x = np.ones((3, 2, 2), np.float32)
    assert repr(loaded) == repr(layer)
    assert same_bits(loaded(x)[0], layer(x)[0])


def test_a_layers_file_has_torchs_names(tmp_path: Path) -> None:
    layer = lstmcore.GRU(2, 3, bidirectional=True, seed=0)
    layer.save(tmp_path / "f")
    tensors = load_file(tmp_path / "f")
    assert tensors.keys() == layer.parameters.keys()
    with safe_open(tmp_path / "f", framework="numpy") as file:
        header = json.loads(file.metadata()["lstmcore"])
    assert (header["format"], header["kind"], header["network"]["hidden_size"]) == (model_file.FORMAT, "GRU", 3)


def test_a_layer_with_bfloat16_weights(tmp_path: Path) -> None:
    lstmcore.LSTM(2, 3, seed=0).save(tmp_path / "f")
    assert lstmcore.load(tmp_path / "f", weight_dtype="bfloat16").weight_dtype == "bfloat16"
    lstmcore.TimeDelay(2, 3, seed=0).save(tmp_path / "f")
    with pytest.raises(ValueError, match="weight_dtype must be None for TimeDelay, got 'bfloat16'"):
        lstmcore.load(tmp_path / "f", weight_dtype="bfloat16")


def test_layers_that_no_file_can_hold(tmp_path: Path) -> None:
    class Mine(lstmcore.LSTM):
        pass

    with pytest.raises(TypeError, match="Mine is none of the layers that a file can hold: LSTM, GRU"):
        Mine(2, 3).save(tmp_path / "f")
    with pytest.raises(TypeError, match="path must be a string or a path, got None"):
        lstmcore.LSTM(2, 3).save(None)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*missing for f"):
        lstmcore.LSTM(2, 3).save(tmp_path / "missing" / "f")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("version", "name"), list(golden.stored()))
def test_golden_files(version: str, name: str) -> None:
    path = golden.FOLDER / version / f"{name}.safetensors"
    expected = load_file(path.with_suffix(".expected"))
    found = golden.answered(KINDS[name], lstmcore.load(path), expected)
    if isa() == "x86_64_v2":  # no fused multiply-add: the one instruction set with bits of its own
        np.testing.assert_allclose(found["answer"], expected["answer"], rtol=1e-4, atol=1e-5)
    else:
        assert same_bits(found["answer"], expected["answer"])


def test_every_kind_has_a_golden_file() -> None:
    assert {name for version, name in golden.stored() if version == f"format{model_file.FORMAT}"} == KINDS.keys()
    kinds = set()
    for path in golden.FOLDER.glob("format*/*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            kinds.add(json.loads(file.metadata()["lstmcore"])["kind"])
    assert kinds == {*model_file._MODELS, *model_file._LAYERS}


def test_loading_needs_no_scikit_learn(run_python: Any) -> None:
    run_python(f"""
import sys
from pathlib import Path
sys.modules["sklearn"] = None
import lstmcore
for path in Path({str(golden.FOLDER)!r}).glob("format*/*.safetensors"):
    lstmcore.load(path)
""")
