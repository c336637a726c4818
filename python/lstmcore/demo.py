"""Forecast the euro: ``python -m lstmcore.demo [--output DIR]``.

Trains `RNNForecaster` on the European Central Bank's daily rates, measures it against the random walk and a linear
autoregression, draws its forecasts, saves the model, loads it again and streams the last month through it.
Everything is read from the installed packages; nothing is fetched.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmcore._demo import rivals
from lstmcore._demo.picture import Picture, draw
from lstmcore._demo.rates import Rates, find_archive, read_rates
from lstmcore._demo.scores import Scores, score, table

Array = NDArray[Any]

RANDOM_WALK, LINEAR, NETWORK, SCALED_WALK = "random walk", "linear AR", "GRU", "random walk, scaled"


@dataclass(frozen=True)
class Settings:
    """What the demo does; the defaults are those of the command."""

    currencies: tuple[str, ...] = ("USD", "JPY", "GBP", "CHF")
    horizon: int = 5
    quantiles: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9)
    test_days: int = 730  # calendar days: two years
    refit_every: int = 63  # business days: a quarter
    past_errors: int = 250  # the rivals' intervals are quantiles of a year of errors
    scaled_errors: int = 1000  # of four years where errors are measured in the recent size of a change
    halflife: float = 23.0
    epochs: int = 15
    days_drawn: int = 130
    days_streamed: int = 22
    seed: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m lstmcore.demo", description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--output", type=Path, default=Path("lstmcore-demo"), help="folder to write to (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        archive = find_archive()
    except FileNotFoundError as error:
        parser.exit(1, f"{error}\n")
    run(archive, options.output)
    return 0


def run(archive: Any, output: Path, settings: Settings = Settings(), say: Callable[[str], Any] = print) -> None:
    """Do all that the demo does, and tell `say` line by line."""
    rates = read_rates(archive, settings.currencies)
    y = np.log(rates.values)
    first = int(np.searchsorted(rates.dates, rates.dates[-1] - np.timedelta64(settings.test_days, "D")))
    origins = np.arange(first, len(y))
    say(
        f"EUR against {', '.join(rates.currencies)}: {len(y):,} business days, {_day(rates.dates[0])} to "
        f"{_day(rates.dates[-1])}, European Central Bank"
    )
    forecasts, forecaster, seconds, n_fits = walk_forward(y, origins, settings)
    say(
        f"Walk-forward from {_day(rates.dates[first])}: fitted {n_fits} times, one quarter apart, on all days before; "
        f"a fit took {seconds:.1f} s\n"
    )
    outcome = rivals.future(y, settings.horizon)[origins]
    tables = {}
    for ahead, title in ((1, "next day"), (settings.horizon, f"{settings.horizon} days ahead")):
        tables[ahead] = compare(y[origins], outcome, forecasts, ahead, settings)
        say(table(title, rates.currencies, tables[ahead]) + "\n")
    say(verdict(tables[1]) + "\n")

    output.mkdir(parents=True, exist_ok=True)
    say(f"picture   {draw_forecasts(rates, forecasts[NETWORK], settings, output / 'forecast.png')}")
    path = output / "rates.safetensors"
    forecaster.save(path)
    say(f"model     {path} ({path.stat().st_size / 1024:.0f} KB; loading it needs no scikit-learn)")
    say(f"streamed  {stream(path, rates, settings)}")


def walk_forward(y: Array, origins: Array, settings: Settings) -> tuple[dict[str, Array], Any, float, int]:
    """Forecast from each origin with models that were fitted to nothing but the days up to then.

    Returns
    -------
    forecasts : dict of str to ndarray [n_origins, horizon, n, Q]
    forecaster : RNNForecaster
        The last one fitted.
    seconds : float
        Median time of a fit.
    n_fits : int
    """
    horizon, quantiles = settings.horizon, settings.quantiles
    walk = rivals.random_walk(y, horizon)
    size = rivals.recent_size(y, settings.halflife)
    linear, network, seconds = [], [], []
    for start in range(0, len(origins), settings.refit_every):
        block = origins[start : start + settings.refit_every]
        known = y[: block[0] + 1]
        regression = rivals.Autoregression(known, horizon).predict(y)
        linear.append(rivals.with_past_errors(regression, y, block, quantiles, settings.past_errors))
        begin = time.perf_counter()
        forecaster = make_forecaster(settings).fit(known)
        seconds.append(time.perf_counter() - begin)
        # The days of the quarter are observed one after the other; the parameters never see them.
        network.append(forecaster.model_.forecasts(y[: block[-1] + 1])[block])
    forecasts = {
        RANDOM_WALK: rivals.with_past_errors(walk, y, origins, quantiles, settings.past_errors),
        LINEAR: np.concatenate(linear),
        NETWORK: np.concatenate(network),
        SCALED_WALK: rivals.with_past_errors(walk, y, origins, quantiles, settings.scaled_errors, size),
    }
    return forecasts, forecaster, float(np.median(seconds)), len(seconds)


def make_forecaster(settings: Settings) -> Any:
    """Return the untrained forecaster of log rates."""
    from lstmcore import RNNForecaster

    return RNNForecaster(
        window=64,
        horizon=settings.horizon,
        cell="gru",
        hidden_size=32,
        difference=True,
        scale_halflife=settings.halflife,
        quantiles=settings.quantiles,
        max_epochs=settings.epochs,
        random_state=settings.seed,
    )


def compare(
    now: Array, outcome: Array, forecasts: dict[str, Array], ahead: int, settings: Settings
) -> dict[str, Scores]:
    """Score the forecasts `ahead` days ahead of all origins whose outcome is known."""
    known = ~np.isnan(outcome[:, ahead - 1, 0])
    return {
        name: score(now[known], outcome[known, ahead - 1], forecast[known, ahead - 1], settings.quantiles, 0.1, 0.9)
        for name, forecast in forecasts.items()
    }


def verdict(scores: dict[str, Scores]) -> str:
    """Say what came out of the next-day table."""
    walk, network, scaled = scores[RANDOM_WALK], scores[NETWORK], scores[SCALED_WALK]
    error = float(np.mean(network.rmse / walk.rmse))
    return (
        f"Direction: the GRU's next-day errors are {error:.3f} of the random walk's, which is hard to beat.\n"
        f"Size: its 80% intervals cover {network.coverage.mean():.0%}. "
        f"Their loss (mean quantile loss of both ends) is\n"
        f"{_than(network, walk)} a random walk with the errors of a year, and "
        f"{_than(network, scaled)} one scaled by the recent size of a change."
    )


def _than(ours: Scores, theirs: Scores) -> str:
    change = ours.pinball / theirs.pinball - 1
    if abs(change) < 0.005:
        return "about that of"
    return f"{abs(change):.1%} {'above' if change > 0 else 'below'} that of"


def draw_forecasts(rates: Rates, forecasts: Array, settings: Settings, path: Path) -> str:
    """Draw the latest days and return the path, or why there is none."""
    low, high = settings.quantiles.index(0.1), settings.quantiles.index(0.9)
    days = min(settings.days_drawn, len(forecasts) - 1)
    band = np.exp(forecasts[-days - 1 : -1, 0])  # made the day before
    try:
        draw(rates, Picture(days, band[..., low], band[..., high], np.exp(forecasts[-1])), path)
    except ModuleNotFoundError as error:
        return f'none, {error.name} is not installed: pip install "lstmcore[demo]"'
    return str(path)


def stream(path: Path, rates: Rates, settings: Settings) -> str:
    """Load the model, observe the last days one by one, and compare with the forecasts made in one pass."""
    import lstmcore

    model: Any = lstmcore.load(path)
    y = np.log(rates.values)
    start = len(y) - settings.days_streamed
    session = model.session()
    session.advance(y[:start])
    streamed, seconds = [], []
    for day in y[start:]:
        begin = time.perf_counter()
        streamed.append(session.step(day)[0])
        seconds.append(time.perf_counter() - begin)
    same = np.array_equal(np.stack(streamed), model.forecasts(y)[start:])
    if not same:
        raise AssertionError("streamed forecasts differ from those made in one pass")
    return (
        f"{len(streamed)} days from {_day(rates.dates[start])}, one at a time: the same bits as in one pass; "
        f"{np.median(seconds) * 1e6:.0f} µs a day (median)"
    )


def _day(date: Any) -> str:
    day = date.astype(object)
    return f"{day.day} {day:%b %Y}"


if __name__ == "__main__":
    raise SystemExit(main())
