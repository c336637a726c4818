"""The demo's picture: half a year of next-day bands, and a fan of the days to come."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmcore._demo.rates import Rates

Array = NDArray[Any]

_NAMES = {"USD": "US dollar", "JPY": "Japanese yen", "GBP": "Pound sterling", "CHF": "Swiss franc"}
_INK, _GREY, _GRID = "#1b2530", "#6b7680", "#e6e9ec"
_BAND, _FAN, _OUT = "#9ec9e8", "#e8833a", "#c0392b"
_LEFT = 0.058  # of the figure: headings and panels stand on one line


class Picture(NamedTuple):
    """What is drawn, in units of the currency for one euro.

    Attributes
    ----------
    days : int
        How many of the latest days to show.
    lower, upper : ndarray [days, n_currencies]
        Ends of the 80% interval for each of these days, as forecast the day before.
    fan : ndarray [horizon, n_currencies, 5]
        Quantiles 10, 25, 50, 75 and 90% of the days to come.
    """

    days: int
    lower: Array
    upper: Array
    fan: Array


def draw(rates: Rates, picture: Picture, path: Path) -> None:
    """Draw a panel for each currency (at most four) and write a PNG file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.family": "DejaVu Sans", "font.size": 9, "text.color": _INK}):
        figure = Figure(figsize=(11, 7.2), dpi=150, facecolor="white")
        axes = figure.subplots(2, 2).ravel()
        for index, axis in enumerate(axes[: len(rates.currencies)]):
            _panel(axis, rates, picture, index)
        _legend(figure, len(picture.fan))
        figure.text(_LEFT, 0.952, "The euro, one day ahead", fontsize=16, fontweight="bold")
        source = "One GRU for all four. Euro reference rates: European Central Bank"
        figure.text(_LEFT, 0.02, source, fontsize=7.5, color=_GREY)
        figure.subplots_adjust(left=_LEFT, right=0.97, top=0.838, bottom=0.075, hspace=0.33, wspace=0.16)
        figure.savefig(path)


def _panel(axis: Any, rates: Rates, picture: Picture, index: int) -> None:
    currency, days = rates.currencies[index], picture.days
    dates, actual = rates.dates[-days:], rates.values[-days:, index]
    lower, upper = picture.lower[:, index], picture.upper[:, index]
    outside = (actual < lower) | (actual > upper)
    axis.fill_between(dates, lower, upper, color=_BAND, alpha=0.55, linewidth=0)
    axis.plot(dates, actual, color=_INK, linewidth=1.1)
    axis.plot(dates[outside], actual[outside], "o", color=_OUT, markersize=3)
    _fan(axis, rates.dates[-1], float(actual[-1]), picture.fan[:, index])
    axis.set_title(_NAMES.get(currency, currency), loc="left", fontsize=11, fontweight="bold", pad=8)
    note = f"{currency} for €1 · {1 - outside.mean():.0%} of days within the band"
    axis.set_title(note, loc="right", fontsize=8.5, color=_GREY, pad=8)
    _tidy(axis)


def _fan(axis: Any, last_day: Any, last: float, fan: Array) -> None:
    """Two nested bands and the median, starting from the latest rate."""
    days = np.busday_offset(last_day, np.arange(len(fan) + 1), roll="backward")
    edges = np.concatenate([np.full((1, fan.shape[1]), last), fan])
    axis.fill_between(days, edges[:, 0], edges[:, 4], color=_FAN, alpha=0.3, linewidth=0)
    axis.fill_between(days, edges[:, 1], edges[:, 3], color=_FAN, alpha=0.5, linewidth=0)
    axis.plot(days, edges[:, 2], color=_FAN, linewidth=1.3)


def _legend(figure: Any, horizon: int) -> None:
    """Name the parts in the order in which the eye meets them."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], color=_INK, linewidth=1.3, label="the rate"),
        Patch(color=_BAND, alpha=0.7, linewidth=0, label="expected the day before, 80%"),
        Line2D([], [], color=_OUT, marker="o", markersize=4, linestyle="", label="fell outside"),
        Patch(color=_FAN, alpha=0.7, linewidth=0, label=f"the next {horizon} days, 50 and 80%"),
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(_LEFT - 0.008, 0.942),
        ncols=len(handles),
        frameon=False,
        fontsize=9.5,
        labelcolor=_GREY,
        handlelength=1.6,
        columnspacing=2.2,
    )


def _tidy(axis: Any) -> None:
    mdates: Any = importlib.import_module("matplotlib.dates")
    months = mdates.MonthLocator()
    axis.xaxis.set_major_locator(months)
    axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(months, show_offset=False))
    axis.grid(axis="y", color=_GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(_GRID)
    axis.tick_params(colors=_GREY, length=0, labelsize=8)
    axis.margins(x=0.01)
