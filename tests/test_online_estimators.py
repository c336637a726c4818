"""OnlineRNNRegressor and OnlineRNNClassifier: row by row, in blocks, among scikit-learn's tools."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from conftest import RunPython
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

import lstmcore
from lstmcore import OnlineRNNClassifier, OnlineRNNRegressor
from lstmcore.training import TrainingDiverged

BOTH = (OnlineRNNRegressor, OnlineRNNClassifier)
SMALL: dict[str, Any] = dict(hidden_size=6, random_state=0)


def stream(kind: Any, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two features, and as targets the sum of the row before, or its sign."""
    X = np.random.default_rng(0).normal(5, 3, (n, 2))
    y = np.concatenate([[0.0], X[:-1].sum(axis=1)])
    return X, y if kind is OnlineRNNRegressor else np.where(y > 10, "high", "low")


def new(kind: Any, **options: Any) -> Any:
    classes = {} if kind is OnlineRNNRegressor else {"classes": ["low", "high"]}
    return kind(**{**SMALL, **classes, **options})


def bits(estimator: Any) -> bytes:
    return estimator._learner.network.flat_parameters.tobytes()


# ---- what they learn ----


@pytest.mark.parametrize("method", ["rtrl", "snap1"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "lstm_coupled_peephole"])
def test_they_learn_the_row_before(cell: str, method: str) -> None:
    options = dict(cell=cell, method=method, learning_rate=1e-2)
    X, y = stream(OnlineRNNRegressor, 3000)
    predicted = new(OnlineRNNRegressor, **options).prequential_predict(X, y)
    assert np.mean((predicted - y)[-500:] ** 2) < 0.1 * np.var(y)
    X, y = stream(OnlineRNNClassifier, 3000)
    assert np.mean((new(OnlineRNNClassifier, **options).prequential_predict(X, y) == y)[-500:]) > 0.9


@pytest.mark.parametrize(
    "options",
    [
        dict(optimizer="sgd", learning_rate=0.02, momentum=0.5),
        dict(optimizer="nesterov", learning_rate=0.02, momentum=0.5, clip_norm=None),
        dict(optimizer="rmsprop", weight_decay=1e-4),
        dict(optimizer="adamw", l1=1e-6),
        dict(loss="huber"),
        dict(loss="absolute", learning_rate=1e-2),
        dict(scaling_window=100),
    ],
    ids=str,
)
def test_regressor_options(options: dict[str, Any]) -> None:
    X, y = stream(OnlineRNNRegressor, 3000)
    errors = new(OnlineRNNRegressor, **options).prequential_predict(X, y) - y
    assert np.mean(errors[-500:] ** 2) < 0.4 * np.var(y)


def test_one_step_by_hand() -> None:
    """Scales, output, loss and a step of SGD, from the layer's own backward."""
    X, y = stream(OnlineRNNRegressor, 3)
    model = OnlineRNNRegressor(optimizer="sgd", momentum=0.0, learning_rate=0.0, clip_norm=None, **SMALL)
    model.partial_fit(X[:1], y[:1])
    model.learning_rate = 0.1
    net = copy.deepcopy(model._learner.network)
    before = net.flat_parameters.copy()
    model.learn_one(X[1], y[1])
    rows = np.stack([np.zeros(2), (X[1] - X[:2].mean(axis=0)) / X[:2].std(axis=0)])  # the first by its own mean
    h, _ = net.recurrent.forward(rows[:, None].astype(np.float32))
    error = net.dense.forward(h[-1])[0, 0] - (y[1] - y[:2].mean()) / y[:2].std()
    dh = net.dense.backward(np.full((1, 1), 2 * error, np.float32))
    assert dh is not None
    net.recurrent.backward(np.stack([np.zeros_like(dh), dh]))
    now = model._learner.network.flat_parameters
    np.testing.assert_allclose(now - before, -0.1 * net.flat_gradients, atol=1e-6)
    assert np.abs(now - before).max() > 1e-2


