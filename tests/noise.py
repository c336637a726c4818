"""The masks of recurrent dropout and zoneout in plain NumPy: the hash of include/lstmcore/dropout.hpp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


def mix_bits(z: Array) -> Array:
    """splitmix64 (Steele, Lea & Flood 2014) of unsigned 64-bit integers."""
    with np.errstate(over="ignore"):
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def drawn(p: float, key: Array, shape: tuple[int, ...]) -> Array:
    """Which elements of an array, numbered in C order, are drawn with probability p."""
    numbers = mix_bits(np.arange(np.prod(shape), dtype=np.uint64))
    return (mix_bits(key ^ numbers) < np.array([int(p * 2.0**64)], np.uint64)).reshape(shape)


@dataclass(frozen=True)
class Noise:
    """The noise of one pass over a stack of layers; all sequences must come longest first."""

    recurrent_dropout: float
    zoneout: float
    num_layers: int
    lengths: Array
    seed: int | None  # None: no training

    def _key(self, unit: int, purpose: int) -> Array:
        key = np.array([self.seed], np.uint64) ^ np.array([(self.num_layers + unit) << 32], np.uint64)
        return mix_bits(mix_bits(key) + np.uint64(purpose))

    def mask(self, unit: int, width: int) -> Array | float:
        """What h [B, width] is multiplied with before U."""
        if self.seed is None:
            return 1.0
        p = self.recurrent_dropout
        return np.where(drawn(p, self._key(unit, 0), (len(self.lengths), width)), 0, 1 / (1 - p))

    def kept(self, unit: int, state: int, width: int) -> Array:
        """The share [T, B, width] of its old state that each unit keeps: of h (0) or c (1)."""
        alive = np.arange(self.lengths.max())[:, None] < self.lengths
        share = np.full((*alive.shape, width), self.zoneout)
        if self.seed is not None:
            share[alive] = drawn(self.zoneout, self._key(unit, 1 + state), (int(alive.sum()), width))
        return share
