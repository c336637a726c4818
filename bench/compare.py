"""Ours against PyTorch, ONNX Runtime, OpenVINO and Keras: the same layers with the same weights and threads, in turns.

    python bench/compare.py [--threads 1 2] [--isa x86_64_v4 | all] [--work step train] [--only lstm] [--json PATH]

step    one step of a stream from Python          train   forward and backward pass after a change of the weights
one     one sequence at a time                    ragged  a training step on sequences of 7 to 29 steps
infer   a batch of sequences                      fit     one epoch of a whole small model (see fit.py)

Times are medians over the rounds of one call; ratios above 1 mean that ours is faster. Training goes into all
gradients but not into x; its GFLOP/s count three forward passes, its share of the FMA peak only what is computed.
Layers are called as users call them, checks of the input included. Every library runs in its own process (see
peers.py), and must agree with ours before it is timed. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from machine import cpu_name, measure
from peers import Peer, compare
from peers_layers import LIBRARIES
from results import Result, save, summary
from shapes import WORKS, Task, tasks

from lstmcore import _isa


def header(work: str, result: Result, isas: list[str]) -> str:
    """Return the names of a table's columns."""
    peers = [label for label in result.seconds if label not in isas]
    title = f"{work}, {'ms' if work == 'fit' else 'µs'}"
    names = "".join(f" {name:>14}" for name in ("lstmcore", *peers))
    return f"\n{title:11} cell     I     H    B    T{names}  GFLOP/s  of peak  ratio best peer"


def row(result: Result, isa: str, isas: list[str], peak: float) -> str:
    """Return one line of a table."""
    task, seconds = result.task, result.seconds
    scale = 1e3 if task.work == "fit" else 1e6
    times = [seconds[isa], *(value for label, value in seconds.items() if label not in isas)]
    line = f"{isa:11} {task.shape}" + "".join(f" {value * scale:14.1f}" for value in times)
    line += f" {task.flops / seconds[isa] / 1e9:8.1f} {100 * result.share(isa, peak):7.1f}%"
    best = result.best()
    return line + (f" {best[1] / seconds[isa]:6.2f} {best[0]}" if best else "")


def run(chosen: list[Task], threads: int, isas: list[str], options: Any, peaks: dict[str, float]) -> Iterable[Result]:
    """Time everything on a number of threads, and print tables."""
    works = {task.work for task in chosen}
    theirs = [lib.name for lib in LIBRARIES[1:] if lib.versions() and works & set(lib.works)]
    peers = [*(Peer(LIBRARIES[0].name, threads, isa) for isa in isas), *(Peer(name, threads) for name in theirs)]
    for peer in peers:
        peer.answer()  # an import takes seconds of CPU
    print(f"\nthreads: {threads}")
    for work in dict.fromkeys(task.work for task in chosen):
        alike = [task for task in chosen if task.work == work]
        times, disturbed = compare(alike, peers, options.rounds, options.at_least, options.quantile)
        columns: tuple[str, ...] = ()
        for task, seconds in zip(alike, times, strict=True):
            result = Result(task, threads, seconds)
            if tuple(seconds) != columns:
                columns = tuple(seconds)
                print(header(work, result, isas))
            for isa in isas:
                print(row(result, isa, isas, peaks.get(isa, float("nan"))), flush=True)
            yield result
        if disturbed:
            print(f"(other processes were busy during {disturbed} rounds, which were repeated once)")
    for peer in peers:
        peer.close()


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--isa", nargs="+", default=[_isa.available()[0]], help="instruction sets of ours, or: all")
    parser.add_argument("--work", nargs="+", choices=WORKS, default=WORKS)
    parser.add_argument("--only", default="", help="shapes of one cell: lstm, gru or rnn")
    parser.add_argument("--largest", type=int, default=1 << 30, help="largest hidden size to run")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--quantile", type=float, default=0.5, help="of the rounds; less where neighbours slow them")
    parser.add_argument("--at-least", type=float, default=0.01, help="seconds of calls in each turn")
    parser.add_argument("--json", type=Path, help="file to write all medians to")
    return parser.parse_args()


def main() -> None:
    """Print a table for each kind of work and number of threads, then what is reached of the targets."""
    options = arguments()
    isas = list(_isa.available()) if options.isa == ["all"] else [_isa.choose(name) for name in options.isa]
    chosen = [
        task
        for task in tasks()
        if task.work in options.work
        and options.only in ("", task.shape.cell)
        and task.shape.hidden_size <= options.largest
    ]
    if os.getloadavg()[0] > 0.5 * len(os.sched_getaffinity(0)):
        print(f"The machine is busy (load average {os.getloadavg()[0]:.1f}): figures will mean little.")
    environment = {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "isas": isas,
        "peak_gflops": measure()["peak_gflops"],
        "rounds": options.rounds,
        "quantile": options.quantile,
        "python": sys.version.split()[0],
        "versions": {module: v for library in LIBRARIES for module, v in library.versions().items()},
    }
    print(f"{environment['cpu']}, {environment['cores']} cores, float32, " + ", ".join(isas))
    print(", ".join(f"{module} {version}" for module, version in environment["versions"].items()))
    peaks = environment["peak_gflops"]
    results = [result for threads in options.threads for result in run(chosen, threads, isas, options, peaks)]
    for isa in isas:
        print(*summary(results, isa, peaks), sep="\n")
    if options.json is not None:
        save(options.json, results, environment)


if __name__ == "__main__":
    main()
