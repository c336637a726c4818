"""Features of words for tagging: how often words and parts of words have which tag, and hashes of them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from datasets import Sentence

from lstmcore.sequences import Sequences

HASHED = 256
FOLDS = 5


def tagged(train: list[Sentence], test: list[Sentence]) -> list[Sequences | np.ndarray]:
    """Return features of every word and its tags, for training and for the test.

    Frequencies for the test come from all of the training part; for a training sentence from the other four fifths of
    it, else a word would show its own tag.
    """
    classes = sorted({tag for sentence in train for tag in sentence.tags})
    folds = [train[fold::FOLDS] for fold in range(FOLDS)]
    rows: list[np.ndarray] = [np.empty(0)] * len(train)
    for fold, sentences in enumerate(folds):
        counts = Counts(classes, [s for other in folds if other is not sentences for s in other])
        rows[fold::FOLDS] = [counts.features(sentence) for sentence in sentences]
    counts = Counts(classes, train)
    return [*_pack(train, rows), *_pack(test, [counts.features(sentence) for sentence in test])]


def _pack(sentences: list[Sentence], rows: list[np.ndarray]) -> tuple[Sequences, np.ndarray]:
    lengths = np.array([len(sentence.words) for sentence in sentences])
    tags = np.empty(len(sentences), dtype=object)
    tags[:] = [np.array(sentence.tags) for sentence in sentences]
    return Sequences(np.concatenate(rows), np.cumsum(lengths) - lengths, lengths), tags


class Counts:
    """How often each key of a word was seen with each tag."""

    def __init__(self, classes: list[str], sentences: list[Sentence]) -> None:
        number = {tag: i for i, tag in enumerate(classes)}
        self.counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(classes)))
        self.prior = np.zeros(len(classes))
        for sentence in sentences:
            for keys, tag in zip(word_keys(sentence), sentence.tags, strict=True):
                self.prior[number[tag]] += 1
                for key in keys:
                    self.counts[key][number[tag]] += 1
        self.prior /= self.prior.sum()

    def features(self, sentence: Sentence) -> np.ndarray:
        """Frequencies of the tags and a logarithm of the number for each key, then hashes: float32 [T, F]."""
        from sklearn.feature_extraction import FeatureHasher

        none = np.zeros_like(self.prior)
        keys = word_keys(sentence)
        counts = np.array([[self.counts.get(key, none) for key in row] for row in keys])
        seen = counts.sum(axis=2, keepdims=True)
        frequencies = np.concatenate([(counts + self.prior) / (seen + 1), np.log1p(seen) / 5], axis=2)
        hasher = FeatureHasher(HASHED, input_type="string", dtype=np.float32)  # Weinberger et al. 2009
        hashes = hasher.transform([row[:8] for row in keys]).toarray()
        return np.hstack([frequencies.reshape(len(keys), -1), hashes]).astype(np.float32)


def word_keys(sentence: Sentence) -> list[list[str]]:
    """Names of what is looked up for each word: itself, its ends and beginnings, its shape, it and its neighbours."""
    words = [word.replace("İ", "i").replace("I", "ı").lower() for word in sentence.words]
    before = [False, *sentence.joined[:-1]]
    marked = [f"{'-' * b}{w}{'-' * j}" for w, b, j in zip(words, before, sentence.joined, strict=True)]
    left, right = ["", *marked[:-1]], [*marked[1:], ""]
    return [
        [
            f"word {word}",
            f"all {mark}",
            *(f"end {mark[-n:]}" for n in (2, 3, 4, 5)),
            *(f"start {mark[:n]}" for n in (3, 4)),
            f"left {le} {mark}",
            f"right {mark} {ri}",
            f"ends {le[-3:]} {mark[-3:]}",
            f"shape {_shape(raw)} {mark[:1] == '-'} {mark[-1:] == '-'}",
        ]
        for raw, word, mark, le, ri in zip(sentence.words, words, marked, left, right, strict=True)
    ]


def _shape(word: str) -> str:
    """Say which kinds of characters there are, and whether the first is a capital."""
    kinds = {"d" if c.isdigit() else "U" if c.isupper() else "l" if c.isalpha() else c for c in word}
    return "".join(sorted(kinds)) + "^" * word[:1].isupper()
