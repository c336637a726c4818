"""
The gates of an LSTM over a sequence
====================================

What does a network remember? The task: a sequence of numbers, of which a few are marked; the answer is the sum of those
(after Hochreiter & Schmidhuber 1997). An LSTM that has learned it must write at the marks, and keep in between.
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore

rng = np.random.default_rng(0)


def marked_sums(n: int, length: int = 30, marks: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Sequences [n, length, 2] of numbers and marks, and the sums [n] of the marked numbers."""
    numbers, marked = rng.uniform(-1, 1, (n, length)), np.zeros((n, length))
    np.put_along_axis(marked, rng.random((n, length)).argsort(axis=1)[:, :marks], 1.0, axis=1)
    return np.stack([numbers, marked], axis=2), (numbers * marked).sum(axis=1)


X, y = marked_sums(3000)
X_test, y_test = marked_sums(500)
reg = lstmcore.RNNRegressor(hidden_size=12, max_epochs=40, learning_rate=1e-2, schedule="one_cycle", random_state=0)
reg.fit(X, y, X_val=X_test, y_val=y_test)
print(f"R² {reg.score(X_test, y_test):.3f}")

# %%
# The loss of training and of the validation data, epoch by epoch.

lstmcore.LossCurveDisplay.from_estimator(reg)

# %%
# One sequence, and what the gates of each unit do while it is read. At the marks the input gates of some units open;
# between them their forget gates stay near 1, so that the cell keeps what it has.

sequence = X_test[0]
print("marks at", np.flatnonzero(sequence[:, 1]), "numbers", sequence[sequence[:, 1] == 1, 0].round(2))
lstmcore.GateDisplay.from_estimator(reg, sequence)
plt.show()
