"""The demo: reading rates, the rivals and the scores against direct formulas, and a small run of all of it."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from lstmcore import demo
from lstmcore._demo import rates, rivals, scores

TABLE = """Date,USD,JPY,GBP,
2024-01-05,1.10,157.5,0.86,
2024-01-04,1.09,156.0,N/A,
2024-01-03,1.08,155.0,0.85,
2024-01-02,1.07,,0.84,
"""


def archive(text: str) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as files:
        files.writestr("rates.csv", text)
    return file


def made_up(n_days: int) -> str:
    """Four random walks in the ECB's format, newest first."""
    rng = np.random.default_rng(0)
    values = np.exp(0.005 * rng.standard_normal((n_days, 4)).cumsum(axis=0))
    days = np.busday_offset("2020-01-01", np.arange(n_days))
    rows = [f"{day}," + ",".join(f"{v:.5f}" for v in row) + "," for day, row in zip(days, values, strict=True)]
    return "\n".join(["Date,USD,JPY,GBP,CHF,", *rows[::-1]])


def test_rates_are_read_oldest_first_and_complete():
    read = rates.read_rates(archive(TABLE), ("JPY", "USD"))
    assert read.currencies == ("JPY", "USD")
    assert [str(day) for day in read.dates] == ["2024-01-03", "2024-01-04", "2024-01-05"]
    np.testing.assert_array_equal(read.values, [[155.0, 1.08], [156.0, 1.09], [157.5, 1.10]])
    assert len(rates.read_rates(archive(TABLE), ("USD", "JPY", "GBP")).dates) == 2


def test_bad_tables_are_named():
    with pytest.raises(ValueError, match="currency 'XXX' is not in the table, which has USD, JPY, GBP"):
        rates.read_rates(archive(TABLE), ("USD", "XXX"))
    with pytest.raises(ValueError, match="no day has a rate for all of USD, GBP"):
        rates.read_rates(archive("Date,USD,GBP\n2024-01-02,1.0,N/A\n"), ("USD", "GBP"))


