"""What accuracy.py measures: data, features, recipe, rivals and goal of each task.

Features and recipes were chosen on parts of the training data (`accuracy.py --validate`), never on test data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import datasets
import numpy as np
from accuracy_text import tagged

from lstmcore.sequences import Sequences, as_sequences


class Split(NamedTuple):
    """Sequences and the target of each: a label, labels of all steps (an array of arrays), or a number.

    Numbers are changes from the latest observation, in the data's units, so that the naive forecast is zero.
    """

    train: Sequences
    y_train: np.ndarray
    test: Sequences
    y_test: np.ndarray

    @property
    def kind(self) -> str:
        """Say what is predicted: "numbers", "classes", or "tags" of the steps."""
        return {"f": "numbers", "O": "tags"}.get(self.y_train.dtype.kind, "classes")

    def validation(self, seed: int, by_time: bool) -> Split:
        """Split the training part: its last fifth in time, or a random fifth of each class, is held out."""
        from sklearn.model_selection import train_test_split

        n = len(self.train)
        labels = self.y_train if self.kind == "classes" else None
        rest, held_out = (
            (np.arange(4 * n // 5), np.arange(4 * n // 5, n))
            if by_time
            else train_test_split(np.arange(n), test_size=0.2, stratify=labels, random_state=seed)
        )
        return Split(self.train.take(rest), self.y_train[rest], self.train.take(held_out), self.y_train[held_out])


@dataclass(frozen=True)
class Recipe:
    """How to train: options of the estimators, by their names; all else has PyTorch's defaults in both libraries."""

    cell: str = "gru"
    hidden_size: int = 64
    bidirectional: bool = False
    num_layers: int = 1
    dropout: float = 0.0
    pooling: str = "last"
    patch_size: int = 1
    standardize: bool = True
    loss: str = "squared"
    max_epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: str = "constant"
    weight_decay: float = 0.0
    clip_norm: float = 1.0


class Fit(NamedTuple):
    """What training gave: predictions of the test part; the loss of each epoch, and the seconds until its end."""

    predicted: np.ndarray
    losses: np.ndarray
    seconds: np.ndarray

    def seconds_to(self, loss: float) -> float:
        """Time until an epoch's loss is as low as this."""
        reached = np.flatnonzero(self.losses <= loss)
        return float(self.seconds[reached[0]]) if len(reached) else np.inf


@dataclass(frozen=True)
class Task:
    """A line of the table. PyTorch has at most `torch_seeds`; with `by_time`, validation is the end of training."""

    name: str
    data: Callable[[], Split]
    recipe: Recipe
    metric: str
    target: float | None = None
    published: str = ""
    torch_seeds: int = 2
    by_time: bool = False

    def score(self, predicted: np.ndarray, actual: np.ndarray) -> float:
        """Return the accuracy, MAE or RMSE."""
        if self.metric == "accuracy":
            return float(np.mean(predicted == actual))
        error = np.ravel(predicted) - np.ravel(actual)
        return float(np.abs(error).mean() if self.metric == "MAE" else np.sqrt(np.mean(error**2)))

    def better(self, a: float, b: float) -> bool:
        """Whether score a is at least as good as b."""
        return a >= b if self.metric == "accuracy" else a <= b


def flat_targets(y: np.ndarray) -> np.ndarray:
    """Targets as a model without sequences sees them: those of steps, one after the other."""
    return np.concatenate(y) if y.dtype == object else y


def prepared(split: Split, recipe: Recipe) -> Split:
    """Standardize and join time points to steps as our estimators do, for those who cannot."""
    train, test = split.train, split.test
    if recipe.standardize:
        edges = np.zeros(len(train.values) + 1, np.int64)
        np.add.at(edges, train.starts, 1)
        np.add.at(edges, train.starts + train.lengths, -1)
        used = train.values[np.cumsum(edges[:-1]) > 0].astype(np.float64)
        scale = used.std(axis=0)
        train, test = (
            part.replace(((part.values - used.mean(axis=0)) / np.where(scale > 0, scale, 1)).astype(np.float32))
            for part in (train, test)
        )
    if recipe.patch_size > 1:
        train, test = (
            as_sequences(part.values.reshape(len(part), -1, recipe.patch_size * part.n_features))
            for part in (train.joined(), test.joined())
        )
    return Split(train.joined() if split.kind == "tags" else train, split.y_train, test, split.y_test)


# ---- sequences to classify ----


def labelled(data: datasets.Labelled) -> Split:
    """Take the split that the data came with."""
    return Split(as_sequences(data.X_train), data.y_train, as_sequences(data.X_test), data.y_test)


