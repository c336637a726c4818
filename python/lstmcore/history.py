"""What happened in training, an entry an epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

# name of the column -> name of the attribute
_COLUMNS = {
    "loss": "loss_curve",
    "validation_loss": "validation_curve",
    "validation_score": "validation_scores",
    "learning_rate": "learning_rates",
    "gradient_norm": "gradient_norms",
    "seconds": "seconds",
}


@dataclass
class History:
    """What happened in training: lists with an entry an epoch, empty where nothing was measured.

    Attributes
    ----------
    loss_curve : list of float
        Mean training loss of the epoch, each batch before its step, weighted as the samples are.
    validation_curve, validation_scores : list of float
        Loss and score of the validation part after the epoch; NaN for epochs of a ``fit`` without one.
    learning_rates : list of float
        Of the last step of the epoch.
    gradient_norms : list of float
        Mean norm of the gradient, before clipping, of the epoch's steps.
    seconds : list of float
        How long the epoch took, validation included.
    best_epoch : int or None
        The epoch, counted from 0, with the lowest validation loss of the last ``fit`` that had a validation part.
    stopped : str or None
        Why training ended early, if so.
    """

    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stopped: str | None = None

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self.loss_curve)

    def record(self, **measured: float) -> None:
        """Append an epoch: a value for each column that was measured."""
        epochs = len(self)
        for column, attribute in _COLUMNS.items():
            values: list[float] = getattr(self, attribute)
            if values or column in measured:
                values += [math.nan] * (epochs - len(values)) + [measured.get(column, math.nan)]

    def columns(self) -> dict[str, list[float]]:
        """Return columns of equal lengths, as ``pandas.DataFrame`` takes them.

        Returns
        -------
        dict of str to list
            "epoch" (from 0, as `best_epoch` is), "loss", "validation_loss", "validation_score", "learning_rate",
            "gradient_norm", "seconds", without those that were never measured.
        """
        measured = {column: list(getattr(self, attribute)) for column, attribute in _COLUMNS.items()}
        return {"epoch": list(range(len(self))), **{name: values for name, values in measured.items() if values}}
