"""The LSTM, GRU and RNN operators of ONNX in float64, step by step, as their text has them."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray

DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
FUNCTIONS = {  # of x, α and β
    "Affine": lambda x, a, b: a * x + b,
    "Relu": lambda x, a, b: np.maximum(x, 0),
    "LeakyRelu": lambda x, a, b: np.where(x >= 0, x, a * x),
    "ThresholdedRelu": lambda x, a, b: np.where(x > a, x, 0),
    "ScaledTanh": lambda x, a, b: a * np.tanh(b * x),
    "Tanh": lambda x, a, b: np.tanh(x),
    "Sigmoid": lambda x, a, b: 1 / (1 + np.exp(-x)),
    "HardSigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "Elu": lambda x, a, b: np.where(x >= 0, x, a * (np.exp(x) - 1)),
    "Softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "Softplus": lambda x, a, b: np.log(1 + np.exp(x)),
}
NUMBERS = {"LeakyRelu": [0.01], "ThresholdedRelu": [1.0], "HardSigmoid": [0.2, 0.5], "Elu": [1.0]}
TAKES = {"Affine": 2, "ScaledTanh": 2, **{name: len(numbers) for name, numbers in NUMBERS.items()}}


def functions(op: str, attributes: dict[str, Any], directions: int) -> list[list[Any]]:
    """The activations of each direction, bound to their numbers."""
    alpha, beta = list(attributes.get("activation_alpha", [])), list(attributes.get("activation_beta", []))
    bound = []
    for name in attributes.get("activations", DEFAULTS[op] * directions):
        numbers = [0.0, 0.0]
        for k, queue in enumerate((alpha, beta)[: TAKES.get(name, 0)]):
            numbers[k] = queue.pop(0) if queue else NUMBERS[name][k]
        bound.append(lambda x, f=FUNCTIONS[name], n=tuple(numbers): f(x, *n))
    each = len(DEFAULTS[op])
    return [bound[d * each : (d + 1) * each] for d in range(directions)]


def cell(op: str, attributes: dict[str, Any], phi: list[Any], w: dict[str, Array], x: Array, h: Array, c: Array) -> Any:
    """One step of one direction: [B, I], [B, H], [B, H] to the new h and c."""
    bound = attributes.get("clip", np.inf)
    G = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    W, R = np.split(w["W"], G), np.split(w["R"], G)
    Wb, Rb = (np.split(b, G) for b in np.split(w["B"], 2))
    p_i, p_o, p_f = np.split(w["P"], 3)

    def bounded(z: Array) -> Array:
        return np.clip(z, -bound, bound)

    def z(k: int, seen: Array = h) -> Array:
        return x @ W[k].T + seen @ R[k].T + Wb[k] + Rb[k]

    if op == "RNN":
        return phi[0](bounded(z(0))), c
    if op == "GRU":
        update, reset = phi[0](bounded(z(0))), phi[0](bounded(z(1)))
        if attributes.get("linear_before_reset", 0):
            candidate = x @ W[2].T + Wb[2] + reset * (h @ R[2].T + Rb[2])
        else:
            candidate = z(2, reset * h)
        return (1 - update) * phi[1](bounded(candidate)) + update * h, c
    i = phi[0](bounded(z(0) + p_i * c))
    f = 1 - i if attributes.get("input_forget", 0) else phi[0](bounded(z(2) + p_f * c))
    c = f * c + i * phi[1](bounded(z(3)))
    o = phi[0](bounded(z(1) + p_o * c))
    return o * phi[2](c), c


def run(op: str, attributes: dict[str, Any], inputs: dict[str, Array]) -> dict[str, Array]:
    """Y, Y_h and Y_c of a node from its inputs by the operator's names."""
    batch_first = bool(attributes.get("layout", 0))
    inputs = {name: value if name == "sequence_lens" else value.astype(np.float64) for name, value in inputs.items()}
    X = inputs["X"].swapaxes(0, 1) if batch_first else inputs["X"]
    D, _, H = inputs["R"].shape
    T, B = X.shape[:2]
    G = inputs["W"].shape[1] // H
    lengths = inputs.get("sequence_lens", np.full(B, T))
    weights = {"B": np.zeros((D, 2 * G * H)), "P": np.zeros((D, 3 * H)), **inputs}
    Y, ends = np.zeros((T, D, B, H)), np.zeros((2, D, B, H))
    for k, name in enumerate(("initial_h", "initial_c")):
        if name in inputs:
            ends[k] = inputs[name].swapaxes(0, 1) if batch_first else inputs[name]
    for d, phi in enumerate(functions(op, attributes, D)):
        w = {name: weights[name][d] for name in "WRBP"}
        backwards = d == 1 or attributes.get("direction") == "reverse"
        for b in range(B):
            h, c = ends[:, d, b]
            steps = range(lengths[b])
            for t in reversed(steps) if backwards else steps:
                h, c = cell(op, attributes, phi, w, X[t, b], h, c)
                Y[t, d, b] = h
            ends[:, d, b] = h, c
    if batch_first:
        return {"Y": Y.transpose(2, 0, 1, 3), "Y_h": ends[0].swapaxes(0, 1), "Y_c": ends[1].swapaxes(0, 1)}
    return {"Y": Y, "Y_h": ends[0], "Y_c": ends[1]}
