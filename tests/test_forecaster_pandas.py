"""RNNForecaster on pandas objects: the index goes on."""

from __future__ import annotations

import numpy as np
import pytest
from forecasting import QUICK, walk

import lstmcore
from lstmcore import RNNForecaster, series_from_frame

pd = pytest.importorskip("pandas")


@pytest.mark.parametrize(
    "index",
    [
        pd.date_range("2024-01-01", periods=65, freq="D"),
        pd.date_range("2024-03-29", periods=65, freq="h", tz="Europe/Paris"),
        pd.date_range("2019-01-31", periods=65, freq="ME"),
        pd.date_range("2024-01-01", periods=65, freq="B"),
        pd.DatetimeIndex(np.arange("2024-01-01", "2024-03-06", dtype="M8[D]")),  # its frequency is to be inferred
        pd.period_range("2019-01", periods=65, freq="M"),
        pd.RangeIndex(3, 133, 2),
    ],
    ids=lambda index: f"{type(index).__name__}-{getattr(index, 'freqstr', None)}",
)
def test_series_in_series_out(index):
    values = walk(60)
    y = pd.Series(values, index[:60], name="load")
    forecaster = RNNForecaster(**QUICK, horizon=3).fit(y[:50])
    forecast = forecaster.predict(5)
    assert isinstance(forecast, pd.Series)
    assert forecast.name == "load"
    assert forecast.index.equals(index[50:55])
    plain = RNNForecaster(**QUICK, horizon=3).fit(values[:50])
    np.testing.assert_array_equal(forecast.to_numpy(), plain.predict(5))
    forecaster.update(y[50:51]).update(y[51:])
    assert forecaster.index_.equals(index[:60])
    assert forecaster.predict().index.equals(index[60:63])
    np.testing.assert_array_equal(forecaster.predict().to_numpy(), plain.update(values[50:]).predict())


def test_frames_have_the_names_of_targets_and_quantiles():
    index = pd.date_range("2024-01-01", periods=60, freq="D")
    y = pd.DataFrame(walk(60, 2), index, columns=["a", "b"])
    points = RNNForecaster(**QUICK, horizon=3).fit(y).predict()
    assert list(points.columns) == ["a", "b"]
    forecaster = RNNForecaster(**QUICK, horizon=3, quantiles=(0.1, 0.5), calibration_fraction=0.5).fit(y)
    assert forecaster.predict().columns.tolist() == [("a", 0.1), ("a", 0.5), ("b", 0.1), ("b", 0.5)]
    plain = RNNForecaster(**QUICK, horizon=3, quantiles=(0.1, 0.5), calibration_fraction=0.5).fit(y.to_numpy())
    np.testing.assert_array_equal(forecaster.predict()["b"].to_numpy(), plain.predict()[:, 1])
    ends = forecaster.predict_interval(coverage=0.5)
    np.testing.assert_array_equal(ends["b"]["upper"].to_numpy(), plain.predict_interval(coverage=0.5)[:, 1, 1])
    single = RNNForecaster(**QUICK, quantiles=(0.05, 0.95)).fit(y["a"])
    assert single.predict(2).columns.tolist() == [0.05, 0.95]
    assert single.predict_interval(2).columns.tolist() == ["lower", "upper"]


def test_known_columns_are_aligned():
    index = pd.date_range("2024-01-01", periods=70, freq="D")
    y, known = pd.Series(walk(60), index[:60]), pd.DataFrame(walk(70, 2), index)
    forecaster = RNNForecaster(**QUICK, horizon=3).fit(y, known=known)
    late = RNNForecaster(**QUICK, horizon=3).fit(y, known=known[:60])
    assert forecaster.predict().equals(late.predict(known_future=known[60:63]))
    with pytest.raises(ValueError, match=r"known_future must have the index 2024-03-01 .*got 2024-03-02"):
        late.predict(known_future=known[61:64])
    with pytest.raises(ValueError, match="X must have the index 2024-01-01"):
        RNNForecaster(**QUICK).fit(y, known[1:61])
    with pytest.raises(ValueError, match="y_new must have the index 2024-03-01"):
        late.update(pd.Series(walk(2), index[62:64]))


