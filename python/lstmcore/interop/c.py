"""To C: one self-contained C99 header with the weights and a `step`, for microcontrollers.

`Program` collects what a model needs: constants, the state of its cell, and the lines of its step. The equations are
those of docs/cells.md, one a line.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import lstmcore
from lstmcore import _files
from lstmcore._recurrent import Recurrent
from lstmcore._standardizer import Standardizer
from lstmcore._validation import Array
from lstmcore.interop._c_text import CELLS, FUNCTIONS, HEADER, CText
from lstmcore.model import ClassifierModel, Model, RegressorModel, SequenceModel, TaggerModel
from lstmcore.network import Network

_NUMBERS_A_LINE = 8


def to_c(model: Any, path: str | os.PathLike[str] | None = None, *, name: str = "model") -> str:
    """Write a model as one C99 header: weights, and a function that advances it by one step.

    The header includes nothing but <math.h> and <stddef.h>, allocates nothing and keeps no hidden state. It has

    - ``NAME_state``, a struct of the cell's states, and ``NAME_reset(state)``, which starts a sequence;
    - ``NAME_step(state, x, y)``: from features x [NAME_INPUTS] to outputs y [NAME_OUTPUTS], in the model's own units;
    - ``NAME_WEIGHT_BYTES``, ``NAME_STATE_BYTES`` and ``NAME_SCRATCH_BYTES``: constants (flash), the state, and what a
      step takes on the stack beside its calls.

    Numbers are ``float`` for a model of float32 and ``double`` for float64.

    Parameters
    ----------
    model : recurrent layer, Network, model or fitted estimator
        Layers of one direction of the cells "lstm" and "lstm_coupled" (peepholes or none), "gru", "gru_reset_before",
        "mgu", "rnn_tanh", "rnn_relu", "rnn_hardtanh" and "rnn_residual". A network reads the last step or every step,
        from features. A classifier or tagger gives probabilities, in the order of its classes; a regressor its targets.
    path : str or path, optional
        The header is written there, too; an existing file is replaced only by a complete one.
    name : str, default="model"
        What all names in C begin with.

    Returns
    -------
    str
        The header.

    Raises
    ------
    TypeError
        If `model` is none of these.
    ValueError
        If it is not fitted, or has a part that cannot go, which the message names, or `name` is no identifier of C.

    Notes
    -----
    C sums in another order than the kernels, and its library's exp and tanh are its own: outputs agree to about 1e-5
    (float) or 1e-12 (double) of their scale. Features are standardized in the model's own type; values of a size many
    times their spread lose as many digits.

    Examples
    --------
    >>> import lstmcore
    >>> text = lstmcore.to_c(lstmcore.GRU(3, 8, seed=0), name="gru")
    >>> print(next(line for line in text.splitlines() if "WEIGHT_BYTES" in line))
    #define gru_WEIGHT_BYTES 1184
    """
    text = program_of(model, name).text()
    if path is not None:
        _files.replace(_files.as_path(path), text.encode())
    return text


@dataclass
class Program:
    """A header in the making."""

    name: str
    dtype: np.dtype[Any]
    described: str
    constants: dict[str, Array] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)  # of the step
    functions: list[str] = field(default_factory=list)  # those of `FUNCTIONS` and `CELLS` that it calls
    sizes: dict[str, int] = field(default_factory=dict)
    states: tuple[str, ...] = ("h",)
    layers: int = 1

    def constant(self, name: str, values: Array) -> str:
        """Add an array of numbers; return its name."""
        self.constants[f"{self.name}_{name}"] = values.astype(self.dtype)
        return f"{self.name}_{name}"

    def need(self, *functions: str) -> None:
        """Add functions that are not there yet."""
        self.functions += [each for each in functions if each not in self.functions]

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes of constants ("weight"), state and scratch memory."""
        numbers = {
            "weight": sum(values.size for values in self.constants.values()),
            "state": len(self.states) * self.layers * self.sizes["HIDDEN"],
            "scratch": self.sizes["SUMS"] + self.sizes["INPUTS"] * ("standardize" in self.functions),
        }
        return {kind: self.dtype.itemsize * count for kind, count in numbers.items()}

    def text(self) -> str:
        """Return the header."""
        single = self.dtype == np.float32
        suffix = "f" if single else ""
        parts = {
            "fields": "\n".join(f"  $real {state}[{self.layers}][{self.sizes['HIDDEN']}];" for state in self.states),
            "zeros": "\n".join(f"      s->{state}[l][j] = 0;" for state in self.states),
            "constants": "\n".join(_array(name, values, suffix) for name, values in self.constants.items()),
            "functions": "\n".join((FUNCTIONS | CELLS)[each] for each in self.functions),
            "step": "\n".join(f"  {line}" for line in self.lines),
        }
        names = {
            **{"name": self.name, "described": self.described, "version": lstmcore.__version__},
            **{"real": "float" if single else "double", "exp": f"exp{suffix}", "tanh": f"tanh{suffix}"},
            **{size.lower(): count for size, count in self.sizes.items()},
            **self.bytes,
            **{"layers": self.layers, "tolerance": "1e-5" if single else "1e-12"},
        }
        return CText(CText(HEADER).safe_substitute(parts)).substitute(names)


