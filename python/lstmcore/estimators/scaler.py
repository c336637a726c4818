"""Scaling of sequences, on its own or in a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from lstmcore import _validation as check
from lstmcore._inputs import Inputs
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array
from lstmcore.estimators._base import _columns
from lstmcore.frames import float_type
from lstmcore.sequences import Sequences, as_sequences


class SequenceScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Scale each feature to zero mean and unit variance over all steps of all sequences.

    What `sklearn.preprocessing.StandardScaler` does for tables. The estimators do it by themselves (``standardize``);
    this is for other models, for a look at the data, and for a scaling that is fitted elsewhere.

    Parameters
    ----------
    with_mean : bool, default=True
        Subtract the mean.
    with_std : bool, default=True
        Divide by the standard deviation; a constant feature is divided by 1.

    Attributes
    ----------
    mean_ : ndarray [n] of float64
        What is subtracted: 0 without `with_mean`.
    scale_ : ndarray [n] of float64
        What is divided by: 1 without `with_std`.
    n_features_in_ : int
        Features of a step; for a 2-D X, its columns, which are time steps.
    feature_names_in_ : ndarray of str
        If X was a data frame with names.

    Notes
    -----
    A 2-D X is time steps of one feature: `mean_` and `scale_` have one entry, the same for all columns.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore
    >>> X = [np.array([[1.0, 50.0], [3.0, 50.0]]), np.array([[5.0, np.nan]])]
    >>> scaler = lstmcore.SequenceScaler().fit(X)
    >>> scaler.mean_
    array([ 3., 50.])
    >>> scaler.transform(X)[1]
    array([[1.22474487,        nan]])
    """

    mean_: Array
    scale_: Array

    def __init__(self, *, with_mean: bool = True, with_std: bool = True) -> None:
        self.with_mean = with_mean
        self.with_std = with_std

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> SequenceScaler:
        """Take mean and standard deviation of each feature.

        Parameters
        ----------
        X : array_like or Sequences
            A 3-D array (n_samples, n_timesteps, n_features); a 2-D array (n_samples, n_timesteps) of one feature; or a
            list of n_samples 2-D arrays (n_timesteps, n_features) of different lengths. NaN is left out.
        y : None
            Not used.
        sample_weight : array_like [n_samples], optional
            How often each sequence counts, none negative: 0 removes it, 2 doubles it.

        Returns
        -------
        SequenceScaler
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described or X holds infinity; the message names it.
        """
        check.flag(self.with_mean, "with_mean")
        check.flag(self.with_std, "with_std")
        sequences = self._read(X, reset=True)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(
                sample_weight, np.empty((len(sequences), 0)), dtype=np.float64, ensure_non_negative=True
            )
        scaler = Inputs.fit(sequences, missing="mask", weights=weights).scaler
        assert scaler is not None
        self.mean_ = scaler.mean if self.with_mean else np.zeros_like(scaler.mean)
        self.scale_ = scaler.scale if self.with_std else np.ones_like(scaler.scale)
        return self

    def transform(self, X: Any) -> Any:
        """Scale sequences.

        Parameters
        ----------
        X : array_like or Sequences
            As in `fit`; sequences may have any length. NaN stays NaN.

        Returns
        -------
        ndarray, list of ndarray or Sequences, as X is
            float32 where X is, else float64.
        """
        return self._apply(X, Standardizer.apply)

    def inverse_transform(self, X: Any) -> Any:
        """Give scaled sequences their own units back.

        Parameters
        ----------
        X
            As in `transform`.

        Returns
        -------
        As in `transform`.
        """
        return self._apply(X, Standardizer.undo)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _read(self, X: Any, reset: bool) -> Sequences:
        """Check X; in ``fit`` (`reset`) note its features, later compare them."""
        validate_data(self, X, reset=reset, skip_check_array=True, ensure_2d=False)  # names alone
        sequences = X if isinstance(X, Sequences) else as_sequences(X, dtype=_dtype(X), finite=False)
        columns = _columns(X)
        if reset:
            self._n_timesteps = columns
            self.n_features_in_ = sequences.n_features if columns is None else columns
        elif columns is not None and self._n_timesteps not in (None, columns):
            raise ValueError(
                f"X has {columns} features, but SequenceScaler is expecting {self._n_timesteps} features as input. "
                f"The columns of a 2-D X are time steps: pass a 3-D array or a list for other lengths"
            )
        elif sequences.n_features != len(self.mean_):
            raise ValueError(f"X has {sequences.n_features} features a step, but fit had {len(self.mean_)}")
        observed = Inputs(sequences.n_features, sequences.values.dtype, fill=np.zeros(sequences.n_features))
        observed.check_finite(sequences)  # all but NaN
        return sequences

    def _apply(self, X: Any, change: Callable[[Standardizer, Array], Array]) -> Any:
        """Apply a method of Standardizer to the rows of X; the answer is what X is."""
        check_is_fitted(self)
        sequences = self._read(X, reset=False)
        values = change(Standardizer(self.mean_, self.scale_), sequences.values).astype(sequences.values.dtype)
        if isinstance(X, Sequences):
            return sequences.replace(values)
        columns = _columns(X)
        if columns is not None:
            return values.reshape(-1, columns)
        if _is_list(X):
            pieces = np.split(values, sequences.starts[1:])
            return [piece.reshape(np.shape(row)) for piece, row in zip(pieces, X, strict=True)]
        return values.reshape(np.shape(X))


def _is_list(X: Any) -> bool:
    """Whether X is a list of sequences, not one array."""
    return isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1)


def _dtype(X: Any) -> np.dtype[Any]:
    """float32 if X is, else float64."""
    return float_type(*(np.asarray(row).dtype for row in X)) if _is_list(X) else float_type(np.asarray(X).dtype)
