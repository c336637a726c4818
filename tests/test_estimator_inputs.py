"""What estimators take beside plain numbers: tokens, static features, missing values, patches; live and from files."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from data import ragged, sums

import lstmcore
from lstmcore import RNNClassifier, RNNRegressor, Sequences

SMALL: dict[str, Any] = dict(hidden_size=8, max_epochs=3, learning_rate=1e-2, random_state=0)
LEARN: dict[str, Any] = dict(hidden_size=16, max_epochs=40, learning_rate=1e-2, random_state=0)


def parameters(estimator: Any) -> np.ndarray:
    return estimator.model_.network.flat_parameters


def saved(estimator: Any, tmp_path: Any) -> Any:
    estimator.save(tmp_path / "model.safetensors")
    return lstmcore.load(tmp_path / "model.safetensors")


# ---- scaling ----


def test_units_do_not_matter(rng: np.random.Generator) -> None:
    X = ragged(rng, 200)
    y = sums(X)
    units, origin = np.array([1e-3, 1e5]), np.array([7.0, -1e7])
    reg = RNNRegressor(**LEARN).fit(X, y)
    moved = RNNRegressor(**LEARN).fit([row * units + origin for row in X], y)
    assert reg.score(X, y) > 0.9
    assert moved.score([row * units + origin for row in X], y) > 0.9
    raw = RNNRegressor(standardize=False, **SMALL).fit(X, y)
    assert raw.model_.inputs.scaler is None


# ---- tokens ----


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_tokens(pooling: str, rng: np.random.Generator, tmp_path: Any) -> None:
    """A text is good if it holds more good words than bad ones."""
    X = [rng.integers(0, 30, n) for n in rng.integers(3, 12, 400)]
    y = np.array([np.sum(row < 10) - np.sum(row >= 20) for row in X]) > 0
    clf = RNNClassifier(cell="gru", embedding_dim=6, n_tokens=31, pooling=pooling, **LEARN).fit(X, y)
    assert clf.score(X, y) > 0.9
    model = saved(clf, tmp_path)
    assert model.predict_proba(X).tobytes() == clf.predict_proba(X).tobytes()
    assert pickle.loads(pickle.dumps(clf)).predict_proba(X).tobytes() == clf.predict_proba(X).tobytes()
    text = np.stack([rng.integers(0, 30, 7) for _ in range(4)])
    live = model.session(4)
    for t in range(7):
        assert live.step_proba(text[:, t]).tobytes() == clf.predict_proba(text[:, : t + 1]).tobytes()
    with pytest.raises(ValueError, match=r"X must hold token numbers, whole numbers from 0 to 30.* step 1.* 31"):
        clf.predict([[3, 31]])
    with pytest.raises(ValueError, match=r"x must hold token numbers"):
        live.step([0.5, 1, 2, 3])


@pytest.mark.parametrize("frozen", [False, True])
def test_given_vectors(frozen: bool, rng: np.random.Generator, tmp_path: Any) -> None:
    vectors = rng.standard_normal((20, 5)).astype(np.float32)
    X = [rng.integers(0, 20, n) for n in rng.integers(3, 9, 60)]
    y = np.array([vectors[row, 0].sum() for row in X])
    options = {**LEARN, "embedding_vectors": vectors, "freeze_embedding": frozen}
    reg = RNNRegressor(**options).fit(X, y)
    assert reg.score(X, y) > 0.9
    kept = reg.model_.network.embedding.weight
    assert (kept.tobytes() == vectors.tobytes()) is frozen
    assert saved(reg, tmp_path).predict(X).tobytes() == reg.predict(X).tobytes()
    if frozen:  # the same network on the vectors themselves
        rows = RNNRegressor(standardize=False, **LEARN).fit([vectors[row] for row in X], y)
        np.testing.assert_allclose(rows.predict([vectors[row] for row in X]), reg.predict(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_dim": 0}, "embedding_dim must be at least 1, got 0"),
        ({"n_tokens": 5}, "n_tokens must be None without embedding_dim or embedding_vectors, got 5"),
        ({"freeze_embedding": True}, "freeze_embedding must be False without embedding_dim"),
        ({"embedding_vectors": [1.0, 2.0]}, r"embedding_vectors must have 2 dimensions \[n_tokens, width\]"),
        ({"embedding_vectors": np.ones((3, 2)), "embedding_dim": 4}, "embedding_dim must be 2 or None, .* got 4"),
        ({"embedding_vectors": np.ones((3, 2)), "n_tokens": 4}, "n_tokens must be 3 or None, .* got 4"),
        ({"embedding_vectors": [[np.nan]]}, r"embedding_vectors\[0, 0\] is nan"),
        (
            {"embedding_dim": 3, "patch_size": 2},
            "token numbers need patch_size=1 and missing='error', got patch_size=2",
        ),
        ({"embedding_dim": 3, "missing": "mask"}, "token numbers need patch_size=1 and missing='error'"),
    ],
    ids=str,
)
def test_bad_token_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RNNRegressor(**options).fit(np.zeros((4, 5), int), np.zeros(4))


# ---- static features ----


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_static_features(cell: str, rng: np.random.Generator, tmp_path: Any) -> None:
    """The target is the sum of one of two features; a static feature says which."""
    X, static = 0.5 * rng.standard_normal((400, 6, 2)), rng.integers(0, 2, (400, 1))
    y = np.where(static[:, 0] == 1, X[:, :, 0].sum(axis=1), X[:, :, 1].sum(axis=1))
    reg = RNNRegressor(cell=cell, num_layers=2, **{**LEARN, "max_epochs": 60}).fit(X, y, static=static)
    blind = RNNRegressor(cell=cell, **LEARN).fit(X, y)
    predicted = reg.predict(X, static)
    assert np.corrcoef(predicted, y)[0, 1] > 0.95 > np.corrcoef(blind.predict(X), y)[0, 1]
    model = saved(reg, tmp_path)
    assert model.predict(X, static).tobytes() == predicted.tobytes()
    live = model.session(3, static[:3])
    for t in range(6):
        assert live.step(X[:3, t]).tobytes() == reg.predict(X[:3, : t + 1], static[:3]).tobytes()
    live.reset([1], static=1 - static[1:2])
    live.step(X[:3, 0])
    live.reset()
    assert live.step(X[:3, 0])[1] == reg.predict(X[1:2, :1], 1 - static[1:2])[0]
    order = rng.permutation(400)
    assert reg.predict(list(X[order]), static[order]).tobytes() == predicted[order].tobytes()


def test_bad_static_features(rng: np.random.Generator) -> None:
    X, y, static = rng.standard_normal((8, 3, 1)), np.arange(8.0), np.ones((8, 2))
    reg = RNNRegressor(**SMALL)
    for bad, message in (
        (np.ones((7, 2)), "static must have 8 rows, one for each sequence of X, got 7"),
        (np.ones(8), r"static must have 2 dimensions \[n_samples, n_static\]"),
        (np.full((8, 2), np.nan), r"static\[0, 0\] is nan"),
    ):
        with pytest.raises(ValueError, match=message):
            reg.fit(X, y, static=bad)
    reg.fit(X, y, static=static)
    with pytest.raises(
        ValueError, match=r"static is needed: the model was fitted with 2 static feature\(s\), got None"
    ):
        reg.predict(X)
    with pytest.raises(ValueError, match=r"static must have shape \(8, 2\)"):
        reg.predict(X, np.ones((8, 3)))
    with pytest.raises(ValueError, match="static must be None: the model was fitted without"):
        RNNRegressor(**SMALL).fit(X, y).predict(X, static)
    with pytest.raises(ValueError, match="static is needed"):
        reg.session(2)


# ---- missing values, patches ----


@pytest.mark.parametrize("options", [{"missing": "mask"}, {"patch_size": 3}, {"missing": "mask", "patch_size": 3}])
def test_masks_and_patches(options: dict[str, Any], rng: np.random.Generator, tmp_path: Any) -> None:
    X = rng.standard_normal((300, 9, 2))
    y = X[:, :, 0].mean(axis=1)
    if "missing" in options:
        X[rng.random(X.shape) < 0.1] = np.nan
    reg = RNNRegressor(**LEARN, **options).fit(X, y)
    assert reg.score(X, y) > 0.7
    model, size = saved(reg, tmp_path), options.get("patch_size", 1)
    assert model.predict(X).tobytes() == reg.predict(X).tobytes()
    live = model.session(4)
    for t in range(0, 9, size):
        step = X[:4, t : t + size].reshape(4, -1)
        assert live.step(step).tobytes() == reg.predict(X[:4, : t + size]).tobytes()
    live.reset([2])
    assert live.step(X[:4, :size].reshape(4, -1))[2] == reg.predict(X[2:3, :size])[0]


def test_missing_values_are_refused_by_default(rng: np.random.Generator) -> None:
    X = rng.standard_normal((8, 3, 2))
    X[4, 1, 1] = np.nan
    with pytest.raises(ValueError, match=r"X contains NaN: sequence 4, step 1, feature 1 is nan"):
        RNNRegressor(**SMALL).fit(X, np.arange(8.0))
    with pytest.raises(ValueError, match="missing must be one of 'error', 'mask', got 'drop'"):
        RNNRegressor(missing="drop", **SMALL).fit(X, np.arange(8.0))


# ---- validation data, going on ----


def test_validation_data(rng: np.random.Generator) -> None:
    X, X_val = ragged(rng, 100), ragged(rng, 50)
    reg = RNNRegressor(**{**SMALL, "max_epochs": 10}).fit(X, sums(X), X_val=X_val, y_val=sums(X_val))
    assert len(reg.validation_scores_) == 10
    best = reg.best_epoch_
    assert reg.score(X_val, sums(X_val)) == pytest.approx(reg.validation_scores_[best], abs=1e-5)
    assert reg.history_["validation_loss"] == reg.validation_loss_curve_
    stopped = RNNRegressor(early_stopping=True, n_iter_no_change=2, tol=10.0, **{**SMALL, "max_epochs": 50})
    assert stopped.fit(X, sums(X), X_val=X_val, y_val=sums(X_val)).n_iter_ <= 4
    with pytest.raises(ValueError, match="y_val"):
        RNNRegressor(**SMALL).fit(X, sums(X), X_val=X_val)


def test_warm_start_goes_on(rng: np.random.Generator) -> None:
    X = ragged(rng)
    whole = RNNRegressor(**{**SMALL, "max_epochs": 6}).fit(X, sums(X))
    parts = RNNRegressor(warm_start=True, **SMALL).fit(X, sums(X)).fit(X, sums(X))
    assert parameters(parts).tobytes() == parameters(whole).tobytes()
    assert parts.n_iter_ == 6
    assert RNNRegressor(**SMALL).fit(X, sums(X)).fit(X, sums(X)).n_iter_ == 3


def test_resuming_gives_the_same_bits(rng: np.random.Generator, tmp_path: Any) -> None:
    X = ragged(rng, 100)
    options = {**SMALL, "max_epochs": 8, "num_layers": 2, "dropout": 0.2, "schedule": "cosine", "early_stopping": True}
    whole = RNNRegressor(**options).fit(X, sums(X))
    log = lstmcore.callbacks.Checkpoint(tmp_path / "run.safetensors")

    def interrupt(trainer: Any) -> bool:
        return len(trainer.history.loss_curve) == 3

    RNNRegressor(callbacks=[log, interrupt], **options).fit(X, sums(X))
    resumed = RNNRegressor(**options).fit(X, sums(X), resume_from=tmp_path / "run.safetensors")
    assert parameters(resumed).tobytes() == parameters(whole).tobytes()
    assert resumed.loss_curve_ == whole.loss_curve_


def test_sequences_with_static_features(rng: np.random.Generator) -> None:
    values, static = rng.standard_normal((60, 2)), rng.standard_normal((10, 3))
    windows = Sequences(values, 5 * np.arange(10), np.full(10, 10), static)
    y = static[:, 0]
    reg = RNNRegressor(**SMALL).fit(windows, y)
    same = RNNRegressor(**SMALL).fit(windows.joined(), y, static=static)
    np.testing.assert_allclose(reg.predict(windows), same.predict(windows), rtol=1e-4, atol=1e-5)


def test_resuming_needs_the_same_parts(rng: np.random.Generator, tmp_path: Any) -> None:
    X, path = ragged(rng), tmp_path / "run.safetensors"
    RNNRegressor(callbacks=[lstmcore.callbacks.Checkpoint(path)], **SMALL).fit(X, sums(X))
    with pytest.raises(ValueError, match=r"resume_from=.*run\.safetensors' is a checkpoint of a fit without"):
        RNNRegressor(early_stopping=True, **SMALL).fit(X, sums(X), resume_from=path)
