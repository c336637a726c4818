"""Learning-rate schedules against PyTorch's, which count steps: 12 epochs of 10."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lstmcore.schedules import Cosine, OneCycle, Plateau, Schedule, Step

torch = pytest.importorskip("torch")
schedulers = torch.optim.lr_scheduler

STEPS = 120


def theirs(make: Any, losses: Any = None) -> list[float]:
    """The learning rate of each step, or with `losses` of each epoch."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    scheduler = make(optimizer)
    rates = []
    for loss in range(STEPS) if losses is None else losses:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([] if losses is None else [loss]))
    return rates


SCHEDULES: dict[str, tuple[Schedule, Any, float]] = {
    "step": (Step(4, 0.3), lambda o: schedulers.StepLR(o, 40, 0.3), 1e-12),
    "cosine": (Cosine(0.1), lambda o: schedulers.CosineAnnealingLR(o, STEPS, 0.1), 1e-12),
    "restarts": (Cosine(cycles=3), lambda o: schedulers.CosineAnnealingWarmRestarts(o, STEPS // 3), 1e-12),
    # PyTorch puts the peak on a step and the end on the last one, which moves the curve by up to a step.
    "one cycle": (OneCycle(), lambda o: schedulers.OneCycleLR(o, 1.0, STEPS), 0.05),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str) -> None:
    schedule, make, tolerance = SCHEDULES[name]
    np.testing.assert_allclose(schedule.rate(np.arange(STEPS) / 10, 12), theirs(make), atol=tolerance)


def test_plateau(rng: np.random.Generator) -> None:
    losses = rng.uniform(size=60).round(1)
    ours = Plateau(factor=0.5, patience=3, tol=0.0, minimum=1e-3)
    expected = theirs(
        # PyTorch's patience is the number of epochs that it still bears.
        lambda o: schedulers.ReduceLROnPlateau(o, factor=0.5, patience=2, threshold=0.0, min_lr=1e-3, eps=0.0),
        losses,
    )
    rates = [float(ours.rate(np.zeros(1), 60, losses[:epoch])[0]) for epoch in range(60)]
    np.testing.assert_allclose(rates, expected)
    assert len(set(rates)) > 3
