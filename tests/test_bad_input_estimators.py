"""Bad input of the classifier, the regressor, their models and sessions gets a message that names and quotes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from lstmcore import RNNClassifier, RNNRegressor

X = np.random.default_rng(0).standard_normal((12, 5, 2))
Y = {RNNClassifier: np.arange(12) % 2, RNNRegressor: np.arange(12.0)}
BOTH = pytest.mark.parametrize("kind", [RNNClassifier, RNNRegressor])

OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"cell": "lstn"}, ValueError, r"cell must be one of 'lstm'.*, got 'lstn' \(did you mean 'lstm'\?\)"),
    ({"cell": None}, ValueError, "cell must be one of .*, got None"),
    ({"pooling": "min"}, ValueError, "pooling must be one of 'last', 'mean', 'max', 'attention', got 'min'"),
    (
        {"optimizer": "adamm"},
        ValueError,
        r"optimizer must be one of 'sgd', .*'rmsprop', got 'adamm'",
    ),
    ({"hidden_size": 0}, ValueError, "hidden_size must be at least 1, got 0"),
    ({"hidden_size": 8.0}, TypeError, "hidden_size must be an integer, got 8.0"),
    ({"num_layers": -1}, ValueError, "num_layers must be at least 1, got -1"),
    ({"bidirectional": "yes"}, TypeError, "bidirectional must be True or False, got 'yes'"),
    ({"dropout": 1.0}, ValueError, r"dropout must lie in \[0, 1\), got 1.0"),
    ({"forget_bias": "high"}, TypeError, "forget_bias must be a number, got 'high'"),
    (
        {"forget_bias": 1, "cell": "gru"},
        ValueError,
        "forget_bias must be None for cell 'gru', .* no forget gate, got 1",
    ),
    ({"max_epochs": 0}, ValueError, "max_epochs must be at least 1, got 0"),
    ({"batch_size": "32"}, TypeError, "batch_size must be an integer, got '32'"),
    ({"learning_rate": -1e-3}, ValueError, "learning_rate must be at least 0, got -0.001"),
    ({"learning_rate": float("nan")}, ValueError, "learning_rate must be finite, got nan"),
    ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number, got 'fast'"),
    ({"momentum": 1.0}, ValueError, r"momentum must lie in \[0, 1\), got 1.0"),
    ({"weight_decay": -1}, ValueError, "weight_decay must be at least 0, got -1"),
    ({"l1": float("inf")}, ValueError, "l1 must be finite, got inf"),
    ({"tbptt_steps": 0}, ValueError, "tbptt_steps must be at least 1, got 0"),
    ({"tbptt_steps": 3, "bidirectional": True}, ValueError, "tbptt_steps must be None with bidirectional=True, got 3"),
    ({"clip_norm": 0}, ValueError, "clip_norm must be positive or None, got 0"),
    ({"early_stopping": 1}, TypeError, "early_stopping must be True or False, got 1"),
    ({"validation_fraction": 1.5}, ValueError, "validation_fraction must lie between 0 and 1, got 1.5"),
    ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change must be at least 1, got 0"),
    ({"tol": -1.0}, ValueError, "tol must be at least 0, got -1.0"),
    ({"random_state": "seed"}, ValueError, "'seed' cannot be used to seed"),
    ({"verbose": -1}, ValueError, "verbose must be at least 0, got -1"),
]


@BOTH
@pytest.mark.parametrize(("options", "error", "message"), OPTIONS, ids=str)
def test_options(kind: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    estimator = kind(**{"max_epochs": 1, **options})
    with pytest.raises(error, match=message):
        estimator.fit(X, Y[kind])
    assert not hasattr(estimator, "model_")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "mse"}, "loss must be one of 'squared', 'absolute', 'huber', 'quantile', got 'mse'"),
        ({"huber_delta": 0.0}, "huber_delta must be positive, got 0.0"),
        ({"quantiles": (0.5, 0.2)}, r"quantiles must ascend and lie between 0 and 1, got \(0.5, 0.2\)"),
        ({"quantiles": (0.0, 0.2)}, r"quantiles must ascend and lie between 0 and 1, got \(0.0, 0.2\)"),
    ],
)
def test_options_of_the_regressor(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RNNRegressor(**options).fit(X, Y[RNNRegressor])


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="hiden_size"):
        RNNClassifier(hiden_size=3)
    with pytest.raises(ValueError, match="hiden_size"):
        RNNClassifier().set_params(hiden_size=3)


@BOTH
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            np.where(np.arange(12)[:, None, None] == 4, np.nan, X),
            "X contains NaN: sequence 4, step 0, feature 0 is nan",
        ),
        (X[:, :0], "every sequence needs at least one step"),
        (X[0, 0], "Reshape your data"),
        ([*X[:11], np.zeros((0, 2))], r"X\[11\] has length 0"),
        ([*X[:11], np.zeros((3, 3))], r"X\[11\] has 3 features a step, expected 2"),
        (X[:5], "inconsistent numbers of samples: X has 5, y has 12"),
        (X[:0], "Found array with 0 sample"),
    ],
)
def test_sequences(kind: Any, bad: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(max_epochs=1).fit(bad, Y[kind])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed, but the target y is None"),
        (3, "X has 12, y is 3"),
        (np.zeros(12), r"y must hold at least 2 classes, got 1 class: \[0.0\]"),
        (np.linspace(0, 1, 12), "Unknown label type: continuous"),
        (np.arange(24).reshape(12, 2), "y must hold one label for each sequence, or be an indicator matrix"),
        (np.array([np.nan] + [1.0] * 11), r"y contains NaN: y\[0\] is nan"),
        (np.array([1.0] * 11 + [np.inf]), r"y contains infinity: y\[11\] is inf"),
    ],
)
def test_labels(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RNNClassifier(max_epochs=1).fit(X, y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed, but the target y is None"),
        (np.array([np.nan] + [1.0] * 11), "Input y contains NaN"),
        (np.array([np.inf] + [1.0] * 11), "Input y contains infinity"),
        (["a"] * 12, "could not convert string to float"),
        (np.zeros((12, 0)), "0 feature"),
    ],
)
def test_targets(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RNNRegressor(max_epochs=1).fit(X, y)


@BOTH
def test_predicting_other_data(kind: Any) -> None:
    model = kind(max_epochs=1, hidden_size=4, random_state=0).fit(X, Y[kind])
    for each in (model, model.model_):
        with pytest.raises(ValueError, match="X has 3 features a step, but the model expects 2"):
            each.predict(np.zeros((4, 5, 3)))
        with pytest.raises(ValueError, match="sequence 0, step 1, feature 1 is inf"):
            each.predict([[[0, 0], [0, np.inf]]])
    flat = kind(max_epochs=1, hidden_size=4, random_state=0).fit(X[:, :, 0], Y[kind])
    with pytest.raises(ValueError, match=r"X has 4 features, but RNN\w+ is expecting 5 features as input"):
        flat.predict(X[:, :4, 0])
    assert flat.predict(X[:, :4, :1]).shape == (12,)


@BOTH
def test_not_fitted(kind: Any) -> None:
    message = f"this {kind.__name__} instance is not fitted yet: call fit first"
    for use in (lambda e: e.predict(X), lambda e: e.score(X, Y[kind]), lambda e: e.save("x"), lambda e: e.session()):
        with pytest.raises(NotFittedError, match=message):
            use(kind())


def test_partial_fit() -> None:
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit, got None"):
        RNNClassifier().partial_fit(X, Y[RNNClassifier])
    clf = RNNClassifier(hidden_size=4).partial_fit(X, Y[RNNClassifier], classes=[0, 1])
    with pytest.raises(ValueError, match=r"classes=\[0, 2\] is not the same as on the last call"):
        clf.partial_fit(X, Y[RNNClassifier], classes=[0, 2])
    with pytest.raises(ValueError, match=r"y holds the label 5, which is none of \[0, 1\]"):
        clf.partial_fit(X, np.full(12, 5))
    with pytest.raises(ValueError, match="X has 3 features a step"):
        clf.partial_fit(np.zeros((12, 5, 3)), Y[RNNClassifier])
    reg = RNNRegressor(hidden_size=4).partial_fit(X, Y[RNNRegressor])
    with pytest.raises(ValueError, match=r"y must have shape \[n\] as in the first call, got \(12, 2\)"):
        reg.partial_fit(X, np.zeros((12, 2)))


def test_early_stopping_needs_sequences_to_hold_out() -> None:
    with pytest.raises(ValueError, match=r"validation_fraction=0.99 leaves nothing of 12 sequences"):
        RNNRegressor(early_stopping=True, validation_fraction=0.99).fit(X, Y[RNNRegressor])
    with pytest.raises(ValueError, match=r"validation_fraction=0.05 holds out no sequence of 12"):
        RNNClassifier(early_stopping=True, validation_fraction=0.05).fit(X, Y[RNNClassifier])


def test_quantiles_need_their_loss() -> None:
    reg = RNNRegressor(max_epochs=1, hidden_size=4).fit(X, Y[RNNRegressor])
    with pytest.raises(ValueError, match="loss='quantile'"):
        reg.predict_quantiles(X)


def test_sessions() -> None:
    reg = RNNRegressor(max_epochs=1, hidden_size=4).fit(X, Y[RNNRegressor])
    session = reg.session(3)
    before = [state.copy() for state in session.states]
    bad: list[tuple[Any, type[Exception], str]] = [
        (np.zeros((2, 2)), ValueError, r"x must have shape \(3, 2\), that is \[n_streams, n_features\], got \(2, 2\)"),
        (np.zeros((2, 3)), ValueError, r"got \(2, 3\)"),
        ([[0, 0], [0, np.nan], [0, 0]], ValueError, "x contains NaN: stream 1, step 0, feature 1 is nan"),
        ([["a", "b"]] * 3, TypeError, "x must hold real numbers"),
    ]
    for x, error, message in bad:
        with pytest.raises(error, match=message):
            session.step(x)
    assert all(np.array_equal(a, b) for a, b in zip(before, session.states, strict=True))
    with pytest.raises(ValueError, match=r"states\[0\] must have shape \(1, 3, 4\)"):
        session.states = [np.zeros((1, 2, 4)), np.zeros((1, 3, 4))]
    with pytest.raises(ValueError, match="states must be a list of 2 arrays, got list"):
        session.states = [np.zeros((1, 3, 4))]
    with pytest.raises(ValueError, match="n_streams must be at least 1, got 0"):
        reg.session(0)
    with pytest.raises(TypeError, match="step_proba needs a classifier"):
        session.step_proba(np.zeros((3, 2)))
    both = RNNRegressor(max_epochs=1, hidden_size=4, bidirectional=True).fit(X, Y[RNNRegressor])
    with pytest.raises(ValueError, match="a session needs bidirectional=False"):
        both.session()
