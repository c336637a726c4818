"""What a model from sequence to sequence reads: tokens, features at every step, or features of a sample."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np

from lstmcore import _validation as check
from lstmcore._inputs import Inputs
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array
from lstmcore.sequences import Sequences, as_sequences
from lstmcore.vocabulary import Vocabulary, read_text


class Read(NamedTuple):
    """What a network sees of `n` samples: sequences, or static features [n, n_features]."""

    n: int
    sequences: Sequences | None
    static: Array | None


class TokenSource:
    """Strings, or lists of tokens."""

    kind: ClassVar[str] = "tokens"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.n_tokens, self.n_features = len(vocabulary), None

    @classmethod
    def fit(cls, X: Any, standardize: bool, min_count: int) -> TokenSource:
        """Learn the tokens."""
        texts, level = read_outputs(X, "X")
        return cls(Vocabulary.fit(texts, level, min_count))

    def read(self, X: Any, name: str) -> Read:
        """Check samples and return what the network sees of them."""
        texts, _ = read_outputs(X, name, self.vocabulary.level)
        for i, text in enumerate(texts):
            if len(text) == 0:
                raise ValueError(f"{name}[{i}] has length 0; every sequence needs at least one token")
        numbers = [self.vocabulary.encode(text) for text in texts]
        lengths = np.array([len(row) for row in numbers])
        values = np.concatenate(numbers).astype(np.float32)[:, None]
        return Read(len(texts), Sequences(values, np.cumsum(lengths) - lengths, lengths), None)

    def to_config(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return {"tokens": self.vocabulary.tokens, "level": self.vocabulary.level}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TokenSource:
        """Read what `to_config` wrote."""
        return cls(Vocabulary(**config))


class VectorSource:
    """Features at every step."""

    kind: ClassVar[str] = "vectors"

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.n_tokens, self.n_features = None, inputs.n_inputs

    @classmethod
    def fit(cls, X: Any, standardize: bool, min_count: int) -> VectorSource:
        """Learn the scales."""
        return cls(Inputs.fit(as_sequences(X, "X", dtype=None, finite=False), standardize=standardize))

    def read(self, X: Any, name: str) -> Read:
        """Check samples and return what the network sees of them."""
        sequences = as_sequences(X, name, self.inputs.n_features, dtype=None, finite=False)
        return Read(len(sequences), self.inputs.apply(sequences, name), None)

    def to_config(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return self.inputs.to_config()

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> VectorSource:
        """Read what `to_config` wrote."""
        return cls(Inputs.from_config(config))


class FeatureSource:
    """Features of a sample as a whole, without an order."""

    kind: ClassVar[str] = "features"

    def __init__(self, n_features: int, scaler: Standardizer | None) -> None:
        self.n_tokens, self.n_features, self.scaler = None, n_features, scaler

    @classmethod
    def fit(cls, X: Any, standardize: bool, min_count: int) -> FeatureSource:
        """Learn the scales."""
        rows = check.shaped(X, "X", "[n_samples, n_features]")
        check.finite(check.contiguous(rows, np.dtype(np.float64)), "X", rows)
        return cls(rows.shape[1], Standardizer.fit(rows) if standardize else None)

    def read(self, X: Any, name: str) -> Read:
        """Check samples and return what the network sees of them."""
        raw = check.shaped(X, name, "[n_samples, n_features]")
        raw = check.exact_shape(raw, name, (len(raw), self.n_features), "[n_samples, n_features]")
        scaled = check.contiguous(raw, np.dtype(np.float64))
        if self.scaler is not None:
            scaled = self.scaler.apply(scaled)
        rows = check.contiguous(scaled, np.dtype(np.float32))
        check.finite(rows, name, raw)
        return Read(len(rows), None, rows)

    def to_config(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return {"n_features": self.n_features, "scaler": self.scaler and self.scaler.to_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FeatureSource:
        """Read what `to_config` wrote."""
        return cls(config["n_features"], config["scaler"] and Standardizer.from_config(config["scaler"]))


SOURCES = {source.kind: source for source in (TokenSource, VectorSource, FeatureSource)}
AnySource = TokenSource | VectorSource | FeatureSource


def source_kind(X: Any) -> type[AnySource]:
    """Say what samples are: rows of a 2-D array are features; strings, and lists of strings or ints, are tokens."""
    if isinstance(X, Sequences):
        return VectorSource
    if isinstance(X, np.ndarray) and X.ndim > 1:
        return FeatureSource if X.ndim == 2 else VectorSource
    if hasattr(X, "iloc") and np.ndim(X) == 2:
        return FeatureSource
    if not isinstance(X, (list, tuple, np.ndarray)) or len(X) == 0:
        raise TypeError(f"X must be an array or a list of at least one sequence, got {check.described(X)}")
    first = X[0]
    if isinstance(first, str):
        return TokenSource
    kind = np.asarray(first).dtype.kind if np.ndim(first) == 1 else ""
    return TokenSource if kind in "iuUO" and kind else VectorSource


def read_outputs(y: Any, name: str, level: str | None = None) -> tuple[list[Any], str]:
    """Return a list of strings (level "character") or of lists of tokens (level "token"), and the level.

    `level` None: that of the first one.

    Raises
    ------
    TypeError, ValueError
        If there is anything else, or nothing.
    """
    if y is None or isinstance(y, str) or not hasattr(y, "__len__"):
        raise TypeError(f"{name} must be a list of strings or of lists of tokens, got {check.described(y)}")
    if len(y) == 0:
        raise ValueError(f"{name} must hold at least one sequence, got {y!r}")
    rows = list(y)
    level = level or ("character" if isinstance(rows[0], str) else "token")
    return [read_text(row, level, f"{name}[{i}]") for i, row in enumerate(rows)], level
