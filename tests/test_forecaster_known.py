"""RNNForecaster with columns known ahead, with the calendar, with seasonal differences, and fed back step by step."""

from __future__ import annotations

import numpy as np
import pytest
from forecasting import QUICK, seasonal, walk

import lstmcore
from lstmcore import RNNForecaster, calendar_features
from lstmcore.calendar import useful_features

# ---- known ahead ----


def test_known_columns_help():
    rng = np.random.default_rng(0)
    known = rng.standard_normal((800, 2))
    y = known[:, 0] - known[:, 1] + 0.1 * rng.standard_normal(800)
    options = {**QUICK, "horizon": 3, "hidden_size": 16, "max_epochs": 25, "learning_rate": 1e-2}
    forecaster = RNNForecaster(**options).fit(y[:700], known=known[:700])
    assert forecaster.score(y[700:], known_new=known[700:]) > 0.9
    assert RNNForecaster(**options).fit(y[:700], known[:700]).score(y[700:], known[700:]) < 0.6
    changed = known[700:703].copy()
    changed[2] += 1.5
    forecasts = forecaster.predict(known_future=known[700:703]), forecaster.predict(known_future=changed)
    assert np.abs(forecasts[0] - y[700:703]).max() < 0.6
    assert np.abs(forecasts[1] - forecasts[0])[:2].max() < 0.3


def test_the_network_sees_the_rows_to_come():
    y, X, known = walk(50), walk(50, 2, seed=1), walk(60, 3, seed=2)
    model = RNNForecaster(**QUICK, horizon=4).fit(y, X, known).model_
    windows = model.layout.windows(known[:54, None])
    covariates = model.layout.covariates(X[:, None], windows)
    for t in (0, 13, 49):
        np.testing.assert_array_equal(covariates[t, 0], np.concatenate([X[t], *known[t + 1 : t + 5]]))


def test_live_forecasts_with_known_columns_have_the_bits_of_the_batch():
    y, X, known = walk(60), walk(60, 1, seed=1), walk(66, 2, seed=2)
    model = RNNForecaster(**QUICK, horizon=3).fit(y[:50], X[:50], known[:50]).model_
    batch = model.forecasts(y, X, known=known)
    session = model.session()
    steps = [session.step(y[t], X[t], known[t + 1 : t + 4])[0] for t in range(60)]
    np.testing.assert_array_equal(np.stack(steps), batch)
    session.reset()
    pieces = [session.advance(y[a:b], X[a:b], known[a : b + 3])[:, 0] for a, b in ((0, 1), (1, 40), (40, 60))]
    np.testing.assert_array_equal(np.concatenate(pieces), batch)
    np.testing.assert_array_equal(model.predict(y, None, X, known=known), batch[-1])


def test_predict_takes_what_is_known_when_it_is_known():
    y, known = walk(80), walk(100, 2, seed=1)
    early = RNNForecaster(**QUICK, horizon=4).fit(y[:60], known=known)
    late = RNNForecaster(**QUICK, horizon=4).fit(y[:60], known=known[:60])
    np.testing.assert_array_equal(early.predict(), late.predict(known_future=known[60:64]))
    np.testing.assert_array_equal(early.predict(), early.model_.predict(y[:60], known=known))
    np.testing.assert_array_equal(early.predict(6), late.predict(6, known_future=known[60:68]))
    np.testing.assert_array_equal(early.predict(6), early.model_.predict(y[:60], 6, known=known))
    other = late.predict(known_future=known[64:68])  # asking leaves no trace
    assert not np.array_equal(other, early.predict())
    early.update(y[60:70]).update(y[70:])
    late.update(y[60:63], known_new=known[60:63]).update(y[63:], known_new=known[63:80])
    np.testing.assert_array_equal(early.predict(), late.predict(known_future=known[80:84]))
    np.testing.assert_array_equal(early.predict(), early.model_.predict(y, known=known))
    in_sample = late.predict_in_sample()
    assert np.isnan(in_sample[76:]).all()
    np.testing.assert_array_equal(in_sample[:76], early.model_.forecasts(y, known=known)[:76])


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda f: f.predict(),
            r"known_future is needed: the model was fitted with 2 column\(s\) known ahead, got None",
        ),
        (lambda f: f.predict(known_future=walk(3, 2)), "known_future must have at least 4 rows for steps=4, got 3"),
        (lambda f: f.predict(5, known_future=walk(7, 2)), "known_future must have at least 8 rows for steps=5, got 7"),
        (lambda f: f.predict(known_future=walk(4, 3)), r"known_future must have 2 column\(s\), as in fit"),
        (lambda f: f.update(walk(3)), "known_new is needed"),
        (lambda f: f.update(walk(3), known_new=walk(2, 2)), "known_new must have at least 3 rows as y has, got 2"),
        (lambda f: f.model_.forecasts(walk(9), known=walk(9, 2)), r"known must have at least 13 rows \(as y has"),
        (lambda f: f.model_.session().step(1.0, known=walk(3, 2)), r"known must have shape \(4, 2\).*\(3, 2\)"),
        (lambda f: f.model_.session().step(1.0), "known is needed"),
    ],
)
def test_what_must_be_known_is_asked_for(call, message):
    forecaster = RNNForecaster(**QUICK, horizon=4).fit(walk(60), known=walk(60, 2, seed=1))
    with pytest.raises(ValueError, match=message):
        call(forecaster)


