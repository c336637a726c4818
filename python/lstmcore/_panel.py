"""Series as users have them, one or many, NumPy or pandas, to arrays and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstmcore import _time_index as time_index
from lstmcore._layout import Layout
from lstmcore._series import Scale, as_series
from lstmcore._time_index import is_pandas
from lstmcore._validation import Array


@dataclass
class Record:
    """One series and what is known beside it.

    Attributes
    ----------
    key : object
        What the user calls it; None of a single series.
    y, X, known : ndarray [T, n_targets], [T, n_exog] or None, [T or more, n_known] or None
    index : pandas index of y, or None
    columns : names of the targets if they came with some
    scale : Scale, set by a fit
    """

    key: Any
    y: Array
    X: Array | None = None
    known: Array | None = None
    index: Any = None
    columns: Any = None
    scale: Scale | None = None

    def name(self, argument: str) -> str:
        """What messages call an argument of this series."""
        return argument if self.key is None else f"{argument}[{self.key!r}]"

    def head(self, n_rows: int) -> Record:
        """The first rows, and no knowledge of later ones but what is known ahead."""
        index = None if self.index is None else self.index[:n_rows]
        X = None if self.X is None else self.X[:n_rows]
        return replace(self, y=self.y[:n_rows], X=X, index=index)

    def ahead(self, layout: Layout, n_rows: int, future: Array | None = None) -> Array | None:
        """Calendar and known columns of the first `n_rows`, of which `future` are those after y; or as many as known.

        [up to n_rows, n_ahead]
        """
        parts = []
        if layout.calendar:
            parts.append(time_index.calendar(self.index, n_rows, layout.calendar))
        if layout.n_known:
            assert self.known is not None
            known = self.known if future is None else np.concatenate([self.known[: len(self.y)], future])
            parts.append(known[:n_rows])
        if not parts:
            return None
        return np.concatenate([part[: min(map(len, parts))] for part in parts], axis=1)

    def covariates(self, layout: Layout) -> Array | None:
        """Columns [T − horizon, 1, m] beside the targets in training."""
        ahead, stop = self.ahead(layout, len(self.y)), len(self.y) - layout.horizon
        X = None if self.X is None else self.X[:stop, None]
        return layout.covariates(X, layout.windows(None if ahead is None else ahead[:, None]))

    def n_ready(self, layout: Layout, reach: int, n_future: int = 0) -> int:
        """How many rows can be forecast from, `reach` far, if what comes ahead is known `n_future` rows after y."""
        return len(self.y) + min(0, n_future - reach) if layout.n_known else len(self.y)

    def append(self, new: Record) -> Record:
        """Return this series with the rows of another after its own."""
        index = None if self.index is None else time_index.continued(self.index, len(new.y), joined=True)
        known = None
        if self.known is not None and new.known is not None:
            known = np.concatenate([self.known[: len(self.y)], new.known])
        X = None if self.X is None or new.X is None else np.concatenate([self.X, new.X])
        return replace(self, y=np.concatenate([self.y, new.y]), X=X, known=known, index=index)

    def check_future(self, value: Any, name: str) -> None:
        """Raise ValueError unless the rows of a pandas object are those that follow y."""
        if self.index is not None and is_pandas(value):
            time_index.check_same(value.index, time_index.continued(self.index, len(value)), name)

    def wrap(self, values: Array, labels: Any, univariate: bool) -> Any:
        """Give forecasts [steps, ...] of what follows y an index, if y had one.

        `labels` are the names of a last axis, None if there is none.
        """
        if self.index is None:
            return values
        return time_index.framed(
            values, time_index.continued(self.index, len(values)), self.columns, labels, univariate
        )


@dataclass
class Panel:
    """Series that are forecast by one model.

    Attributes
    ----------
    records : list of Record
    kind : {"one", "list", "dict"}
        How they came, and how results go back.
    univariate : bool
        They have no axis of targets.
    """

    records: list[Record]
    kind: str
    univariate: bool

    @property
    def shared(self) -> bool:
        """Whether there is one series, whose scale is the model's."""
        return self.kind == "one"

    def restore(self, results: list[Any]) -> Any:
        """Give a result for each series the form in which the series came."""
        if self.kind == "dict":
            return dict(zip((record.key for record in self.records), results, strict=True))
        return results[0] if self.kind == "one" else results

    def map(self, function: Callable[[Record], Any]) -> Any:
        """Restore what `function` says of each series."""
        return self.restore([function(record) for record in self.records])

    def part(self, value: Any, name: str) -> list[Any]:
        """Split an argument that comes in the same form as y: a value for each series, or None for each."""
        if value is None:
            return [None] * len(self.records)
        if self.kind == "one":
            return [value]
        return _values(value, name, [record.key for record in self.records], self.kind)


