"""The training loop: interruption, divergence, weights, targets of every row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from data import ragged, sums

import lstmcore
from lstmcore.losses import Squared
from lstmcore.network import Dense, Network
from lstmcore.sequences import as_sequences
from lstmcore.training import History, Trainer, TrainingConfig, TrainingDiverged, fit_network


def make_trainer(rng: np.random.Generator, **options: Any) -> tuple[Trainer, Any, np.ndarray]:
    recurrent = lstmcore.LSTM(2, 6, seed=0)
    network = Network(recurrent, "last", Dense(6, 1, seed=0))
    X = ragged(rng)
    config = TrainingConfig(Squared(), max_epochs=5, **options)
    trainer = Trainer(network, config, np.random.default_rng(0))
    return trainer, as_sequences(X), sums(X)[:, None].astype(np.float32)


def test_interrupt_keeps_what_was_learnt(rng: np.random.Generator) -> None:
    trainer, sequences, targets = make_trainer(rng)
    kept = []

    def interrupt(history: History) -> None:
        kept.append(trainer.network.flat_parameters.copy())
        if len(history.loss_curve) == 2:
            raise KeyboardInterrupt

    with pytest.warns(
        UserWarning, match="training was interrupted after 2 epochs: the model keeps its latest parameters"
    ):
        history = trainer.fit(sequences, targets, on_epoch=interrupt)
    assert history.stopped == "interrupted"
    assert trainer.network.flat_parameters.tobytes() == kept[-1].tobytes()
    assert not trainer.network.flat_gradients.any()


def test_interrupt_with_validation_keeps_the_best(rng: np.random.Generator) -> None:
    trainer, sequences, targets = make_trainer(rng, learning_rate=1e-2)
    kept = []

    def worsen(history: History) -> None:
        kept.append(trainer.network.flat_parameters.copy())
        if len(history.loss_curve) == 1:
            trainer.optimizer.learning_rate = 5.0
        if len(history.loss_curve) == 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted after 3 epochs: the model keeps its best parameters"):
        history = trainer.fit(sequences, targets, validation=(sequences, targets), on_epoch=worsen)
    assert history.best_epoch == int(np.argmin(history.validation_curve)) == 0
    assert trainer.network.flat_parameters.tobytes() == kept[0].tobytes()


def test_divergence_restores_and_advises(rng: np.random.Generator) -> None:
    trainer, sequences, targets = make_trainer(rng, clip_norm=None)
    kept = []

    def spoil(history: History) -> None:
        kept.append(trainer.network.flat_parameters.copy())
        targets[7] = np.nan

    with pytest.raises(TrainingDiverged, match=r"diverged in epoch 2: loss nan.*lower learning_rate \(it is 0.001\)"):
        trainer.fit(sequences, targets, on_epoch=spoil)
    assert trainer.network.flat_parameters.tobytes() == kept[0].tobytes()
    assert trainer.history.stopped == "diverged"


def test_on_epoch_stops(rng: np.random.Generator) -> None:
    trainer, sequences, targets = make_trainer(rng)
    history = trainer.fit(sequences, targets, on_epoch=lambda history: len(history.loss_curve) == 3)
    assert len(history.loss_curve) == 3
    assert history.stopped == "on_epoch"


def test_weights_of_samples(rng: np.random.Generator) -> None:
    trainer, sequences, targets = make_trainer(rng, batch_size=1000)
    other, _, _ = make_trainer(rng, batch_size=1000)
    weights = np.ones(len(targets), np.float32)
    weights[:20] = 0
    trainer.fit(sequences, targets, weights=weights)
    other.fit(sequences.take(np.arange(20, len(targets))), targets[20:])
    np.testing.assert_allclose(trainer.network.flat_parameters, other.network.flat_parameters, atol=1e-6)


def test_targets_of_every_row(rng: np.random.Generator) -> None:
    """Pooling None: windows of one series, a target for each of its rows."""
    series = rng.standard_normal((300, 1)).astype(np.float32)
    targets = np.vstack([series[:1], series[:-1]]).copy()  # the row before, zero-padded
    starts = np.arange(0, 280, 4)
    sequences = lstmcore.Sequences(series, starts, np.full(len(starts), 20))
    network = Network(lstmcore.GRU(1, 8, seed=0), None, Dense(8, 1, seed=0))
    config = TrainingConfig(Squared(), max_epochs=40, learning_rate=2e-2)
    history = fit_network(network, sequences, targets, config, np.random.default_rng(0), (sequences, targets))
    assert history.validation_curve[-1] < 0.1
    outputs = network.predict(sequences).reshape(len(starts), 20)
    wanted = targets[starts[:, None] + np.arange(20), 0]
    assert ((outputs - wanted) ** 2).mean() == pytest.approx(min(history.validation_curve), rel=1e-5)
