"""The index of pandas series: its frequency, how it goes on, and calendar columns. pandas comes with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmcore._validation import Array
from lstmcore.calendar import calendar_features


def is_pandas(value: Any) -> bool:
    """Whether `value` is a Series or DataFrame of pandas."""
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "index")


def read(index: Any, name: str) -> Any:
    """Return the index with a frequency, or raise ValueError if its rows are not evenly spaced in time."""
    import pandas as pd

    if index.dtype.kind in "iu" and len(np.unique(np.diff(index.to_numpy()))) <= 1:
        step = index[1] - index[0] if len(index) > 1 else 1
        return pd.RangeIndex(index[0], index[0] + len(index) * step, step, name=index.name)
    if isinstance(index, pd.PeriodIndex):
        regular = len(index) > 0 and index.equals(pd.period_range(index[0], periods=len(index), freq=index.freq))
    elif isinstance(index, pd.DatetimeIndex):
        if index.freq is None and len(index) > 2:
            index = pd.DatetimeIndex(index, freq="infer")
        regular = index.freq is not None and len(index) > 0 and index[0] <= index[-1]
    else:
        raise TypeError(
            f"{name} must have a DatetimeIndex, PeriodIndex or evenly spaced integers as index, "
            f"got {type(index).__name__}; or pass {name}.to_numpy()"
        )
    if not regular:
        raise ValueError(
            f"{name} must have an index whose frequency can be inferred: times in order, evenly spaced, none missing "
            f"or twice; {_irregular(index)}. Set one with {name}.asfreq, or pass {name}.to_numpy()"
        )
    return index


def continued(index: Any, steps: int, joined: bool = False) -> Any:
    """Return the index of the `steps` rows after those of an index that `read` returned; `joined`: of all rows."""
    import pandas as pd

    begin, n = (index[0], len(index) + steps) if joined else (index[-1], steps + 1)
    if isinstance(index, pd.RangeIndex):
        whole: Any = pd.RangeIndex(begin, begin + n * index.step, index.step, name=index.name)
    else:
        make = pd.period_range if isinstance(index, pd.PeriodIndex) else pd.date_range
        whole = make(begin, periods=n, freq=index.freq, name=index.name)
    return whole if joined else whole[1:]


def times(index: Any, name: str = "y") -> Array:
    """Return the times of an index as datetime64, those of a time zone as its clocks show them."""
    import pandas as pd

    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp()
    if not isinstance(index, pd.DatetimeIndex):
        raise TypeError(
            f"calendar needs {name} with a DatetimeIndex or PeriodIndex, got {type(index).__name__}; for arrays pass "
            f"known=lstmcore.calendar_features(times, ...)"
        )
    return np.asarray(index.tz_localize(None).to_numpy())


def calendar(index: Any, n_rows: int, features: tuple[str, ...]) -> Array:
    """Calendar columns [n_rows, n_calendar] of an index, continued or cut to that length."""
    more = n_rows - len(index)
    return calendar_features(times(continued(index, more, joined=True) if more > 0 else index[:n_rows]), features)


def check_same(index: Any, expected: Any, name: str) -> None:
    """Raise ValueError unless an index has the rows that belong there."""
    if expected.dtype.kind in "iu":  # row numbers, which are no times
        return
    if len(index) != len(expected) or not (index == expected).all():
        first = f"{expected[0]} to {expected[-1]}"
        found = f"{index[0]} to {index[-1]}" if len(index) else "nothing"
        raise ValueError(f"{name} must have the index {first} ({len(expected)} rows), got {found} ({len(index)} rows)")


def framed(values: Array, index: Any, columns: Any, labels: Any, univariate: bool) -> Any:
    """Make a Series or DataFrame of forecasts [steps] or [steps, n_targets], with a last axis if there are `labels`."""
    import pandas as pd

    if univariate:
        if labels is None:
            return pd.Series(values, index, name=columns)
        return pd.DataFrame(values, index, columns=list(labels))
    if labels is None:
        return pd.DataFrame(values, index, columns=columns)
    return pd.DataFrame(
        values.reshape(len(values), -1), index, columns=pd.MultiIndex.from_product([columns, list(labels)])
    )


def _irregular(index: Any) -> str:
    """Say where the spacing first differs from the first one."""
    if len(index) < 3:
        return f"it has {len(index)} row(s)"
    gaps = np.diff(index.asi8)
    i = int(np.argmax(gaps != np.median(gaps)))
    return f"after {index[i]} comes {index[i + 1]}"
