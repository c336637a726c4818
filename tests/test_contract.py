"""What scikit-learn's users take for granted: weights, routing, frames, ensembles, searches over processes."""

from __future__ import annotations

import pickle
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from data import ragged, sums
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, BaggingRegressor, VotingClassifier
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import lstmcore
from lstmcore import RNNClassifier, RNNRegressor, RNNTagger

SMALL: dict[str, Any] = dict(hidden_size=8, max_epochs=3, learning_rate=1e-2, random_state=0)
FULL_BATCH: dict[str, Any] = {**SMALL, "batch_size": 1000, "max_epochs": 8}


def parameters(estimator: Any) -> np.ndarray:
    return estimator.model_.network.flat_parameters


# ---- weights ----


@pytest.mark.parametrize("kind", [RNNClassifier, RNNRegressor])
def test_weights_of_one_change_nothing(kind: Any, rng: np.random.Generator) -> None:
    X = ragged(rng)
    y = sums(X) if kind is RNNRegressor else sums(X) > 0
    plain, ones = kind(**SMALL).fit(X, y), kind(**SMALL).fit(X, y, sample_weight=np.ones(len(X)))
    np.testing.assert_allclose(parameters(ones), parameters(plain), rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("kind", [RNNClassifier, RNNRegressor])
def test_a_weight_is_a_number_of_rows(kind: Any, rng: np.random.Generator) -> None:
    """With everything in one batch: 2 doubles a row, 0 removes it."""
    X = ragged(rng, 30)
    y = sums(X) if kind is RNNRegressor else sums(X) > 0
    weights = rng.integers(0, 3, 30)
    weighted = kind(**FULL_BATCH).fit(X, y, sample_weight=weights)
    rows = np.repeat(np.arange(30), weights)
    repeated = kind(**FULL_BATCH).fit([X[i] for i in rows], y[rows])
    np.testing.assert_allclose(parameters(weighted), parameters(repeated), rtol=1e-3, atol=2e-5)


def test_a_weight_of_a_tagged_sequence(rng: np.random.Generator) -> None:
    X = ragged(rng, 30)
    y = [np.cumsum(row[:, 0]) > 0 for row in X]
    weights = rng.integers(1, 3, 30)
    weighted = RNNTagger(**FULL_BATCH).fit(X, y, sample_weight=weights)
    rows = np.repeat(np.arange(30), weights)
    repeated = RNNTagger(**FULL_BATCH).fit([X[i] for i in rows], [y[i] for i in rows])
    np.testing.assert_allclose(parameters(weighted), parameters(repeated), rtol=1e-3, atol=2e-5)


def test_class_weights_are_sample_weights(rng: np.random.Generator) -> None:
    X = ragged(rng, 60)
    y = np.where(np.arange(60) < 10, "rare", "common")
    balanced = RNNClassifier(class_weight="balanced", **SMALL).fit(X, y)
    by_dict = RNNClassifier(class_weight={"rare": 3.0, "common": 0.6}, **SMALL).fit(X, y)
    by_hand = RNNClassifier(standardize=False, **SMALL).fit(X, y, sample_weight=np.where(y == "rare", 3.0, 0.6))
    plain = RNNClassifier(standardize=False, class_weight="balanced", **SMALL).fit(X, y)
    np.testing.assert_allclose(parameters(balanced), parameters(by_dict), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(parameters(plain), parameters(by_hand), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="class_weight must be None, 'balanced' or a dict, got 'even'"):
        RNNClassifier(class_weight="even").fit(X, y)


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0] * 59, "sample_weight"), ([-1.0] * 60, "(?i)sample.weight"), ([0.0] * 60, "(?i)sample.weight")],
)
def test_bad_weights(weights: list[float], message: str, rng: np.random.Generator) -> None:
    X = ragged(rng, 60)
    with pytest.raises(ValueError, match=message):
        RNNRegressor(**SMALL).fit(X, sums(X), sample_weight=weights)


@pytest.fixture
def routing() -> Any:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_weights_are_routed(rng: np.random.Generator) -> None:
    X = rng.standard_normal((40, 6, 1))
    y, weights, static = X.sum(axis=(1, 2)) > 0, rng.integers(1, 4, 40), rng.standard_normal((40, 2))
    clf = RNNClassifier(**SMALL).set_fit_request(sample_weight=True, static=True)
    clf.set_predict_request(static=True).set_score_request(sample_weight=True)
    clf.set_predict_proba_request(static=True)
    direct = RNNClassifier(**SMALL).fit(X, y, sample_weight=weights, static=static)
    piped = make_pipeline(FunctionTransformer(), clf).fit(X, y, sample_weight=weights, static=static)
    assert parameters(piped[-1]).tobytes() == parameters(direct).tobytes()
    assert piped.predict_proba(X, static=static).tobytes() == direct.predict_proba(X, static).tobytes()
    scorer = make_scorer(accuracy_score).set_score_request(sample_weight=True)
    plain = RNNClassifier(**SMALL).set_fit_request(sample_weight=True)
    scores = cross_validate(plain, X, y, params={"sample_weight": weights}, scoring=scorer, cv=2)
    assert scores["test_score"].shape == (2,)


