"""Measures of how far sequences are from each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmcore._isa import core
from lstmcore._validation import Array


def edit_distances(references: Any, predictions: Any) -> Array:
    """Count the insertions, deletions and substitutions that turn each prediction into its reference.

    Parameters
    ----------
    references, predictions : list of str, or of sequences of hashable tokens
        As many of either; each may be empty.

    Returns
    -------
    ndarray of int64
        The distance of Levenshtein (1966) of each pair.

    Raises
    ------
    ValueError
        If there are not as many of either.

    Examples
    --------
    >>> edit_distances(["kitten", "abc"], ["sitting", "abc"])
    array([3, 0])
    """
    if len(references) != len(predictions):
        raise ValueError(
            f"predictions must hold {len(references)} sequences, one for each of references, got {len(predictions)}"
        )
    numbers: dict[Any, int] = {}
    flat, lengths = [], []
    for side in (references, predictions):
        tokens = [numbers.setdefault(token, len(numbers)) for sequence in side for token in sequence]
        flat.append(np.array(tokens, np.int64))
        lengths.append(np.array([len(sequence) for sequence in side], np.int64))
    return core.edit_distances(flat[0], lengths[0], flat[1], lengths[1])


def error_rate(references: Any, predictions: Any) -> float:
    """Return the sum of `edit_distances` over the sum of the lengths of the references.

    The phoneme, character or word error rate, according to what the tokens are: 0 is perfect, and it may exceed 1.

    Parameters
    ----------
    references, predictions : list of str, or of sequences of hashable tokens

    Raises
    ------
    ValueError
        If there are not as many of either, or all references are empty.

    Examples
    --------
    >>> error_rate([["HH", "AH", "L", "OW"]], [["HH", "EH", "L", "OW"]])
    0.25
    """
    total = sum(len(reference) for reference in references)
    distances = edit_distances(references, predictions)
    if total == 0:
        raise ValueError(f"references must hold at least one token, got {len(references)} empty sequences")
    return float(distances.sum() / total)
