"""The training loop that all estimators share: fit → epoch → train_step."""

from __future__ import annotations

import math
import os
import time
import warnings
from typing import Any

import numpy as np

from lstmcore import checkpoint
from lstmcore._progress import Progress
from lstmcore._samples import Samples
from lstmcore._training_config import TrainingConfig
from lstmcore._validation import Array
from lstmcore.callbacks import Callbacks
from lstmcore.chunks import Chunks
from lstmcore.history import History
from lstmcore.network import Network
from lstmcore.schedules import plateaus
from lstmcore.sequences import Batch, Sequences

__all__ = ["History", "Trainer", "TrainingConfig", "TrainingDiverged"]


class TrainingDiverged(ArithmeticError):
    """The loss or a gradient became NaN or infinite; the network has its last good parameters."""


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
    learning_rate : float
        What the schedule's factor multiplies; callbacks may change it between epochs.
    optimizer : Optimizer
        Its `learning_rate` is set before each step.
    extra : dict
        Values for JSON that checkpoints carry for whoever owns the trainer.

    Examples
    --------
    >>> import numpy as np, lstmcore
    >>> from lstmcore.losses import Squared
    >>> from lstmcore.network import Dense
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((200, 1), dtype=np.float32)
    >>> windows = lstmcore.Sequences(x, np.arange(0, 190), np.full(190, 10))
    >>> network = lstmcore.Network(lstmcore.GRU(1, 8, seed=0), "last", Dense(8, 1, seed=0))
    >>> config = TrainingConfig(Squared(), max_epochs=20, schedule="one_cycle", learning_rate=0.02)
    >>> history = Trainer(network, config, rng).fit(windows, x[9:199])  # to remember the last value
    >>> history.loss_curve[-1] < 0.02 * history.loss_curve[0]
    True
    """

    def __init__(self, network: Network, config: TrainingConfig, rng: np.random.Generator) -> None:
        if config.tbptt_steps is not None and network.recurrent.bidirectional:
            raise ValueError(f"tbptt_steps must be None with bidirectional=True, got {config.tbptt_steps!r}")
        self.network, self.config, self.rng = network, config, rng
        self.history = History()
        self.learning_rate = float(config.learning_rate)
        self.optimizer = config.make_optimizer(network)
        self.extra: dict[str, Any] = {}
        self._first = 0  # the epoch of the history with which the present fit began
        self._best: Array | None = None  # parameters with the lowest validation loss of the present fit
        self._good: Array | None = None  # the latest at the start of an epoch, or of the fit, that gave a finite loss

    @property
    def epoch(self) -> int:
        """How many epochs of the present `fit` are done."""
        return len(self.history) - self._first

    def fit(
        self,
        sequences: Sequences,
        targets: Array,
        *,
        weights: Array | None = None,
        validation: tuple[Any, ...] | None = None,
        max_epochs: int | None = None,
        resume_from: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train for `max_epochs`, or until the loss stops falling with `early_stopping`, or a callback says so.

        Parameters
        ----------
        sequences : Sequences
            What to learn from.
        targets : ndarray
            ``targets[i]`` belongs to sequence i: [n] of int64 for cross-entropy, else [n, n_targets] of the network's
            dtype. With pooling None [R, n_targets]: a target for each row of ``sequences.values``.
        weights : ndarray [n] or [R], optional
            Weigh the samples in the loss. A batch without any weight is left out.
        validation : (Sequences, targets) or (Sequences, targets, weights), optional
            Its loss is measured after each epoch, and the parameters of the epoch with the lowest are those that the
            network has in the end, however training ends.
        max_epochs : int, optional
            Passes over the data, and the span of the schedule; default: the configured number.
        resume_from : str or path, optional
            A checkpoint of a `fit` with the same arguments, which goes on as if nothing had come between: the same
            bits.

        Returns
        -------
        History
            The trainer's.

        Raises
        ------
        TrainingDiverged
            When a loss or a gradient is no longer finite. The network has its best parameters, or without validation
            the last good ones.
        ValueError
            If weights are all zero, or the checkpoint is one of another training.

        Notes
        -----
        Ctrl-C ends training with a warning; the best parameters so far are kept, or without validation the latest.
        """
        data = self._samples("weights", sequences, targets, weights)
        held_out = None if validation is None else self._samples("weights of validation", *validation)
        epochs = self.config.max_epochs if max_epochs is None else max_epochs
        callbacks = Callbacks(self.config.callbacks)
        if resume_from is None:
            self._first, self._best = len(self.history), None
        else:
            self.load_checkpoint(resume_from)
        self._good = self.network.flat_parameters.copy()
        self.history.stopped = None
        try:
            with Progress(self.config.verbose, epochs, len(sequences), self.epoch) as progress:
                callbacks.on_fit_begin(self)
                self.history.stopped = self._run(data, held_out, epochs, progress, callbacks)
        except KeyboardInterrupt:
            self.history.stopped = "interrupted"
            kept = "latest" if self._best is None else "best"
            warnings.warn(
                f"training was interrupted after {len(self.history)} epochs: the model keeps its {kept} parameters",
                stacklevel=3,
            )
        except TrainingDiverged:
            self.history.stopped = "diverged"
            self._set_parameters(self._good)
            raise
        finally:
            self._set_parameters(self._best)
            self._good = None
            callbacks.on_fit_end(self)
        return self.history

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write all that training needs to go on to one file, after an epoch: for `resume_from` of `fit`.

        The file holds parameters, the best parameters, the optimizer's memory, the history and the random generator's
        state, as data and never code. See `lstmcore.callbacks.Checkpoint`.

        Parameters
        ----------
        path : str or path
            An existing file is replaced only by a complete one.
        """
        checkpoint.save(self, path)

    def load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Put network, optimizer, history and random generator where a trainer's `save_checkpoint` found them.

        Parameters
        ----------
        path : str or path
            A checkpoint of a network with the same parameters, and of the same kind of optimizer.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is none or damaged, or one of another network, optimizer or generator. Nothing is changed then.
        """
        checkpoint.load(self, path)

    def train_step(self, batch: Batch, targets: Array, weights: Array | None = None) -> tuple[float, float]:
        """Take one step of the optimizer on one batch; return the loss before it and the norm of the gradient."""
        network, config = self.network, self.config
        seed = int(self.rng.integers(1 << 62)) if network.draws_masks else 0
        output = network.forward(batch, training=True, seed=seed, tbptt_steps=config.tbptt_steps)
        loss, doutput = config.loss(output, targets, weights)
        network.backward(doutput)
        norm = self.optimizer.step(config.clip_norm, config.clip_value)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._diverged(f"loss {loss}, norm of the gradients {norm}")
        return loss, norm

    def _samples(self, name: str, sequences: Sequences, targets: Array, weights: Array | None = None) -> Samples:
        """Return what to train or measure on, if any of it has a weight; `name` is that of the weights."""
        samples = Samples(sequences, targets, weights, self.network.pooling is None)
        if weights is not None and not samples.all_targets()[1].any():
            raise ValueError(f"{name} must not all be 0, got {weights!r}")
        return samples

    def _run(
        self, data: Samples, held_out: Samples | None, epochs: int, progress: Progress, callbacks: Callbacks
    ) -> str | None:
        """Train epoch after epoch; return why training ended early, if it did."""
        config = self.config
        while self.epoch < epochs:
            if config.early_stopping and plateaus(self._losses(), config.tol, config.n_iter_no_change):
                return "the loss stopped falling"
            started = time.perf_counter()
            measured = self._run_epoch(data, epochs, progress)
            if held_out is not None:
                measured |= self._validate(held_out)
            self.history.record(**measured, seconds=time.perf_counter() - started)
            progress.epoch_done(self.history)
            if callbacks.on_epoch_end(self):
                return "a callback"
        return None

    def _run_epoch(self, data: Samples, epochs: int, progress: Progress) -> dict[str, float]:
        """Pass once over the data in random minibatches; return what was measured."""
        start = self.network.flat_parameters.copy()
        minibatches = data.sequences.minibatches(self.config.batch_size, self.rng)
        losses, norms, shares = [], [], []
        before, self.network.final_states = None, None
        for indices, rate in zip(minibatches, self._learning_rates(len(minibatches), epochs), strict=True):
            batch, targets, weights = data.batch(indices)
            batch = before = data.sequences.carry(batch, before, self.network.final_states)
            share = float(len(targets) if weights is None else weights.sum())
            if share:
                self.optimizer.learning_rate = rate
                loss, norm = self.train_step(batch, targets, weights)
                self._good = start  # the first loss was finite
                losses.append(loss)
                norms.append(norm)
                shares.append(share)
            progress.advance(len(indices))
        rate = self.optimizer.learning_rate
        loss, norm = float(np.average(losses, weights=shares)), float(np.mean(norms))
        return {"loss": loss, "gradient_norm": norm, "learning_rate": rate}

    def _learning_rates(self, n_steps: int, epochs: int) -> list[float]:
        """Return the learning rate of each step of the next epoch: the schedule's in the middle of the step."""
        schedule = self.config.make_schedule()
        moments = self.epoch + (np.arange(n_steps) + 0.5) / n_steps
        rates = self.learning_rate * np.broadcast_to(schedule.rate(moments, epochs, self._losses()), n_steps)
        if not (np.isfinite(rates) & (rates >= 0)).all():
            raise ValueError(f"schedule must give finite rates of at least 0, got {rates!r} of {schedule!r}")
        return [float(rate) for rate in rates]

    def _losses(self) -> list[float]:
        """Return the losses of the present fit that early stopping and schedules look at."""
        curve = self.history.loss_curve if self._best is None else self.history.validation_curve
        return curve[self._first :]

    def _validate(self, held_out: Samples) -> dict[str, float]:
        """Return the validation loss, and the score if there is one; keep the best parameters."""
        loss, score = self._measure(held_out)
        if not math.isfinite(loss):
            raise self._diverged(f"validation loss {loss}")
        if self._best is None or loss < min(self._losses()):
            self._best, self.history.best_epoch = self.network.flat_parameters.copy(), len(self.history)
        return {"validation_loss": loss} | ({} if score is None else {"validation_score": score})

    def _measure(self, data: Samples) -> tuple[float, float | None]:
        """Return loss and score. Of chunks, whose outputs at all steps are many, the loss batch by batch."""
        network, config = self.network, self.config
        if isinstance(data.sequences, Chunks):
            losses, shares = [], []
            for batch, output in network.outputs(data.sequences, config.batch_size):
                losses.append(config.loss(output, *data.of(batch))[0])
                shares.append(len(output))
            return float(np.average(losses, weights=shares)), None
        outputs, targets = network.predict(data.sequences), data.all_targets()
        return config.loss(outputs, *targets)[0], None if config.score is None else config.score(outputs, *targets)

    def _set_parameters(self, parameters: Array | None) -> None:
        """Give the network parameters (None: leave its own) and put it in order after any interruption."""
        if parameters is not None:
            self.network.flat_parameters[:] = parameters
        self.network.parameters_changed()
        self.network.zero_gradients()

    def _diverged(self, found: str) -> TrainingDiverged:
        config = self.config
        return TrainingDiverged(
            f"training diverged in epoch {len(self.history) + 1}: {found}. The model has its last good parameters. "
            f"Try a lower learning_rate (it is {config.learning_rate!r}), a smaller clip_norm ({config.clip_norm!r}), "
            f"warmup_epochs ({config.warmup_epochs!r}), or inputs and targets scaled to about unit size"
        )
