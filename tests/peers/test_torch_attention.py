"""Attention against PyTorch's autograd, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lstmcore.attention import SCORES, Attention
from lstmcore.pairs import Pairs
from lstmcore.sequences import Sequences

torch = pytest.importorskip("torch")


def attended(layer: Attention, parameters: dict[str, Any], h: Any, memory: Any) -> Any:
    """h~ of one sequence of queries [Tq, width] over one of memory [Tk, width]."""
    linear = torch.nn.functional.linear
    keys = linear(memory, parameters["key.weight"])
    if layer.score == "dot":
        context = torch.nn.functional.scaled_dot_product_attention(h[None], keys[None], memory[None])[0]
    else:
        query = linear(h, parameters["query.weight"], parameters["query.bias"])
        scores = torch.tanh(query[:, None] + keys) @ parameters["score.weight"]
        context = torch.softmax(scores, 1) @ memory
    return torch.tanh(linear(torch.cat((context, h), 1), parameters["combine.weight"], parameters["combine.bias"]))


@pytest.mark.parametrize("score", SCORES)
def test_attention(score: str, rng: np.random.Generator) -> None:
    lengths, asked = rng.integers(1, 12, 9), rng.integers(1, 12, 9)
    parts = [(rng.standard_normal((n, 18)), rng.standard_normal((k, 5))) for n, k in zip(lengths, asked, strict=True)]
    made, source = (
        Sequences(np.concatenate(rows), np.cumsum(n) - n, n)
        for rows, n in zip(zip(*parts, strict=True), (lengths, asked), strict=True)
    )
    batch = Pairs(made.values, made.starts, made.lengths, source=source).batch(np.arange(9))
    assert batch.source is not None
    layer = Attention(18, 5, score=score, dtype="float64", seed=0)
    parameters = {name: torch.tensor(values, requires_grad=True) for name, values in layer.parameters.items()}
    h, memory = torch.tensor(batch.x, requires_grad=True), torch.tensor(batch.source.batch.x, requires_grad=True)

    def sequences(rows: Any, sizes: np.ndarray) -> Any:
        packed = torch.nn.utils.rnn.PackedSequence(rows, torch.tensor(sizes))
        return torch.nn.utils.rnn.unpack_sequence(packed)

    queries, memories = sequences(h, batch.batch_sizes), sequences(memory, batch.source.batch.batch_sizes)
    expected = [
        attended(layer, parameters, one, memories[position])
        for one, position in zip(queries, batch.source.position, strict=True)
    ]
    packed = torch.nn.utils.rnn.pack_sequence(expected).data
    dy = rng.standard_normal(packed.shape)
    packed.backward(torch.tensor(dy))

    source_rows, sizes = batch.source.batch.x, batch.source.batch.batch_sizes
    found = layer.forward(batch.x, batch.batch_sizes, source_rows, sizes, batch.source.position)
    np.testing.assert_allclose(found, packed.detach().numpy(), atol=1e-13)
    dh, dmemory = layer.backward(dy)
    np.testing.assert_allclose(dh, h.grad.numpy(), atol=1e-12)
    np.testing.assert_allclose(dmemory, memory.grad.numpy(), atol=1e-12)
    for name, values in parameters.items():
        np.testing.assert_allclose(layer.gradients[name], values.grad.numpy(), atol=1e-12, err_msg=name)
