"""RNNForecaster(cell="tdnn"): time-delay and NARX networks, trained on true lags, forecasting on their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from forecasting import seasonal, walk

import lstmcore
from lstmcore.forecasting import ForecasterModel

pytest.importorskip("sklearn")

from lstmcore import RNNForecaster

QUICK: dict[str, Any] = {"window": 16, "hidden_size": 8, "max_epochs": 3, "random_state": 0, "cell": "tdnn"}


def arx(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """y_t = 0.6 y_{t-1} - 0.3 y_{t-2} + u_t + 0.5 u_{t-1} + noise, and u, one row longer."""
    rng = np.random.default_rng(0)
    u, y = rng.standard_normal(n_rows + 1), np.zeros(n_rows)
    for t in range(2, n_rows):
        y[t] = 0.6 * y[t - 1] - 0.3 * y[t - 2] + u[t] + 0.5 * u[t - 1] + 0.2 * rng.standard_normal()
    return 10 + y, u[:, None]


def network_answers(model: ForecasterModel, rows: np.ndarray) -> np.ndarray:
    """What a one-layer network says of rows [T, I] of its inputs, latest last, all of it in float64."""
    parameters = {name: value.astype(np.float64) for name, value in model.network.parameters.items()}
    weight, delays = parameters["recurrent.weight_ih_l0"], model.network.recurrent.delays
    rows = (rows - model.scaling.inputs.mean) / model.scaling.inputs.scale
    a = sum(weight[:, k] @ rows[-1 - d] for k, d in enumerate(delays)) + parameters["recurrent.bias_ih_l0"]
    answer = parameters["dense.weight"] @ np.tanh(a) + parameters["dense.bias"]
    return answer * model.scaling.outputs.scale + model.scaling.outputs.mean


def test_a_linear_network_finds_the_least_squares_solution() -> None:
    y, u = arx(202)
    window = len(y) - 1  # one window: every row counts once
    forecaster = RNNForecaster(
        window=window,
        cell="tdnn_linear",
        delays=2,
        strategy="recursive",
        hidden_size=4,
        max_epochs=1500,
        learning_rate=2e-2,
        schedule="cosine",
        clip_norm=None,
        random_state=0,
    )
    forecaster.fit(y, known=u)
    # y_{t+1} on 1, y_t, y_{t-1}, u_{t+1}, u_t: lags that are true, none of them the zeros before the first row
    t = np.arange(1, window)
    lags = np.stack([np.ones(len(t)), y[t], y[t - 1], u[t + 1, 0], u[t, 0]], axis=1)
    solution, *_ = np.linalg.lstsq(lags, y[t + 1], rcond=None)
    np.testing.assert_allclose(forecaster.predict_in_sample()[1:window, 0], lags @ solution, atol=2e-4)
    # On its own: the recursion with these coefficients.
    future = np.concatenate([u[len(y) - 1 :], np.zeros((4, 1))])[:, 0]
    path = list(y[-2:])
    for k in range(5):
        path.append(solution @ [1, path[-1], path[-2], future[k + 1], future[k]])
    np.testing.assert_allclose(forecaster.predict(5, known_future=future[1:]), path[2:], atol=1e-3)


@pytest.mark.parametrize("difference", [False, True])
def test_recursion_is_the_loop_by_hand(difference: bool) -> None:
    y, known = walk(120), walk(140, 1, seed=1)
    forecaster = RNNForecaster(**QUICK, strategy="recursive", horizon=8, delays=(0, 1, 4), difference=difference)
    forecaster.fit(y, known=known)
    model, path = forecaster.model_, list(y)
    scale = model.scaling.frame.scale
    for _ in range(8):
        now = np.array(path)
        seen = np.diff(now, prepend=now[0]) / scale.size if difference else (now - scale.centre) / scale.size
        rows = np.stack([seen, known[1 : len(now) + 1, 0]], axis=1)
        answer = network_answers(model, rows)[0] * scale.size[0]
        path.append(answer + (now[-1] if difference else scale.centre[0]))
    np.testing.assert_allclose(forecaster.predict(), path[len(y) :], rtol=1e-5, atol=1e-5)


def test_validation_begins_with_true_lags() -> None:
    y = walk(200)
    forecaster = RNNForecaster(**QUICK, delays=12, early_stopping=True, validation_fraction=0.25).fit(y)
    origins = np.arange(149, 199)  # the last quarter of those with an outcome
    scaling = forecaster.model_.scaling
    errors = (forecaster.predict_in_sample()[origins, 0] - y[origins + 1]) / scaling.frame.scale.size
    expected = np.mean((errors / scaling.outputs.scale) ** 2)
    np.testing.assert_allclose(min(forecaster.validation_loss_curve_), expected, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"strategy": "recursive"}, {"num_layers": 2, "delays": (0, 3, 5)}])
@pytest.mark.parametrize("difference", [False, True])
def test_live_forecasts_have_the_bits_of_the_batch(options: dict[str, Any], difference: bool, tmp_path: Any) -> None:
    y, known = walk(120, 2), walk(130, 1, seed=1)
    forecaster = RNNForecaster(**{**QUICK, **options}, horizon=3, difference=difference, quantiles=(0.2, 0.5, 0.8))
    forecaster.fit(y[:100], known=known[:103])
    forecaster.save(tmp_path / "narx.safetensors")
    model = lstmcore.load(tmp_path / "narx.safetensors")
    reach = model.layout.horizon
    batch = model.forecasts(y, known=known[: 120 + reach])
    session = model.session()
    steps = [session.step(y[t], known=known[t + 1 : t + 1 + reach])[0] for t in range(120)]
    np.testing.assert_array_equal(np.stack(steps), batch)
    future = known[120:123]
    np.testing.assert_array_equal(session.forecast(3, known_future=future)[0], model.predict(y, 3, known=known[:123]))
    forecaster.update(y[100:], known_new=known[100:])
    np.testing.assert_array_equal(forecaster.predict(3), model.predict(y, 3, known=known[:123]))


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
def test_intervals_backtests_panels_and_calendars(strategy: str) -> None:
    pd = pytest.importorskip("pandas")
    y = pd.Series(seasonal(260), index=pd.date_range("2000-01-01", periods=260, freq="MS"))
    options = {**QUICK, "delays": 12, "window": 36, "max_epochs": 20, "learning_rate": 1e-2, "strategy": strategy}
    forecaster = RNNForecaster(**options, horizon=4, calendar=("month",), calibration_fraction=0.2)
    result = forecaster.backtest(y, initial=200, seasonal_period=12, coverage=0.8)
    assert result.scores["model"]["MAE"] < 0.7 * result.scores["naive"]["MAE"]
    forecaster.fit({"a": y, "b": 3 * y[20:]})
    ends = forecaster.predict_interval(coverage=0.8)
    assert (ends["b"]["lower"] < ends["b"]["upper"]).all() and ends["a"].index[0] == pd.Timestamp("2021-09-01")
    early = RNNForecaster(**options, early_stopping=True).fit(y.to_numpy())
    assert early.score(seasonal(320)[260:]) > 0.3


def test_the_lags_must_fit_into_the_window() -> None:
    forecaster = RNNForecaster(**{**QUICK, "delays": (0, 8), "num_layers": 2})
    with pytest.raises(ValueError, match=r"window must be above 16, .*delays=\(0, 8\) and num_layers=2.*, got 16"):
        forecaster.fit(walk(100))
    with pytest.raises(ValueError, match=r"delays\[1\] must be at least 0, got -8"):
        RNNForecaster(**{**QUICK, "delays": (0, -8)}).fit(walk(100))
    with pytest.raises(
        ValueError, match=r"zoneout must be 0\.0 for cell 'tdnn_tanh', which has no such option, got 0.5"
    ):
        RNNForecaster(**QUICK, zoneout=0.5).fit(walk(100))
    with pytest.raises(ValueError, match="delays must be None for cell 'gru', which has no delays, got 100"):
        RNNForecaster(**{**QUICK, "cell": "gru", "delays": 100}).fit(walk(100))
