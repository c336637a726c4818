"""Model files from C++: the example program answers with the bits of the model in Python."""

from __future__ import annotations

import io
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import lstmcore
from lstmcore import RNNClassifier, RNNForecaster, RNNLanguageModel, RNNRegressor, RNNTagger
from lstmcore._inputs import Inputs
from lstmcore._standardizer import Standardizer
from lstmcore.layers import from_cell
from lstmcore.model import ClassifierModel, RegressorModel
from lstmcore.network import Dense, Network
from lstmcore.pooling import Pooling
from lstmcore.sequences import as_sequences
from lstmcore.time_delay import CELLS as TIME_DELAY_CELLS

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "build" / "cpp" / "examples" / "predict"
PAGE_PROGRAM = ROOT / "build" / "cpp" / "page"
QUICK: dict[str, Any] = dict(hidden_size=7, max_epochs=1, random_state=0)

pytestmark = [
    pytest.mark.skipif(not PROGRAM.exists(), reason="`make test-cpp` builds the program"),
    pytest.mark.skipif(lstmcore._isa.isa() == "x86_64_v2", reason="without fused multiply-add other bits"),
]


def lines(sequences: Any) -> str:
    """Sequences as the program reads them."""
    text = io.StringIO()
    for sequence in sequences:
        np.savetxt(text, np.reshape(sequence, (len(sequence), -1)), fmt="%.17g", delimiter=",")
        text.write("\n")
    return text.getvalue()


def run(path: Path, sequences: Any, *options: str, fails: bool = False) -> Any:
    """Return the program's answers, or what it says of a failure."""
    done = subprocess.run([str(PROGRAM), str(path), *options], input=lines(sequences), capture_output=True, text=True)
    assert done.returncode == int(fails), done.stderr
    return done.stderr if fails else np.loadtxt(io.StringIO(done.stdout), delimiter=",", ndmin=2)


def same(found: np.ndarray, wanted: Any) -> None:
    """Equal bits: every float has a double of its own."""
    np.testing.assert_array_equal(found, np.asarray(wanted, np.float64).reshape(len(found), -1), strict=True)


def stepped(model: Any, sequences: Any, step: str = "step") -> np.ndarray:
    """Answers of a session after each step of each sequence, patches put together."""
    session, width, answers = model.session(), model.inputs.patch_size, []
    for sequence in sequences:
        session.reset()
        for t in range(0, len(sequence) - width + 1, width):
            answers.append(getattr(session, step)(np.reshape(sequence[t : t + width], -1)))
    return np.concatenate(answers)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture
def X(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.standard_normal((length, 2)) for length in (5, 1, 8, 8, 3, 6)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", [*lstmcore.cells(), *TIME_DELAY_CELLS])
def test_every_cell(cell: str, dtype: str, X: list[np.ndarray], path: Path) -> None:
    recurrent = from_cell(cell, 2, 9, num_layers=2, dtype=dtype, seed=1)
    network = Network(recurrent, "last", Dense(recurrent.output_size, 2, dtype=dtype, seed=2))
    scaler = Standardizer(np.array([0.1, -3.0]), np.array([1.7, 0.3]))
    model = RegressorModel(network, Inputs(2, np.dtype(dtype), scaler), scaler, squeeze=False, quantiles=None)
    model.save(path)
    same(run(path, X), model.predict(X))
    same(run(path, X, "--stream"), stepped(model, X))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("cell", "pooling", "options"),
    [
        ("gru", "mean", {"missing": "mask"}),
        ("mgu", "max", {"missing": "mask", "patch_size": 2, "standardize": False}),
        ("lstm", "attention", {"patch_size": 3}),
    ],
)
def test_inputs_and_poolings(
    cell: str, pooling: str, options: dict[str, Any], dtype: str, X: list[np.ndarray], path: Path
) -> None:
    if "missing" in options:
        X[0][:3, 0] = X[2][4:, 1] = X[3][:, 1] = np.nan
    inputs = Inputs.fit(as_sequences(X, "X", dtype=None, finite=False), **options, dtype=dtype)
    recurrent = from_cell(cell, inputs.n_inputs, 9, zoneout=0.2, dtype=dtype, seed=1)
    head = Pooling(pooling, 9, dtype=dtype)
    head.flat_parameters[...] = np.linspace(-1, 1, head.n_parameters)
    network = Network(recurrent, head, Dense(9, 3, dtype=dtype, seed=2))
    model = ClassifierModel(network, inputs, np.array(["a", "ü", "c"]))
    model.save(path)
    same(run(path, X), model.predict_proba(X))
    same(run(path, X, "--stream"), stepped(model, X, "step_proba"))


