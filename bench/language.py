"""A character-level language model on the Jargon File, ours and PyTorch's, the same recipe: seconds an epoch, bits.

    python bench/language.py                       # an epoch of a fifth of the text, each library in its own process
    python bench/language.py --share 1 --epochs 8  # the whole of it
    python bench/language.py --libraries ours --steps 50 --learning-rate 4e-3 --dropout 0.1

An LSTM behind an embedding, truncated back-propagation over parallel pieces of the text whose states are carried,
Adam, cosine schedule, gradients clipped to norm 1. The last tenth of the text is the test. Both read the same token
numbers in the same pieces; PyTorch's loop keeps them as tensors and uses fused Adam.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from typing import Any

import numpy as np
from datasets import jargon_file


def parts(options: argparse.Namespace) -> tuple[str, str]:
    """Text to learn from and to test."""
    text = jargon_file()
    text = text[: round(options.share * len(text))]
    n = len(text) * 9 // 10
    return text[:n], text[n:]


def run_ours(options: argparse.Namespace) -> dict[str, Any]:
    """Train and score `RNNLanguageModel`."""
    from lstmcore import RNNLanguageModel

    train, test = parts(options)
    model = RNNLanguageModel(
        hidden_size=options.hidden_size,
        embedding_dim=options.embedding_dim,
        batch_size=options.batch_size,
        tbptt_steps=options.steps,
        dropout=options.dropout,
        learning_rate=options.learning_rate,
        schedule="cosine",
        max_epochs=options.epochs,
        random_state=0,
    ).fit(train)
    return {"seconds": model.history_["seconds"], "loss": model.loss_curve_[-1], "bits": -model.score(test)}


def run_torch(options: argparse.Namespace) -> dict[str, Any]:
    """Train and score the same network in a plain PyTorch loop."""
    import torch
    from torch.nn.functional import cross_entropy

    from lstmcore.vocabulary import Vocabulary

    torch.manual_seed(0)
    train, test = parts(options)
    vocabulary = Vocabulary.fit([train])
    numbers, held_out = (torch.from_numpy(vocabulary.encode(part)) for part in (train, test))
    B, T = options.batch_size, options.steps
    length = (len(numbers) - 1) // B  # of a piece
    x, y = (numbers[k : k + length * B].reshape(B, length) for k in (0, 1))
    embedding = torch.nn.Embedding(len(vocabulary), options.embedding_dim)
    recurrent = torch.nn.LSTM(options.embedding_dim, options.hidden_size, batch_first=True)
    dense = torch.nn.Linear(options.hidden_size, len(vocabulary))
    parameters = [p for layer in (embedding, recurrent, dense) for p in layer.parameters()]
    adam = torch.optim.Adam(parameters, lr=options.learning_rate, fused=True)
    chunks = math.ceil(length / T)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, options.epochs * chunks)
    seconds, mean = [], 0.0
    for _ in range(options.epochs):
        started, state, losses = time.perf_counter(), None, []
        for begin in range(0, length, T):
            state = None if state is None else tuple(s.detach() for s in state)
            output, state = recurrent(embedding(x[:, begin : begin + T]), state)
            logits = dense(torch.nn.functional.dropout(output, options.dropout))
            loss = cross_entropy(logits.flatten(0, 1), y[:, begin : begin + T].flatten())
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            adam.step()
            schedule.step()
            losses.append(float(loss.detach()))
        seconds.append(time.perf_counter() - started)
        mean = float(np.mean(losses))
    total, state = 0.0, None
    with torch.no_grad():
        for begin in range(0, len(held_out) - 1, 4096):
            rows = held_out[None, begin : begin + 4097]
            output, state = recurrent(embedding(rows[:, :-1]), state)
            total += float(cross_entropy(dense(output)[0], rows[0, 1:], reduction="sum"))
    return {"seconds": seconds, "loss": mean, "bits": total / (len(held_out) - 1) / math.log(2)}


LIBRARIES = {"ours": run_ours, "torch": run_torch}


def main() -> None:
    """Run each library in a process of its own and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--share", type=float, default=0.2, help="of the text")
    for name, default in (
        ("hidden-size", 256),
        ("embedding-dim", 32),
        ("batch-size", 32),
        ("steps", 100),
        ("epochs", 1),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--child", choices=LIBRARIES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(LIBRARIES[options.child](options)))
        return
    print(f"{'':8}{'s an epoch':>12}{'s in all':>10}{'training':>10}{'test':>8}   (bits per character)")
    for library in options.libraries:
        command = [sys.executable, __file__, *sys.argv[1:], "--child", library]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])
        seconds, loss = found["seconds"], found["loss"] / math.log(2)
        print(f"{library:8}{np.median(seconds):12.2f}{sum(seconds):10.1f}{loss:10.3f}{found['bits']:8.3f}", flush=True)


if __name__ == "__main__":
    main()
