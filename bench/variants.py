"""Which parts of an LSTM matter? The comparison of Greff et al. (2015) in small, on two real data sets (docs/cells.md).

    python bench/variants.py [--trials 24] [--seeds 10] [--jobs 2] [--task vowels|bikes]

As in the paper, every variant has peepholes but the one without, and each gets a random search of its own over learning
rate and hidden size, log-uniform, here with the same draws for all. The best of a search on held-out training data is
trained again on all of it from several seeds, and tested. Beside the variants stand other cells, treated alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from accuracy_tasks import TASKS, Recipe, Split, Task
from joblib import Parallel, delayed

import lstmcore

LEARNING_RATES = (1e-3, 3e-2)
HIDDEN_SIZES = (16, 64)
BIKE_WINDOWS = 6000  # the latest ones

VARIANTS = {  # the paper's name, and ours with options
    "V: all parts": ("lstm_peephole", None),
    "NP: no peepholes": ("lstm", None),
    "CIFG: f = 1 − i": ("lstm_coupled_peephole", None),
    "NIG: no input gate": ("lstm_no_input_gate", True),
    "NFG: no forget gate": ("lstm_no_forget_gate", True),
    "NOG: no output gate": ("lstm_no_output_gate", True),
    "NIAF: linear g": ("lstm_no_input_activation", True),
    "NOAF: h = o ⊙ c": ("lstm_no_output_activation", True),
    "FGR: gates see gates": ("lstm_full_gate_recurrence", True),
    "GRU": ("gru", None),
    "MGU": ("mgu", None),
    "IndRNN": ("indrnn", None),
    "RNN, tanh": ("rnn_tanh", None),
}


class Problem(NamedTuple):
    """A task, what its models have in common, and how many splits of the training data the search averages over."""

    task: Task
    recipe: Recipe
    folds: int
    split: Split


def problems() -> dict[str, Problem]:
    """Read the data."""
    vowels, bikes = (next(task for task in TASKS if word in task.name) for word in ("Vowels", "bike"))
    windows = bikes.data()
    latest = np.arange(len(windows.train) - BIKE_WINDOWS, len(windows.train))
    few = windows._replace(train=windows.train.take(latest), y_train=windows.y_train[latest])
    return {
        "vowels": Problem(vowels, Recipe(max_epochs=30, batch_size=16), 3, vowels.data()),
        "bikes": Problem(bikes, Recipe(max_epochs=10, batch_size=64, loss="huber", schedule="cosine"), 1, few),
    }


def score(problem: Problem, variant: str, rate: float, hidden: int, seed: int, split: Split) -> float:
    """Train one model and return its test error: in percent of the labels, or the mean absolute one."""
    cell, peepholes = VARIANTS[variant]
    recipe, classes = problem.recipe, split.kind == "classes"
    kind, loss = (lstmcore.RNNClassifier, {}) if classes else (lstmcore.RNNRegressor, {"loss": recipe.loss})
    model = kind(
        cell=cell,
        peepholes=peepholes,
        hidden_size=hidden,
        learning_rate=rate,
        max_epochs=recipe.max_epochs,
        batch_size=recipe.batch_size,
        schedule=recipe.schedule,
        random_state=seed,
        **loss,
    ).fit(split.train, split.y_train)
    found = problem.task.score(model.predict(split.test), split.y_test)
    return 100 * (1 - found) if classes else found


def draws(trials: int) -> Iterator[tuple[float, int]]:
    """Learning rates and hidden sizes to try."""
    rng = np.random.default_rng(0)
    for _ in range(trials):
        rate, hidden = (np.exp(rng.uniform(*np.log(limits))) for limits in (LEARNING_RATES, HIDDEN_SIZES))
        yield float(rate), round(hidden)


def compare(problem: Problem, trials: int, seeds: int, jobs: int) -> None:
    """Print a row for each variant: error and its deviation over seeds, what was chosen, the median of the search."""
    parallel, tried = Parallel(n_jobs=jobs), list(draws(trials))
    folds = [problem.split.validation(fold, problem.task.by_time) for fold in range(problem.folds)]
    print(f"\n{problem.task.name}: test error ({'%' if problem.split.kind == 'classes' else 'MAE'})\n")
    print("| variant | error | ± | hidden size | learning rate | median of the search |\n|---|---|---|---|---|---|")
    for variant in VARIANTS:
        found = parallel(
            delayed(score)(problem, variant, rate, hidden, 0, fold) for rate, hidden in tried for fold in folds
        )
        held_out = np.reshape(found, (trials, len(folds))).mean(axis=1)
        rate, hidden = tried[int(np.argmin(held_out))]
        errors = parallel(delayed(score)(problem, variant, rate, hidden, s, problem.split) for s in range(seeds))
        print(
            f"| {variant} | {np.mean(errors):.2f} | {np.std(errors):.2f} | {hidden} | {rate:.4f} "
            f"| {np.median(held_out):.2f} |",
            flush=True,
        )


def main() -> None:
    """Compare on the tasks that the command line names; both by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=24, help="draws of each search")
    parser.add_argument("--seeds", type=int, default=10, help="fits of what was found")
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time")
    parser.add_argument("--task", choices=("vowels", "bikes"), action="append")
    options = parser.parse_args()
    lstmcore.set_num_threads(1)
    for name, problem in problems().items():
        if options.task is None or name in options.task:
            start = time.perf_counter()
            compare(problem, options.trials, options.seeds, options.jobs)
            print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
