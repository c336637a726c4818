"""What was timed, and whether it is as fast as it should be."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from shapes import Shape, Task


class Result(NamedTuple):
    """Seconds of a task by label: an instruction set of ours, or a peer and the way it is used."""

    task: Task
    threads: int
    seconds: dict[str, float]

    def best(self, peers: str = "") -> tuple[str, float] | None:
        """Return the fastest peer whose label starts with `peers`, and its time."""
        ours = ("x86_64", "aarch64")
        theirs = {k: v for k, v in self.seconds.items() if k.startswith(peers) and not k.startswith(ours)}
        return min(theirs.items(), key=lambda item: item[1]) if theirs else None

    def ratio(self, isa: str, peers: str = "") -> float | None:
        """How many times as long the fastest peer takes."""
        best = self.best(peers)
        return best[1] / self.seconds[isa] if best else None

    def share(self, isa: str, peak: float) -> float:
        """Share of the threads' peak, in GFLOP/s of one, that the products reach which are needed."""
        return self.task.needed_flops / self.seconds[isa] / 1e9 / peak / self.threads


class Target(NamedTuple):
    """A ratio to reach on each task of a kind, and by their geometric mean."""

    work: str
    peers: str
    least: float
    mean: float | None = None
    cells: tuple[str, ...] = ("lstm", "gru")
    hidden_sizes: tuple[int, int] = (1, 1024)
    threads: tuple[int, int] = (1, 1024)

    def covers(self, result: Result) -> bool:
        """Whether a result is one that this is about."""
        task, shape = result.task, result.task.shape
        low, high = self.hidden_sizes
        return (
            task.work == self.work
            and shape.cell in self.cells
            and low <= shape.hidden_size <= high
            and self.threads[0] <= result.threads <= self.threads[1]
            and result.best(self.peers) is not None
        )

    def __str__(self) -> str:
        low, high = self.hidden_sizes
        sizes = "" if (low, high) == (1, 1024) else f" H>={low}" if high == 1024 else f" H<={high}" if low == 1 else ""
        sizes = sizes or (f" H={low}" if low == high else "")
        return f"{self.work} {'/'.join(self.cells)}{sizes} against {self.peers or 'the best'}"


TARGETS = (
    Target("step", "ONNX Runtime", 5, hidden_sizes=(1, 64)),
    Target("step", "PyTorch", 25, hidden_sizes=(1, 64)),
    Target("step", "ONNX Runtime", 3.5, hidden_sizes=(128, 128)),
    Target("step", "PyTorch", 20, hidden_sizes=(128, 128)),
    Target("step", "ONNX Runtime", 1.6, hidden_sizes=(256, 256)),
    Target("step", "PyTorch", 10, hidden_sizes=(256, 256)),
    Target("one", "", 1.5, hidden_sizes=(1, 128), threads=(1, 1)),  # the recurrent weights fit 1 MB of L2
    Target("one", "", 1.0, hidden_sizes=(256, 1024), threads=(1, 1)),
    Target("one", "", 1.8, threads=(2, 1024)),
    Target("infer", "", 1.05, 1.3),
    Target("infer", "", 1.0, cells=("rnn",)),
    Target("train", "PyTorch", 1.05, 1.35, cells=("lstm",)),
    Target("train", "PyTorch", 2.1, 4, cells=("gru",)),
    Target("train", "PyTorch", 1.0, cells=("rnn",)),
    Target("ragged", "PyTorch padded", 2),
    Target("ragged", "PyTorch packed", 9),
    Target("fit", "PyTorch", 1.8, 2),
)
SCALING = 1.85  # 2 threads against 1, B >= 32 and H >= 64
PEAK_SHARES = {"infer": 0.88, "train": 0.80}  # of the FMA peak, B >= 32 and H >= 128


def judge(what: str, values: list[float], least: float, mean: float | None = None) -> str:
    """Return a line about the least and the mean of some ratios."""
    found_least, found_mean = min(values), statistics.geometric_mean(values)
    missed = found_least < least or (mean is not None and found_mean < mean)
    wanted = f"{mean:6.2f}" if mean is not None else "     -"
    verdict = "MISSED" if missed else "met"
    return f"{what:44} {len(values):2}  {found_least:6.2f} of {least:5.2f}  {found_mean:6.2f} of {wanted}  {verdict}"


def summary(results: list[Result], isa: str, peaks: dict[str, float]) -> Iterator[str]:
    """Yield a line for each target, for each number of threads; then scaling and shares of the peak."""
    for threads in sorted({result.threads for result in results}):
        now = [result for result in results if result.threads == threads]
        yield f"\n{isa}, threads: {threads}{'':{26 - len(isa)}} cases   least of target  mean of target"
        for target in TARGETS:
            ratios = [r for result in now if target.covers(result) if (r := result.ratio(isa, target.peers))]
            if ratios:
                yield judge(str(target), ratios, target.least, target.mean)
        for work, share in PEAK_SHARES.items():
            large = [r for r in now if r.task.work == work and r.task.shape.batch >= 32 <= r.task.shape.hidden_size / 4]
            if large and isa in peaks:
                found = [r.share(isa, peaks[isa]) for r in large]
                yield judge(f"{work} B>=32 H>=128, share of the FMA peak", found, share)
    alone = {result.task: result.seconds[isa] for result in results if result.threads == 1}
    for work in ("infer", "train"):
        scaled = [
            alone[r.task] / r.seconds[isa]
            for r in results
            if r.threads == 2 and r.task.work == work and r.task in alone
            if r.task.shape.batch >= 32 and r.task.shape.hidden_size >= 64
        ]
        if scaled:
            yield judge(f"{work} B>=32 H>=64, 2 threads against 1", scaled, SCALING)


def save(path: Path, results: list[Result], environment: dict[str, Any]) -> None:
    """Write results and where they come from as JSON."""
    rows = [
        {**task._asdict(), "shape": task.shape._asdict(), "threads": threads, "flops": task.flops, "seconds": seconds}
        for task, threads, seconds in results
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"environment": environment, "results": rows}, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[list[Result], dict[str, Any]]:
    """Read what `save` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [_result(row) for row in content["results"]], content["environment"]


def _result(row: dict[str, Any]) -> Result:
    task = {name: row[name] for name in Task._fields}
    return Result(Task(**{**task, "shape": Shape(**task["shape"])}), row["threads"], row["seconds"])
