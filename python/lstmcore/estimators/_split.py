"""Which rows of a series a forecaster is trained, validated and calibrated on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lstmcore._layout import Layout
from lstmcore._panel import Record
from lstmcore._validation import Array

_WINDOWS = 512  # an epoch has at least that many windows where the series have
_OVERLAP = 2  # and at least that many over each observation


class Split(NamedTuple):
    """Rows from which forecasts are made, in order; no outcome of one part is an outcome of the next.

    Attributes
    ----------
    train, validation : range
        Counted from `warm_up`, as the rows of a `Lesson` are.
    calibration : range
        Counted from the first row of the series.
    """

    train: range
    validation: range
    calibration: range

    @classmethod
    def of(
        cls,
        record: Record,
        layout: Layout,
        window: int,
        warm_up: int,
        validation_fraction: float | None,
        calibration_fraction: float | None,
    ) -> Split:
        """Hold out the end of a series: the last part for calibration, the one before for validation.

        `warm_up` rows come first, before which a whole period is not known.
        """
        n_rows, horizon = len(record.y), layout.horizon
        stop, parts = n_rows - horizon, {}
        held_out = (
            ("calibration", calibration_fraction, layout.steps),
            ("validation", validation_fraction, horizon),
        )
        for name, fraction, reach in held_out:
            parts[name] = range(0)
            if fraction is not None:
                last = stop - reach + horizon
                parts[name] = range(last - max(1, round(fraction * (last - warm_up))), last)
                stop = parts[name].start - horizon + 1
        if stop - warm_up < window:
            needs = [f"window={window}", *([f"difference={warm_up + 1}"] if warm_up else []), f"horizon={layout.steps}"]
            spent = [f"{name}_fraction={fraction!r}" for name, fraction, _ in held_out if fraction is not None]
            left = f"; {' and '.join(spent)} leaves {max(stop - warm_up, 0)} to train on" if spent else ""
            raise ValueError(
                f"{record.name('y')} has {n_rows} rows, but {' and '.join(needs)} need at least "
                f"{window + horizon + warm_up}{left}"
            )
        valid = parts["validation"]
        return cls(range(stop - warm_up), range(valid.start - warm_up, valid.stop - warm_up), parts["calibration"])


def windows_of(parts: list[range], offsets: Array, window: int) -> tuple[Array, Array]:
    """First rows and lengths of the windows of an epoch: all of short series, of long ones every k-th.

    Each part is one series, whose rows begin at its offset; its last window ends with its last row.
    """
    n_windows = sum(len(part) - window for part in parts)
    stride = int(np.clip(n_windows // _WINDOWS, 1, max(1, window // _OVERLAP)))
    starts = [
        np.arange((len(part) - window) % stride, len(part) - window + 1, stride) + offset
        for part, offset in zip(parts, offsets, strict=True)
    ]
    joined = np.concatenate(starts)
    return joined, np.full(len(joined), window)
