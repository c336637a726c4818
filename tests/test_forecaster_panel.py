"""RNNForecaster of several series: one model, each series at its own scale."""

from __future__ import annotations

import numpy as np
import pytest
from forecasting import QUICK, seasonal, walk

import lstmcore
from lstmcore import RNNForecaster
from lstmcore._series import Frame, Lesson


def family(n: int = 3) -> dict[str, np.ndarray]:
    """Seasonal series of different lengths, levels and sizes."""
    return {f"shop {i}": 10.0**i * (seasonal(150 + 20 * i, seed=i) + 3 * i) for i in range(n)}


@pytest.mark.parametrize("period", [0, 1, 5])
def test_lessons_are_what_plain_loops_make_of_a_series(period):
    y, horizon = walk(40, 2), 7
    frame = Frame(period, None)
    centre, size = frame.measure(y)
    lesson = Lesson.of(y, None, frame, horizon, frame.measure(y))
    origins = range(max(period - 1, 0), 40 - horizon)
    for row, answer, t in zip(lesson.rows, lesson.answers, origins, strict=True):
        if period == 0:
            np.testing.assert_allclose(centre, y.mean(axis=0))
            np.testing.assert_allclose(size, y.std(axis=0))
            np.testing.assert_allclose(row, (y[t] - y.mean(axis=0)) / size)
        else:
            np.testing.assert_allclose(size, np.sqrt(np.mean((y[period:] - y[:-period]) ** 2, axis=0)))
            np.testing.assert_allclose(row[:2], (y[t] - y[t - period if t >= period else 0]) / size)
            np.testing.assert_allclose(row[2:], [] if period == 1 else (y[t] - y[t - 1]) / size)
        for k in range(1, horizon + 1):
            base = centre if period == 0 else next(y[b] for b in range(t + k - period, -1, -period) if b <= t)
            np.testing.assert_allclose(answer.reshape(horizon, 2)[k - 1], (y[t + k] - base) / size, atol=1e-12)


def test_one_model_learns_series_of_all_sizes():
    y = family()
    forecaster = RNNForecaster(window=36, horizon=4, hidden_size=16, max_epochs=25, learning_rate=5e-3, random_state=0)
    forecaster.fit({key: each[:-40] for key, each in y.items()})
    assert forecaster.score({key: each[-40:] for key, each in y.items()}) > 0.6
    for key, forecast in forecaster.predict().items():
        assert np.abs(forecast - y[key][-40:-36]).max() < y[key].std()


def test_one_series_in_a_list_has_the_bits_of_one_alone():
    y = walk(80, 2)
    alone = RNNForecaster(**QUICK, horizon=3, quantiles=(0.1, 0.9)).fit(y)
    listed = RNNForecaster(**QUICK, horizon=3, quantiles=(0.1, 0.9)).fit([y])
    np.testing.assert_array_equal(listed.predict(7)[0], alone.predict(7))
    np.testing.assert_array_equal(listed.y_[0], y)


@pytest.mark.parametrize("options", [{}, {"difference": 6}, {"difference": True, "scale_halflife": 5.0}])
def test_lists_dicts_models_and_sessions_agree_to_the_bit(options, tmp_path):
    y = family()
    by_name = RNNForecaster(**QUICK, horizon=4, **options).fit(y)
    listed = RNNForecaster(**QUICK, horizon=4, **options).fit(list(y.values()))
    forecasts = by_name.predict(6)
    assert list(forecasts) == list(y)
    by_name.save(tmp_path / "panel.safetensors")
    model = lstmcore.load(tmp_path / "panel.safetensors")
    session = model.session(n_streams=3)
    in_sample = session.advance(list(y.values()))
    for i, key in enumerate(y):
        np.testing.assert_array_equal(listed.predict(6)[i], forecasts[key])
        np.testing.assert_array_equal(model.predict(y[key], 6), forecasts[key])
        np.testing.assert_array_equal(session.forecast(6)[i], forecasts[key])
        np.testing.assert_array_equal(by_name.predict_in_sample()[key], in_sample[i])
        np.testing.assert_array_equal(by_name.forecast_at(-1)[key], forecasts[key][:4])


