"""What a forecaster can be told, the parts made of it, and how they are trained."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from lstmcore import _time_index as time_index
from lstmcore import _validation as check
from lstmcore._layout import MOST_STEPS, Layout
from lstmcore._panel import Panel, Record
from lstmcore._samples import Samples
from lstmcore._series import Frame, Lesson
from lstmcore.calendar import check_features, useful_features
from lstmcore.estimators._base import RNNEstimator
from lstmcore.estimators._options import CELL_ALIASES
from lstmcore.estimators._split import Split, windows_of
from lstmcore.forecasting import ForecasterModel
from lstmcore.layers import from_cell
from lstmcore.losses import REGRESSION_LOSSES, Huber, Loss, Quantile, check_quantiles
from lstmcore.network import Dense, Network
from lstmcore.sequences import Sequences
from lstmcore.training import Trainer


@dataclass(eq=False, repr=False)
class ForecasterOptions(RNNEstimator):
    """Options of `RNNForecaster` beside those of all estimators.

    Parameters
    ----------
    window : int, default=64
        Steps of a training window: how far back gradients flow. With ``cell="tdnn"`` the first of them, as many as the
        network looks back, are seen but not learnt from.
    horizon : int, default=1
        Steps ahead that are forecast.
    strategy : {"direct", "recursive"}, default="direct"
        "recursive": learn one step, and feed forecasts back as if observed to get further. Not with X. Together with
        ``cell="tdnn"`` that is a NARX network (Leontaritis & Billings 1985; Lin et al. 1996): trained on true lags
        ("series-parallel"), it forecasts on its own ("parallel"), and `known` holds its exogenous inputs.
    difference : bool or int, default=False
        Show the network differences of y and let it forecast changes: since the latest observation (True or 1), for
        series whose level wanders, such as prices (take logarithms first); or with a number, such as 24, since as many
        steps before, for a season of that length, besides which the network sees first differences. Forecasts are then
        corrections of the (seasonal) naive forecast.
    scale_halflife : float or None, default=None
        With `difference`: measure changes in units of their recent size, the root of an exponentially weighted mean of
        squares with this half-life in steps (RiskMetrics 1996). For changes whose size comes in clusters. None: their
        root mean square throughout.
    calendar : "auto", str, sequence of str or None, default=None
        Show the network where the next step stands in the hour, day, week or year, as
        `lstmcore.calendar.calendar_features` gives it; y must have a DatetimeIndex or PeriodIndex. "auto": those of
        "minute", "hour", "dayofweek" and "month" that vary, and whose cycle y sees at least twice.
    loss : {"squared", "absolute", "huber"}, default="squared"
        What point forecasts minimise, of standardized targets.
    huber_delta : float, default=1.0
        Where "huber" turns from squared to absolute, in standard deviations of the target.
    quantiles : sequence of float or None, default=None
        Forecast these quantiles, such as (0.1, 0.5, 0.9), trained with the quantile loss (Koenker & Bassett 1978) in
        place of `loss`.
    calibration_fraction : float or None, default=None
        Share of each series, at its end, that is not trained on but forecast: the errors give the intervals of
        `predict_interval` (split conformal prediction).
    """

    window: int = 64
    horizon: int = 1
    _: KW_ONLY
    strategy: str = "direct"
    difference: bool | int = False
    scale_halflife: float | None = None
    calendar: Any = None
    loss: str = "squared"
    huber_delta: float = 1.0
    quantiles: Any = None
    calibration_fraction: float | None = None
    model_: ForecasterModel = field(init=False)

    def _check_options(self) -> None:
        super()._check_options()
        check.integer(self.window, "window", 2)
        check.integer(self.horizon, "horizon")
        if self.window <= self._looks_back():
            raise ValueError(
                f"window must be above {self._looks_back()}, the steps back that delays={self._delays!r} and "
                f"num_layers={self.num_layers} reach, got {self.window!r}"
            )
        check.choice(self.strategy, "strategy", ("direct", "recursive"))
        if self.strategy == "recursive" and self.horizon > MOST_STEPS:
            raise ValueError(f"horizon must be at most {MOST_STEPS} with strategy='recursive', got {self.horizon!r}")
        if not isinstance(self.difference, (bool, np.bool_)):
            check.integer(self.difference, "difference")
        check.choice(self.loss, "loss", [name for name in REGRESSION_LOSSES if name != "quantile"])
        if check.real(self.huber_delta, "huber_delta") <= 0:
            raise ValueError(f"huber_delta must be positive, got {self.huber_delta!r}")
        if self.quantiles is not None:
            check_quantiles(self.quantiles)
        if self.calendar is not None and not _is_auto(self.calendar):
            check_features(self.calendar)
        if self.calibration_fraction is not None:
            if not 0 < check.real(self.calibration_fraction, "calibration_fraction") < 1:
                raise ValueError(
                    f"calibration_fraction must lie between 0 and 1 or be None, got {self.calibration_fraction!r}"
                )
        if self.scale_halflife is not None:
            if check.real(self.scale_halflife, "scale_halflife") <= 0:
                raise ValueError(f"scale_halflife must be positive or None, got {self.scale_halflife!r}")
            if not self.difference:
                raise ValueError(f"scale_halflife={self.scale_halflife!r} needs difference=True, got difference=False")

    def _halflife(self) -> float | None:
        return None if self.scale_halflife is None else float(self.scale_halflife)

    def _layout(self, panel: Panel) -> Layout:
        """Axes of these series with these options."""
        first = panel.records[0]
        calendar: tuple[str, ...] = ()
        if self.calendar is not None:
            times = [time_index.times(record.index, record.name("y")) for record in panel.records]
            calendar = useful_features(times[0]) if _is_auto(self.calendar) else check_features(self.calendar)
        return Layout(
            horizon=1 if self.strategy == "recursive" else int(self.horizon),
            steps=int(self.horizon),
            n_targets=first.y.shape[1],
            n_exog=0 if first.X is None else first.X.shape[1],
            n_known=0 if first.known is None else first.known.shape[1],
            calendar=calendar,
            univariate=panel.univariate,
            quantiles=None if self.quantiles is None else tuple(check_quantiles(self.quantiles)),
        )

    def _split(self, record: Record, layout: Layout, frame: Frame) -> Split:
        """Return which origins of a series are for what."""
        return Split.of(
            record,
            layout,
            self.window,
            max(frame.period - 1, 0),
            float(self.validation_fraction) if self.early_stopping else None,
            self.calibration_fraction,
        )

    def _network(self, layout: Layout, frame: Frame, rng: np.random.Generator) -> Network:
        cell = str(CELL_ALIASES.get(self.cell, self.cell))
        n_inputs = frame.n_seen(layout.n_targets) + layout.n_covariates
        recurrent = from_cell(cell, n_inputs, self.hidden_size, **self._recurrent_options(), seed=rng)
        dense = Dense(recurrent.output_size, layout.n_outputs, seed=rng)
        return Network(recurrent, None, dense, dropout=self.dropout)

    def _continued(self, layout: Layout, frame: Frame) -> Frame:
        """Return the frame of the present model if the data and options fit the model."""
        model = self.model_
        present = {**model.layout._asdict(), "difference": model.scaling.frame.period}
        for name, value in {**layout._asdict(), "difference": frame.period}.items():
            if value != present[name]:
                raise ValueError(f"warm_start needs {name}={present[name]} as in the first fit, got {value!r}")
        return model.scaling.frame

    def _train(self, lessons: list[Lesson], splits: list[Split], rng: np.random.Generator, resume_from: Any) -> None:
        model, dtype = self.model_, self.model_.network.dtype
        rows = [check.contiguous(model.scaling.inputs.apply(lesson.rows), dtype) for lesson in lessons]
        answers = [check.contiguous(model.scaling.outputs.apply(lesson.answers), dtype) for lesson in lessons]
        values, targets = np.concatenate(rows), np.concatenate(answers)
        offsets = np.cumsum([0, *map(len, rows)])[:-1]
        train = Sequences(values, *windows_of([split.train for split in splits], offsets, int(self.window)))
        windows, validation = self._counted(Samples(train, targets, by_row=True)), None
        if self.early_stopping:
            lead, held_out = self._looks_back(), [split.validation for split in splits]
            begins = [part.start - lead + offset for part, offset in zip(held_out, offsets, strict=True)]
            kept = Sequences(values, begins, [part.stop - part.start + lead for part in held_out])
            validation = self._counted(Samples(kept, targets, by_row=True))[:3]
        trainer = Trainer(model.network, self._training_config(self._loss()), rng)
        try:
            trainer.fit(
                windows.sequences,
                windows.targets,
                weights=windows.weights,
                validation=validation,
                resume_from=resume_from,
            )
        finally:
            self._report(trainer)

    def _counted(self, samples: Samples) -> Samples:
        """Leave rows out of the loss before which a network lacks some of what it sees at once."""
        return samples.after(self._looks_back()) if self._looks_back() else samples

    def _loss(self) -> Loss:
        if self.quantiles is not None:
            return Quantile(self.quantiles)
        return Huber(self.huber_delta) if self.loss == "huber" else REGRESSION_LOSSES[self.loss]()


def _is_auto(calendar: Any) -> bool:
    return isinstance(calendar, str) and calendar == "auto"
