"""C headers: compiled without a warning, they compute what Python computes, and say how large they are."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import error

import lstmcore
from lstmcore._inputs import Inputs
from lstmcore._standardizer import Standardizer
from lstmcore.layers import from_cell
from lstmcore.model import ClassifierModel, RegressorModel, TaggerModel
from lstmcore.network import Dense, Network

STEPS = 25
FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1"]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}  # of the largest output, or of 1
CELLS = ("lstm", "lstm_peephole", "lstm_coupled", "lstm_coupled_peephole", "gru", "gru_reset_before", "mgu", "rnn_tanh")
CELLS += ("rnn_relu", "rnn_hardtanh", "rnn_residual")


class Case(NamedTuple):
    model: Any
    dtype: str
    expected: Callable[[np.ndarray], np.ndarray]  # from x [STEPS, inputs]


def network(**options: Any) -> Network:
    layer = lstmcore.GRU(3, 5, 2, seed=2, **options)
    return Network(layer, "last", Dense(5, 4, seed=1, **options))


def by_step(session: Any, advance: str = "step") -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.stack([np.ravel(getattr(session, advance)(row[None])) for row in x])


def inputs(dtype: str) -> Inputs:
    return Inputs(3, np.dtype(dtype), Standardizer(np.array([0.5, -1.0, 2.0]), np.array([2.0, 0.5, 1.5])))


def layer_case(layer: Any) -> Case:
    return Case(layer, layer.dtype.name, lambda x: layer(x[:, None])[0][:, 0])


def all_cases() -> dict[str, Case]:
    found = {}
    for cell in CELLS:
        for dtype in TOLERANCE:
            found[f"{cell}_{dtype}"] = layer_case(from_cell(cell, 3, 6, num_layers=2, dtype=dtype, seed=1))
    found["no_bias"] = layer_case(lstmcore.GRU(3, 5, bias=False, seed=1))
    found["some_peepholes"] = layer_case(lstmcore.LSTM(3, 5, peepholes="o", seed=1))
    found["one_unit"] = layer_case(lstmcore.LSTM(1, 1, seed=1))
    for dtype in TOLERANCE:
        made = network(dtype=dtype)
        scaler = Standardizer(np.arange(4.0), np.array([10.0, 1.0, 0.1, 3.0]))
        models: dict[str, tuple[Any, str]] = {
            "classifier": (ClassifierModel(made, inputs(dtype), np.array(["a", "*/", "$name", "ü"])), "step_proba"),
            "multilabel": (ClassifierModel(made, inputs(dtype), np.arange(4), multilabel=True), "step_proba"),
            "regressor": (RegressorModel(made, inputs(dtype), scaler, False, None), "step"),
            "raw_regressor": (RegressorModel(made, Inputs(3, np.dtype(dtype)), scaler, False, None), "step"),
        }
        for name, (model, advance) in models.items():
            found[f"{name}_{dtype}"] = Case(model, dtype, by_step(model.session(), advance))
        every = Network(lstmcore.LSTM(3, 5, seed=2, dtype=dtype), None, Dense(5, 4, bias=False, seed=1, dtype=dtype))
        tagger = TaggerModel(every, inputs(dtype), np.arange(4))
        found[f"tagger_{dtype}"] = Case(tagger, dtype, by_step(tagger.session(), "step_proba"))
        found[f"network_{dtype}"] = Case(made, dtype, by_step(made.session()))
    return found


MAIN = """
#include <stdio.h>
%s
#define RUN(name, real) do { \\
    static name##_state s; \\
    real x[name##_INPUTS], y[name##_OUTPUTS]; \\
    int t; \\
    if (sizeof s != name##_STATE_BYTES) return 1; \\
    name##_reset(&s); \\
    for (t = 0; t < %d; ++t) { \\
      if (fread(x, sizeof x, 1, stdin) != 1) return 1; \\
      name##_step(&s, x, y); \\
      if (fwrite(y, sizeof y, 1, stdout) != 1) return 1; \\
    } \\
  } while (0)
int main(void) {
%s
  return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_c_computes_what_python_computes(tmp_path: Path) -> None:
    cases, includes, runs, fed = all_cases(), [], [], []
    for k, (name, case) in enumerate(cases.items()):
        lstmcore.to_c(case.model, tmp_path / f"{name}.h", name=name)
        includes.append(f'#include "{name}.h"')
        runs.append(f"  RUN({name}, {'float' if case.dtype == 'float32' else 'double'});")
        n = int(re.findall(r"_INPUTS (\d+)", (tmp_path / f"{name}.h").read_text())[0])
        fed.append((2 * np.random.default_rng(k).standard_normal((STEPS, n))).astype(case.dtype))
    (tmp_path / "main.c").write_text(MAIN % ("\n".join(includes), STEPS, "\n".join(runs)))
    subprocess.run(["gcc", *FLAGS, "main.c", "-lm", "-o", "main"], cwd=tmp_path, check=True)
    given = b"".join(x.tobytes() for x in fed)
    answer = subprocess.run([tmp_path / "main"], input=given, capture_output=True, check=True).stdout
    for (name, case), x in zip(cases.items(), fed, strict=True):
        expected = case.expected(x)
        size = expected.size * x.itemsize
        found = np.frombuffer(answer[:size], case.dtype).reshape(expected.shape)
        answer = answer[size:]
        assert error(found.astype(np.float64), expected.astype(np.float64)) <= TOLERANCE[case.dtype], name
    assert not answer


def test_headers_are_plain_and_say_their_size(tmp_path: Path) -> None:
    layer = lstmcore.LSTM(2, 3, 2, dtype="float64", seed=0)
    text = lstmcore.to_c(layer, tmp_path / "m.h", name="m")
    assert (tmp_path / "m.h").read_text() == text
    assert re.findall(r"#include (.*)", text) == ["<math.h>", "<stddef.h>"]
    biases = 2 * 12  # b + b' is one
    assert f"#define m_WEIGHT_BYTES {8 * (layer.n_parameters - biases)}\n" in text
    assert f"#define m_STATE_BYTES {8 * 2 * 2 * 3}\n" in text
    assert not re.search(r"\b(malloc|free|static [a-z]+ m)\b", text.replace("static m_state state", ""))


def test_estimators_go_too() -> None:
    exceptions = pytest.importorskip("sklearn.exceptions")
    X = np.random.default_rng(0).standard_normal((20, 4, 2))
    y = np.array(["no */", "yes"])[np.arange(20) % 2]
    fitted = lstmcore.RNNClassifier(hidden_size=4, max_epochs=1, random_state=0).fit(X, y)
    text = lstmcore.to_c(fitted)
    assert text == lstmcore.to_c(fitted.model_)
    assert "Outputs: probabilities of no ?, yes" in text
    online = lstmcore.OnlineRNNRegressor(hidden_size=4, random_state=0).fit(X[:, 0], X[:, 1, 0])
    assert "model_rescale(1" in lstmcore.to_c(online)
    for estimator in (lstmcore.RNNClassifier(), lstmcore.OnlineRNNRegressor()):
        with pytest.raises(exceptions.NotFittedError, match=f"{type(estimator).__name__} instance is not fitted"):
            lstmcore.to_c(estimator)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lstmcore.LSTM(2, 3, bidirectional=True), "bidirectional=True cannot go to C"),
        (lambda: lstmcore.LSTM(2, 3, proj_size=2), "proj_size=2 cannot"),
        (lambda: lstmcore.GRU(2, 3, zoneout=0.1), "zoneout=0.1 cannot"),
        (lambda: from_cell("lstm_layernorm", 2, 3), "cell 'lstm_layernorm' cannot go to C; these can: lstm, lstm_c"),
        (lambda: lstmcore.TimeDelay(2, 3), "cell 'tdnn_tanh' cannot"),
        (lambda: Network(lstmcore.GRU(2, 3), "mean", Dense(3, 1)), "pooling='mean' cannot"),
    ],
)
def test_what_cannot_go_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lstmcore.to_c(make())


def test_names() -> None:
    layer = lstmcore.GRU(2, 3, seed=0)
    for bad in ("", "1st", "a-b", "_x", "a b", None):
        with pytest.raises(ValueError, match="name must be an identifier of C, got"):
            lstmcore.to_c(layer, name=bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="path must be a string or a path, got 3"):
        lstmcore.to_c(layer, 3)  # type: ignore[arg-type]
