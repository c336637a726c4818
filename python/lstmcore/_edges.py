"""Edges between the rows of a batch, as layers take them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._validation import Array


def integers(value: Any, name: str) -> Array:
    """Return `value` as a contiguous array of int64; an empty one may be of any type."""
    array = np.asarray(value)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.int64)


def edge_ends(value: Any, name: str = "edges") -> Array:
    """Return edges as [E, 2] of int64."""
    edges = integers(value, name)
    if edges.size == 0:
        return np.zeros((0, 2), np.int64)
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"{name} must have shape [n_edges, 2], each a source and a target, got {edges.shape}")
    return edges


def edge_numbers(value: Any, n_edges: int, below: int | None, name: str = "edge_types") -> Array:
    """Return a number for each edge, [E] of int64, from 0 to below - 1."""
    types = integers(value, name).reshape(-1) if np.size(value) == 0 else integers(value, name)
    if types.shape != (n_edges,):
        raise ValueError(f"{name} must hold a number for each of the {n_edges} edges, got shape {types.shape}")
    for e in np.flatnonzero((types < 0) | (types >= (types.max(initial=0) + 1 if below is None else below)))[:1]:
        limit = "at least 0" if below is None else f"from 0 to {below - 1}"
        raise ValueError(f"{name}[{e}] must be {limit}, got {types[e]}")
    return types


def edge_features(
    value: Any, n_edges: int, width: int | None, dtype: np.dtype[Any] | None = None, name: str = "edge_features"
) -> Array:
    """Return features of each edge, [E, F], finite, contiguous and of `dtype`; a vector is one feature.

    width None: any F; dtype None: float32 as it is, anything else as float64. No edges: a vector will do for any F.
    """
    source = check.numeric(value, name)
    source = source[:, None] if source.ndim == 1 else source
    if source.ndim != 2 or len(source) != n_edges or source.shape[1] == 0:
        raise ValueError(f"{name} must have a row for each of the {n_edges} edges, got shape {source.shape}")
    if n_edges == 0 and width is not None:
        source = np.zeros((0, width))
    if width not in (None, source.shape[1]):
        raise ValueError(f"{name} must have {width} columns, got {source.shape[1]}")
    array = check.contiguous(source, dtype or np.dtype(np.float32 if source.dtype == np.float32 else np.float64))
    check.finite(array, name, source)
    return array


def check_ends(edges: Array, n_nodes: int, name: str = "edges") -> None:
    """Raise ValueError at the first edge that leads from or to a node that is none."""
    for e in np.flatnonzero(((edges < 0) | (edges >= n_nodes)).any(axis=1))[:1]:
        source, target = edges[e].tolist()
        raise ValueError(f"{name}[{e}] leads from {source} to {target}: nodes are numbered from 0 to {n_nodes - 1}")


def find_cycle(edges: Array, n_nodes: int) -> int | None:
    """Return a node of a cycle, or None if there is none."""
    heights = core.heights(n_nodes, *ends(edges))
    if (heights >= 0).all():
        return None
    stuck = heights < 0
    before = dict(edges[stuck[edges].all(axis=1)][:, ::-1].tolist())  # of each stuck node, one that it waits for
    node, seen = int(np.argmax(stuck)), set()
    while node not in seen:
        seen.add(node)
        node = before[node]
    return node


def ends(edges: Array) -> tuple[Array, Array]:
    """Sources and targets [E], contiguous."""
    return np.ascontiguousarray(edges[:, 0]), np.ascontiguousarray(edges[:, 1])


def positions(targets: Array) -> Array:
    """Number the edges into each node from 0, in their order."""
    order = np.argsort(targets, kind="stable")
    ordered = targets[order]
    rank = np.empty(len(targets), np.int64)
    rank[order] = np.arange(len(targets)) - np.searchsorted(ordered, ordered)
    return rank


def checked_rows(x: Any, width: int, dtype: np.dtype[Any], name: str = "x") -> Array:
    """Return rows [N, width] of numbers, finite, contiguous and of `dtype`."""
    source = check.shaped(x, name, "[N, I]")
    if source.shape[1] != width:
        raise ValueError(f"{name} must have {width} columns, got {source.shape[1]}")
    array = check.contiguous(source, dtype)
    check.finite(array, name, source)
    return array
