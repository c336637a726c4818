"""Chunks: every row in one chunk, chunks in order, states carried, gradients as they ought to be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference

from lstmcore._samples import Samples
from lstmcore.chunks import Chunks, cut
from lstmcore.embedding import Embedding
from lstmcore.layers import from_cell
from lstmcore.losses import CrossEntropy
from lstmcore.network import Dense, Network
from lstmcore.sequences import Sequences
from lstmcore.training import Trainer, TrainingConfig

LENGTHS = np.array([23, 4, 11, 1, 17])
STARTS = np.cumsum(LENGTHS) - LENGTHS


def make_chunks(rng: np.random.Generator, steps: int = 5, n_tokens: int = 4) -> Chunks:
    return Chunks(rng.integers(0, n_tokens, (LENGTHS.sum(), 1)).astype(float), STARTS, LENGTHS, steps)


def make_network(cell: str = "lstm", n_tokens: int = 4, **options) -> Network:
    embedding = Embedding(n_tokens, 3, dtype="float64", seed=0)
    recurrent = from_cell(cell, 3, 5, dtype="float64", seed=1, **options)
    return Network(recurrent, None, Dense(5, n_tokens, dtype="float64", seed=2), embedding=embedding)


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_each_row_comes_once_and_chunks_in_order(batch_size: int, seed: int | None, rng: np.random.Generator) -> None:
    chunks = make_chunks(rng)
    batches = chunks.minibatches(batch_size, None if seed is None else np.random.default_rng(seed))
    assert max(map(len, batches)) == min(batch_size, len(LENGTHS))
    rows = np.concatenate([chunks.rows(chunks.batch(indices)) for indices in batches])
    np.testing.assert_array_equal(np.sort(rows), np.arange(LENGTHS.sum()))
    for before, batch in itertools.pairwise(batches):
        for chunk in batch[chunks._numbers[batch] > 0]:
            assert chunk - 1 in before
    assert chunks.lengths.max() <= 5


def test_chunks_are_of_equal_length(rng: np.random.Generator) -> None:
    assert make_chunks(rng).lengths[:5].tolist() == [4, 5, 4, 5, 5]  # of 23 rows


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_outputs_are_those_of_whole_sequences(cell: str, rng: np.random.Generator) -> None:
    chunks, network = make_chunks(rng), make_network(cell, num_layers=2)
    whole = network.predict(Sequences(chunks.values, STARTS, LENGTHS))
    for batch_size in (1, 2, 5):
        found = np.full_like(whole, np.nan)
        for batch, output in network.outputs(chunks, batch_size):
            found[chunks.rows(batch)] = output
        np.testing.assert_array_equal(found, whole)  # the same bits


def test_gradient_of_a_chunk_flows_back_to_its_start(rng: np.random.Generator) -> None:
    """Against finite differences of a float64 reference that starts from a constant state."""
    network, T, B = make_network(), 4, 3
    tokens, targets = rng.integers(0, 4, (T, B)), rng.integers(0, 4, T * B)
    states = [rng.standard_normal((1, B, 5)) * 0.5 for _ in range(2)]
    values = tokens.T.reshape(-1, 1).astype(float)
    batch = Sequences(values, np.arange(B) * T, np.full(B, T)).batch(np.arange(B))._replace(states=states)

    def loss() -> float:
        p = network.parameters
        weights = {name.removeprefix("recurrent."): v for name, v in p.items() if name.startswith("recurrent.")}
        y, _ = reference.run("lstm", weights, p["embedding.weight"][tokens], tuple(states))
        z = y.reshape(T * B, -1) @ p["dense.weight"].T + p["dense.bias"]
        return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(T * B), targets]))

    mean, doutput = CrossEntropy()(network.forward(batch), targets)
    assert mean == pytest.approx(loss(), rel=1e-12)
    network.backward(doutput)
    expected = np.zeros(network.n_parameters)
    for i in range(network.n_parameters):
        at = network.flat_parameters[i]
        difference = []
        for step in (1e-5, -1e-5):
            network.flat_parameters[i] = at + step
            difference.append(loss())
        network.flat_parameters[i] = at
        expected[i] = (difference[0] - difference[1]) / 2e-5
    np.testing.assert_allclose(network.flat_gradients, expected, atol=1e-8)


def test_trainer_carries_states(rng: np.random.Generator) -> None:
    """Without learning, the loss of an epoch in chunks is that of whole sequences."""
    chunks, network = make_chunks(rng), make_network()
    targets = rng.integers(0, 4, LENGTHS.sum())
    expected, _ = CrossEntropy()(network.predict(Sequences(chunks.values, STARTS, LENGTHS)), targets)
    config = TrainingConfig(CrossEntropy(), learning_rate=0.0, batch_size=2, max_epochs=2, tbptt_steps=5)
    history = Trainer(network, config, rng).fit(chunks, targets, validation=(chunks, targets))
    np.testing.assert_allclose(history.loss_curve, expected, rtol=1e-12)
    np.testing.assert_allclose(history.validation_curve, expected, rtol=1e-12)


def test_carried_states_are_those_of_the_same_sequence(rng: np.random.Generator) -> None:
    chunks = make_chunks(rng)
    samples = Samples(chunks, np.zeros(LENGTHS.sum()), None, by_row=True)
    first, _, _ = samples.batch(np.array([0, 5]))  # the first chunks of two sequences, the longest first
    second, _, _ = samples.batch(np.array([6, 1]))  # another sequence, and the first one's next chunk
    h = np.arange(2.0).reshape(1, 2, 1) + 1
    carried = chunks.carry(second, first, [h])
    before = dict(zip(first.order.tolist(), h[0, :, 0], strict=True))
    assert carried.states is not None
    expected = [before.get(chunk - 1, 0) if chunk == 1 else 0 for chunk in carried.order]
    assert carried.states[0][0, :, 0].tolist() == expected


def test_pieces_end_together() -> None:
    starts, lengths = cut(np.array([1000]), 32, 10)
    assert len(starts) == 32 and lengths.sum() == 1000 and np.ptp(lengths) == 1
    starts, lengths = cut(np.array([900, 50, 50]), 10, 10)
    assert lengths.tolist() == [100] * 9 + [50, 50] and starts.tolist() == [*range(0, 901, 100), 950]
    assert len(cut(np.array([1000]), 32, 200)[0]) == 5  # no piece is shorter than 200