def program_of(model: Any, name: str) -> Program:
    """Return what `to_c` writes."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"name must be an identifier of C, got {name!r}")
    if hasattr(model, "_fitted_model"):
        model = model._fitted_model()
    if isinstance(model, Recurrent):
        program = Program(name, model.dtype, repr(model))
        _stack(program, model, "x")
        last = f"s->h[{model.num_layers - 1}]"
        program.need("start")
        program.lines.append(f"$name_start({model.hidden_size}, {last}, y);")
        program.sizes["OUTPUTS"] = model.hidden_size
        return program
    if isinstance(model, Network):
        program = Program(name, model.dtype, repr(model))
        _network(program, model, "x")
        return program
    if isinstance(model, (ClassifierModel, TaggerModel, RegressorModel)):
        program = Program(name, model.network.dtype, repr(model))
        _model(program, model)
        return program
    if isinstance(model, Model):
        raise ValueError(f"{type(model).__name__} cannot go to C: classifiers, taggers and regressors of sequences can")
    raise TypeError(f"model must be a recurrent layer, a Network, a model or fitted estimator, got {model!r}")


def _model(program: Program, model: SequenceModel) -> None:
    inputs = model.inputs
    _refuse("missing='mask'", inputs.fill is not None)
    _refuse(f"patch_size={inputs.patch_size}", inputs.patch_size > 1)
    x = "x"
    if inputs.scaler is not None:
        x = "xs"
        means, rates = _scales(program, "x", inputs.scaler.mean, 1 / inputs.scaler.scale)
        program.need("standardize")
        program.lines += [f"$real xs[{inputs.n_features}];"]
        program.lines += [f"$name_standardize({inputs.n_features}, {means}, {rates}, x, xs);"]
    _network(program, model.network, x)
    n = model.network.n_outputs
    if isinstance(model, RegressorModel):
        _refuse("loss='quantile'", model.quantiles is not None)
        scaler: Standardizer = model.scaler
        means, scales = _scales(program, "y", scaler.mean, scaler.scale)
        program.need("rescale")
        program.lines.append(f"$name_rescale({n}, {means}, {scales}, y);")
    elif isinstance(model, ClassifierModel) and model.multilabel:
        program.need("sigmoid", "probabilities")
        program.lines.append(f"$name_probabilities({n}, y);")
    else:
        program.need("softmax")
        program.lines.append(f"$name_softmax({n}, y);")
    if isinstance(model, (ClassifierModel, TaggerModel)):
        program.described += "\n * Outputs: probabilities of " + ", ".join(_comment(label) for label in model.classes)


def _network(program: Program, network: Network, x: str) -> None:
    """Add recurrent layers and head, which reads them after every step."""
    if not isinstance(network.recurrent, Recurrent):
        raise ValueError("a network of graphs cannot go to C")
    _refuse("an embedding", network.embedding is not None)
    _refuse("static features", network.initial is not None)
    _refuse(f"pooling={network.pooling!r}", network.pooling not in ("last", None))
    _stack(program, network.recurrent, x)
    dense = network.dense
    weights = program.constant("dense_w", dense.parameters["weight"])
    bias = program.constant("dense_b", dense.parameters["bias"]) if dense.bias else "NULL"
    last = f"s->h[{network.recurrent.num_layers - 1}]"
    program.need("start", "sums")
    program.lines.append(f"$name_start({dense.out_features}, {bias}, y);")
    program.lines.append(f"$name_sums({dense.out_features}, {dense.in_features}, {weights}, {last}, y);")
    program.sizes["OUTPUTS"] = dense.out_features


_BLOCKS = {"lstm": 4, "lstm_coupled": 3, "gru": 4, "gru_reset_before": 3, "mgu": 3}  # of sums of a step, else 1


def _stack(program: Program, layer: Recurrent, x: str) -> None:
    """Add recurrent layers, the first of which reads the array `x` of the step."""
    plain = layer.cell.removesuffix("_peephole")
    if plain not in CELLS:
        raise ValueError(f"cell {layer.cell!r} cannot go to C; these can: {', '.join(CELLS)}")
    for option in ("bidirectional", "proj_size", "zoneout", "weight_dtype"):
        _refuse(f"{option}={getattr(layer, option, None)!r}", bool(getattr(layer, option, None)))
    H = layer.hidden_size
    program.layers = layer.num_layers
    program.sizes.update(INPUTS=layer.input_size, HIDDEN=H, SUMS=_BLOCKS.get(plain, 1) * H)
    program.need(*["sigmoid"] * (plain in _BLOCKS), "start", "sums", plain)
    has_c = plain.startswith("lstm")
    program.states = ("h", "c") if has_c else ("h",)
    program.lines.append(f"$real a[{program.sizes['SUMS']}];")
    for k in range(layer.num_layers):
        p = {name.removesuffix(f"_l{k}"): v for name, v in layer.parameters.items() if name.endswith(f"_l{k}")}
        arrays = [program.constant(f"{part}_l{k}", p[f"weight_{part}"]) for part in ("ih", "hh")]
        arrays += [program.constant(f"b_l{k}", _bias(plain, p, H)) if layer.bias else "NULL"]
        if has_c:
            gates = "io" if plain == "lstm_coupled" else "ifo"
            arrays += [_peephole(program, p, gate, k) for gate in gates]
        states = [f"s->{state}[{k}]" for state in program.states]
        size = layer.input_size if k == 0 else H
        program.lines.append(f"$name_{plain}({', '.join([str(size), *arrays, x, *states, 'a'])});")
        x = f"s->h[{k}]"


def _bias(cell: str, p: dict[str, Array], H: int) -> Array:
    """What the sums of a step start from: b + b', of the gate n of "gru" apart."""
    ours, theirs = p["bias_ih"].astype(np.float64), p["bias_hh"].astype(np.float64)
    if cell != "gru":
        return ours + theirs
    return np.concatenate([ours[: 2 * H] + theirs[: 2 * H], ours[2 * H :], theirs[2 * H :]])


def _peephole(program: Program, p: dict[str, Array], gate: str, k: int) -> str:
    name = f"weight_c{gate}"
    return program.constant(f"p{gate}_l{k}", p[name]) if name in p else "NULL"


def _scales(program: Program, of: str, means: Array, scales: Array) -> tuple[str, str]:
    return program.constant(f"{of}_mean", means), program.constant(f"{of}_scale", scales)


def _refuse(part: str, there: bool) -> None:
    if there:
        raise ValueError(f"a model with {part} cannot go to C")


def _comment(label: Any) -> str:
    """A label inside of a comment: nothing in it ends the comment."""
    return re.sub(r"[^ -~]|\*/|/\*|\\", "?", str(label))


def _array(name: str, values: Array, suffix: str) -> str:
    numbers = [f"{value}{suffix}" for value in map(str, values.ravel())]
    lines = [", ".join(numbers[i : i + _NUMBERS_A_LINE]) for i in range(0, len(numbers), _NUMBERS_A_LINE)]
    body = ",\n  ".join(lines)
    return f"static const $real {name}[{values.size}] = {{\n  {body}\n}};"
