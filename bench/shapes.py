"""The shapes that benchmarks run on, one module for all of them, and the data that belongs to a shape."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
WORKS = ("step", "one", "infer", "train", "ragged", "fit")


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

    def parameters(self) -> dict[str, np.ndarray]:
        """Parameters with `torch.nn`'s names, shapes and gate order."""
        rng, rows, bound = np.random.default_rng(1), GATES[self.cell] * self.hidden_size, self.hidden_size**-0.5
        shapes = {
            "weight_ih_l0": (rows, self.input_size),
            "weight_hh_l0": (rows, self.hidden_size),
            "bias_ih_l0": (rows,),
            "bias_hh_l0": (rows,),
        }
        return {name: rng.uniform(-bound, bound, shape).astype(np.float32) for name, shape in shapes.items()}

    def x(self) -> np.ndarray:
        """Return an input [T, B, I]."""
        return np.random.default_rng(2).standard_normal((self.steps, self.batch, self.input_size), np.float32)

    def dy(self, lengths: np.ndarray | None = None) -> np.ndarray:
        """Gradient of the outputs [T, B, H], zero beyond the lengths [B]."""
        dy = np.random.default_rng(3).standard_normal((self.steps, self.batch, self.hidden_size), np.float32)
        if lengths is not None:
            dy[np.arange(self.steps)[:, None] >= lengths] = 0
        return dy

    def state(self) -> list[np.ndarray]:
        """Return h [1, B, H], and c of an LSTM."""
        rng, parts = np.random.default_rng(4), 2 if self.cell == "lstm" else 1
        return [rng.uniform(-0.5, 0.5, (1, self.batch, self.hidden_size)).astype(np.float32) for _ in range(parts)]


class Task(NamedTuple):
    """Something to time: kind of work, shape, and what some works need beside it."""

    work: str
    shape: Shape
    shortest: int | None = None  # sequences are this long to `shape.steps`; None: all are that long
    goal: str = ""  # of a fit: "classes" or "number"
    samples: int = 0  # of a fit

    @property
    def lengths(self) -> np.ndarray:
        """Length of each sequence: of a batch, or of all samples of a fit."""
        count = self.samples or self.shape.batch
        if self.shortest is None:
            return np.full(count, self.shape.steps)
        return np.random.default_rng(0).integers(self.shortest, self.shape.steps + 1, count)

    @property
    def flops(self) -> float:
        """Operations of the matrix products, those of padding not counted."""
        passes = 1 if self.work in ("step", "one", "infer") else 3
        return passes * self.shape.forward_flops * float(self.lengths.sum()) / (self.shape.batch * self.shape.steps)

    @property
    def needed_flops(self) -> float:
        """The same without the gradient of x in training, which nobody asks for."""
        if self.work in ("step", "one", "infer"):
            return self.flops
        return self.flops * (1 - self.shape.input_size / (self.shape.input_size + self.shape.hidden_size) / 3)


SINGLE_STEPS = (
    Shape("lstm", 1, 16, 1, 1),
    Shape("lstm", 16, 32, 1, 1),
    Shape("lstm", 64, 64, 1, 1),
    Shape("lstm", 64, 128, 1, 1),
    Shape("lstm", 128, 256, 1, 1),
    Shape("gru", 64, 128, 1, 1),
)

SEQUENCES = (
    Shape("lstm", 64, 128, 1, 100),
    Shape("lstm", 128, 256, 1, 100),
    Shape("lstm", 512, 512, 1, 100),
    Shape("lstm", 1, 32, 32, 50),
    Shape("lstm", 8, 64, 32, 100),
    Shape("lstm", 28, 128, 64, 28),
    Shape("lstm", 128, 256, 64, 100),
    Shape("lstm", 512, 512, 16, 25),
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

FITS = (
    Task("fit", Shape("lstm", 28, 64, 32, 28), goal="classes", samples=1024),
    Task("fit", Shape("lstm", 1, 32, 32, 50), goal="number", samples=1024),
    Task("fit", Shape("gru", 12, 64, 32, 29), shortest=7, goal="classes", samples=1024),
)


def tasks() -> list[Task]:
    """Everything that is compared, in the order of `WORKS`. Long sequences at B=1 are read, not learnt from."""
    learnt = [shape for shape in SEQUENCES if shape.batch > 1 or shape.hidden_size <= 128]
    return [
        *(Task("step", shape) for shape in SINGLE_STEPS),
        *(Task("one", shape) for shape in SEQUENCES if shape.batch == 1),
        *(Task("infer", shape) for shape in SEQUENCES if shape.batch > 1),
        *(Task("train", shape) for shape in learnt),
        Task("ragged", RAGGED, shortest=7),
        *FITS,
    ]
