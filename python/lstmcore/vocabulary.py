"""Vocabularies: texts as token numbers and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._validation import Array

LEVELS = ("character", "token")


class Vocabulary:
    """The tokens that a language model knows, each with a number.

    Number 0 is the boundary, which stands before a text and after its end; number 1 is any unknown token.

    Parameters
    ----------
    tokens : sequence of str or int
        The known tokens, which get the numbers from 2 on.
    level : {"character", "token"}
        What a text is: a string of characters, or a list or 1-D array of tokens, strings or integers.

    Raises
    ------
    ValueError, TypeError
        If a token comes twice, or is neither a string nor an integer.

    Examples
    --------
    >>> vocabulary = Vocabulary.fit(["banana"])
    >>> vocabulary.tokens
    ['a', 'n', 'b']
    >>> vocabulary.encode("nab!")
    array([3, 2, 4, 1])
    >>> vocabulary.decode([3, 2, 4])
    'nab'
    """

    BOUNDARY, UNKNOWN = 0, 1

    def __init__(self, tokens: Sequence[Any], level: str = "character") -> None:
        self.level, self.tokens = check.choice(level, "level", LEVELS), list(tokens)
        for token in self.tokens:
            if not isinstance(token, (str, int)) or isinstance(token, bool):
                raise TypeError(f"tokens must be strings or integers, got {token!r}")
        self._numbers = {token: number for number, token in enumerate(self.tokens, 2)}
        if len(self._numbers) < len(self.tokens):
            raise ValueError(f"tokens must differ, got {Counter(self.tokens).most_common(1)[0][0]!r} twice")

    def __len__(self) -> int:
        """How many numbers there are, boundary and unknown among them."""
        return len(self.tokens) + 2

    def __repr__(self) -> str:
        return f"Vocabulary({len(self.tokens)} tokens, level={self.level!r})"

    @classmethod
    def fit(cls, texts: Iterable[Any], level: str = "character", min_count: int = 1) -> Vocabulary:
        """Learn the tokens that come at least `min_count` times, the most frequent first."""
        counts = Counter(chain.from_iterable(texts)).most_common()
        return cls([token for token, n in counts if n >= min_count], level)

    def encode(self, text: Any, name: str = "text") -> Array:
        """Return the numbers [n] of int64 of a text's tokens."""
        tokens = read_text(text, self.level, name)
        numbers = self._numbers
        return np.fromiter((numbers.get(token, self.UNKNOWN) for token in tokens), np.int64, len(tokens))

    def decode(self, numbers: Iterable[int]) -> Any:
        """Return the string, or the list of tokens, of numbers from 2 on."""
        tokens = [self.tokens[number - 2] for number in numbers]
        return "".join(tokens) if self.level == "character" else tokens


def read_text(text: Any, level: str, name: str = "text") -> Sequence[Any]:
    """Return one text as a string, or as a list of strings and integers, or raise TypeError."""
    if level == "character":
        if isinstance(text, str):
            return text
        hint = "; level='token' takes lists and arrays of tokens" if isinstance(text, (list, tuple, np.ndarray)) else ""
        raise TypeError(f"{name} must be a string, got {_short(text)}{hint}")
    if not isinstance(text, (list, tuple, np.ndarray)) or np.ndim(text) != 1:
        raise TypeError(f"{name} must be a list or a 1-D array of tokens, got {_short(text)}")
    tokens = text.tolist() if isinstance(text, np.ndarray) else list(text)
    for i, token in enumerate(tokens):
        if not isinstance(token, (str, int, np.integer)) or isinstance(token, bool):
            raise TypeError(f"{name}[{i}] must be a string or an integer, got {token!r}")
    return tokens


def read_texts(texts: Any, level: str, name: str = "text") -> tuple[list[Sequence[Any]], bool]:
    """Return a list of texts, and whether there were several: one text may come as it is.

    Raises
    ------
    TypeError, ValueError
        If there is anything but texts, no text, or an empty one.
    """
    several = isinstance(texts, (list, tuple, np.ndarray)) and (
        level == "character" or (len(texts) > 0 and all(_is_text(text) for text in texts))
    )
    if not several:
        found = [read_text(texts, level, name)]
    else:
        found = [read_text(text, level, f"{name}[{i}]") for i, text in enumerate(texts)]
        if not found:
            raise ValueError(f"{name} must hold at least one text, got {texts!r}")
    for i, text in enumerate(found):
        if len(text) == 0:
            raise ValueError(f"{name}{f'[{i}]' if several else ''} is empty")
    return found, several


def _is_text(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1)


def _short(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
