"""Checkpoints: a resumed training ends with the bits of one that nothing interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data import ragged, sums
from safetensors import safe_open

import lstmcore
from lstmcore import checkpoint
from lstmcore.callbacks import Checkpoint, CSVLog
from lstmcore.losses import Squared
from lstmcore.network import Dense, Network
from lstmcore.optimizers import OPTIMIZERS
from lstmcore.schedules import Plateau
from lstmcore.sequences import Sequences, as_sequences
from lstmcore.training import Trainer, TrainingConfig

X = ragged(np.random.default_rng(1), 50)
SEQUENCES, TARGETS = as_sequences(X), sums(X)[:, None].astype(np.float32)
HELD_OUT = np.arange(0, 50, 5)
DATA = {"validation": (SEQUENCES.take(HELD_OUT), TARGETS[HELD_OUT])}


def make_trainer(rng: Any = 0, hidden_size: int = 5, **options: Any) -> Trainer:
    """A network with dropout, shuffled batches, a warm-up."""
    recurrent = lstmcore.LSTM(2, hidden_size, num_layers=2, dropout=0.3, seed=0)
    network = Network(recurrent, "last", Dense(hidden_size, 1, seed=0))
    config = TrainingConfig(Squared(), **{"max_epochs": 12, "batch_size": 8, "warmup_epochs": 2, **options})
    return Trainer(network, config, np.random.default_rng(rng))


class InterruptedAt:
    """Ctrl-C in the middle of an epoch: the batches of an epoch are 7."""

    def __init__(self, trainer: Trainer, batch: int) -> None:
        self.left, self.step = batch, trainer.train_step
        trainer.train_step = self  # type: ignore[method-assign, assignment]

    def __call__(self, *args: Any) -> tuple[float, float]:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.step(*args)


def outcome(trainer: Trainer) -> dict[str, Any]:
    """All that training leaves behind but the time it took."""
    columns = {name: values for name, values in trainer.history.columns().items() if name != "seconds"}
    parameters = trainer.network.flat_parameters.tobytes()
    memory = {name: values.tobytes() for name, values in trainer.optimizer.state_dict().items()}
    history = (trainer.history.best_epoch, trainer.history.stopped)
    return {
        **columns,
        "parameters": parameters,
        **memory,
        "rng": repr(trainer.rng.bit_generator.state),
        "history": history,
    }


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", ["constant", "cosine", Plateau(factor=0.5, patience=1, tol=0.5)])
def test_resumed_is_uninterrupted(optimizer: str, schedule: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    options = {"optimizer": optimizer, "schedule": schedule, "learning_rate": 0.02}
    whole = make_trainer(**options)
    whole.fit(SEQUENCES, TARGETS, **DATA)
    broken = make_trainer(**options, callbacks=[Checkpoint(path)])
    InterruptedAt(broken, 7 * 5 + 3)
    with pytest.warns(UserWarning, match="interrupted after 5 epochs"):
        broken.fit(SEQUENCES, TARGETS, **DATA)
    resumed = make_trainer(**options)
    resumed.fit(SEQUENCES, TARGETS, **DATA, resume_from=path)
    assert outcome(resumed) == outcome(whole)
    assert len(resumed.history.seconds) == 12


@pytest.mark.parametrize("n_iter_no_change", [2, 4])
def test_resumed_with_early_stopping(n_iter_no_change: int, tmp_path: Path) -> None:
    """The epochs without progress are counted across the interruption; the best parameters may come from before it."""
    path = tmp_path / "run.safetensors"
    options = {"early_stopping": True, "n_iter_no_change": n_iter_no_change, "learning_rate": 0.3, "max_epochs": 60}
    whole = make_trainer(**options)
    whole.fit(SEQUENCES, TARGETS, **DATA)
    assert whole.history.stopped is not None
    best, last = whole.history.best_epoch or 0, len(whole.history)
    for epochs in (best, best + 1, last - 1, last):
        broken = make_trainer(**options, callbacks=[Checkpoint(path), lambda trainer, n=epochs: trainer.epoch == n])
        broken.fit(SEQUENCES, TARGETS, **DATA)
        resumed = make_trainer(**options)
        resumed.fit(SEQUENCES, TARGETS, **DATA, resume_from=path)
        assert outcome(resumed) == outcome(whole)


def test_resumed_second_fit(tmp_path: Path) -> None:
    """A second fit counts its own epochs and has a best epoch of its own."""
    path = tmp_path / "run.safetensors"
    whole = make_trainer(schedule="cosine")
    whole.fit(SEQUENCES, TARGETS, **DATA)
    whole.config.callbacks = [lambda trainer: trainer.epoch == 3 and trainer.save_checkpoint(path)]
    whole.fit(SEQUENCES, TARGETS, **DATA)
    resumed = make_trainer(schedule="cosine")
    resumed.fit(SEQUENCES, TARGETS, **DATA, resume_from=path)
    assert len(resumed.history) == 24
    assert outcome(resumed) == outcome(whole)


def test_more_epochs_than_planned(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    make_trainer(max_epochs=4, callbacks=[Checkpoint(path)]).fit(SEQUENCES, TARGETS, **DATA)
    longer, whole = make_trainer(max_epochs=9), make_trainer(max_epochs=9)
    longer.fit(SEQUENCES, TARGETS, **DATA, resume_from=path)
    whole.fit(SEQUENCES, TARGETS, **DATA)
    assert outcome(longer) == outcome(whole)


def test_csv_log_of_a_resumed_training(tmp_path: Path) -> None:
    """Rows of epochs that the checkpoint does not know are written again, not twice."""
    path, log = tmp_path / "run.safetensors", tmp_path / "log.csv"
    callbacks = [CSVLog(log), Checkpoint(path, every=3), lambda trainer: trainer.epoch == 5]
    make_trainer(callbacks=callbacks).fit(SEQUENCES, TARGETS)
    assert len(log.read_text().splitlines()) == 6
    make_trainer(callbacks=[CSVLog(log)]).fit(SEQUENCES, TARGETS, resume_from=path)
    epochs = [line.split(",")[0] for line in log.read_text().splitlines()]
    assert epochs == ["epoch", *map(str, range(12))]


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_every_bit_generator(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    trainer, other = (make_trainer(getattr(np.random, kind)(seed)) for seed in (3, 4))
    trainer.rng.integers(5, dtype=np.uint8)  # half a word stays behind
    trainer.save_checkpoint(path)
    other.load_checkpoint(path)
    assert other.rng.integers(1 << 62, size=700).tolist() == trainer.rng.integers(1 << 62, size=700).tolist()


def test_what_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    trainer = make_trainer()
    trainer.extra["classes"] = ["down", "up"]
    trainer.fit(SEQUENCES, TARGETS, **DATA, max_epochs=3)
    trainer.save_checkpoint(path)
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["lstmcore_checkpoint"])
        assert set(file.keys()) >= {"parameters", "best"}
        assert file.get_tensor("parameters").tobytes() == trainer.network.flat_parameters.tobytes()
    assert header["format"] == 1
    assert header["history"]["loss_curve"] == trainer.history.loss_curve
    assert checkpoint.read_extra(path) == {"classes": ["down", "up"]}
    other = make_trainer()
    other.load_checkpoint(path)
    assert other.extra == trainer.extra


def test_files_of_another_training(tmp_path: Path) -> None:
    path, model = tmp_path / "run.safetensors", tmp_path / "model.safetensors"
    make_trainer().save_checkpoint(path)
    lstmcore.RNNRegressor(hidden_size=2, max_epochs=1).fit(X, TARGETS[:, 0]).save(model)
    cases: list[tuple[Trainer, Any, type[Exception], str]] = [
        (make_trainer(hidden_size=6), path, ValueError, r"it has \['recurrent.weight_ih_l0', \[20, 2\]\] where this"),
        (make_trainer(optimizer="sgd"), path, ValueError, r"it has \['optimizer', 'adam'\] where this training has"),
        (make_trainer(np.random.Philox(0)), path, ValueError, "no checkpoint of this training"),
        (make_trainer(), model, ValueError, "is a safetensors file, but not a checkpoint of lstmcore"),
        (make_trainer(), tmp_path / "nowhere", FileNotFoundError, "there is no checkpoint file"),
        (make_trainer(), 3, TypeError, "path must be a string or a path, got 3"),
    ]
    for trainer, file, error, message in cases:
        before = outcome(trainer)
        with pytest.raises(error, match=message):
            trainer.fit(SEQUENCES, TARGETS, resume_from=file)
        assert outcome(trainer) == before
    with pytest.raises(ValueError, match="is a safetensors file, but not a model of lstmcore"):
        lstmcore.load(path)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    make_trainer().save_checkpoint(path)
    content = path.read_bytes()
    for damaged in (content[:-7], content.replace(b"learning_rate", b"learning_ratf"), b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="checkpoint"):
            make_trainer().load_checkpoint(path)


def test_pooling_none(tmp_path: Path) -> None:
    """Targets of every row, and weights of the validation part."""
    series = np.random.default_rng(2).standard_normal((90, 1)).astype(np.float32)
    windows = Sequences(series, np.arange(0, 80, 4), np.full(20, 10))
    weights = np.random.default_rng(3).uniform(size=90).astype(np.float32)

    def train(**options: Any) -> Trainer:
        network = Network(lstmcore.GRU(1, 4, seed=0), None, Dense(4, 1, seed=0))
        config = TrainingConfig(Squared(), max_epochs=5, callbacks=options.pop("callbacks", None))
        trainer = Trainer(network, config, np.random.default_rng(0))
        trainer.fit(windows, series, weights=weights, validation=(windows, series, weights), **options)
        return trainer

    path = tmp_path / "run.safetensors"
    train(callbacks=[Checkpoint(path), lambda trainer: trainer.epoch == 2])
    assert outcome(train(resume_from=path)) == outcome(train())