def test_known_columns_must_cover_y():
    with pytest.raises(ValueError, match="known must have 60 rows or more, as many as y, got 59"):
        RNNForecaster(**QUICK).fit(walk(60), known=walk(59))
    with pytest.raises(ValueError, match="known_future must be None: the model was fitted without known"):
        RNNForecaster(**QUICK).fit(walk(60)).predict(known_future=walk(1))


# ---- recursive ----


def test_recursive_forecasts_are_one_step_fed_back():
    y, known = walk(80), walk(90, 1, seed=1)
    forecaster = RNNForecaster(**QUICK, horizon=5, strategy="recursive").fit(y, known=known)
    model, seen = forecaster.model_, y
    for _ in range(5):
        seen = np.append(seen, model.predict(seen, 1, known=known))
    np.testing.assert_array_equal(forecaster.predict(), seen[80:])
    assert forecaster.forecast_at([60, 70]).shape == (2, 5)
    np.testing.assert_array_equal(forecaster.forecast_at(60), model.predict(y[:61], known=known))
    assert np.isfinite(forecaster.score(walk(10), known_new=walk(10, 1)))


def test_recursive_forecasts_cannot_have_columns_that_nobody_knows():
    with pytest.raises(ValueError, match="X cannot be forecast with strategy='recursive'"):
        RNNForecaster(**QUICK, strategy="recursive").fit(walk(60), walk(60))


# ---- seasonal differences ----


def test_a_season_that_repeats_is_continued():
    pattern = walk(12, 2)
    y = np.tile(pattern, (10, 1)) + np.arange(120)[:, None] // 12  # each period one higher
    forecaster = RNNForecaster(**{**QUICK, "max_epochs": 8, "learning_rate": 0.01}, horizon=15, difference=12).fit(y)
    expected = np.concatenate([pattern + 10, pattern[:3] + 10])  # one period after the latest, or two
    assert np.abs(forecaster.predict() - expected).max() < 1.3
    session = forecaster.model_.session()
    steps = np.stack([session.step(row)[0] for row in y])
    np.testing.assert_array_equal(steps, forecaster.predict_in_sample())


def test_seasonal_differences_beat_the_seasonal_naive_forecast():
    y = 0.02 * np.arange(900) + seasonal(900)
    forecaster = RNNForecaster(window=36, horizon=3, difference=12, cell="gru", random_state=0)
    forecaster.set_params(hidden_size=16, max_epochs=20, learning_rate=5e-3)
    scores = forecaster.backtest(y, initial=700, seasonal_period=12).scores
    assert scores["model"]["MAE"] < 0.9 * scores["seasonal naive"]["MAE"]
    assert scores["model"]["MAE"] < 0.9 * scores["naive"]["MAE"]


# ---- the calendar ----