def archive(name: str) -> Callable[[], Split]:
    """Return what reads a data set of the UCR and UEA archive."""
    return lambda: labelled(datasets.uea(name))


def turkish() -> Split:
    """Return parts of speech; every tenth sentence is for the test."""
    sentences = datasets.turkish_sentences()
    test = np.arange(len(sentences)) % 10 == 9
    train, test = ([s for s, chosen in zip(sentences, part, strict=True) if chosen] for part in (~test, test))
    return Split(*tagged(train, test))


# ---- series ----


def windows(features: np.ndarray, y: np.ndarray, window: int, first_test: int, ahead: int = 1) -> Split:
    """Predict y[t], known at t + `ahead`, from the features of `window` steps that end at t; all must be known.

    What is known before `first_test` is for training.
    """
    known = np.isfinite(features).all(axis=1)
    gaps = np.concatenate([[0], np.cumsum(~known)])
    ends = np.arange(window, len(features) + 1)
    ends = ends[(gaps[ends] == gaps[ends - window]) & np.isfinite(y[ends - 1])]
    values = np.where(known[:, None], features, 0).astype(np.float32)

    def part(ends: np.ndarray) -> tuple[Sequences, np.ndarray]:
        return Sequences(values, ends - window, np.full(len(ends), window)), y[ends - 1]

    known_at = ends - 1 + ahead
    return Split(*part(ends[known_at < first_test]), *part(ends[known_at >= first_test]))


def lagged(values: np.ndarray, steps: int) -> np.ndarray:
    """values[t - steps]; a negative number of steps looks ahead. NaN where there is none."""
    result = np.full(len(values), np.nan)
    if steps >= 0:
        result[steps:] = values[: len(values) - steps]
    else:
        result[:steps] = values[-steps:]
    return result


def waves(steps: np.ndarray, periods: tuple[int, ...], harmonics: int) -> list[np.ndarray]:
    """Sines and cosines of some periods and their first harmonics."""
    angles = [2 * np.pi * k * steps / period for period in periods for k in range(1, harmonics + 1)]
    return [f(angle) for angle in angles for f in (np.sin, np.cos)]