def test_a_missing_package_is_named(monkeypatch, capsys):
    monkeypatch.setattr(rates.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        demo.main([])
    assert 'pip install "lstmcore[demo]"' in capsys.readouterr().err


def test_intervals_come_from_errors_that_were_known():
    y = np.random.default_rng(0).standard_normal((60, 2)).cumsum(axis=0)
    origins = np.array([30, 45, 59])
    quantiles = (0.1, 0.5, 0.9)
    forecasts = rivals.with_past_errors(rivals.random_walk(y, 3), y, origins, quantiles, n_errors=20)
    assert forecasts.shape == (3, 3, 2, 3)
    for i, t in enumerate(origins):
        for k in range(3):
            latest = [y[s + k + 1] - y[s] for s in range(t - k - 20, t - k)]
            assert max(range(t - k - 20, t - k)) + k + 1 == t
            expected = y[t] + np.quantile(latest, [0.1, 0.9], axis=0)
            np.testing.assert_allclose(forecasts[i, k][:, [0, 2]].T, expected, rtol=1e-12)
            np.testing.assert_array_equal(forecasts[i, k, :, 1], y[t])


def test_intervals_know_nothing_of_the_future():
    y = np.random.default_rng(0).standard_normal((80, 2)).cumsum(axis=0)
    changed = y.copy()
    changed[51:] += 100
    for points in (rivals.random_walk, lambda y, h: rivals.Autoregression(y[:40], h).predict(y)):
        before, after = (
            rivals.with_past_errors(points(z, 3), z, np.array([50]), (0.1, 0.9), 20, rivals.recent_size(z, 2.0))
            for z in (y, changed)
        )
        np.testing.assert_array_equal(before, after)


def test_recent_size_is_an_exponential_mean():
    y = np.random.default_rng(0).standard_normal((300, 2)).cumsum(axis=0)
    size = rivals.recent_size(y, 3.0)
    changes = np.diff(y[:, 1])
    weights = 0.5 ** (np.arange(30) / 3.0)
    expected = np.sqrt(np.sum(weights * changes[::-1][:30] ** 2) / weights.sum())
    np.testing.assert_allclose(size[-1, 1], expected, rtol=1e-12)


def test_the_autoregression_finds_its_coefficients():
    rng = np.random.default_rng(0)
    returns = np.zeros((4000, 2))
    for t in range(2, 4000):
        returns[t] = 0.5 * returns[t - 1] - 0.3 * returns[t - 2] + rng.standard_normal(2)
    y = returns.cumsum(axis=0)
    regression = rivals.Autoregression(y, 2)
    assert regression.lags >= 2
    np.testing.assert_allclose(regression.coefficients[:, :2, 0], [[0.5, -0.3]] * 2, atol=0.05)
    expected = y[-1] + 0.5 * returns[-1] - 0.3 * returns[-2]
    np.testing.assert_allclose(regression.predict(y)[-1, 0], expected, atol=0.3)


def test_scores_are_their_formulas():
    rng = np.random.default_rng(0)
    now, outcome = rng.standard_normal((2, 50, 3))
    forecast = np.sort(rng.standard_normal((50, 3, 5)), axis=-1)
    result = scores.score(now, outcome, forecast, (0.1, 0.25, 0.5, 0.75, 0.9), 0.1, 0.9)
    for j in range(3):
        errors = [1e4 * (outcome[i, j] - forecast[i, j, 2]) for i in range(50)]
        assert result.rmse[j] == pytest.approx(np.sqrt(sum(e * e for e in errors) / 50))
        assert result.mae[j] == pytest.approx(sum(abs(e) for e in errors) / 50)
        inside = [forecast[i, j, 0] <= outcome[i, j] <= forecast[i, j, 4] for i in range(50)]
        assert result.coverage[j] == pytest.approx(sum(inside) / 50)
        assert result.width[j] == pytest.approx(1e4 * sum(forecast[:, j, 4] - forecast[:, j, 0]) / 50)
    losses = []
    for q, k in ((0.1, 0), (0.9, 4)):
        error = outcome - forecast[..., k]
        losses.append(np.where(error >= 0, q * error, (q - 1) * error).mean())
    assert result.pinball == pytest.approx(1e4 * np.mean(losses))
    right = ((outcome > now) == (forecast[..., 2] > now)).mean()
    assert result.direction == pytest.approx(right)
    still = np.repeat(now[..., None], 5, axis=-1)
    assert np.isnan(scores.score(now, outcome, still, (0.1, 0.25, 0.5, 0.75, 0.9), 0.1, 0.9).direction)


def test_a_small_run_of_everything(tmp_path):
    lines: list[str] = []
    settings = demo.Settings(test_days=60, refit_every=30, past_errors=60, scaled_errors=90, epochs=1)
    demo.run(archive(made_up(420)), tmp_path / "out", settings, lines.append)
    text = "\n".join(lines)
    assert "420 business days" in text
    assert "the same bits as in one pass" in text
    assert (tmp_path / "out" / "rates.safetensors").stat().st_size > 10_000
    rows = [line for line in text.splitlines() if line.startswith(("random walk", "linear AR", "GRU"))]
    assert len(rows) == 8
    assert all(len(line) <= 112 for line in rows)
    if "none, matplotlib" not in text:
        assert (tmp_path / "out" / "forecast.png").read_bytes()[:4] == b"\x89PNG"


def test_the_installed_rates(tmp_path):
    try:
        path = rates.find_archive()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    read = rates.read_rates(path, demo.Settings.currencies)
    assert str(read.dates[0]) == "1999-01-04"
    assert len(read.dates) > 7000
    np.testing.assert_array_equal(read.values[0], [1.1789, 133.73, 0.7111, 1.6168])
    lines: list[str] = []
    demo.run(path, tmp_path, demo.Settings(test_days=45, epochs=1), lines.append)
    assert "the same bits as in one pass" in lines[-1]


def test_the_command_passes_its_folder_on(monkeypatch, tmp_path):
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(demo, "find_archive", lambda: "rates.zip")
    monkeypatch.setattr(demo, "run", lambda *arguments: calls.append(arguments))
    assert demo.main(["--output", str(tmp_path)]) == 0
    assert calls == [("rates.zip", tmp_path)]
