"""
Forecast with quantiles
=======================

Hourly demand for power, made up: a rhythm of the day and of the week, warm and cold weeks, and noise that grows by day.
`~lstmcore.RNNForecaster` learns five quantiles of each of the next 24 hours.
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore

rng = np.random.default_rng(0)
hours = np.arange(24 * 7 * 26)
day = np.exp(-(((hours % 24) - 13) ** 2) / 40)
weekend = (hours // 24) % 7 >= 5
weather = np.convolve(rng.normal(0, 1, hours.size + 200), np.exp(-np.arange(201) / 60), "valid")
demand = 50 + 25 * day * np.where(weekend, 0.6, 1.0) + 1.5 * weather + rng.normal(0, 0.5 + 2 * day)

n_train = hours.size - 24 * 21  # the last three weeks are left for the backtest
clock = 2 * np.pi * hours / 24
calendar = np.column_stack([np.sin(clock), np.cos(clock), weekend])  # known ahead

forecaster = lstmcore.RNNForecaster(
    window=72,
    horizon=24,
    cell="gru",
    hidden_size=48,
    quantiles=(0.05, 0.25, 0.5, 0.75, 0.95),
    max_epochs=40,
    learning_rate=5e-3,
    early_stopping=True,
    random_state=0,
)
forecaster.fit(demand[:n_train], known=calendar[:n_train])
print(f"{forecaster.n_iter_} epochs, skill against the latest value: ", end="")
print(f"{forecaster.score(demand[n_train:], known_new=calendar[n_train:]):.3f}")

# %%
# `update` takes the last weeks in without training, hour by hour or all at once. Then one pass gives the forecasts from
# every hour, each knowing only what came up to it.

forecaster.update(demand[n_train:], known_new=calendar[n_train:])
origins = np.arange(n_train - 1, hours.size - 24)
forecasts = forecaster.forecast_at(origins)  # [origins, hour ahead, quantile]
future = demand[origins[:, None] + np.arange(1, 25)]

for low, high, nominal in ((0, 4, 0.9), (1, 3, 0.5)):
    inside = (forecasts[..., low] <= future) & (future <= forecasts[..., high])
    print(f"{nominal:.0%} band: {inside.mean():.1%} of the hours lie inside")

# %%
# A forecast at each midnight, day after day.

fig, ax = plt.subplots(figsize=(9, 3.5), layout="constrained")
midnights = origins[(origins + 1) % 24 == 0][:8]
for i, origin in enumerate(midnights):
    quantiles, ahead = forecaster.forecast_at(origin), origin + np.arange(1, 25)
    ax.fill_between(
        ahead, quantiles[:, 0], quantiles[:, 4], color="C0", alpha=0.2, lw=0, label="90 %" if i == 0 else None
    )
    ax.fill_between(
        ahead, quantiles[:, 1], quantiles[:, 3], color="C0", alpha=0.35, lw=0, label="50 %" if i == 0 else None
    )
    ax.plot(ahead, quantiles[:, 2], color="C0", lw=1)
shown = np.arange(midnights[0] - 47, midnights[-1] + 25)
ax.plot(shown, demand[shown], "k.", ms=3, label="observed")
ax.set(xlabel="hour", ylabel="demand")
ax.legend(ncols=3)
plt.show()
