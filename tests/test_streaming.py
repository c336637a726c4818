"""Sessions: subsets of streams, states that travel, bad input that loses nothing."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from typing import Any

import numpy as np
import pytest

import lstmcore
from lstmcore import RNNClassifier, RNNForecaster, RNNLanguageModel, RNNRegressor, RNNTagger
from lstmcore.layers import from_cell
from lstmcore.network import Dense, Network

SMALL: dict[str, Any] = dict(hidden_size=6, max_epochs=2, random_state=0)
T, B = 12, 5


def holes(rng: np.random.Generator, features: int = 3) -> np.ndarray:
    X = rng.normal(2, 3, (40, T, features))
    X[rng.random(X.shape) < 0.4] = np.nan
    return X


def models(rng: np.random.Generator) -> dict[str, tuple[Any, np.ndarray, Any]]:
    """Models, sequences [B, T, F] to predict for, and their static features."""
    X, y, static = rng.normal(2, 3, (40, T, 3)), np.arange(40) % 3, rng.standard_normal((40, 2))
    masked, tokens = holes(rng), rng.integers(0, 7, (40, T, 1))
    made: dict[str, tuple[Any, np.ndarray, Any]] = {
        "labels": (RNNClassifier(cell="gru", num_layers=2, **SMALL).fit(X, np.array(["a", "b", "c"])[y]), X, None),
        "mean, tokens": (RNNClassifier(pooling="mean", embedding_dim=4, **SMALL).fit(tokens, y), tokens, None),
        "multilabel": (RNNClassifier(pooling="max", **SMALL).fit(X, np.eye(3, dtype=int)[y]), X, None),
        "static": (RNNRegressor(**SMALL).fit(X, y * 1.0, static=static), X, static[:B]),
        "masked": (RNNRegressor(missing="mask", pooling="attention", **SMALL).fit(masked, X[:, 0, :2]), masked, None),
        "patches": (RNNRegressor(missing="mask", patch_size=2, **SMALL).fit(masked, y * 1.0), masked, None),
        "raw": (RNNRegressor(missing="mask", standardize=False, **SMALL).fit(masked, y * 1.0), masked, None),
        "quantiles": (RNNRegressor(loss="quantile", quantiles=[0.1, 0.5, 0.9], **SMALL).fit(X, y * 1.0), X, None),
        "time delays": (RNNRegressor(cell="tdnn", **SMALL).fit(X, y * 1.0), X, None),
        "clockwork": (RNNRegressor(cell="rnn_clockwork", **SMALL).fit(X, y * 1.0), X, None),
        "tagger": (RNNTagger(**SMALL).fit(list(X), [np.arange(T) % 2] * 40), X, None),
    }
    return {name: (estimator.model_, data[:B], given) for name, (estimator, data, given) in made.items()}


MODELS = models(np.random.default_rng(0))


def steps_of(model: Any, X: np.ndarray) -> np.ndarray:
    """X [B, T, F] as steps [T / patch, B, patch * F]."""
    size = model.inputs.patch_size
    return np.ascontiguousarray(X.reshape(len(X), -1, size * X.shape[2]).swapaxes(0, 1))


@pytest.mark.parametrize("name", MODELS)
def test_any_subset_has_the_bits_of_predict(name: str, rng: np.random.Generator) -> None:
    model, X, static = MODELS[name]
    x, size = steps_of(model, X), model.inputs.patch_size
    session, done = model.session(B, static), np.zeros(B, int)
    while (done < len(x)).any():
        ready = rng.permutation(np.flatnonzero(done < len(x)))
        chosen = ready[: rng.integers(1, len(ready) + 1)]
        answers = session.step(x[done[chosen], chosen], streams=chosen)
        done[chosen] += 1
        for i, answer in zip(chosen, answers, strict=True):
            given = [] if static is None else [static[i : i + 1]]
            expected = model.predict(X[i : i + 1, : done[i] * size], *given)
            assert answer.tobytes() == (expected[0, -1] if name == "tagger" else expected[0]).tobytes()
    assert session.n_steps.tolist() == done.tolist()


@pytest.mark.parametrize("name", MODELS)
def test_states_travel(name: str, rng: np.random.Generator) -> None:
    model, X, static = MODELS[name]
    x = steps_of(model, X)
    session, half = model.session(B, static), len(x) // 2
    for t in range(half):
        session.step(x[t])
    other = model.session(3, None if static is None else static[:3])
    other.restore(session.export([4, 1]), streams=[0, 2])
    branch, pickled = session.copy(slice(1, 3)), pickle.loads(pickle.dumps(session))
    again = copy.deepcopy(session)
    for t in range(half, len(x)):
        whole = session.step(x[t])
        assert other.step(x[t, [4, 1]], streams=[0, 2]).tobytes() == whole[[4, 1]].tobytes()
        assert branch.step(x[t, 1:3]).tobytes() == whole[1:3].tobytes()
        assert pickled.step(x[t]).tobytes() == again.step(x[t]).tobytes() == whole.tobytes()
    assert other.n_steps.tolist() == [len(x) - half + half, 0, len(x)]
    session.reset([3])
    fresh = model.session(1, None if static is None else static[3:4])
    assert session.step(x[0, 3:4], streams=3).tobytes() == fresh.step(x[0, 3:4]).tobytes()


def test_static_features_of_a_network_are_checked() -> None:
    network, plain = MODELS["static"][0].network, MODELS["labels"][0].network
    assert network.session(2, [[1, 2], [3, 4]]).n_streams == 2
    for call, message in (
        (lambda: network.session(2), "needs static features, got None"),
        (lambda: network.session(2, [[1.0, 2.0]]), r"static must have shape \(2, 2\), .* got \(1, 2\)"),
        (lambda: network.session(1, [[np.nan, 2.0]]), r"static\[0, 0\] is nan"),
        (lambda: plain.session(1, [[1.0]]), r"static must be None: the network takes none, got shape \(1, 1\)"),
        (lambda: plain.session(1).reset(0, [[1.0]]), "static must be None"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_stream_may_get_other_static_features() -> None:
    model, X, static = MODELS["static"]
    session, other = model.session(B, static), model.session(1, static[:1])
    session.reset(2, static=static[:1])
    assert session.step(X[0, 0], streams=2).tobytes() == other.step(X[0, 0]).tobytes()
    before = session.export()
    with pytest.raises(ValueError, match="0 more than once"):
        session.reset([0, 0], static=static[1:3])
    assert session.export() == before
    session.reset(2)  # and keeps them
    other.reset()
    assert session.copy(2).step(X[0, 0]).tobytes() == other.step(X[0, 0]).tobytes()


@pytest.mark.parametrize(
    ("streams", "n"),
    [
        (3, 1),
        (-1, 1),
        (np.int64(2), 1),
        ([4, 0], 2),
        (slice(1, 4), 3),
        ((3, 1), 2),
        (slice(None, None, 2), 3),
        (np.arange(B) > 2, 2),
    ],
    ids=str,
)
def test_ways_to_name_streams(streams: Any, n: int) -> None:
    model, X, _ = MODELS["labels"]
    session = model.session(B)
    x = np.ascontiguousarray(X[:n, 0])
    assert session.step(x, streams=streams).tobytes() == model.predict(X[:n, :1]).tobytes()
    expected = np.zeros(B, int)
    expected[list(streams) if isinstance(streams, tuple) else streams] = 1
    assert session.n_steps.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "layout",
    [np.asfortranarray, lambda x: x.tolist(), lambda x: x.astype(np.float32), lambda x: np.repeat(x, 2, 0)[::2]],
)
def test_layouts_of_x(layout: Any) -> None:
    model, X, _ = MODELS["labels"]
    x = np.round(X[:, 0])
    assert model.session(B).step(layout(x)).tobytes() == model.session(B).step(np.ascontiguousarray(x)).tobytes()
    assert model.session(B).step(x.astype(int)).tobytes() == model.session(B).step(x.copy()).tobytes()


def test_bad_input_loses_nothing() -> None:
    model, X, _ = MODELS["labels"]
    session = model.session(B)
    session.step(X[:, 0].copy())
    before, good = session.export(), session.export([0, 1])
    nan = X[:2, 1].copy()
    nan[1, 2] = np.nan
    another = RNNClassifier(cell="gru", num_layers=2, **{**SMALL, "random_state": 1}).fit(X, np.arange(B) % 3).model_
    bad: list[tuple[Any, type[Exception], str]] = [
        (lambda: session.step(nan, streams=[4, 2]), ValueError, "x contains NaN: stream 2, step 0, feature 2 is nan"),
        (
            lambda: session.step(nan * 1e300, streams=[0, 2]),
            ValueError,
            "infinity or a value too large for float32: str",
        ),
        (lambda: session.step(X[:2, 0], streams=[4, 5]), IndexError, r"got list \[4, 5\]: index 5 is out of bounds"),
        (
            lambda: session.step(X[:2, 0], streams=[4, -1]),
            ValueError,
            "streams must be different .* got 4 more than once",
        ),
        (lambda: session.step(X[:2, 0], streams=[1]), ValueError, r"x must have shape \(1, 3\).* got \(2, 3\)"),
        (
            lambda: session.step(X[0, 0], streams="ada"),
            IndexError,
            "streams must be numbers from 0 to 4, .* got str 'ada'",
        ),
        (lambda: session.reset([1, 1]), ValueError, "got 1 more than once"),
        (lambda: session.restore(good), ValueError, r"data hold 2 stream\(s\), streams names 5"),
        (lambda: session.restore("abc"), TypeError, "data must be bytes, got str"),
        (lambda: session.restore(b"abc"), ValueError, "data are not states of streams, or not whole"),
        (lambda: session.restore(good[:-3], [0, 1]), ValueError, "or not whole"),
        (lambda: session.restore(another.session(2).export(), [0, 1]), ValueError, "states of another model"),
        (lambda: session.restore(MODELS["masked"][0].session(2).export(), [0, 1]), ValueError, "another model"),
        (lambda: session.step(np.ma.masked_less(X[:, 0], 0)), TypeError, "x is a masked array: fill"),
        (lambda: session.copy([7]), IndexError, "streams must .*: index 7"),
        (lambda: setattr(session, "states", 5), ValueError, "states must be a list of 1 arrays, got int 5"),
        (
            lambda: setattr(session, "states", [np.full((2, B, 6), np.inf)]),
            ValueError,
            r"states\[0\]\[0, 0, 0\] is inf",
        ),
    ]
    for call, error, message in bad:
        with pytest.raises(error, match=message):
            call()
        assert session.export() == before


def test_damaged_bytes_are_refused(rng: np.random.Generator) -> None:
    model, X, _ = MODELS["masked"]
    session = model.session(2)
    session.step(X[:2, 0].copy())
    data = session.export()
    for _ in range(500):
        mutated = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            mutated[place] ^= 1 << int(rng.integers(8))
        if mutated != data:
            with pytest.raises(ValueError, match="data"):
                session.restore(bytes(mutated))
    assert session.export() == data


def test_a_session_sees_parameters_change() -> None:
    network = Network(from_cell("lstm", 3, 5, seed=0), "last", Dense(5, 2, seed=0))
    session, x = network.session(2), np.ones((2, 3), np.float32)
    before = session.step(x)
    session.reset()
    network.flat_parameters[...] *= 0.5
    network.parameters_changed()
    assert (session.step(x) != before).all()


def test_forecaster_subsets(rng: np.random.Generator) -> None:
    series = np.cumsum(rng.normal(size=(3, 80)), axis=1)
    for options in ({}, {"difference": False}, {"cell": "tdnn", "quantiles": [0.1, 0.5, 0.9]}):
        model = RNNForecaster(window=12, horizon=3, **SMALL, **options).fit(series[0]).model_
        session, done = model.session(4), np.zeros(4, int)
        expected = [model.forecasts(y) for y in series]
        for _ in range(60):
            chosen = rng.permutation(3)[: rng.integers(1, 4)]
            forecasts = session.step(series[chosen, done[chosen]], streams=chosen)
            for i, forecast in zip(chosen, forecasts, strict=True):
                assert forecast.tobytes() == expected[i][done[i]].tobytes()
            done[chosen] += 1
        moved = model.session(1)
        moved.restore(session.export(1))
        pickled = pickle.loads(pickle.dumps(session)).copy(1)
        assert moved.forecast(7).tobytes() == pickled.forecast(7).tobytes() == session.copy([1]).forecast(7).tobytes()
        y = series[1, done[1]]
        assert moved.step(y).tobytes() == session.step([y], streams=1).tobytes() == pickled.step(y).tobytes()
        before = session.export()
        for value in (np.nan, np.inf):
            with pytest.raises(ValueError, match="it must be finite"):
                session.step(value, streams=3)
        with pytest.raises(TypeError, match="y is a masked array"):
            session.step(np.ma.masked_array([1.0], [True]), streams=3)
        with pytest.raises(ValueError, match=r"y must have 2 row\(s\)"):
            session.step([1.0, 2.0, 3.0], streams=[0, 1])
        assert session.export() == before


def test_one_table_of_what_is_known_is_for_all_series(rng: np.random.Generator) -> None:
    y, known = rng.normal(size=60), rng.normal(size=(62, 2))
    model = RNNForecaster(window=12, horizon=2, **SMALL).fit(y, known=known).model_
    session, whole = model.session(3), model.forecasts(y, known=known)
    for t in range(20):
        forecasts = session.step(np.full(3, y[t]), known=known[t + 1 : t + 3])
        assert all(row.tobytes() == whole[t].tobytes() for row in forecasts)
    with pytest.raises(ValueError, match=r"known must have shape \(2, 2\), that is \[horizon, n_ahead\], got \(1, 2\)"):
        session.step(y[:3], known=known[:1])


def test_language_streams_travel() -> None:
    model = RNNLanguageModel(hidden_size=8, max_epochs=1, random_state=0).fit(["abcab", "bcabc"] * 20).model_
    session = model.session(3)
    session.step("abc")
    other = model.session(1)
    other.restore(session.export(1))
    branch = session.copy([1, 2])
    first = session.step("b", streams=1)
    assert other.step("b").tobytes() == branch.step("b", streams=0).tobytes() == first.tobytes()
    assert other.step("a").tobytes() == session.step("aaa")[1:2].tobytes()
    assert session.n_steps.tolist() == [2, 3, 2]


def test_threads_take_turns() -> None:
    model, X, _ = MODELS["labels"]
    n, x = 8, steps_of(model, np.tile(X, (2, 1, 1))[:8])
    session, alone = model.session(n), model.session(n)

    def advance(stream: int) -> None:
        for t in range(len(x)):
            session.step(x[t, stream], streams=stream)

    threads = [threading.Thread(target=advance, args=(stream,)) for stream in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for t in range(len(x)):
        alone.step(x[t])
    assert session.export() == alone.export()


_FORK = """
import os, warnings
import numpy as np
import lstmcore
from lstmcore.layers import from_cell
from lstmcore.network import Dense, Network

