"""
Write text, character by character
==================================

An LSTM reads the Jargon File, the dictionary of hackers' slang, and learns which character comes next. How well it
knows the language is measured in bits per character of a part that it has not read, beside a model that counts n-grams
and a compressor that has seen the same text. Then it writes entries of its own.

The text: ``apt-get install jargon-text``, or ``make data`` in a clone of the repository.
"""

import bz2
import gzip
import math
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import lstmcore

HIDDEN, EPOCHS, STEPS = 256, 6, 50
CHARACTERS = None  # how many of the file to use; None: all of them
TEMPERATURES = (0.3, 0.7, 1.0)

# %%
# 1.6 million characters; the last tenth is the test.

FILE = Path("usr/share/doc/jargon-text/jargon.txt.gz")
path = next((root / FILE for root in (Path("/"), Path("build/data")) if (root / FILE).is_file()), None)
if path is None:
    raise FileNotFoundError("jargon.txt.gz is missing: apt-get install jargon-text, or make data in the repository")
text = gzip.decompress(path.read_bytes()).decode()[:CHARACTERS]
n_train = len(text) * 9 // 10
train, test = text[:n_train], text[n_train:]
print(f"{len(train):,} characters to learn from, {len(test):,} to test, {len(set(train))} different ones")

# %%
# What to beat. A compressor's bits are those that the test part costs it after the training part. The 6-gram model
# counts which character followed the last five, and asks the last four, three … where it has counted little: the number
# of different followers says how far to trust the longer context (Witten & Bell 1991).

compressed = 8 * (len(bz2.compress(text.encode())) - len(bz2.compress(train.encode()))) / len(test)


def n_gram_bits(train: str, test: str, n: int) -> float:
    """Bits per character of an interpolated n-gram model."""
    p = np.full(len(test), 1 / 256)
    for order in range(n):
        grams = Counter(train[i : i + order + 1] for i in range(len(train) - order))
        seen, followers = Counter(), Counter()
        for gram, count in grams.items():
            seen[gram[:-1]] += count
            followers[gram[:-1]] += 1
        context = [test[max(0, i - order) : i] for i in range(len(test))]
        count = np.array([grams[c + x] for c, x in zip(context, test, strict=True)])
        total, kinds = (np.array([table[c] for c in context]) for table in (seen, followers))
        p = np.where(total > 0, (count + kinds * p) / np.maximum(total + kinds, 1), p)
    return -np.mean(np.log2(p))


counted = n_gram_bits(train, test, 6)
print(f"bits per character: bz2 {compressed:.3f}, 6-grams {counted:.3f}")

# %%
# The network reads 32 pieces of the text side by side. After every 50 characters the optimizer takes a step; what the
# network remembers is carried on, the gradient is not. A callback measures a part of the test after each epoch, for the
# figure below alone. It took 278 s on one thread, 135 on two: 2.213 bits, where 6-grams need 2.387 and
# bz2 2.371.

measured = []
model = lstmcore.RNNLanguageModel(
    hidden_size=HIDDEN,
    tbptt_steps=STEPS,
    batch_size=32,
    dropout=0.1,
    learning_rate=4e-3,
    schedule="cosine",
    warmup_epochs=0.1,
    max_epochs=EPOCHS,
    callbacks=[lambda trainer: measured.append(-model.score(test[:30_000]))],
    random_state=0,
)
model.fit(train)
bits = -model.score(test)
print(
    f"{sum(model.history_['seconds']):.0f} s; bits per character: {bits:.3f}, perplexity {model.perplexity(test):.2f}"
)

# %%
# Written by the model: the lower the temperature, the more it keeps to what is likely.

for temperature in TEMPERATURES:
    written = model.generate("\n:hacker:", 400, temperature=temperature, seed=1)
    print(f"---- temperature {temperature} ----\n:hacker:{written}\n")

# %%
# Which characters surprise it? Bits of each in a line of the test: the beginnings of words.

start = test.index("\n", len(test) // 2) + 1
line = test[start - 200 : start + 60]
surprise = model.surprisal(line)[-60:]

fig, (top, bottom) = plt.subplots(2, 1, figsize=(9, 5.5), layout="constrained")
epochs = np.arange(1, len(measured) + 1)
top.plot(epochs, np.array(model.loss_curve_) / math.log(2), ".-", label="LSTM, while it learns")
top.plot(epochs, measured, "o-", label="LSTM, test")
for name, value, style in (("6-grams", counted, "--"), ("bz2", compressed, ":")):
    top.axhline(value, color="k", ls=style, label=f"{name}, {value:.2f}")
top.set(xlabel="epoch", ylabel="bits per character")
top.legend()
bottom.bar(np.arange(60), surprise)
bottom.set_xticks(np.arange(60), [c if c.isprintable() else "⏎" for c in line[-60:]], family="monospace")
bottom.set_ylabel("bits")
plt.show()
print(f"bits per character: LSTM {bits:.3f}, 6-grams {counted:.3f}, bz2 {compressed:.3f}")
