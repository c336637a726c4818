"""Intervals of RNNForecaster, and backtests, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from forecasting import QUICK, seasonal, walk
from sklearn.base import clone

import lstmcore
from lstmcore import RNNForecaster
from lstmcore._conformal import Calibration
from lstmcore._layout import Layout
from lstmcore._panel import Record
from lstmcore.estimators._split import Split

# ---- conformal intervals ----


def test_intervals_have_the_ranks_of_split_conformal_prediction():
    rng = np.random.default_rng(0)
    outcomes, forecasts, units = (
        rng.standard_normal((59, 3, 2)),
        rng.standard_normal((59, 3, 2, 1)),
        np.full((59, 2), 2.0),
    )
    calibration = Calibration.fit(outcomes, forecasts, units)
    now, unit = rng.standard_normal((1, 3, 2, 1)), np.array([[0.5, 3.0]])
    ends = calibration.interval(now, unit, 0.9, None)
    for k in range(3):
        for j in range(2):
            errors = sorted((outcomes[:, k, j] - forecasts[:, k, j, 0]) / 2.0)
            lower, upper = errors[3 - 1], errors[57 - 1]  # ranks 60 · 0.05 and 60 · 0.95
            np.testing.assert_allclose(ends[0, k, j], now[0, k, j, 0] + unit[0, j] * np.array([lower, upper]))


def test_conformal_coverage_is_exact_where_errors_are_exchangeable():
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(2000):
        errors = rng.exponential(size=(40, 1, 1))
        zero = np.zeros((40, 1, 1, 1))
        lower, upper = Calibration.fit(errors[:39], zero[:39], np.ones((39, 1))).interval(
            zero[:1], np.ones((1, 1)), 0.8, None
        )[0, 0, 0]
        inside.append(lower <= errors[39, 0, 0] <= upper)
    assert abs(np.mean(inside) - 0.8) < 0.03  # standard error 0.009


@pytest.mark.parametrize("quantiles", [None, (0.1, 0.5, 0.9)])
@pytest.mark.parametrize("difference", [False, True])
def test_intervals_cover_what_they_say(quantiles, difference):
    rng = np.random.default_rng(0)
    y = 50 + (rng.standard_normal(4000).cumsum() if difference else rng.gumbel(size=4000))
    forecaster = RNNForecaster(**QUICK, horizon=3, quantiles=quantiles, difference=difference, calibration_fraction=0.3)
    result = forecaster.backtest(y, initial=2500, coverage=0.8)
    assert abs(result.scores["model"]["coverage"] - 0.8) < 0.05
    assert result.intervals.shape == (1498, 3, 2)
    inside = (result.intervals[..., 0] <= result.truth) & (result.truth <= result.intervals[..., 1])
    assert result.scores["model"]["coverage"] == pytest.approx(inside.mean())
    assert result.scores["model"]["width"] == pytest.approx(np.diff(result.intervals, axis=-1).mean())


def test_intervals_are_nested_never_cross_and_are_saved(tmp_path):
    y = [walk(300, 2), 100 * walk(200, 2, seed=1)]
    forecaster = RNNForecaster(**QUICK, horizon=3, quantiles=(0.2, 0.5, 0.7), calibration_fraction=0.4).fit(y)
    narrow, wide = forecaster.predict_interval(coverage=0.5), forecaster.predict_interval(coverage=0.9)
    for less, more in zip(narrow, wide, strict=True):
        assert less.shape == (3, 2, 2)
        assert (less[..., 0] <= less[..., 1]).all()
        assert (np.diff(more, axis=-1) >= np.diff(less, axis=-1)).all()
    forecaster.save(tmp_path / "m.safetensors")
    model = lstmcore.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(model.predict_interval(y[1], coverage=0.9), wide[1])
    np.testing.assert_array_equal(forecaster.predict_interval(2, coverage=0.9), [each[:2] for each in wide])


def test_recursive_forecasts_have_intervals_that_grow():
    options = {**QUICK, "horizon": 6, "difference": True, "calibration_fraction": 0.5}
    forecaster = RNNForecaster(**options, strategy="recursive").fit(walk(400))
    width = np.diff(forecaster.predict_interval(), axis=-1)[:, 0]
    assert width.shape == (6,)
    assert width[-1] > 1.5 * width[0]  # √6 of a random walk


def test_quantiles_are_intervals_too():
    forecaster = RNNForecaster(**QUICK, quantiles=(0.05, 0.5, 0.95)).fit(walk(60))
    np.testing.assert_array_equal(forecaster.predict_interval(4), forecaster.predict(4)[:, [0, 2]])
    with pytest.raises(ValueError, match=r"coverage=0\.8 needs calibration_fraction .* or quantiles 0\.1 and 0\.9"):
        forecaster.predict_interval(coverage=0.8)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda f: f.predict_interval(coverage=1.0), r"coverage must lie between 0 and 1, got 1\.0"),
        (lambda f: f.predict_interval(coverage="0.9"), "coverage must be a number, got '0.9'"),
        (lambda f: f.predict_interval(3), "steps must be at most 2, which intervals are made for, got 3"),
        (
            lambda f: f.predict_interval(coverage=0.99),
            r"coverage=0\.99 needs 199 errors .* there are 29",
        ),
    ],
)
def test_bad_intervals_are_named(call, message):
    forecaster = RNNForecaster(**QUICK, horizon=2, calibration_fraction=0.5).fit(walk(60))
    with pytest.raises((ValueError, TypeError), match=message):
        call(forecaster)


@pytest.mark.parametrize("horizon, steps", [(1, 1), (4, 4), (1, 6)])
@pytest.mark.parametrize("fractions", [(None, None), (0.2, None), (None, 0.3), (0.2, 0.3)])
def test_no_part_learns_from_outcomes_of_another(horizon, steps, fractions):
    n_rows, warm_up = 100, 3
    split = Split.of(Record(None, np.zeros((n_rows, 1))), Layout(horizon, steps, 1), 10, warm_up, *fractions)
    train, validation = ({t + warm_up for t in part} for part in (split.train, split.validation))
    parts = [(train, horizon), (validation, horizon), (set(split.calibration), steps)]
    outcomes = [{t + k for t in part for k in range(1, reach + 1)} for part, reach in parts]
    for earlier, later in ((0, 1), (0, 2), (1, 2)):
        assert not outcomes[earlier] & outcomes[later]
    assert max(set().union(*outcomes)) == n_rows - 1
    assert len(split.validation) == (0 if fractions[0] is None else round(0.2 * (max(validation) + 1 - warm_up)))
    assert len(split.calibration) == (0 if fractions[1] is None else round(0.3 * (100 - steps - warm_up)))


# ---- backtests ----


@pytest.mark.parametrize("difference", [False, True, 12])
@pytest.mark.parametrize("several", [False, True])
def test_nothing_held_out_has_a_part_in_the_model(several, difference):
    """Whatever happened in the calibration part: the same parameters and the same scales, bit for bit."""
    y = seasonal(200)
    other = y.copy()
    other[165:] = 1e4 + 100 * walk(35)  # the last outcome that a seasonal model learns from is row 161
    models = []
    for series in (y, other):
        forecaster = RNNForecaster(**QUICK, difference=difference, calibration_fraction=0.2)
        models.append(forecaster.fit([series, walk(150)] if several else series).model_)
    assert models[0].network.flat_parameters.tobytes() == models[1].network.flat_parameters.tobytes()
    for name in ("frame", "inputs", "outputs"):
        assert models[0]._task_config()[name] == models[1]._task_config()[name]
    assert not np.array_equal(models[0].calibration.errors, models[1].calibration.errors)


def test_a_backtest_is_a_loop_of_fits_and_forecasts():
    y, X, known = walk(120), walk(120, 1, seed=1), walk(120, 2, seed=2)
    forecaster = RNNForecaster(**QUICK, horizon=3, quantiles=(0.1, 0.5, 0.9), difference=True)
    result = forecaster.backtest(y, X, known, initial=90, step=4, refit=10)
    np.testing.assert_array_equal(result.origins, [*range(89, 117, 4)])
    assert not hasattr(forecaster, "model_")
    for origin, forecast, truth in zip(result.origins, result.forecasts, result.truth, strict=True):
        stop = 90 + (origin - 89) // 10 * 10
        model = clone(forecaster).fit(y[:stop], X[:stop], known[:stop]).model_
        now = slice(0, origin + 1)
        np.testing.assert_array_equal(forecast, model.predict(y[now], None, X[now], known=known[: origin + 4]))
        np.testing.assert_array_equal(truth, y[origin + 1 : origin + 4])


def test_a_backtest_of_recursive_forecasts():
    y = walk(110)
    forecaster = RNNForecaster(**QUICK, horizon=4, strategy="recursive")
    result = forecaster.backtest(y, initial=100)
    model = forecaster.fit(y[:100]).model_
    for origin, forecast in zip(result.origins, result.forecasts, strict=True):
        np.testing.assert_array_equal(forecast, model.predict(y[: origin + 1]))


def test_scores_are_those_of_plain_loops():
    y = {"a": seasonal(100), "b": 10 * seasonal(130, seed=1)}
    forecaster = RNNForecaster(**QUICK, horizon=14, quantiles=(0.25, 0.5))
    result = forecaster.backtest(y, initial=0.8, step=2, seasonal_period=12)
    errors = {"model": [], "naive": [], "seasonal naive": []}
    relative, pinball = {rule: [] for rule in errors}, []
    for key, values in y.items():
        first = round(0.8 * len(values))
        scale = np.mean([abs(values[t] - values[t - 12]) for t in range(12, first)])
        mine = {rule: [] for rule in errors}
        for i, origin in enumerate(range(first - 1, len(values) - 14, 2)):
            for k in range(1, 15):
                truth, forecast = values[origin + k], result.forecasts[key][i, k - 1]
                pinball += [
                    max(q * (truth - f), (q - 1) * (truth - f)) for q, f in zip((0.25, 0.5), forecast, strict=True)
                ]
                back = origin + k
                while back > origin:
                    back -= 12
                for rule, point in (
                    ("model", forecast[1]),
                    ("naive", values[origin]),
                    ("seasonal naive", values[back]),
                ):
                    mine[rule].append(truth - point)
        for rule, found in mine.items():
            errors[rule] += found
            relative[rule].append(np.mean(np.abs(found)) / scale)
    for rule, found in errors.items():
        scores = result.scores[rule]
        assert scores["MAE"] == pytest.approx(np.mean(np.abs(found)))
        assert scores["RMSE"] == pytest.approx(np.sqrt(np.mean(np.square(found))))
        assert scores["MASE"] == pytest.approx(np.mean(relative[rule]))
    assert result.scores["model"]["pinball"] == pytest.approx(np.mean(pinball))
    table = str(result).splitlines()
    assert table[0].split() == ["MAE", "RMSE", "MASE", "pinball"]
    assert [line[:16].strip() for line in table[1:]] == list(errors)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"initial": 1.5}, "initial must be a number of rows, or a share between 0 and 1, got 1.5"),
        ({"initial": 0}, "initial must be at least 1, got 0"),
        ({"initial": 59}, "initial=59 leaves 1 of 60 rows of y, fewer than horizon=2"),
        ({"step": 0}, "step must be at least 1, got 0"),
        ({"refit": 0}, "refit must be at least 1, got 0"),
        ({"seasonal_period": 1.5}, "seasonal_period must be an integer, got 1.5"),
        ({"coverage": 2.0}, "coverage must lie between 0 and 1, got 2.0"),
    ],
)
def test_bad_backtests_are_named(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        RNNForecaster(**QUICK, horizon=2).backtest(walk(60), **options)
