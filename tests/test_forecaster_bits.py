"""RNNForecaster: the same bits live, in one pass, from a file, and on any number of threads."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from forecasting import QUICK, walk

import lstmcore
from lstmcore import RNNForecaster
from lstmcore.forecasting import ForecasterModel


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
        "assert not {'sklearn', 'scipy', 'matplotlib', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), forecaster.predict(7))


def test_an_interrupted_fit_goes_on_to_the_same_bits(tmp_path):
    y, path = walk(200), tmp_path / "checkpoint.safetensors"
    options = {**QUICK, "horizon": 3, "early_stopping": True, "max_epochs": 6}
    whole = RNNForecaster(**options).fit(y)

    class Interrupted(Exception):
        pass

    def interrupt(trainer):
        if trainer.epoch == 3:
            raise Interrupted

    callbacks = [lstmcore.callbacks.Checkpoint(path), interrupt]
    with pytest.raises(Interrupted):
        RNNForecaster(**options, callbacks=callbacks).fit(y)
    resumed = RNNForecaster(**options).fit(y, resume_from=path)
    assert resumed.n_iter_ == 6
    np.testing.assert_array_equal(resumed.predict(7), whole.predict(7))
