"""Layers in a row over one flat parameter vector and one flat gradient vector."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._parameters import Layer, Parameterized
from lstmcore._passes import Job, Pass, Readout, make_pass
from lstmcore._recurrent import Recurrent
from lstmcore._validation import Array
from lstmcore.embedding import Embedding
from lstmcore.pooling import POOLINGS as _OVER_TIME
from lstmcore.pooling import Pooling
from lstmcore.sequences import Batch, Sequences, as_sequences

if TYPE_CHECKING:
    from lstmcore.streaming import NetworkSession

_HEAD = 1 << 62  # sets the mask of the head apart from those of the layers
POOLINGS = ("last", *_OVER_TIME)
_PREDICT_ROWS = 1 << 15  # of one inference batch: enough for the kernels and all threads, small enough for the caches


class Dense(Layer):
    """y = x Wᵀ + b, as ``torch.nn.Linear``.

    Parameters
    ----------
    in_features, out_features : int
        Columns of x and of y.
    bias : bool, default=True
        Whether there is a b.
    dtype : {"float32", "float64"}, default="float32"
        Type of parameters and outputs.
    seed : int, numpy.random.Generator or None, default=None
        Weights and biases start from U(−1/√in_features, 1/√in_features), as in PyTorch.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = "float32", seed: Any = None
    ) -> None:
        self.in_features = check.integer(in_features, "in_features")
        self.out_features = check.integer(out_features, "out_features")
        self.bias = check.flag(bias, "bias")
        self.dtype = check.scalar_type(dtype)
        self._build()
        bound = 1.0 / math.sqrt(self.in_features)
        self.flat_parameters[...] = check.generator(seed).uniform(-bound, bound, self.n_parameters)
        self.parameters_changed()

    def _build(self) -> None:
        kind = core.DenseF32 if self.dtype == np.float32 else core.DenseF64
        self._core = kind(self.in_features, self.out_features, self.bias)
        self._own_parameters()

    def __call__(self, x: Array) -> Array:
        """[N, in_features] to [N, out_features], C-contiguous arrays of the layer's dtype; nothing is kept."""
        return self._core.infer(x)

    def forward(self, x: Array) -> Array:
        """Compute the same, keeping what `backward` needs."""
        return self._core.forward(x)

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Add into the gradients, given that of y [N, out_features]; return the gradient of x [N, in_features]."""
        return self._core.backward(dy, need_dx)


class _Layers:
    """Layers of a network behind the interface that one object of the core has."""

    def __init__(self, **layers: Parameterized) -> None:
        self.layers = layers
        self.n_parameters = sum(layer.n_parameters for layer in layers.values())

    def parameter_table(self) -> list[tuple[str, tuple[int, ...], int]]:
        table, start = [], 0
        for prefix, layer in self.layers.items():
            table += [(f"{prefix}.{name}", shape, start + offset) for name, shape, offset in layer.parameter_table()]
            start += layer.n_parameters
        return table

    def bind(self, parameters: Array, gradients: Array) -> None:
        start = 0
        for layer in self.layers.values():
            part = slice(start, start + layer.n_parameters)
            layer.bind(parameters[part], gradients[part])
            start += layer.n_parameters

    def parameters_changed(self) -> None:
        for layer in self.layers.values():
            layer.parameters_changed()


class Network(Parameterized):
    """A recurrent stack, pooling over the steps of a sequence, and a dense head.

    Parameters
    ----------
    recurrent : lstmcore.layers.Recurrent
        `LSTM`, `GRU`, `RNN` or any cell of `from_cell`. It moves into this network's vectors, as the other layers do.
    pooling : {"last", "mean", "max", "attention"}, Pooling or None
        What the head sees: the last hidden state of the top layer (of both directions, joined), a pooling of its
        outputs over the steps, or, with None, every step.
    dense : Dense
        Takes ``recurrent.output_size`` features.
    embedding : Embedding, optional
        Stands before the recurrent layers: the rows of a batch are then token numbers [N, 1].
    dropout : float, default=0.0
        Share of what the head sees that `forward` in training drops.
    initial : Dense, optional
        Gives the initial states of all layers from the static features of a sequence, with ``recurrent.state_size``
        outputs: the states one after another, each [layers · directions, width].

    Attributes
    ----------
    flat_parameters, flat_gradients : ndarray [n_parameters]
        Of all layers; call `parameters_changed` after writing to the parameters.
    parameters, gradients : dict of str to ndarray
        Views of them, named "recurrent.weight_ih_l0" … "dense.bias".
    pooling : str or None
        Which pooling.
    final_states : list of ndarray [layers · directions, B, width] or None
        States after the last step of the last `forward`; None if it was cut by `tbptt_steps`.
    """

    def __init__(
        self,
        recurrent: Recurrent,
        pooling: str | Pooling | None,
        dense: Dense,
        *,
        dropout: float = 0.0,
        embedding: Embedding | None = None,
        initial: Dense | None = None,
    ) -> None:
        self.pooling = pooling.kind if isinstance(pooling, Pooling) else pooling
        if pooling is not None:
            check.choice(self.pooling, "pooling", POOLINGS)
        if self.pooling in _OVER_TIME and not isinstance(pooling, Pooling):
            pooling = Pooling(str(pooling), recurrent.output_size, dtype=recurrent.dtype)
        layers = {
            "embedding": embedding,
            "initial": initial,
            "recurrent": recurrent,
            "pooling": pooling,
            "dense": dense,
        }
        self.layers = {name: layer for name, layer in layers.items() if isinstance(layer, Parameterized)}
        _check_widths(self.layers)
        self.recurrent, self.dense, self.embedding, self.initial = recurrent, dense, embedding, initial
        self.dtype, self.dropout = dense.dtype, check.fraction(dropout, "dropout")
        self._readout = Readout(self.pooling, pooling if isinstance(pooling, Pooling) else None, recurrent)
        self._core = _Layers(**self.layers)
        self._pass: Pass | None = None  # the last forward, until its backward
        self._dropped: int | None = None  # the key of what it dropped
        self.final_states: list[Array] | None = None
        self._own_parameters()

    def __repr__(self) -> str:
        """Return the recurrent layers, what is read of them, and the number of outputs."""
        return f"{type(self).__name__}({self.recurrent!r}, pooling={self.pooling!r}, outputs={self.n_outputs})"

    @property
    def draws_masks(self) -> bool:
        """Whether `forward` in training depends on its seed."""
        return self.dropout > 0 or self.recurrent.draws_masks

    @property
    def n_features(self) -> int:
        """Features of a step: one, its token, where there is an embedding."""
        return 1 if self.embedding is not None else self.recurrent.input_size

    @property
    def n_static(self) -> int:
        """Static features of a sequence."""
        return 0 if self.initial is None else self.initial.in_features

    @property
    def n_outputs(self) -> int:
        """Columns of the output."""
        return self.dense.out_features

    def forward(self, batch: Batch, *, training: bool = False, seed: int = 0, tbptt_steps: int | None = None) -> Array:
        """Compute the outputs of a batch, keeping what `backward` needs.

        Parameters
        ----------
        batch : Batch
            As from `Sequences.batch`; its arrays are kept until `backward`.
        training : bool, default=False
            Switches dropout on.
        seed : int, default=0
            Decides what is dropped.
        tbptt_steps : int or None, default=None
            Truncated back-propagation: `backward` will go back this many steps only. With pooling "last" they are the
            last steps of each sequence; else sequences are cut into chunks of this many steps, and the state is
            carried from chunk to chunk but the gradient is not. None: all steps.

        Returns
        -------
        ndarray [B, n_outputs], or [N, n_outputs] of the packed rows with pooling None
        """
        self._pass = None
        states = batch.states
        if self.embedding is not None:
            batch = batch._replace(x=self.embedding.forward(batch.x))
        if self.initial is not None:
            states = self.recurrent._states.split(self.initial.forward(_given(batch.static)))
        done = make_pass(Job(self.recurrent, self._readout, batch, states, training, seed), tbptt_steps)
        features = done.forward()
        self._dropped = seed | _HEAD if training and self.dropout else None
        self._drop(features)
        output = self.dense.forward(features)
        self._pass, self.final_states = done, None if done.final is None else list(done.final)
        return output

    def backward(self, doutput: Array) -> None:
        """Add the gradients of all parameters, given that of the last `forward`'s output."""
        if self._pass is None:
            raise RuntimeError("backward needs a forward before it, and each forward allows one backward")
        done, self._pass = self._pass, None
        dfeatures = self.dense.backward(doutput)
        assert dfeatures is not None
        self._drop(dfeatures)
        trains_embedding = self.embedding is not None and self.embedding.trainable
        dx, dstates = done.backward(dfeatures, trains_embedding)
        if self.initial is not None:
            self.initial.backward(self.recurrent._states.join(dstates), need_dx=False)
        if self.embedding is not None and dx is not None:
            self.embedding.backward(dx)

    def _drop(self, features: Array) -> None:
        if self._dropped is not None:
            core.apply_dropout(features, self.dropout, self._dropped)

    def infer(self, batch: Batch) -> Array:
        """Compute the outputs of a batch as `forward` without training does, keeping nothing."""
        return self.infer_states(batch)[0]

    def infer_states(self, batch: Batch) -> tuple[Array, list[Array]]:
        """Compute the outputs of a batch as `infer` does, and the states after the last step of each sequence."""
        x = batch.x if self.embedding is None else self.embedding(batch.x)
        states = batch.states if self.initial is None else self.initial_states(batch.static)
        y, final = self.recurrent._core.infer(x, batch.batch_sizes, states, self._readout.wants_y)
        return self.dense(self._readout.infer(y, final, batch.batch_sizes)), list(final)

    def outputs(self, sequences: Sequences, batch_size: int) -> Iterator[tuple[Batch, Array]]:
        """Compute batch after batch: sequences that go on where others ended get their states, see `Chunks`."""
        before, states = None, None
        for indices in sequences.minibatches(batch_size):
            batch = sequences.carry(sequences.batch(indices), before, states)
            output, states = self.infer_states(batch)
            before = batch
            yield batch, output

    def check(self, sequences: Sequences, name: str = "X") -> None:
        """Raise TypeError or ValueError unless this network takes such sequences, as it does here."""

    def predict(self, X: Any) -> Array:
        """Compute the outputs of sequences, in batches of similar lengths.

        Parameters
        ----------
        X : array_like or Sequences
            A 3-D array, a 2-D array of one feature or of tokens, a list of 2-D arrays, or `Sequences`.

        Returns
        -------
        ndarray [n, n_outputs], or [sum of lengths, n_outputs], sequence after sequence, with pooling None

        Raises
        ------
        TypeError, ValueError
            If `X` is not that, has another number of features, or is not finite.
        """
        sequences = as_sequences(X, "X", self.n_features, self.dtype)
        lengths = sequences.lengths
        size = max(1, _PREDICT_ROWS * len(lengths) // int(lengths.sum()))
        rows = len(lengths) if self.pooling is not None else int(lengths.sum())
        outputs = np.empty((rows, self.n_outputs), self.dtype)
        starts = np.cumsum(lengths) - lengths
        for batch, output in self.outputs(sequences, size):
            if self.pooling is not None:
                outputs[batch.order] = output
            else:
                core.unpack_sequences(output, starts, batch.order, batch.batch_sizes, outputs)
        return outputs

    def session(self, n_streams: int = 1, static: Array | None = None) -> NetworkSession:
        """Live states of `n_streams` sequences, advanced one step at a time."""
        from lstmcore.streaming import NetworkSession

        return NetworkSession(self, n_streams, static)

    def check_steps(self) -> None:
        """Raise TypeError or ValueError unless this network can go step by step."""
        if self.recurrent.bidirectional:
            raise ValueError(
                "a session needs bidirectional=False: the second direction starts at the end of a sequence"
            )

    def initial_states(self, static: Array | None) -> list[Array] | None:
        """States [layers · directions, B, width] before the first step, from static features [B, n_static]."""
        return None if self.initial is None else self.recurrent._states.split(self.initial(_given(static)))

    def _file_config(self) -> dict[str, Any]:
        return import_module("lstmcore.model_file").network_config(self)

    def _file_tensors(self) -> dict[str, Array]:
        """All parameters, and the vectors of an embedding that is not trained."""
        given = {} if self.embedding is None else {"embedding.weight": self.embedding.weight}
        return {**self.parameters, **given}

    @classmethod
    def _from_file(cls, config: dict[str, Any], tensors: Any, weight_dtype: str | None) -> Any:
        return import_module("lstmcore.model_file").build_network(config, tensors, weight_dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as the layers, which carry the parameters."""
        return _from_layers, (self.layers, self.pooling, self.dropout)


def _from_layers(layers: dict[str, Any], pooling: str | None, dropout: float) -> Network:
    return Network(**{"pooling": pooling, "dropout": dropout, **layers})


def _given(static: Array | None) -> Array:
    if static is None:
        raise ValueError("the network needs static features, got None")
    return static


def _check_widths(layers: dict[str, Any]) -> None:
    """Raise ValueError unless each layer takes what the one before it gives, all in one dtype."""
    recurrent = layers["recurrent"]
    for name, attribute, verb, source in (
        ("dense", "in_features", "take", "output_size"),
        ("embedding", "dim", "give", "input_size"),
        ("initial", "out_features", "give", "state_size"),
    ):
        if name in layers and (found := getattr(layers[name], attribute)) != (width := getattr(recurrent, source)):
            raise ValueError(
                f"{name} must {verb} {width} features, the {source} of recurrent; its {attribute} is {found}"
            )
    for name, layer in layers.items():
        if layer.dtype != recurrent.dtype:
            raise ValueError(f"{name} must be {recurrent.dtype} as recurrent is, got {layer.dtype}")
