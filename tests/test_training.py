"""The training loop: validation, early stopping, interruption, divergence, weights, targets of every row, progress."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from data import ragged, sums

import lstmcore
from lstmcore.losses import Squared
from lstmcore.network import Dense, Network
from lstmcore.schedules import Schedule
from lstmcore.sequences import as_sequences
from lstmcore.training import History, Trainer, TrainingConfig, TrainingDiverged


def make_trainer(rng: np.random.Generator, **options: Any) -> tuple[Trainer, Any, np.ndarray]:
    recurrent = lstmcore.LSTM(2, 6, seed=0)
    network = Network(recurrent, "last", Dense(6, 1, seed=0))
    X = ragged(rng)
    config = TrainingConfig(Squared(), **{"max_epochs": 5, **options})
    trainer = Trainer(network, config, np.random.default_rng(0))
    return trainer, as_sequences(X), sums(X)[:, None].astype(np.float32)


class Recorder:
    """Keeps the parameters of each epoch, and does something after some epochs."""

    def __init__(self, **actions: Callable[[Trainer], Any]) -> None:
        self.actions = {int(name.removeprefix("after_")): action for name, action in actions.items()}
        self.parameters: list[bytes] = []

    def __call__(self, trainer: Trainer) -> Any:
        self.parameters.append(trainer.network.flat_parameters.tobytes())
        return self.actions.get(trainer.epoch, lambda trainer: None)(trainer)


def interrupt(trainer: Trainer) -> None:
    raise KeyboardInterrupt


def speed_up(trainer: Trainer) -> None:
    trainer.learning_rate = 5.0


def fail(trainer: Trainer) -> None:
    raise RuntimeError("disk full")


# ---- validation and early stopping ----


def test_validation_keeps_the_best_without_stopping(rng: np.random.Generator) -> None:
    recorder = Recorder(after_2=speed_up)
    trainer, sequences, targets = make_trainer(rng, learning_rate=1e-2, callbacks=[recorder], n_iter_no_change=1)
    history = trainer.fit(sequences, targets, validation=(sequences, targets))
    assert len(history) == 5
    assert history.stopped is None
    assert history.best_epoch == int(np.argmin(history.validation_curve)) == 1
    assert trainer.network.flat_parameters.tobytes() == recorder.parameters[1]
    loss, _ = Squared()(trainer.network.predict(sequences), targets)
    assert loss == min(history.validation_curve)


def test_early_stopping(rng: np.random.Generator) -> None:
    recorder = Recorder(after_2=speed_up)
    options = {"learning_rate": 1e-2, "callbacks": [recorder], "max_epochs": 50}
    trainer, sequences, targets = make_trainer(rng, early_stopping=True, n_iter_no_change=3, **options)
    history = trainer.fit(sequences, targets, validation=(sequences, targets))
    assert history.stopped == "the loss stopped falling"
    losses = history.validation_curve
    assert min(losses[-3:]) >= min(losses[:-3]) - trainer.config.tol
    assert len(losses) < 50
    assert trainer.network.flat_parameters.tobytes() == recorder.parameters[int(np.argmin(losses))]


def test_early_stopping_without_validation_watches_the_training_loss(rng: np.random.Generator) -> None:
    trainer, sequences, targets = make_trainer(rng, learning_rate=0.0, early_stopping=True, n_iter_no_change=2)
    history = trainer.fit(sequences, targets)
    assert len(history) == 3
    assert history.best_epoch is None


def test_validation_weights(rng: np.random.Generator) -> None:
    """Weights of 0 and 2 are samples left out and doubled; the score gets them too."""
    seen = []

    def score(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
        seen.append(weights)
        return float(np.average((outputs - targets)[:, 0] ** 2, weights=weights))

    trainer, sequences, targets = make_trainer(rng, score=score)
    other, _, _ = make_trainer(np.random.default_rng(20240229))
    weights = rng.integers(0, 3, len(targets)).astype(np.float32)
    twice = np.repeat(np.arange(len(targets)), weights.astype(int))
    history = trainer.fit(sequences, targets, validation=(sequences, targets, weights))
    expected = other.fit(sequences, targets, validation=(sequences.take(twice), targets[twice])).validation_curve
    np.testing.assert_allclose(history.validation_curve, expected, rtol=1e-6)
    np.testing.assert_allclose(history.validation_scores, expected, rtol=1e-6)
    assert seen[0] is weights


# ---- how training ends ----


def test_interrupt_keeps_what_was_learnt(rng: np.random.Generator) -> None:
    recorder = Recorder(after_2=interrupt)
    trainer, sequences, targets = make_trainer(rng, callbacks=[recorder])
    with pytest.warns(
        UserWarning, match="training was interrupted after 2 epochs: the model keeps its latest parameters"
    ):
        history = trainer.fit(sequences, targets)
    assert history.stopped == "interrupted"
    assert trainer.network.flat_parameters.tobytes() == recorder.parameters[-1]
    assert not trainer.network.flat_gradients.any()


def test_interrupt_with_validation_keeps_the_best(rng: np.random.Generator) -> None:
    recorder = Recorder(after_1=speed_up, after_3=interrupt)
    trainer, sequences, targets = make_trainer(rng, learning_rate=1e-2, callbacks=[recorder])
    with pytest.warns(UserWarning, match="interrupted after 3 epochs: the model keeps its best parameters"):
        history = trainer.fit(sequences, targets, validation=(sequences, targets))
    assert history.best_epoch == int(np.argmin(history.validation_curve)) == 0
    assert trainer.network.flat_parameters.tobytes() == recorder.parameters[0]


def test_divergence_restores_and_advises(rng: np.random.Generator) -> None:
    recorder = Recorder(after_2=lambda trainer: targets.__setitem__(slice(None), np.nan))
    trainer, sequences, targets = make_trainer(rng, clip_norm=None, callbacks=[recorder])
    with pytest.raises(TrainingDiverged, match=r"diverged in epoch 3: loss nan.*lower learning_rate \(it is 0.001\)"):
        trainer.fit(sequences, targets)
    # Those after epoch 2 never gave a finite loss; those after epoch 1 did.
    assert trainer.network.flat_parameters.tobytes() == recorder.parameters[0]
    assert trainer.history.stopped == "diverged"
    assert len(trainer.history) == 2


def test_divergence_never_leaves_parameters_that_overflow(rng: np.random.Generator) -> None:
    trainer, sequences, targets = make_trainer(rng, optimizer="sgd", learning_rate=1e36, clip_norm=None, batch_size=60)
    before = trainer.network.flat_parameters.tobytes()
    with pytest.raises(TrainingDiverged, match="diverged in epoch 2"):
        trainer.fit(sequences, targets)
    assert trainer.network.flat_parameters.tobytes() == before


def test_divergence_with_validation_keeps_the_best(rng: np.random.Generator) -> None:
    recorder = Recorder(after_3=lambda trainer: targets.__setitem__(slice(None), np.nan))
    trainer, sequences, targets = make_trainer(rng, learning_rate=1e-2, callbacks=[recorder])
    with pytest.raises(TrainingDiverged):
        trainer.fit(sequences, targets, validation=(sequences, targets.copy()))
    assert trainer.network.flat_parameters.tobytes() == recorder.parameters[trainer.history.best_epoch or 0]


def test_validation_loss_that_is_no_number(rng: np.random.Generator) -> None:
    trainer, sequences, targets = make_trainer(rng)
    with pytest.raises(TrainingDiverged, match="epoch 1: validation loss nan"):
        trainer.fit(sequences, targets, validation=(sequences, targets * np.nan))


def test_callback_that_raises_leaves_a_usable_model(rng: np.random.Generator) -> None:
    recorder = Recorder(after_2=fail)
    trainer, sequences, targets = make_trainer(rng, learning_rate=1e-2, callbacks=[recorder])
    with pytest.raises(RuntimeError, match="disk full"):
        trainer.fit(sequences, targets, validation=(sequences, targets))
    assert trainer.network.flat_parameters.tobytes() == recorder.parameters[trainer.history.best_epoch or 0]
    again = pickle.loads(pickle.dumps(trainer.network))
    assert again.predict(sequences).tobytes() == trainer.network.predict(sequences).tobytes()


# ---- options ----


def test_learning_rates_follow_the_schedule(rng: np.random.Generator) -> None:
    class Seen(Schedule):
        def rate(self, epoch: np.ndarray, epochs: float, losses: Any = ()) -> np.ndarray:
            asked.append((epoch, epochs, list(losses)))
            return 1.0 / (1.0 + epoch)

    asked: list[Any] = []
    trainer, sequences, targets = make_trainer(rng, batch_size=20, learning_rate=0.5, schedule=Seen(), max_epochs=3)
    history = trainer.fit(sequences, targets)
    thirds = (np.arange(3) + 0.5) / 3  # 60 sequences: 3 steps an epoch
    np.testing.assert_allclose([moments for moments, _, _ in asked], [k + thirds for k in range(3)])
    assert [losses for _, _, losses in asked] == [history.loss_curve[:k] for k in range(3)]
    np.testing.assert_allclose(history.learning_rates, [0.5 / (1 + k + 2.5 / 3) for k in range(3)])
    trainer.fit(sequences, targets, validation=(sequences, targets))
    assert asked[-1][2] == history.validation_curve[3:5]  # of this fit, and of the validation part


@pytest.mark.parametrize("rate", [-1.0, np.nan, np.inf])
def test_schedule_that_gives_nonsense(rng: np.random.Generator, rate: float) -> None:
    class Broken(Schedule):
        def rate(self, epoch: np.ndarray, epochs: float, losses: Any = ()) -> np.ndarray:
            return np.full(epoch.shape, rate)

    trainer, sequences, targets = make_trainer(rng, schedule=Broken())
    before = trainer.network.flat_parameters.tobytes()
    with pytest.raises(ValueError, match="schedule must give finite rates of at least 0"):
        trainer.fit(sequences, targets)
    assert trainer.network.flat_parameters.tobytes() == before


def test_clip_value(rng: np.random.Generator) -> None:
    """One step of plain SGD moves no parameter further than the learning rate times clip_value."""
    options = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "clip_norm": None, "max_epochs": 1}
    trainer, sequences, targets = make_trainer(rng, batch_size=60, clip_value=1e-3, **options)
    free, _, _ = make_trainer(np.random.default_rng(20240229), batch_size=60, **options)
    before = trainer.network.flat_parameters.copy()
    trainer.fit(sequences, targets)
    free.fit(sequences, targets)
    moves, gradients = trainer.network.flat_parameters - before, free.network.flat_parameters - before
    np.testing.assert_allclose(moves, np.clip(gradients, -1e-3, 1e-3), atol=1e-7)
    assert (np.abs(gradients) > 1e-3).any()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"schedule": "cosin"}, ValueError, r"schedule must be one of .* got 'cosin' \(did you mean 'cosine'\?\)"),
        ({"schedule": 3}, TypeError, "schedule must be a name or a Schedule, got 3"),
        ({"warmup_epochs": -1}, ValueError, "warmup_epochs must be at least 0, got -1"),
        ({"warmup_epochs": 5}, ValueError, "warmup_epochs must be below max_epochs=5, got 5"),
        ({"clip_value": 0.0}, ValueError, "clip_value must be positive or None, got 0.0"),
        ({"early_stopping": 1}, TypeError, "early_stopping must be True or False, got 1"),
        ({"callbacks": print}, TypeError, "callbacks must be a list or None, got <built-in function print>"),
        ({"callbacks": [print, 3]}, TypeError, r"callbacks\[1\] must be a function or have on_fit_begin or .* got 3"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TrainingConfig(Squared(), **{"max_epochs": 5, **options})


# ---- weights and targets ----


def test_weights_of_samples(rng: np.random.Generator) -> None:
    trainer, sequences, targets = make_trainer(rng, batch_size=1000)
    other, _, _ = make_trainer(rng, batch_size=1000)
    weights = np.ones(len(targets), np.float32)
    weights[:20] = 0
    trainer.fit(sequences, targets, weights=weights)
    other.fit(sequences.take(np.arange(20, len(targets))), targets[20:])
    np.testing.assert_allclose(trainer.network.flat_parameters, other.network.flat_parameters, atol=1e-6)


def test_batches_without_weight_are_left_out(rng: np.random.Generator) -> None:
    trainer, sequences, targets = make_trainer(rng, batch_size=1)
    other, _, _ = make_trainer(rng, batch_size=1)
    weights = np.zeros(len(targets), np.float32)
    weights[:2] = 1
    history = trainer.fit(sequences, targets, weights=weights)
    assert np.isfinite(history.loss_curve).all()
    # two samples with weight, a step each
    assert trainer.optimizer.state_dict()["steps"] == 2 * len(history)
    with pytest.raises(ValueError, match="weights must not all be 0"):
        other.fit(sequences, targets, weights=weights * 0)
    with pytest.raises(ValueError, match="weights of validation must not all be 0"):
        other.fit(sequences, targets, validation=(sequences, targets, weights * 0))


def test_loss_is_weighted_over_batches(rng: np.random.Generator) -> None:
    options = {"learning_rate": 0.0, "max_epochs": 1}
    trainer, sequences, targets = make_trainer(rng, batch_size=7, **options)
    weights = rng.uniform(0, 2, len(targets)).astype(np.float32)
    expected, _ = Squared()(trainer.network.predict(sequences), targets, weights)
    history = trainer.fit(sequences, targets, weights=weights, validation=(sequences, targets, weights))
    assert history.loss_curve[0] == pytest.approx(expected, rel=1e-6)
    assert history.validation_curve[0] == expected


def test_targets_of_every_row(rng: np.random.Generator) -> None:
    """Pooling None: windows of one series, a target for each of its rows."""
    series = rng.standard_normal((300, 1)).astype(np.float32)
    targets = np.vstack([series[:1], series[:-1]]).copy()  # the row before, zero-padded
    starts = np.arange(0, 280, 4)
    sequences = lstmcore.Sequences(series, starts, np.full(len(starts), 20))
    network = Network(lstmcore.GRU(1, 8, seed=0), None, Dense(8, 1, seed=0))
    config = TrainingConfig(Squared(), max_epochs=40, learning_rate=2e-2)
    history = Trainer(network, config, np.random.default_rng(0)).fit(
        sequences, targets, validation=(sequences, targets, np.ones(len(targets), np.float32))
    )
    assert history.validation_curve[-1] < 0.1
    outputs = network.predict(sequences).reshape(len(starts), 20)
    wanted = targets[starts[:, None] + np.arange(20), 0]
    assert ((outputs - wanted) ** 2).mean() == pytest.approx(min(history.validation_curve), rel=1e-5)


# ---- history and progress ----


def test_history_columns(rng: np.random.Generator) -> None:
    trainer, sequences, targets = make_trainer(rng, max_epochs=2)
    assert History().columns() == {"epoch": []}
    assert list(trainer.fit(sequences, targets).columns()) == [
        "epoch",
        "loss",
        "learning_rate",
        "gradient_norm",
        "seconds",
    ]
    trainer.fit(sequences, targets, validation=(sequences, targets))
    columns = trainer.fit(sequences, targets).columns()
    assert {len(values) for values in columns.values()} == {6}
    assert columns["epoch"] == list(range(6))
    assert np.isnan(columns["validation_loss"]).tolist() == [True, True, False, False, True, True]
    assert trainer.history.best_epoch == 3
    assert columns["learning_rate"] == [1e-3] * 6
    assert min(columns["gradient_norm"]) > 0
    assert min(columns["seconds"]) > 0


def test_gradient_norm_is_the_mean_before_clipping(rng: np.random.Generator) -> None:
    options = {"learning_rate": 0.0, "max_epochs": 1, "batch_size": 60}
    trainer, sequences, targets = make_trainer(rng, clip_norm=1e-3, **options)
    network = trainer.network
    _, doutput = Squared()(
        network.forward(sequences.batch(np.arange(60))), targets[np.argsort(-sequences.lengths, kind="stable")]
    )
    network.backward(doutput)
    expected = np.linalg.norm(network.flat_gradients)
    network.zero_gradients()
    assert trainer.fit(sequences, targets).gradient_norms == pytest.approx([expected], rel=1e-5)


def test_progress_bar(rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    trainer, sequences, targets = make_trainer(rng, verbose=1, score=lambda outputs, targets: 0.25)
    trainer.fit(sequences, targets, validation=(sequences, targets))
    out, err = capsys.readouterr()
    assert out == ""
    last = err.split("\r")[-1]
    assert "epoch 5/5: 100%" in last
    for part in ("300/300", "sequences/s", "loss=", "validation=", "score=0.25"):
        assert part in last


def test_progress_lines(
    rng: np.random.Generator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    trainer, sequences, targets = make_trainer(rng, verbose=1, max_epochs=3)
    trainer.fit(sequences, targets, validation=(sequences, targets))
    lines = capsys.readouterr().out.splitlines()
    for epoch, (line, loss) in enumerate(zip(lines, trainer.history.loss_curve, strict=True), 1):
        assert line.startswith(f"epoch {epoch}/3 loss {loss:.4g}, validation ")
        assert " sequences/s, " in line
    assert lines[-1].endswith(", 0 s left")


def test_silence(rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    trainer, sequences, targets = make_trainer(rng)
    trainer.fit(sequences, targets)
    assert capsys.readouterr() == ("", "")
