"""
Classify sequences of different lengths
=======================================

Gestures drawn with a finger: circles, figures of eight, squares and zigzags, at any size, angle and speed. A gesture is
a sequence of points; lengths differ. They go into `~lstmcore.RNNClassifier` as a list of arrays; nothing is padded.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split

import lstmcore

rng = np.random.default_rng(0)
CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])


def along(shape: str, s: np.ndarray) -> np.ndarray:
    """Points [T, 2] of a shape; s [T] runs from 0 to 1."""
    if shape == "circle":
        return np.column_stack([np.cos(2 * np.pi * s), np.sin(2 * np.pi * s)])
    if shape == "eight":
        return np.column_stack([np.sin(2 * np.pi * s), np.sin(4 * np.pi * s)])
    if shape == "zigzag":
        return np.column_stack([2 * s, np.abs(6 * s % 2 - 1)])
    return np.column_stack([np.interp(4 * s, np.arange(5), CORNERS[:, i]) for i in range(2)])


def draw(shape: str) -> np.ndarray:
    """A gesture [T, 2]: turned, scaled, drawn at an uneven speed by a hand that shakes."""
    speed = rng.uniform(0.3, 1.0, rng.integers(15, 60))
    points = along(shape, np.cumsum(speed) / speed.sum())
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return rng.uniform(0.5, 2.0) * points @ turn + rng.normal(0, 0.05, points.shape)


shapes = np.array(["circle", "eight", "square", "zigzag"])
y = rng.choice(shapes, size=1200)
gestures = [draw(shape) for shape in y]

fig, axes = plt.subplots(2, 6, figsize=(9, 3), layout="constrained")
for ax, gesture, shape in zip(axes.flat, gestures, y, strict=False):
    ax.plot(*gesture.T, lw=1)
    ax.set_title(f"{shape}, {len(gesture)} points", fontsize=7)
    ax.set_aspect("equal", "datalim")
    ax.set_axis_off()

# %%
# Where a gesture lies on the screen does not matter: the network sees the steps from point to point.

X = [np.diff(gesture, axis=0) for gesture in gestures]
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=400, random_state=0)

clf = lstmcore.RNNClassifier(
    cell="gru", hidden_size=48, bidirectional=True, pooling="mean", max_epochs=25, learning_rate=1e-2, random_state=0
)
clf.fit(X_train, y_train)
print(f"accuracy {clf.score(X_test, y_test):.3f}")

# %%
# The loss of each epoch, and which shapes are taken for which.

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
left.semilogy(clf.loss_curve_)
left.set(xlabel="epoch", ylabel="training loss")
ConfusionMatrixDisplay.from_predictions(y_test, clf.predict(X_test), ax=right, colorbar=False)
plt.show()
