"""The recipes of accuracy_tasks.py as a plain PyTorch loop: same network, initial scale, batches, optimizer, epochs.

No DataLoader; fused Adam; sequences of different lengths are packed, so that a second direction starts at their ends.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from accuracy_tasks import Fit, Recipe, Split
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from lstmcore.sequences import Sequences

SCHEDULES = {"constant": lambda _: 1.0, "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done))}
LOSSES = {"squared": functional.mse_loss, "absolute": functional.l1_loss, "huber": functional.huber_loss}


class Network(torch.nn.Module):
    """A recurrent layer and a dense layer on its last states, or on every step."""

    def __init__(self, recipe: Recipe, n_features: int, n_outputs: int, by_step: bool) -> None:
        super().__init__()
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[recipe.cell]
        between = recipe.dropout if recipe.num_layers > 1 else 0.0
        names = ("hidden_size", "num_layers", "bidirectional")
        options = {name: getattr(recipe, name) for name in names}
        self.recurrent = kind(n_features, **options, dropout=between, batch_first=True)
        self.directions = 1 + recipe.bidirectional
        self.dropout = torch.nn.Dropout(recipe.dropout)
        self.dense = torch.nn.Linear(self.directions * recipe.hidden_size, n_outputs)
        self.by_step = by_step

    def forward(self, x: torch.Tensor | PackedSequence) -> torch.Tensor:
        """Sequences to outputs [B, n_outputs], or packed ones to those of every step [N, n_outputs]."""
        outputs, state = self.recurrent(x)
        if self.by_step:
            return self.dense(self.dropout(outputs.data))
        last = (state[0] if isinstance(state, tuple) else state)[-self.directions :]
        return self.dense(self.dropout(torch.cat(tuple(last), dim=1)))


class Data:
    """Sequences as tensors, gathered batch by batch."""

    def __init__(self, sequences: Sequences) -> None:
        self.values = torch.from_numpy(sequences.values)
        self.starts, self.lengths = torch.from_numpy(sequences.starts), torch.from_numpy(sequences.lengths)
        self.ragged = bool((self.lengths != self.lengths[0]).any())

    def batch(self, rows: torch.Tensor, indices: torch.Tensor) -> Any:
        """Take the rows of some sequences: [B, T, ...], packed if lengths differ."""
        lengths = self.lengths[indices]
        steps = torch.minimum(torch.arange(int(lengths.max())), lengths[:, None] - 1)  # padded with the last
        batch = rows[self.starts[indices][:, None] + steps]
        return pack_padded_sequence(batch, lengths, True, enforce_sorted=False) if self.ragged else batch


class Targets:
    """Targets as tensors, and predictions in the data's own terms; tags are those of the rows of the data."""

    def __init__(self, split: Split) -> None:
        y = np.concatenate(split.y_train) if split.kind == "tags" else split.y_train
        if split.kind == "numbers":
            self.mean, self.scale = y.mean(), y.std()
            self.values = torch.from_numpy(((y - self.mean) / self.scale).astype(np.float32))[:, None]
            self.n_outputs = 1
        else:
            self.classes, numbers = np.unique(y, return_inverse=True)
            self.values, self.n_outputs = torch.from_numpy(numbers), len(self.classes)

    def undo(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions from outputs [N, n_outputs]."""
        if self.values.is_floating_point():
            return outputs[:, 0] * self.scale + self.mean
        return self.classes[outputs.argmax(axis=1)]


def fit(split: Split, recipe: Recipe, seed: int) -> Fit:
    """Train, and predict the test part; the split holds what the network sees (see `accuracy_tasks.prepared`)."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    by_step = split.kind == "tags"
    data, targets = Data(split.train), Targets(split)
    start = time.perf_counter()
    network = Network(recipe, split.train.n_features, targets.n_outputs, by_step)
    optimizer = torch.optim.Adam(_groups(network, recipe), lr=recipe.learning_rate, fused=True)
    loss_of = LOSSES[recipe.loss] if split.kind == "numbers" else functional.cross_entropy
    losses, seconds = [], []
    for epoch in range(recipe.max_epochs):
        total, count = torch.zeros(()), 0
        batches = split.train.minibatches(recipe.batch_size, rng)  # of similar lengths, as ours
        for i, indices in enumerate(map(torch.from_numpy, batches)):
            done = (epoch + i / len(batches)) / recipe.max_epochs
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * SCHEDULES[recipe.schedule](done)
            expected = data.batch(targets.values, indices).data if by_step else targets.values[indices]
            loss = loss_of(network(data.batch(data.values, indices)), expected)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
            optimizer.step()
            total += loss.detach() * len(expected)
            count += len(expected)
        losses.append(float(total) / count)
        seconds.append(time.perf_counter() - start)
    return Fit(targets.undo(_outputs(network, split.test)), np.array(losses), np.array(seconds))


def _groups(network: Network, recipe: Recipe) -> list[dict[str, Any]]:
    """Weights decay, biases do not."""
    named = list(network.named_parameters())
    biases = [parameter for name, parameter in named if "bias" in name]
    weights = [parameter for name, parameter in named if "bias" not in name]
    return [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": biases, "weight_decay": 0.0}]


@torch.no_grad()
def _outputs(network: Network, sequences: Sequences) -> np.ndarray:
    """Outputs of all sequences, or of their steps, sequence after sequence."""
    data = Data(sequences)
    size = 1 if network.by_step else 1024
    batches = torch.arange(len(sequences)).split(size)
    return np.concatenate([network(data.batch(data.values, indices)).numpy() for indices in batches])
