"""Golden files: one of each kind that can be saved, written by the version whose format it has, and what it answers.

`python tests/golden.py` writes those that are not there yet, for the format of today. None is ever written again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lstmcore
from lstmcore import model_file
from lstmcore.attention import Attention
from lstmcore.embedding import Embedding
from lstmcore.graph_network import GraphNetwork
from lstmcore.layers import from_cell
from lstmcore.network import Dense, Network
from lstmcore.pooling import Pooling
from lstmcore.seq2seq import Seq2SeqConfig, Seq2SeqNetwork
from lstmcore.sequences import Sequences

FOLDER = Path(__file__).parent / "data"
Arrays = dict[str, np.ndarray]
EDGES = np.array([(0, 2), (1, 2), (3, 4)])
SMALL: dict[str, Any] = dict(hidden_size=3, max_epochs=1, random_state=0)


class Kind(NamedTuple):
    make: Callable[[], Any]
    inputs: Arrays
    answer: Callable[[Any, Arrays], Any]  # what the loaded object says to the inputs


def rows(*shape: int) -> Arrays:
    return {"x": np.random.default_rng(0).standard_normal(shape)}


def run(layer: Any, given: Arrays) -> np.ndarray:
    return np.asarray(layer(given["x"])[0])


def predict(model: Any, given: Arrays) -> np.ndarray:
    return np.asarray(model.predict(given["x"]))


def dense_of(network: Any, given: Arrays) -> np.ndarray:
    x = given["x"].astype(network.dtype)
    return np.asarray(network.predict(Sequences(x.reshape(-1, x.shape[-1]), [0, 4], [4, 4])))


def layers() -> dict[str, Kind]:
    x, flat, nodes = rows(5, 2, 3), rows(4, 3), rows(5, 3)
    tokens = {"x": np.array([[2.0], [0.0], [4.0]])}
    sizes = np.array([2, 1, 1])
    float32: Any = np.float32
    encoder = Seq2SeqConfig(
        n_outputs=4, embedding_dim=2, decoder={"cell": "gru", "hidden_size": 2}, n_features=3,
        encoder={"cell": "lstm", "hidden_size": 2}, attention="dot",
    )  # fmt: skip
    return {
        "LSTM": Kind(lambda: lstmcore.LSTM(3, 4, 2, bidirectional=True, proj_size=2, seed=0), x, run),
        "LSTM_peepholes": Kind(lambda: lstmcore.LSTM(3, 4, peepholes="io", dtype="float64", seed=0), x, run),
        "GRU": Kind(lambda: lstmcore.GRU(3, 4, reset_after=False, seed=0), x, run),
        "RNN": Kind(lambda: lstmcore.RNN(3, 4, periods=(1, 3), batch_first=True, seed=0), x, run),
        "Recurrent": Kind(lambda: from_cell("mgu", 3, 4, zoneout=0.1, seed=0), x, run),
        "TimeDelay": Kind(lambda: lstmcore.TimeDelay(3, 4, delays=(0, 2), seed=0), x, run),
        "Dense": Kind(lambda: Dense(3, 2, seed=0), flat, lambda layer, given: layer(given["x"].astype(float32))),
        "Embedding": Kind(
            lambda: Embedding(5, 3, trainable=False, seed=0), tokens, lambda e, given: e(given["x"].astype(float32))
        ),
        "Pooling": Kind(
            lambda: Pooling("attention", 3), flat, lambda layer, given: layer(given["x"].astype(float32), sizes)
        ),
        "Attention": Kind(
            lambda: Attention(3, 3, seed=0), flat,
            lambda layer, given: layer(*([given["x"].astype(float32), sizes] * 2), np.array([0, 1]))[0],
        ),
        "TreeLSTM": Kind(
            lambda: lstmcore.TreeLSTM(3, 4, kind="n_ary", seed=0), nodes, lambda layer, given: layer(given["x"], EDGES)
        ),
        "GatedGraph": Kind(
            lambda: lstmcore.GatedGraph(3, 4, rounds=2, seed=0), nodes, lambda layer, given: layer(given["x"], EDGES)
        ),
        "Network": Kind(
            lambda: Network(lstmcore.GRU(3, 4, seed=0), "mean", Dense(4, 2, bias=False, seed=1)),
            rows(2, 4, 3), dense_of,
        ),
        "GraphNetwork": Kind(
            lambda: GraphNetwork(lstmcore.TreeLSTM(3, 4, seed=0), "sum", Dense(4, 2, seed=1)), nodes,
            lambda network, given: network.predict(lstmcore.Graphs([given["x"].astype(float32)], [EDGES])),
        ),
        "Seq2SeqNetwork": Kind(
            lambda: Seq2SeqNetwork(encoder, seed=0), x,
            lambda network, given: network.encoder(given["x"])[0],
        ),
    }  # fmt: skip


def models() -> dict[str, Kind]:
    """Estimators; making them needs scikit-learn, loading them does not."""
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((12, 4, 2)), np.arange(12) % 3
    x, words = rows(3, 4, 2), ["ab", "ba", "aab", "b"]
    series = 5 + rng.standard_normal(60).cumsum()
    graphs = lstmcore.Graphs([rng.standard_normal((3, 2)) for _ in y], [[(0, 2), (1, 2)]] * 12)
    later = {"x": series[:30]}

    def graph_answer(model: Any, given: Arrays) -> np.ndarray:
        return np.asarray(model.outputs(lstmcore.Graphs(list(given["x"]), [[(0, 3), (1, 2)]] * 3)))

    return {
        "classifier": Kind(
            lambda: lstmcore.RNNClassifier(**SMALL).fit(X, np.array(["a", "b", "ü"])[y]), x,
            lambda model, given: model.predict_proba(given["x"]),
        ),
        "classifier_multilabel": Kind(
            lambda: lstmcore.RNNClassifier(**SMALL).fit(X, np.eye(3, dtype=int)[y]), x,
            lambda model, given: model.predict_proba(given["x"]),
        ),
        "classifier_tokens": Kind(
            lambda: lstmcore.RNNClassifier(embedding_dim=2, n_tokens=5, **SMALL).fit(rng.integers(0, 5, (12, 4, 1)), y),
            {"x": rng.integers(0, 5, (3, 4, 1))}, lambda model, given: model.predict_proba(given["x"]),
        ),
        "tagger": Kind(
            lambda: lstmcore.RNNTagger(**SMALL).fit(X, rng.integers(0, 2, (12, 4))), x,
            lambda model, given: model.predict_proba(given["x"]),
        ),
        "regressor": Kind(
            lambda: lstmcore.RNNRegressor(missing="mask", patch_size=2, pooling="max", **SMALL).fit(X, y), x, predict
        ),
        "regressor_quantiles": Kind(
            lambda: lstmcore.RNNRegressor(loss="quantile", quantiles=[0.1, 0.5], cell="tdnn", **SMALL).fit(X, y), x,
            lambda model, given: model.predict_quantiles(given["x"]),
        ),
        "forecaster": Kind(lambda: lstmcore.RNNForecaster(window=8, horizon=2, **SMALL).fit(series), later, predict),
        "forecaster_intervals": Kind(
            lambda: lstmcore.RNNForecaster(window=8, calibration_fraction=0.4, difference=True, **SMALL).fit(series),
            later, lambda model, given: model.predict_interval(given["x"], coverage=0.5),
        ),
        "language_model": Kind(
            lambda: lstmcore.RNNLanguageModel(embedding_dim=2, **SMALL).fit(words), {},
            lambda model, given: model.session().logits,
        ),
        "seq2seq": Kind(
            lambda: lstmcore.RNNSeq2Seq(embedding_dim=2, **SMALL).fit(words, words), {},
            lambda model, given: model.attention(words, words)[2],
        ),
        "graph_classifier": Kind(lambda: lstmcore.GraphClassifier(**SMALL).fit(graphs, y), x, graph_answer),
        "graph_regressor": Kind(
            lambda: lstmcore.GraphRegressor(cell="tree_lstm", **SMALL).fit(graphs, y), x, graph_answer
        ),
        "online_classifier": Kind(
            lambda: lstmcore.OnlineRNNClassifier(hidden_size=3, random_state=0).fit(X[:, 0], y), x,
            lambda model, given: model.predict_proba(given["x"]),
        ),
        "online_regressor": Kind(
            lambda: lstmcore.OnlineRNNRegressor(hidden_size=3, random_state=0).fit(X[:, 0], y), x, predict
        ),
    }  # fmt: skip


def answered(kind: Kind, loaded: Any, inputs: Arrays) -> Arrays:
    return {"answer": np.ascontiguousarray(kind.answer(loaded, inputs))}


def stored() -> Iterator[tuple[str, str]]:
    """Format and name of each file."""
    for path in sorted(FOLDER.glob("format*/*.expected")):
        yield path.parent.name, path.stem


def write(folder: Path, kinds: dict[str, Kind]) -> None:
    """Write what is not there."""
    from safetensors.numpy import save_file

    for name, kind in kinds.items():
        path = folder / f"{name}.safetensors"
        if not path.exists():
            kind.make().save(path)
            answers = answered(kind, lstmcore.load(path), kind.inputs)
            save_file({**kind.inputs, **answers}, path.with_suffix(".expected"))


if __name__ == "__main__":
    target = FOLDER / f"format{model_file.FORMAT}"
    target.mkdir(parents=True, exist_ok=True)
    write(target, {**layers(), **models()})
