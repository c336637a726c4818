"""One epoch of training the same small model, as a user of each library would train it.

A recurrent layer, its last output into a dense layer, Adam, gradients clipped to norm 1, minibatches of 32 in random
order. A call is a whole `fit` of `EPOCHS` epochs, model and all, and its time is divided by their number; but Keras
goes on with a model whose functions it has already compiled, which would cost it seconds.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from shapes import Task

EPOCHS, CLASSES, LEARNING_RATE, CLIP_NORM = 5, 4, 1e-3, 1.0


def data(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return x [N, T, I], zero beyond each length, and y [N]: int64 classes, or numbers of unit variance."""
    rng, shape = np.random.default_rng(0), task.shape
    x = rng.standard_normal((task.samples, shape.steps, shape.input_size), np.float32)
    x[np.arange(shape.steps) >= task.lengths[:, None]] = 0
    score = x[:, :, 0].sum(axis=1) / np.sqrt(task.lengths)
    if task.goal == "number":
        return x, ((score - score.mean()) / score.std()).astype(np.float32)
    return x, np.searchsorted(np.quantile(score, np.arange(1, CLASSES) / CLASSES), score)


def fit_ours(task: Task) -> Callable[[], float]:
    """Return the estimator's `fit`; a ragged task gives it a list of arrays."""
    from lstmcore import RNNClassifier, RNNRegressor

    x, y = data(task)
    ragged = task.shortest is not None
    X = [row[:length] for row, length in zip(x, task.lengths, strict=True)] if ragged else x
    model = (RNNClassifier if task.goal == "classes" else RNNRegressor)(
        cell=task.shape.cell,
        hidden_size=task.shape.hidden_size,
        batch_size=task.shape.batch,
        max_epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        clip_norm=CLIP_NORM,
        standardize=False,  # the data has unit variance, and the peers do not scale it either
        random_state=0,
    )
    return lambda: model.fit(X, y).loss_curve_[-1]


def minibatches(lengths: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield random minibatches; of similar lengths where lengths differ, as our estimators do, in random order."""
    order = rng.permutation(len(lengths))
    if lengths.min() < lengths.max():
        order = order[np.argsort(-lengths[order], kind="stable")]
    batches = np.split(order, range(size, len(order), size))
    yield from (batches[i] for i in rng.permutation(len(batches)))


def fit_torch(task: Task, packed: bool = False) -> Callable[[], float]:
    """Return a plain loop over a tensor: no DataLoader, fused Adam, padding only to the longest of each minibatch."""
    import torch
    from torch.nn.functional import cross_entropy, mse_loss

    shape, ragged = task.shape, task.shortest is not None
    x, y = (torch.from_numpy(array) for array in data(task))
    lengths = torch.from_numpy(task.lengths)
    outputs = CLASSES if task.goal == "classes" else 1

    def last(layer: Any, rows: Any) -> Any:
        """Output [B, H] after the last step of each sequence."""
        if not ragged:
            return layer(x[rows])[0][:, -1]
        length = lengths[rows]
        batch = x[rows, : int(length.max())]
        if packed:
            return layer(torch.nn.utils.rnn.pack_padded_sequence(batch, length, True, enforce_sorted=False))[1][0]
        return layer(batch)[0][torch.arange(len(rows)), length - 1]

    def fit() -> float:
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        layer = getattr(torch.nn, shape.cell.upper())(shape.input_size, shape.hidden_size, batch_first=True)
        dense = torch.nn.Linear(shape.hidden_size, outputs)
        parameters = [*layer.parameters(), *dense.parameters()]
        adam = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
        for _ in range(EPOCHS):
            total = torch.zeros(())
            for indices in minibatches(task.lengths, shape.batch, rng):
                rows = torch.from_numpy(indices)
                output = dense(last(layer, rows))
                loss = cross_entropy(output, y[rows]) if outputs > 1 else mse_loss(output[:, 0], y[rows])
                adam.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
                adam.step()
                total += loss.detach() * len(rows)
        return float(total) / task.samples

    return fit


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drop what native code writes to standard error."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


class KerasFit:
    """Keras on TensorFlow's CPU build; sequences are padded and masked."""

    def __init__(self, threads: int) -> None:
        os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        with silence():
            import keras
            import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        self.keras = keras

    def prepare(self, task: Task) -> Callable[[], float]:
        keras, shape = self.keras, task.shape
        x, y = data(task)
        keras.utils.set_random_seed(0)
        cell = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[shape.cell]
        layers = [keras.Input((shape.steps, shape.input_size))]
        if task.shortest is not None:
            layers.append(keras.layers.Masking())
        layers += [cell(shape.hidden_size), keras.layers.Dense(CLASSES if task.goal == "classes" else 1)]
        model = keras.Sequential(layers)
        crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(
            keras.optimizers.Adam(LEARNING_RATE, global_clipnorm=CLIP_NORM),
            crossentropy if task.goal == "classes" else "mse",
        )
        return lambda: model.fit(x, y, shape.batch, EPOCHS, verbose=0).history["loss"][-1]