def test_streams_go_on_from_histories_of_different_lengths():
    y = family()
    forecaster = RNNForecaster(**QUICK, horizon=2, difference=True, scale_halflife=5.0)
    forecaster.fit({key: each[:-5] for key, each in y.items()})
    session = forecaster.model_.session(n_streams=3)
    session.advance([each[:-5] for each in y.values()])
    steps = np.stack([session.step([each[t] for each in y.values()]) for t in range(-5, 0)])
    forecaster.update({key: each[-5:] for key, each in y.items()})
    for i, forecast in enumerate(forecaster.predict().values()):
        np.testing.assert_array_equal(steps[-1, i], forecast)
        assert len(forecaster.y_[f"shop {i}"]) == session.n_steps[i]


def test_a_series_that_no_fit_saw_is_brought_to_scale():
    y = family()
    model = RNNForecaster(**QUICK, horizon=3).fit(y).model_
    new = 1e6 * y["shop 0"]
    np.testing.assert_allclose(model.predict(new), 1e6 * model.predict(y["shop 0"]), rtol=1e-5)
    with pytest.raises(ValueError, match="y must come through advance first"):
        model.session().step(1.0)
    with pytest.raises(ValueError, match="y must have at least 2 rows to take its scale from, got 1"):
        model.session().advance([1.0])


def test_columns_beside_several_series():
    y = family()
    X = {key: walk(len(each), 2, seed=9) for key, each in y.items()}
    known = {key: walk(len(each) + 3, 1, seed=8) for key, each in y.items()}
    forecaster = RNNForecaster(**QUICK, horizon=3).fit(y, X, known)
    for key, forecast in forecaster.predict().items():
        alone = forecaster.model_.predict(y[key], X=X[key], known=known[key])
        np.testing.assert_array_equal(alone, forecast)
    future = {key: walk(6, 1, seed=7) for key in y}
    beyond = {key: walk(3, 2, seed=6) for key in y}
    together = forecaster.predict(6, beyond, future)
    for key in y:
        joined = np.concatenate([known[key][:-3], future[key]])
        np.testing.assert_array_equal(
            forecaster.model_.predict(y[key], 6, X[key], beyond[key], known=joined), together[key]
        )


@pytest.mark.parametrize(
    "y, X, message",
    [
        ({}, None, r"y must hold at least one series, got \{\}"),
        ([walk(30), walk(9)], None, r"y\[1\] has 9 rows, but window=12 and horizon=1 need at least 13"),
        ({"a": walk(30), "b": np.r_[walk(30), np.nan]}, None, r"y\['b'\]\[30\] is nan"),
        ([walk(30), walk(30, 1)], None, r"y must hold series that are all \[T\] or all \[T, n_targets\]"),
        ([walk(30, 2), walk(30, 3)], None, r"y\[1\] must have 2 column\(s\)"),
        ({"a": walk(30)}, {"b": walk(30)}, r"X must be a dict with the keys of y, \['a'\], got keys \['b'\]"),
        ([walk(30)], walk(30), "X must be a list of 1 arrays, one for each series of y, got ndarray"),
        ([walk(30)] * 2, [walk(30), walk(29)], r"X\[1\] must have 30 rows, as many as y, got 29"),
    ],
)
def test_bad_panels_are_named(y, X, message):
    with pytest.raises((ValueError, TypeError), match=message):
        RNNForecaster(**QUICK).fit(y, X)


def test_bad_updates_of_panels_are_named():
    forecaster = RNNForecaster(**QUICK).fit([walk(30), walk(40)])
    before = forecaster.predict()
    with pytest.raises(ValueError, match=r"y_new must be a list of 2 arrays, one for each series of y, got 1"):
        forecaster.update([walk(3)])
    with pytest.raises(ValueError, match=r"y_new\[1\]\[0\] is nan"):
        forecaster.update([walk(3), np.array([np.nan])])
    np.testing.assert_array_equal(forecaster.predict(), before)
