"""RNNForecaster: that it learns, and the shapes and steps of what it forecasts."""

from __future__ import annotations

import numpy as np
import pytest
from forecasting import QUICK, seasonal, walk

from lstmcore import RNNForecaster
from lstmcore._series import Frame
from lstmcore.estimators._split import windows_of

# ---- it learns ----


def test_learns_a_sine_and_carries_its_state_far_beyond_the_window():
    y = 10 + 3 * np.sin(0.4 * np.arange(2000))
    forecaster = RNNForecaster(window=32, horizon=4, hidden_size=16, max_epochs=30, learning_rate=5e-3, random_state=0)
    forecaster.fit(y[:400])
    forecaster.update(y[400:1996])
    errors = np.abs(forecaster.forecast_at(np.arange(60, 1900)) - [y[t + 1 : t + 5] for t in range(60, 1900)])
    assert errors[:300].mean() < 0.1
    assert errors[-300:].mean() < 0.1
    assert np.abs(forecaster.predict() - y[1996:]).max() < 0.3


def test_beats_the_naive_forecast_on_a_seasonal_series():
    y = seasonal(900)
    forecaster = RNNForecaster(window=48, horizon=6, hidden_size=16, max_epochs=30, learning_rate=5e-3, random_state=0)
    forecaster.fit(y[:700])
    assert forecaster.score(y[700:]) > 0.7
    seasonal_naive = 1 - np.mean((y[712:] - y[700:-12]) ** 2) / np.mean((y[706:] - y[700:-6]) ** 2)
    assert forecaster.score(y[700:]) > seasonal_naive
    # Nothing of this noise can be known 6 steps ahead: sd 0.42. The best possible error is not far below.
    last = forecaster.update(y[700:]).forecast_at(np.arange(699, 893))[:, 5]
    assert np.sqrt(np.mean((last - y[705:899]) ** 2)) < 0.55


def test_forecasts_a_trend_by_differences():
    y = 0.5 * np.arange(400) + seasonal(400)
    forecaster = RNNForecaster(window=36, horizon=3, difference=True, max_epochs=30, learning_rate=5e-3, random_state=0)
    forecaster.fit(y[:300])
    assert forecaster.score(y[300:]) > 0.6


def test_exogenous_columns_help():
    rng = np.random.default_rng(0)
    leading = rng.standard_normal(800)
    y = np.concatenate([[0.0], leading[:-1]]) + 0.1 * rng.standard_normal(800)  # y[t + 1] is X[t] and a little noise
    options = {**QUICK, "max_epochs": 20, "learning_rate": 1e-2}
    alone = RNNForecaster(**options).fit(y[:600]).score(y[600:])
    helped = RNNForecaster(**options).fit(y[:600], leading[:600]).score(y[600:], leading[600:])
    assert alone < 0.6
    assert helped > 0.97


def test_quantiles_cover_what_they_say_when_the_noise_changes():
    rng = np.random.default_rng(0)
    size = np.exp(np.sin(2 * np.pi * np.arange(4000) / 400))  # calm and turbulent times, sizes 1/e to e
    y = size * rng.standard_normal(4000)
    forecaster = RNNForecaster(
        window=40,
        hidden_size=8,
        cell="gru",
        quantiles=(0.1, 0.5, 0.9),
        max_epochs=10,
        learning_rate=1e-2,
        random_state=0,
    ).fit(y[:3000])
    forecaster.update(y[3000:])
    forecasts = forecaster.forecast_at(np.arange(2999, 3999))[:, 0]
    inside = (forecasts[:, 0] <= y[3000:]) & (y[3000:] <= forecasts[:, 2])
    assert abs(inside.mean() - 0.8) < 0.05
    width = forecasts[:, 2] - forecasts[:, 0]
    turbulent = size[3000:] > 1.5
    assert width[turbulent].mean() > 2 * width[size[3000:] < 0.67].mean()
    assert abs(inside[turbulent].mean() - 0.8) < 0.1


