"""Optimizers: one fused pass of the core over a flat parameter vector."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from lstmcore import _validation as check
from lstmcore._isa import core


class Trainable(Protocol):
    """What an optimizer steps: a layer or a network."""

    @property
    def flat_parameters(self) -> np.ndarray:
        """All parameters, 1-D, written in place."""

    @property
    def flat_gradients(self) -> np.ndarray:
        """All gradients, 1-D, in the same order."""

    def parameter_table(self) -> list[tuple[str, tuple[int, ...], int]]:
        """Name, shape and offset of each parameter."""

    def parameters_changed(self) -> None:
        """Tell the layers that their parameters were written."""


class Optimizer:
    """Base of `SGD`, `Adam`, `AdamW` and `RMSprop`.

    Attributes
    ----------
    learning_rate : float
        May be changed between steps: a schedule needs nothing else.
    """

    def __init__(self, target: Trainable, learning_rate: float, l1: float, weight_decay: float) -> None:
        for name, value in (("learning_rate", learning_rate), ("l1", l1), ("weight_decay", weight_decay)):
            if check.real(value, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {value!r}")
        self.target = target
        self.learning_rate = float(learning_rate)
        self.l1, self.weight_decay = float(l1), float(weight_decay)
        self._core: Any = None

    def _build(self) -> Any:
        """Return the core's object, its memory all zero."""
        raise NotImplementedError

    def _make(self, name: str, *options: Any) -> Any:
        """Return the core's optimizer of that name for the target's dtype."""
        target = self.target
        kind = getattr(core, name + ("F64" if target.flat_parameters.dtype == np.float64 else "F32"))
        return kind(len(target.flat_parameters), _weight_ranges(target), *options, self.weight_decay, self.l1)

    def step(self, clip_norm: float | None = None, clip_value: float | None = None) -> float:
        """Update the parameters from the gradients, then set the gradients to zero.

        Parameters
        ----------
        clip_norm : float, optional
            Gradients are scaled so that their global norm is at most this.
        clip_value : float, optional
            Before that, each component is cut to ±clip_value.

        Returns
        -------
        float
            The norm before clipping. If it is NaN or infinite, nothing was changed.

        Raises
        ------
        ValueError, TypeError
            If a limit is not a positive number.
        """
        norm_limit, value_limit = _limit(clip_norm, "clip_norm"), _limit(clip_value, "clip_value")
        target = self.target
        norm = self._core.step(
            target.flat_parameters, target.flat_gradients, self.learning_rate, norm_limit, value_limit
        )
        target.parameters_changed()
        return norm

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return a copy of what the optimizer remembers, for `load_state_dict`.

        Returns
        -------
        dict of str to ndarray
            "steps", how many there were (int64, no axes), and what there is of each parameter [n_parameters], of their
            dtype: "velocity"; "first_moment" and "second_moment"; "square", "velocity" and, if centered, "mean".
        """
        steps = np.array(self._core.steps, dtype=np.int64)
        return {"steps": steps, **{name: values.copy() for name, values in self._core.state.items()}}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Go on from where `state_dict` was taken: the next steps have the same bits.

        Parameters
        ----------
        state : mapping of str to array-like
            As `state_dict` of an optimizer of the same class for as many parameters returned it.

        Raises
        ------
        ValueError, TypeError
            If a name is missing or unknown, a shape is wrong or a value is not finite. Nothing is changed then.
        """
        memory = self._core.state
        if set(state) != {"steps", *memory}:
            raise ValueError(f"state must have the entries {['steps', *memory]}, got {list(state)}")
        steps = check.integer(np.asarray(state["steps"])[()], "state['steps']", 0)
        new = {}
        for name, values in memory.items():
            source = check.exact_shape(state[name], f"state[{name!r}]", values.shape, "a number for each parameter")
            new[name] = check.contiguous(source, values.dtype)
            check.finite(new[name], f"state[{name!r}]", source)
        for name, values in new.items():
            memory[name][...] = values
        self._core.steps = steps

    def __getstate__(self) -> dict[str, Any]:
        """Return options and memory."""
        return {**self.__dict__, "_core": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the core's object anew and give it its memory back."""
        self.__dict__.update(state)
        self._core = self._build()
        self.load_state_dict(state["_core"])


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, the formulas of ``torch.optim.SGD``.

    Parameters
    ----------
    target : layer or network
        What to train.
    learning_rate : float
    momentum : float
        In [0, 1).
    nesterov : bool
        Look ahead along the momentum (Sutskever et al. 2013).
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient of each weight; biases are left alone.
    l1 : float
        Adds ``l1 * sign(w)`` to the gradient of each weight.
    """

    def __init__(
        self,
        target: Trainable,
        learning_rate: float = 1e-2,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        l1: float = 0.0,
    ) -> None:
        super().__init__(target, learning_rate, l1, weight_decay)
        check.fraction(momentum, "momentum")
        self.momentum, self.nesterov = float(momentum), bool(nesterov)
        self._core = self._build()

    def _build(self) -> Any:
        return self._make("SGD", self.momentum, self.nesterov)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), the formulas of ``torch.optim.Adam``.

    Parameters
    ----------
    target : layer or network
        What to train.
    learning_rate : float
    betas : (float, float)
        Decay rates of the first and second moment, each in [0, 1).
    eps : float
        Added to the root of the second moment.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient of each weight; biases are left alone.
    l1 : float
        Adds ``l1 * sign(w)`` to the gradient of each weight.
    """

    _decoupled = False

    def __init__(
        self,
        target: Trainable,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        l1: float = 0.0,
    ) -> None:
        super().__init__(target, learning_rate, l1, weight_decay)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be in [0, 1), got {betas!r}")
        self.betas, self.eps = (float(betas[0]), float(betas[1])), _positive(eps, "eps")
        self._core = self._build()

    def _build(self) -> Any:
        return self._make("Adam", *self.betas, self.eps, self._decoupled)


class AdamW(Adam):
    """Adam with decoupled decay (Loshchilov & Hutter 2019), the formulas of ``torch.optim.AdamW``.

    `weight_decay` shrinks each weight by ``learning_rate * weight_decay * w`` beside the gradient step, and `l1`
    by ``learning_rate * l1 * sign(w)``; biases are left alone.
    """

    _decoupled = True


class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012), the formulas of ``torch.optim.RMSprop``.

    Parameters
    ----------
    target : layer or network
        What to train.
    learning_rate : float
    alpha : float
        Decay rate of the mean square, in [0, 1).
    eps : float
        Added to the root of the mean square.
    momentum : float
        In [0, 1).
    centered : bool
        Divide by the root of the gradient's variance and not of its mean square (Graves 2013).
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient of each weight; biases are left alone.
    l1 : float
        Adds ``l1 * sign(w)`` to the gradient of each weight.

    Raises
    ------
    ValueError, TypeError
        If an option is outside of its range or no number.

    Examples
    --------
    >>> import numpy as np, lstmcore
    >>> layer = lstmcore.LSTM(2, 4, seed=0)
    >>> optimizer = lstmcore.RMSprop(layer, learning_rate=1e-2)
    >>> y, _ = layer.forward(np.ones((5, 3, 2)))
    >>> _ = layer.backward(y)  # the gradient of ½Σy²
    >>> norm = optimizer.step(clip_norm=1.0)
    """

    def __init__(
        self,
        target: Trainable,
        learning_rate: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
        l1: float = 0.0,
    ) -> None:
        super().__init__(target, learning_rate, l1, weight_decay)
        self.alpha, self.momentum = check.fraction(alpha, "alpha"), check.fraction(momentum, "momentum")
        self.eps, self.centered = _positive(eps, "eps"), check.flag(centered, "centered")
        self._core = self._build()

    def _build(self) -> Any:
        return self._make("RMSprop", self.alpha, self.eps, self.momentum, self.centered)


# What each name of an estimator's `optimizer` makes: OPTIMIZERS[name](target, learning_rate, **options).
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "nesterov": functools.partial(SGD, nesterov=True),
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
}


def _positive(value: Any, name: str) -> float:
    if check.real(value, name) <= 0:
        raise ValueError(f"{name} must be positive, got {value!r}")
    return float(value)


def _limit(value: float | None, name: str) -> float:
    """The core's form of a limit: 0 for none."""
    return 0.0 if value is None else _positive(value, name)


def _weight_ranges(target: Trainable) -> np.ndarray:
    """[R, 2] ranges of the flat vector that decay: all parameters but biases, neighbours joined."""
    ranges: list[list[int]] = []
    for name, shape, offset in sorted(target.parameter_table(), key=lambda row: row[2]):
        if name.rpartition(".")[2].startswith("bias"):
            continue
        end = offset + int(np.prod(shape))
        if ranges and ranges[-1][1] == offset:
            ranges[-1][1] = end
        else:
            ranges.append([offset, end])
    return np.array(ranges, dtype=np.int64).reshape(-1, 2)
