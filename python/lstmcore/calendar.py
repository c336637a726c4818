"""Calendar columns of a time axis, such as the hour of the day, as points on a circle. NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._validation import Array

_DAY = 86_400
_FEATURES = {  # name: seconds of a cycle, how many values it has
    "minute": (3600, 60),
    "hour": (_DAY, 24),
    "dayofweek": (7 * _DAY, 7),
    "day": (30 * _DAY, 31),
    "dayofyear": (365 * _DAY, 366),
    "month": (365 * _DAY, 12),
}
_AUTO = ("minute", "hour", "dayofweek", "month")


def calendar_features(times: Any, features: Any) -> Array:
    """Sine and cosine of where each time stands in the hour, day, week, month or year.

    Parameters
    ----------
    times : array_like [T] of datetime64
        No NaT.
    features : str or sequence of str
        Of "minute", "hour", "dayofweek", "day" (of the month), "dayofyear" and "month": whole numbers as pandas counts
        them, divided by 60, 24, 7, 31, 366 and 12.

    Returns
    -------
    ndarray [T, 2 * n_features] of float64
        Sine and cosine of the first feature, of the second …

    Raises
    ------
    TypeError, ValueError
        If `times` holds no times, or `features` an unknown name.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmcore.calendar import calendar_features
    >>> times = np.arange("2024-01-01T00", "2024-01-01T18", 6, dtype="datetime64[h]")
    >>> calendar_features(times, "hour").round(3).tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, -1.0]]
    """
    times, names = _as_times(times), check_features(features)
    turns = np.stack([_number(times, name) / _FEATURES[name][1] for name in names], axis=1)
    return np.stack([np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)], axis=2).reshape(len(times), -1)


def check_features(features: Any, name: str = "calendar") -> tuple[str, ...]:
    """Return the names of calendar features as a tuple, or raise ValueError or TypeError."""
    names = (features,) if isinstance(features, str) else features
    if not isinstance(names, (tuple, list)) or not names:
        raise TypeError(f"{name} must be names of calendar features, got {features!r}")
    return tuple(check.choice(each, name, _FEATURES) for each in names)


def useful_features(times: Any) -> tuple[str, ...]:
    """Those of "minute", "hour", "dayofweek", "month" that change from row to row, and whose cycle is seen twice."""
    seconds = _as_times(times).astype("datetime64[s]").astype(np.int64)
    span, spacing = int(seconds[-1] - seconds[0]), float(np.median(np.diff(seconds)))
    return tuple(name for name in _AUTO if 2 * spacing <= _FEATURES[name][0] and span >= 2 * _FEATURES[name][0])


def _number(times: Array, name: str) -> Array:
    """The minute, hour … of each time, counted from 0."""
    if name == "month":
        return times.astype("datetime64[M]").astype(np.int64) % 12
    if name == "dayofweek":
        return (times.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1 January 1970 was a Thursday
    unit, start = {"minute": ("m", "h"), "hour": ("h", "D"), "day": ("D", "M"), "dayofyear": ("D", "Y")}[name]
    whole = times.astype(f"datetime64[{unit}]")
    return (whole - times.astype(f"datetime64[{start}]").astype(whole.dtype)).astype(np.int64)


def _as_times(times: Any) -> Array:
    array = np.asarray(times)
    if array.dtype.kind != "M" or array.ndim != 1 or not array.size:
        raise TypeError(f"times must be an array [T] of datetime64, got {array.dtype} of shape {array.shape}")
    if np.isnat(array).any():
        raise ValueError(f"times[{int(np.argmax(np.isnat(array)))}] is NaT")
    return array
