"""
Tag the words of Turkish sentences
==================================

Which part of speech is each word? Turkish builds words from many endings: every fifth word of a new text was never seen
before, and its end tells more than its beginning. `~lstmcore.RNNTagger` reads a sentence from both ends and gives every
word a label. Beside it: the tag that a word has most often, and logistic regression that sees a word and its two
neighbours.

The sentences, 4,851 of the web and of Wikipedia with 14 universal tags, come with
``pip install --no-deps turkish-treebanks==1.0.0``.
"""

import importlib.metadata
from collections import Counter, defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression

import lstmcore

N_SENTENCES = 10_000  # at most
EPOCHS = 8
FOLDS = 5

folder = Path(str(importlib.metadata.distribution("turkish-treebanks").locate_file("data")))
sentences, tags = [], []
for name in ("web", "wiki"):
    for block in (folder / f"{name}.conllu").read_text(encoding="utf-8").split("\n\n"):
        rows = [line.split("\t") for line in block.splitlines() if line and not line.startswith("#")]
        if rows:  # a word that is written together with the next one gets a hyphen
            sentences.append([row[1] + "-" * ("SpaceAfter=No" in row[9]) for row in rows])
            tags.append(np.array([row[3] for row in rows]))
sentences, tags = sentences[:N_SENTENCES], tags[:N_SENTENCES]
classes = sorted(set(np.concatenate(tags)))
print(f"{len(sentences):,} sentences, {sum(map(len, sentences)):,} words, tags: {' '.join(classes)}")
print(" ".join(f"{word}/{tag}" for word, tag in zip(sentences[0], tags[0], strict=True)))

# %%
# What is known of a word? How often it had which tag, and how often words with the same end, the same beginning or the
# same look had. For each of these names: 14 shares, and how often it was seen.


def names_of(sentence: list[str]) -> list[list[str]]:
    """Return for each word the names under which tags are counted."""
    words = [word.replace("İ", "i").replace("I", "ı").lower() for word in sentence]
    return [
        [
            f"word {word}",
            *(f"end {word[-n:]}" for n in (2, 3, 4, 5)),
            f"start {word[:4]}",
            f"pair {left} {word}",
            f"look {raw[:1].isupper()} {any(map(str.isdigit, raw))} {raw[-1] == '-'} {left[-1:] == '-'}",
        ]
        for raw, word, left in zip(sentence, words, ["", *words[:-1]], strict=True)
    ]


names = [names_of(sentence) for sentence in sentences]


def count(chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Count the tags of each name in some of the sentences."""
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(classes)))
    for i in chosen:
        for row, tag in zip(names[i], np.searchsorted(classes, tags[i]), strict=True):
            for name in row:
                counts[name][tag] += 1
    return counts


def features(counts: dict[str, np.ndarray], chosen: np.ndarray) -> list[np.ndarray]:
    """Return what is known of the words [T, 8 * 15] of some of the sentences."""
    none = np.zeros(len(classes))
    X = []
    for i in chosen:
        seen = np.array([[counts.get(name, none) for name in row] for row in names[i]])
        total = seen.sum(axis=2, keepdims=True)
        known = np.concatenate([seen / (total + 1), np.log1p(total) / 5], axis=2)
        X.append(known.reshape(len(known), -1).astype(np.float32))
    return X


# %%
# Every tenth sentence is for the test. For a training sentence the counts come from the other four fifths of the
# training sentences: else a rare word would show its own tag.
#
# The tagger has .950 of the words right, the linear model .947, the usual tag .911. Of words never seen before it is
# .915, .906 and .765: there the endings decide, and what stands around the word.

number = np.arange(len(sentences))
train, test = number[number % 10 != 9], number[number % 10 == 9]
counts = count(train)
X = dict(zip(test, features(counts, test), strict=True))
for fold in range(FOLDS):
    held_out = train[fold::FOLDS]
    X |= zip(held_out, features(count(np.setdiff1d(train, held_out)), held_out), strict=True)

tagger = lstmcore.RNNTagger(
    cell="lstm",
    hidden_size=100,
    bidirectional=True,
    max_epochs=EPOCHS,
    learning_rate=2e-3,
    schedule="cosine",
    standardize=False,
    random_state=0,
)
tagger.fit([X[i] for i in train], [tags[i] for i in train])
predicted = {"a bidirectional LSTM": np.concatenate(tagger.predict([X[i] for i in test]))}


def with_neighbours(chosen: np.ndarray) -> np.ndarray:
    """Return what is known of each word, of the one before and of the one behind it."""
    padded = [np.pad(X[i], ((1, 1), (0, 0))) for i in chosen]
    return np.concatenate([np.hstack([rows[:-2], rows[1:-1], rows[2:]]) for rows in padded])


linear = LogisticRegression(max_iter=1000).fit(with_neighbours(train), np.concatenate([tags[i] for i in train]))
predicted["logistic regression"] = linear.predict(with_neighbours(test))

most = Counter(np.concatenate([tags[i] for i in train])).most_common(1)[0][0]
predicted["the word's usual tag"] = np.array(
    [classes[counts[row[0]].argmax()] if row[0] in counts else most for i in test for row in names[i]]
)

y = np.concatenate([tags[i] for i in test])
unseen = np.array([row[0] not in counts for i in test for row in names[i]])
print(f"{len(y):,} words for the test, {unseen.sum():,} of them never seen")
print(f"{'':22} {'all':>6} {'unseen':>6}")
for name, guesses in predicted.items():
    print(f"{name:22} {(guesses == y).mean():6.4f} {(guesses == y)[unseen].mean():6.4f}")

# %%
# Right and wrong by tag: how often each is found (recall), in order of how often it occurs.

common = [tag for tag, _ in Counter(y).most_common() if np.sum(y == tag) >= 10]
fig, ax = plt.subplots(figsize=(9, 3.5), layout="constrained")
for i, (name, guesses) in enumerate(reversed(predicted.items())):
    found = [(guesses == y)[y == tag].mean() for tag in common]
    ax.bar(np.arange(len(common)) + 0.27 * (i - 1), found, 0.27, label=name, color=["0.7", "C1", "C0"][i])
ax.set(xticks=np.arange(len(common)), ylabel="share that is found")
ax.set_xticklabels([f"{tag}\n{np.sum(y == tag)}" for tag in common], fontsize=8)
ax.legend(ncols=3, loc="lower left")
plt.show()
