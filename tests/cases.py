"""What the layer tests share: configurations, random inputs, and the float64 reference run on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import reference

from lstmcore._isa import core
from lstmcore.layers import Recurrent, from_cell

REGISTRY = {info["name"]: info for info in core.cells()}
CELLS = list(REGISTRY)


@dataclass(frozen=True)
class Case:
    """One layer with its input; everything random follows from the fields."""

    cell: str
    input_size: int = 3
    hidden_size: int = 5
    steps: int = 6
    batch: int = 4
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    proj_size: int = 0
    ragged: bool = False
    initial: bool = True
    dtype: str = "float64"
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        flags = ["bidirectional"] * self.bidirectional + ["nobias"] * (not self.bias) + ["ragged"] * self.ragged
        flags += ["initial"] * self.initial + [f"proj{self.proj_size}"] * bool(self.proj_size)
        return "-".join([self.cell, f"{self.num_layers}layers", *flags])

    def rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([*purpose.encode(), self.hidden_size, self.steps, self.batch])

    def layer(self, **options: Any) -> Recurrent:
        keys = ("num_layers", "bidirectional", "bias", "proj_size", "dtype")
        options = {**{key: getattr(self, key) for key in keys}, "seed": self.rng("layer"), **self.options, **options}
        return from_cell(self.cell, self.input_size, self.hidden_size, **options)

    def x(self) -> np.ndarray:
        return self.rng("x").standard_normal((self.steps, self.batch, self.input_size)).astype(self.dtype)

    def lengths(self) -> np.ndarray | None:
        if not self.ragged:
            return None
        lengths = self.rng("lengths").integers(1, self.steps + 1, self.batch)
        lengths[self.batch // 2] = self.steps
        return lengths

    def states(self) -> tuple[np.ndarray, ...]:
        """The initial state, zero unless `initial`, as a tuple for every cell."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        draw = self.rng("states").standard_normal if self.initial else np.zeros
        wide = REGISTRY[self.cell]["state_parts"] * (self.proj_size or self.hidden_size)
        widths = {"h": wide, "c": self.hidden_size, "clock": 1}
        names = REGISTRY[self.cell]["states"]
        states = {name: 0.5 * draw((count, self.batch, widths[name])) for name in names}
        if "clock" in states:
            states["clock"] = np.rint(8 * states["clock"]) % 8  # the streams stand at different steps
        return tuple(state.astype(self.dtype) for state in states.values())

    def state(self) -> Any:
        """The initial state as the layer takes it."""
        return as_state(self.states()) if self.initial else None

    def expected(self, parameters: Any, x: np.ndarray, states: tuple) -> tuple[np.ndarray, tuple]:
        """The reference's y and final states."""
        return reference.run(self.cell, parameters, x, states, self.lengths(), self.num_layers, self.bidirectional)


def as_state(parts: tuple) -> Any:
    """A tuple of states as a layer gives and takes it."""
    return parts[0] if len(parts) == 1 else parts


def as_tuple(state: Any) -> tuple:
    return state if isinstance(state, tuple) else (state,)


def numbered(states: Any) -> dict[str, np.ndarray]:
    """The parts of a state by the names state0, state1."""
    return {f"state{k}": part for k, part in enumerate(as_tuple(states))}


def in_double(layer: Recurrent) -> dict[str, np.ndarray]:
    return {name: value.astype(np.float64) for name, value in layer.parameters.items()}


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest error relative to the largest value, or to 1 where all are smaller."""
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / max(1.0, np.abs(expected).max()))


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal in every bit: unlike ==, this tells -0.0 from 0.0 and finds NaN equal to itself."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def all_cases(**fixed: Any) -> list[Case]:
    """Every cell × direction × depth × bias × projection × ragged × initial state."""
    flags = (False, True)
    return [
        Case(
            cell,
            bidirectional=both,
            num_layers=depth,
            bias=bias,
            proj_size=proj,
            ragged=ragged,
            initial=initial,
            **fixed,
        )
        for cell in CELLS
        for both in flags
        for depth in (1, 2)
        for bias in flags
        for proj in ((0, 2) if REGISTRY[cell]["projection"] else (0,))
        for ragged in flags
        for initial in flags
    ]