# ---- frames ----


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_frames(library: str, rng: np.random.Generator) -> None:
    frames = pytest.importorskip(library)
    X = rng.standard_normal((40, 3))
    frame = frames.DataFrame({name: X[:, i] for i, name in enumerate("abc")})
    reg = RNNRegressor(**SMALL).fit(frame, X.sum(axis=1))
    assert list(reg.feature_names_in_) == ["a", "b", "c"]
    np.testing.assert_array_equal(reg.predict(frame), RNNRegressor(**SMALL).fit(X, X.sum(axis=1)).predict(X))
    renamed = frames.DataFrame({name: X[:, i] for i, name in enumerate("bac")})
    with pytest.raises(ValueError, match="feature names"):
        reg.predict(renamed)
    labels = frames.Series(np.where(X.sum(axis=1) > 0, "up", "down"))
    clf = RNNClassifier(**SMALL).fit(frame, labels)
    assert set(clf.predict(frame)) <= {"up", "down"}


# ---- tools ----


def test_search_over_processes(rng: np.random.Generator) -> None:
    X = rng.standard_normal((60, 6))
    y = np.where(X.sum(axis=1) > 0, "up", "down")
    grid = {"cell": ["gru", "rnn"], "pooling": ["last", "max"]}
    serial = GridSearchCV(RNNClassifier(**SMALL), grid, cv=2).fit(X, y)
    parallel = GridSearchCV(RNNClassifier(**SMALL), grid, cv=2, n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(serial.cv_results_["mean_test_score"], parallel.cv_results_["mean_test_score"])
    assert parameters(serial.best_estimator_).tobytes() == parameters(parallel.best_estimator_).tobytes()


def test_threads_of_joblib(rng: np.random.Generator) -> None:
    X = ragged(rng)
    alone = RNNRegressor(**SMALL).fit(X, sums(X))
    fits = joblib.Parallel(n_jobs=2, backend="threading")(
        joblib.delayed(RNNRegressor(**SMALL).fit)(X, sums(X)) for _ in range(4)
    )
    assert {parameters(fit).tobytes() for fit in fits} == {parameters(alone).tobytes()}


def test_joblib_files(tmp_path: Any, rng: np.random.Generator) -> None:
    X = ragged(rng)
    clf = RNNClassifier(pooling="attention", **SMALL).fit(X, sums(X) > 0)
    joblib.dump(clf, tmp_path / "clf.joblib")
    for copied in (joblib.load(tmp_path / "clf.joblib"), pickle.loads(pickle.dumps(clf))):
        assert copied.predict_proba(X).tobytes() == clf.predict_proba(X).tobytes()


def test_calibration(rng: np.random.Generator) -> None:
    X = rng.standard_normal((80, 6))
    y = np.where(X.sum(axis=1) + rng.standard_normal(80) > 0, "up", "down")
    calibrated = CalibratedClassifierCV(RNNClassifier(**SMALL), cv=2).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1, atol=1e-6)


def test_ensembles(rng: np.random.Generator) -> None:
    X = rng.standard_normal((60, 6))
    y = np.where(X.sum(axis=1) > 0, "up", "down")
    members = [("gru", RNNClassifier(cell="gru", **SMALL)), ("rnn", RNNClassifier(cell="rnn", **SMALL))]
    for voting in ("hard", "soft"):
        assert VotingClassifier(members, voting=voting).fit(X, y).predict(X).shape == (60,)
    assert BaggingClassifier(RNNClassifier(**SMALL), n_estimators=2).fit(X, y).predict_proba(X).shape == (60, 2)
    assert BaggingRegressor(RNNRegressor(**SMALL), n_estimators=2).fit(X, X.sum(axis=1)).predict(X).shape == (60,)
    both = np.column_stack([y, X[:, 0] > 0])
    assert MultiOutputClassifier(RNNClassifier(**SMALL)).fit(X, both).predict(X).shape == (60, 2)


# ---- several labels ----


def test_several_labels_at_once(rng: np.random.Generator, tmp_path: Any) -> None:
    X = ragged(rng, 300)
    y = np.column_stack([sums(X) > 0, sums(X) > 1, sums(X) < -1]).astype(int)
    clf = RNNClassifier(**{**SMALL, "max_epochs": 40, "hidden_size": 16}).fit(X, y)
    probabilities = clf.predict_proba(X)
    assert probabilities.shape == (300, 3)
    np.testing.assert_array_equal(clf.predict(X), probabilities > 0.5)
    assert clf.score(X, y) > 0.8
    clf.save(tmp_path / "model.safetensors")
    loaded = lstmcore.load(tmp_path / "model.safetensors")
    assert loaded.predict_proba(X).tobytes() == probabilities.tobytes()
    np.testing.assert_array_equal(loaded.predict(X), clf.predict(X))
    stopped = RNNClassifier(early_stopping=True, **SMALL).fit(X, y)
    assert len(stopped.validation_scores_) == 3
    with pytest.raises(ValueError, match="y must hold one label for each sequence, or be an indicator matrix"):
        RNNClassifier(**SMALL).fit(X, y * 3 + np.arange(3))
    with pytest.raises(ValueError, match=r"y must have shape \[n, 3\] as in the first call, got \(300, 2\)"):
        clf.partial_fit(X, y[:, :2])
