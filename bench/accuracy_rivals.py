"""What a network must beat: the nearest neighbour, a word's commonest tag, "as it is now"; linear models."""

from __future__ import annotations

import warnings

import numpy as np
from accuracy_tasks import Split, flat_targets

from lstmcore.sequences import Sequences


def naive(split: Split) -> np.ndarray:
    """Predict the test part without learning."""
    from sklearn.neighbors import KNeighborsClassifier

    if split.kind == "numbers":
        return np.zeros(len(split.y_test))
    if split.kind == "tags":  # the first features are the frequencies of the tags of the word
        classes = np.unique(flat_targets(split.y_train))
        return classes[split.test.values[:, : len(classes)].argmax(axis=1)]
    return KNeighborsClassifier(1).fit(flat(split.train), split.y_train).predict(flat(split.test, like=split.train))


def linear(split: Split) -> np.ndarray:
    """Predict the test part by a linear model of all steps; for tags, of a word and its neighbours."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if split.kind == "numbers":
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 7)))
        return model.fit(flat(split.train), split.y_train).predict(flat(split.test))
    warnings.simplefilter("ignore", ConvergenceWarning)  # 200 iterations come close enough
    model = LogisticRegression(max_iter=200)
    if split.kind == "tags":
        return model.fit(neighbours(split.train), flat_targets(split.y_train)).predict(neighbours(split.test))
    model = make_pipeline(StandardScaler(), model)
    return model.fit(flat(split.train), split.y_train).predict(flat(split.test, like=split.train))


def flat(sequences: Sequences, like: Sequences | None = None) -> np.ndarray:
    """All steps of each sequence in a row [n, T * F], zeros in front; longer ones than `like` has lose their start."""
    steps = int((like or sequences).lengths.max())
    back = np.arange(steps)[::-1]
    there = back < sequences.lengths[:, None]
    rows = np.where(there, (sequences.starts + sequences.lengths)[:, None] - 1 - back, 0)
    return (sequences.values[rows] * there[:, :, None]).reshape(len(sequences), -1)


def neighbours(sequences: Sequences) -> np.ndarray:
    """Features of each step beside those of the steps before and after it [N, 3 F]; zeros beyond the ends."""
    values = sequences.values
    before, after = np.zeros_like(values), np.zeros_like(values)
    before[1:], after[:-1] = values[:-1], values[1:]
    before[sequences.starts] = 0
    after[sequences.starts + sequences.lengths - 1] = 0
    return np.hstack([values, before, after])
