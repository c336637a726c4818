"""The training loop that all estimators share: fit → run_epoch → train_step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._progress import Progress
from lstmcore._validation import Array
from lstmcore.losses import Loss
from lstmcore.network import Network
from lstmcore.optimizers import OPTIMIZERS, Optimizer
from lstmcore.sequences import Batch, Sequences


@dataclass
class TrainingConfig:
    """How to train. See `lstmcore.RNNClassifier` for the meaning of each option.

    `score`, if given, is called with outputs and targets of the validation part after each epoch; its values go to
    ``history.validation_scores``.
    """

    loss: Loss
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    l1: float = 0.0
    clip_norm: float | None = 1.0
    batch_size: int = 32
    max_epochs: int = 100
    tbptt_steps: int | None = None
    n_iter_no_change: int = 10
    tol: float = 1e-4
    verbose: int = 0
    score: Callable[[Array, Array], float] | None = None

    def __post_init__(self) -> None:
        check.choice(self.optimizer, "optimizer", OPTIMIZERS)
        for name in ("batch_size", "max_epochs", "n_iter_no_change"):
            check.integer(getattr(self, name), name)
        check.integer(int(self.verbose) if isinstance(self.verbose, bool) else self.verbose, "verbose", 0)
        if self.tbptt_steps is not None:
            check.integer(self.tbptt_steps, "tbptt_steps")
        check.fraction(self.momentum, "momentum")
        for name in ("learning_rate", "weight_decay", "l1", "tol"):
            if check.real(getattr(self, name), name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)!r}")
        if self.clip_norm is not None and check.real(self.clip_norm, "clip_norm") <= 0:
            raise ValueError(f"clip_norm must be positive or None, got {self.clip_norm!r}")

    def make_optimizer(self, network: Network) -> Optimizer:
        """Return a new optimizer of the network's parameters."""
        options: dict[str, Any] = {"momentum": self.momentum} if self.optimizer == "sgd" else {}
        return OPTIMIZERS[self.optimizer](
            network, self.learning_rate, weight_decay=self.weight_decay, l1=self.l1, **options
        )


@dataclass
class History:
    """What happened, an entry an epoch.

    `best_epoch` counts from 0 and is None without a validation part; `stopped` says why training ended early, if so.
    """

    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stopped: str | None = None


class TrainingDiverged(ArithmeticError):
    """The loss or a gradient became NaN or infinite; the network has its last good parameters."""


class _Data(NamedTuple):
    """Sequences with what belongs to each: a target and a weight, or those of each row when `by_row`."""

    sequences: Sequences
    targets: Array
    weights: Array | None
    by_row: bool

    def batch(self, indices: Array) -> tuple[Batch, Array, Array | None]:
        """Pack sequences with their targets and weights."""
        batch = self.sequences.batch(indices)
        if not self.by_row:
            return batch, self.targets[batch.order], None if self.weights is None else self.weights[batch.order]
        rows = self.sequences.take(batch.order)
        starts, lengths, whole = rows.starts, rows.lengths, np.arange(len(rows))
        targets = core.pack_sequences(self.targets, starts, lengths, whole)[0]
        if self.weights is None:
            return batch, targets, None
        return batch, targets, core.pack_sequences(self.weights[:, None], starts, lengths, whole)[0][:, 0]

    def all_targets(self) -> Array:
        """Targets in the order of `Network.predict`."""
        if not self.by_row:
            return self.targets
        sequences = self.sequences
        ends = np.cumsum(sequences.lengths)
        offsets = np.repeat(sequences.starts - (ends - sequences.lengths), sequences.lengths)
        return self.targets[np.arange(ends[-1]) + offsets]


class _Best:
    """The parameters with the lowest validation loss, and how long ago that was."""

    def __init__(self, tol: float) -> None:
        self.tol = tol
        self.loss = math.inf
        self.mark = math.inf  # what the loss must fall below by tol to count as progress
        self.waited = 0
        self.parameters: Array | None = None

    def update(self, loss: float, parameters: Array) -> bool:
        """Take in an epoch; say whether it is the best so far."""
        self.waited = 0 if loss < self.mark - self.tol else self.waited + 1
        self.mark = min(self.mark, loss)
        if not loss < self.loss:
            return False
        self.loss, self.parameters = loss, parameters.copy()
        return True


