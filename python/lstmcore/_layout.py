"""Axes of what a forecaster takes and gives."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lstmcore import _validation as check
from lstmcore._series import as_series
from lstmcore._validation import Array
from lstmcore.calendar import check_features
from lstmcore.losses import check_quantiles

MOST_STEPS = 1 << 16
"""How far a forecast by turns may reach unless told otherwise; a network of a longer horizon may reach that."""


class Layout(NamedTuple):
    """Axes of what a forecaster takes and gives.

    Attributes
    ----------
    horizon : int
        Steps that the network forecasts at once.
    steps : int
        Steps that are forecast unless told otherwise: the horizon, or more if forecasts are fed back.
    n_targets, n_exog, n_known : int
        Columns of y, of X, and of what is known ahead (beside the calendar).
    calendar : tuple of str
        Calendar features, see `lstmcore.calendar.calendar_features`: the first columns of what is known ahead.
    univariate : bool
        Fitted on a series [T], so that forecasts have no axis of targets.
    quantiles : tuple of float or None
        None: point forecasts, which have no axis of quantiles.
    """

    horizon: int
    steps: int
    n_targets: int
    n_exog: int = 0
    n_known: int = 0
    calendar: tuple[str, ...] = ()
    univariate: bool = True
    quantiles: tuple[float, ...] | None = None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layout:
        """Return what JSON kept of ``_asdict()``; raise ValueError or TypeError for what no forecaster has."""
        axes: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in config.items()
        }
        layout = cls(**axes)
        for name, least in (("horizon", 1), ("steps", layout.horizon), ("n_targets", 1), ("n_exog", 0), ("n_known", 0)):
            check.integer(getattr(layout, name), name, least)
        if layout.steps > max(layout.horizon, MOST_STEPS):
            raise ValueError(f"steps must be at most {MOST_STEPS}, or the horizon {layout.horizon}, got {layout.steps}")
        if check.flag(layout.univariate, "univariate") and layout.n_targets > 1:
            raise ValueError(f"n_targets must be 1 with univariate=True, got {layout.n_targets}")
        if layout.calendar:
            check_features(layout.calendar)
        if layout.quantiles is not None:
            check_quantiles(layout.quantiles)
        return layout

    @property
    def n_calendar(self) -> int:
        """Columns of the calendar features."""
        return 2 * len(self.calendar)

    @property
    def n_ahead(self) -> int:
        """All columns that are known ahead."""
        return self.n_calendar + self.n_known

    @property
    def n_covariates(self) -> int:
        """Columns beside the targets: of X, the calendar of the next step, and what is known of the whole horizon."""
        return self.n_exog + self.n_calendar + self.horizon * self.n_known

    @property
    def n_outputs(self) -> int:
        """Columns of the network's output."""
        return self.horizon * self.n_targets * len(self.quantiles or (0.5,))

    def turns(self, steps: int) -> int:
        """How many times the network forecasts its horizon to get `steps` far."""
        return -(-steps // self.horizon)

    def squeeze(self, forecasts: Array) -> Array:
        """[..., n_targets, Q] without the axes that the user's series do not have."""
        forecasts = forecasts[..., 0] if self.quantiles is None else forecasts
        return self.squeeze_targets(forecasts, -1 if self.quantiles is None else -2)

    def squeeze_targets(self, values: Array, axis: int) -> Array:
        """Return values without their axis of targets if the user's series have none."""
        return values.squeeze(axis) if self.univariate else values

    def point(self, forecasts: Array) -> Array:
        """The median of [..., Q], interpolated where 0.5 is no quantile; a point forecast itself."""
        if self.quantiles is None:
            return forecasts[..., 0]
        weights = [np.interp(0.5, self.quantiles, row) for row in np.eye(len(self.quantiles))]
        return np.asarray(forecasts @ weights)

    def exog(self, X: Any, name: str, n_rows: int | None = None) -> Array | None:
        """Check exogenous columns: [T, n_exog] or None when there are none."""
        return _columns(X, name, self.n_exog, "X", "exogenous column(s)", n_rows)

    def exog_future(self, X: Any, name: str, steps: int) -> Array | None:
        """Check exogenous columns of the steps to come: [rows of all turns but one, n_exog], None if not needed."""
        n_rows = (self.turns(steps) - 1) * self.horizon
        if X is None and n_rows == 0:
            return None
        columns = _long_enough(self.exog(X, name), name, n_rows, f"for steps={steps}")
        return None if columns is None else columns[:n_rows]

    def ahead_future(self, known: Any, name: str, steps: int) -> Array | None:
        """Check what is known ahead of the steps to come: [rows of all turns, n_ahead], None if not needed."""
        n_rows = self.turns(steps) * self.horizon
        if n_rows == self.horizon:
            return None
        columns = self.ahead(known, name, n_rows, f"for steps={steps}")
        return None if columns is None else columns[:n_rows]

    def ahead(self, known: Any, name: str, n_rows: int, why: str) -> Array | None:
        """Check what is known ahead: [n_rows or more, n_ahead] or None when nothing is; `why` ends messages."""
        kind = "column(s) known ahead" + (f", the first of them of calendar={self.calendar}" if self.calendar else "")
        columns = _columns(known, name, self.n_ahead, "known", kind)
        return _long_enough(columns, name, n_rows, why)

    def known(self, known: Any, name: str, n_rows: int, why: str) -> Array | None:
        """Check what is known ahead beside the calendar: [n_rows or more, n_known]."""
        return self._replace(calendar=()).ahead(known, name, n_rows, why)

    def covariates(self, X: Array | None, windows: Array | None) -> Array | None:
        """Columns beside the targets: of X [T, S, n_exog] and of what comes after each row, [T, S, horizon, n_ahead].

        Of the calendar the next step is enough: the others follow from it.
        """
        if windows is None:
            return X
        calendar, known = windows[:, :, 0, : self.n_calendar], windows[..., self.n_calendar :]
        parts = [calendar, known.reshape(*known.shape[:2], -1)]
        return np.concatenate(parts if X is None else [X, *parts], axis=-1)

    def windows(self, ahead: Array | None) -> Array | None:
        """Rows to come at each row: [T + horizon, S, n_ahead] to [T, S, horizon, n_ahead]."""
        if ahead is None:
            return None
        return np.lib.stride_tricks.sliding_window_view(ahead[1:], self.horizon, axis=0).swapaxes(2, 3)


def _columns(value: Any, name: str, n: int, argument: str, kind: str, n_rows: int | None = None) -> Array | None:
    """Check columns that are given if, and only if, the model was fitted with some."""
    if n == 0:
        if value is not None:
            raise ValueError(
                f"{name} must be None: the model was fitted without {argument}, got {type(value).__name__}"
            )
        return None
    if value is None:
        raise ValueError(f"{name} is needed: the model was fitted with {n} {kind}, got None")
    return as_series(value, name, n, n_rows)


def _long_enough(columns: Array | None, name: str, n_rows: int, why: str) -> Array | None:
    if columns is not None and len(columns) < n_rows:
        raise ValueError(f"{name} must have at least {n_rows} rows {why}, got {len(columns)}")
    return columns
