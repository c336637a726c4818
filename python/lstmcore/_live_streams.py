"""What all sessions have in common: which streams a call means, and their states outside of a session."""

from __future__ import annotations

import zlib
from typing import Any, TypeVar

import numpy as np

from lstmcore import _files
from lstmcore import _validation as check
from lstmcore._validation import Array

_FORMAT = 1
_KEY = "lstmcore.streams"
_Self = TypeVar("_Self", bound="LiveStreams")


class LiveStreams:
    """Base of sessions: which streams a call means, and their states outside of a session.

    A kind of session gives `_read` and `_write` of the states as arrays whose first axis is the stream, `_like`, and
    `_parameters`.

    Parameters
    ----------
    n_streams : int
    """

    def __init__(self, n_streams: int) -> None:
        self.n_streams = check.integer(n_streams, "n_streams")
        self._everyone = np.arange(self.n_streams)

    def copy(self: _Self, streams: Any = None) -> _Self:
        """Return a session of its own of these streams: an index, a list of them, a slice or a mask; default: all."""
        chosen = self._chosen(streams)
        new = self._like(len(chosen))
        new._write(new._everyone, self._read(chosen))
        return new

    def export(self, streams: Any = None) -> bytes:
        """Return the states of streams as bytes, for a file or a database: those of safetensors, data and never code.

        Parameters
        ----------
        streams : int, list of int, slice or mask, optional
            Default: all.
        """
        states = self._read(self._chosen(streams))
        header = {"format": _FORMAT, "model": self._fingerprint(), "check": _checksum(states)}
        return _files.pack(states, _KEY, header)

    def restore(self, data: bytes, streams: Any = None) -> None:
        """Let streams go on where `export` found them, perhaps in another process and in other places.

        Parameters
        ----------
        data : bytes
            From `export` of a session of the same model.
        streams : int, list of int, slice or mask, optional
            As many as were exported, in their order; default: all.

        Raises
        ------
        TypeError, ValueError
            If `data` are damaged, of another model or of another number of streams; the streams stay as they are.
        """
        chosen = self._chosen(streams)
        states, header = _files.unpack(data, _KEY, "data", "states of streams", _FORMAT)
        if header.get("model") != self._fingerprint():
            raise ValueError("data are states of another model, or of this one with other parameters")
        expected = self._read(chosen[:0])
        layout = {name: (array.shape[1:], array.dtype) for name, array in expected.items()}
        if {name: (array.shape[1:], array.dtype) for name, array in states.items()} != layout:
            raise ValueError(f"data must hold {layout}, got { ({k: (v.shape, v.dtype) for k, v in states.items()}) }")
        if header.get("check") != _checksum(states):
            raise ValueError("data are damaged: they are not what export gave")
        for name, array in states.items():
            if len(array) != len(chosen):
                raise ValueError(f"data hold {len(array)} stream(s), streams names {len(chosen)}")
            if array.dtype.kind == "i" and (array < 0).any():
                raise ValueError(f"data must count from 0, got {array.min()} in {name}")
        self._write(chosen, states)

    def _chosen(self, streams: Any) -> Array:
        """Return the numbers of streams [n], each of them once."""
        try:
            chosen = self._everyone if streams is None else self._everyone[streams].reshape(-1)
        except (IndexError, TypeError) as error:
            if isinstance(streams, tuple):
                return self._chosen(list(streams))
            what = f"streams must be numbers from 0 to {self.n_streams - 1}, a slice or a mask"
            raise type(error)(f"{what}, got {check.described(streams)}: {error}") from None
        return chosen if chosen.flags.c_contiguous else np.ascontiguousarray(chosen)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n_streams={self.n_streams})"

    def _fingerprint(self) -> str:
        return f"{type(self).__name__} {zlib.crc32(self._parameters().tobytes()):08x}"

    def __getstate__(self) -> dict[str, Any]:
        """Return all but what the core made, and the states of all streams."""
        kept = {name: value for name, value in self.__dict__.items() if name not in self._made}
        return {**kept, "_states": self._read(self._everyone)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        states = state.pop("_states")
        self.__dict__.update(state)
        self._open()
        self._write(self._everyone, states)

    _made: tuple[str, ...] = ()

    def _open(self) -> None:
        raise NotImplementedError

    def _parameters(self) -> Array:
        raise NotImplementedError

    def _read(self, chosen: Array) -> dict[str, Array]:
        raise NotImplementedError

    def _write(self, chosen: Array, states: dict[str, Array]) -> None:
        raise NotImplementedError

    def _like(self: _Self, n_streams: int) -> _Self:
        raise NotImplementedError


def _checksum(states: dict[str, Array]) -> int:
    value = 0
    for _, array in sorted(states.items()):
        value = zlib.crc32(array.tobytes(), value)
    return value