warnings.simplefilter("error")
lstmcore.set_num_threads(2)
network = Network(from_cell("lstm", 8, 128, seed=0), "last", Dense(128, 2, seed=0))
x = np.random.default_rng(0).standard_normal((256, 8)).astype(np.float32)

def step():
    session = network.session(256)
    return [session.step(x) for _ in range(3)][-1]

def in_a_child(expected):
    child = os.fork()
    if child == 0:
        warnings.simplefilter("always")
        os._exit(0 if np.array_equal(step(), expected) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

lstmcore.set_num_threads(1)
expected = step()  # on one thread: nothing is lost in a fork
lstmcore.set_num_threads(2)
print(in_a_child(expected), np.array_equal(step(), expected), in_a_child(expected))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_sessions_go_on_after_a_fork(run_python) -> None:
    assert run_python(_FORK, OMP_NUM_THREADS="2").stdout.split() == ["0", "True", "0"]


def test_many_streams_are_the_same_on_any_number_of_threads() -> None:
    model, X, _ = MODELS["masked"]
    n = 3000  # more than go through the network together would need; order and parts do not matter
    x = np.resize(X[:, 0], (n, X.shape[2]))
    answers = []
    for threads in (1, 2):
        lstmcore.set_num_threads(threads)
        answers.append(model.session(n).step(x).tobytes())
    lstmcore.set_num_threads(None)
    assert answers[0] == answers[1] == np.resize(model.predict(X[:, :1]), (n, 2)).tobytes()