def test_scale_halflife_follows_the_recent_size():
    rng = np.random.default_rng(0)
    size = np.where(np.arange(2400) < 2000, 1.0, 8.0)  # the test part is far more turbulent than any of training
    y = np.cumsum(size * rng.standard_normal(2400))
    forecaster = RNNForecaster(
        window=24, difference=True, scale_halflife=20, quantiles=(0.1, 0.5, 0.9), max_epochs=8, random_state=0
    ).fit(y[:2000])
    forecaster.update(y[2000:])
    forecasts = forecaster.forecast_at(np.arange(2099, 2399))[:, 0]
    inside = (forecasts[:, 0] <= y[2100:]) & (y[2100:] <= forecasts[:, 2])
    assert abs(inside.mean() - 0.8) < 0.08


# ---- shapes and steps ----


@pytest.mark.parametrize("quantiles", [None, (0.1, 0.5, 0.9)])
@pytest.mark.parametrize("n_targets", [None, 1, 3])
def test_shapes(n_targets, quantiles):
    y = walk(60, n_targets)
    tail = (() if n_targets is None else (n_targets,)) + (() if quantiles is None else (3,))
    forecaster = RNNForecaster(**QUICK, horizon=4, quantiles=quantiles).fit(y)
    assert forecaster.predict().shape == (4, *tail)
    assert forecaster.predict(1).shape == (1, *tail)
    assert forecaster.predict(11).shape == (11, *tail)
    assert forecaster.predict_in_sample().shape == (60, 4, *tail)
    assert forecaster.forecast_at(10).shape == (4, *tail)
    assert forecaster.forecast_at([10, 20]).shape == (2, 4, *tail)
    assert forecaster.predict().dtype == np.float64
    np.testing.assert_array_equal(forecaster.predict(11)[:4], forecaster.predict())


def test_lists_and_integers_are_series_too():
    y = [int(value) for value in 10 * walk(60)]
    np.testing.assert_array_equal(
        RNNForecaster(**QUICK).fit(y).predict(), RNNForecaster(**QUICK).fit(np.array(y, float)).predict()
    )


def test_beyond_the_horizon_forecasts_are_fed_back():
    y = walk(80, 2)
    model = RNNForecaster(**QUICK, horizon=3).fit(y).model_
    first = model.predict(y)
    second = model.predict(np.concatenate([y, first]))
    third = model.predict(np.concatenate([y, first, second]))
    np.testing.assert_array_equal(model.predict(y, 8), np.concatenate([first, second, third])[:8])


def test_exogenous_columns_beyond_the_horizon():
    y, X, future = walk(80), walk(80, 1, seed=1), walk(5, 1, seed=2)
    model = RNNForecaster(**QUICK, horizon=2).fit(y, X).model_
    first = model.predict(y, X=X)
    second = model.predict(np.concatenate([y, first]), X=np.concatenate([X, future[:2]]))
    np.testing.assert_array_equal(model.predict(y, 4, X, future), np.concatenate([first, second]))


@pytest.mark.parametrize("options", [{}, {"difference": True}, {"difference": True, "scale_halflife": 8.0}])
def test_intervals_never_shrink_beyond_the_horizon(options):
    forecaster = RNNForecaster(**QUICK, horizon=3, quantiles=(0.1, 0.3, 0.5, 0.9), **options).fit(walk(200))
    forecasts = forecaster.predict(15)
    assert (np.diff(forecasts, axis=1) >= 0).all()
    below, above = forecasts[2:, 2] - forecasts[2:, 0], forecasts[2:, 3] - forecasts[2:, 2]
    for block in range(1, 13, 3):
        assert (below[block : block + 3] >= below[block - 1] - 1e-12).all()
        assert (above[block : block + 3] >= above[block - 1] - 1e-12).all()