def read_panel(y: Any, X: Any = None, known: Any = None, suffix: str = "") -> Panel:
    """Read series: y [T] or [T, n_targets], NumPy or pandas, or a list or dict of such; X and known alike.

    Raises
    ------
    TypeError, ValueError
        If a value is not as described; the message names the argument (with `suffix`) and the series.
    """
    kind = "dict" if isinstance(y, dict) else "list" if _is_list(y) else "one"
    keys = [None] if kind == "one" else list(y) if kind == "dict" else list(range(len(y)))
    if not keys:
        raise ValueError(f"y{suffix} must hold at least one series, got {y!r}")
    empty = Panel([Record(key, np.empty((0, 0))) for key in keys], kind, False)
    parts = zip(keys, *(empty.part(v, f"{n}{suffix}") for v, n in ((y, "y"), (X, "X"), (known, "known"))), strict=True)
    records: list[Record] = []
    ndims = set()
    for key, y_i, X_i, known_i in parts:
        records.append(_read(key, y_i, X_i, known_i, suffix, records[0] if records else None))
        ndims.add(np.ndim(y_i))
    if len(ndims) > 1:
        raise ValueError(f"y{suffix} must hold series that are all [T] or all [T, n_targets], got both")
    return Panel(records, kind, ndims == {1})


def read_new(panel: Panel, y: Any, X: Any, known: Any, layout: Layout, suffix: str = "_new") -> list[Record]:
    """Read rows that follow those of a panel, in the same form."""
    records = []
    values = zip(*(panel.part(v, f"{n}{suffix}") for v, n in ((y, "y"), (X, "X"), (known, "known"))), strict=True)
    for old, (y_i, X_i, known_i) in zip(panel.records, values, strict=True):
        name = old.name(f"y{suffix}")
        series = as_series(y_i, name, layout.n_targets)
        for value, argument in ((y_i, "y"), (X_i, "X"), (known_i, "known")):
            old.check_future(value, old.name(f"{argument}{suffix}"))
        exog = layout.exog(X_i, old.name(f"X{suffix}"), len(series))
        if known_i is None and old.known is not None and len(old.known) >= len(old.y) + len(series):
            known_i = old.known[len(old.y) :]
        ahead = layout.known(known_i, old.name(f"known{suffix}"), len(series), "as y has")
        records.append(Record(old.key, series, exog, ahead))
    return records


def _read(key: Any, y: Any, X: Any, known: Any, suffix: str, like: Record | None) -> Record:
    record = Record(key, np.empty((0, 0)))
    name = {each: record.name(f"{each}{suffix}") for each in ("y", "X", "known")}
    record.y = as_series(y, name["y"], None if like is None else like.y.shape[1])
    if is_pandas(y):
        record.index = time_index.read(y.index, name["y"])
        record.columns = list(y.columns) if np.ndim(y) == 2 else y.name
    n_rows = len(record.y)
    for each, value in (("X", X), ("known", known)):
        if value is None:
            continue
        reference = None if like is None else getattr(like, each)
        n_columns = None if reference is None else reference.shape[1]
        columns = as_series(value, name[each], n_columns, n_rows if each == "X" else None)
        if len(columns) < n_rows:
            raise ValueError(f"{name[each]} must have {n_rows} rows or more, as many as y, got {len(columns)}")
        if record.index is not None and is_pandas(value):
            more = len(columns) - n_rows
            whole = record.index if not more else time_index.continued(record.index, more, joined=True)
            time_index.check_same(value.index, whole, name[each])
        setattr(record, each, columns)
    return record


def _is_list(y: Any) -> bool:
    """Whether y is a list of series, not one series as a list of numbers or rows."""
    if not isinstance(y, (list, tuple)) or not y:
        return False
    return all(is_pandas(each) or (isinstance(each, np.ndarray) and each.ndim > 0) for each in y)


def _values(value: Any, name: str, keys: list[Any], kind: str) -> list[Any]:
    if kind == "dict":
        if not isinstance(value, dict) or set(value) != set(keys):
            found = f"keys {list(value)[:5]}" if isinstance(value, dict) else type(value).__name__
            raise ValueError(f"{name} must be a dict with the keys of y, {keys[:5]}, got {found}")
        return [value[key] for key in keys]
    if not isinstance(value, (list, tuple)) or len(value) != len(keys):
        found = f"{len(value)}" if isinstance(value, (list, tuple)) else type(value).__name__
        raise ValueError(f"{name} must be a list of {len(keys)} arrays, one for each series of y, got {found}")
    return list(value)
