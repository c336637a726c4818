"""From the raw rows that users have to the rows that a network sees: checked, scaled, missing values marked, patched.

Fitted once with a model and saved with it; predictions and live streams go through the same code and get the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array
from lstmcore.graphs import Graphs
from lstmcore.sequences import Sequences

MISSING = ("error", "mask")


@dataclass(frozen=True, eq=False)
class Inputs:
    """What happens to raw sequences before the network: checks, then standardizing, then masks, then patches.

    Parameters
    ----------
    n_features : int
        Features F of a raw time point.
    dtype : dtype
        Of the network: float32 or float64. What comes before is computed in float64.
    scaler : Standardizer or None
        Of the F features.
    fill : ndarray [F] or None
        None: every value must be finite. Else NaN marks a missing value, and the network sees a time point as
        [values, observed, elapsed], 3F numbers: the last observed values of the sequence, `fill` (the mean) before the
        first; 1 where a feature was observed and 0 where not; log(1 + the time points since its last earlier
        observation, or since the sequence began).
    patch_size : int
        Time points that are one step of the network. A sequence whose length is no multiple of it is treated as if its
        first time point came more than once, so that the last step is whole.
    n_tokens : int or None
        Features are token numbers, whole numbers in 0..n_tokens − 1, and are left alone.
    static_scaler : Standardizer or None
        Of the static features.
    edge_scaler : Standardizer or None
        Of the features of the edges of `Graphs`.

    Notes
    -----
    The mask is "GRU-Simple" of Che, Purushotham, Cho, Sontag and Liu, "Recurrent neural networks for multivariate time
    series with missing values", Scientific Reports 8 (2018), with the time scaled by log(1 + t).
    """

    n_features: int
    dtype: np.dtype[Any]
    scaler: Standardizer | None = None
    fill: Array | None = None
    patch_size: int = 1
    n_tokens: int | None = None
    static_scaler: Standardizer | None = None
    edge_scaler: Standardizer | None = None

    @classmethod
    def fit(
        cls,
        sequences: Sequences,
        *,
        standardize: bool = True,
        missing: str = "error",
        patch_size: int = 1,
        n_tokens: int | None = None,
        weights: Array | None = None,
        static: Array | None = None,
        dtype: Any = np.float32,
        name: str = "X",
    ) -> Inputs:
        """Take from training data what the options need.

        Parameters
        ----------
        sequences : Sequences
            Raw.
        standardize : bool
            Scale each feature to zero mean and unit variance over its observed values (tokens are left alone). A row
            in two windows counts twice.
        missing : {"error", "mask"}
        patch_size, n_tokens, dtype
            See the class.
        weights : ndarray [n], optional
            How often each sequence counts: 0 removes it, 2 doubles it.
        static : ndarray [n, S], optional
            Static features, standardized likewise.
        name : str
            What messages call `sequences`.

        Raises
        ------
        TypeError, ValueError
            If an option is not as described, or the data are not finite (missing="mask": hold infinity).
        """
        check.flag(standardize, "standardize")
        masked = check.choice(missing, "missing", MISSING) == "mask"
        patch_size = check.integer(patch_size, "patch_size")
        if n_tokens is not None:
            check.integer(n_tokens, "n_tokens")
            if masked or patch_size > 1:
                raise ValueError(
                    f"token numbers need missing='error' and patch_size=1, got {missing!r} and {patch_size}"
                )
        fill = np.zeros(sequences.n_features) if masked else None
        inputs = cls(sequences.n_features, np.dtype(dtype), fill=fill, patch_size=patch_size, n_tokens=n_tokens)
        if static is not None and standardize:
            check.finite(static, "static")
            inputs = replace(inputs, static_scaler=Standardizer.fit(static, weights))
        if n_tokens is not None or not (standardize or masked):
            return inputs
        inputs.check_finite(sequences, name)
        scaler = Standardizer.fit(sequences.values, _row_weights(sequences, weights))
        return replace(inputs, scaler=scaler) if standardize else replace(inputs, fill=scaler.mean)

    @property
    def n_inputs(self) -> int:
        """Features of a step of the network."""
        return self.patch_size * self.n_features * (1 if self.fill is None else 3)

    def check_finite(self, sequences: Sequences, name: str = "X") -> None:
        """Raise ValueError for infinity in raw `sequences`, and NaN unless it marks missing values."""
        self._refuse(sequences, _not_finite(sequences.values, self.fill is not None), name)

    def apply(self, sequences: Sequences, name: str = "X") -> Sequences:
        """Return what the network sees of raw `sequences`; windows stay shared unless there are masks or patches.

        Raises
        ------
        ValueError
            If a value is not as it must be: the message calls the sequences `name`, and gives the sequence, step and
            feature.
        """
        rows, bad = self._points(sequences.values)
        self._refuse(sequences, bad, name)
        if isinstance(sequences, Graphs) and sequences.edge_features is not None:
            edge_features = _scaled(sequences.edge_features, self.edge_scaler, self.dtype)
            check.finite(edge_features, f"edge_features of {name}", sequences.edge_features)
            return sequences.replace(rows, edge_features)
        if self.patch_size == 1 and self.fill is None:
            return sequences.replace(rows)
        lengths = -(-sequences.lengths // self.patch_size) * self.patch_size
        starts = np.cumsum(lengths) - lengths
        point = np.arange(lengths.sum()) - np.repeat(starts + lengths - sequences.lengths, lengths)  # < 0: filled in
        rows = rows[np.repeat(sequences.starts, lengths) + np.maximum(point, 0)]
        if self.fill is not None:
            rows = self.plan().observe(rows, lengths)
        return Sequences(rows.reshape(-1, self.n_inputs), starts // self.patch_size, lengths // self.patch_size)

    def apply_static(self, static: Array, name: str = "static") -> Array:
        """Return static features [n, S] as the network sees them, [n, S] of `dtype`."""
        rows = _scaled(static, self.static_scaler, self.dtype)
        check.finite(rows, name, static)
        return rows

    def plan(self) -> Any:
        """Return the core's form of this, for live streams and for missing values."""
        lists = ([], []) if self.scaler is None else (self.scaler.mean, self.scaler.scale)
        fill: Any = [] if self.fill is None else self.fill
        return core.InputPlan(self.n_features, *lists, fill, self.patch_size, self.n_tokens or 0)

    def step_error(self, rows: Array, place: int, numbers: Array) -> ValueError:
        """Return the error for the value at flat index `place` of raw steps [n, patch_size * F] of streams."""
        i, at = divmod(place, rows.shape[1])
        step, feature = divmod(at, self.n_features)
        return self._error("x", rows[i, at], f"stream {numbers[i]}, step {step}, feature {feature}", True)

    def _points(self, values: Array) -> tuple[Array, Array | None]:
        """Scale raw time points [R, F] to `dtype`; say where they are not as they must be, [R, F] of bool or None."""
        if self.n_tokens is None:
            rows = _scaled(values, self.scaler, self.dtype)
            return rows, _not_finite(rows, self.fill is not None)
        bad = ~((values >= 0) & (values < self.n_tokens) & (values == np.floor(values)))
        return check.contiguous(values, self.dtype), bad if bad.any() else None

    def _refuse(self, sequences: Sequences, bad: Array | None, name: str) -> None:
        """Raise ValueError for the first of the values [R, F] that are `bad` and in a sequence."""
        if bad is None:
            return
        rows = np.logical_or.reduce(bad, axis=1)
        touched = np.concatenate([[0], np.cumsum(rows)])
        hit = touched[sequences.starts + sequences.lengths] > touched[sequences.starts]
        if not hit.any():  # windows may leave rows out
            return
        i = int(np.argmax(hit))
        step = int(np.argmax(rows[sequences.starts[i] :]))
        row = sequences.starts[i] + step
        feature = int(np.argmax(bad[row]))
        where = f"{sequences.unit} {i}, {sequences.part} {step}, feature {feature}"
        raise self._error(name, sequences.values[row, feature], where, sequences.part == "step")

    def _error(self, name: str, value: Any, where: str, maskable: bool) -> ValueError:
        """Return the error for a value that is not as it must be."""
        advice = ""
        if self.n_tokens is not None:
            problem = f"must hold token numbers, whole numbers from 0 to {self.n_tokens - 1}"
        elif np.isnan(value):
            problem = "contains NaN"
            if maskable:
                advice = "; missing='mask' takes NaN for a missing value"
        else:
            problem = f"contains infinity or a value too large for {self.dtype}"
        return ValueError(f"{name} {problem}: {where} is {value}{advice}")

    def to_config(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return {
            "n_features": self.n_features,
            "dtype": self.dtype.name,
            "scaler": self.scaler and self.scaler.to_config(),
            "fill": None if self.fill is None else self.fill.tolist(),
            "patch_size": self.patch_size,
            "n_tokens": self.n_tokens,
            "static_scaler": self.static_scaler and self.static_scaler.to_config(),
            "edge_scaler": self.edge_scaler and self.edge_scaler.to_config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Inputs:
        """Read what `to_config` wrote."""
        scalers = {
            name: config.get(name) and Standardizer.from_config(config[name])
            for name in ("scaler", "static_scaler", "edge_scaler")
        }
        fill = None if config["fill"] is None else np.array(config["fill"], dtype=np.float64)
        return cls(**{**config, **scalers, "dtype": np.dtype(config["dtype"]), "fill": fill})


def _scaled(values: Array, scaler: Standardizer | None, dtype: np.dtype[Any]) -> Array:
    """Return `values` standardized, of `dtype` and C-contiguous."""
    if scaler is not None:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found and named
            values = scaler.apply(values).astype(dtype, copy=False)
    return check.contiguous(values, dtype)


def _row_weights(sequences: Sequences, weights: Array | None) -> Array:
    """How much each row of the values counts [R]: the weights of all sequences that hold it."""
    size, ends = len(sequences.values) + 1, sequences.starts + sequences.lengths
    weights = np.ones(len(sequences)) if weights is None else weights
    used = weights > 0
    held = np.bincount(sequences.starts[used], minlength=size) - np.bincount(ends[used], minlength=size)
    summed = np.bincount(sequences.starts, weights, size) - np.bincount(ends, weights, size)
    return np.where(np.cumsum(held)[:-1] > 0, np.cumsum(summed)[:-1], 0.0)  # no rounding where it must be 0


def _not_finite(values: Array, nan_allowed: bool) -> Array | None:
    """Where `values` hold infinity, or NaN unless it is allowed; None if nowhere."""
    if not nan_allowed and values.flags.c_contiguous and core.first_nonfinite(values) < 0:
        return None
    bad = np.isinf(values) if nan_allowed else ~np.isfinite(values)
    return bad if bad.any() else None
