"""Displays draw what they say, from the numbers that the estimators and layers give."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pytest
from data import ragged, sums

matplotlib.use("agg")

import matplotlib.pyplot as plt

from lstmcore import ForecastDisplay, GateDisplay, LossCurveDisplay, RNNClassifier, RNNForecaster, RNNRegressor

SMALL: dict[str, Any] = dict(hidden_size=4, max_epochs=3, random_state=0)


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    plt.close("all")


def test_loss_curves(rng: np.random.Generator) -> None:
    X = ragged(rng)
    reg = RNNRegressor(early_stopping=True, **SMALL).fit(X, sums(X))
    display = LossCurveDisplay.from_estimator(reg, linestyle="--")
    training, validation = display.lines_
    np.testing.assert_array_equal(training.get_ydata(), reg.loss_curve_)
    np.testing.assert_array_equal(validation.get_ydata(), reg.validation_loss_curve_)
    assert training.get_linestyle() == "--"
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["training", "validation", "kept"]
    _, ax = plt.subplots()
    assert LossCurveDisplay.from_estimator(RNNRegressor(**SMALL).fit(X, sums(X)), ax=ax).ax_ is ax
    assert len(ax.lines) == 1
    assert display.plot().figure_ is not display.plot().figure_


@pytest.mark.parametrize("quantiles", [None, (0.1, 0.5, 0.9)])
def test_forecasts(quantiles: Any) -> None:
    y = np.sin(0.3 * np.arange(120))
    forecaster = RNNForecaster(window=20, horizon=5, quantiles=quantiles, **SMALL).fit(y[:100])
    display = ForecastDisplay.from_estimator(forecaster, y_true=y[100:105], last=30, color="C3")
    forecast = forecaster.predict()
    np.testing.assert_array_equal(display.line_.get_ydata(), forecast if quantiles is None else forecast[:, 1])
    np.testing.assert_array_equal(display.line_.get_xdata(), np.arange(30, 35))
    assert display.line_.get_color() == "C3"
    assert (display.band_ is None) is (quantiles is None)
    observed, _, truth = display.ax_.lines
    np.testing.assert_allclose(observed.get_ydata(), y[70:100])
    np.testing.assert_allclose(truth.get_ydata(), y[100:105])


@pytest.mark.parametrize(("cell", "names"), [("lstm", "ifgoch"), ("gru", "rznh"), ("rnn", "h")])
def test_gates(cell: str, names: str, rng: np.random.Generator) -> None:
    X, static = rng.standard_normal((30, 6, 2)), rng.standard_normal((30, 3))
    options = {**SMALL, "cell": cell, "num_layers": 2, "bidirectional": True}
    reg = RNNRegressor(**options).fit(X, X.sum(axis=(1, 2)), static=static)
    display = GateDisplay.from_estimator(reg, X[0], static=static[0], layer=1, cmap="viridis")
    assert "".join(display.gates) == names
    assert display.gates["h"].shape == (6, 4)
    for image, values in zip(display.images_, display.gates.values(), strict=True):
        np.testing.assert_array_equal(image.get_array(), values.T)
    features = np.concatenate([display.gates["h"][-1], GateDisplay.from_estimator(
        reg, X[0], static=static[0], layer=1, reverse=True
    ).gates["h"][0]])  # fmt: skip
    dense = reg.model_.network.dense
    answer = reg.model_.scaler.undo(dense(features[None]).astype(float))
    np.testing.assert_allclose(answer[0, 0], reg.predict(X[:1], static[:1])[0], rtol=1e-5)


def test_gates_of_tokens(rng: np.random.Generator) -> None:
    X = rng.integers(0, 9, (30, 6))
    clf = RNNClassifier(embedding_dim=3, **SMALL).fit(X, X[:, 0] > 4)
    assert GateDisplay.from_estimator(clf, X[0]).gates["i"].shape == (6, 4)


def test_bad_arguments(rng: np.random.Generator) -> None:
    X = ragged(rng)
    reg = RNNRegressor(**SMALL).fit(X, sums(X))
    with pytest.raises(ValueError, match="layer must be below num_layers=1, got 1"):
        GateDisplay.from_estimator(reg, X[0], layer=1)
    with pytest.raises(ValueError, match="reverse must be False with bidirectional=False, got True"):
        GateDisplay.from_estimator(reg, X[0], reverse=True)
    with pytest.raises(ValueError, match="axes must hold 6 axes, one a gate, got 1"):
        GateDisplay.from_estimator(reg, X[0], axes=plt.subplots()[1])
    with pytest.raises(ValueError, match="not fitted"):
        LossCurveDisplay.from_estimator(RNNRegressor())
