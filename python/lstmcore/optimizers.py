"""Optimizers: one fused pass of the core over a flat parameter vector."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

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
    """Base of `SGD`, `Adam` and `AdamW`.

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
        """
        target = self.target
        if clip_value is not None:
            np.clip(target.flat_gradients, -clip_value, clip_value, out=target.flat_gradients)
        norm = self._core.step(target.flat_parameters, target.flat_gradients, self.learning_rate, clip_norm or 0.0)
        target.parameters_changed()
        return norm

    @property
    def state(self) -> dict[str, np.ndarray]:
        """What the optimizer remembers of each parameter, as writable views."""
        state: dict[str, np.ndarray] = self._core.state
        return state

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return a copy of what the optimizer remembers, the number of its steps included."""
        steps = np.array(getattr(self._core, "steps", 0), dtype=np.int64)
        return {"steps": steps, **{name: values.copy() for name, values in self.state.items()}}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Go on from where `state_dict` was taken."""
        for name, values in self.state.items():
            values[...] = state[name]
        if hasattr(self._core, "steps"):
            self._core.steps = int(state["steps"])

    def __getstate__(self) -> dict[str, Any]:
        """Return options and memory."""
        return {**self.__dict__, "_core": (self.state, getattr(self._core, "steps", None))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the core's object anew and give it its memory back."""
        self.__dict__.update(state)
        memory, steps = state["_core"]
        self._core = self._build()
        for name, values in self.state.items():
            values[:] = memory[name]
        if steps is not None:
            self._core.steps = steps


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
        n, ranges = len(self.target.flat_parameters), _weight_ranges(self.target)
        make = _core_class("SGD", self.target)
        return make(n, ranges, self.momentum, self.nesterov, self.weight_decay, self.l1)


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
        if not eps > 0:
            raise ValueError(f"eps must be positive, got {eps!r}")
        self.betas, self.eps = (float(betas[0]), float(betas[1])), float(eps)
        self._core = self._build()

    def _build(self) -> Any:
        n, ranges = len(self.target.flat_parameters), _weight_ranges(self.target)
        make = _core_class("Adam", self.target)
        return make(n, ranges, *self.betas, self.eps, self.weight_decay, self.l1, self._decoupled)


class AdamW(Adam):
    """Adam with decoupled decay (Loshchilov & Hutter 2019), the formulas of ``torch.optim.AdamW``.

    `weight_decay` shrinks each weight by ``learning_rate * weight_decay * w`` beside the gradient step, and `l1`
    by ``learning_rate * l1 * sign(w)``; biases are left alone.
    """

    _decoupled = True


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


def _core_class(name: str, target: Trainable) -> Any:
    return getattr(core, name + ("F64" if target.flat_parameters.dtype == np.float64 else "F32"))


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
