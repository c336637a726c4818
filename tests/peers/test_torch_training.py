"""Losses, optimizers and whole training runs against PyTorch's, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lstmcore.layers import GRU, LSTM
from lstmcore.losses import Absolute, BinaryCrossEntropy, CrossEntropy, Huber, Loss, Squared
from lstmcore.network import Dense, Network
from lstmcore.optimizers import SGD, Adam, AdamW, RMSprop
from lstmcore.sequences import Sequences

torch = pytest.importorskip("torch")
functional = torch.nn.functional

LOSSES: dict[str, tuple[Loss, Callable[..., Any]]] = {
    "squared": (Squared(), functional.mse_loss),
    "absolute": (Absolute(), functional.l1_loss),
    "huber": (Huber(0.7), lambda a, b: functional.huber_loss(a, b, delta=0.7)),
    "cross_entropy": (CrossEntropy(), functional.cross_entropy),
    "cross_entropy smoothed": (
        CrossEntropy(0.2),
        lambda a, b: functional.cross_entropy(a, b, label_smoothing=0.2),
    ),
    "binary_cross_entropy": (BinaryCrossEntropy(), functional.binary_cross_entropy_with_logits),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str, rng: np.random.Generator) -> None:
    ours, theirs = LOSSES[name]
    output = rng.standard_normal((17, 6))
    target = rng.integers(0, 6, 17) if isinstance(ours, CrossEntropy) else rng.standard_normal((17, 6))
    if isinstance(ours, BinaryCrossEntropy):
        target = rng.uniform(size=(17, 6))
    leaf = torch.tensor(output, requires_grad=True)
    expected = theirs(leaf, torch.tensor(target))
    expected.backward()
    value, gradient = ours(output, target)
    assert value == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), atol=1e-15)


OPTIMIZERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sgd": (lambda t: SGD(t, 0.1), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
    "nesterov": (lambda t: SGD(t, 0.1, 0.8, True), lambda p: torch.optim.SGD(p, 0.1, momentum=0.8, nesterov=True)),
    "adam": (lambda t: Adam(t, 0.01), lambda p: torch.optim.Adam(p, 0.01)),
    "adam decay": (lambda t: Adam(t, 0.01, weight_decay=0.1), lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1)),
    "adamw": (lambda t: AdamW(t, 0.01, weight_decay=0.1), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
    "rmsprop": (lambda t: RMSprop(t, 0.01), lambda p: torch.optim.RMSprop(p, 0.01)),
    "rmsprop all": (
        lambda t: RMSprop(t, 0.01, 0.9, 1e-6, 0.8, True, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, 0.01, 0.9, 1e-6, momentum=0.8, centered=True, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("kind", [LSTM, GRU])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_runs(name: str, kind: Any, rng: np.random.Generator) -> None:
    """Twelve steps on ragged minibatches, with clipping, end at the same parameters."""
    ours, theirs = OPTIMIZERS[name]
    network = Network(kind(3, 7, seed=1, dtype="float64"), "last", Dense(7, 2, seed=2, dtype="float64"))
    recurrent = getattr(torch.nn, kind.__name__)(3, 7, dtype=torch.float64)
    dense = torch.nn.Linear(7, 2, dtype=torch.float64)
    peers = {f"recurrent.{n}": p for n, p in recurrent.named_parameters()}
    peers |= {f"dense.{n}": p for n, p in dense.named_parameters()}
    with torch.no_grad():
        for parameter, values in zip(peers.values(), network.parameters.values(), strict=True):
            parameter.copy_(torch.tensor(values))
    # Ours leaves biases out of the decay, so theirs is told to.
    biases = [p for n, p in peers.items() if "bias" in n]
    weights = [p for n, p in peers.items() if "bias" not in n]
    optimizer, peer = ours(network), theirs([{"params": weights}, {"params": biases, "weight_decay": 0.0}])

    lengths = rng.integers(1, 9, 20)
    sequences = Sequences(rng.standard_normal((lengths.sum(), 3)), np.cumsum(lengths) - lengths, lengths)
    targets, loss = rng.standard_normal((20, 2)), Squared()
    for _ in range(4):
        for indices in sequences.minibatches(8, rng):
            batch = sequences.batch(indices)
            value, doutput = loss(network.forward(batch, training=True), targets[batch.order])
            network.backward(doutput)
            norm = optimizer.step(0.5)

            rows = [sequences.values[sequences.starts[i] : sequences.starts[i] + lengths[i]] for i in batch.order]
            packed = torch.nn.utils.rnn.pack_sequence([torch.tensor(row) for row in rows])
            state = recurrent(packed)[1]
            h = state[0] if kind is LSTM else state
            expected = functional.mse_loss(dense(h[-1]), torch.tensor(targets[batch.order]))
            peer.zero_grad()
            expected.backward()
            assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(list(peers.values()), 0.5).item(), rel=1e-9)
            peer.step()
            assert value == pytest.approx(expected.item(), rel=1e-9)
    for parameter, (name, values) in zip(peers.values(), network.parameters.items(), strict=True):
        np.testing.assert_allclose(values, parameter.detach().numpy(), atol=1e-9, err_msg=name)
