"""Plots, in the manner of scikit-learn's Display classes; they need matplotlib.

``from_estimator`` computes what is to be drawn and draws it; ``plot`` draws it again, elsewhere or otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._validation import Array
from lstmcore.sequences import as_sequences


def _axes(ax: Any, n_rows: int = 1) -> Any:
    """Return the user's axes, or those of a new figure: an array of them for several rows."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install matplotlib") from error
    return plt.subplots(n_rows, sharex=True, layout="constrained")[1]


class LossCurveDisplay:
    """The losses of training, epoch by epoch.

    Parameters
    ----------
    history : dict of lists
        An estimator's ``history_``.
    best_epoch : int or None
        Whose parameters were kept, from 0.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes, Figure
    lines_ : list of matplotlib Line2D

    Examples
    --------
    >>> import numpy as np, lstmcore
    >>> X = np.random.default_rng(0).standard_normal((40, 6, 1))
    >>> reg = lstmcore.RNNRegressor(hidden_size=4, max_epochs=3).fit(X, X.sum(axis=(1, 2)))
    >>> display = lstmcore.LossCurveDisplay.from_estimator(reg)
    >>> display.ax_.get_xlabel()
    'epoch'
    """

    def __init__(self, history: dict[str, list[float]], best_epoch: int | None = None) -> None:
        self.history, self.best_epoch = history, best_epoch

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **kwargs: Any) -> LossCurveDisplay:
        """Draw the losses of a fitted estimator.

        Parameters
        ----------
        estimator : RNNClassifier, RNNRegressor, RNNTagger or RNNForecaster
            Fitted.
        ax : matplotlib Axes, optional
        **kwargs
            For matplotlib's ``plot``.

        Returns
        -------
        LossCurveDisplay
        """
        estimator._fitted_model()
        return cls(estimator.history_, estimator.best_epoch_).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> LossCurveDisplay:
        """Draw; see `from_estimator`."""
        self.ax_ = _axes(ax)
        self.figure_ = self.ax_.figure
        names = {"loss": "training", "validation_loss": "validation"}
        self.lines_ = []
        for column, name in names.items():
            if column in self.history:
                options = {"label": name, **kwargs}
                self.lines_ += self.ax_.plot(self.history["epoch"], self.history[column], **options)
        if self.best_epoch is not None:
            self.ax_.axvline(self.history["epoch"][self.best_epoch], color="0.6", linestyle=":", label="kept")
        self.ax_.set(xlabel="epoch", ylabel="loss")
        if len(self.history["epoch"]) > 1 and min(self.history["loss"]) > 0:
            self.ax_.set_yscale("log")
        self.ax_.legend()
        return self


