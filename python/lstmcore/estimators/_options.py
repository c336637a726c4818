"""The options that all estimators share, each stated once: a field of a dataclass, described in its docstring."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from sklearn.utils.class_weight import compute_sample_weight

from lstmcore import _options as layer_options
from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._validation import Array
from lstmcore.losses import Loss
from lstmcore.time_delay import CELLS as TIME_DELAY_CELLS
from lstmcore.time_delay import checked_delays
from lstmcore.training import TrainingConfig

Class = TypeVar("Class", bound=type)

CELL_ALIASES = {"rnn": "rnn_tanh", "tdnn": "tdnn_tanh"}


def documented(cls: Class) -> Class:
    """Give a class its own parameters' descriptions, then those of the dataclasses that it inherits options from."""
    inherited = [
        text
        for base in cls.__mro__[1:]
        if "__dataclass_fields__" in vars(base) and (text := _section(base.__doc__ or "", "Parameters"))
    ]
    own = inspect.cleandoc(cls.__doc__ or "")
    if inherited and own:
        mine = _section(own, "Parameters")
        title = "Parameters\n----------\n"
        if mine:
            cls.__doc__ = own.replace(mine, "\n".join([mine, *inherited]), 1)
        else:
            summary, _, rest = own.partition("\n\nAttributes\n")
            cls.__doc__ = f"{summary}\n\n{title}" + "\n".join(inherited) + f"\n\nAttributes\n{rest}"
    return cls


def _section(doc: str, name: str) -> str:
    """The text of one section of a numpydoc docstring, without its title; empty if there is none."""
    found = re.search(
        rf"^{name}\n-+\n(.*?)(?=\n\n[A-Z][\w ]*\n-+\n|\Z)", inspect.cleandoc(doc), re.DOTALL | re.MULTILINE
    )
    return found[1].rstrip() if found else ""


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkOptions:
    """The recurrent layers.

    Parameters
    ----------
    cell : str, default="lstm"
        A name that `lstmcore.cells` lists; "rnn" means "rnn_tanh". Or "tdnn", which remembers a fixed number of steps:
        `lstmcore.TimeDelay` with tanh; also "tdnn_relu", "tdnn_hardtanh" and "tdnn_linear".
    peepholes : bool, str or None, default=None
        Gates of an LSTM that see the cell state: letters such as "io", True for all, None for what the name says.
    forget_bias : float or None, default=None
        What the forget gate's bias starts from: 1 keeps most of the old state at first (Jozefowicz et al. 2015).
    hidden_size, num_layers : int, default=64, 1
        Size of the recurrent stack.
    dropout : float, default=0.0
        Share of each layer's outputs that is dropped in training, before the next layer and before the dense layer.
    recurrent_dropout : float, default=0.0
        Share of the units that do not reach the next step in training: the same ones at all steps of a sequence (Gal &
        Ghahramani 2016).
    zoneout : float, default=0.0
        Probability with which a unit keeps its previous value at a step of training; predictions take the expected
        value (Krueger et al. 2017).
    periods : sequence of int, optional
        Of a clockwork cell: the period of each group of units in steps, see `RNN`; default: 1, 2, 4, 8.
    recompute : bool, default=False
        Compute the gates again in the backward pass instead of keeping them: about a third of the memory of training,
        about a quarter more time, the same bits.
    delays : int, iterable of int or None, default=None
        For "tdnn" cells only: which steps each layer sees, 0 being the present one; a number means the latest so many.
        None: 8.
    """

    cell: str = "lstm"
    peepholes: bool | str | None = None
    forget_bias: float | None = None
    hidden_size: int = 64
    num_layers: int = 1
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0
    periods: Any = None
    recompute: bool = False
    delays: Any = None

    def _check_options(self) -> None:
        """Check every option; ValueError or TypeError names it and quotes its value."""
        registry = {info["name"]: info for info in core.cells()}
        cell = check.choice(self.cell, "cell", [*registry, *TIME_DELAY_CELLS, *CELL_ALIASES])
        cell = CELL_ALIASES.get(cell, cell)
        hidden_size = check.integer(self.hidden_size, "hidden_size")
        if cell in registry:
            layer_options.peepholes(self.peepholes, cell, registry)
            layer_options.forget_bias(self.forget_bias, cell, True)
            layer_options.periods(self.periods, hidden_size, registry[cell])
            for name in ("recurrent_dropout", "zoneout"):
                layer_options.recurrent_noise(getattr(self, name), name, registry[cell])
        check.integer(self.num_layers, "num_layers")
        check.fraction(self.dropout, "dropout")
        check.flag(self.recompute, "recompute")
        if cell in registry and self.delays is not None:
            raise ValueError(f"delays must be None for cell {cell!r}, which has no delays, got {self.delays!r}")
        checked_delays(self._delays)

    @property
    def _delays(self) -> Any:
        """Those of a "tdnn" cell."""
        return 8 if self.delays is None else self.delays

    def _recurrent_options(self) -> dict[str, Any]:
        """Arguments of `from_cell` after cell and sizes."""
        names = ("num_layers", "peepholes", "forget_bias", "periods", "recurrent_dropout", "zoneout", "recompute")
        options = {name: getattr(self, name) for name in names}
        options["dropout"] = self.dropout if self.num_layers > 1 else 0.0
        if CELL_ALIASES.get(self.cell, self.cell) in TIME_DELAY_CELLS:
            options["delays"] = self._delays
        return options

    def _looks_back(self) -> int:
        """How many steps before the present one the network sees at once: 0 where a state carries what it knows."""
        if CELL_ALIASES.get(self.cell, self.cell) not in TIME_DELAY_CELLS:
            return 0
        return int(self.num_layers) * max(checked_delays(self._delays))


