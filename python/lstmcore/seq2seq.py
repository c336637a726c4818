"""Networks from sequence to sequence: an encoder, attention, and a decoder that reads what it wrote."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._parameters import Layer
from lstmcore._validation import Array
from lstmcore.attention import Attention
from lstmcore.embedding import Embedding
from lstmcore.layers import from_cell
from lstmcore.network import _PREDICT_ROWS, Dense, _Layers
from lstmcore.pairs import Pairs
from lstmcore.sequences import Batch

_LAYERS = ("embedding", "encoder", "initial", "output_embedding", "decoder", "attention", "dense")


@dataclass(frozen=True)
class Seq2SeqConfig:
    """What a `Seq2SeqNetwork` is made of; ready for JSON.

    Attributes
    ----------
    n_outputs : int
        Tokens of the output; number 0 is the boundary, which begins what the decoder reads and ends what it writes.
    embedding_dim : int
        Width of the vectors of tokens.
    decoder : dict
        Arguments of `lstmcore.layers.from_cell` but input_size.
    encoder : dict or None
        Likewise. None: the static features of a sequence alone say what is to be written.
    n_tokens : int or None
        Tokens of the input, if it is tokens.
    n_features : int or None
        Else the features of a step, or the static features of a sequence if there is no encoder.
    attention : {"additive", "dot"} or None
    attention_size : int or None
        See `Attention`.
    dropout : float
        Share of what comes out of embeddings, encoder and attention that is dropped in training.
    dtype : {"float32", "float64"}
    """

    n_outputs: int
    embedding_dim: int
    decoder: dict[str, Any]
    encoder: dict[str, Any] | None = None
    n_tokens: int | None = None
    n_features: int | None = None
    attention: str | None = None
    attention_size: int | None = None
    dropout: float = 0.0
    dtype: str = "float32"


class Seq2SeqNetwork(Layer):
    """An encoder–decoder network (Sutskever et al. 2014; Cho et al. 2014), with attention if wanted.

    The encoder reads a sequence of tokens or features, and a dense layer makes the decoder's initial states of its
    final ones. The decoder reads the boundary and then the tokens written so far; `Attention` joins its outputs with
    what they say of the encoder's steps, and a dense layer gives the logits of the next token. Since attention follows
    the recurrent step (Luong et al. 2015), the decoder reads a known output in one pass over all steps.

    Parameters
    ----------
    config : Seq2SeqConfig
    seed : int, numpy.random.Generator or None, default=None
        Of the parameters.
    """

    pooling = None  # for `lstmcore.training.Trainer`: targets belong to steps

    def __init__(self, config: Seq2SeqConfig, seed: Any = None) -> None:
        self.config, self.dtype, self.dropout = config, check.scalar_type(config.dtype), config.dropout
        self._build(check.generator(seed))

    def _build(self, rng: np.random.Generator | None = None) -> None:
        c, rng = self.config, check.generator(rng)
        options: dict[str, Any] = {"dtype": self.dtype, "seed": rng}
        dim = c.embedding_dim
        self.embedding = None if c.n_tokens is None else Embedding(c.n_tokens, dim, **options)
        self.encoder = None
        if c.encoder is not None:
            self.encoder = from_cell(**c.encoder, input_size=c.n_features or dim, **options)
        self.decoder = from_cell(**c.decoder, input_size=dim, **options)
        known = int(c.n_features or 0) if self.encoder is None else self.encoder.state_size
        self.initial = Dense(known, self.decoder.state_size, **options)
        self.output_embedding = Embedding(c.n_outputs, dim, **options)
        self.attention = None
        width = self.decoder.output_size
        if c.attention is not None and self.encoder is not None:
            memory = self.encoder.output_size
            self.attention = Attention(width, memory, score=c.attention, size=c.attention_size, **options)
        self.dense = Dense(width, c.n_outputs, **options)
        self._core = _Layers(**{name: layer for name in _LAYERS if (layer := getattr(self, name)) is not None})
        self._kept: Any = None  # of the last forward, until its backward
        self._own_parameters()

    def __getstate__(self) -> dict[str, Any]:
        """Return options and parameters."""
        return {name: value for name, value in super().__getstate__().items() if name not in (*_LAYERS, "_kept")}

    @property
    def draws_masks(self) -> bool:
        """Whether `forward` in training depends on its seed."""
        stacks = [stack for stack in (self.encoder, self.decoder) if stack is not None]
        return self.dropout > 0 or any(stack.draws_masks for stack in stacks)

    @property
    def n_outputs(self) -> int:
        """Columns of the output."""
        return self.config.n_outputs

    # ---- training -----------------------------------------------------------------------------------------------

    def forward(self, batch: Batch, *, training: bool = False, seed: int = 0, tbptt_steps: int | None = None) -> Array:
        """Compute the logits [N, n_outputs] of every step, keeping what `backward` needs.

        Parameters
        ----------
        batch : Batch
            Of `lstmcore.pairs.Pairs`; its rows are the tokens [N, 1] that the decoder reads.
        training : bool, default=False
            Switches dropout on.
        seed : int, default=0
            Decides what is dropped.
        tbptt_steps : None
            For the trainer: there is no truncation.
        """
        self._kept = None
        drop = _Dropout(self.dropout if training else 0.0, seed)
        memory: Any = None
        if self.encoder is None:
            flat: Any = batch.static
        else:
            asked, position = _source(batch)
            x = asked.x
            if self.embedding is not None:
                x = drop(self.embedding.forward(x), "embedding")
            memory, finals = self.encoder._core.forward(x, asked.batch_sizes, None, drop.seeds["encoder"], training)
            flat = self.encoder._states.join(finals)[position]
        states = self.decoder._states.split(self.initial.forward(flat))
        x = drop(self.output_embedding.forward(batch.x), "output_embedding")
        h, _ = self.decoder._core.forward(x, batch.batch_sizes, states, drop.seeds["decoder"], training)
        if self.attention is not None:
            drop(memory, "memory")
            h = self.attention.forward(h, batch.batch_sizes, memory, asked.batch_sizes, position).copy()
        logits = self.dense.forward(drop(h, "attention"))
        self._kept = batch, drop
        return logits

    def backward(self, dlogits: Array) -> None:
        """Add the gradients of all parameters, given that of the last `forward`'s logits."""
        if self._kept is None:
            raise RuntimeError("backward needs a forward before it, and each forward allows one backward")
        (batch, drop), self._kept = self._kept, None
        dh, dmemory = drop(self.dense.backward(dlogits), "attention"), None
        if self.attention is not None:
            dh, dmemory = self.attention.backward(dh)
            drop(dmemory, "memory")
        dx, dstates = self.decoder._core.backward(dh, None, True)
        self.output_embedding.backward(drop(dx, "output_embedding"))
        dflat = self.initial.backward(self.decoder._states.join(dstates), need_dx=self.encoder is not None)
        if self.encoder is None or dflat is None:
            return
        dfinals = np.empty_like(dflat)
        dfinals[_source(batch).position] = dflat
        dx, _ = self.encoder._core.backward(dmemory, self.encoder._states.split(dfinals), self.embedding is not None)
        if self.embedding is not None:
            self.embedding.backward(drop(dx, "embedding"))

    # ---- using --------------------------------------------------------------------------------------------------

    def start(self, source: Batch | None, static: Array | None = None) -> Decoding:
        """Encode a batch of sources, or take their static features [B, n_features]: what a decoder starts from."""
        return Decoding(self, source, static)

    def infer(self, batch: Batch) -> tuple[Array, Array | None]:
        """Compute the logits as `forward` without training does, keeping nothing; and the weights of `Attention`."""
        decoding = self.start(None if batch.source is None else batch.source.batch, batch.static)
        if batch.source is not None:
            decoding.select(batch.source.position)
        return decoding.read(batch.x, batch.batch_sizes)

    def predict(self, pairs: Pairs) -> Array:
        """Compute the logits of all steps of known outputs, sequence after sequence."""
        total = int(pairs.lengths.sum())
        outputs = np.empty((total, self.n_outputs), self.dtype)
        starts = np.cumsum(pairs.lengths) - pairs.lengths
        for indices in pairs.minibatches(max(1, _PREDICT_ROWS * len(pairs) // total)):
            batch = pairs.batch(indices)
            logits, _ = self.infer(batch)
            core.unpack_sequences(logits, starts, batch.order, batch.batch_sizes, outputs)
        return outputs

    def _file_config(self) -> dict[str, Any]:
        return asdict(self.config)

    @classmethod
    def _from_file(cls, config: dict[str, Any], tensors: Any, weight_dtype: str | None) -> Seq2SeqNetwork:
        if weight_dtype is not None:
            raise ValueError(f"weight_dtype must be None for a model from sequence to sequence, got {weight_dtype!r}")
        return cls(Seq2SeqConfig(**config), seed=0)


class _Dropout:
    """The masks of one pass: the same for a name in forward and in backward."""

    def __init__(self, share: float, seed: int) -> None:
        self.share = share
        names = ("encoder", "decoder", "embedding", "output_embedding", "memory", "attention")
        self.seeds = dict(
            zip(names, np.random.default_rng(seed).integers(1 << 63, size=len(names)).tolist(), strict=True)
        )

    def __call__(self, values: Any, name: str) -> Any:
        """Drop some of `values`, in place; return them."""
        if self.share:
            core.apply_dropout(values, self.share, self.seeds[name])
        return values


def _source(batch: Batch) -> Any:
    if batch.source is None:
        raise ValueError("the network needs a batch of pairs with a source, got one without")
    return batch.source


class Decoding:
    """Sequences that are being written: the decoder's states, and the memory that it looks at.

    Parameters
    ----------
    network : Seq2SeqNetwork
    source : Batch or None
        What the encoder reads.
    static : ndarray [B, n_features] or None
        In place of it.
    """

    def __init__(self, network: Seq2SeqNetwork, source: Batch | None, static: Array | None) -> None:
        self.network = network
        if network.encoder is None:
            flat: Any = static
        else:
            assert source is not None
            x = source.x if network.embedding is None else network.embedding(source.x)
            wants_memory = network.attention is not None
            self.memory: Any
            self.memory, finals = network.encoder._core.infer(x, source.batch_sizes, None, wants_memory)
            self.memory_sizes = source.batch_sizes
            if network.attention is not None:
                self.keys = network.attention.keys(self.memory)
            flat = network.encoder._states.join(finals)
        self.states = network.decoder._states.split(network.initial(flat))
        self.position = np.arange(len(flat))

    def select(self, rows: Array) -> None:
        """Go on with these sequences, of which one may come more than once."""
        self.states = [state.take(rows, axis=1) for state in self.states]
        self.position = self.position[rows]

    def read(self, tokens: Array, batch_sizes: Array) -> tuple[Array, Array | None]:
        """Read packed tokens [N, 1]; return the logits of what follows each [N, n_outputs], and attention's weights."""
        network, weights = self.network, None
        x = network.output_embedding(tokens)
        h, self.states = network.decoder._core.infer(x, batch_sizes, self.states, True)
        if network.attention is not None:
            h, weights = network.attention.look(
                h, batch_sizes, self.keys, self.memory, self.memory_sizes, self.position
            )
        return network.dense(h), weights

    def step(self, tokens: Array) -> Array:
        """Read one token of each sequence, [B] of int; return the logits of the next [B, n_outputs]."""
        rows = tokens[:, None].astype(self.network.dtype)
        return self.read(rows, np.array([len(rows)], np.int64))[0]
