"""Sessions: live streams of a model, of which each call advances some by one step.

The core holds the states and does a step in one call, from raw values to outputs (``include/lstmcore/stream.hpp``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lstmcore import _validation as check
from lstmcore._inputs import Inputs
from lstmcore._isa import core
from lstmcore._live_streams import LiveStreams
from lstmcore._validation import Array

if TYPE_CHECKING:
    from lstmcore._standardizer import Standardizer
    from lstmcore.model import SequenceModel
    from lstmcore.network import Network

ANSWERS = ("outputs", "largest", "rescaled")  # what the core makes of outputs, by number
_Network = TypeVar("_Network", bound="NetworkSession")


class NetworkSession(LiveStreams):
    """Live streams of a network: ``step`` gives the bits that `Network.predict` gives for the steps so far.

    Parameters
    ----------
    network : Network
        Not bidirectional.
    n_streams : int, default=1
        Streams that the session has room for.
    static : ndarray [n_streams, n_static], optional
        Static features of each stream as the network sees them, if it takes some; see `reset` to change them.
    inputs : Inputs, optional
        What happens to raw values before the network; default: nothing.
    scaler : Standardizer, optional
        Gives outputs their units back, for the answer "rescaled".
    answer : {"outputs", "largest", "rescaled"}, default="outputs"
        What `step` returns: the outputs [n, n_outputs], the column of the largest [n], or outputs in their units.
    """

    def __init__(
        self,
        network: Network,
        n_streams: int = 1,
        static: Array | None = None,
        inputs: Inputs | None = None,
        scaler: Standardizer | None = None,
        answer: str = "outputs",
    ) -> None:
        super().__init__(n_streams)
        network.check_steps()
        if inputs is None:
            n_tokens = None if network.embedding is None else network.embedding.n_tokens
            inputs = Inputs(network.n_features, network.dtype, n_tokens=n_tokens)
        self.network, self._inputs, self._scaler = network, inputs, scaler
        self._answer = ANSWERS.index(answer)
        self._static = self._checked_static(static, self.n_streams)
        self._open()

    _made = ("_core",)

    def _open(self) -> None:
        """Make streams, each at its start."""
        network, scaler = self.network, self._scaler
        pooling, embedding = network._readout.pooling, network.embedding
        kind = core.StreamsF32 if network.dtype == np.float32 else core.StreamsF64
        self._core = kind(
            network.recurrent._core.stack(),
            network.dense._core,
            None if pooling is None else pooling._core,
            None if embedding is None else embedding._core,
            self._inputs.plan(),
            self.n_streams,
            [] if scaler is None else scaler.mean,
            [] if scaler is None else scaler.scale,
        )
        NetworkSession.reset(self)

    def reset(self, streams: Any = None, static: Array | None = None) -> None:
        """Start streams anew: an index, a list of them, a slice or a mask; default: all.

        `static` [as many streams, n_static] gives them other static features.
        """
        chosen = self._chosen(streams)
        rows = self._checked_static(static, len(chosen))
        self._core.reset(chosen)  # refuses streams that come twice, before anything changes
        if self._static is not None and rows is not None:
            self._static[chosen] = rows
        initial = self.network.initial_states(None if self._static is None else self._static[chosen])
        if initial is not None:
            self.put(chosen, initial)

    def _checked_static(self, static: Any, n: int) -> Array | None:
        """Return static features [n, n_static], copied, or None where none are given."""
        if static is None:
            return None
        if not self.network.n_static:
            raise ValueError(f"static must be None: the network takes none, got shape {np.shape(static)}")
        source = check.exact_shape(static, "static", (n, self.network.n_static), "[n_streams, n_static]")
        array = np.array(source, dtype=self.network.dtype, order="C")
        check.finite(array, "static", source)
        return array

    @property
    def n_steps(self) -> Array:
        """Steps of each stream since it was reset: [n_streams] of int64."""
        return np.ascontiguousarray(self._core.read(self._everyone)[1][:, 0])

    @property
    def states(self) -> list[Array]:
        """One array [num_layers, n_streams, width] of each of the cell's states, such as h and c; may be assigned.

        Arrays are copies: writing into them changes nothing.
        """
        return self.states_of(self._everyone)

    @states.setter
    def states(self, states: Any) -> None:
        layout = self.network.recurrent._states
        shapes = [(layout.count, self.n_streams, width) for width in layout.widths.values()]
        if not isinstance(states, (list, tuple)) or len(states) != len(shapes):
            raise ValueError(f"states must be a list of {len(shapes)} arrays, got {check.described(states)}")
        axes, arrays = "[num_layers, n_streams, width]", []
        for i, state in enumerate(states):
            source = check.exact_shape(state, f"states[{i}]", shapes[i], axes)
            arrays.append(check.contiguous(source, self.network.dtype))
            check.finite(arrays[-1], f"states[{i}]", source)
        self.put(self._everyone, arrays)

    def outputs(self, x: Any, streams: Any = None) -> Array:
        """Advance streams by one step, as `Session.step`; returns the network's outputs [n, n_outputs]."""
        return self._advance(x, streams, 0)

    def step(self, x: Any, streams: Any = None) -> Any:
        """Advance streams by one step of x [n, I]; return the answer."""
        return self._advance(x, streams, self._answer)

    def _advance(self, x: Any, streams: Any, answer: int) -> Array:
        """Call the core; it says with an int what it does not take."""
        chosen = None if streams is None else self._chosen(streams)
        result: Any = self._core.step(x, chosen, answer)
        if type(result) is not int:
            return result
        numbers = self._everyone if chosen is None else chosen
        rows = self._rows(x, len(numbers))
        result = self._core.step(rows, chosen, answer)
        if type(result) is int:
            raise self._inputs.step_error(rows, result, numbers)
        return result

    def _rows(self, x: Any, n: int) -> Array:
        """Return x as the core takes it: [n, raw_width] of float32 or float64, C-contiguous."""
        array, shape = check.numeric(x, "x"), (n, self._inputs.patch_size * self._inputs.n_features)
        if array.shape != shape and (array.size != shape[0] * shape[1] or (array.ndim > 1 and 1 not in shape)):
            raise ValueError(f"x must have shape {shape}, that is [n_streams, n_features], got {array.shape}")
        dtype = array.dtype if array.dtype in (np.float32, np.float64) else np.float64
        return np.ascontiguousarray(array.reshape(shape), dtype=dtype)

    def states_of(self, chosen: Array) -> list[Array]:
        """Return the cell's states [num_layers, n, width] of streams by their numbers, copies."""
        layout, begin, states = self.network.recurrent._states, 0, []
        rows = self._core.read(chosen)[0]
        for width in layout.widths.values():
            part = rows[:, begin : begin + layout.count * width].reshape(len(chosen), layout.count, width)
            states.append(np.ascontiguousarray(part.swapaxes(0, 1)))
            begin += layout.count * width
        return states

    def put(self, chosen: Array, states: list[Array], n_steps: int = 0) -> None:
        """Overwrite the cell's states [num_layers, n, width] of streams by their numbers, `n_steps` further on."""
        values, counts = self._core.read(chosen)
        rows = np.concatenate([s.swapaxes(0, 1).reshape(len(chosen), -1) for s in states], axis=1)
        values[:, : rows.shape[1]] = rows
        counts[:, 0] += n_steps
        self._core.write(chosen, values, counts)

    def _parameters(self) -> Array:
        return self.network.flat_parameters

    def _read(self, chosen: Array) -> dict[str, Array]:
        values, counts = self._core.read(chosen)
        states = {"values": values, "counts": counts}
        return states if self._static is None else {**states, "static": self._static[chosen]}

    def _write(self, chosen: Array, states: dict[str, Array]) -> None:
        if not np.isfinite(states["values"]).all():
            raise ValueError("data must hold finite states, got NaN or infinity")
        self._core.write(chosen, np.ascontiguousarray(states["values"]), np.ascontiguousarray(states["counts"]))
        if self._static is not None:
            self._static[chosen] = states["static"]

    def _like(self: _Network, n_streams: int) -> _Network:
        new = object.__new__(type(self))
        new.__dict__.update({name: value for name, value in self.__dict__.items() if name not in self._made})
        LiveStreams.__init__(new, n_streams)
        if self._static is not None:
            new._static = np.zeros_like(self._static, shape=(n_streams, self.network.n_static))
        new._open()
        return new