@dataclass(kw_only=True, eq=False, repr=False)
class LabelOptions:
    """How labels count.

    Parameters
    ----------
    class_weight : {None, "balanced"} or dict, default=None
        Weights of the classes in the loss, as in scikit-learn; what is counted is what has a label.
    label_smoothing : float, default=0.0
        Share of the probability that the targets spread over all classes (Szegedy et al. 2016).
    """

    class_weight: Any = None
    label_smoothing: float = 0.0

    def _check_label_options(self) -> None:
        check.fraction(self.label_smoothing, "label_smoothing")
        if not (self.class_weight is None or self.class_weight == "balanced" or isinstance(self.class_weight, dict)):
            raise ValueError(f"class_weight must be None, 'balanced' or a dict, got {self.class_weight!r}")

    def _class_weights(self, raw: Array) -> Array | None:
        """Weights of labels by their classes."""
        return None if self.class_weight is None else compute_sample_weight(self.class_weight, raw)


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingOptions:
    """How to train.

    Parameters
    ----------
    max_epochs : int, default=100
        Passes over the data.
    batch_size : int, default=32
        Sequences of a step of the optimizer.
    optimizer : {"adam", "adamw", "sgd", "nesterov", "rmsprop"}, default="adam"
    learning_rate : float, default=1e-3
        Of the optimizer; `schedule` multiplies it.
    schedule : {"constant", "step", "cosine", "one_cycle", "plateau"} or Schedule, default="constant"
        How the learning rate changes while training goes on; see `lstmcore.schedules`.
    warmup_epochs : float, default=0
        Epochs over which the learning rate rises from zero first.
    momentum : float, default=0.9
        Of "sgd" and "nesterov".
    weight_decay, l1 : float, default=0.0
        Strength of the L2 and L1 penalties on the weights, as in `torch.optim`; biases are left alone.
    clip_norm : float or None, default=1.0
        Largest global norm of a gradient.
    clip_value : float or None, default=None
        Largest absolute value of a component of the gradient, before `clip_norm`.
    early_stopping : bool, default=False
        Stop when the validation loss no longer falls, and keep the best parameters. Without validation data in
        ``fit``, a part of the training data is held out.
    validation_fraction : float, default=0.1
        Share that is held out.
    n_iter_no_change : int, default=10
        Epochs to wait for the validation loss to fall by `tol`.
    tol : float, default=1e-4
    callbacks : list or None, default=None
        Called as training goes on; see `lstmcore.callbacks`.
    warm_start : bool, default=False
        A further ``fit`` goes on from the present parameters and scaling instead of starting anew.
    random_state : int, RandomState, Generator or None, default=None
        An int makes ``fit`` repeatable: the same bits for any number of threads.
    verbose : int, default=0
        1 shows a progress bar (tqdm).
    """

    max_epochs: int = 100
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: Any = "constant"
    warmup_epochs: float = 0
    momentum: float = 0.9
    weight_decay: float = 0.0
    l1: float = 0.0
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    tol: float = 1e-4
    callbacks: Any = None
    warm_start: bool = False
    random_state: Any = None
    verbose: int = 0

    def _check_options(self) -> None:
        """Check every option; ValueError or TypeError names it and quotes its value."""
        check.flag(self.early_stopping, "early_stopping")
        check.flag(self.warm_start, "warm_start")
        if not 0 < check.real(self.validation_fraction, "validation_fraction") < 1:
            raise ValueError(f"validation_fraction must lie between 0 and 1, got {self.validation_fraction!r}")
        self._training_config(Loss())

    def _training_config(self, loss: Loss) -> TrainingConfig:
        """Return the options of training with `loss`."""
        names = [f.name for f in fields(TrainingConfig) if f.name not in ("loss", "score") and hasattr(self, f.name)]
        return TrainingConfig(loss=loss, **{name: getattr(self, name) for name in names})