# ---- what they promise ----


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("method", ["rtrl", "snap1"])
def test_row_by_row_and_in_blocks(kind: Any, method: str) -> None:
    X, y = stream(kind)
    rows = new(kind, method=method)
    one_by_one = []
    for x, target in zip(X, y, strict=True):
        one_by_one.append(rows.predict_one({"b": x[1], "a": x[0]}))
        rows.learn_one({"a": x[0], "b": x[1]}, target)
    blocks = new(kind, method=method)
    predicted = np.concatenate([blocks.prequential_predict(X[:70], y[:70]), blocks.prequential_predict(X[70:], y[70:])])
    lstmcore.set_num_threads(1)
    alone = new(kind, method=method).fit(X, y)
    lstmcore.set_num_threads(0)
    assert bits(rows) == bits(blocks) == bits(alone)
    np.testing.assert_array_equal(one_by_one[1:], predicted[1:])  # the very first comes before there are features
    assert list(rows.feature_names_in_) == ["a", "b"]


@pytest.mark.parametrize("kind", BOTH)
def test_predictions_leave_the_stream_alone(kind: Any) -> None:
    X, y = stream(kind)
    looked, straight = new(kind).fit(X[:50], y[:50]), new(kind).fit(X[:50], y[:50])
    several = looked.predict(X[50:60])
    assert looked.predict_one(X[50]) == several[0]
    assert np.isfinite(looked.score(X[50:], y[50:]))
    assert bits(looked.partial_fit(X[50:], y[50:])) == bits(straight.partial_fit(X[50:], y[50:]))


@pytest.mark.parametrize("kind", BOTH)
def test_a_frozen_model_says_the_same(kind: Any, tmp_path: Any, run_python: RunPython) -> None:
    X, y = stream(kind)
    model = new(kind).fit(X, y)
    model.reset()
    model.save(tmp_path / "model.safetensors")
    loaded = lstmcore.load(tmp_path / "model.safetensors")
    session = loaded.session()
    expected = model.predict(X[:20])
    np.testing.assert_array_equal([session.step(x)[0] for x in X[:20]], expected)
    if kind is OnlineRNNClassifier:
        np.testing.assert_array_equal(loaded.predict_proba([X[:7]])[0], model.predict_proba(X[:7])[-1].astype("f"))
    model.partial_fit(X, y)  # what was frozen stays
    np.testing.assert_array_equal(loaded.predict([X[:20]])[0], expected[-1])
    read = f"lstmcore.load({str(tmp_path / 'model.safetensors')!r})"
    run_python(f"import sys, lstmcore; {read}; assert 'sklearn' not in sys.modules")


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_go_on(kind: Any, copied: Any) -> None:
    X, y = stream(kind)
    model = new(kind).fit(X[:100], y[:100])
    twin = copied(model)
    assert bits(twin.partial_fit(X[100:], y[100:])) == bits(model.partial_fit(X[100:], y[100:]))
    assert not hasattr(clone(model), "n_features_in_")


def test_unknown_targets_move_the_state_alone() -> None:
    X, y = stream(OnlineRNNRegressor)
    model = new(OnlineRNNRegressor).fit(X[:100], y[:100])
    before, next_two = bits(model), model.predict(X[100:102])
    model.learn_one(X[100], None)
    assert bits(model) == before
    assert abs(model.predict_one(X[101]) - next_two[1]) < 0.1 * np.std(y)  # but the scales of X moved


def test_reset_begins_a_sequence() -> None:
    X, y = stream(OnlineRNNRegressor)
    model = new(OnlineRNNRegressor).fit(X, y)
    model.reset()
    assert model.predict(X[:5])[-1] == model.frozen().predict([X[:5]])[0]


def test_several_targets() -> None:
    X, y = stream(OnlineRNNRegressor, 100)
    both = np.column_stack([y, -y])
    model = new(OnlineRNNRegressor).fit(X, both)
    assert model.predict(X).shape == (100, 2)
    by_row = new(OnlineRNNRegressor)
    for x, target in zip(X, both, strict=True):
        by_row.learn_one(x, target)
    assert bits(by_row) == bits(model)
    assert by_row.predict_one(X[0]).shape == (2,)
    with pytest.raises(ValueError, match=r"y must have shape \[n, 2\] as in the first call, got \(100,\)"):
        model.partial_fit(X, y)


def test_running_scales() -> None:
    X, y = stream(OnlineRNNRegressor, 500)
    model = new(OnlineRNNRegressor).fit(1e6 + X, y)
    scaler = model._learner.feature_scaler
    np.testing.assert_allclose(scaler.mean, 1e6 + X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaler.scale, X.std(axis=0), rtol=1e-6)
    shifted = new(OnlineRNNRegressor, scaling_window=20).fit(np.concatenate([X, X + 100]), np.concatenate([y, y]))
    np.testing.assert_allclose(shifted._learner.feature_scaler.mean, X.mean(axis=0) + 100, atol=3)
    constant = new(OnlineRNNRegressor).fit(np.column_stack([X, np.full(500, 7.0)]), y)
    assert constant._learner.feature_scaler.scale[2] == 1.0


