"""The options of training, and the parts that are made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lstmcore import _validation as check
from lstmcore.callbacks import Callbacks
from lstmcore.losses import Loss
from lstmcore.network import Network
from lstmcore.optimizers import OPTIMIZERS, Optimizer
from lstmcore.schedules import Schedule, as_schedule


@dataclass
class TrainingConfig:
    """How to train. See `lstmcore.RNNClassifier` for the meaning of each option.

    Attributes
    ----------
    loss : Loss
    optimizer : str
        A name of `lstmcore.optimizers.OPTIMIZERS`.
    learning_rate : float
        The base learning rate.
    schedule : str or Schedule
        What becomes of it; see `lstmcore.schedules`. A schedule spans one call of ``fit``.
    warmup_epochs : float
        The learning rate rises linearly from 0 in this many epochs; the schedule spans the rest.
    momentum : float
        Of "sgd" and "nesterov".
    weight_decay, l1 : float
        Of the weights; biases do not decay.
    clip_norm, clip_value : float or None
        Largest norm of the gradient, and largest size of each of its components, which is clipped first.
    batch_size, max_epochs : int
        Sequences of a step of the optimizer; passes over the data.
    tbptt_steps : int or None
        Truncated back-propagation through time.
    early_stopping : bool
        Stop once the validation loss (without validation: the training loss) has not been lower by `tol` than the
        lowest before in `n_iter_no_change` epochs in a row. Without early stopping a validation part is measured all
        the same, and decides which parameters are kept: those of its best epoch.
    n_iter_no_change : int
    tol : float
    callbacks : list or None
        See `lstmcore.callbacks`.
    verbose : int
        1: a progress bar, or without tqdm a line an epoch.
    score : callable, optional
        Called with outputs and targets of the validation part after each epoch, and with its weights if it has any.
    """

    loss: Loss
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str | Schedule = "constant"
    warmup_epochs: float = 0
    momentum: float = 0.9
    weight_decay: float = 0.0
    l1: float = 0.0
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    batch_size: int = 32
    max_epochs: int = 100
    tbptt_steps: int | None = None
    early_stopping: bool = False
    n_iter_no_change: int = 10
    tol: float = 1e-4
    callbacks: list[Any] | tuple[Any, ...] | None = None
    verbose: int = 0
    score: Callable[..., float] | None = None

    def __post_init__(self) -> None:
        check.choice(self.optimizer, "optimizer", OPTIMIZERS)
        for name in ("batch_size", "max_epochs", "n_iter_no_change"):
            check.integer(getattr(self, name), name)
        check.integer(int(self.verbose) if isinstance(self.verbose, bool) else self.verbose, "verbose", 0)
        if self.tbptt_steps is not None:
            check.integer(self.tbptt_steps, "tbptt_steps")
        check.fraction(self.momentum, "momentum")
        check.flag(self.early_stopping, "early_stopping")
        Callbacks(self.callbacks)
        for name in ("learning_rate", "warmup_epochs", "weight_decay", "l1", "tol"):
            if check.real(getattr(self, name), name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)!r}")
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None and check.real(getattr(self, name), name) <= 0:
                raise ValueError(f"{name} must be positive or None, got {getattr(self, name)!r}")
        if self.warmup_epochs >= self.max_epochs:
            raise ValueError(f"warmup_epochs must be below max_epochs={self.max_epochs}, got {self.warmup_epochs!r}")
        self.make_schedule()

    def make_optimizer(self, network: Network) -> Optimizer:
        """Return a new optimizer of the network's parameters."""
        options: dict[str, Any] = {"momentum": self.momentum} if self.optimizer in ("sgd", "nesterov") else {}
        return OPTIMIZERS[self.optimizer](
            network, self.learning_rate, weight_decay=self.weight_decay, l1=self.l1, **options
        )

    def make_schedule(self) -> Schedule:
        """Return the schedule behind its warm-up."""
        return as_schedule(self.schedule, self.warmup_epochs)
