"""Named parameters as views into one flat vector, and their gradients into another."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lstmcore import _validation as check
from lstmcore._validation import Array

_DRAWN = ("seed", "vectors")  # arguments that decide about initial values alone
_most: ContextVar[float] = ContextVar("most parameters", default=math.inf)


@contextmanager
def at_most(n: int) -> Iterator[None]:
    """Refuse inside of it, before memory is taken, to make anything of more than `n` parameters."""
    token = _most.set(n)
    try:
        yield
    finally:
        _most.reset(token)


def check_count(n: int) -> None:
    """Raise ValueError for more parameters than `at_most` allows."""
    if n > _most.get():
        raise ValueError(f"it would have {n} parameters, more than {_most.get()}")


class Parameterized:
    """The parameters of one object of the core: what layers have in common.

    Attributes
    ----------
    parameters : dict of str to ndarray
        Read-only views: `load_parameters` changes them, so that the core's packed copy never goes stale.
    gradients : dict of str to ndarray
        Of the same names and shapes; `backward` adds into them.
    flat_parameters, flat_gradients : ndarray [n_parameters]
        The vectors that these are views of. After writing to `flat_parameters`, call `parameters_changed`.
    n_parameters : int
        Their length.
    """

    dtype: np.dtype[Any]
    _core: Any

    def _own_parameters(self) -> None:
        """Create the two vectors, all zero."""
        self.n_parameters = int(self._core.n_parameters)
        check_count(self.n_parameters)
        self._attach(np.zeros(self.n_parameters, self.dtype), np.zeros(self.n_parameters, self.dtype))

    def _attach(self, parameters: Array, gradients: Array) -> None:
        """Make two vectors this object's own, whatever they hold."""
        self.flat_parameters, self.flat_gradients = parameters, gradients
        read_only = parameters.view()
        read_only.flags.writeable = False
        self.parameters = dict(self._views(read_only))
        self.gradients = dict(self._views(gradients))
        self._core.bind(parameters, gradients)
        self._core.parameters_changed()

    def _views(self, vector: Array) -> Iterator[tuple[str, Array]]:
        for name, shape, offset in self.parameter_table():
            yield name, vector[offset : offset + math.prod(shape)].reshape(shape)

    def parameter_table(self) -> list[tuple[str, tuple[int, ...], int]]:
        """Return name, shape and offset in the flat vector of each parameter."""
        return [(name, tuple(shape), offset) for name, shape, offset in self._core.parameter_table()]

    def zero_gradients(self) -> None:
        """Set all gradients to zero."""
        self.flat_gradients[...] = 0

    def parameters_changed(self) -> None:
        """Tell the core that `flat_parameters` was written to; needed after every such write."""
        self._core.parameters_changed()

    def bind(self, parameters: Array, gradients: Array) -> None:
        """Move parameters and gradients into vectors that the caller owns, such as slices of a network's.

        Parameters
        ----------
        parameters, gradients : ndarray [n_parameters] of the layer's dtype
            Written with the current values, then kept and written in place.

        Raises
        ------
        ValueError, TypeError
            If one is not a writable, contiguous vector of that length and type.
        """
        for name, vector in (("parameters", parameters), ("gradients", gradients)):
            if not isinstance(vector, np.ndarray) or vector.dtype != self.dtype:
                found = vector.dtype if isinstance(vector, np.ndarray) else type(vector).__name__
                raise TypeError(f"{name} must be an array of {self.dtype}, got {found}")
            if vector.shape != (self.n_parameters,):
                raise ValueError(f"{name} must have shape ({self.n_parameters},), got {vector.shape}")
            if not (vector.flags.c_contiguous and vector.flags.writeable):
                raise ValueError(f"{name} must be contiguous and writable, got strides {vector.strides}")
        parameters[...] = self.flat_parameters
        gradients[...] = self.flat_gradients
        self._attach(parameters, gradients)

    def load_parameters(self, mapping: Mapping[str, ArrayLike]) -> None:
        """Copy all parameters from a mapping of name to array, such as the `state_dict` of a torch layer.

        Parameters
        ----------
        mapping : mapping of str to array-like
            Exactly the names of `parameters`, with their shapes; other numeric types are converted.

        Raises
        ------
        ValueError, TypeError
            If a name is missing or unknown, a shape is wrong or a value is not finite. Nothing is changed then.
        """
        if not isinstance(mapping, Mapping):
            raise TypeError(f"mapping must map parameter names to arrays, got {type(mapping).__name__}")
        missing = [name for name in self.parameters if name not in mapping]
        unknown = [name for name in mapping if name not in self.parameters]
        if missing or unknown:
            parts = [f"lacks {missing}"] * bool(missing) + [f"has the unknown names {unknown}"] * bool(unknown)
            raise ValueError(f"mapping {' and '.join(parts)}; the parameters are {list(self.parameters)}")
        values = np.empty_like(self.flat_parameters)
        for name, view in self._views(values):
            label = f"mapping[{name!r}]"
            source = check.exact_shape(mapping[name], label, view.shape, "the parameter's own")
            view[...] = check.contiguous(source, self.dtype)
            check.finite(view, label, source)
        self.flat_parameters[...] = values
        self.parameters_changed()

    def save(self, path: Any) -> None:
        """Write options and parameters to one safetensors file, which `lstmcore.load` reads.

        Tensors have the names of `parameters`: ``safetensors.torch.load_file`` gives the state_dict of a torch layer.

        Parameters
        ----------
        path : str or path
            An existing file is replaced only by a complete one.

        Raises
        ------
        TypeError
            If `path` is no path, or this is an object of a class that is not lstmcore's.
        OSError
            If it cannot be written.
        """
        from lstmcore.model_file import save_layer

        save_layer(self, path)

    def _file_config(self) -> dict[str, Any]:
        """Arguments, ready for JSON, of which `_from_file` makes such an object."""
        found = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if name not in _DRAWN}
        return {name: value.name if isinstance(value, np.dtype) else value for name, value in found.items()}

    def _file_tensors(self) -> dict[str, Array]:
        """What a file holds: the parameters, and constants that the configuration does not give."""
        return self.parameters

    @classmethod
    def _from_file(cls, config: dict[str, Any], tensors: Mapping[str, Array], weight_dtype: str | None) -> Any:
        """Make an object of what `_file_config` gave; its constants are set, its parameters are not yet."""
        options = inspect.signature(cls).parameters
        if weight_dtype is not None:
            if "weight_dtype" not in options:
                raise ValueError(f"weight_dtype must be None for {cls.__name__}, got {weight_dtype!r}")
            config = {**config, "weight_dtype": weight_dtype}
        seed = {"seed": 0} if "seed" in options else {}
        return cls(**config, **seed)


class Layer(Parameterized):
    """A layer that `_build` makes from its attributes: those and the parameters are what is copied and pickled."""

    def _build(self) -> None:
        """Make `_core`, its parameters all zero."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Return options and parameters; gradients are not carried along."""
        made = ("_core", "flat_gradients", "parameters", "gradients")
        return {name: value for name, value in self.__dict__.items() if name not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the layer anew, on vectors of its own."""
        self.__dict__.update(state)
        values = self.flat_parameters
        self._build()
        self.flat_parameters[...] = values
        self.parameters_changed()
