"""Draw the README's chart from what `compare.py --json` wrote.

    python bench/chart.py build/bench/compare.json [more.json ...] [--out docs/images/speed.png]

A dot is one shape: how many times as long the peer takes for it. A bar is the geometric mean, the number at the edge.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import matplotlib
from results import Result, load

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, NullLocator

ROWS = {
    "step": ("one step", "B=1, T=1"),
    "one": ("one sequence", "B=1, T=100"),
    "infer": ("inference", "batches"),
    "train": ("training step", "batches"),
    "ragged": ("ragged training", "lengths 7 to 29"),
    "fit": ("fit", "whole epochs"),
}
# Okabe and Ito's colours, which colour-blind readers can tell apart.
PEERS = {"PyTorch": "#d55e00", "ONNX Runtime": "#0072b2", "OpenVINO": "#009e73", "Keras": "#aa4a8a"}
INK, GREY, FAINT, SLOWER = "#24292f", "#57606a", "#d8dee4", "#f6eeee"
HEIGHT = 0.23  # of a lane, in rows

Lane = tuple[str, str, list[float]]


def lanes(results: list[Result], isa: str) -> list[Lane]:
    """Return work, peer and ratios of everything that was compared; of several ways to use a peer the fastest."""
    found = []
    for work in ROWS:
        for peer in PEERS:
            ratios = [r for result in results if result.task.work == work if (r := result.ratio(isa, peer))]
            if ratios:
                found.append((work, peer, ratios))
    return found


def draw(axes: Any, drawn: list[Lane], works: list[str], limits: tuple[float, float], title: str) -> None:
    """Draw the lanes of one number of threads."""
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    at_edge = axes.get_yaxis_transform()
    for work, peer, ratios in drawn:
        beside = [name for row, name, _ in drawn if row == work]
        y = works.index(work) + HEIGHT * (beside.index(peer) - (len(beside) - 1) / 2)
        mean = statistics.geometric_mean(ratios)
        axes.plot(ratios, [y] * len(ratios), "o", ms=4.2, mew=0, color=PEERS[peer], alpha=0.45)
        axes.plot([mean] * 2, [y - 0.085, y + 0.085], "-", lw=2, color=PEERS[peer], solid_capstyle="butt")
        axes.text(0.995, y, f"{mean:.1f}×", transform=at_edge, va="center", ha="right", fontsize=8, color=PEERS[peer])
    axes.text(0.995, 1.025, "mean", transform=axes.transAxes, ha="right", fontsize=8, color=GREY)
    axes.set_xscale("log")
    axes.axvspan(limits[0], 1, color=SLOWER, lw=0, zorder=0)
    axes.axvline(1, color=INK, lw=0.8, zorder=1)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100) if limits[0] <= tick <= 0.5 * limits[1]])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.grid(axis="x", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlim(*limits)
    axes.set_ylim(len(works) - 0.5, -0.5)
    axes.hlines([i + 0.5 for i in range(len(works) - 1)], *limits, color=FAINT, lw=0.6)
    axes.tick_params(length=0, labelsize=8.5, colors=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def chart(results: list[Result], environment: dict[str, Any], out: Path) -> None:
    """Write the picture, 800 pixels wide at twice the resolution."""
    isa, quantile = environment["isas"][0], environment["quantile"]
    what = "medians" if quantile == 0.5 else f"{quantile:g} quantiles"
    counts = sorted({result.threads for result in results})
    works = [work for work in ROWS if any(result.task.work == work for result in results)]
    figure, grid = plt.subplots(
        1, len(counts), figsize=(8, 1.35 + 0.62 * len(works)), sharey=True, squeeze=False, facecolor="white"
    )
    drawn = {count: lanes([result for result in results if result.threads == count], isa) for count in counts}
    ratios = [ratio for panel in drawn.values() for _, _, values in panel for ratio in values]
    limits = min(0.7, 0.85 * min(ratios)), 2.6 * max(ratios)  # room for the means
    for axes, (threads, panel) in zip(grid[0], drawn.items(), strict=True):
        draw(axes, panel, works, limits, f"{threads} thread{'s' * (threads > 1)}")
    grid[0][0].set_yticks(range(len(works)), [f"{ROWS[work][0]}\n{ROWS[work][1]}" for work in works])
    figure.text(0.012, 0.975, "How many times as fast as its peers is lstmcore?", fontsize=13, weight="bold", va="top")
    shown = [peer for peer in PEERS if any(result.best(peer) for result in results)]
    handles = [plt.Line2D([], [], marker="o", ls="", ms=6, color=PEERS[peer]) for peer in shown]
    figure.legend(
        handles, shown, loc="upper left", bbox_to_anchor=(0.0, 0.945), ncols=4, frameon=False, handletextpad=0.1,
        columnspacing=1.2, labelcolor="linecolor",
    )  # fmt: skip
    rounds = f"{what} of {environment['rounds']} rounds in turns"
    note = (
        "Dots: shapes of LSTM, GRU and RNN, 16 to 1024 hidden units. Bars: geometric means. Shaded: the peer is faster."
        f"\nfloat32, {environment['cpu']}, {isa}, {rounds}, {environment['date']}"
    )
    figure.text(0.012, 0.014, note, fontsize=7.5, color=GREY, linespacing=1.5)
    figure.subplots_adjust(left=0.15, right=0.985, top=0.825, bottom=0.15, wspace=0.06)
    figure.savefig(out, dpi=200)


def main() -> None:
    """Read the command line, then draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path, nargs="+", help="of one machine; results are put together")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "images" / "speed.png")
    options = parser.parse_args()
    loaded = [load(path) for path in options.json]
    chart([result for results, _ in loaded for result in results], loaded[-1][1], options.out)


if __name__ == "__main__":
    main()