class Trainer:
    """Trains a network; calling `fit` again goes on, with the optimizer's memory kept.

    Parameters
    ----------
    network : Network
        What to train.
    config : TrainingConfig
        How to train.
    rng : numpy.random.Generator
        Shuffles and seeds the masks of dropout and zoneout. The same generator gives the same bits for any number of
        threads.

    Attributes
    ----------
    history : History
        Of all calls of `fit`.
    optimizer : Optimizer
        Its `learning_rate` may be changed between epochs.
    """

    def __init__(self, network: Network, config: TrainingConfig, rng: np.random.Generator) -> None:
        if config.tbptt_steps is not None and network.recurrent.bidirectional:
            raise ValueError(f"tbptt_steps must be None with bidirectional=True, got {config.tbptt_steps!r}")
        self.network, self.config, self.rng = network, config, rng
        self.history = History()
        self.optimizer = config.make_optimizer(network)

    def fit(
        self,
        sequences: Sequences,
        targets: Array,
        *,
        weights: Array | None = None,
        validation: tuple[Sequences, Array] | None = None,
        max_epochs: int | None = None,
        on_epoch: Callable[[History], Any] | None = None,
    ) -> History:
        """Train for `max_epochs` (default: the configured number), or until the validation loss stops falling.

        Parameters
        ----------
        sequences : Sequences
            What to learn from.
        targets : ndarray
            ``targets[i]`` belongs to sequence i: [n] of int64 for cross-entropy, else [n, n_targets] of the network's
            dtype. With pooling None [R, n_targets]: a target for each row of ``sequences.values``.
        weights : ndarray [n] or [R], optional
            Weigh the samples in the loss.
        validation : (Sequences, targets), optional
            Its loss is measured after each epoch. The parameters of the best epoch are kept, and training stops once
            it has not fallen by `tol` in `n_iter_no_change` epochs.
        max_epochs : int, optional
            Passes over the data.
        on_epoch : callable, optional
            Called with the history after each epoch; returning True stops training.

        Returns
        -------
        History
            The trainer's.

        Raises
        ------
        TrainingDiverged
            When the loss or a gradient is no longer finite. The network keeps its last good parameters.

        Notes
        -----
        Ctrl-C ends training with a warning; the best parameters so far are kept.
        """
        by_row = self.network.pooling is None
        data = _Data(sequences, targets, weights, by_row)
        held_out = None if validation is None else _Data(*validation, None, by_row)
        epochs = self.config.max_epochs if max_epochs is None else max_epochs
        best = _Best(self.config.tol)
        self.history.stopped = None
        try:
            with Progress(self.config.verbose, epochs, len(sequences)) as progress:
                self._fit_loop(data, held_out, epochs, best, progress, on_epoch)
        except KeyboardInterrupt:
            self.history.stopped = "interrupted"
            done = len(self.history.loss_curve)
            kept = "latest" if best.parameters is None else "best"
            warnings.warn(
                f"training was interrupted after {done} epochs: the model keeps its {kept} parameters", stacklevel=3
            )
        finally:
            if best.parameters is not None:
                self._restore(best.parameters)
            else:
                self.network.parameters_changed()  # an interrupt may have come between an update and this call
                self.network.zero_gradients()
        return self.history

    def _fit_loop(
        self,
        data: _Data,
        held_out: _Data | None,
        epochs: int,
        best: _Best,
        progress: Progress,
        on_epoch: Callable[[History], Any] | None,
    ) -> None:
        history = self.history
        for _ in range(epochs):
            good = self.network.flat_parameters.copy()
            try:
                history.loss_curve.append(self.run_epoch(data, progress))
            except TrainingDiverged:
                history.stopped = "diverged"
                self._restore(good)
                raise
            if held_out is not None and best.update(self._validate(held_out), self.network.flat_parameters):
                history.best_epoch = len(history.loss_curve) - 1
            progress.epoch_done(history)
            if best.waited >= self.config.n_iter_no_change:
                history.stopped = "the validation loss stopped falling"
                return
            if on_epoch is not None and on_epoch(history) is True:
                history.stopped = "on_epoch"
                return

    def run_epoch(self, data: Any, progress: Progress | None = None) -> float:
        """Pass once over the data in random minibatches; returns the mean loss."""
        total, count = 0.0, 0
        for indices in data.sequences.minibatches(self.config.batch_size, self.rng):
            batch, targets, weights = data.batch(indices)
            total += self.train_step(batch, targets, weights) * len(targets)
            count += len(targets)
            if progress is not None:
                progress.advance(len(indices))
        return total / count

    def train_step(self, batch: Batch, targets: Array, weights: Array | None = None) -> float:
        """Take one step of the optimizer on one batch; returns the loss before it."""
        network, config = self.network, self.config
        seed = int(self.rng.integers(1 << 62)) if network.recurrent.draws_masks else 0
        output = network.forward(batch, training=True, seed=seed, tbptt_steps=config.tbptt_steps)
        loss, doutput = config.loss(output, targets, weights)
        network.backward(doutput)
        norm = self.optimizer.step(config.clip_norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingDiverged(self._advice(loss, norm))
        return loss

    def _validate(self, held_out: _Data) -> float:
        """Measure the validation loss, and the score if there is one."""
        outputs, targets = self.network.predict(held_out.sequences), held_out.all_targets()
        loss, _ = self.config.loss(outputs, targets)
        self.history.validation_curve.append(loss)
        if self.config.score is not None:
            self.history.validation_scores.append(self.config.score(outputs, targets))
        return loss

    def _restore(self, parameters: Array) -> None:
        self.network.flat_parameters[:] = parameters
        self.network.parameters_changed()
        self.network.zero_gradients()

    def _advice(self, loss: float, norm: float) -> str:
        epoch = len(self.history.loss_curve) + 1
        config = self.config
        return (
            f"training diverged in epoch {epoch}: loss {loss}, norm of the gradients {norm}. The model has its last "
            f"good parameters. Try a lower learning_rate (it is {config.learning_rate!r}), a smaller clip_norm "
            f"({config.clip_norm!r}), or inputs and targets scaled to about unit size"
        )


def fit_network(
    network: Network,
    sequences: Sequences,
    targets: Array,
    config: TrainingConfig,
    rng: np.random.Generator,
    validation: tuple[Sequences, Array] | None = None,
    on_epoch: Callable[[History], Any] | None = None,
) -> History:
    """Train `network` once; see `Trainer.fit`."""
    return Trainer(network, config, rng).fit(sequences, targets, validation=validation, on_epoch=on_epoch)
