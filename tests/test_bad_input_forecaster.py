"""RNNForecaster: bad options, series and calls are named."""

from __future__ import annotations

import numpy as np
import pytest
from forecasting import QUICK, walk

from lstmcore import RNNForecaster


@pytest.mark.parametrize(
    "options, message",
    [
        ({"window": 1}, "window must be at least 2, got 1"),
        ({"window": 2.5}, "window must be an integer, got 2.5"),
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
        ({"horizon": 10**5, "strategy": "recursive"}, "horizon must be at most 65536 with strategy='recursive', got 1"),
        ({"cell": "lstn"}, "cell must be one of .*'lstn'.*did you mean 'lstm'"),
        ({"loss": "sqared"}, "loss must be one of .*'sqared'"),
        ({"loss": "quantile"}, "loss must be one of .*'quantile'"),
        ({"optimizer": "adamm"}, "optimizer must be one of .*'adamm'"),
        ({"quantiles": (0.9, 0.1)}, r"quantiles must .*\(0.9, 0.1\)"),
        ({"quantiles": (0.0, 0.5)}, r"quantiles must .*\(0.0, 0.5\)"),
        ({"difference": "yes"}, "difference must be an integer, got 'yes'"),
        ({"scale_halflife": 5}, "scale_halflife=5 needs difference=True"),
        ({"scale_halflife": -1.0, "difference": True}, "scale_halflife must be positive or None, got -1.0"),
        ({"learning_rate": -1.0}, "learning_rate .*-1.0"),
        ({"batch_size": 0}, "batch_size .*0"),
        ({"max_epochs": 0}, "max_epochs .*0"),
        ({"hidden_size": 0}, "hidden_size .*0"),
        ({"validation_fraction": 1.5, "early_stopping": True}, "validation_fraction .*1.5"),
        ({"warm_start": 1}, "warm_start must be True or False, got 1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        RNNForecaster(**{**QUICK, **options}).fit(walk(60))


@pytest.mark.parametrize(
    "y, X, message",
    [
        (walk(14), None, "y has 14 rows, but window=12 and horizon=3 need at least 15"),
        (np.r_[walk(30), np.nan], None, r"y\[30\] is nan"),
        (np.where(np.arange(60).reshape(30, 2) == 21, np.inf, 0.0), None, r"y\[10, 1\] is inf"),
        (np.zeros((5, 4, 3)), None, r"y must be a series .*\(5, 4, 3\)"),
        (np.zeros(0), None, r"y must be a series .*\(0,\)"),
        (["a"] * 30, None, "y must hold real numbers"),
        (walk(30), walk(29), "X must have 30 rows, as many as y, got 29"),
        (walk(30), np.r_[walk(29), np.nan], r"X\[29\] is nan"),
    ],
)
def test_bad_series_are_named(y, X, message):
    with pytest.raises((ValueError, TypeError), match=message):
        RNNForecaster(**{**QUICK, "horizon": 3}).fit(y, X)


def test_too_little_left_to_train_on():
    with pytest.raises(ValueError, match=r"validation_fraction=0\.5 leaves 11 to train on"):
        RNNForecaster(**QUICK, horizon=4, early_stopping=True, validation_fraction=0.5).fit(walk(32))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda f: f.predict(0), "steps must be at least 1, got 0"),
        (lambda f: f.predict(2.0), "steps must be an integer, got 2.0"),
        (lambda f: f.predict(3), "X_future is needed"),
        (lambda f: f.predict(5, walk(3, 1)), "X_future must have at least 4 rows for steps=5, got 3"),
        (lambda f: f.predict(3, walk(3, 2)), r"X_future must have 1 column\(s\), as in fit, got shape \(3, 2\)"),
        (lambda f: f.update(walk(3, 3), walk(3)), r"y_new must have 2 column\(s\), as in fit, got shape \(3, 3\)"),
        (lambda f: f.update(walk(3, 2)), "X_new is needed"),
        (lambda f: f.update(walk(3, 2), walk(2, 1)), "X_new must have 3 rows, as many as y, got 2"),
        (lambda f: f.update([[0.0, np.nan]], [1.0]), r"y_new\[0, 1\] is nan"),
        (lambda f: f.score(walk(1, 2), walk(1)), "y_new must have at least horizon=2 rows, got 1"),
        (lambda f: f.forecast_at(60), r"origins must lie in -60\.\.59, got 60"),
        (lambda f: f.forecast_at(1.5), "origins must be integers, got 1.5"),
        (lambda f: f.model_.predict(walk(9, 2)), "X is needed"),
        (lambda f: f.model_.session(0), "n_streams must be at least 1, got 0"),
        (lambda f: f.model_.session(2).step(walk(3, 2), walk(3, 1)), r"y must have 2 row\(s\), one a stream"),
        (lambda f: f.model_.session(2).advance(walk(3, 2), walk(3, 1)), "n_streams=2"),
        (lambda f: f.model_.session().forecast(), r"n_steps is \[0\]"),
    ],
)
def test_bad_calls_are_named(call, message):
    forecaster = RNNForecaster(**QUICK, horizon=2).fit(walk(60, 2), walk(60, 1, seed=1))
    with pytest.raises((ValueError, TypeError), match=message):
        call(forecaster)


@pytest.mark.parametrize("options", [{}, {"difference": True}, {"difference": True, "scale_halflife": 3.0}])
def test_a_value_out_of_all_proportion_is_refused_and_forgotten(options):
    forecaster = RNNForecaster(**QUICK, **options).fit(walk(60))
    before = forecaster.predict()
    with pytest.raises(ValueError, match="y"):
        forecaster.update([1e200])
    np.testing.assert_array_equal(forecaster.predict(), before)
    assert len(forecaster.y_) == 60


def test_a_diverging_fit_keeps_good_parameters():
    from lstmcore.training import TrainingDiverged

    forecaster = RNNForecaster(**{**QUICK, "learning_rate": 1e38}, clip_norm=None)
    with pytest.raises(TrainingDiverged, match="learning_rate"):
        forecaster.fit(walk(60))
    assert np.isfinite(forecaster.predict()).all()


def test_exogenous_columns_that_were_not_fitted():
    forecaster = RNNForecaster(**QUICK).fit(walk(60))
    with pytest.raises(ValueError, match="X_new must be None: the model was fitted without X"):
        forecaster.update(walk(3), walk(3))
    with pytest.raises(ValueError, match="X_future must be None"):
        forecaster.predict(3, walk(3))


@pytest.mark.parametrize(
    "call",
    [
        lambda f: f.predict(),
        lambda f: f.update([1.0]),
        lambda f: f.predict_in_sample(),
        lambda f: f.forecast_at(0),
        lambda f: f.score([1.0]),
        lambda f: f.save("never-written"),
    ],
)
def test_not_fitted(call):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError, match="RNNForecaster"):
        call(RNNForecaster())


def test_clone_and_params():
    from sklearn.base import clone

    forecaster = RNNForecaster(window=7, quantiles=(0.1, 0.9))
    assert clone(forecaster).get_params() == forecaster.get_params()
    assert "window=7" in repr(forecaster)