def test_calendar_features_are_pandas_attributes_on_a_circle():
    pd = pytest.importorskip("pandas")
    index = pd.date_range("2023-12-30 22:40", periods=500, freq="17h13min")
    for name, cycle, first in (
        ("minute", 60, 0), ("hour", 24, 0), ("dayofweek", 7, 0), ("day", 31, 1), ("dayofyear", 366, 1), ("month", 12, 1)
    ):  # fmt: skip
        attribute = {"dayofweek": "day_of_week", "dayofyear": "day_of_year"}.get(name, name)
        angle = 2 * np.pi * (np.asarray(getattr(index, attribute)) - first) / cycle
        np.testing.assert_allclose(
            calendar_features(index.to_numpy(), name), np.stack([np.sin(angle), np.cos(angle)], axis=1), atol=1e-12
        )
    both = calendar_features(index.to_numpy(), ("hour", "month"))
    np.testing.assert_array_equal(both[:, 2:], calendar_features(index.to_numpy(), ["month"]))


@pytest.mark.parametrize(
    "unit, n, features",
    [
        ("m", 60 * 24 * 3, ("minute", "hour")),
        ("h", 24 * 21, ("hour", "dayofweek")),
        ("D", 800, ("dayofweek", "month")),
        ("D", 100, ("dayofweek",)),
        ("M", 60, ("month",)),
        ("Y", 60, ()),
    ],
)
def test_the_automatic_calendar(unit, n, features):
    start = np.datetime64("1990", unit)
    assert useful_features(np.arange(start, start + n)) == features


@pytest.mark.parametrize(
    "times, features, message",
    [
        (np.arange(3), "hour", r"times must be an array \[T\] of datetime64, got int64"),
        (np.array(["2020", "NaT"], "M8[D]"), "hour", r"times\[1\] is NaT"),
        (np.array(["2020"], "M8[D]"), "hours", "calendar must be one of .*'hours'.*did you mean 'hour'"),
        (np.array(["2020"], "M8[D]"), 3, "calendar must be names of calendar features, got 3"),
    ],
)
def test_bad_times_are_named(times, features, message):
    with pytest.raises((ValueError, TypeError), match=message):
        calendar_features(times, features)


def test_calendar_needs_times():
    with pytest.raises(TypeError, match="calendar needs y with a DatetimeIndex or PeriodIndex, got NoneType"):
        RNNForecaster(**QUICK, calendar="hour").fit(walk(60))
    with pytest.raises(ValueError, match=r"calendar must be one of .*'houre'"):
        RNNForecaster(**QUICK, calendar=("hour", "houre")).fit(walk(60))


def test_a_fitted_calendar_needs_no_pandas(tmp_path):
    pd = pytest.importorskip("pandas")
    index = pd.date_range("2024-01-01", periods=24 * 15, freq="h")
    known = walk(24 * 15 + 8, 1, seed=1)
    y = pd.Series(np.where(index.hour == 8, 5.0, 0.0) + 0.1 * walk(len(index)), index)
    forecaster = RNNForecaster(**QUICK, horizon=4, calendar="auto").fit(y, known=known)
    assert forecaster.model_.layout.calendar == ("hour", "dayofweek")
    forecaster.save(tmp_path / "m.safetensors")
    model = lstmcore.load(tmp_path / "m.safetensors")
    times = np.arange(np.datetime64("2024-01-01T00"), np.datetime64("2024-01-01T00") + 24 * 15 + 8)
    ahead = model.known_columns(times, known)
    assert ahead.shape == (len(times), 5)
    np.testing.assert_array_equal(model.predict(y.to_numpy(), 7, known=ahead), forecaster.predict(7).to_numpy())


def test_the_calendar_tells_the_hour():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    index = pd.date_range("2024-01-01", periods=24 * 40, freq="h")
    y = pd.Series(np.where(index.hour == 8, 5.0, 0.0) + 0.1 * rng.standard_normal(len(index)), index)
    options = {"window": 8, "horizon": 2, "hidden_size": 16, "max_epochs": 25, "learning_rate": 1e-2, "random_state": 0}
    told = RNNForecaster(**options, calendar="hour").fit(y[:-240]).score(y[-240:])
    assert told > 0.9
