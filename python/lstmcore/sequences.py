"""Sequences of different lengths: one array of values, where each sequence starts, and how long it is."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np

from lstmcore import _validation as check
from lstmcore._isa import core


class Batch(NamedTuple):
    """Sequences in the core's packed layout: time-major rows, sequences by length, longest first.

    The row of step t of sequence b is ``batch_sizes[:t].sum() + b``, so nothing is padded.

    Attributes
    ----------
    x : ndarray [N, I]
        The rows; N is the sum of the lengths.
    batch_sizes : ndarray [T] of int64
        How many sequences are still running at each step; never increases.
    lengths : ndarray [B] of int64
        Number of steps of each sequence, longest first.
    order : ndarray [B] of int64
        Which row of the data each sequence came from: ``targets[batch.order]`` are the targets of the batch.
    static : ndarray [B, n_static] or None
        Static features of each sequence.
    source : Source or None
        What each sequence was made from, of `lstmcore.pairs.Pairs`.
    states : list of ndarray [layers · directions, B, width] or None
        States before the first step; None for zero, or what the static features give.
    edges : ndarray [E, 2] of int64 or None
        Of `Graphs`: the rows of x that each edge leads from and to.
    edge_types : ndarray [E] of int64 or None
        Of typed edges.
    edge_features : ndarray [E, F] or None
        Of edges with features.
    """

    x: np.ndarray
    batch_sizes: np.ndarray
    lengths: np.ndarray
    order: np.ndarray
    static: np.ndarray | None = None
    source: Source | None = None
    states: list[np.ndarray] | None = None
    edges: np.ndarray | None = None
    edge_types: np.ndarray | None = None
    edge_features: np.ndarray | None = None


class Source(NamedTuple):
    """The sequences that those of a batch were made from, a batch themselves.

    Attributes
    ----------
    batch : Batch
        The sources, packed in an order of their own.
    position : ndarray [B] of int64
        Where in it each sequence finds its source.
    """

    batch: Batch
    position: np.ndarray


class Sequences:
    """Sequences of different lengths over one array of values; they may overlap.

    Sequence i is ``values[starts[i] : starts[i] + lengths[i]]``. Sliding windows over a series therefore
    cost two integers each and no copy.

    Parameters
    ----------
    values : ndarray [R, I] of float32 or float64, C-contiguous
        Rows of all sequences.
    starts, lengths : array_like [n] of int
        First row and number of rows of each sequence.
    static : ndarray [n, n_static], optional
        Features that belong to a sequence as a whole.

    Raises
    ------
    ValueError
        If a sequence is empty or reaches outside of `values`; the message names it.
    """

    __slots__ = ("lengths", "starts", "static", "values")
    unit: ClassVar[str] = "sequence"  # what messages call one of these, and one of its rows
    part: ClassVar[str] = "step"

    def __init__(self, values: np.ndarray, starts: Any, lengths: Any, static: np.ndarray | None = None) -> None:
        self.values, self.static = values, static
        self.starts = np.ascontiguousarray(starts, dtype=np.int64)
        self.lengths = np.ascontiguousarray(lengths, dtype=np.int64)
        if values.ndim != 2:
            raise ValueError(f"values must be 2-D [rows, features], got shape {values.shape}")
        if self.starts.ndim != 1 or self.starts.shape != self.lengths.shape:
            raise ValueError(
                f"starts and lengths must be 1-D and alike, got shapes {self.starts.shape} and {self.lengths.shape}"
            )
        outside = (self.lengths < 1) | (self.starts < 0) | (self.starts + self.lengths > len(values))
        if outside.any():
            i = int(np.argmax(outside))
            raise ValueError(
                f"sequence {i} (start {self.starts[i]}, length {self.lengths[i]}) "
                f"must hold at least one of the {len(values)} rows and no other"
            )
        if static is not None and (static.ndim != 2 or len(static) != len(self.starts)):
            raise ValueError(f"static must have shape [{len(self.starts)}, n_static], got {static.shape}")

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: int) -> np.ndarray:
        """The rows [length, I] of sequence i, a view: scikit-learn's splitters take `Sequences` like a list."""
        i = range(len(self))[i]
        return self.values[self.starts[i] : self.starts[i] + self.lengths[i]]

    def __repr__(self) -> str:
        shortest, longest = (int(self.lengths.min()), int(self.lengths.max())) if len(self) else (0, 0)
        return f"{type(self).__name__}(n={len(self)}, features={self.n_features}, lengths {shortest} to {longest})"

    @property
    def n_features(self) -> int:
        """Number of features of a step."""
        return self.values.shape[1]

    def replace(self, values: np.ndarray) -> Sequences:
        """Return the same sequences over other values, row for row."""
        return self if values is self.values else Sequences(values, self.starts, self.lengths, self.static)

    def take(self, indices: Any) -> Sequences:
        """Some of the sequences, sharing the values."""
        static = None if self.static is None else self.static[indices]
        return Sequences(self.values, self.starts[indices], self.lengths[indices], static)

    def joined(self) -> Sequences:
        """Return the same sequences one after another: each row of `values` belongs to one step of one sequence."""
        ends = np.cumsum(self.lengths)
        starts = ends - self.lengths
        if ends[-1] == len(self.values) and np.array_equal(starts, self.starts):
            return self
        rows = np.arange(ends[-1]) + np.repeat(self.starts - starts, self.lengths)
        return Sequences(self.values[rows], starts, self.lengths, self.static)

    def split(self, rows: np.ndarray) -> list[np.ndarray]:
        """Cut an array of rows, sequence after sequence, into one array for each sequence."""
        return np.split(rows, np.cumsum(self.lengths)[:-1])

    def batch(self, indices: np.ndarray) -> Batch:
        """Pack the sequences `indices` [B] into one batch."""
        x, batch_sizes, lengths, order = core.pack_sequences(self.values, self.starts, self.lengths, indices)
        return Batch(x, batch_sizes, lengths, order, None if self.static is None else self.static[order])

    def carry(self, batch: Batch, before: Batch | None, states: list[np.ndarray] | None) -> Batch:
        """Return the batch with the states to start from, given the batch before it and the states this ended with.

        None here: each sequence stands for itself. See `lstmcore.chunks.Chunks`.
        """
        return batch

    def rows(self, batch: Batch) -> np.ndarray:
        """Which row of `values` each row of a batch is: ``row_targets[sequences.rows(batch)]`` are its targets."""
        sizes = batch.batch_sizes
        who = np.arange(len(batch.x)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return self.starts[batch.order[who]] + np.repeat(np.arange(len(sizes)), sizes)

    def minibatches(self, batch_size: int, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        """Split the sequences into batches that hold similar lengths.

        Parameters
        ----------
        batch_size : int
            Sequences of a batch (the last one may hold fewer).
        rng : numpy.random.Generator, optional
            Shuffles: who is in a batch with whom, and the order of the batches. Sequences are sorted by length
            only within pools of 32 batches, so batches stay random. Without it, all are sorted, longest first.

        Returns
        -------
        list of ndarray of int64
            The indices of each batch.
        """
        n = len(self)
        if rng is None:
            return _split(np.argsort(-self.lengths, kind="stable"), batch_size)
        shuffled = rng.permutation(n)
        if n and self.lengths.min() == self.lengths.max():
            return _split(shuffled, batch_size)
        pools = _split(shuffled, 32 * batch_size)
        batches = [
            batch
            for pool in pools
            for batch in _split(pool[np.argsort(-self.lengths[pool], kind="stable")], batch_size)
        ]
        return [batches[i] for i in rng.permutation(len(batches))]


def _split(indices: np.ndarray, size: int) -> list[np.ndarray]:
    """Consecutive pieces of `size` (the last may be shorter)."""
    return [indices[i : i + size] for i in range(0, len(indices), size)]


def as_sequences(
    X: Any,
    name: str = "X",
    n_features: int | None = None,
    dtype: Any = np.float32,
    finite: bool = True,
    kind: type[Sequences] = Sequences,
) -> Sequences:
    """Read what users have as `Sequences`.

    Parameters
    ----------
    X : array_like or Sequences
        A 3-D array (n_sequences, n_timesteps, n_features); a 2-D array (n_sequences, n_timesteps) of one feature;
        or a list of 2-D arrays (n_timesteps, n_features), or of 1-D arrays of one feature, of different lengths.
    name : str
        What messages call it.
    n_features : int, optional
        The number of features that a fitted model needs.
    dtype : dtype or None
        float32 or float64. None: float32 stays as it is, anything else becomes float64.
    finite : bool, default=True
        Refuse NaN and infinity.
    kind : type
        What the rows are for, in whose words messages speak.

    Returns
    -------
    Sequences
        At least one sequence.

    Raises
    ------
    TypeError
        If `X` is sparse or not an array or list of arrays.
    ValueError
        If `X` holds no sequence, a sequence of length 0, another number of features, or NaN or infinity;
        the message names the sequence, step and feature.
    """
    dtype = None if dtype is None else np.dtype(dtype)
    sequences = X if isinstance(X, Sequences) else _read(X, name, dtype, kind)
    sequences = sequences.replace(check.contiguous(sequences.values, dtype or _float_of(sequences.values)))
    if n_features is not None and sequences.n_features != n_features:
        raise ValueError(f"{name} has {sequences.n_features} features a step, but the model expects {n_features}")
    if finite:
        check_finite(sequences, name)
    return sequences


def _float_of(array: np.ndarray) -> np.dtype:
    """The type that keeps an array's numbers as they are."""
    return np.dtype(np.float32 if array.dtype == np.float32 else np.float64)


def _read(X: Any, name: str, dtype: np.dtype | None, kind: type[Sequences]) -> Sequences:
    if hasattr(X, "toarray") and hasattr(X, "nnz"):
        raise TypeError(f"{name} is sparse ({type(X).__name__}); dense data is required, use {name}.toarray()")
    if isinstance(X, (dict, set)) or X is None or np.isscalar(X):
        raise TypeError(f"{name} must be an array or a list of arrays, got {type(X).__name__}")
    if isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1):
        if len(X) and all(np.ndim(row) > 0 for row in X):
            return _read_list(X, name, dtype, kind)
    array = _as_float(X, name, dtype)
    if array.ndim not in (2, 3):
        raise ValueError(
            f"{name} must be a 3-D array (n_sequences, n_timesteps, n_features), a 2-D array "
            f"(n_sequences, n_timesteps) or a list of 2-D arrays; got a {array.ndim}-D array of shape {array.shape}. "
            f"Reshape your data: {name}.reshape(1, -1) is one sequence of one feature"
        )
    if len(array) == 0:
        raise ValueError(
            f"{name}: Found array with 0 sample(s) (shape={array.shape}) while a minimum of 1 is required."
        )
    n, n_steps = array.shape[:2]
    if array.size == 0:
        empty = "step" if n_steps == 0 else "feature"
        raise ValueError(
            f"{name}: every sequence needs at least one {empty}; "
            f"Found array with 0 feature(s) (shape={array.shape}) while a minimum of 1 is required."
        )
    return Sequences(array.reshape(n * n_steps, -1), np.arange(n) * n_steps, np.full(n, n_steps))


def _read_list(rows: Any, name: str, dtype: np.dtype | None, kind: type[Sequences]) -> Sequences:
    """Join a list of 1-D or 2-D arrays of different lengths."""
    parts: list[np.ndarray] = []
    for i, row in enumerate(rows):
        part = _as_float(row, f"{name}[{i}]", dtype)
        if part.ndim not in (1, 2):
            raise ValueError(f"{name}[{i}] must be 2-D (n_timesteps, n_features) or 1-D, got shape {part.shape}")
        part = (
            part.reshape(len(part), -1)
            if part.size
            else part.reshape(len(part), 1 if part.ndim == 1 else part.shape[1])
        )
        if len(part) == 0:
            raise ValueError(f"{name}[{i}] has length 0; every {kind.unit} needs at least one {kind.part}")
        if parts and part.shape[1] != parts[0].shape[1]:
            raise ValueError(
                f"{name}[{i}] has {part.shape[1]} features a {kind.part}, expected {parts[0].shape[1]} as in {name}[0]"
            )
        parts.append(part)
    if parts[0].shape[1] == 0:
        raise ValueError(f"{name}[0] has shape {parts[0].shape}: 0 feature(s), while a minimum of 1 is required.")
    lengths = np.array([len(part) for part in parts])
    return Sequences(np.concatenate(parts), np.cumsum(lengths) - lengths, lengths)


def _as_float(array: Any, name: str, dtype: np.dtype | None) -> np.ndarray:
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array: fill the masked values first, for instance with {name}.filled(0)")
    try:
        array = np.asarray(array)
        if array.dtype.kind in "cMm":
            raise ValueError("Complex data not supported" if array.dtype.kind == "c" else "dates are no numbers")
        return check.contiguous(array, dtype or _float_of(array))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must hold real numbers: {error}") from error


def check_finite(sequences: Sequences, name: str) -> None:
    """Raise ValueError that names the first NaN or infinity of `sequences`."""
    values = sequences.values
    if check.first_nonfinite(values) < 0:
        return
    bad = ~np.isfinite(values).all(axis=1)
    touched = np.concatenate([[0], np.cumsum(bad)])
    hit = touched[sequences.starts + sequences.lengths] > touched[sequences.starts]
    if not hit.any():  # windows may leave rows out
        return
    i = int(np.argmax(hit))
    row = int(np.argmax(bad[sequences.starts[i] :])) + int(sequences.starts[i])
    feature = int(np.argmax(~np.isfinite(values[row])))
    value = values[row, feature]
    found = "NaN" if np.isnan(value) else f"infinity or a value too large for {values.dtype}"
    raise ValueError(
        f"{name} contains {found}: {sequences.unit} {i}, {sequences.part} {row - sequences.starts[i]}, "
        f"feature {feature} is {value}"
    )
