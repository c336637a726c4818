"""What `to_onnx` writes, in ONNX Runtime and back through `from_onnx`: lstmcore's numbers for sizes of any kind."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import lstmcore
from lstmcore.embedding import Embedding
from lstmcore.interop import _onnx_check
from lstmcore.layers import from_cell
from lstmcore.network import Dense, Network
from lstmcore.sequences import as_sequences

OLDEST = 14
NEWEST = min(26, onnx.defs.onnx_opset_version())  # that ONNX Runtime 1.31 reads
QUICK: dict[str, Any] = {"hidden_size": 5, "max_epochs": 1, "random_state": 0}
CELLS = [*lstmcore.cells(), "tdnn_tanh", "tdnn_relu", "tdnn_hardtanh", "tdnn_linear"]
SHAPES = [(1, 1), (2, 9), (5, 4)]  # batch, steps


class Exported:
    """What `to_onnx` writes in two readers: every run compares ONNX Runtime with `from_onnx`."""

    def __init__(self, what: Any, opset: int = OLDEST, tolerance: float = 5e-6) -> None:
        self.model, self.tolerance = lstmcore.to_onnx(what, opset=opset), tolerance
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        data, providers = self.model.SerializeToString(), ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(data, options, providers=providers)
        self.ours = lstmcore.from_onnx(self.model)

    def run(self, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        theirs, ours = self.session.run(None, feed), self.ours(feed)
        for (name, back), output in zip(ours.items(), theirs, strict=True):
            if name == "label":
                assert back.tolist() == np.asarray(output).tolist()
            else:
                assert back.dtype == output.dtype
                assert np.array_equal(np.isnan(back), np.isnan(output))
                close(np.nan_to_num(back), np.nan_to_num(output), self.tolerance)
        return theirs


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 5e-6) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= tolerance * max(1, np.abs(expected).max(initial=0))


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node} & {"LSTM", "GRU", "RNN", "Scan"}


def as_tuple(state: Any) -> tuple[np.ndarray, ...]:
    return state if isinstance(state, tuple) else (state,)


def draw_lengths(rng: np.random.Generator, batch: int, steps: int) -> np.ndarray:
    return rng.integers(1, steps + 1, batch)


# ---- layers ---------------------------------------------------------------------------------------------------------


def check_layer(layer: Any, opset: int = OLDEST, tolerance: float = 5e-6) -> None:
    """Without and with lengths and states, at several shapes."""
    run, rng = Exported(layer, opset, tolerance), np.random.default_rng(1)
    for batch, steps in SHAPES:
        axes = (batch, steps) if layer.batch_first else (steps, batch)
        x = rng.standard_normal((*axes, layer.input_size)).astype(layer.dtype)
        y, state = layer(x)
        for found, expected in zip(run.run({"x": x}), (y, *as_tuple(state)), strict=True):
            close(found, expected, tolerance)
        lengths = draw_lengths(rng, batch, steps)
        before = tuple(
            (np.rint(9 * rng.random(each.shape)) if name == "clock" else rng.standard_normal(each.shape)).astype(
                layer.dtype
            )
            for name, each in zip(layer._states.widths, as_tuple(state), strict=True)
        )
        y, state = layer(x, before if len(before) > 1 else before[0], lengths)
        names = [f"{name}0" for name in layer._states.widths]
        feed = {"x": x, "lengths": lengths, **dict(zip(names, before, strict=True))}
        for found, expected in zip(run.run(feed), (y, *as_tuple(state)), strict=True):
            close(found, expected, tolerance)


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell(cell: str) -> None:
    check_layer(from_cell(cell, 3, 5, seed=0))
    both = {} if cell.startswith("tdnn") else {"bidirectional": True}
    check_layer(from_cell(cell, 3, 5, num_layers=2, batch_first=True, bias=False, seed=0, **both), NEWEST)


@pytest.mark.parametrize(
    "layer",
    [
        lstmcore.LSTM(3, 6, num_layers=2, proj_size=2, bidirectional=True, seed=0),
        lstmcore.LSTM(3, 6, peepholes="io", coupled=True, seed=0),
        lstmcore.LSTM(3, 6, peepholes="f", bidirectional=True, seed=0),
        from_cell("lstm_no_input_gate", 3, 6, peepholes="fo", seed=0),
        from_cell("lstm_full_gate_recurrence", 3, 6, peepholes="o", zoneout=0.3, seed=0),
        from_cell("lstm_layernorm", 3, 6, peepholes=False, bidirectional=True, seed=0),
        lstmcore.RNN(3, 7, periods=(1, 3, 5), seed=0),
        lstmcore.TimeDelay(3, 6, delays=(5, 0, 2), num_layers=3, seed=0),
        lstmcore.TimeDelay(3, 6, delays=[0], seed=0),
    ],
    ids=repr,
)
def test_options_of_layers(layer: Any) -> None:
    check_layer(layer)


@pytest.mark.parametrize("cell", ["lstm_coupled_peephole", "gru", "mgu", "rnn_hardtanh", "indrnn", "grid_lstm"])
def test_float64_and_zoneout(cell: str) -> None:
    layer = from_cell(cell, 3, 5, num_layers=2, zoneout=0.25, dtype="float64", seed=0)
    check_layer(layer, 18, 1e-13)
    assert operators(lstmcore.to_onnx(layer)) == {"Scan"}


def test_cells_use_the_operators_that_onnx_has() -> None:
    found = {cell: operators(lstmcore.to_onnx(from_cell(cell, 2, 3, seed=0))) for cell in CELLS}
    in_scan = {cell for cell, used in found.items() if used == {"Scan"}}
    assert in_scan == {
        *("lstm_full_gate_recurrence", "lstm_layernorm", "lstm_depth_gated", "grid_lstm"),
        *("gru_layernorm", "rnn_residual", "rnn_clockwork"),
    }
    assert found["lstm_coupled_peephole"] == {"LSTM"}
    assert found["mgu"] == {"GRU"}
    assert found["indrnn_tanh"] == {"RNN"}
    assert not found["tdnn_tanh"]


def test_chunks_go_on_from_states() -> None:
    layer, x = lstmcore.LSTM(3, 5, seed=0), np.random.default_rng(0).standard_normal((8, 2, 3)).astype(np.float32)
    run = Exported(layer)
    y1, h, c = run.run({"x": x[:3]})
    y2, *_ = run.run({"x": x[3:], "h0": h, "c0": c})
    close(np.concatenate([y1, y2]), layer(x)[0])


# ---- networks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention", None])
@pytest.mark.parametrize("opset", [OLDEST, NEWEST])
def test_networks(pooling: str | None, opset: int) -> None:
    rng = np.random.default_rng(0)
    recurrent = lstmcore.GRU(4, 5, num_layers=2, bidirectional=True, seed=0)
    network = Network(
        recurrent, pooling, Dense(10, 3, seed=1), dropout=0.5, embedding=Embedding(7, 4, trainable=False, seed=2),
        initial=Dense(2, recurrent.state_size, seed=3),
    )  # fmt: skip
    network.flat_parameters[...] += 0.1  # attention starts at zero
    network.parameters_changed()
    run = Exported(network, opset)
    for batch, steps in SHAPES:
        tokens, lengths = rng.integers(0, 7, (batch, steps)), draw_lengths(rng, batch, steps)
        static = rng.standard_normal((batch, 2)).astype(np.float32)
        rows = as_sequences([row[:n, None] for row, n in zip(tokens, lengths, strict=True)], "X")
        rows = type(rows)(rows.values, rows.starts, rows.lengths, static)
        output, *_ = run.run({"tokens": tokens, "lengths": lengths, "static": static})
        if pooling is None:
            output = np.concatenate([row[:n] for row, n in zip(output, lengths, strict=True)])
        close(output, network.predict(rows))


# ---- estimators -----------------------------------------------------------------------------------------------------


def ragged(seed: int = 0, missing: bool = False) -> list[np.ndarray]:
    """Sequences of 2 to 8 steps of two features, far from zero and of another size each."""
    rng = np.random.default_rng(seed)
    rows = [rng.standard_normal((n, 2)) * [3, 100] + [5, 1e4] for n in rng.integers(2, 9, 12)]
    return [np.where(rng.random(row.shape) < 0.3, np.nan, row) for row in rows] if missing else rows


def padded(rows: list[np.ndarray], steps: int) -> dict[str, np.ndarray]:
    lengths = np.array([len(row) for row in rows])
    beyond = np.nan if rows[0].dtype.kind == "f" else 0  # tokens must be tokens there, too
    X = np.full((len(rows), steps, *rows[0].shape[1:]), beyond, rows[0].dtype)
    for i, row in enumerate(rows):
        X[i, : len(row)] = row
    return {"X": X, "lengths": lengths}


NAMES = np.array(["calm", "wild", "none"])
STATIC = np.random.default_rng(5).standard_normal((12, 3)) * 50
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "grid": {"cell": "grid_lstm", "bidirectional": True},
    "missing": {"missing": "mask", "cell": "gru", "pooling": "mean"},
    "missing, as it is": {"missing": "mask", "standardize": False},
    "patches": {"missing": "mask", "patch_size": 3, "pooling": "attention"},
    "static": {"num_layers": 2},
    "clockwork": {"cell": "rnn_clockwork", "hidden_size": 8},
}


@pytest.mark.parametrize("case", CLASSIFIERS)
def test_classifiers(case: str) -> None:
    X, labels = ragged(missing="missing" in CLASSIFIERS[case]), NAMES[np.arange(12) % 3]
    static = STATIC if case == "static" else None
    model = lstmcore.RNNClassifier(**QUICK | CLASSIFIERS[case]).fit(X, labels, static=static)
    run = Exported(model, NEWEST)
    for some, steps in ((slice(0, 12), 8), (slice(3, 4), 11)):
        feed = padded(X[some], steps)
        given = None
        if static is not None:
            given = feed["static"] = static[some]
        label, probabilities = run.run(feed)
        close(probabilities, model.predict_proba(X[some], static=given))
        assert list(label) == list(model.predict(X[some], static=given))
    whole = [x[: min(map(len, X))] for x in X]  # lengths left out
    label, probabilities = run.run({"X": np.stack(whole)} | ({} if static is None else {"static": static}))
    close(probabilities, model.predict_proba(whole, static=static))
    assert list(label) == list(model.predict(whole, static=static))


def test_several_labels_and_tokens() -> None:
    tokens = [np.random.default_rng(i).integers(0, 6, (i % 4 + 2, 1)) for i in range(12)]
    labels = np.eye(3, dtype=int)[np.arange(12) % 3]
    model = lstmcore.RNNClassifier(n_tokens=6, embedding_dim=4, **QUICK).fit(tokens, labels)
    feed = {name: rows.squeeze(2) if rows.ndim == 3 else rows for name, rows in padded(tokens, 6).items()}
    label, probabilities = Exported(model).run(feed)
    close(probabilities, model.predict_proba(tokens))
    assert np.array_equal(label, model.predict(tokens))


@pytest.mark.parametrize("targets", [None, 1, 2])
@pytest.mark.parametrize("quantiles", [None, (0.1, 0.5, 0.9)])
def test_regressors(targets: int | None, quantiles: tuple[float, ...] | None) -> None:
    X, rng = ragged(), np.random.default_rng(1)
    y = 1e4 + 300 * rng.standard_normal(12 if targets is None else (12, targets))
    options = {} if quantiles is None else {"loss": "quantile", "quantiles": quantiles}
    model = lstmcore.RNNRegressor(patch_size=2, **QUICK, **options).fit(X, y)
    found = Exported(model, tolerance=1e-8).run(padded(X, 9))
    close(found[0], model.predict(X), 1e-8)
    if quantiles is not None:
        close(found[1], model.predict_quantiles(X), 1e-8)


def test_taggers() -> None:
    X = ragged()
    labels = [np.arange(len(row)) % 2 > 0 for row in X]
    model = lstmcore.RNNTagger(bidirectional=True, **QUICK).fit(X, labels)
    label, probabilities = Exported(model).run(padded(X, 8))
    for i, (tags, each) in enumerate(zip(model.predict(X), model.predict_proba(X), strict=True)):
        close(probabilities[i, : len(each)], each)
        assert np.array_equal(label[i, : len(tags)], tags)


FORECASTERS: dict[str, tuple[int | None, dict[str, Any]]] = {  # columns of the series, options
    "levels": (None, {}),
    "differences": (None, {"difference": True, "scale_halflife": 5.0}),
    "season": (2, {"difference": 4, "scale_halflife": 20.0, "cell": "tdnn_tanh", "delays": 3}),
    "season, quantiles": (2, {"difference": 3, "quantiles": (0.1, 0.5, 0.9)}),
    "quantiles": (None, {"quantiles": (0.1, 0.9), "cell": "lstm_full_gate_recurrence"}),
}


@pytest.mark.parametrize("several", [False, True], ids=["one series", "several"])
@pytest.mark.parametrize("case", FORECASTERS)
def test_forecasters(case: str, several: bool) -> None:
    columns, options = FORECASTERS[case]
    rng = np.random.default_rng(2)
    shape = (60,) if columns is None else (60, columns)
    series = [100 + scale * rng.standard_normal(shape).cumsum(axis=0) for scale in (1, 20)]
    model = lstmcore.RNNForecaster(window=8, horizon=5, **QUICK, **options)
    model.fit(series if several else series[0])
    feed = padded([series[0][:20], series[1][:33]], 40)
    (forecast,) = Exported(model).run({"y": feed["X"], "lengths": feed["lengths"]})
    for i, n in enumerate((20, 33)):
        close(forecast[i], model.model_.predict(series[i][:n]), 2e-6)


def test_forecasters_with_covariates() -> None:
    rng = np.random.default_rng(3)
    y, exog, known = rng.standard_normal(60).cumsum(), rng.standard_normal((60, 2)), rng.standard_normal((60, 3))
    model = lstmcore.RNNForecaster(window=8, horizon=2, difference=True, **QUICK).fit(y, X=exog, known=known)
    feed = {"y": y[None, :30], "X": exog[None, :30], "known": known[None, :32]}
    (forecast,) = Exported(model).run(feed)
    close(forecast[0], model.model_.predict(y[:30], X=exog[:30], known=known[:32]), 2e-6)


def test_a_calendar() -> None:
    times = np.datetime64("2024-01-01") + np.arange(60)
    model = lstmcore.RNNForecaster(window=8, horizon=3, calendar=("dayofweek",), **QUICK)
    pandas = pytest.importorskip("pandas")
    y = pandas.Series(np.random.default_rng(4).standard_normal(60).cumsum(), index=pandas.DatetimeIndex(times))
    model.fit(y)
    known = model.model_.known_columns(np.datetime64("2024-01-01") + np.arange(63))
    (forecast,) = Exported(model).run({"y": y.to_numpy()[None], "known": known[None]})
    close(forecast[0], model.model_.predict(y.to_numpy(), known=known), 2e-6)


def test_language_models() -> None:
    model = lstmcore.RNNLanguageModel(**QUICK).fit("hello world, hello you. " * 5)
    run, live = Exported(model), model.model_.session()
    assert {each.key: each.value for each in run.model.metadata_props} == {
        "lstmcore.version": lstmcore.__version__,
        "lstmcore.kind": "language_model",
        "lstmcore.level": "character",
        "lstmcore.tokens": json.dumps(model.model_.vocabulary.tokens),
    }
    live.read("hello")
    tokens = np.array([[0, *model.model_.vocabulary.encode("hello")]])
    whole, *_ = run.run({"tokens": tokens})
    close(whole[0, -1, 2:], live.logits[0, 2:].astype(np.float32))  # no numbers for the end and for the unknown
    _, *states = run.run({"tokens": tokens[:, :-1]})
    names = [each.name for each in run.model.graph.input if each.name.endswith("0")]
    last, *_ = run.run({"tokens": tokens[:, -1:], **dict(zip(names, states, strict=True))})
    close(last[0, 0], whole[0, -1])


# ---- files, checks, refusals ----------------------------------------------------------------------------------------


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    model = lstmcore.to_onnx(lstmcore.GRU(2, 3, seed=0), tmp_path / "gru.onnx", opset=15)
    loaded = onnx.load(tmp_path / "gru.onnx")
    assert loaded == model
    assert loaded.opset_import[0].version == 15
    assert (loaded.producer_name, loaded.producer_version) == ("lstmcore", lstmcore.__version__)
    assert {each.key: each.value for each in loaded.metadata_props}["lstmcore.kind"] == "layer"


@pytest.mark.skipif(onnx.defs.onnx_opset_version() <= NEWEST, reason="this onnx writes nothing newer")
def test_onnxruntime_may_be_older() -> None:
    opset = onnx.defs.onnx_opset_version()
    with pytest.warns(UserWarning, match=rf"ONNX Runtime .* cannot load opset {opset}: the model is compared through"):
        lstmcore.to_onnx(lstmcore.GRU(2, 3), opset=opset)


def test_onnxruntime_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model = lstmcore.to_onnx(lstmcore.GRU(2, 3, seed=0), opset=16)
    assert model.opset_import[0].version == 16
    with pytest.raises(RuntimeError, match=r"y differs from from_onnx by .* on random input, more than"):
        _onnx_check.compare(model, lstmcore.GRU(2, 3, seed=1))


def test_online_estimators_go_as_what_they_have_learnt() -> None:
    X = np.random.default_rng(0).standard_normal((1, 12, 2))
    online = lstmcore.OnlineRNNRegressor(hidden_size=4, random_state=0).fit(X[0], X[0, :, 0])
    np.testing.assert_allclose(Exported(online).run({"X": X})[0], online.frozen().predict(X), atol=1e-6)


def test_a_difference_without_lengths_is_found() -> None:
    layer = lstmcore.GRU(2, 3, seed=0)
    model = lstmcore.to_onnx(layer)
    (default,) = [each for each in model.graph.initializer if each.name == "lengths"]
    default.CopyFrom(onnx.numpy_helper.from_array(np.array([2]), "lengths"))
    with pytest.raises(RuntimeError, match=r"differs from ONNX Runtime by"):
        _onnx_check.compare(model, layer)


def test_a_difference_is_found() -> None:
    model = lstmcore.to_onnx(lstmcore.GRU(2, 3, seed=0))
    with pytest.raises(RuntimeError, match=r"y differs from ONNX Runtime by .* on random input, more than"):
        _onnx_check.compare(model, lstmcore.GRU(2, 3, seed=1))


def test_what_has_no_form_is_named() -> None:
    X, dates = np.random.default_rng(0).standard_normal((4, 3, 2)), np.array(["2024-01-01", "2025-01-01"] * 2, "M8[D]")
    with pytest.raises(ValueError, match=r"class labels of datetime64\[D\] have no form in ONNX: \[datetime"):
        lstmcore.to_onnx(lstmcore.RNNClassifier(**QUICK).fit(X, dates))
    with pytest.raises(ValueError, match="weight_dtype='bfloat16' has no counterpart in ONNX"):
        lstmcore.to_onnx(lstmcore.LSTM(2, 3, weight_dtype="bfloat16"))
    with pytest.raises(ValueError, match=r"opset must be at most \d+, the newest of onnx"):
        lstmcore.to_onnx(lstmcore.LSTM(2, 3), opset=99)
    series = np.arange(60.0) % 7
    model = lstmcore.RNNForecaster(window=8, horizon=4, strategy="recursive", **QUICK).fit(series)
    with pytest.raises(ValueError, match="strategy='recursive', which feeds forecasts of 1 step"):
        lstmcore.to_onnx(model)
    graphs = lstmcore.Graphs([np.ones((3, 2)), np.zeros((2, 2))] * 4, [[(0, 2), (1, 2)], [(0, 1)]] * 4)
    trees = lstmcore.GraphClassifier(hidden_size=4, max_epochs=1).fit(graphs, [0, 1] * 4)
    with pytest.raises(ValueError, match="GatedGraph has no form in ONNX: it reads trees or graphs"):
        lstmcore.to_onnx(trees)
    with pytest.raises(TypeError, match="got Seq2SeqModel"):
        lstmcore.to_onnx(lstmcore.RNNSeq2Seq(hidden_size=4, max_epochs=1).fit(["ab", "ba"] * 4, ["ba", "ab"] * 4))