class Session(NetworkSession):
    """Live streams of a model, any of which a call advances by one step.

    After `step` the prediction has the same bits as ``model.predict`` of each stream's steps so far. Calls from several
    threads take turns.

    Parameters
    ----------
    model : SequenceModel
        Not bidirectional.
    n_streams : int, default=1
        Streams that the session has room for.
    static : array_like [n_streams, n_static], optional
        Static features of each stream, if the model was fitted with them.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore
    >>> X, y = np.random.default_rng(0).normal(size=(20, 8, 2)), np.arange(20)
    >>> model = lstmcore.RNNRegressor(hidden_size=4, max_epochs=1, random_state=0).fit(X, y).model_
    >>> session = model.session(n_streams=3)
    >>> session.step(X[:3, 0]).shape  # all streams
    (3,)
    >>> session.step(X[:2, 1], streams=[2, 0]).shape, session.n_steps.tolist()  # two of them
    ((2,), [2, 1, 2])
    >>> parked = session.export(2)  # bytes
    >>> session.reset(2)  # the place is free for somebody else
    >>> session.restore(parked, streams=1)  # goes on elsewhere
    >>> session.n_steps.tolist()
    [2, 2, 0]
    """

    def __init__(self, model: SequenceModel, n_streams: int = 1, static: Any = None) -> None:
        n_streams = check.integer(n_streams, "n_streams")
        self.model = model
        prepared = model.prepare_static(static, n_streams)
        super().__init__(model.network, n_streams, prepared, model.inputs, model._scaler, model._answer)

    def step(self, x: Any, streams: Any = None) -> Any:
        """Advance streams by one step.

        Parameters
        ----------
        x : array_like [n, n_features]
            One time point of each stream, or, with ``patch_size=p``, p of them: [n, p * n_features], one after the
            other. A single stream takes [n_features] too, a single feature [n]. Fastest: C-contiguous, of float32 or
            float64.
        streams : int, list of int, slice or mask, optional
            Which n streams, each once, in the order of the rows of x; default: all.

        Returns
        -------
        ndarray [n, ...]
            What ``model.predict`` gives (a tagger's: for the latest step).

        Raises
        ------
        ValueError, TypeError, IndexError
            If `x` has another shape or is not finite, or there are no such streams; all stay as they are.
        """
        return self.model._live(self._advance(x, streams, self._answer))

    def step_proba(self, x: Any, streams: Any = None) -> Array:
        """Advance streams of a classifier or tagger by one step; returns probabilities [n, n_classes]."""
        if self.model.kind not in ("classifier", "tagger"):
            raise TypeError(f"step_proba needs a classifier, this is a session of a {self.model.kind}")
        return self.model._probabilities(self.outputs(x, streams))

    def reset(self, streams: Any = None, static: Any = None) -> None:
        """Start streams anew: an index, a list of them, a slice or a mask; default: all.

        Parameters
        ----------
        streams : int, list of int, slice or mask, optional
        static : array_like [n, n_static], optional
            Other static features for them.
        """
        n = len(self._chosen(streams))
        super().reset(streams, None if static is None else self.model.prepare_static(static, n))