@pytest.mark.parametrize(
    "index, message",
    [
        (pd.DatetimeIndex(["2024-01-01", "2024-01-02", "2024-01-04"] * 20), "y must have an index whose frequency"),
        (pd.date_range("2024", periods=61).delete(30), r"after 2024-01-30 .* comes 2024-02-01 .*y\.asfreq"),
        (
            pd.Index([f"row {i}" for i in range(60)]),
            "y must have a DatetimeIndex, PeriodIndex or evenly",
        ),
        (pd.period_range("2024", periods=61, freq="D").delete(30), r"after 2024-01-30 comes 2024-02-01"),
    ],
)
def test_an_index_without_a_frequency_is_refused(index, message):
    with pytest.raises((ValueError, TypeError), match=message):
        RNNForecaster(**QUICK).fit(pd.Series(walk(60), index))


def test_a_long_table_is_a_panel():
    days = pd.date_range("2024-01-01", periods=50, freq="D")
    parts = [
        pd.DataFrame({"shop": key, "day": days[:n], "sales": walk(n, seed=i), "price": walk(n, seed=i + 5)})
        for i, (key, n) in enumerate({"x": 50, "y": 40}.items())
    ]
    table = pd.concat(parts).sample(frac=1, random_state=0)
    table.loc[(table["day"] >= days[36]), "sales"] = np.nan  # the future, of which the price is known
    y, X, known = series_from_frame(table, id="shop", time="day", target="sales", known=["price"])
    assert X is None
    assert {key: len(each) for key, each in y.items()} == {"x": 36, "y": 36}
    assert {key: len(each) for key, each in known.items()} == {"x": 50, "y": 40}
    forecasts = RNNForecaster(**QUICK, horizon=4).fit(y, known=known).predict()
    for key, forecast in forecasts.items():
        np.testing.assert_array_equal(y[key].to_numpy(), parts["xy".index(key)]["sales"][:36].to_numpy())
        assert forecast.index.equals(days[36:40])
    again = pd.concat(forecasts, names=["shop", "day"]).reset_index(name="sales")
    assert len(again) == 8


@pytest.mark.parametrize(
    "options, message",
    [
        ({"target": "nothing"}, "target must name columns of frame, got 'nothing'"),
        ({"known": ["nothing"]}, "known must name columns of frame, got 'nothing'"),
        ({"time": "shop", "id": "day"}, None),
        ({"time": "shop"}, "time must be different in each row of 'x', got x twice"),
    ],
)
def test_bad_tables_are_named(options, message):
    table = pd.DataFrame({"shop": ["x", "x"], "day": [1, 2], "sales": [1.0, 2.0]})
    arguments = {"id": "shop", "time": "day", "target": "sales", **options}
    if message is None:
        assert len(series_from_frame(table, **arguments).y) == 2
        return
    with pytest.raises(ValueError, match=message):
        series_from_frame(table, **arguments)


@pytest.mark.parametrize("quantiles", [None, (0.1, 0.5, 0.9)])
def test_a_display_of_one_of_several_targets(quantiles):
    pytest.importorskip("matplotlib").use("agg")
    index = pd.date_range("2024-01-01", periods=60, freq="D")
    y = pd.DataFrame(walk(60, 2), index, columns=["a", "b"])
    forecaster = RNNForecaster(**QUICK, horizon=3, quantiles=quantiles).fit(y)
    display = lstmcore.ForecastDisplay.from_estimator(forecaster, target=1, last=20)
    expected = forecaster.predict()["b"].to_numpy()
    np.testing.assert_array_equal(display.forecast, expected)
