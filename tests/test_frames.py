"""Long tables and arrays with channels first, read as sequences; pandas and polars must agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lstmcore
from lstmcore import RNNClassifier, Sequences, sequences_from_channels, sequences_from_frame, sequences_from_mask

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

FRAMES = (pd.DataFrame, pl.DataFrame)
Columns = dict[str, Any]
VISITS: Columns = {
    "patient": ["b", "a", "b", "c", "a", "b"],
    "day": [9, 5, 2, 1, 1, 4],
    "pulse": [75.0, 61.0, 70.0, 80.0, 66.0, float("nan")],
    "stairs": [3, 1, 4, 1, 5, 9],
    "ill": ["yes", "no", "yes", "no", "no", "yes"],
    "age": [40, 31, 40, 77, 31, 40],
}


def parts(sequences: Sequences) -> list[list[list[float]]]:
    return [sequences.values[s : s + n].tolist() for s, n in zip(sequences.starts, sequences.lengths, strict=True)]


@pytest.mark.parametrize("frame", FRAMES)
def test_rows_become_sequences(frame: Callable[[Columns], Any]) -> None:
    data = sequences_from_frame(frame(VISITS), "patient", "day", ["stairs", "pulse"], target="ill", static=["age"])
    assert data.ids.tolist() == ["b", "a", "c"]
    np.testing.assert_equal(parts(data.sequences), [[[4, 70], [9, np.nan], [3, 75]], [[5, 66], [1, 61]], [[1, 80]]])
    assert data.sequences.values.dtype == np.float64
    assert data.feature_names == ["stairs", "pulse"]
    assert data.y.tolist() == ["yes", "no", "no"]
    assert data.static is not None
    assert data.static.tolist() == [[40.0], [31.0], [77.0]]
    assert data.static.dtype == np.float64


@pytest.mark.parametrize("frame", FRAMES)
def test_defaults(frame: Callable[[Columns], Any]) -> None:
    data = sequences_from_frame(
        frame({name: VISITS[name] for name in ("day", "patient", "pulse", "stairs")}), "patient"
    )
    assert data.feature_names == ["day", "pulse", "stairs"]
    assert [[row[0] for row in part] for part in parts(data.sequences)] == [[9, 2, 4], [5, 1], [1]]  # as they come
    assert data.y is None
    assert data.static is None


@pytest.mark.parametrize("frame", FRAMES)
def test_targets_of_each_step(frame: Callable[[Columns], Any]) -> None:
    def read(target: Any) -> Any:
        return sequences_from_frame(frame(VISITS), "patient", "day", "pulse", target=target, per_step=True).y

    assert [y.tolist() for y in read("stairs")] == [[4, 9, 3], [5, 1], [1]]
    assert [y.tolist() for y in read(["stairs", "age"])] == [[[4, 40], [9, 40], [3, 40]], [[5, 31], [1, 31]], [[1, 77]]]
    several = sequences_from_frame(frame(VISITS), "patient", "day", "pulse", target=["age", "age"]).y
    assert several.tolist() == [[40, 40], [31, 31], [77, 77]]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(
    "times",
    [
        np.array([9, 5, 2, 1, 1, 4], "datetime64[D]"),
        [f"2024-01-0{day}" for day in VISITS["day"]],
        np.array(VISITS["day"]) / 7,
        list(pd.to_datetime(VISITS["day"], unit="D", utc=True)),
    ],
    ids=["dates", "strings", "floats", "zones"],
)
def test_times_of_any_kind(frame: Callable[[Columns], Any], times: Any) -> None:
    table = frame({**VISITS, "day": times})
    data = sequences_from_frame(table, "patient", "day", "stairs")
    assert parts(data.sequences) == [[[4], [9], [3]], [[5], [1]], [[1]]]


def test_random_tables_come_apart(rng: np.random.Generator) -> None:
    """What is shuffled and joined comes back."""
    rows = [rng.standard_normal((n, 3)).astype(np.float32) for n in rng.integers(1, 9, 40)]
    ids = np.repeat(rng.permutation(40) - 20, [len(row) for row in rows])
    times = np.concatenate([np.sort(rng.standard_normal(len(row))) for row in rows])
    shuffled = rng.permutation(len(ids))
    table = pd.DataFrame(np.concatenate(rows)[shuffled], columns=[7, 8, 9])
    table = table.assign(id=ids[shuffled], time=times[shuffled])
    data = sequences_from_frame(table, "id", "time")
    assert data.feature_names == [7, 8, 9]
    assert data.ids.tolist() == list(dict.fromkeys(ids[shuffled].tolist()))
    assert data.sequences.values.dtype == np.float32
    wanted = dict(zip(dict.fromkeys(ids.tolist()), rows, strict=True))
    for id, part in zip(data.ids, parts(data.sequences), strict=True):
        np.testing.assert_array_equal(part, wanted[id])


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({"day": [9, 5, 2, 1, 1, 9]}, {}, ValueError, r"id 'b' has two rows with 'day' 9; each step of a"),
        ({}, dict(target="stairs"), ValueError, r"target 'stairs' must be the same .* id 'b' has 4 and 9; per_step"),
        ({}, dict(static="stairs"), ValueError, r"static 'stairs' must be the same in .* but id 'b' has 4 and 9$"),
        ({}, dict(static="ill"), TypeError, r"column 'ill' must hold numbers, got "),
        ({}, dict(features=None), TypeError, r"column 'ill' must hold numbers, got "),
        ({}, dict(features=["pulse", "puls"]), ValueError, r"features must be a column of the frame, got 'puls'"),
        ({}, dict(features=[]), ValueError, r"features must name at least one column of .*, got \[\]"),
        ({}, dict(id="name"), ValueError, r"id must be a column of the frame, got 'name': there are \['patient'"),
        ({}, dict(time=["day", "age"]), ValueError, r"time must be one column, got \['day', 'age'\]"),
        ({}, dict(per_step=1), TypeError, r"per_step must be True or False, got 1"),
        ({"patient": ["b", "a", None, "c", "a", "b"]}, {}, ValueError, r"column 'patient' must hold values that can"),
        ({"day": [9, 5, None, 1, 1, 4]}, {}, ValueError, r"column 'day' must .* none of them missing: row 2 is nan"),
        ({name: [] for name in VISITS}, {}, ValueError, r"frame has no rows"),
    ],
)  # fmt: skip
def test_bad_tables(
    frame: Callable[[Columns], Any], change: Columns, options: Columns, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sequences_from_frame(
            frame({**VISITS, **change}), **{**dict(id="patient", time="day", features="pulse"), **options}
        )


def test_missing_dates_and_twice_the_same_name() -> None:
    dates = np.array(VISITS["day"], "datetime64[D]")
    dates[3] = "NaT"
    with pytest.raises(ValueError, match=r"column 'day' .* none of them missing: row 3 is NaT"):
        sequences_from_frame(pd.DataFrame({**VISITS, "day": dates}), "patient", "day", "pulse")
    twice = pd.DataFrame([["a", 1.0, 2.0]], columns=["id", "x", "x"])
    with pytest.raises(ValueError, match="features must be a column of the frame, got 'x': two columns have that name"):
        sequences_from_frame(twice, "id", features="x")


@pytest.mark.parametrize("frame", [None, np.zeros((3, 2)), {"id": [1]}, "table", pl.LazyFrame(VISITS)], ids=type)
def test_other_things_are_no_tables(frame: Any) -> None:
    with pytest.raises(TypeError, match="frame must be a table such as a pandas or polars DataFrame, got "):
        sequences_from_frame(frame, "id")


def test_estimators_take_what_is_read(rng: np.random.Generator) -> None:
    n_steps = 5
    table = pd.DataFrame({"id": np.repeat(np.arange(60), n_steps), "x": rng.standard_normal(60 * n_steps)})
    table["up"] = table.groupby("id").x.transform("sum") > 0
    data = sequences_from_frame(table, "id", target="up")
    clf = RNNClassifier(hidden_size=8, max_epochs=20, learning_rate=1e-2, random_state=0).fit(data.sequences, data.y)
    assert clf.score(data.sequences, data.y) > 0.8


# ---- channels before time ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_channels(dtype: Any, rng: np.random.Generator) -> None:
    X = rng.standard_normal((4, 3, 7)).astype(dtype)
    X[1, 2, 0] = np.nan
    for same in (X, list(X), np.asfortranarray(X)):
        sequences = sequences_from_channels(same)
        assert sequences.values.dtype == dtype
        assert sequences.values.flags.c_contiguous
        np.testing.assert_equal(parts(sequences), X.transpose(0, 2, 1).tolist())
    uneven = [X[0], X[1, :, :2], X[2, :, 3:]]
    assert sequences_from_channels(uneven).lengths.tolist() == [7, 2, 4]
    np.testing.assert_equal(parts(sequences_from_channels(uneven)), [part.T.tolist() for part in uneven])


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.zeros((4, 7)), ValueError, r"X must be a 3-D array .* or a list of 2-D arrays, got shape \(4, 7\)"),
        ([np.zeros((2, 3)), np.zeros(3)], ValueError, r"X\[1\] must be 2-D .*, got shape \(3,\)"),
        ([np.zeros((2, 3)), np.zeros((3, 3))], ValueError, r"X\[1\] has 3 features a step, expected 2 as in X\[0\]"),
        ([np.zeros((2, 3)), np.zeros((2, 0))], ValueError, r"X\[1\] has length 0"),
        ([], ValueError, r"X .* a minimum of 1 is required|X must be"),
        (np.array([[["a"]]]), TypeError, r"X must hold real numbers"),
    ],
)  # fmt: skip
def test_bad_channels(X: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sequences_from_channels(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_masks_with_holes(dtype: Any, rng: np.random.Generator) -> None:
    X = (10 * rng.standard_normal((4, 7, 2))).astype(dtype)
    mask = rng.random((4, 7)) < 0.5
    mask[:, 3] = True
    X[~mask] = -1
    sequences = sequences_from_mask(X, mask)
    assert sequences.values.dtype == (np.float32 if dtype == np.float32 else np.float64)
    np.testing.assert_equal(parts(sequences), [row[kept].tolist() for row, kept in zip(X, mask, strict=True)])
    np.testing.assert_equal(
        parts(sequences_from_mask(X[..., 0], mask.astype(int))), parts(sequences_from_mask(X[..., :1], mask))
    )
    back = np.full(X.shape, -1.0)
    back[mask] = sequences.values
    np.testing.assert_array_equal(back, X)


@pytest.mark.parametrize(
    ("X", "mask", "message"),
    [
        (np.zeros(3), np.ones(3), r"X must be 3-D .* or 2-D, got shape \(3,\)"),
        (np.zeros((2, 3)), np.ones((2, 4)), r"mask must have shape \(2, 3\)"),
        (np.zeros((2, 3)), np.full((2, 3), 2), r"mask must hold True and False, or 1 and 0, got"),
        (np.zeros((2, 3)), [[1, 1, 0], [0, 0, 0]], r"mask\[1\] leaves no step of sequence 1"),
    ],
)  # fmt: skip
def test_bad_masks(X: Any, mask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sequences_from_mask(X, mask)


def test_reading_needs_neither_library(run_python: Any) -> None:
    code = (
        "import sys; sys.modules['pandas'] = sys.modules['polars'] = sys.modules['sklearn'] = None\n"
        "import numpy as np, lstmcore\n"
        "print(lstmcore.sequences_from_channels(np.zeros((2, 3, 4))), lstmcore.sequences_from_frame.__name__)\n"
    )
    assert run_python(code).stdout == "Sequences(n=2, features=3, lengths 4 to 4) sequences_from_frame\n"
    assert {"sequences_from_channels", "sequences_from_frame"} <= set(lstmcore.__all__)
