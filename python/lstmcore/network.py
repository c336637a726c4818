"""Layers in a row over one flat parameter vector and one flat gradient vector."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._isa import core
from lstmcore._parameters import Parameterized
from lstmcore._passes import Job, Pass, make_pass, pooled
from lstmcore._recurrent import Recurrent
from lstmcore._validation import Array
from lstmcore.sequences import Batch, Sequences

POOLINGS = ("last", "mean")
_PREDICT_ROWS = 1 << 15  # of one inference batch: enough for the kernels and all threads, small enough for the caches


class Dense(Parameterized):
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

    def __getstate__(self) -> dict[str, Any]:
        """Return sizes and parameters; gradients are not carried along."""
        made = ("_core", "flat_gradients", "parameters", "gradients")
        return {name: value for name, value in self.__dict__.items() if name not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the layer anew, on vectors of its own."""
        self.__dict__.update(state)
        values = self.flat_parameters
        self._build()
        self.flat_parameters[...] = values
        self.parameters_changed()


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
        `LSTM`, `GRU`, `RNN` or any cell of `from_cell`. It moves into this network's vectors.
    pooling : {"last", "mean"} or None
        What the head sees: the last hidden state of the top layer (of both directions, joined), the mean of its outputs
        over the steps, or, with None, every step.
    dense : Dense
        Takes ``recurrent.output_size`` features.

    Attributes
    ----------
    flat_parameters, flat_gradients : ndarray [n_parameters]
        Of both layers; call `parameters_changed` after writing to the parameters.
    parameters, gradients : dict of str to ndarray
        Views of them, named "recurrent.weight_ih_l0" … "dense.bias".
    """

    def __init__(self, recurrent: Recurrent, pooling: str | None, dense: Dense) -> None:
        if pooling is not None:
            check.choice(pooling, "pooling", POOLINGS)
        if dense.in_features != recurrent.output_size:
            raise ValueError(
                f"dense must take {recurrent.output_size} features, the width of recurrent; "
                f"its in_features is {dense.in_features}"
            )
        if dense.dtype != recurrent.dtype:
            raise ValueError(f"dense must be {recurrent.dtype} as recurrent is, got {dense.dtype}")
        self.recurrent, self.pooling, self.dense = recurrent, pooling, dense
        self.dtype = dense.dtype
        self._core = _Layers(recurrent=recurrent, dense=dense)
        self._pass: Pass | None = None  # the last forward, until its backward
        self._own_parameters()

    @property
    def n_features(self) -> int:
        """Features of a step."""
        return self.recurrent.input_size

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
            Switches dropout on; `seed` decides what is dropped.
        tbptt_steps : int or None, default=None
            Truncated back-propagation: `backward` will go back this many steps only. With pooling "last" they are the
            last steps of each sequence; else sequences are cut into chunks of this many steps, and the state is
            carried from chunk to chunk but the gradient is not. None: all steps.

        Returns
        -------
        ndarray [B, n_outputs], or [N, n_outputs] of the packed rows with pooling None
        """
        self._pass = None
        done = make_pass(Job(self.recurrent, self.pooling, batch, training, seed), tbptt_steps)
        output = self.dense._core.forward(done.forward())
        self._pass = done
        return output

    def backward(self, doutput: Array) -> None:
        """Add the gradients of all parameters, given that of the last `forward`'s output."""
        if self._pass is None:
            raise RuntimeError("backward needs a forward before it, and each forward allows one backward")
        done, self._pass = self._pass, None
        done.backward(self.dense._core.backward(doutput, True))

    def infer(self, batch: Batch) -> Array:
        """Compute the outputs of a batch as `forward` without training does, keeping nothing."""
        y, states = self.recurrent._core.infer(batch.x, batch.batch_sizes, None, self.pooling != "last")
        directions = 2 if self.recurrent.bidirectional else 1
        return self.dense._core.infer(pooled(self.pooling, y, states, batch.batch_sizes, directions))

    def predict(self, sequences: Sequences) -> Array:
        """Compute the outputs of sequences, in batches of similar lengths.

        Returns
        -------
        ndarray [n, n_outputs], or [sum of lengths, n_outputs], sequence after sequence, with pooling None
        """
        lengths = sequences.lengths
        size = max(1, _PREDICT_ROWS * len(lengths) // int(lengths.sum()))
        rows = len(lengths) if self.pooling is not None else int(lengths.sum())
        outputs = np.empty((rows, self.n_outputs), self.dtype)
        starts = np.cumsum(lengths) - lengths
        for indices in sequences.minibatches(size):
            batch = sequences.batch(indices)
            if self.pooling is not None:
                outputs[batch.order] = self.infer(batch)
            else:
                core.unpack_sequences(self.infer(batch), starts, batch.order, batch.batch_sizes, outputs)
        return outputs

    def session(self, n_streams: int = 1) -> NetworkSession:
        """Live states of `n_streams` sequences, advanced one step at a time."""
        return NetworkSession(self, n_streams)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as the layers, which carry the parameters."""
        return Network, (self.recurrent, self.pooling, self.dense)


class NetworkSession:
    """The states of live sequences: ``step`` gives the bits that `Network.predict` gives for the steps so far.

    Parameters
    ----------
    network : Network
        Not bidirectional.
    n_streams : int, default=1
        Sequences that advance together.

    Attributes
    ----------
    n_steps : ndarray [n_streams] of int64
        Steps of each stream since it was reset.
    """

    def __init__(self, network: Network, n_streams: int = 1) -> None:
        recurrent = network.recurrent
        if recurrent.bidirectional:
            raise ValueError(
                "a session needs bidirectional=False: the second direction starts at the end of a sequence"
            )
        self.network = network
        self.n_streams = check.integer(n_streams, "n_streams")
        self._step, self._dense = recurrent._core.step, network.dense._core.infer
        self._mean = network.pooling == "mean"
        self.reset()

    def reset(self, streams: Any = None) -> None:
        """Start streams anew: those of an index, slice or mask; default: all."""
        dtype = self.network.dtype
        if streams is None:
            self._states: list[Array] = self.network.recurrent._states.zeros(self.n_streams)
            self._sum = np.zeros((self.n_streams, self.network.recurrent.output_size), dtype)
            self.n_steps = np.zeros(self.n_streams, np.int64)
            return
        for state in self._states:
            state[:, streams] = 0
        self._sum[streams] = 0
        self.n_steps[streams] = 0

    @property
    def states(self) -> list[Array]:
        """One array [num_layers, n_streams, width] of each of the cell's states, such as h and c; may be assigned."""
        return self._states

    @states.setter
    def states(self, states: Any) -> None:
        shapes = [state.shape for state in self._states]
        if len(states) != len(shapes):
            raise ValueError(f"states must hold {len(shapes)} arrays, got {len(states)}")
        axes = "[num_layers, n_streams, width]"
        arrays = [check.exact_shape(s, f"states[{i}]", shapes[i], axes) for i, s in enumerate(states)]
        self._states = [np.array(array, dtype=self.network.dtype, order="C") for array in arrays]

    def step(self, x: Array) -> Array:
        """Advance by one step x [n_streams, I], contiguous, of the network's dtype; return [n_streams, n_outputs]."""
        y, self._states = self._step(x, self._states)
        self.n_steps += 1
        if self._mean:
            self._sum += y
            y = self._sum / self.n_steps[:, None].astype(y.dtype)
        return self._dense(y)
