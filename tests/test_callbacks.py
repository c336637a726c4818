"""What training calls while it runs."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data import ragged, sums
from sklearn.base import clone

import lstmcore
from lstmcore.callbacks import Callback, Checkpoint, CSVLog
from lstmcore.losses import Squared
from lstmcore.network import Dense, Network
from lstmcore.sequences import as_sequences
from lstmcore.training import Trainer, TrainingConfig


def make_trainer(rng: np.random.Generator, **options: Any) -> tuple[Trainer, Any, np.ndarray]:
    network = Network(lstmcore.GRU(2, 4, seed=0), "last", Dense(4, 1, seed=0))
    X = ragged(rng, 20)
    trainer = Trainer(network, TrainingConfig(Squared(), **{"max_epochs": 4, **options}), np.random.default_rng(0))
    return trainer, as_sequences(X), sums(X)[:, None].astype(np.float32)


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Log(Callback):
    """Writes down what is called when."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.events: list[Any] = []
        self.stop_after = stop_after

    def on_fit_begin(self, trainer: Trainer) -> None:
        self.events.append("begin")

    def on_epoch_end(self, trainer: Trainer) -> Any:
        self.events.append(trainer.epoch)
        return np.bool_(trainer.epoch == self.stop_after)

    def on_fit_end(self, trainer: Trainer) -> None:
        self.events.append(("end", trainer.history.stopped))


def test_events(rng: np.random.Generator) -> None:
    log, counted = Log(), []

    class OnlyTheEnd:
        def on_fit_end(self, trainer: Trainer) -> None:
            counted.append(len(trainer.history))

    trainer, sequences, targets = make_trainer(rng, callbacks=[log, OnlyTheEnd(), lambda trainer: counted.append(0)])
    trainer.fit(sequences, targets)
    trainer.fit(sequences, targets, max_epochs=1)
    assert log.events == ["begin", 1, 2, 3, 4, ("end", None), "begin", 1, ("end", None)]
    assert counted == [0, 0, 0, 0, 4, 0, 5]


def test_a_callback_stops(rng: np.random.Generator) -> None:
    """All callbacks see the epoch after which one of them stops."""
    seen: list[int] = []
    log = Log(stop_after=2)
    trainer, sequences, targets = make_trainer(rng, callbacks=[log, lambda trainer: seen.append(trainer.epoch)])
    history = trainer.fit(sequences, targets)
    assert len(history) == 2
    assert seen == [1, 2]
    assert log.events[-1] == ("end", "a callback")
    by_function, _, _ = make_trainer(rng, callbacks=[lambda trainer: len(trainer.history) == 3])
    assert len(by_function.fit(sequences, targets)) == 3


def test_the_end_is_told_however_it_comes(rng: np.random.Generator) -> None:
    log = Log()

    def interrupt(trainer: Trainer) -> None:
        raise KeyboardInterrupt

    trainer, sequences, targets = make_trainer(rng, callbacks=[interrupt, log])
    with pytest.warns(UserWarning, match="interrupted"):
        trainer.fit(sequences, targets)
    assert log.events == ["begin", ("end", "interrupted")]


def test_csv_log(rng: np.random.Generator, tmp_path: Path) -> None:
    path, lines = tmp_path / "log.csv", []
    count = lambda trainer: lines.append(len(path.read_text().splitlines()))  # noqa: E731
    trainer, sequences, targets = make_trainer(rng, callbacks=[CSVLog(path), count])
    trainer.fit(sequences, targets)
    assert lines == [2, 3, 4, 5]  # there is a row as soon as its epoch has ended
    columns = trainer.history.columns()
    found = rows(path)
    assert list(found[0]) == list(columns)
    assert {name: [float(row[name]) for row in found] for name in columns} == columns
    # A second fit of the same trainer goes on, with what is measured now.
    trainer.fit(sequences, targets, validation=(sequences, targets), max_epochs=2)
    found = rows(path)
    assert [row["epoch"] for row in found] == ["0", "1", "2", "3", "4", "5"]
    assert [row["validation_loss"] == "nan" for row in found] == [True] * 4 + [False] * 2
    # A new trainer begins anew.
    other, _, _ = make_trainer(rng, callbacks=[CSVLog(path)])
    other.fit(sequences, targets, max_epochs=1)
    assert len(rows(path)) == 1


def test_checkpoint_every(rng: np.random.Generator, tmp_path: Path) -> None:
    path, there = tmp_path / "run.safetensors", []
    callbacks = [Checkpoint(path, every=3), lambda trainer: there.append(path.exists())]
    trainer, sequences, targets = make_trainer(rng, callbacks=callbacks)
    trainer.fit(sequences, targets)
    assert there == [False, False, True, True]
    other, _, _ = make_trainer(rng)
    other.load_checkpoint(path)
    assert len(other.history) == 3


def test_callbacks_are_parameters_as_scikit_learn_wants_them(tmp_path: Path) -> None:
    """Equal after a copy, unchanged by training."""
    for callback in (CSVLog(tmp_path / "log.csv"), Checkpoint(tmp_path / "run.safetensors", 2)):
        before = repr(callback)
        assert clone(callback, safe=False) == callback == pickle.loads(pickle.dumps(callback))
        trainer, sequences, targets = make_trainer(np.random.default_rng(0), callbacks=[callback])
        trainer.fit(sequences, targets)
        assert repr(callback) == before
        assert pickle.loads(pickle.dumps(trainer)).config.callbacks == [callback]


def test_bad_options() -> None:
    with pytest.raises(TypeError, match="path must be a string or a path, got 7"):
        CSVLog(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="path must be a string or a path, got None"):
        Checkpoint(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        Checkpoint("run.safetensors", every=0)
    with pytest.raises(TypeError, match=r"callbacks\[0\] must be a function or have .*got <class .*CSVLog'>"):
        TrainingConfig(Squared(), callbacks=[CSVLog])
