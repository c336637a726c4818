"""The shapes that benchmarks run on, one module for all of them."""

from __future__ import annotations

from typing import NamedTuple

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


class Shape(NamedTuple):
    """One layer and its input: I features, H hidden units, B rows of T steps."""

    cell: str
    input_size: int
    hidden_size: int
    batch: int
    steps: int

    def __str__(self) -> str:
        return f"{self.cell:4} {self.input_size:5} {self.hidden_size:5} {self.batch:4} {self.steps:4}"

    @property
    def forward_flops(self) -> int:
        """Operations of the two matrix products of a forward pass; a training step has three times that."""
        width = self.input_size + self.hidden_size
        return 2 * GATES[self.cell] * self.hidden_size * width * self.batch * self.steps


SINGLE_STEPS = (
    Shape("lstm", 1, 16, 1, 1),
    Shape("lstm", 16, 32, 1, 1),
    Shape("lstm", 64, 128, 1, 1),
    Shape("lstm", 128, 256, 1, 1),
    Shape("gru", 64, 128, 1, 1),
)

SEQUENCES = (
    Shape("lstm", 64, 128, 1, 100),
    Shape("lstm", 1, 32, 32, 50),
    Shape("lstm", 8, 64, 32, 100),
    Shape("lstm", 28, 128, 64, 28),
    Shape("lstm", 128, 256, 64, 100),
    Shape("lstm", 512, 512, 64, 25),
    Shape("lstm", 1024, 1024, 64, 25),
    Shape("gru", 64, 128, 1, 100),
    Shape("gru", 8, 64, 32, 100),
    Shape("gru", 128, 256, 64, 100),
    Shape("gru", 512, 512, 64, 25),
    Shape("rnn", 28, 128, 64, 28),
)

# One ragged training step: I=12 H=64 B=32, lengths 7 to 29.
RAGGED = Shape("lstm", 12, 64, 32, 29)
