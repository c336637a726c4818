"""A network that learns from one stream, row by row: the core's learner with its network and optimizer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from lstmcore._isa import core
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array
from lstmcore.layers import from_cell
from lstmcore.network import Dense, Network
from lstmcore.optimizers import Optimizer


class OnlineLearner:
    """One recurrent layer, a dense head and running scales; what it is asked to learn, it learns at once.

    Parameters
    ----------
    cell : str
    input_size, hidden_size, n_outputs : int
    loss : {"squared", "absolute", "huber", "cross_entropy"}
    rng : numpy.random.Generator
        Source of the initial parameters.
    full : bool
        All of the influence matrix, or SnAp-1.
    huber_delta : float
    standardize : bool
    window : int or None
        Rows over which the running scales are taken, None for all.
    """

    optimizer: Optimizer  # of `network`, set by the owner

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        n_outputs: int,
        loss: str,
        rng: np.random.Generator,
        *,
        full: bool,
        huber_delta: float,
        standardize: bool,
        window: int | None,
    ) -> None:
        dense = Dense(hidden_size, n_outputs, seed=rng)
        self.network = Network(from_cell(cell, input_size, hidden_size, seed=rng), "last", dense)
        self.standardize = standardize
        self._options = (cell, input_size, hidden_size, n_outputs, full, loss, huber_delta, standardize, window or 0)
        self._build()

    def _build(self) -> None:
        self._core = core.OnlineF32(*self._options)
        self._core.bind(self.network.flat_parameters, self.network.flat_gradients)

    def learn(
        self, x: Array, y: Array, learning_rate: float, clip_norm: float | None, want_predictions: bool = False
    ) -> tuple[int, Array | None]:
        """Learn rows x [N, I] with their targets y [N, n_targets], float64, one by one; a NaN target is not learnt.

        Returns the rows done, fewer than N if the output has stopped being finite, and if wanted what was predicted
        for each row before it was learnt [N, n_outputs].
        """
        return self._core.learn(x, y, self.optimizer._core, learning_rate, clip_norm or 0.0, want_predictions)

    def predict(self, x: Array) -> Array:
        """Predictions [N, n_outputs] for the next rows x [N, I] of the stream, which stays where it is."""
        return self._core.predict(x)

    def reset(self) -> None:
        """Begin a new sequence."""
        self._core.reset()

    @property
    def feature_scaler(self) -> Standardizer | None:
        """The scales of x as they are now."""
        return Standardizer(*map(np.array, self._core.feature_scales)) if self.standardize else None

    @property
    def target_scaler(self) -> Standardizer:
        """The scales of y as they are now."""
        return Standardizer(*map(np.array, self._core.target_scales))

    def network_now(self) -> Network:
        """Return a copy of the network."""
        return copy.deepcopy(self.network)

    def __getstate__(self) -> dict[str, Any]:
        """Return network, optimizer, scales, and where the stream is."""
        return {**self.__dict__, "_core": self._core.snapshot()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on from there, with the same bits."""
        self.__dict__.update(state)
        self._build()
        self._core.restore(state["_core"])