@pytest.mark.parametrize("loss", ["squared", "absolute", "huber"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_losses_and_optimizers_lower_the_loss(loss, optimizer):
    rate = 0.1 if optimizer == "sgd" else 1e-2
    forecaster = RNNForecaster(
        window=24, hidden_size=8, max_epochs=12, learning_rate=rate, loss=loss, optimizer=optimizer, random_state=0
    ).fit(np.sin(0.5 * np.arange(200)))
    assert len(forecaster.loss_curve_) == forecaster.n_iter_ == 12
    assert forecaster.loss_curve_[-1] < 0.5 * forecaster.loss_curve_[0]


def test_early_stopping_holds_the_end_back():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(400)  # nothing to learn: validation stops it
    forecaster = RNNForecaster(
        window=24,
        hidden_size=32,
        max_epochs=200,
        learning_rate=1e-2,
        early_stopping=True,
        n_iter_no_change=3,
        random_state=0,
    ).fit(y)
    assert forecaster.n_iter_ < 100
    assert len(forecaster.validation_loss_curve_) == forecaster.n_iter_


def test_warm_start_goes_on():
    y = np.sin(0.4 * np.arange(300))
    forecaster = RNNForecaster(window=24, max_epochs=5, learning_rate=5e-3, warm_start=True, random_state=0).fit(y)
    first = forecaster.loss_curve_
    assert forecaster.fit(y).loss_curve_[0] < first[0] / 2
    with pytest.raises(ValueError, match="warm_start needs horizon=1"):
        forecaster.set_params(horizon=2).fit(y)


def test_a_constant_series_is_forecast_to_stay():
    for options in ({}, {"difference": True}, {"difference": True, "scale_halflife": 3.0}):
        forecaster = RNNForecaster(**QUICK, **options).fit(np.full(50, 3.25))
        assert abs(forecaster.predict(5) - 3.25).max() < 1.5
        assert np.isfinite(forecaster.predict_in_sample()).all()


# ---- parts ----


@pytest.mark.parametrize("n_rows, window", [(10, 10), (11, 10), (600, 64), (7000, 64), (100_000, 20), (9, 2)])
def test_windows_cover_the_series(n_rows, window):
    starts, lengths = windows_of([range(n_rows)], np.array([0]), window)
    assert set(lengths) == {window}
    assert starts[-1] == n_rows - window
    assert starts[0] >= 0
    assert len(set(np.diff(starts))) <= 1
    assert len(starts) >= min(512, n_rows - window + 1)
    assert starts[0] < max(1, window // 2)


def test_running_size_of_changes():
    y = walk(50, 2)
    frame = Frame(1, 4.0)
    _, size = frame.measure(y)
    np.testing.assert_allclose(size, np.sqrt(np.mean(np.diff(y, axis=0) ** 2, axis=0)), rtol=1e-12)
    seen, state = frame.advance(y[:, None], frame.start(1, 2, frame.measure(y)), horizon=3)
    decay = 0.5 ** (1 / 4.0)
    mean = np.ones(2)
    for t in range(50):
        change = (y[t] - y[max(t - 1, 0)]) / size
        mean = decay * mean + (1 - decay) * change**2
        np.testing.assert_allclose(seen.unit[t, 0], np.sqrt(mean) * size, rtol=1e-12)
    np.testing.assert_allclose(state[0, 2:4], mean, rtol=1e-12)
    np.testing.assert_array_equal(frame.unit(state, 2), seen.unit[-1])
    np.testing.assert_array_equal(seen.base[:, 0], np.repeat(y[:, None], 3, axis=1))


def test_a_session_of_the_estimator_is_one_of_its_model() -> None:
    y = np.sin(0.3 * np.arange(80))
    forecaster = RNNForecaster(window=16, hidden_size=4, max_epochs=1, random_state=0).fit(y)
    mine, its = forecaster.session(2), forecaster.model_.session(2)
    for t in range(5):
        assert mine.step(y[t : t + 2]).tobytes() == its.step(y[t : t + 2]).tobytes()
