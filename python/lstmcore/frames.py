"""Sequences from long tables (pandas, polars) and from arrays with channels before time (sktime, aeon)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lstmcore import _validation as check
from lstmcore._time_index import is_pandas
from lstmcore._validation import Array
from lstmcore.sequences import Sequences, as_sequences


class FrameSequences(NamedTuple):
    """What `sequences_from_frame` returns; n ids, in order of first appearance.

    Attributes
    ----------
    sequences : Sequences
        One for each id: what the estimators take as ``X``.
    ids : ndarray [n]
        The id of each sequence.
    feature_names : list
        The columns that are the features of a step.
    y : ndarray [n], ndarray [n, n_targets], list of n ndarrays, or None
        Targets: one for each id, or with ``per_step=True`` an array [T] or [T, n_targets] of each id's steps.
    static : ndarray [n, n_static] of float64, or None
        Static features.
    """

    sequences: Sequences
    ids: Array
    feature_names: list[Any]
    y: Any
    static: Array | None


def sequences_from_frame(
    frame: Any,
    id: Any,
    time: Any = None,
    features: Any = None,
    target: Any = None,
    static: Any = None,
    *,
    per_step: bool = False,
) -> FrameSequences:
    """Read sequences from a long table: one row for each id and time.

    Parameters
    ----------
    frame : pandas.DataFrame, polars.DataFrame or alike
        Whatever has ``columns`` and gives ``frame[name].to_numpy()``.
    id : column name
        Which sequence a row belongs to: numbers, strings or dates.
    time : column name, optional
        What the rows of an id are sorted by: numbers, strings or dates. Default: they are in order. Steps are taken as
        they come; gaps in time are not filled.
    features : column name or list of them, optional
        Numbers, NaN or null where missing. Default: all columns that have no other part.
    target : column name or list of them, optional
        Labels or numbers: one for each id, the same in all its rows.
    static : column name or list of them, optional
        Numbers that belong to an id as a whole, the same in all its rows.
    per_step : bool, default=False
        The target differs from row to row, as `RNNTagger` learns it.

    Returns
    -------
    FrameSequences
        Values are float32 if the features are, else float64.

    Raises
    ------
    TypeError
        If `frame` is no such table, or a feature or static column does not hold numbers.
    ValueError
        If the table is empty or lacks a column, an id or time is missing, an id has two rows of one time, or a target
        or static feature varies within an id; the message names the column and quotes the values.

    Examples
    --------
    >>> import pandas as pd
    >>> import lstmcore
    >>> visits = pd.DataFrame({
    ...     "patient": ["b", "a", "b", "a", "b"],
    ...     "day": [2, 1, 1, 5, 9],
    ...     "pulse": [70.0, 66.0, 72.0, 61.0, 75.0],
    ...     "ill": [True, False, True, False, True],
    ... })
    >>> data = lstmcore.sequences_from_frame(visits, id="patient", time="day", features="pulse", target="ill")
    >>> data.sequences
    Sequences(n=2, features=1, lengths 2 to 3)
    >>> data.ids.tolist(), data.y.tolist()
    (['b', 'a'], [True, False])
    """
    check.flag(per_step, "per_step")
    table = _Table(frame)
    id, times = table.named(id, "id"), table.listed(time, "time")
    targets, statics = table.listed(target, "target"), table.listed(static, "static")
    if len(times) > 1:
        raise ValueError(f"time must be one column, got {time!r}")
    taken = {id, *times, *targets, *statics}
    names = (
        [name for name in table.names if name not in taken] if features is None else table.listed(features, "features")
    )
    if not names:
        raise ValueError(f"features must name at least one column of {table.names}, got {features!r}")

    groups = _group(table, id, times)
    values = np.stack([table.numbers(name)[groups.order] for name in names], axis=1)
    sequences = Sequences(check.contiguous(values, float_type(values.dtype)), groups.starts, groups.lengths)
    y: Any = None
    if targets:
        columns = [table.column(name)[groups.order] for name in targets]
        if not per_step:
            advice = "; per_step=True takes a target for each row"
            columns = [
                groups.once(column, f"target {name!r}", advice) for name, column in zip(targets, columns, strict=True)
            ]
        y = np.stack(columns, axis=1) if isinstance(target, (list, tuple)) else columns[0]
        y = np.split(y, groups.starts[1:]) if per_step else y
    fixed = [groups.once(table.numbers(name)[groups.order], f"static {name!r}") for name in statics]
    return FrameSequences(
        sequences, groups.ids, names, y, np.stack(fixed, axis=1).astype(np.float64) if fixed else None
    )


def sequences_from_channels(X: Any) -> Sequences:
    """Read sequences whose channels come before time, as sktime and aeon keep them.

    Parameters
    ----------
    X : array_like
        A 3-D array (n_sequences, n_channels, n_timesteps), or a list of 2-D arrays (n_channels, n_timesteps) of
        different lengths. NaN is kept.

    Returns
    -------
    Sequences
        Values are float32 if all of `X` is, else float64. What the estimators take as ``X``.

    Raises
    ------
    TypeError, ValueError
        If `X` is not as described; the message names the sequence.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore
    >>> lstmcore.sequences_from_channels([np.zeros((3, 7)), np.ones((3, 5))])
    Sequences(n=2, features=3, lengths 5 to 7)
    """
    if isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1):
        parts = [np.asarray(part) for part in X]
        for i, part in enumerate(parts):
            if part.ndim != 2:
                raise ValueError(f"X[{i}] must be 2-D (n_channels, n_timesteps), got shape {part.shape}")
        return as_sequences([part.T for part in parts], dtype=float_type(*(p.dtype for p in parts)), finite=False)
    array = check.numeric(X, "X")
    if array.ndim != 3:
        raise ValueError(
            f"X must be a 3-D array (n_sequences, n_channels, n_timesteps) or a list of 2-D arrays, got shape "
            f"{array.shape}"
        )
    return as_sequences(array.transpose(0, 2, 1), dtype=None, finite=False)


def sequences_from_mask(X: Any, mask: Any) -> Sequences:
    """Read sequences from a padded array and a mask of its steps, as Keras and language models keep them.

    Steps outside of the mask are left out: at the end, at the start or in between. To a recurrent network that is the
    same as a state which is held through them.

    Parameters
    ----------
    X : array_like [n_sequences, n_timesteps, n_features], or [n_sequences, n_timesteps] for one feature
        Whatever stands outside of the mask is not read.
    mask : array_like of bool, or of 0 and 1, [n_sequences, n_timesteps]
        Which steps are there, at least one of each sequence.

    Returns
    -------
    Sequences
        Values are float32 if `X` is, else float64. What is computed for every step of them goes back to its place by
        ``padded[mask] = rows``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; the message names the sequence that has no step.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore
    >>> tokens = np.array([[5, 2, 0, 0], [7, 0, 1, 3]])
    >>> lstmcore.sequences_from_mask(tokens, tokens != 0)
    Sequences(n=2, features=1, lengths 2 to 3)
    """
    array = check.numeric(X, "X")
    if array.ndim not in (2, 3):
        raise ValueError(f"X must be 3-D (n_sequences, n_timesteps, n_features) or 2-D, got shape {array.shape}")
    given = check.exact_shape(mask, "mask", array.shape[:2], "[n_sequences, n_timesteps] of X")
    chosen = given.astype(bool)
    if (given != chosen).any():
        raise ValueError(f"mask must hold True and False, or 1 and 0, got {given[given != chosen][0]!r}")
    lengths = chosen.sum(axis=1)
    for row in np.flatnonzero(lengths == 0)[:1]:
        raise ValueError(f"mask[{row}] leaves no step of sequence {row}; every sequence needs at least one")
    rows = check.contiguous(array[chosen].reshape(lengths.sum(), -1), float_type(array.dtype))
    return Sequences(rows, np.cumsum(lengths) - lengths, lengths)


class _Groups(NamedTuple):
    """The rows of a table sorted by id and time: `order` [R], and where the rows of each of `ids` are in it."""

    ids: Array
    order: Array
    starts: Array
    lengths: Array

    def once(self, column: Array, what: str, advice: str = "") -> Array:
        """Return the value [n] of each id of a sorted column that is the same in all rows of an id."""
        answer = column[self.starts]
        for row in np.flatnonzero(column != np.repeat(answer, self.lengths))[:1]:
            i = np.searchsorted(self.starts, row, side="right") - 1
            raise ValueError(
                f"{what} must be the same in all rows of an id, "
                f"but id {_shown(self.ids[i])} has {_shown(answer[i])} and {_shown(column[row])}{advice}"
            )
        return answer


def _group(table: _Table, id: Any, times: list[Any]) -> _Groups:
    """Sort the rows by id, in order of first appearance, and by time if there is a column of it."""
    ids, first, codes = table.ranks(id)
    appearance = np.argsort(first)
    ids, codes = ids[appearance], np.argsort(appearance)[codes]
    lengths = np.bincount(codes)
    order = np.argsort(codes, kind="stable")
    for time in times:
        moments, _, ranks = table.ranks(time)
        order = np.lexsort((ranks, codes))
        same = (np.diff(codes[order]) == 0) & (np.diff(ranks[order]) == 0)
        for row in order[1:][same][:1]:
            raise ValueError(
                f"id {_shown(ids[codes[row]])} has two rows with {time!r} {_shown(moments[ranks[row]])}; "
                f"each step of a sequence needs a time of its own"
            )
    return _Groups(ids, order, np.cumsum(lengths) - lengths, lengths)


class _Table:
    """The columns of a data frame as arrays, with messages that name them."""

    def __init__(self, frame: Any) -> None:
        if not hasattr(frame, "__len__") or not hasattr(frame, "columns"):
            raise TypeError(f"frame must be a table such as a pandas or polars DataFrame, got {type(frame).__name__}")
        self.frame, self.names = frame, list(frame.columns)
        if len(frame) == 0:
            raise ValueError("frame has no rows")

    def named(self, name: Any, argument: str) -> Any:
        """Return `name` if it is that of one column."""
        if self.names.count(name) != 1:
            problem = "two columns have that name" if name in self.names else f"there are {self.names}"
            raise ValueError(f"{argument} must be a column of the frame, got {name!r}: {problem}")
        return name

    def listed(self, names: Any, argument: str) -> list[Any]:
        """Return a list of the columns that `names`, one name or several or None, are."""
        several = names if isinstance(names, (list, tuple)) else [] if names is None else [names]
        return [self.named(name, argument) for name in several]

    def column(self, name: Any) -> Array:
        return np.asarray(self.frame[name].to_numpy())

    def numbers(self, name: Any) -> Array:
        """Return a column of numbers."""
        column = self.column(name)
        if column.dtype.kind not in "fiub":
            raise TypeError(f"column {name!r} must hold numbers, got {self.frame[name].dtype}")
        return column

    def ranks(self, name: Any) -> tuple[Array, Array, Array]:
        """Return the different values of a column in ascending order, the first row of each, and which each row has."""
        column = self.column(name)
        try:
            missing = np.flatnonzero(np.isnat(column) if column.dtype.kind in "mM" else column != column)
            if len(missing) == 0:
                return np.unique(column, return_index=True, return_inverse=True)
            reason = f"row {missing[0]} is {_shown(column[missing[0]])}"
        except TypeError as error:  # None among strings, or strings among numbers
            reason = str(error)
        raise ValueError(f"column {name!r} must hold values that can be sorted, none of them missing: {reason}")


def float_type(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """Return float32 if all `dtypes` are that, else float64."""
    return np.dtype(np.float32 if dtypes and all(dtype == np.float32 for dtype in dtypes) else np.float64)


def _shown(value: Any) -> str:
    """Return a value without NumPy's type around it, dates as text."""
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return str(value)
    return repr(value.item() if isinstance(value, np.generic) else value)


