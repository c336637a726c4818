"""How data is read, and how minibatches are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmcore.sequences import Sequences, as_sequences


def rows_of(sequences: Sequences) -> list[np.ndarray]:
    return [sequences.values[s : s + n] for s, n in zip(sequences.starts, sequences.lengths, strict=True)]


def check_same(sequences: Sequences, expected: list[np.ndarray]) -> None:
    assert len(sequences) == len(expected)
    assert sequences.values.dtype == np.float32
    assert sequences.values.flags.c_contiguous
    for row, wanted in zip(rows_of(sequences), expected, strict=True):
        np.testing.assert_array_equal(row, wanted.astype(np.float32))


def test_three_dimensions(rng: np.random.Generator) -> None:
    X = rng.standard_normal((4, 5, 3))
    check_same(as_sequences(X), list(X))
    check_same(as_sequences(X[:, ::2]), list(X[:, ::2]))
    check_same(as_sequences(X.transpose(1, 0, 2)), list(X.transpose(1, 0, 2)))


def test_two_dimensions_are_steps_of_one_feature(rng: np.random.Generator) -> None:
    X = rng.integers(0, 9, (4, 5))
    expected = [row[:, None] for row in X]
    for same in (X, X.astype(object), np.asfortranarray(X), X.tolist(), list(X)):
        check_same(as_sequences(same), expected)


def test_lists_of_different_lengths(rng: np.random.Generator) -> None:
    X = [rng.standard_normal((n, 3)) for n in (4, 1, 7)]
    check_same(as_sequences(X), X)
    check_same(as_sequences(tuple(X)), X)
    check_same(as_sequences([row.tolist() for row in X]), X)
    ragged = np.empty(3, object)
    ragged[:] = X
    check_same(as_sequences(ragged), X)
    flat = [rng.standard_normal(n) for n in (4, 1, 7)]
    check_same(as_sequences(flat), [row[:, None] for row in flat])


def test_sequences_pass_through_without_a_copy(rng: np.random.Generator) -> None:
    X = rng.standard_normal((4, 5, 3)).astype(np.float32)
    sequences = as_sequences(X)
    assert np.shares_memory(sequences.values, X)
    assert as_sequences(sequences).values is sequences.values
    assert as_sequences(sequences, dtype=np.float64).values.dtype == np.float64
    kept = [as_sequences(values, dtype=None).values.dtype for values in (X, X.astype(float), X.astype(int))]
    assert kept == [np.float32, np.float64, np.float64]


def test_windows_share_their_values(rng: np.random.Generator) -> None:
    series = rng.standard_normal((20, 2)).astype(np.float32)
    windows = Sequences(series, np.arange(15), np.full(15, 6))
    check_same(windows, [series[i : i + 6] for i in range(15)])
    assert np.shares_memory(windows.take([3, 1]).values, series)
    check_same(windows.take([3, 1]), [series[3:9], series[1:7]])


BAD: list[tuple[Any, type[Exception], str]] = [
    (np.zeros((0, 3, 2)), ValueError, r"X: Found array with 0 sample\(s\) \(shape=\(0, 3, 2\)\)"),
    (np.zeros((3, 0, 2)), ValueError, r"X: every sequence needs at least one step; .*shape=\(3, 0, 2\)"),
    (np.zeros((3, 2, 0)), ValueError, r"X: every sequence needs at least one feature; .*shape=\(3, 2, 0\)"),
    (np.zeros((3, 0)), ValueError, r"0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1 is required"),
    (np.zeros(3), ValueError, r"got a 1-D array of shape \(3,\)\. Reshape your data"),
    (np.zeros((1, 1, 1, 1)), ValueError, r"got a 4-D array of shape \(1, 1, 1, 1\)"),
    (7.5, TypeError, "X must be an array or a list of arrays, got float"),
    ([], ValueError, r"got a 1-D array of shape \(0,\)"),
    ([np.zeros((3, 2)), np.zeros((0, 2))], ValueError, r"X\[1\] has length 0; every sequence needs at least one step"),
    ([[1.0], []], ValueError, r"X\[1\] has length 0"),
    ([np.zeros((3, 2)), np.zeros((3, 4))], ValueError, r"X\[1\] has 4 features a step, expected 2 as in X\[0\]"),
    ([np.zeros((3, 0)), np.zeros((2, 0))], ValueError, r"X\[0\] has shape \(3, 0\): 0 feature\(s\)"),
    ([np.zeros((3, 2)), np.zeros((1, 3, 2))], ValueError, r"X\[1\] must be 2-D .* got shape \(1, 3, 2\)"),
    ([np.zeros((2, 1)), 5.0], ValueError, "X must hold real numbers"),
    (np.array([["a", "b"]]), ValueError, "X must hold real numbers: could not convert string to float"),
    ([["a", "b"]], ValueError, r"X\[0\] must hold real numbers"),
    (np.zeros((2, 3), complex), ValueError, "X must hold real numbers: Complex data not supported"),
    (np.zeros((2, 3), "datetime64[s]"), ValueError, "X must hold real numbers: dates are no numbers"),
    (np.ma.masked_equal(np.zeros((2, 3)), 0), TypeError, r"X is a masked array.*X\.filled\(0\)"),
    ("abc", TypeError, "X must be an array or a list of arrays, got str"),
    (None, TypeError, "got NoneType"),
    ({"a": 1}, TypeError, "got dict"),
]


@pytest.mark.parametrize(("X", "error", "message"), BAD)
def test_bad_input_is_named(X: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_sequences(X)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "contains NaN: sequence 2, step 3, feature 1 is nan"),
        (np.inf, "contains infinity .*: sequence 2, step 3, feature 1 is inf"),
        (-np.inf, "contains infinity .*: sequence 2, step 3, feature 1 is -inf"),
        (1e39, "contains .*too large for float32: sequence 2, step 3, feature 1"),
    ],
)
def test_not_finite_is_located(value: float, message: str) -> None:
    X = np.zeros((4, 5, 2))
    X[2, 3, 1] = value
    with pytest.raises(ValueError, match=message):
        as_sequences(X)
    with pytest.raises(ValueError, match="Z " + message):
        as_sequences(list(X), name="Z")


def test_values_outside_of_all_windows_do_not_matter() -> None:
    series = np.zeros((10, 1), np.float32)
    series[5] = np.nan
    as_sequences(Sequences(series, [0, 6], [5, 4]))
    with pytest.raises(ValueError, match="sequence 1, step 1, feature 0 is nan"):
        as_sequences(Sequences(series, [0, 4], [5, 4]))


def test_sparse_is_refused() -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"X is sparse \(csr_array\); dense data is required, use X.toarray\(\)"):
        as_sequences(scipy_sparse.csr_array(np.eye(3)))


def test_number_of_features_is_checked() -> None:
    with pytest.raises(ValueError, match="X has 2 features a step, but the model expects 3"):
        as_sequences(np.zeros((4, 5, 2)), n_features=3)


@pytest.mark.parametrize(("starts", "lengths"), [([0, 8], [5, 3]), ([-1, 0], [2, 2]), ([0, 4], [5, 0])])
def test_sequences_stay_inside(starts: list[int], lengths: list[int]) -> None:
    bad = 0 if starts[0] < 0 else 1
    with pytest.raises(ValueError, match=rf"sequence {bad} \(start {starts[bad]}, length {lengths[bad]}\)"):
        Sequences(np.zeros((10, 1), np.float32), starts, lengths)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=200),
    batch_size=st.integers(1, 9),
    seed=st.one_of(st.none(), st.integers(0, 5)),
)
def test_minibatches_hold_each_sequence_once(lengths: list[int], batch_size: int, seed: int | None) -> None:
    sequences = Sequences(np.zeros((40, 1), np.float32), np.zeros(len(lengths), int), lengths)

    def cut() -> list[np.ndarray]:
        return sequences.minibatches(batch_size, None if seed is None else np.random.default_rng(seed))

    batches = cut()
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert all(batch.dtype == np.int64 and 1 <= len(batch) <= batch_size for batch in batches)
    assert len(batches) == -(-len(lengths) // batch_size)
    for batch, again in zip(batches, cut(), strict=True):
        np.testing.assert_array_equal(batch, again)


def test_minibatches_hold_similar_lengths_and_stay_random(rng: np.random.Generator) -> None:
    lengths = rng.integers(1, 1000, 1024)
    sequences = Sequences(np.zeros((1000, 1), np.float32), np.zeros(1024, int), lengths)
    batches = sequences.minibatches(32, rng)
    # Random batches of 32 would span nearly the whole range, 940 on average.
    assert np.mean([np.ptp(lengths[batch]) for batch in batches]) < 60
    means = [lengths[batch].mean() for batch in batches]
    assert np.abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5
    assert {frozenset(batch) for batch in batches} != {frozenset(batch) for batch in sequences.minibatches(32, rng)}