def test_both_directions_static_features_and_many_labels(X: list[np.ndarray], path: Path) -> None:
    static = np.array([[0.5, -2.0, 7.25]] * 6)
    labels = np.arange(18).reshape(6, 3) % 2
    for cell in ("lstm", "grid_lstm", "rnn_clockwork"):
        options = dict(cell=cell, bidirectional=True, num_layers=2, standardize=cell == "lstm")
        clf = RNNClassifier(**QUICK, **options).fit(X, labels, static=static + np.arange(6)[:, None])
        clf.save(path)
        same(run(path, X, "--static", "0.5,-2,7.25"), clf.predict_proba(X, static))
        assert "bidirectional" in run(path, X, "--stream", "--static", "0.5,-2,7.25", fails=True)
    assert "--static must have 3 numbers, has 0" in run(path, X, fails=True)
    assert "--static must have 3 numbers, has 1" in run(path, X, "--static", "1", fails=True)
    assert "usage: predict MODEL" in run(path, X, "--statics", "1,2,3", fails=True)


def test_static_features_of_streams(X: list[np.ndarray], path: Path) -> None:
    for cell in ("lstm", "rnn_clockwork", "tdnn"):
        reg = RNNRegressor(**QUICK, cell=cell).fit(X, np.arange(6.0), static=np.arange(6.0)[:, None])
        reg.save(path)
        session = reg.session(1, [[1.5]])
        same(run(path, X[:1], "--stream", "--static", "1.5"), [session.step(row) for row in X[0]])


def test_quantiles_of_two_targets_and_a_projection(X: list[np.ndarray], path: Path) -> None:
    options = dict(cell="lstm", loss="quantile", quantiles=(0.1, 0.5, 0.9), num_layers=2)
    reg = RNNRegressor(**QUICK, **options).fit(X, np.arange(12.0).reshape(6, 2))
    reg.save(path)
    same(run(path, X), reg.predict_quantiles(X))


def test_tokens_and_tags(rng: np.random.Generator, path: Path) -> None:
    X = [rng.integers(0, 5, (length, 1)) for length in (4, 2, 7)]
    for options in ({"embedding_dim": 3}, {"embedding_vectors": rng.standard_normal((5, 3)), "freeze_embedding": True}):
        tagger = RNNTagger(**QUICK, **options).fit(X, [sequence[:, 0] % 2 for sequence in X])
        tagger.save(path)
        same(run(path, X), np.concatenate(tagger.predict_proba(X)))
        same(run(path, X, "--stream"), stepped(tagger.model_, X, "step_proba"))
    assert "whole numbers below 5: sequence 0, step 1, feature 0 is 5" in run(path, [[0, 5]], fails=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"difference": True, "scale_halflife": 9.0, "quantiles": (0.1, 0.5, 0.9), "calibration_fraction": 0.2},
        {"difference": 4, "scale_halflife": 5.0},
        {"difference": 6, "cell": "tdnn", "delays": (0, 2)},
    ],
    ids=str,
)
def test_forecasters(options: dict[str, Any], rng: np.random.Generator, path: Path) -> None:
    y, X, known = (np.cumsum(rng.standard_normal((66, n)), axis=0) for n in (2, 1, 3))
    known[40:] *= 1e3  # beyond what is clipped
    forecaster = RNNForecaster(**QUICK, **options, window=9, horizon=3).fit(y[:60], X[:60], known[:60])
    forecaster.save(path)
    ahead = np.lib.stride_tricks.sliding_window_view(known[1:], 3, axis=0).swapaxes(1, 2).reshape(63, -1)
    rows = np.concatenate([y[:63], X[:63], ahead], axis=1)
    wanted = forecaster.model_.forecasts(y[:63], X[:63], known=known)
    same(run(path, [rows]), wanted)
    same(run(path, [rows], "--stream"), wanted)
    same(run(path, [rows, rows[:20]])[-20:], wanted[:20])


