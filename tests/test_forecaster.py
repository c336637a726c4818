"""RNNForecaster: that it learns, that live and batch forecasts are the same bits, and that bad input is named."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

import lstmcore
from lstmcore import RNNForecaster
from lstmcore._series import Frame
from lstmcore.estimators._split import windows_of
from lstmcore.forecasting import ForecasterModel

QUICK = {"window": 12, "hidden_size": 8, "max_epochs": 3, "random_state": 0}


def walk(n_rows: int, n_columns: int | None = None, seed: int = 0) -> np.ndarray:
    shape = (n_rows,) if n_columns is None else (n_rows, n_columns)
    return np.random.default_rng(seed).standard_normal(shape).cumsum(axis=0)


def seasonal(n_rows: int, seed: int = 0) -> np.ndarray:
    """Period 12, first-order autoregressive noise around it."""
    rng = np.random.default_rng(seed)
    noise = np.zeros(n_rows)
    for t in range(1, n_rows):
        noise[t] = 0.7 * noise[t - 1] + 0.3 * rng.standard_normal()
    return 5 + 2 * np.sin(2 * np.pi * np.arange(n_rows) / 12) + noise


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


# ---- the same bits ----


@pytest.mark.parametrize("cell", lstmcore.cells())
@pytest.mark.parametrize("options", [{}, {"difference": True}, {"difference": True, "scale_halflife": 5.0}])
def test_live_forecasts_have_the_bits_of_the_batch(cell, options):
    y, X = walk(150, 3), walk(150, 2, seed=1)
    forecaster = RNNForecaster(**QUICK, cell=cell, horizon=4, quantiles=(0.2, 0.5), num_layers=2, **options)
    model = forecaster.fit(y[:100], X[:100]).model_
    batch = model.forecasts(y, X)
    assert batch.shape == (150, 4, 3, 2)
    session = model.session()
    steps = [session.step(y[t], X[t])[0] for t in range(150)]
    np.testing.assert_array_equal(np.stack(steps), batch)
    session.reset()
    pieces = [session.advance(y[a:b], X[a:b])[:, 0] for a, b in ((0, 1), (1, 70), (70, 150))]
    np.testing.assert_array_equal(np.concatenate(pieces), batch)


def test_streams_do_not_touch_each_other():
    y = np.stack([walk(40, seed=s) for s in range(3)], axis=1)  # three series of one target
    options = {"difference": True, "scale_halflife": 5.0}
    model = RNNForecaster(**QUICK, **options, horizon=2).fit(walk(100)).model_
    session = model.session(n_streams=3)
    together = np.stack([session.step(now) for now in y])
    alone = np.stack([model.forecasts(column) for column in y.T], axis=1)
    np.testing.assert_array_equal(together, alone)
    assert session.forecast(7).shape == (3, 7)
    np.testing.assert_array_equal(session.forecast(7)[1], model.predict(y[:, 1], 7))


def test_a_reused_buffer_does_not_reach_what_was_observed():
    y = walk(60, 2)
    given = y.copy()
    forecaster = RNNForecaster(**QUICK, difference=True, scale_halflife=5.0).fit(given)
    before = forecaster.predict()
    given[:] = 99.0
    np.testing.assert_array_equal(forecaster.predict(3)[:1], before)
    np.testing.assert_array_equal(forecaster.y_, y)
    session, buffer = forecaster.model_.session(), np.empty((1, 2))
    for now in y:
        buffer[:] = now
        forecast = session.step(buffer)
    np.testing.assert_array_equal(forecast[0], before)
    session.reset([0])
    np.testing.assert_array_equal(buffer, y[-1:])


def test_some_streams_start_anew():
    y = walk(20)
    model = RNNForecaster(**QUICK, difference=True, scale_halflife=5.0, horizon=2).fit(walk(100)).model_
    session = model.session(n_streams=3)
    for now in y:
        session.step(np.full(3, now))
    session.reset([1])
    np.testing.assert_array_equal(session.n_steps, [20, 0, 20])
    for now in y[:5]:
        forecasts = session.step(np.full(3, now))
    np.testing.assert_array_equal(forecasts[1], model.predict(y[:5]))
    np.testing.assert_array_equal(forecasts[2], model.predict(np.concatenate([y, y[:5]])))


def test_update_carries_the_state_on():
    y = walk(130, 2)
    whole = RNNForecaster(**QUICK, horizon=3).fit(y[:100])
    pieces = RNNForecaster(**QUICK, horizon=3).fit(y[:100])
    before = whole.predict()
    np.testing.assert_array_equal(whole.update(y[100:]).predict(), pieces.update(y[100:117]).update(y[117:]).predict())
    assert not np.array_equal(before, whole.predict())
    np.testing.assert_array_equal(whole.y_, y)
    np.testing.assert_array_equal(whole.predict(), whole.model_.predict(y))
    np.testing.assert_array_equal(whole.predict(), whole.forecast_at(-1))
    np.testing.assert_array_equal(before, whole.forecast_at(99))
    np.testing.assert_array_equal(whole.forecast_at([99, -1]), np.stack([before, whole.predict()]))


def test_a_forecast_does_not_know_what_comes_after():
    y = walk(140)
    forecaster = RNNForecaster(**QUICK, horizon=2, difference=True, scale_halflife=4.0).fit(y)
    changed = y.copy()
    changed[90:] += 5
    np.testing.assert_array_equal(forecaster.model_.forecasts(changed)[:90], forecaster.predict_in_sample()[:90])


def test_seeded_fit_is_repeatable_on_any_number_of_threads():
    y = walk(300, 2)
    results = []
    for n_threads in (1, 2, 3):
        lstmcore.set_num_threads(n_threads)
        try:
            results.append(RNNForecaster(**QUICK, horizon=3).fit(y).predict())
        finally:
            lstmcore.set_num_threads(0)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    other = RNNForecaster(**{**QUICK, "random_state": 1}, horizon=3).fit(y).predict()
    assert not np.array_equal(results[0], other)


def test_saved_and_pickled_forecasters_give_the_same_bits(tmp_path):
    y, X = walk(120, 2), walk(120, 1, seed=1)
    options = {"difference": True, "scale_halflife": 6.0, "quantiles": (0.1, 0.5, 0.9)}
    forecaster = RNNForecaster(**QUICK, horizon=3, **options).fit(y, X)
    path = tmp_path / "model.safetensors"
    forecaster.save(path)
    model = lstmcore.load(path)
    assert isinstance(model, ForecasterModel)
    np.testing.assert_array_equal(model.predict(y, X=X), forecaster.predict())
    np.testing.assert_array_equal(model.forecasts(y, X), forecaster.predict_in_sample())
    future = walk(6, 1, seed=2)
    again = pickle.loads(pickle.dumps(forecaster))
    np.testing.assert_array_equal(again.predict(8, future), forecaster.predict(8, future))
    again.update(y[:5], X[:5])
    assert len(forecaster.y_) == 120


def test_loading_needs_no_scikit_learn(tmp_path):
    y = walk(80)
    forecaster = RNNForecaster(**QUICK, horizon=3).fit(y)
    forecaster.save(tmp_path / "m.safetensors")
    np.save(tmp_path / "y.npy", y)
    code = (
        "import sys, numpy as np, lstmcore\n"
        "model = lstmcore.load('m.safetensors')\n"
        "np.save('p.npy', model.predict(np.load('y.npy'), 7))\n"
        "assert not {'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), forecaster.predict(7))


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
    np.testing.assert_allclose(state.mean_square[0], mean, rtol=1e-12)
    np.testing.assert_array_equal(frame.unit(state), seen.unit[-1])
    np.testing.assert_array_equal(seen.base[:, 0], np.repeat(y[:, None], 3, axis=1))


# ---- bad input ----


@pytest.mark.parametrize(
    "options, message",
    [
        ({"window": 1}, "window must be at least 2, got 1"),
        ({"window": 2.5}, "window must be an integer, got 2.5"),
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
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
