"""To PyTorch and back: recurrent layers, and embedding, recurrent and linear layers in a row.

Parameters have torch's names, shapes and gate order on both sides, so nothing is rearranged: what this module adds is
the choice of options, and a check that both sides compute the same numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore import _validation as check
from lstmcore import layers
from lstmcore._recurrent import Recurrent
from lstmcore._validation import Array
from lstmcore.embedding import Embedding
from lstmcore.interop._agreement import compare, no_layer
from lstmcore.network import Dense, Network

if TYPE_CHECKING:
    import torch

_SHARED = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")


def from_torch(module: torch.nn.Module, *, pooling: str | None = None) -> Recurrent | Network:
    """Return a layer or network that computes what a PyTorch module computes.

    Parameters
    ----------
    module : torch.nn.Module
        ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` of any depth, direction and projection; or a module whose children are, in
        this order, an ``nn.Embedding`` (may be missing), one of those, and an ``nn.Linear``, such as an
        ``nn.Sequential`` of them (inside a module it counts as its children). ``nn.Dropout`` between them sets the
        network's dropout. Of float32 or float64, on any device; it is not changed.
    pooling : {"last", "mean", "max"} or None, default=None
        What the linear layer sees of the steps, which the module's children do not tell; None: every step.

    Returns
    -------
    Recurrent
        An `LSTM`, `GRU` or `RNN`, for a recurrent module.
    Network
        For a module of several layers.

    Warns
    -----
    UserWarning
        If there is dropout before the recurrent layer, which training alone would see: it is lost.

    Raises
    ------
    TypeError
        If `module` is no such module.
    ValueError
        If it has a part or an option that cannot be mapped; the message names it.
    RuntimeError
        If the two do not compute the same on random input (checked on every call).

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> layer = from_torch(torch.nn.LSTM(8, 32, bidirectional=True))  # doctest: +SKIP
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    if isinstance(module, torch.nn.RNNBase):
        if pooling is not None:
            raise ValueError(f"pooling must be None for a recurrent module alone, got {pooling!r}")
        layer = _recurrent(module)
        compare(_outputs(layer), _torch_outputs(module, layer), type(module).__name__, "torch")
        return layer
    parts = _children(module)
    network = _network(parts, pooling)
    _compare_network(network, parts)
    return network


def to_torch(layer: Recurrent | Network) -> torch.nn.Module:
    """Return a PyTorch module that computes what a layer or network computes.

    Parameters
    ----------
    layer : Recurrent or Network
        Its cell must be one that torch has: "lstm" (projected or not), "gru", "rnn_tanh" or "rnn_relu", without
        zoneout. A network may have an embedding; its pooling must be "last", "mean", "max" or None.

    Returns
    -------
    torch.nn.Module
        ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` with the layer's options; of a network a module with the children
        "embedding" (if any), "recurrent" and "dense", which takes [B, T, I], or token numbers [B, T], and returns
        [B, n_outputs] or [B, T, n_outputs]. In evaluation mode, on the CPU, with copies of the parameters.

    Warns
    -----
    UserWarning
        If there is recurrent dropout, which training alone would see: it is lost.

    Raises
    ------
    TypeError
        If `layer` is neither.
    ValueError
        If it has a part that torch has not; the message names it.
    RuntimeError
        If the two do not compute the same on random input (checked on every call).
    """
    if isinstance(layer, Recurrent):
        module = _torch_recurrent(layer)
        compare(_outputs(layer), _torch_outputs(module, layer), layer.cell, "torch")
        return module
    if not isinstance(layer, Network):
        raise TypeError(no_layer(layer))
    module = _torch_network(layer)
    _compare_network(layer, _children(module))
    return module


# ---- recurrent layers -----------------------------------------------------------------------------------------------


def _recurrent(module: torch.nn.RNNBase, *, batch_first: bool | None = None) -> Recurrent:
    options = {name: getattr(module, name) for name in _SHARED}
    options["dropout"] = options["dropout"] if module.num_layers > 1 else 0.0  # torch ignores it, with a warning
    options["batch_first"] = module.batch_first if batch_first is None else batch_first
    options["dtype"] = _dtype(module)
    make: Any
    if module.mode == "LSTM":
        make, options["proj_size"] = layers.LSTM, module.proj_size
    elif module.mode == "GRU":
        make = layers.GRU
    else:
        make, options["nonlinearity"] = layers.RNN, module.mode.removeprefix("RNN_").lower()
    layer: Recurrent = make(**options, seed=0)
    layer.load_parameters(_numpy(module.state_dict()))
    return layer


def _torch_recurrent(layer: Recurrent) -> Any:
    import torch

    kinds = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}
    if layer.cell not in kinds:
        raise ValueError(f"cell {layer.cell!r} has no counterpart in torch, which has {', '.join(kinds)}")
    for option, plain in (("zoneout", 0.0), ("weight_dtype", None)):
        if (found := getattr(layer, option)) != plain:
            raise ValueError(f"{option}={found!r} has no counterpart in torch")
    if layer.recurrent_dropout:
        lost = f"recurrent_dropout={layer.recurrent_dropout:g}, which torch has not"
        warnings.warn(f"what concerns training alone is lost: {lost}", stacklevel=3)
    options = {name: getattr(layer, name) for name in _SHARED}
    if kinds[layer.cell] == "LSTM":
        options["proj_size"] = layer.proj_size
    elif kinds[layer.cell] == "RNN":
        options["nonlinearity"] = layer.cell.removeprefix("rnn_")
    module: Any = getattr(torch.nn, kinds[layer.cell])(**options, dtype=getattr(torch, layer.dtype.name))
    module.load_state_dict(_tensors(layer.parameters))
    return module.eval()


# ---- several layers -------------------------------------------------------------------------------------------------


def _children(module: torch.nn.Module) -> dict[str, Any]:
    """The embedding, recurrent and linear layers of a module, and the share that its last nn.Dropout drops."""
    import torch

    kinds = {"embedding": torch.nn.Embedding, "recurrent": torch.nn.RNNBase, "dense": torch.nn.Linear}
    found: dict[str, Any] = {"dropout": 0.0}
    for name, child in _flat(module, "module"):
        if isinstance(child, torch.nn.Dropout):
            if "recurrent" in found:
                found["dropout"] = child.p
            elif child.p:
                lost = f"{name}, {child} before the recurrent layer"
                warnings.warn(f"what concerns training alone is lost: {lost}", stacklevel=4)
            continue
        role = next((role for role, kind in kinds.items() if isinstance(child, kind)), None)
        if role is None:
            raise ValueError(f"{name} is {child}: only Embedding, LSTM, GRU, RNN, Dropout and Linear map")
        later = list(kinds)[list(kinds).index(role) :]
        if any(other in found for other in later):
            raise ValueError(f"{name} is {child}: one Embedding, one recurrent and one Linear map, in this order")
        found[role] = child
    for role, wanted in (("recurrent", "an nn.LSTM, nn.GRU or nn.RNN"), ("dense", "an nn.Linear")):
        if role not in found:
            raise ValueError(f"module must have {wanted} among its children, got {module}")
    return found


def _flat(module: torch.nn.Module, name: str) -> Iterator[tuple[str, torch.nn.Module]]:
    """The children of a module with their names, those of an nn.Sequential in its place."""
    import torch

    for own, child in module.named_children():
        if isinstance(child, torch.nn.Sequential):
            yield from _flat(child, f"{name}.{own}")
        else:
            yield f"{name}.{own}", child


def _network(parts: dict[str, Any], pooling: str | None) -> Network:
    source = parts.get("embedding")
    recurrent = _recurrent(parts["recurrent"], batch_first=False)
    linear = parts["dense"]
    dense = Dense(linear.in_features, linear.out_features, linear.bias is not None, dtype=_dtype(linear), seed=0)
    dense.load_parameters(_numpy(linear.state_dict()))
    embedding = None
    if source is not None:
        if source.max_norm is not None:
            raise ValueError(f"Embedding with max_norm={source.max_norm} cannot be mapped: it changes when it is read")
        embedding = Embedding(
            source.num_embeddings,
            source.embedding_dim,
            vectors=source.weight.detach().cpu().numpy(),
            trainable=source.weight.requires_grad,
            dtype=_dtype(source),
        )
    return Network(recurrent, pooling, dense, dropout=parts["dropout"], embedding=embedding)


def _torch_network(network: Network) -> torch.nn.Module:
    import torch

    if network.pooling == "attention":
        raise ValueError("pooling 'attention' has no counterpart in a module of layers")
    if network.initial is not None:
        raise ValueError(f"static features ({network.n_static}) have no counterpart in a module of layers")
    dtype = getattr(torch, network.dtype.name)
    embed: Any = torch.nn.Embedding.from_pretrained

    class Module(torch.nn.Module):
        """Layers in a row: [B, T, I] or tokens [B, T] to [B, n_outputs], or every step [B, T, n_outputs]."""

        def __init__(self) -> None:
            super().__init__()
            if network.embedding is not None:
                weight = torch.tensor(np.array(network.embedding.weight))
                self.embedding = embed(weight, freeze=not network.embedding.trainable)
            self.recurrent = _torch_recurrent(network.recurrent)
            self.recurrent.batch_first = True
            self.dropout = torch.nn.Dropout(network.dropout)
            dense = network.dense
            self.dense = torch.nn.Linear(dense.in_features, dense.out_features, dense.bias, dtype=dtype)
            self.dense.load_state_dict(_tensors(dense.parameters))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y, states = self.recurrent(self.embedding(x) if hasattr(self, "embedding") else x)
            if network.pooling == "last":
                h = states[0] if isinstance(states, tuple) else states
                y = torch.cat(list(h[-2:]), 1) if self.recurrent.bidirectional else h[-1]
            elif network.pooling is not None:
                y = y.mean(1) if network.pooling == "mean" else y.amax(1)
            result: torch.Tensor = self.dense(self.dropout(y))
            return result

    return Module().eval()


# ---- both ways ------------------------------------------------------------------------------------------------------


def _dtype(module: torch.nn.Module) -> str:
    name = str(next(module.parameters()).dtype).removeprefix("torch.")
    return check.choice(name, f"dtype of {type(module).__name__}", ("float32", "float64"))


def _numpy(state: dict[str, torch.Tensor]) -> dict[str, Array]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}


def _tensors(parameters: dict[str, Array]) -> dict[str, torch.Tensor]:
    import torch

    return {name: torch.tensor(np.array(value)) for name, value in parameters.items()}


_STEPS, _BATCH = 7, 3


def _sample(layer: Recurrent) -> Array:
    shape = (_BATCH, _STEPS) if layer.batch_first else (_STEPS, _BATCH)
    return np.random.default_rng(0).standard_normal((*shape, layer.input_size)).astype(layer.dtype)


def _outputs(layer: Recurrent) -> list[Array]:
    y, state = layer(_sample(layer))
    return [y, *(state if isinstance(state, tuple) else (state,))]


def _torch_outputs(module: torch.nn.RNNBase, layer: Recurrent) -> list[Array]:
    import torch

    with _evaluating(module), torch.no_grad():
        sample = torch.tensor(_sample(layer), device=next(module.parameters()).device)
        y, state = module(sample)
    return [tensor.cpu().numpy() for tensor in (y, *(state if isinstance(state, tuple) else (state,)))]


def _compare_network(network: Network, parts: dict[str, Any]) -> None:
    """The layers one after another at every step, before any pooling, which the two libraries leave to others."""
    import torch

    rng, recurrent = np.random.default_rng(0), parts["recurrent"]
    device = next(recurrent.parameters()).device
    with _evaluating(recurrent), torch.no_grad():
        if network.embedding is None:
            x = rng.standard_normal((_STEPS, _BATCH, network.n_features)).astype(network.dtype)
            theirs = torch.tensor(x, device=device)
        else:
            tokens = rng.integers(0, network.embedding.n_tokens, (_STEPS, _BATCH))
            x = network.embedding(tokens.reshape(-1, 1).astype(network.dtype)).reshape(_STEPS, _BATCH, -1)
            theirs = parts["embedding"](torch.tensor(tokens, device=device))
        y, _ = recurrent(theirs.swapaxes(0, 1) if recurrent.batch_first else theirs)
        expected = parts["dense"](y.swapaxes(0, 1) if recurrent.batch_first else y).cpu().numpy()
    features, _ = network.recurrent(x)
    outputs = network.dense(features.reshape(-1, network.dense.in_features)).reshape(expected.shape)
    compare([outputs], [expected], "the network", "torch")


class _evaluating:
    """A module in evaluation mode, and afterwards as it was."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module, self.training = module, module.training

    def __enter__(self) -> None:
        self.module.eval()

    def __exit__(self, *exception: object) -> None:
        self.module.train(self.training)