def test_a_calendar_comes_as_columns(path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    times = pandas.date_range("2024-01-01", periods=62, freq="h")
    y = pandas.Series(np.sin(np.arange(60.0)), times[:60])
    forecaster = RNNForecaster(**QUICK, window=9, horizon=2, calendar=["hour"]).fit(y)
    forecaster.save(path)
    known = forecaster.model_.known_columns(times)
    ahead = np.concatenate([known[1:61], known[2:62]], axis=1)
    rows = np.concatenate([y.to_numpy()[:, None], ahead], axis=1)
    same(run(path, [rows]), forecaster.model_.forecasts(y.to_numpy(), known=known))


def test_the_program_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "guide" / "cpp.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block, names)
    done = subprocess.run([str(PAGE_PROGRAM)], capture_output=True, text=True, check=True)
    session = names["clf"].session(2)
    for _ in range(20):
        probabilities = session.step_proba(np.ones((2, 3)))
    assert done.stdout == f"down: {probabilities[0, 0]:g}\n"


def test_what_cannot_run_is_named(tmp_path: Path, path: Path, X: list[np.ndarray]) -> None:
    RNNLanguageModel(**QUICK).fit(["abcabcabc" * 9]).save(path)
    assert f"{path} is no model file that can be run here: it is a model of the kind language_model" in run(
        path, X, fails=True
    )
    RNNForecaster(**QUICK, window=9).fit([np.arange(30.0), np.arange(30.0) ** 2]).save(path)
    assert "entry lstmcore.task.frame.scale is none: a model of several series" in run(path, X, fails=True)
    assert f"there is no model file {tmp_path / 'none'}" in run(tmp_path / "none", X, fails=True)
    save_file({"x": np.zeros(3)}, path)
    assert "it is a safetensors file, but not a model of lstmcore" in run(path, X, fails=True)


def test_a_changed_file_is_refused_and_the_entry_named(path: Path, X: list[np.ndarray]) -> None:
    RNNRegressor(**QUICK).fit(X, np.arange(6.0)).save(path)
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        header = json.loads(file.metadata()["lstmcore"])

    def said(change: Any) -> str:
        changed, copy = json.loads(json.dumps(header)), dict(tensors)
        change(changed, copy)
        save_file(copy, path, {"lstmcore": json.dumps(changed)})
        return run(path, X, fails=True)

    def set_entry(*keys: str, value: Any) -> Any:
        def change(header: Any, _: Any) -> None:
            for key in keys[:-1]:
                header = header[key]
            header[keys[-1]] = value

        return change

    assert "has format 2, these headers read up to 1: update lstmcore" in said(set_entry("format", value=2))
    layers = ("network", "recurrent")
    assert "cell is 'lstn'; it must be one of lstm" in said(set_entry(*layers, "cell", value="lstn"))
    assert "entry lstmcore.network.recurrent.hidden_size must be" in said(set_entry(*layers, "hidden_size", value=-7))
    assert "has more parameters than the file" in said(set_entry(*layers, "hidden_size", value=10**6))
    assert "recurrent has the unknown key attention" in said(set_entry(*layers, "attention", value=1))
    assert "network.graph" not in said(set_entry("network", "graph", value={}))
    assert "scaler.mean must have 2 numbers" in said(set_entry("task", "inputs", "scaler", "mean", value=[1.0]))
    assert "it lacks the tensor dense.bias" in said(lambda _, tensors: tensors.pop("dense.bias"))
    assert "tensor dense.bias must be F32, is F64" in said(
        lambda _, tensors: tensors.update({"dense.bias": np.zeros(1)})
    )
    assert "tensor dense.bias is not finite" in said(
        lambda _, tensors: tensors.update({"dense.bias": np.full(1, np.nan, np.float32)})
    )