class ForecastDisplay:
    """A series and the forecast of what follows, with a band between the outer quantiles.

    Parameters
    ----------
    observed : ndarray [T]
        The last observations.
    forecast : ndarray [steps] or [steps, n_quantiles]
        What follows.
    truth : ndarray [steps] or None
        What did follow.
    index, index_ahead : ndarray [T], [steps] or None
        Positions on the time axis: of the observations, of the forecast. None: 0, 1, 2 …

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes, Figure
    line_ : matplotlib Line2D
        The forecast: the median if there are quantiles.
    band_ : matplotlib collection or None
    """

    def __init__(
        self,
        observed: Array,
        forecast: Array,
        truth: Array | None = None,
        index: Array | None = None,
        index_ahead: Array | None = None,
    ) -> None:
        self.observed, self.forecast, self.truth = observed, forecast, truth
        n, steps = len(observed), len(forecast)
        self.index = np.arange(n) if index is None else index
        self.index_ahead = np.arange(n, n + steps) if index_ahead is None else index_ahead

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        steps: int | None = None,
        *,
        X_future: Any = None,
        y_true: Any = None,
        last: int = 100,
        target: int = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> ForecastDisplay:
        """Draw the latest observations of a fitted forecaster and its forecast.

        Parameters
        ----------
        estimator : RNNForecaster
            Fitted to one series.
        steps, X_future
            As in ``estimator.predict``.
        y_true : array_like [steps], optional
            What did follow, if it is known.
        last : int, default=100
            How many observations are drawn.
        target : int, default=0
            Which target, if there are several.
        ax : matplotlib Axes, optional
        **kwargs
            For matplotlib's ``plot`` of the forecast.

        Returns
        -------
        ForecastDisplay
        """
        layout = estimator._fitted_model().layout
        predicted = estimator.predict(steps, X_future)
        forecast = np.asarray(predicted)
        if not layout.univariate:
            forecast = forecast.reshape(len(forecast), layout.n_targets, -1)[:, target]
            forecast = forecast if layout.quantiles is not None else forecast[:, 0]
        index, index_ahead = None, getattr(predicted, "index", None)
        last = min(check.integer(last, "last"), len(estimator.y_))
        if index_ahead is not None:
            index = estimator.index_[-last:]
        truth = None if y_true is None else np.asarray(y_true, dtype=float)[: len(forecast)]
        observed = np.asarray(estimator.y_)[-last:, target]
        return cls(observed, forecast, truth, index, index_ahead).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> ForecastDisplay:
        """Draw; see `from_estimator`."""
        self.ax_ = _axes(ax)
        self.figure_ = self.ax_.figure
        self.ax_.plot(self.index, self.observed, color="0.3", label="observed")
        middle = self.forecast if self.forecast.ndim == 1 else self.forecast[:, self.forecast.shape[1] // 2]
        (self.line_,) = self.ax_.plot(self.index_ahead, middle, **{"color": "C0", "label": "forecast", **kwargs})
        self.band_ = None
        if self.forecast.ndim == 2:
            low, high = self.forecast[:, 0], self.forecast[:, -1]
            self.band_ = self.ax_.fill_between(
                self.index_ahead, low, high, color=self.line_.get_color(), alpha=0.2, linewidth=0
            )
        if self.truth is not None:
            self.ax_.plot(self.index_ahead[: len(self.truth)], self.truth, color="C1", label="truth")
        self.ax_.legend()
        return self


class GateDisplay:
    """What each gate did over one sequence: a picture a gate, a row a unit, a column a step.

    Parameters
    ----------
    gates : dict of str to ndarray [T, H]
        Activations, such as "i", "f", "g", "o", and states "c" and "h".
    title : str

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
    figure_ : matplotlib Figure
    images_ : list of matplotlib images

    Examples
    --------
    >>> import numpy as np, lstmcore
    >>> X = np.random.default_rng(0).standard_normal((40, 6, 1))
    >>> reg = lstmcore.RNNRegressor(cell="gru", hidden_size=4, max_epochs=3).fit(X, X.sum(axis=(1, 2)))
    >>> list(lstmcore.GateDisplay.from_estimator(reg, X[0]).gates)
    ['r', 'z', 'n', 'h']
    """

    def __init__(self, gates: dict[str, Array], title: str = "") -> None:
        self.gates, self.title = gates, title

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        sequence: Any,
        *,
        static: Any = None,
        layer: int = 0,
        reverse: bool = False,
        axes: Any = None,
        **kwargs: Any,
    ) -> GateDisplay:
        """Draw the gates of one layer of a fitted estimator over one sequence.

        Parameters
        ----------
        estimator : RNNClassifier, RNNRegressor or RNNTagger
            Fitted.
        sequence : array_like [n_timesteps, n_features]
            One sequence, as in ``fit``; [n_timesteps] if there is one feature, or of token numbers.
        static : array_like [n_static], optional
            Its static features, if the estimator was fitted with them.
        layer : int, default=0
        reverse : bool, default=False
            The second direction of a bidirectional layer.
        axes : sequence of matplotlib Axes, optional
            As many as there are gates and states.
        **kwargs
            For matplotlib's ``imshow``.

        Returns
        -------
        GateDisplay
        """
        model = estimator._fitted_model()
        recurrent = model.network.recurrent
        if not 0 <= check.integer(layer, "layer", 0) < recurrent.num_layers:
            raise ValueError(f"layer must be below num_layers={recurrent.num_layers}, got {layer}")
        if reverse and not recurrent.bidirectional:
            raise ValueError("reverse must be False with bidirectional=False, got True")
        static = None if static is None else np.reshape(static, (1, -1))
        sequences = model.prepare(as_sequences([np.asarray(sequence)], "sequence", dtype=None, finite=False), static)
        embedding = model.network.embedding
        rows = sequences.values if embedding is None else embedding(sequences.values)
        states = model.network.initial_states(sequences.static)
        state = None if states is None else states[0] if len(states) == 1 else tuple(states)
        suffix = f"_l{layer}" + ("_reverse" if reverse else "")
        gates = {
            name.removesuffix(suffix): values[:, 0]
            for name, values in recurrent.gates(rows[:, None], state).items()
            if name.endswith(suffix)
        }
        return cls(gates, f"{recurrent.cell}{suffix}").plot(axes=axes, **kwargs)

    def plot(self, axes: Any = None, **kwargs: Any) -> GateDisplay:
        """Draw; see `from_estimator`."""
        self.axes_ = np.atleast_1d(_axes(axes, len(self.gates)))
        if len(self.axes_) != len(self.gates):
            raise ValueError(f"axes must hold {len(self.gates)} axes, one a gate, got {len(self.axes_)}")
        self.figure_ = self.axes_[0].figure
        self.images_ = []
        for ax, (name, values) in zip(self.axes_, self.gates.items(), strict=True):
            signed = values.min() < 0
            limit = max(1.0, float(np.abs(values).max()))
            options = {"cmap": "RdBu_r" if signed else "Greys", "vmin": -limit if signed else 0, "vmax": limit}
            self.images_.append(ax.imshow(values.T, aspect="auto", interpolation="nearest", **{**options, **kwargs}))
            ax.set(ylabel=name, yticks=[])
            self.figure_.colorbar(self.images_[-1], ax=ax)
        self.axes_[-1].set_xlabel("step")
        self.axes_[0].set_title(self.title)
        return self
