"""Edit distances against a plain recursion."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from lstmcore.metrics import edit_distances, error_rate


def plain(a: str, b: str) -> int:
    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return distance(len(a), len(b))


def test_edit_distances(rng: np.random.Generator) -> None:
    left, right = (["".join(rng.choice(list("abc"), n)) for n in rng.integers(0, 9, 200)] for _ in range(2))
    assert edit_distances(left, right).tolist() == [plain(a, b) for a, b in zip(left, right, strict=True)]
    assert edit_distances(left, right).tolist() == edit_distances(right, left).tolist()
    as_tokens = [[7 if c == "a" else c for c in text] for text in left]
    assert edit_distances(as_tokens, left).tolist() == [text.count("a") for text in left]


def test_error_rate() -> None:
    assert error_rate(["abcd", ""], ["abed", "xy"]) == 3 / 4
    assert error_rate(["abcd"], ["abcd"]) == 0
    with pytest.raises(ValueError, match="predictions must hold 1 sequences, one for each of references, got 2"):
        error_rate(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="references must hold at least one token, got 2 empty sequences"):
        error_rate(["", ""], ["a", "b"])
