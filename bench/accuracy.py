"""Accuracy on real data: ours and PyTorch with one recipe, a naive and a linear rival, what is published, our goal.

    python bench/accuracy.py [--task NAME ...] [--seeds 5] [--threads 2] [--no-torch] [--json PATH]
    python bench/accuracy.py --task bike --validate --set max_epochs=20    # how recipes were chosen

Ours and PyTorch train in turns, seed by seed, and see the same arrays; ours standardizes them itself within its time.
"sooner" is how many times sooner ours has the training loss that both reach, the higher of the two last ones (measured
at ends of epochs, median of the seeds). The naive rival is the nearest neighbour, the commonest tag of a word, or "as
it is now"; the linear one is a logistic or ridge regression on all steps of a sequence (tags: a word and its
neighbours).
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_rivals import linear, naive
from accuracy_tasks import TASKS, Fit, Recipe, Split, Task, adding, flat_targets, prepared
from datasets import Missing

COLUMNS = (  # of a Markdown table: title and width
    *(("task", 24), ("", 8), ("ours", 6), ("worst", 6), ("PyTorch", 7), ("worst", 6), ("naive", 6), ("linear", 6)),
    *(("published", 9), ("goal", 6), ("", 6), ("ours, s", 7), ("PyTorch, s", 10), ("sooner", 6)),
)


def fit_ours(split: Split, recipe: Recipe, seed: int) -> Fit:
    """Train the estimator, and predict the test part."""
    import lstmcore

    kinds = {"classes": lstmcore.RNNClassifier, "numbers": lstmcore.RNNRegressor, "tags": lstmcore.RNNTagger}
    kind: Any = kinds[split.kind]
    options = {name: value for name, value in dataclasses.asdict(recipe).items() if name in kind().get_params()}
    start = time.perf_counter()
    model = kind(**options, random_state=seed).fit(split.train, split.y_train)
    seconds = time.perf_counter() - start
    epochs = np.cumsum(model.history_["seconds"])
    predicted = model.predict(split.test)
    predicted = np.concatenate(predicted) if split.kind == "tags" else predicted
    return Fit(predicted, np.array(model.loss_curve_), epochs + (seconds - epochs[-1]))


@dataclasses.dataclass
class Scores:
    """Scores and times of one library, an entry a seed."""

    scores: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    losses: list[float] = dataclasses.field(default_factory=list)

    def add(self, score: float, fit: Fit) -> None:
        """Take in one more fit."""
        self.scores.append(score)
        self.seconds.append(float(fit.seconds[-1]))
        self.losses.append(float(fit.losses[-1]))


def measure(task: Task, recipe: Recipe, options: Any) -> dict[str, Any]:
    """Fit everything and return a row of the table."""
    split = task.data()
    ours, theirs, sooner = Scores(), Scores(), []
    row: dict[str, Any] = {"task": task.name, "metric": task.metric, "recipe": dataclasses.asdict(recipe)}
    for seed in range(options.seeds):
        now = split.validation(seed, task.by_time) if options.validate else split
        actual = flat_targets(now.y_test)
        fit = fit_ours(now, recipe, seed)
        ours.add(task.score(fit.predicted, actual), fit)
        if options.torch and seed < task.torch_seeds:
            import accuracy_torch

            other = accuracy_torch.fit(prepared(now, recipe), recipe, seed)
            theirs.add(task.score(other.predicted, actual), other)
            goal = max(ours.losses[-1], theirs.losses[-1])
            sooner.append(other.seconds_to(goal) / fit.seconds_to(goal))
    if options.rivals:
        now = split.validation(0, task.by_time) if options.validate else split
        actual, ready = flat_targets(now.y_test), prepared(now, recipe)
        row |= {name: task.score(rival(ready), actual) for name, rival in (("naive", naive), ("linear", linear))}
    row |= {"ours": dataclasses.asdict(ours), "torch": dataclasses.asdict(theirs)}
    return row | {
        "sooner": statistics.median(sooner) if sooner else None,
        "target": task.target,
        "published": task.published,
        "met": None if task.target is None else task.better(statistics.mean(ours.scores), task.target),
    }


def warm_up(with_torch: bool) -> None:
    """Load what is loaded at first use, and start the threads."""
    split, recipe = adding(10)(), Recipe(max_epochs=1)
    few = np.arange(100)
    tiny = Split(split.train.take(few), split.y_train[few], split.test.take(few), split.y_test[few])
    fit_ours(tiny, recipe, 0)
    if with_torch:
        import accuracy_torch

        accuracy_torch.fit(prepared(tiny, recipe), recipe, 0)


def cells(task: Task, row: dict[str, Any]) -> list[str]:
    """Return a row of the table as text."""
    worst_of = min if task.metric == "accuracy" else max
    digits = 4 if statistics.mean(row["ours"]["scores"]) <= 1 else 2

    def number(value: float | None, places: int = digits) -> str:
        return "" if value is None else f"{value:.{places}f}"

    def scores(name: str) -> list[str]:
        values = row[name]["scores"]
        return [number(statistics.mean(values)), number(worst_of(values))] if values else ["", ""]

    def seconds(name: str) -> str:
        return number(statistics.median(row[name]["seconds"]), 1) if row[name]["seconds"] else ""

    rivals = [number(row.get(name)) for name in ("naive", "linear")]
    verdict = {None: "", True: "met", False: "MISSED"}[row["met"]]
    goal = [task.published, number(task.target), verdict]
    times = [seconds("ours"), seconds("torch"), number(row["sooner"], 1)]
    return [task.name, task.metric, *scores("ours"), *scores("torch"), *rivals, *goal, *times]


def show(texts: Iterable[str]) -> None:
    """Print a row of the table."""
    padded = (f"{text:{width}}" for text, (_, width) in zip(texts, COLUMNS, strict=True))
    print(f"| {' | '.join(padded)} |", flush=True)


def changed(recipe: Recipe, settings: list[str]) -> Recipe:
    """Return the recipe with some options given as NAME=VALUE."""
    given = dict(setting.split("=", 1) for setting in settings)
    kinds = {name: type(value) for name, value in dataclasses.asdict(recipe).items()}
    values = {name: text == "True" if kinds[name] is bool else kinds[name](text) for name, text in given.items()}
    return dataclasses.replace(recipe, **values)


def environment(threads: int) -> dict[str, Any]:
    """Say where and with what this was measured."""
    from machine import cpu_name

    from lstmcore import _isa

    packages = ("lstmcore", "numpy", "scikit-learn", *(("torch",) if "torch" in sys.modules else ()))
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {"cpu": cpu_name(), "threads": threads, "isa": _isa.isa(), **versions}


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", default=[""], help="parts of names of tasks; default: all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-torch", dest="torch", action="store_false")
    parser.add_argument("--no-rivals", dest="rivals", action="store_false")
    parser.add_argument("--validate", action="store_true", help="measure on a part of the training data")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="change the recipe")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chosen = [task for task in TASKS if any(part.lower() in task.name.lower() for part in options.task)]
    if not chosen:
        parser.error(f"--task must name some of {', '.join(task.name for task in TASKS)}, got {options.task!r}")

    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before PyTorch is imported
    import lstmcore

    lstmcore.set_num_threads(options.threads)
    warm_up(options.torch)
    rows = []
    show(title for title, _ in COLUMNS)
    show("-" * width for _, width in COLUMNS)
    for task in chosen:
        try:
            rows.append(measure(task, changed(task.recipe, options.set), options))
            show(cells(task, rows[-1]))
        except Missing as error:
            show([task.name, f"left out: {error}", *[""] * (len(COLUMNS) - 2)])
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        content = {"environment": environment(options.threads), "results": rows}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
