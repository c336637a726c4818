"""From raw rows to network rows: against a plain loop over steps, and the same bits in one piece and live."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from data import ragged

from lstmcore._inputs import Inputs
from lstmcore._standardizer import Standardizer
from lstmcore.sequences import Sequences


def joined(rows: list[np.ndarray], dtype: Any = np.float32) -> Sequences:
    """Make sequences of a list of arrays [T, F] that may hold NaN."""
    lengths = np.array([len(row) for row in rows])
    return Sequences(np.concatenate(rows).astype(dtype), np.cumsum(lengths) - lengths, lengths)


def parts(sequences: Sequences) -> list[np.ndarray]:
    return [sequences.values[s : s + n] for s, n in zip(sequences.starts, sequences.lengths, strict=True)]


def holes(rng: np.random.Generator, n: int = 30, features: int = 3, share: float = 0.4) -> list[np.ndarray]:
    """Random sequences with missing values."""
    rows = ragged(rng, n, features)
    for row in rows:
        row += [5.0, -300.0, 0.1][:features]
        row[rng.random(row.shape) < share] = np.nan
    return rows


def masked_by_loop(row: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The definition of missing="mask", one number at a time: [T, F] to [T, 3F]."""
    T, F = row.shape
    result = np.empty((T, 3 * F))
    for f in range(F):
        last, latest = mean[f], 0
        for t in range(T):
            result[t, 2 * F + f] = math.log(1 + t - latest)
            observed = not math.isnan(row[t, f])
            if observed:
                last, latest = row[t, f], t
            result[t, f], result[t, F + f] = (last - mean[f]) / scale[f], observed
    return result


# ---- standardizing ----