class SeriesFrames(NamedTuple):
    """What `series_from_frame` returns: dicts of id to pandas objects with a time index, as `RNNForecaster` takes them.

    Attributes
    ----------
    y : dict of Series or DataFrame
        The targets.
    X : dict of DataFrame, or None
        Columns known up to the same time as y.
    known : dict of DataFrame, or None
        Columns known ahead; they reach as far as the table has rows, beyond the end of y.
    """

    y: dict[Any, Any]
    X: dict[Any, Any] | None
    known: dict[Any, Any] | None


def series_from_frame(
    frame: Any, *, id: str, time: str, target: Any, X: list[str] | None = None, known: list[str] | None = None
) -> SeriesFrames:
    """Read a long pandas table, a row for each series and time, as series to forecast.

    Parameters
    ----------
    frame : pandas.DataFrame
    id, time : str
        Columns: which series, and when (datetimes or periods). Times need not be in order, but each series must have
        each time once.
    target : str or list of str
        Columns to forecast. Rows after the last with a target are the future, of which only `known` is used.
    X, known : list of str, optional
        Exogenous columns that are known up to the same time as y, and those that are known ahead.

    Returns
    -------
    SeriesFrames
        In order of first appearance.

    Raises
    ------
    TypeError, ValueError
        If `frame` is no pandas table, lacks a column, has a time twice in a series, or a series has no target.

    Examples
    --------
    >>> import pandas as pd
    >>> from lstmcore import series_from_frame
    >>> days = pd.date_range("2024-01-01", periods=3)
    >>> table = pd.DataFrame({"shop": ["a"] * 3 + ["b"] * 3, "day": [*days, *days], "sales": [3, 4, 5, 7, 8, 9]})
    >>> series_from_frame(table, id="shop", time="day", target="sales").y["b"].tolist()
    [7, 8, 9]
    """
    if not is_pandas(frame) or np.ndim(frame) != 2:
        raise TypeError(f"frame must be a pandas DataFrame, got {type(frame).__name__}")
    targets = [target] if isinstance(target, str) else list(target)
    wanted = {"id": [id], "time": [time], "target": targets, "X": X or [], "known": known or []}
    for name, columns in wanted.items():
        for column in columns:
            if column not in frame.columns:
                raise ValueError(f"{name} must name columns of frame, got {column!r}; it has {list(frame.columns)}")
    read = SeriesFrames({}, {} if X else None, {} if known else None)
    for key, part in frame.groupby(id, sort=False):
        rows = part.set_index(time).sort_index()
        if rows.index.has_duplicates:
            twice = rows.index[rows.index.duplicated()][0]
            raise ValueError(f"time must be different in each row of {key!r}, got {twice} twice")
        observed = np.flatnonzero(rows[targets].notna().any(axis=1).to_numpy())
        if not observed.size:
            raise ValueError(f"target must have a value in each series, {key!r} has none")
        end = observed[-1] + 1
        read.y[key] = rows[target].iloc[:end]
        if read.X is not None:
            read.X[key] = rows[X].iloc[:end]
        if read.known is not None:
            read.known[key] = rows[known]
    return read