def test_probabilities() -> None:
    X, y = stream(OnlineRNNClassifier)
    model = new(OnlineRNNClassifier)
    assert model.predict_one(X[0]) is None
    assert model.predict_proba_one(X[0]) == {}
    model.fit(X, y)
    proba = model.predict_proba(X[:3])
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert model.predict_proba_one(X[0]) == dict(zip(["high", "low"], proba[0], strict=True))
    assert isinstance(model.predict_one(X[0]), str)


def test_a_divergence_is_said() -> None:
    X, y = stream(OnlineRNNRegressor)
    with pytest.raises(TrainingDiverged, match=r"the output is not finite after \d+ of 200 rows: try a learning_rate"):
        new(OnlineRNNRegressor, cell="rnn_relu", optimizer="sgd", learning_rate=1e6, clip_norm=None).fit(X, y)


# ---- bad input ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(cell="gru_reset_before"), "cell 'gru_reset_before' has no RTRL, which needs one of lstm, "),
        (dict(hidden_size=0), "hidden_size must be at least 1, got 0"),
        (dict(method="bptt"), "method must be one of 'rtrl', 'snap1', got 'bptt'"),
        (dict(optimizer="lbfgs"), "optimizer must be one of"),
        (dict(learning_rate=-1.0), "learning_rate must be at least 0, got -1.0"),
        (dict(clip_norm=0.0), "clip_norm must be positive or None, got 0.0"),
        (dict(scaling_window=0), "scaling_window must be at least 1, got 0"),
        (dict(loss="quantile"), "loss must be one of"),
        (dict(huber_delta=0.0), "huber_delta must be positive, got 0.0"),
    ],
    ids=str,
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    for learn in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=message):
            getattr(OnlineRNNRegressor(**options), learn)(*stream(OnlineRNNRegressor, 5))
    with pytest.raises(ValueError, match=message):
        OnlineRNNRegressor(**options).learn_one([1.0], 1.0)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ({"a": 1.0}, 1.0, r"x must have the features \['a', 'b'\] of the first row, got \['a'\]"),
        ({"a": 1.0, "c": 1.0}, 1.0, r"x must have the features \['a', 'b'\] of the first row, got \['a', 'c'\]"),
        ([1.0], 1.0, r"x must be a mapping or have shape \(2,\), got shape \(1,\)"),
        ({"a": 1.0, "b": np.nan}, 1.0, r"x\[1\] is nan"),
        ({"a": 1.0, "b": "one"}, 1.0, "x must hold real numbers"),
        ({"a": 1.0, "b": 2.0}, np.inf, "y.* is inf"),
        ({"a": 1.0, "b": 2.0}, [1.0], r"y must have shape \(\)"),
        ({"a": 1.0, "b": 2.0}, "one", "y must hold real numbers"),
    ],
    ids=str,
)
def test_bad_rows(x: Any, y: Any, message: str) -> None:
    model = new(OnlineRNNRegressor)
    model.learn_one({"a": 1.0, "b": 2.0}, 3.0)
    before = bits(model)
    with pytest.raises((ValueError, TypeError), match=message):
        model.learn_one(x, y)
    assert bits(model) == before


def test_bad_labels() -> None:
    with pytest.raises(ValueError, match="classes must be given to the estimator, or to partial_fit, before learn_one"):
        OnlineRNNClassifier().learn_one([1.0], "up")
    model = new(OnlineRNNClassifier)
    model.learn_one([1.0], "low")
    with pytest.raises(ValueError, match=r"y is 'up', which is none of \['high', 'low'\]"):
        model.learn_one([1.0], "up")
    with pytest.raises(ValueError, match="y must be known in the first row, got None"):
        new(OnlineRNNRegressor).learn_one([1.0], None)


# ---- scikit-learn ----

ORDERED = "rows follow each other in time: what is said of one depends on those before it"


@parametrize_with_checks(
    [OnlineRNNRegressor(hidden_size=4, learning_rate=0.03), OnlineRNNClassifier(hidden_size=4, learning_rate=0.03)],
    expected_failed_checks=lambda estimator: {
        "check_methods_sample_order_invariance": ORDERED,
        "check_methods_subset_invariance": ORDERED,
    },
)
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)