def test_standardizes_by_feature(rng: np.random.Generator) -> None:
    rows = [row * [1e-3, 7.0] + [1e6, -2.0] for row in ragged(rng)]
    sequences = joined(rows, np.float64)
    seen = Inputs.fit(sequences).apply(sequences)
    assert seen.values.dtype == np.float32
    np.testing.assert_allclose(seen.values.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(seen.values.std(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(seen.lengths, sequences.lengths)


@pytest.mark.parametrize("constant", [0.1, 0.0, -3e7, 1e-30])
def test_constant_features_have_scale_one(constant: float, rng: np.random.Generator) -> None:
    inputs = Inputs.fit(joined([np.full((1001, 2), constant), np.full((2, 2), constant)], np.float64))
    assert inputs.scaler is not None
    np.testing.assert_array_equal(inputs.scaler.scale, 1)
    np.testing.assert_array_equal(inputs.scaler.mean, constant)


def test_precise_far_from_zero(rng: np.random.Generator) -> None:
    noise = rng.standard_normal((1000, 1))
    scaler = Standardizer.fit(noise + 1e9)
    np.testing.assert_allclose(scaler.scale, noise.std(), rtol=1e-6)


@pytest.mark.parametrize("missing", ["error", "mask"])
def test_weights_are_repetitions(missing: str, rng: np.random.Generator) -> None:
    rows = holes(rng) if missing == "mask" else ragged(rng)
    weights = rng.integers(0, 4, len(rows))
    rows[int(np.argmin(weights))][0] = 1e6  # weight 0
    repeated = [row for row, weight in zip(rows, weights, strict=True) for _ in range(weight)]
    weighted = Inputs.fit(joined(rows), missing=missing, weights=weights.astype(float)).scaler
    plain = Inputs.fit(joined(repeated), missing=missing).scaler
    assert weighted is not None and plain is not None
    np.testing.assert_allclose(weighted.mean, plain.mean, rtol=1e-12)
    np.testing.assert_allclose(weighted.scale, plain.scale, rtol=1e-12)
    stacked = np.concatenate(repeated).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(plain.mean, np.nanmean(stacked, axis=0), rtol=1e-12)
    np.testing.assert_allclose(plain.scale, np.nanstd(stacked, axis=0), rtol=1e-12)


def test_rows_of_weight_zero_leave_no_rounding() -> None:
    rows = [np.full((3, 1), value) for value in (1.0, 1e30, 2.0, 1e30)]
    scaler = Inputs.fit(joined(rows, np.float64), weights=np.array([0.1, 0.0, 0.3, 0.0])).scaler
    assert scaler is not None
    np.testing.assert_allclose(scaler.mean, 1.75)


def test_windows_stay_shared(rng: np.random.Generator) -> None:
    series = rng.standard_normal((40, 2)).astype(np.float32) + 3
    windows = Sequences(series, np.arange(5, 31), np.full(26, 6))
    inputs = Inputs.fit(windows)
    seen = inputs.apply(windows)
    assert seen.values.shape == series.shape
    assert seen.starts is windows.starts
    assert inputs.scaler is not None
    repeated = np.concatenate(parts(windows)).astype(np.float64)
    np.testing.assert_allclose(inputs.scaler.mean, repeated.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(inputs.scaler.scale, repeated.std(axis=0), rtol=1e-12)


def test_nothing_to_do_costs_no_copy(rng: np.random.Generator) -> None:
    sequences = joined(ragged(rng))
    assert Inputs.fit(sequences, standardize=False).apply(sequences) is sequences
    tokens = joined([np.array([[0.0], [4.0]]), np.array([[2.0]])])
    inputs = Inputs.fit(tokens, n_tokens=5)
    assert inputs.scaler is None
    assert inputs.apply(tokens) is tokens


def test_static_features(rng: np.random.Generator) -> None:
    static = rng.standard_normal((60, 3)) * [1e-4, 1.0, 0.0] + [2.0, 1e5, 7.0]
    sequences, weights = joined(ragged(rng)), rng.integers(0, 3, 60).astype(float)
    seen = Inputs.fit(sequences, static=static, weights=weights).apply_static(static)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(np.average(seen, axis=0, weights=weights), 0, atol=1e-6)
    np.testing.assert_allclose(np.average(seen**2, axis=0, weights=weights), [1, 1, 0], atol=1e-6)
    raw = Inputs.fit(sequences, standardize=False, static=static).apply_static(static)
    np.testing.assert_array_equal(raw, static.astype(np.float32))
    static[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"static\[3, 1\] is nan: it must be finite"):
        Inputs.fit(sequences, static=static)


# ---- missing values and patches ----


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mask_is_its_definition(standardize: bool, dtype: Any, rng: np.random.Generator) -> None:
    rows = holes(rng)
    inputs = Inputs.fit(joined(rows, dtype), missing="mask", standardize=standardize, dtype=dtype)
    assert inputs.n_inputs == 9
    raw = np.concatenate(rows)
    mean, scale = np.nanmean(raw, axis=0), np.nanstd(raw, axis=0)
    seen = inputs.apply(joined(rows, dtype))
    assert seen.values.dtype == dtype
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for got, row in zip(parts(seen), rows, strict=True):
        expected = masked_by_loop(row, mean, scale)
        if not standardize:
            expected[:, :3] = expected[:, :3] * scale + mean
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=30 * tolerance)


def test_mask_without_a_missing_value_adds_constants(rng: np.random.Generator) -> None:
    sequences = joined(ragged(rng, features=2))
    seen = Inputs.fit(sequences, missing="mask").apply(sequences)
    np.testing.assert_array_equal(seen.values[:, :2], Inputs.fit(sequences).apply(sequences).values)
    np.testing.assert_array_equal(seen.values[:, 2:4], 1)
    elapsed = np.full((len(seen.values), 2), np.log(2))
    elapsed[seen.starts] = 0
    np.testing.assert_allclose(seen.values[:, 4:], elapsed, rtol=1e-6)


def test_a_feature_that_is_never_observed_is_zero(rng: np.random.Generator) -> None:
    rows = ragged(rng)
    for row in rows:
        row[:, 1] = np.nan
    seen = Inputs.fit(joined(rows), missing="mask").apply(joined(rows))
    np.testing.assert_array_equal(seen.values[:, [1, 3]], 0)


@pytest.mark.parametrize("missing", ["error", "mask"])
@pytest.mark.parametrize("size", [2, 3, 20])
def test_patches_join_time_points(missing: str, size: int, rng: np.random.Generator) -> None:
    rows = holes(rng) if missing == "mask" else ragged(rng, features=3)
    inputs = Inputs.fit(joined(rows), missing=missing, patch_size=size)
    points = Inputs.fit(joined(rows), missing=missing)
    seen = inputs.apply(joined(rows))
    for got, row in zip(parts(seen), rows, strict=True):
        whole = np.concatenate([np.repeat(row[:1], -len(row) % size, axis=0), row])
        expected = points.apply(joined([whole])).values.reshape(-1, inputs.n_inputs)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("options", [dict(missing="mask"), dict(patch_size=3), dict(missing="mask", patch_size=2)])
def test_windows_are_as_if_copied(options: dict[str, Any], rng: np.random.Generator) -> None:
    series = rng.standard_normal((40, 2)).astype(np.float32)
    if "missing" in options:
        series[rng.random(series.shape) < 0.4] = np.nan
    windows = Sequences(series, rng.permutation(33), np.full(33, 7))
    inputs = Inputs.fit(windows, **options)
    copied = inputs.apply(joined(parts(windows)))
    for got, expected in zip(parts(inputs.apply(windows)), parts(copied), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    "options",
    [{}, dict(standardize=False), dict(missing="mask", patch_size=2, dtype="float64"), dict(n_tokens=9)],
    ids=str,
)
def test_json_keeps_every_bit(options: dict[str, Any], rng: np.random.Generator) -> None:
    sequences = joined([np.floor(9 * rng.random((n, 2))) for n in (3, 5, 2)], options.get("dtype", "float32"))
    static = rng.standard_normal((3, 2))
    inputs = Inputs.fit(sequences, static=static, **options)
    read = Inputs.from_config(json.loads(json.dumps(inputs.to_config())))
    assert read.apply(sequences).values.tobytes() == inputs.apply(sequences).values.tobytes()
    assert read.apply_static(static).tobytes() == inputs.apply_static(static).tobytes()
    assert read.n_inputs == inputs.n_inputs
    assert read.dtype == inputs.dtype


# ---- bad input ----


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (np.nan, {}, r"X contains NaN: sequence 2, step 3, feature 1 is nan; missing='mask' takes NaN for a missing"),
        (np.inf, {}, "X contains infinity .*: sequence 2, step 3, feature 1 is inf"),
        (-np.inf, dict(missing="mask"), "X contains infinity .*: sequence 2, step 3, feature 1 is -inf"),
        (1e39, dict(standardize=False), "X contains .*too large for float32: sequence 2, step 3, feature 1 is 1e.39"),
        (np.nan, dict(n_tokens=3), r"X must hold token numbers, whole numbers from 0 to 2: sequence 2, step 3, fea"),
        (0.5, dict(n_tokens=3), "sequence 2, step 3, feature 1 is 0.5"),
        (-1, dict(n_tokens=3), "sequence 2, step 3, feature 1 is -1"),
        (3, dict(n_tokens=3), "sequence 2, step 3, feature 1 is 3"),
        (np.inf, dict(n_tokens=3), "sequence 2, step 3, feature 1 is inf"),
    ],
)
def test_bad_values_are_located(value: float, options: dict[str, Any], message: str) -> None:
    good = joined(list(np.zeros((4, 5, 2))), np.float64)
    bad = good.replace(good.values.copy())
    bad.values[2 * 5 + 3, 1] = value
    with pytest.raises(ValueError, match=message):
        Inputs.fit(good, **options).apply(bad)
    with pytest.raises(ValueError, match=message):
        Inputs.fit(bad, **options).apply(bad)


def test_values_outside_of_all_windows_do_not_matter(rng: np.random.Generator) -> None:
    series = rng.standard_normal((10, 1)).astype(np.float32)
    series[5] = np.inf
    inputs = Inputs.fit(Sequences(series, [0, 6], [5, 4]))
    assert inputs.scaler is not None
    np.testing.assert_allclose(inputs.scaler.mean, np.delete(series, 5).mean(dtype=np.float64), rtol=1e-12)
    inputs.apply(Sequences(series, [0, 6], [5, 4]))
    with pytest.raises(ValueError, match="sequence 1, step 1, feature 0 is inf"):
        inputs.apply(Sequences(series, [0, 4], [5, 4]))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(standardize=1), TypeError, "standardize must be True or False, got 1"),
        (
            dict(missing="masks"),
            ValueError,
            r"missing must be one of 'error', 'mask', got 'masks' \(did you mean 'mask'",
        ),
        (dict(patch_size=0), ValueError, "patch_size must be at least 1, got 0"),
        (dict(n_tokens=2.5), TypeError, "n_tokens must be an integer, got 2.5"),
        (
            dict(n_tokens=3, patch_size=2),
            ValueError,
            "token numbers need missing='error' and patch_size=1, got 'error'",
        ),
        (dict(n_tokens=3, missing="mask"), ValueError, "token numbers need .*, got 'mask' and 1"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Inputs.fit(joined([np.zeros((3, 1))]), **options)
