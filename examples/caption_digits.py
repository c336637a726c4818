"""
Say what an image shows
=======================

A row of handwritten digits comes in as one image, and a sentence goes out: "two sevens and a one". The features of the
image give the decoder of `~lstmcore.RNNSeq2Seq` its initial state, and it writes one word after another (Vinyals et al.
2015 caption photographs in this way, with the features of a network that was trained on millions of them; here plain
pixels must do). X is a 2-D array, one vector an image, so there is no encoder.

The digits are those of scikit-learn, 8 × 8 pixels each; nothing is to be installed.
"""

from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lstmcore

N_TRAIN = 20_000
N_TEST = 1_000
EPOCHS = 25
HIDDEN_SIZE = 256
LONGEST = 3
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
COUNTS = ["no", "a", "two", "three"]

pixels, labels = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
shuffled = rng.permutation(len(labels))
parts = {"train": shuffled[len(labels) // 4 :], "test": shuffled[: len(labels) // 4]}  # no digit is in both


def sentence(digits: np.ndarray) -> list[str]:
    """Words for a row of digits, in the order in which they come first."""
    words: list[str] = []
    for digit, count in Counter(digits.tolist()).items():
        plural = "es" if NUMBERS[digit].endswith("x") else "s"
        words += ["and"] * bool(words) + [COUNTS[count], NUMBERS[digit] + plural * (count > 1)]
    return words


def draw(part: str, n: int) -> tuple[np.ndarray, list[np.ndarray], list[list[str]]]:
    """Images [n, 8 · 8 · LONGEST] of one to LONGEST digits, empty to the right, the digits, and their sentences."""
    images, rows = np.zeros((n, 8, 8 * LONGEST)), []
    few = rng.integers(0, 10, (n, 2))  # two kinds of digits in an image, so that some come again
    for i in range(n):
        kinds = rng.choice(few[i], rng.integers(1, LONGEST + 1))
        chosen = [rng.choice(parts[part][labels[parts[part]] == kind]) for kind in kinds]
        images[i, :, : 8 * len(chosen)] = np.hstack([pixels[j].reshape(8, 8) for j in chosen])
        rows.append(labels[chosen])
    return images.reshape(n, -1), rows, [sentence(row) for row in rows]


X_train, rows_train, y_train = draw("train", N_TRAIN)
X_test, rows_test, y_test = draw("test", N_TEST)
for words in y_train[:4]:
    print(" ".join(words))

# %%
# Beside it
# ---------
#
# The baseline is the sentence of the training image whose pixels are nearest. Further up is what somebody can do who
# knows the task: a logistic regression for each of the three places says which digit stands there, or none, and a rule
# makes the sentence. The decoder is told of neither places nor rules.

nearest = KNeighborsClassifier(n_neighbors=1).fit(X_train, np.arange(N_TRAIN)).predict(X_test)
copied = [y_train[i] for i in nearest]

NOTHING = 10
places = np.full((N_TRAIN, LONGEST), NOTHING)
for i, row in enumerate(rows_train):
    places[i, : len(row)] = row
regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100))
found = np.column_stack([regression.fit(X_train, places[:, k]).predict(X_test) for k in range(LONGEST)])
by_rule = [sentence(row[row != NOTHING]) for row in found]

# %%
# The decoder
# -----------
#
# Measured once, 90 s on one thread: 0.917 of the sentences right, where the nearest image has 0.860
# and regressions with a rule have 0.921; but the decoder's word error rate is lower, 0.069 against their 0.081.

curve = []
model = lstmcore.RNNSeq2Seq(
    cell="lstm",
    hidden_size=HIDDEN_SIZE,
    embedding_dim=32,
    dropout=0.2,
    batch_size=64,
    learning_rate=2e-3,
    schedule="cosine",
    max_epochs=EPOCHS,
    callbacks=[lambda trainer: curve.append(model.score(X_test, y_test))],
    random_state=0,
)
model.fit(X_train, y_train)
print(f"{sum(model.history_['seconds']):.0f} s for {EPOCHS} epochs with {lstmcore.get_num_threads()} thread(s)")
written = model.predict(X_test)
right = {}
for name, sentences in {"nearest image": copied, "decoder": written, "regressions and rule": by_rule}.items():
    right[name] = np.mean([a == b for a, b in zip(sentences, y_test, strict=True)])
    print(f"{name}: {right[name]:.3f} right, word error rate {lstmcore.metrics.error_rate(y_test, sentences):.3f}")

# %%
# Images with what the decoder says, and how the share of right sentences rose.

fig = plt.figure(figsize=(9, 4.5), layout="constrained")
grid = fig.add_gridspec(4, 4)
for i, words in enumerate(written[:8]):
    ax = fig.add_subplot(grid[i // 2, i % 2])
    ax.imshow(X_test[i].reshape(8, -1), cmap="gray_r")
    ax.set_title(" ".join(words), fontsize=8, color="black" if words == y_test[i] else "C3")
    ax.set_axis_off()
ax = fig.add_subplot(grid[:, 2:])
ax.plot(np.arange(1, len(curve) + 1), curve, label="decoder")
for color, name in (("C1", "nearest image"), ("C2", "regressions and rule")):
    ax.axhline(right[name], color=color, ls="--", label=name)
ax.set(xlabel="epoch", ylabel="sentences that are right", ylim=(0, 1))
ax.legend()
plt.show()
