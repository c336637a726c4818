"""
Stream a model live
===================

A thousand pumps, each with two vibration sensors read at every tick. A classifier learns from recorded runs what a worn
bearing looks like; then a session watches all pumps at once and says after every tick how likely each is worn.
"""

import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import lstmcore

rng = np.random.default_rng(0)


def vibrations(worn: np.ndarray) -> np.ndarray:
    """Readings [n, T, 2] of pumps that are worn at the ticks where worn [n, T] is true."""
    n, T = worn.shape
    phase = np.arange(T) * rng.uniform(0.9, 1.1, (n, 1)) + rng.uniform(0, 6, (n, 1))
    knock = worn * (np.sin(phase / 4) > 0.9)
    readings = np.stack([np.sin(phase) + 0.6 * knock, np.cos(phase) + 0.3 * knock], axis=2)
    return (readings + rng.normal(0, 0.3, readings.shape)).astype(np.float32)


# %%
# Train on runs of 60 ticks, worn from the first to the last or not at all.

y = rng.integers(0, 2, 800)
X = vibrations(np.repeat(y[:, None] == 1, 60, axis=1))
clf = lstmcore.RNNClassifier(cell="gru", hidden_size=32, max_epochs=25, learning_rate=1e-2, random_state=0)
clf.fit(X[:600], y[:600])
print(f"accuracy {clf.score(X[600:], y[600:]):.3f}")

# %%
# The server needs the file and `lstmcore`, no scikit-learn. A session keeps the state of every pump.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "pumps.safetensors"
    clf.save(path)
    model = lstmcore.load(path)

n_pumps, ticks = 1000, 300
breaks = np.where(rng.random(n_pumps) < 0.1, rng.integers(60, 240, n_pumps), ticks)
live = vibrations(np.arange(ticks) >= breaks[:, None])

session = model.session(n_streams=n_pumps)
worn, seconds = np.empty((n_pumps, ticks)), []
for tick in range(ticks):
    started = time.perf_counter()
    worn[:, tick] = session.step_proba(live[:, tick])[:, 1]
    seconds.append(time.perf_counter() - started)
print(f"{1e6 * np.median(seconds):.0f} µs a tick for {n_pumps} pumps")

# %%
# Six pumps that broke. Dotted: the tick when it happened.

fig, axes = plt.subplots(6, 1, figsize=(9, 5), sharex=True, sharey=True, layout="constrained")
for ax, pump in zip(axes, np.flatnonzero(breaks < ticks), strict=False):
    ax.plot(worn[pump])
    ax.axvline(breaks[pump], color="k", ls=":")
    ax.set_ylabel(f"pump {pump}", rotation=0, ha="right")
axes[-1].set_xlabel("tick")
fig.suptitle("Probability of being worn, after every tick")
plt.show()
