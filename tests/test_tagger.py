"""RNNTagger: a label for every step, over real steps only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from data import ragged

import lstmcore
from lstmcore import RNNTagger, Sequences

SMALL: dict[str, Any] = dict(cell="gru", hidden_size=8, max_epochs=3, learning_rate=1e-2, random_state=0)


def tags(X: list[np.ndarray]) -> list[np.ndarray]:
    """Which of three labels follows from the first two features so far."""
    return [np.array(["low", "mid", "high"])[np.digitize(np.cumsum(row[:, 0]), [-1, 1])] for row in X]


def test_it_learns(rng: np.random.Generator) -> None:
    X = ragged(rng, 300)
    tagger = RNNTagger(cell="gru", hidden_size=16, max_epochs=30, learning_rate=1e-2, random_state=0).fit(X, tags(X))
    test = ragged(rng, 100)
    assert tagger.score(test, tags(test)) > 0.9
    assert list(tagger.classes_) == ["high", "low", "mid"]
    predicted, probabilities = tagger.predict(test), tagger.predict_proba(test)
    assert [len(p) for p in predicted] == [len(row) for row in test]
    for p, label in zip(probabilities, predicted, strict=True):
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(tagger.classes_[p.argmax(axis=1)], label)


def test_score_counts_real_steps(rng: np.random.Generator) -> None:
    X = ragged(rng)
    tagger = RNNTagger(**SMALL).fit(X, tags(X))
    right = [(p == t).astype(float) for p, t in zip(tagger.predict(X), tags(X), strict=True)]
    assert tagger.score(X, tags(X)) == pytest.approx(np.concatenate(right).mean())
    weights = rng.uniform(1, 2, len(X))
    weighted = sum(w * r.sum() for w, r in zip(weights, right, strict=True))
    total = sum(w * len(r) for w, r in zip(weights, right, strict=True))
    assert tagger.score(X, tags(X), weights) == pytest.approx(weighted / total)


def test_loss_is_the_mean_over_real_steps(rng: np.random.Generator) -> None:
    """One batch, no learning: the loss of the epoch is that of the initial network on all steps."""
    X = ragged(rng)
    tagger = RNNTagger(**{**SMALL, "learning_rate": 0.0, "max_epochs": 1, "batch_size": 100}).fit(X, tags(X))
    labels = np.concatenate(tags(X))
    p = np.concatenate(tagger.predict_proba(X)).astype(float)
    expected = -np.log(p[np.arange(len(labels)), np.searchsorted(tagger.classes_, labels)]).mean()
    assert tagger.loss_curve_[0] == pytest.approx(expected, rel=1e-5)


def test_arrays_in_arrays_out(rng: np.random.Generator) -> None:
    X = rng.standard_normal((30, 7, 2))
    y = np.stack(tags(list(X)))
    tagger, same = RNNTagger(**SMALL).fit(X, y), RNNTagger(**SMALL).fit(list(X), list(y))
    assert tagger.predict(X).shape == (30, 7)
    assert tagger.predict_proba(X).shape == (30, 7, 3)
    np.testing.assert_array_equal(np.stack(same.predict(list(X))), tagger.predict(X))
    with np.testing.assert_raises(AssertionError):
        np.testing.assert_array_equal(tagger.predict_proba(X)[:, 0], tagger.predict_proba(X)[:, 1])
    values = np.concatenate([np.zeros((3, 2)), *X[::-1]])  # rows in another order, some of them unused
    windows = Sequences(values, 3 + 7 * np.arange(30)[::-1], np.full(30, 7))
    ordered = RNNTagger(**SMALL).fit(windows, y)
    assert ordered.model_.network.flat_parameters.tobytes() == tagger.model_.network.flat_parameters.tobytes()


@pytest.mark.parametrize(
    "options",
    [
        dict(bidirectional=True, num_layers=2, dropout=0.1),
        dict(tbptt_steps=4),
        dict(missing="mask"),
        dict(class_weight="balanced", label_smoothing=0.1),
        dict(early_stopping=True),
    ],
    ids=str,
)
def test_options(options: dict[str, Any], rng: np.random.Generator) -> None:
    X = ragged(rng, 200)
    y = tags(X)
    if options.get("missing"):
        X = [np.where(rng.random(row.shape) < 0.1, np.nan, row) for row in X]
    tagger = RNNTagger(**{**SMALL, "max_epochs": 20, "hidden_size": 16, **options}).fit(X, y)
    assert tagger.score(X, y) > 0.7


def test_tokens(rng: np.random.Generator) -> None:
    """A label that follows from the token and the one before it."""
    X = [rng.integers(0, 20, n) for n in rng.integers(2, 15, 300)]
    y = [(row + np.concatenate([[0], row[:-1]])) % 2 for row in X]
    options = {**SMALL, "max_epochs": 40, "hidden_size": 16}
    assert RNNTagger(embedding_dim=8, **options).fit(X, y).score(X, y) > 0.95
    with pytest.raises(ValueError, match=r"X must hold token numbers, whole numbers from 0 to 9"):
        RNNTagger(embedding_dim=8, n_tokens=10, **SMALL).fit(X, y)


def test_files_and_streams(tmp_path: Any, rng: np.random.Generator) -> None:
    X = rng.standard_normal((5, 6, 2))
    tagger = RNNTagger(**SMALL).fit(X, np.stack(tags(list(X))))
    tagger.save(tmp_path / "model.safetensors")
    model = lstmcore.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(model.predict(X), tagger.predict(X))
    live = model.session(5)
    for t in range(6):
        assert live.step_proba(X[:, t]).tobytes() == tagger.predict_proba(X)[:, t].tobytes()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y must be a list of the labels of each sequence, got None"),
        ([["a"] * 5] * 3, "y must hold the labels of 4 sequences, as X does, got 3"),
        ([["a"] * 5] * 3 + [["a"] * 4], r"y\[3\] must hold 5 labels, one for each step of X\[3\], got \(4,\)"),
        ([["a"] * 5] * 4, r"y must hold at least 2 classes, got 1 class: \['a'\]"),
        ([[0.5, np.nan, 1, 2, 3]] * 4, "y contains NaN"),
    ],
)
def test_bad_labels(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RNNTagger(**SMALL).fit(np.zeros((4, 5, 1)), y)
