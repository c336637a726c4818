"""Pooling and embedding against PyTorch's, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lstmcore.embedding import Embedding
from lstmcore.pooling import POOLINGS, Pooling
from lstmcore.sequences import Sequences

torch = pytest.importorskip("torch")


def pooled(kind: str, rows: Any, weight: Any) -> Any:
    """Features of one sequence [T, width]."""
    if kind == "attention":
        return torch.softmax(rows @ weight, 0) @ rows
    return rows.mean(0) if kind == "mean" else rows.max(0).values


@pytest.mark.parametrize("kind", POOLINGS)
def test_pooling(kind: str, rng: np.random.Generator) -> None:
    lengths = rng.integers(1, 12, 9)
    ends = np.cumsum(lengths)
    batch = Sequences(rng.standard_normal((ends[-1], 20)), ends - lengths, lengths).batch(np.arange(9))
    pooling = Pooling(kind, 20, dtype="float64")
    pooling.flat_parameters[...] = rng.standard_normal(pooling.n_parameters)
    y, weight = torch.tensor(batch.x, requires_grad=True), torch.tensor(pooling.flat_parameters, requires_grad=True)
    packed = torch.nn.utils.rnn.PackedSequence(y, torch.tensor(batch.batch_sizes))
    sequences = torch.nn.utils.rnn.unpack_sequence(packed)
    expected = torch.stack([pooled(kind, rows, weight) for rows in sequences])
    dfeatures = rng.standard_normal(expected.shape)
    expected.backward(torch.tensor(dfeatures))

    np.testing.assert_allclose(pooling.forward(batch.x, batch.batch_sizes), expected.detach().numpy(), atol=1e-13)
    np.testing.assert_allclose(pooling.backward(dfeatures), y.grad.numpy(), atol=1e-13)
    if kind == "attention":
        np.testing.assert_allclose(pooling.flat_gradients, weight.grad.numpy(), atol=1e-12)


def test_embedding(rng: np.random.Generator) -> None:
    peer = torch.nn.Embedding(11, 6, dtype=torch.float64)
    layer = Embedding(11, 6, dtype="float64")
    layer.load_parameters({name: values.numpy() for name, values in peer.state_dict().items()})
    x, dy = rng.integers(0, 11, 40), rng.standard_normal((40, 6))
    y = peer(torch.tensor(x))
    y.backward(torch.tensor(dy))
    np.testing.assert_array_equal(layer.forward(x[:, None].astype(float)), y.detach().numpy())
    layer.backward(dy)
    np.testing.assert_allclose(layer.gradients["weight"], peer.weight.grad.numpy(), atol=1e-14)
