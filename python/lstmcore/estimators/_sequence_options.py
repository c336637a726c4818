"""What estimators that learn from many sequences can be told, and the parts made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._inputs import Inputs
from lstmcore._validation import Array
from lstmcore.embedding import Embedding
from lstmcore.estimators._options import CELL_ALIASES, NetworkOptions, TrainingOptions
from lstmcore.layers import from_cell
from lstmcore.network import POOLINGS, Dense, Network
from lstmcore.pooling import Pooling
from lstmcore.sequences import Sequences


@dataclass(kw_only=True, eq=False, repr=False)
class InputOptions:
    """What the network is shown.

    Parameters
    ----------
    standardize : bool, default=True
        Bring each feature to mean zero and variance one, as in the training data.
    embedding_dim : int or None, default=None
        X holds token numbers 0, 1, 2 …, and each token gets a vector of this width, which is learnt.
    embedding_vectors : array_like [n_tokens, width] or None, default=None
        Vectors that the tokens start with.
    freeze_embedding : bool, default=False
        Leave the vectors as they are given.
    n_tokens : int or None, default=None
        How many tokens there are. None: as many as there are vectors, or one more than the largest number in ``fit``.
    """

    standardize: bool = True
    embedding_dim: int | None = None
    embedding_vectors: Any = None
    freeze_embedding: bool = False
    n_tokens: int | None = None

    @property
    def _embedded(self) -> bool:
        return self.embedding_dim is not None or self.embedding_vectors is not None

    def _check_input_options(self) -> None:
        for name in ("standardize", "freeze_embedding"):
            check.flag(getattr(self, name), name)
        for name in ("embedding_dim", "n_tokens"):
            if getattr(self, name) is not None:
                check.integer(getattr(self, name), name)
        for name, value, plain in (
            ("n_tokens", self.n_tokens, None),
            ("freeze_embedding", self.freeze_embedding, False),
        ):
            if value != plain and not self._embedded:
                raise ValueError(f"{name} must be {plain} without embedding_dim or embedding_vectors, got {value!r}")

    def _embedding(self, sequences: Sequences, rng: np.random.Generator) -> Embedding | None:
        """Make the embedding, if there is to be one, for the tokens of these sequences."""
        vectors = self._embedding_vectors()
        if vectors is None and self.embedding_dim is None:
            return None
        n_tokens = self.n_tokens or int(sequences.values.max(initial=0)) + 1
        n_tokens, dim = (n_tokens, self.embedding_dim) if vectors is None else vectors.shape
        return Embedding(n_tokens, int(dim or 0), vectors=vectors, trainable=not self.freeze_embedding, seed=rng)

    def _embedding_vectors(self) -> Array | None:
        if self.embedding_vectors is None:
            return None
        vectors = np.asarray(check.shaped(self.embedding_vectors, "embedding_vectors", "[n_tokens, width]"), np.float32)
        check.finite(np.ascontiguousarray(vectors), "embedding_vectors")
        for name, found in (("n_tokens", len(vectors)), ("embedding_dim", vectors.shape[1])):
            if getattr(self, name) not in (None, found):
                raise ValueError(
                    f"{name} must be {found} or None, as embedding_vectors says, got {getattr(self, name)!r}"
                )
        return vectors


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceOptions(InputOptions, NetworkOptions, TrainingOptions):
    """Options of the estimators that learn from many sequences.

    Parameters
    ----------
    bidirectional : bool, default=False
        Read each sequence from both ends.
    missing : {"error", "mask"}, default="error"
        "mask": NaN is a missing value; the network sees the last observed value, whether it is observed, and how long
        ago it was (GRU-Simple of Che et al. 2018).
    tbptt_steps : int or None, default=None
        Truncated back-propagation: how many steps gradients flow back. With pooling "last" through the last so many
        steps of each sequence; else to the start of each chunk of so many steps, while the state is carried on. None:
        through all.
    """

    bidirectional: bool = False
    missing: str = "error"
    tbptt_steps: int | None = None

    def _check_options(self) -> None:
        NetworkOptions._check_options(self)
        TrainingOptions._check_options(self)
        if self._pooling is not None:
            check.choice(self._pooling, "pooling", POOLINGS)
        check.integer(self._patch_size, "patch_size")
        check.choice(self.missing, "missing", ("error", "mask"))
        check.flag(self.bidirectional, "bidirectional")
        self._check_input_options()
        if self.bidirectional and self.tbptt_steps is not None:
            raise ValueError(f"tbptt_steps must be None with bidirectional=True, got {self.tbptt_steps!r}")
        if self._embedded and (self._patch_size != 1 or self.missing != "error"):
            raise ValueError(
                f"token numbers need patch_size=1 and missing='error', "
                f"got patch_size={self._patch_size!r} and missing={self.missing!r}"
            )

    @property
    def _pooling(self) -> str | None:
        return getattr(self, "pooling", None)

    @property
    def _patch_size(self) -> int:
        return getattr(self, "patch_size", 1)

    def _parts(
        self, sequences: Sequences, weights: Array | None, n_outputs: int, rng: np.random.Generator
    ) -> tuple[Inputs, Network]:
        """Make what prepares the sequences, and the network."""
        embedding = self._embedding(sequences, rng)
        inputs = Inputs.fit(
            sequences,
            standardize=self.standardize,
            missing=self.missing,
            patch_size=self._patch_size,
            n_tokens=None if embedding is None else embedding.n_tokens,
            weights=weights,
            static=sequences.static,
        )
        recurrent = from_cell(
            str(CELL_ALIASES.get(self.cell, self.cell)),
            inputs.n_inputs if embedding is None else embedding.dim,
            self.hidden_size,
            bidirectional=self.bidirectional,
            **self._recurrent_options(),
            seed=rng,
        )
        dense = Dense(recurrent.output_size, n_outputs, seed=rng)
        pooling: Any = self._pooling
        if pooling is not None and pooling != "last":
            pooling = Pooling(pooling, recurrent.output_size)
        initial = None
        if sequences.static is not None:
            initial = Dense(sequences.static.shape[1], recurrent.state_size, seed=rng)
        options: dict[str, Any] = {"dropout": self.dropout, "embedding": embedding, "initial": initial}
        return inputs, Network(recurrent, pooling, dense, **options)
