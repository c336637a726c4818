"""SequenceScaler: against scikit-learn's StandardScaler on the steps of all sequences, and among its checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from data import ragged
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from lstmcore import RNNClassifier, Sequences, SequenceScaler
from lstmcore.sequences import as_sequences


def uneven(rng: np.random.Generator, n: int = 30) -> list[np.ndarray]:
    return [row * [1e-3, 50.0, 0.0] + [7.0, -200.0, 0.1] for row in ragged(rng, n, 3)]


@pytest.mark.parametrize("options", [{}, dict(with_mean=False), dict(with_std=False)], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_is_the_standard_scaler_of_the_steps(options: dict[str, Any], weighted: bool, rng: np.random.Generator) -> None:
    X = uneven(rng)
    for row in X:
        row[rng.random(row.shape) < 0.2] = np.nan
    weights = rng.integers(0, 3, len(X)) if weighted else None
    scaler = SequenceScaler(**options).fit(X, sample_weight=weights)
    steps = np.concatenate(X)
    repeated = None if weights is None else np.repeat(weights, [len(row) for row in X])
    peer = StandardScaler(**options).fit(steps, sample_weight=repeated)
    np.testing.assert_allclose(np.concatenate(scaler.transform(X)), peer.transform(steps), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.concatenate(scaler.inverse_transform(scaler.transform(X))), steps, rtol=1e-12)


def test_answers_in_kind(rng: np.random.Generator) -> None:
    cube = rng.standard_normal((6, 5, 3))
    wanted = SequenceScaler().fit_transform(cube)
    assert type(wanted) is np.ndarray
    assert wanted.shape == cube.shape
    np.testing.assert_allclose(wanted.mean(axis=(0, 1)), 0, atol=1e-12)
    flat = SequenceScaler().fit_transform(cube[:, :, 0])
    assert flat.shape == (6, 5)
    np.testing.assert_allclose(flat, (cube[:, :, 0] - cube[:, :, 0].mean()) / cube[:, :, 0].std(), rtol=1e-12)
    np.testing.assert_array_equal(SequenceScaler().fit_transform(cube[:, :, 0].tolist()), flat)

    for same in (list(cube), tuple(cube), cube.tolist()):
        answer = SequenceScaler().fit_transform(same)
        assert isinstance(answer, list)
        np.testing.assert_array_equal(np.stack(answer), wanted)
    for row, answer in zip(cube[:, :, 0], SequenceScaler().fit_transform(list(cube[:, :, 0])), strict=True):
        assert answer.shape == row.shape
    ragged_array = np.empty(4, object)
    ragged_array[:] = [rng.standard_normal((n, 3)) for n in (4, 1, 7, 2)]
    assert [row.shape for row in SequenceScaler().fit_transform(ragged_array)] == [(4, 3), (1, 3), (7, 3), (2, 3)]
    sequences = as_sequences(cube, dtype=np.float64)
    answer = SequenceScaler().fit_transform(sequences)
    assert isinstance(answer, Sequences)
    np.testing.assert_array_equal(answer.values, wanted.reshape(-1, 3))
    for dtype in (np.float32, np.float64):
        assert SequenceScaler().fit_transform(cube.astype(dtype)).dtype == dtype
        assert SequenceScaler().fit_transform(list(cube.astype(dtype)))[0].dtype == dtype
        assert SequenceScaler().fit_transform(as_sequences(cube, dtype=dtype)).values.dtype == dtype


def test_other_lengths_than_in_fit(rng: np.random.Generator) -> None:
    scaler = SequenceScaler().fit(rng.standard_normal((6, 5, 2)))
    assert scaler.transform(rng.standard_normal((2, 9, 2))).shape == (2, 9, 2)
    assert scaler.n_features_in_ == 2
    assert list(scaler.get_feature_names_out()) == ["x0", "x1"]
    assert list(scaler.get_feature_names_out(["pulse", "weight"])) == ["pulse", "weight"]


@pytest.mark.parametrize(
    ("options", "X", "message"),
    [
        ({}, np.full((2, 3, 1), np.inf), "X contains infinity .*: sequence 0, step 0, feature 0 is inf"),
        ({}, np.zeros((2, 4, 2)), "X has 2 features a step, but fit had 1"),
        (dict(with_mean=1), np.zeros((2, 3, 1)), "with_mean must be True or False, got 1"),
        (dict(with_std=None), np.zeros((2, 3, 1)), "with_std must be True or False, got None"),
    ],
)
def test_bad_input(options: dict[str, Any], X: np.ndarray, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        SequenceScaler(**options).fit(np.zeros((2, 3, 1))).transform(X)


def test_two_dimensions_keep_their_columns(rng: np.random.Generator) -> None:
    X = rng.standard_normal((6, 5))
    scaler = SequenceScaler().fit(X)
    with pytest.raises(ValueError, match=r"X has 4 features, but SequenceScaler is expecting 5 .* are time steps"):
        scaler.transform(X[:, :4])
    assert scaler.transform(X[:, :4, None]).shape == (6, 4, 1)


def test_negative_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        SequenceScaler().fit(np.zeros((2, 3, 1)), sample_weight=[1, -1])


def test_in_a_pipeline(rng: np.random.Generator) -> None:
    X = uneven(rng, 60)
    y = [row[:, 1].mean() > -200 for row in X]
    pipeline = make_pipeline(SequenceScaler(), RNNClassifier(hidden_size=8, max_epochs=20, learning_rate=1e-2))
    assert clone(pipeline).set_params(rnnclassifier__random_state=0).fit(X, y).score(X, y) > 0.8


@parametrize_with_checks([SequenceScaler()])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)
