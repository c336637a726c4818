"""Networks: gradients against finite differences, truncation, prediction in order, live sessions."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest

from lstmcore.layers import from_cell
from lstmcore.network import Dense, Network
from lstmcore.sequences import Sequences

LENGTHS = np.array([7, 3, 9, 1, 9])


def make_network(cell: str, pooling: str | None, n_outputs: int = 2, **options) -> Network:
    recurrent = from_cell(cell, 3, 5, dtype="float64", seed=1, **options)
    return Network(recurrent, pooling, Dense(recurrent.output_size, n_outputs, dtype="float64", seed=2))


def make_sequences(rng: np.random.Generator) -> Sequences:
    return Sequences(rng.standard_normal((LENGTHS.sum(), 3)), np.cumsum(LENGTHS) - LENGTHS, LENGTHS)


def by_finite_differences(network: Network, loss) -> np.ndarray:
    gradient = np.zeros(network.n_parameters)
    for i in range(network.n_parameters):
        values = []
        for step in (1e-5, -2e-5):
            network.flat_parameters[i] += step
            network.parameters_changed()
            values.append(loss())
        network.flat_parameters[i] += 1e-5
        gradient[i] = (values[0] - values[1]) / 2e-5
    network.parameters_changed()
    return gradient


@pytest.mark.parametrize("pooling", ["last", "mean", None])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}], ids=["plain", "deep"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_network_gradients(cell: str, options: dict, pooling: str | None, rng: np.random.Generator) -> None:
    network = make_network(cell, pooling, **options)
    batch = make_sequences(rng).batch(np.arange(5))
    target = rng.standard_normal(network.infer(batch).shape)

    def loss() -> float:
        return float(0.5 * ((network.infer(batch) - target) ** 2).sum())

    network.backward(network.forward(batch) - target)
    np.testing.assert_allclose(network.flat_gradients, by_finite_differences(network, loss), atol=1e-7)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        network.backward(target)


@pytest.mark.parametrize("pooling", ["last", "max", None])
def test_dropout_before_the_head(pooling: str | None, rng: np.random.Generator) -> None:
    recurrent = from_cell("gru", 3, 50, dtype="float64", seed=1)
    network = Network(recurrent, pooling, Dense(50, 2, dtype="float64", seed=2), dropout=0.4)
    assert network.draws_masks
    batch = make_sequences(rng).batch(np.arange(5))
    target = rng.standard_normal(network.infer(batch).shape)

    def loss() -> float:
        output = network.forward(batch, training=True, seed=7)
        return float(0.5 * ((output - target) ** 2).sum())

    np.testing.assert_array_equal(network.forward(batch), network.infer(batch))
    output = network.forward(batch, training=True, seed=7)
    network.backward(output - target)
    np.testing.assert_allclose(network.gradients["dense.bias"], (output - target).sum(axis=0))
    direction = rng.standard_normal(network.n_parameters)
    start, step = network.flat_parameters.copy(), 1e-5
    slope = 0.0
    for sign in (1, -1):
        network.flat_parameters[:] = start + sign * step * direction
        network.parameters_changed()
        slope += sign * loss() / (2 * step)
    assert slope == pytest.approx(network.flat_gradients @ direction, rel=1e-6)
    copied = pickle.loads(pickle.dumps(network))
    network.parameters_changed()
    assert (
        copied.forward(batch, training=True, seed=7).tobytes()
        == network.forward(batch, training=True, seed=7).tobytes()
    )
    outputs = np.stack([network.forward(batch, training=True, seed=seed) for seed in range(300)])
    np.testing.assert_allclose(outputs.mean(axis=0), network.infer(batch), atol=0.05)


@pytest.mark.parametrize("pooling", ["last", "mean", None])
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_truncated_network(pooling: str | None, steps: int, rng: np.random.Generator) -> None:
    """The gradient is that of a network whose steps before the cut have parameters of their own, held fixed."""
    network, fixed = make_network("lstm", pooling), make_network("lstm", pooling)
    sequences = make_sequences(rng)
    batch = sequences.batch(np.arange(5))
    target = rng.standard_normal(network.infer(batch).shape)

    def features(i: int) -> np.ndarray:
        start, length = sequences.starts[i], LENGTHS[i]
        x = sequences.values[start : start + length, None]
        if pooling == "last":
            cuts = [0, length - steps, length] if length > steps else [0, length]
        else:
            cuts = [*range(0, length, steps), length]
        ys, state = [], None
        for begin, end in itertools.pairwise(cuts):
            y, _ = network.recurrent(x[begin:end], state)
            _, state = fixed.recurrent(x[begin:end], state)
            ys.append(y[:, 0])
        y = np.concatenate(ys)
        return y[-1:] if pooling == "last" else y.mean(axis=0, keepdims=True) if pooling == "mean" else y

    def loss() -> float:
        outputs = [network.dense(np.ascontiguousarray(features(i))) for i in range(5)]
        if pooling is not None:
            return float(0.5 * ((np.concatenate(outputs)[batch.order] - target) ** 2).sum())
        packed = Sequences(np.concatenate(outputs), sequences.starts, LENGTHS).batch(np.arange(5)).x
        return float(0.5 * ((packed - target) ** 2).sum())

    output = network.forward(batch, tbptt_steps=steps)
    np.testing.assert_allclose(output, network.infer(batch), atol=1e-14)
    network.backward(output - target)
    np.testing.assert_allclose(network.flat_gradients, by_finite_differences(network, loss), atol=1e-7)


@pytest.mark.parametrize("pooling", ["last", "mean", None])
def test_truncation_beyond_the_length_changes_nothing(pooling: str | None, rng: np.random.Generator) -> None:
    network = make_network("lstm", pooling)
    batch = make_sequences(rng).batch(np.arange(5))
    results = []
    for steps in (None, 9, 100):
        network.zero_gradients()
        network.backward(network.forward(batch, tbptt_steps=steps))
        results.append(network.flat_gradients.tobytes())
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("pooling", ["last", "mean", None])
def test_network_predicts_in_order(pooling: str | None, rng: np.random.Generator) -> None:
    network = make_network("gru", pooling)
    sequences = make_sequences(rng)
    whole = network.predict(sequences)
    parts = [network.predict(sequences.take([i])) for i in range(5)]
    assert whole.tobytes() == np.concatenate(parts).tobytes()


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_session_has_the_bits_of_predict(pooling: str, rng: np.random.Generator) -> None:
    network = make_network("lstm", pooling, num_layers=2)
    x = rng.standard_normal((4, 11, 3))
    session = network.session(4)
    for t in range(11):
        output = session.step(np.ascontiguousarray(x[:, t]))
        prefix = Sequences(np.ascontiguousarray(x[:, : t + 1]).reshape(-1, 3), np.arange(4) * (t + 1), [t + 1] * 4)
        assert output.tobytes() == network.predict(prefix).tobytes()


def test_session_resets_single_streams(rng: np.random.Generator) -> None:
    network = make_network("lstm", "mean")
    session, fresh = network.session(3), network.session(1)
    for _ in range(4):
        session.step(rng.standard_normal((3, 3)))
    session.reset([1])
    assert list(session.n_steps) == [4, 0, 4]
    x = rng.standard_normal((3, 3))
    assert session.step(x)[1].tobytes() == fresh.step(x[1:2])[0].tobytes()


def test_network_is_one_vector() -> None:
    network = make_network("lstm", "last")
    assert next(iter(network.parameters)) == "recurrent.weight_ih_l0"
    assert list(network.parameters)[-2:] == ["dense.weight", "dense.bias"]
    assert np.shares_memory(network.recurrent.flat_parameters, network.flat_parameters)
    assert np.shares_memory(network.dense.flat_gradients, network.flat_gradients)
    copied = pickle.loads(pickle.dumps(network))
    assert copied.flat_parameters.tobytes() == network.flat_parameters.tobytes()
    assert not np.shares_memory(copied.flat_parameters, network.flat_parameters)


def test_network_says_what_it_is() -> None:
    network = Network(from_cell("gru", 2, 3), "mean", Dense(3, 4))
    assert repr(network) == "Network(Recurrent('gru', 2, 3), pooling='mean', outputs=4)"


def test_network_checks_its_parts() -> None:
    recurrent = from_cell("gru", 3, 5, bidirectional=True)
    with pytest.raises(ValueError, match="dense must take 10 features"):
        Network(recurrent, "last", Dense(5, 1))
    with pytest.raises(ValueError, match="dense must be float32"):
        Network(recurrent, "last", Dense(10, 1, dtype="float64"))
    with pytest.raises(ValueError, match="pooling must be one of 'last', 'mean', 'max', 'attention', got 'min'"):
        Network(recurrent, "min", Dense(10, 1))
    with pytest.raises(ValueError, match="bidirectional=False"):
        Network(recurrent, "last", Dense(10, 1)).session()
