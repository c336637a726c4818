"""Against PyTorch: outputs, states and all gradients on random configurations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from cases import as_tuple, error

import lstmcore

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
GRADIENT_TOLERANCE = {"float64": 1e-11, "float32": 1e-4}


class Configuration:
    """A random layer of both libraries with the same weights, and input for both."""

    def __init__(self, seed: int, dtype: str) -> None:
        rng = np.random.default_rng(seed)
        self.kind = ("LSTM", "GRU", "RNN")[seed % 3]
        self.dtype = dtype
        self.steps, self.batch = int(rng.integers(1, 15)), int(rng.integers(1, 20))
        sizes = int(rng.integers(1, 40)), int(rng.integers(2, 70))
        self.options: dict[str, Any] = {
            "num_layers": int(rng.integers(1, 4)),
            "bias": bool(rng.random() < 0.8),
            "batch_first": bool(rng.random() < 0.5),
            "bidirectional": bool(rng.random() < 0.5),
        }
        if self.kind == "LSTM" and rng.random() < 0.5:
            self.options["proj_size"] = int(rng.integers(1, sizes[1]))
        if self.kind == "RNN":
            self.options["nonlinearity"] = ("tanh", "relu")[int(rng.integers(2))]
        torch.manual_seed(seed)
        self.theirs = getattr(torch.nn, self.kind)(*sizes, **self.options, dtype=getattr(torch, dtype))
        self.ours = getattr(lstmcore, self.kind)(*sizes, **self.options, dtype=dtype)
        self.ours.load_parameters(self.theirs.state_dict())
        shape = (self.batch, self.steps) if self.options["batch_first"] else (self.steps, self.batch)
        self.x = rng.standard_normal((*shape, sizes[0])).astype(dtype)
        self.lengths = rng.integers(1, self.steps + 1, self.batch) if rng.random() < 0.5 else None
        directions = self.options["num_layers"] * (2 if self.options["bidirectional"] else 1)
        widths = [self.options.get("proj_size") or sizes[1], sizes[1]][: 2 if self.kind == "LSTM" else 1]
        self.initial = bool(rng.random() < 0.7)
        shapes = [(directions, self.batch, width) for width in widths]
        self.states = tuple(0.5 * rng.standard_normal(shape).astype(dtype) for shape in shapes)
        self.rng = rng

    def state(self, parts: tuple) -> Any:
        return (parts if len(parts) > 1 else parts[0]) if self.initial else None

    def run_theirs(self, x: torch.Tensor, states: tuple) -> tuple[torch.Tensor, tuple]:
        """Run torch, on a PackedSequence where there are lengths."""
        if self.lengths is None:
            y, final = self.theirs(x, self.state(states))
            return y, as_tuple(final)
        first = self.options["batch_first"]
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.from_numpy(self.lengths), batch_first=first, enforce_sorted=False
        )
        y, final = self.theirs(packed, self.state(states))
        padded, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=first, total_length=self.steps)
        return padded, as_tuple(final)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(60))
def test_outputs_states_and_gradients(seed: int, dtype: str) -> None:
    case = Configuration(seed, dtype)
    x = torch.from_numpy(case.x).requires_grad_()
    states = tuple(torch.from_numpy(part).requires_grad_() for part in case.states)
    y_theirs, finals_theirs = case.run_theirs(x, states)
    for run in (case.ours, case.ours.forward):
        y, final = run(case.x, case.state(case.states), case.lengths)
        pairs = zip([y, *as_tuple(final)], [y_theirs, *finals_theirs], strict=True)
        for actual, expected in pairs:
            assert error(actual, expected.detach().numpy()) < TOLERANCE[dtype]

    dy = case.rng.standard_normal(y.shape).astype(dtype)
    dfinals = tuple(case.rng.standard_normal(part.shape).astype(dtype) for part in as_tuple(final))
    losses = [(a * torch.from_numpy(b)).sum() for a, b in zip([y_theirs, *finals_theirs], [dy, *dfinals], strict=True)]
    sum(losses).backward()
    dx, dinitial = case.ours.backward(dy, dfinals if len(dfinals) > 1 else dfinals[0])
    gradients = {"x": (dx, x.grad)}
    if case.initial:
        gradients |= {f"state{k}": (a, b.grad) for k, (a, b) in enumerate(zip(as_tuple(dinitial), states, strict=True))}
    gradients |= {name: (case.ours.gradients[name], value.grad) for name, value in case.theirs.named_parameters()}
    assert len(case.ours.gradients) == len(list(case.theirs.parameters()))
    for name, (actual, expected) in gradients.items():
        assert error(actual, expected.numpy()) < GRADIENT_TOLERANCE[dtype], name


def test_configurations_cover_what_they_should() -> None:
    made = [Configuration(seed, "float64") for seed in range(60)]
    for kind in ("LSTM", "GRU", "RNN"):
        of_kind = [case for case in made if case.kind == kind]
        for flag in ("bidirectional", "batch_first", "bias"):
            assert {case.options[flag] for case in of_kind} == {True, False}
        assert {case.lengths is None for case in of_kind} == {True, False}
        assert {case.initial for case in of_kind} == {True, False}
    assert {case.options.get("nonlinearity") for case in made} == {None, "tanh", "relu"}
    assert {"proj_size" in case.options for case in made if case.kind == "LSTM"} == {True, False}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_names_and_order_of_parameters(kind: str) -> None:
    options = {"num_layers": 2, "bidirectional": True}
    theirs = getattr(torch.nn, kind)(3, 5, **options)
    ours = getattr(lstmcore, kind)(3, 5, **options)
    assert [(name, tuple(value.shape)) for name, value in theirs.named_parameters()] == [
        (name, value.shape) for name, value in ours.parameters.items()
    ]
    theirs.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in ours.parameters.items()})


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_arguments_have_torchs_names_and_order(kind: str) -> None:
    import inspect

    ours = list(inspect.signature(getattr(lstmcore, kind)).parameters)
    expected = ["input_size", "hidden_size", "num_layers"] + ["nonlinearity"] * (kind == "RNN")
    expected += ["bias", "batch_first", "dropout", "bidirectional"] + ["proj_size"] * (kind == "LSTM")
    assert ours[: len(expected)] == expected
    positional = [2, "relu", False, True, 0.5, True] if kind == "RNN" else [2, False, True, 0.5, True]
    theirs = getattr(torch.nn, kind)(3, 5, *positional)
    made = getattr(lstmcore, kind)(3, 5, *positional)
    for name in expected:
        assert getattr(made, name) == getattr(theirs, name)
