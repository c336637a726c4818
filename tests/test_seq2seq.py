"""From sequence to sequence: gradients, beam search against all outputs, and what RNNSeq2Seq learns."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import numpy as np
import pytest

import lstmcore
from lstmcore._beam_search import Search
from lstmcore._isa import core
from lstmcore.losses import CrossEntropy
from lstmcore.metrics import error_rate
from lstmcore.pairs import Pairs
from lstmcore.seq2seq import Seq2SeqConfig, Seq2SeqNetwork
from lstmcore.sequences import Sequences

pytest.importorskip("sklearn")
from lstmcore import RNNSeq2Seq

SMALL: dict[str, Any] = dict(
    cell="gru", hidden_size=16, embedding_dim=8, max_epochs=2, learning_rate=1e-2, random_state=0
)
STACKS: dict[str, Any] = {
    "tokens": dict(n_tokens=4, encoder={"cell": "gru", "hidden_size": 3, "bidirectional": True}),
    "vectors": dict(n_features=2, encoder={"cell": "lstm", "hidden_size": 2, "num_layers": 2}),
    "features": dict(n_features=2),
}


def words(n: int, rng: np.random.Generator, letters: str = "abcd", longest: int = 6) -> list[str]:
    return ["".join(rng.choice(list(letters), k)) for k in rng.integers(1, longest, n)]


def column(lengths: Any, values: np.ndarray) -> Sequences:
    ends = np.cumsum(lengths)
    return Sequences(values, ends - lengths, lengths)


def make_pairs(kind: str, n: int, rng: np.random.Generator) -> Pairs:
    lengths, asked = rng.integers(1, 6, n), rng.integers(1, 5, n)
    tokens = rng.integers(0, 5, (lengths.sum(), 1)).astype(np.float64)
    made = column(lengths, tokens)
    if kind == "features":
        return Pairs(made.values, made.starts, made.lengths, static=rng.standard_normal((n, 2)))
    if kind == "tokens":
        source = column(asked, rng.integers(0, 4, (asked.sum(), 1)).astype(np.float64))
    else:
        source = column(asked, rng.standard_normal((asked.sum(), 2)))
    return Pairs(made.values, made.starts, made.lengths, source=source)


def make_network(kind: str, attention: str | None, **options: Any) -> Seq2SeqNetwork:
    config = dict(n_outputs=5, embedding_dim=3, decoder={"cell": "lstm", "hidden_size": 3}, dtype="float64")
    return Seq2SeqNetwork(Seq2SeqConfig(**{**config, **STACKS[kind], "attention": attention, **options}), seed=1)


@pytest.mark.parametrize(
    ("kind", "attention"),
    [("tokens", "additive"), ("tokens", None), ("vectors", "dot"), ("vectors", None), ("features", None)],
)
def test_gradients_by_finite_differences(kind: str, attention: str | None, rng: np.random.Generator) -> None:
    network, pairs = make_network(kind, attention), make_pairs(kind, 4, rng)
    batch, loss = pairs.batch(np.arange(4)), CrossEntropy()
    targets = rng.integers(0, 5, len(batch.x))
    network.backward(loss(network.forward(batch), targets)[1])
    for i in rng.permutation(network.n_parameters)[:150]:
        sides, middle = [], network.flat_parameters[i]
        for side in (1e-6, -1e-6):
            network.flat_parameters[i] = middle + side
            network.parameters_changed()
            sides.append(loss(network.infer(batch)[0], targets)[0])
        network.flat_parameters[i] = middle
        assert network.flat_gradients[i] == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-8)
    assert all(np.abs(gradient).max() > 0 for gradient in network.gradients.values())
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        network.backward(np.zeros((len(batch.x), 5)))


def test_gradients_with_dropout_everywhere(rng: np.random.Generator) -> None:
    """A seed decides what is dropped, so that finite differences see the same masks."""
    stack = {"hidden_size": 3, "num_layers": 2, "dropout": 0.2, "recurrent_dropout": 0.2}
    encoder, decoder = {"cell": "gru", **stack}, {"cell": "lstm", **stack}
    network = make_network("tokens", "additive", dropout=0.3, encoder=encoder, decoder=decoder)
    batch, loss = make_pairs("tokens", 4, rng).batch(np.arange(4)), CrossEntropy()
    targets = rng.integers(0, 5, len(batch.x))

    def output(seed: int = 3) -> np.ndarray:
        return network.forward(batch, training=True, seed=seed)

    assert output().tobytes() == output().tobytes() != output(4).tobytes()
    network.backward(loss(output(), targets)[1])
    for i in rng.permutation(network.n_parameters)[:100]:
        sides, middle = [], network.flat_parameters[i]
        for side in (1e-6, -1e-6):
            network.flat_parameters[i] = middle + side
            network.parameters_changed()
            sides.append(loss(output(), targets)[0])
        network.flat_parameters[i] = middle
        assert network.flat_gradients[i] == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-8)


@pytest.mark.parametrize("attention", ["additive", "dot"])
def test_reading_step_by_step_has_the_bits_of_one_pass(attention: str, rng: np.random.Generator) -> None:
    network = make_network("tokens", attention)
    pairs = make_pairs("tokens", 6, rng)
    whole = pairs.split(network.predict(pairs))
    assert pairs.source is not None
    for i in range(6):
        decoding = network.start(pairs.source.batch(np.array([i])))
        for t, token in enumerate(pairs[i][:, 0]):
            assert decoding.step(np.array([int(token)])).tobytes() == whole[i][t].tobytes()


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
def test_a_wide_beam_finds_the_best_of_all_outputs(penalty: float, rng: np.random.Generator) -> None:
    """Tokens 0 (the boundary) … 4, of which 1 is never written; at most three of them."""
    network, pairs = make_network("tokens", "additive"), make_pairs("tokens", 5, rng)
    network.flat_parameters *= 3
    network.parameters_changed()
    assert pairs.source is not None
    source = pairs.source.batch(np.arange(5))
    outputs, log_probabilities = Search(60, penalty, 3).run(network.start(source), 5, boundary=0, never=1)
    for b in range(5):
        ranks = {}
        for n in range(4):
            for tokens in itertools.product((2, 3, 4), repeat=n):
                decoding = network.start(pairs.source.batch(source.order[b : b + 1]))
                logp = 0.0
                for token, following in itertools.pairwise((0, *tokens, 0)):
                    logits = decoding.step(np.array([token]))[0]
                    logp += logits[following] - np.log(np.exp(logits).sum())
                ranks[tokens] = logp / (n + 1) ** penalty, logp
        best = max(ranks, key=lambda tokens: ranks[tokens][0])
        assert tuple(outputs[b]) == best
        assert log_probabilities[b] == pytest.approx(ranks[best][1], abs=1e-9)


def test_beams_do_not_depend_on_who_else_is_searched(rng: np.random.Generator) -> None:
    X = words(60, rng)
    model = RNNSeq2Seq(**SMALL, beam_width=3).fit(X, [x[::-1] for x in X])
    assert model.predict(X) == [model.predict([x])[0] for x in X]


@pytest.mark.parametrize("attention", ["additive", "dot"])
def test_it_learns_to_reverse(attention: str, rng: np.random.Generator) -> None:
    X, test = words(500, rng, longest=8), words(100, rng, longest=8)
    options = {**SMALL, "hidden_size": 32, "max_epochs": 30}
    model = RNNSeq2Seq(attention=attention, **options).fit(X, [x[::-1] for x in X])
    assert model.score(test, [x[::-1] for x in test]) > 0.9
    assert model.error_rate(test, [x[::-1] for x in test]) < 0.05
    weights = model.attention_weights(["abcd"], ["dcba"])[0]
    assert weights.shape == (5, 4)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)


def test_tokens_to_tokens_of_other_lengths(rng: np.random.Generator) -> None:
    """Each number n is written as n stars and a stroke; words come as lists or arrays of ints."""
    X = [rng.integers(0, 4, n) for n in rng.integers(1, 5, 600)]
    y = [[t for n in x for t in ["*"] * n + ["|"]] for x in X]
    model = RNNSeq2Seq(**{**SMALL, "hidden_size": 32, "max_epochs": 15}).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.predict([[2, 0, 1]]) == [["*", "*", "|", "|", "*", "|"]]


def test_vectors_to_text(rng: np.random.Generator) -> None:
    """The sign of each step; scales do not matter."""
    X = [rng.standard_normal((n, 2)) * [1, 100] + [0, 500] for n in rng.integers(1, 6, 500)]
    y = ["".join("-+"[int(row[0] > 0)] for row in x) for x in X]
    model = RNNSeq2Seq(**{**SMALL, "max_epochs": 20, "hidden_size": 32}).fit(X, y)
    assert model.error_rate(X, y) < 0.05


def test_features_to_text(tmp_path: Any, rng: np.random.Generator) -> None:
    """One vector a sample: no encoder, no attention."""
    X = rng.standard_normal((400, 3))
    y = [" ".join(["low", "high"][int(v > 0)] for v in row) for row in X]
    model = RNNSeq2Seq(**{**SMALL, "max_epochs": 30, "hidden_size": 32}).fit(X, y)
    assert model.error_rate(X, y) < 0.1
    model.save(tmp_path / "model.safetensors")
    assert lstmcore.load(tmp_path / "model.safetensors").predict(X) == model.predict(X)
    with pytest.raises(ValueError, match="attention needs a model with attention"):
        model.attention_weights(X, y)
    with pytest.raises(ValueError, match=r"X must have shape \(5, 3\)"):
        model.predict(X[:5, :2])


@pytest.mark.parametrize(
    "options",
    [
        dict(cell="lstm", decoder_cell="gru", num_layers=2, dropout=0.1, attention="dot"),
        dict(bidirectional=False, attention=None, label_smoothing=0.1),
        dict(early_stopping=True, recurrent_dropout=0.1, attention_size=5, recompute=True),
        dict(max_length=2, beam_width=2, min_count=3, zoneout=0.1, schedule="cosine"),
    ],
    ids=str,
)
def test_options_files_and_copies(options: dict[str, Any], tmp_path: Any, rng: np.random.Generator) -> None:
    X = words(80, rng)
    y = [x[::-1] for x in X]
    model = RNNSeq2Seq(**{**SMALL, **options}).fit(X, y)
    predicted = model.predict(X)
    model.save(tmp_path / "model.safetensors")
    loaded = lstmcore.load(tmp_path / "model.safetensors")
    for twin in (loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert twin.predict(X) == predicted
        assert twin.error_rate(X, y) == model.error_rate(X, y) == error_rate(y, predicted)
    assert max(len(output) for output in predicted) <= options.get("max_length", 5)
    assert model.score(X, y) == np.mean([a == b for a, b in zip(predicted, y, strict=True)])
    if options.get("early_stopping"):
        assert len(model.validation_scores_) == model.n_iter_ == 2


def test_same_model_for_any_number_of_threads(rng: np.random.Generator) -> None:
    X = words(100, rng)
    results, threads = [], core.get_num_threads()
    try:
        for count in (1, 2):
            core.set_num_threads(count)
            model = RNNSeq2Seq(**SMALL, dropout=0.2).fit(X, X)
            results.append(model.model_.network.flat_parameters.tobytes())
    finally:
        core.set_num_threads(threads)
    assert results[0] == results[1]


def test_training_goes_on(tmp_path: Any, rng: np.random.Generator) -> None:
    X = words(60, rng)
    saved = lstmcore.callbacks.Checkpoint(tmp_path / "half.safetensors")
    whole = RNNSeq2Seq(**{**SMALL, "max_epochs": 4}).fit(X, X)
    RNNSeq2Seq(**SMALL, callbacks=[saved]).fit(X, X)
    resumed = RNNSeq2Seq(**{**SMALL, "max_epochs": 4}).fit(X, X, resume_from=tmp_path / "half.safetensors")
    assert resumed.model_.network.flat_parameters.tobytes() == whole.model_.network.flat_parameters.tobytes()
    warm = RNNSeq2Seq(**SMALL, warm_start=True).fit(X, X)
    assert warm.fit(X, X).n_iter_ == 4


def test_weights_and_validation(rng: np.random.Generator) -> None:
    X = words(40, rng)
    y = [x[::-1] for x in X]
    weights = np.repeat([1.0, 0.0], 20)
    options = {**SMALL, "batch_size": 100, "max_epochs": 1, "learning_rate": 0.0}
    weighted = RNNSeq2Seq(**options).fit(X, y, weights)
    model = RNNSeq2Seq(**options).fit(X, y, X_val=X[:20], y_val=y[:20])
    assert weighted.loss_curve_[0] == pytest.approx(model.validation_loss_curve_[0], rel=1e-6)


def test_unknown_tokens_are_read_but_not_written(rng: np.random.Generator) -> None:
    X = words(60, rng)
    model = RNNSeq2Seq(**SMALL).fit(X, X)
    assert len(model.predict(["aXb"])) == 1
    with pytest.raises(ValueError, match=r"y\[0\]\[1\] is 'X', which is no token of the model's outputs"):
        model.attention_weights(["ab"], ["aX"])


def test_empty_outputs() -> None:
    model = RNNSeq2Seq(**{**SMALL, "max_epochs": 40}).fit(["a", "b"] * 8, ["", "x"] * 8)
    assert model.predict(["a", "b"]) == ["", "x"]


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        ("abc", ["a"], TypeError, "X must be an array or a list of at least one sequence, got str 'abc'"),
        (["ab"], "c", TypeError, "y must be a list of strings or of lists of tokens, got str 'c'"),
        (["ab"], [], ValueError, r"y must hold at least one sequence, got \[\]"),
        (["ab", "c"], ["c"], ValueError, "y must hold 2 outputs, one for each sample of X, got 1"),
        (["ab", ""], ["c", "d"], ValueError, r"X\[1\] has length 0"),
        (["ab", 3], ["c", "d"], TypeError, r"X\[1\] must be a string, got int 3"),
        ([["a"], [1.5]], ["c", "d"], TypeError, r"X\[1\]\[0\] must be a string or an integer, got 1.5"),
        (np.full((2, 3), np.nan), ["c", "d"], ValueError, r"X\[0, 0\] is nan: it must be finite"),
        ([np.zeros((2, 3)), np.zeros((2, 2))], ["c", "d"], ValueError, r"X\[1\] has 2 features a step"),
    ],
)
def test_bad_data(X: Any, y: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RNNSeq2Seq(**SMALL).fit(X, y)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(attention="cosine"), ValueError, "attention must be one of 'additive', 'dot', got 'cosine'"),
        (
            dict(attention_size=3, attention="dot"),
            ValueError,
            "attention_size must be None with attention='dot', got 3",
        ),
        (dict(decoder_cell="gruu"), ValueError, r"decoder_cell must be one of .*got 'gruu' \(did you mean 'gru'\?\)"),
        (dict(beam_width=0), ValueError, "beam_width must be at least 1, got 0"),
        (dict(length_penalty=-1), ValueError, "length_penalty must be at least 0, got -1"),
        (dict(bidirectional=1), TypeError, "bidirectional must be True or False, got 1"),
        (dict(max_length=0), ValueError, "max_length must be at least 1, got 0"),
        (dict(embedding_dim=2.5), TypeError, "embedding_dim must be an integer, got 2.5"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RNNSeq2Seq(**{**SMALL, **options}).fit(["a", "b"], ["a", "b"])


def test_scikit_learn_tunes_it(rng: np.random.Generator) -> None:
    from sklearn.model_selection import GridSearchCV

    X = words(40, rng)
    search = GridSearchCV(RNNSeq2Seq(**SMALL), {"attention": ["dot", None]}, cv=2).fit(X, X)
    assert set(search.best_params_) == {"attention"}
    assert isinstance(search.predict(X)[0], str)


def test_not_fitted_and_no_sessions() -> None:
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError, match="RNNSeq2Seq instance is not fitted yet"):
        RNNSeq2Seq().predict(["a"])
    fitted = RNNSeq2Seq(hidden_size=2, max_epochs=1).fit(["a", "b"], ["b", "a"])
    for model in (fitted, fitted.model_):
        with pytest.raises(TypeError, match="a session needs a model that answers step by step"):
            model.session()