def clock(time: np.ndarray) -> list[np.ndarray]:
    """Time of the day and of the week, and whether it is a weekend."""
    hours = (time - np.datetime64("2000-01-03T00")).astype("timedelta64[h]").astype(np.int64)  # a Monday
    return [*waves(hours, (24, 168), 2), ((hours // 24) % 7 >= 5).astype(float)]


def beijing() -> Split:
    """Fine dust in an hour, from 24 hours of dust, weather and the clock; the last year is the test."""
    hourly = datasets.beijing_pm()
    dust = hourly.columns["pm2.5"]
    weather = [values for name, values in hourly.columns.items() if name != "pm2.5"]
    latest = dust[np.maximum.accumulate(np.where(np.isnan(dust), 0, np.arange(len(dust))))]
    features = np.column_stack([latest, np.log1p(latest), *weather, *clock(hourly.time)])
    return windows(features, lagged(dust, -1) - latest, 24, len(dust) - 365 * 24)


def bikes() -> Split:
    """Bicycles taken in the next hour, from 24 hours of them, weather and the clock; the last year is the test."""
    hourly = datasets.bike_sharing()
    count = hourly.columns["count"]
    before = [lagged(count, lag - 1) for lag in (24, 168)]  # what the hour in question was a day and a week ago
    weather = [hourly.columns[name] for name in ("tmin", "tmax", "pn")]
    features = np.column_stack([count, *before, *weather, *clock(hourly.time + np.timedelta64(1, "h"))])
    return windows(features, lagged(count, -1) - count, 24, len(count) - 365 * 24)


def uk() -> Split:
    """Demand in half an hour, from the changes of a day, and those of the same half-hours before; two weeks of test."""
    y = datasets.uk_demand()
    change = y - lagged(y, 1)
    calendar = waves(np.arange(len(y)) + 1, (48, 336), 4)
    features = np.column_stack([y, change, lagged(change, 47), lagged(change, 335), *calendar])
    return windows(features, lagged(change, -1), 48, len(y) - 2 * 336)


def electricity() -> Split:
    """Consumption 24 hours ahead, from two days of hours; the last half-year is the test."""
    hourly = datasets.electricity()
    y = hourly.columns["y"]
    calendar = clock(hourly.time + np.timedelta64(24, "h"))
    features = np.column_stack([y, y - lagged(y, 24), lagged(y, 144) - y, *calendar])
    return windows(features, lagged(y, -24) - y, 48, len(y) - 182 * 24, ahead=24)


def rates() -> Split:
    """Log return of the dollar on the next day in percent, from 20 days of six currencies; two years are the test."""
    values = datasets.exchange_rates(("USD", "JPY", "GBP", "CHF", "AUD", "CAD")).values
    returns = 100 * np.diff(np.log(values), axis=0, prepend=np.nan)
    return windows(returns, lagged(returns[:, 0], -1), 20, len(values) - 2 * 256)


def adding(steps: int) -> Callable[[], Split]:
    """Return what makes the adding problem (Hochreiter & Schmidhuber 1997): what do the two marked numbers sum to?"""

    def part(n: int, rng: np.random.Generator) -> tuple[Sequences, np.ndarray]:
        numbers, marked = rng.uniform(0, 1, (n, steps)), np.zeros((n, steps))
        half = steps // 2
        np.put_along_axis(marked, rng.integers(0, half, (n, 2)) + np.array([0, half]), 1, axis=1)
        return as_sequences(np.stack([numbers, marked], axis=2)), (numbers * marked).sum(axis=1) - 1

    def data() -> Split:
        rng = np.random.default_rng(0)
        return Split(*part(10_000, rng), *part(2_000, rng))

    return data


TASKS = (
    Task(
        "JapaneseVowels",
        archive("JapaneseVowels"),
        Recipe("gru", 100, bidirectional=True, dropout=0.5, max_epochs=40, batch_size=16, learning_rate=3e-3),
        "accuracy",
        0.978,
        ".955-.986",
        torch_seeds=5,
    ),
    Task(
        "digits by rows",
        lambda: labelled(datasets.digits()),
        Recipe("gru", 100, bidirectional=True, max_epochs=40, learning_rate=3e-3, standardize=False),
        "accuracy",
        0.978,
        torch_seeds=5,
    ),
    Task(
        "ItalyPowerDemand",
        archive("ItalyPowerDemand"),
        Recipe("lstm", 64, bidirectional=True, max_epochs=150, batch_size=16, learning_rate=3e-3, schedule="cosine"),
        "accuracy",
        0.965,
        ".953-.970",
        torch_seeds=5,
    ),
    Task(
        "BasicMotions",
        archive("BasicMotions"),
        Recipe("gru", 64, bidirectional=True, patch_size=5, max_epochs=100, batch_size=10),
        "accuracy",
        0.97,
        "1.0",
        torch_seeds=5,
    ),
    Task(
        "GunPoint",
        archive("GunPoint"),
        Recipe("gru", 64, bidirectional=True, patch_size=5, max_epochs=150, batch_size=16),
        "accuracy",
        0.965,
        "1.0",
        torch_seeds=5,
    ),
    Task(
        "Fashion-MNIST by rows",
        lambda: labelled(datasets.fashion_mnist()),
        Recipe("gru", 128, max_epochs=15, batch_size=64, learning_rate=2e-3, schedule="cosine", standardize=False),
        "accuracy",
        0.905,
        ".888-.897",
    ),
    Task(
        "Turkish tags",
        turkish,
        Recipe("lstm", 100, bidirectional=True, max_epochs=8, learning_rate=2e-3, schedule="cosine", standardize=False),
        "accuracy",
        0.95,
    ),
    Task(
        "bike sharing",
        bikes,
        Recipe("lstm", 64, loss="huber", max_epochs=10, batch_size=128, learning_rate=3e-3, schedule="cosine"),
        "MAE",
        37,
        by_time=True,
    ),
    Task(
        "Beijing PM2.5",
        beijing,
        Recipe("gru", 64, loss="huber", max_epochs=10, batch_size=128, learning_rate=2e-3, schedule="cosine"),
        "RMSE",
        20.7,
        by_time=True,
    ),
    Task(
        "UK demand",
        uk,
        Recipe("lstm", 64, loss="absolute", max_epochs=40, learning_rate=2e-3, schedule="cosine", weight_decay=1e-3),
        "MAE",
        109,
        by_time=True,
    ),
    Task(
        "electricity, a day ahead",
        electricity,
        Recipe("gru", 64, loss="absolute", max_epochs=10, batch_size=64, schedule="cosine"),
        "MAE",
        by_time=True,
    ),
    Task("exchange rates", rates, Recipe("lstm", 8, max_epochs=1), "RMSE", by_time=True),
    Task(
        "adding problem, T=100",
        adding(100),
        Recipe("gru", 64, max_epochs=10, learning_rate=2e-3, schedule="cosine"),
        "RMSE",
        0.05,
        "solved",
        torch_seeds=1,
    ),
    Task(
        "adding problem, T=200",
        adding(200),
        Recipe("gru", 64, max_epochs=12, learning_rate=2e-3, schedule="cosine"),
        "RMSE",
        0.05,
        "solved",
        torch_seeds=0,
    ),
)
