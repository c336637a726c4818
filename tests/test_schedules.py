"""Learning-rate schedules against their closed forms."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest

import lstmcore
from lstmcore.schedules import SCHEDULES, Constant, Cosine, OneCycle, Plateau, Schedule, Step, WarmUp, as_schedule

MOMENTS = (np.arange(120) + 0.5) / 10  # 12 epochs of 10 steps


def test_constant() -> None:
    assert (Constant().rate(MOMENTS, 12) == 1).all()


def test_step() -> None:
    expected = [0.5 ** math.floor(t / 5) for t in MOMENTS]
    np.testing.assert_allclose(Step(5, gamma=0.5).rate(MOMENTS, 12), expected)
    thirds = Step().rate(MOMENTS, 12)
    np.testing.assert_allclose(thirds, np.repeat([1.0, 0.1, 0.01], 40))


def test_cosine() -> None:
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * t / 12)) / 2 for t in MOMENTS]
    np.testing.assert_allclose(Cosine(minimum=0.1).rate(MOMENTS, 12), expected)
    once = Cosine().rate(MOMENTS[:40], 4)
    np.testing.assert_allclose(Cosine(cycles=3).rate(MOMENTS, 12), np.tile(once, 3), atol=1e-12)


def test_one_cycle() -> None:
    schedule = OneCycle(pct_start=0.25, div_factor=10, final_div_factor=100)
    t = np.array([0.0, 1.5, 3.0, 7.5, 12.0])
    np.testing.assert_allclose(schedule.rate(t, 12), [0.1, 0.55, 1.0, (1 + 0.001) / 2, 0.001])
    rates = OneCycle().rate(MOMENTS, 12)
    peak = int(rates.argmax())
    assert (np.diff(rates[:peak]) > 0).all()
    assert (np.diff(rates[peak + 1 :]) < 0).all()
    assert MOMENTS[peak] == pytest.approx(3.6, abs=0.1)


def test_plateau() -> None:
    schedule = Plateau(factor=0.5, patience=2, tol=0.1, minimum=0.2)
    losses = [5.0, 4.0, 3.95, 3.92, 3.0, 3.0, 2.0, 2.5, 2.4, 2.3, 2.2, 2.2, 2.2]
    #            epochs without progress:  0 0 1 2! 0 1 0 1 2! 1 2! 1 2!
    falls = [0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4]
    for n, count in enumerate(falls, 1):
        rate = schedule.rate(MOMENTS[:3], 12, losses[:n])
        assert rate.tolist() == [max(0.5**count, 0.2)] * 3
    assert schedule.rate(MOMENTS[:3], 12).tolist() == [1.0] * 3


def test_warm_up() -> None:
    rates = WarmUp(2, Cosine()).rate(MOMENTS, 12)
    np.testing.assert_allclose(rates[:20], MOMENTS[:20] / 2)
    np.testing.assert_allclose(rates[20:], Cosine().rate(MOMENTS[:100], 10))
    # What was lost while it warmed up is no plateau.
    schedule = WarmUp(2, Plateau(factor=0.5, patience=2))
    assert schedule.rate(MOMENTS[-1:], 12, [1.0, 1.0, 1.0, 1.0]).tolist() == [1.0]
    assert schedule.rate(MOMENTS[-1:], 12, [1.0, 1.0, 1.0, 1.0, 1.0]).tolist() == [0.5]


def test_warm_up_longer_than_training() -> None:
    """As when ``partial_fit`` trains for one epoch."""
    rates = as_schedule("cosine", 4).rate(MOMENTS[:10], 1)
    np.testing.assert_allclose(rates, MOMENTS[:10] / 4)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup_epochs", [0, 1.5])
def test_names(name: str, warmup_epochs: float) -> None:
    schedule = as_schedule(name, warmup_epochs)
    rates = np.broadcast_to(schedule.rate(MOMENTS, 12, [2.0, 1.0]), MOMENTS.shape)
    assert ((rates > 0) & (rates <= 1)).all()
    assert float(schedule.rate(np.float64(3.0), 12)) >= 0  # one moment will do
    assert copy.deepcopy(schedule) == schedule == pickle.loads(pickle.dumps(schedule))
    assert as_schedule(schedule) is schedule
    assert isinstance(schedule, lstmcore.schedules.Schedule)


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (Step, {"step_size": 0}, ValueError, "step_size must be at least 1, got 0"),
        (Step, {"gamma": 0.0}, ValueError, r"gamma must lie in \(0, 1\], got 0.0"),
        (Cosine, {"minimum": -0.1}, ValueError, r"minimum must lie in \[0, 1\], got -0.1"),
        (Cosine, {"cycles": 1.5}, TypeError, "cycles must be an integer, got 1.5"),
        (OneCycle, {"pct_start": 1.0}, ValueError, "pct_start must lie between 0 and 1, got 1.0"),
        (OneCycle, {"div_factor": 0.5}, ValueError, "div_factor must be at least 1, got 0.5"),
        (Plateau, {"factor": 2.0}, ValueError, r"factor must lie in \(0, 1\], got 2.0"),
        (Plateau, {"patience": 0}, ValueError, "patience must be at least 1, got 0"),
        (Plateau, {"tol": -1.0}, ValueError, "tol must be at least 0, got -1.0"),
        (WarmUp, {"epochs": 0}, ValueError, "epochs must be positive, got 0"),
    ],
)
def test_bad_options(make: type[Schedule], options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(**options)
