"""``python -m lstmcore predict``: predictions of a model file for arrays in files, as CSV."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lstmcore import _files, load
from lstmcore import _validation as check
from lstmcore._validation import Array
from lstmcore.forecasting import ForecasterModel
from lstmcore.model import ClassifierModel, RegressorModel, TaggerModel

FILES = "a .npy or .csv file: one sequence, a row for each step, or for a forecaster a series so far"
Rows = Iterable[list[Any]]
Arrays = list[tuple[Path, Array]]  # a file may come twice


def run(model: Path, files: list[Path], steps: int | None, output: Path | None) -> None:
    """Print, or write to `output`, a table with the predictions for each file."""
    loaded = load(model)
    answer = next((_ANSWERS[kind] for kind in _ANSWERS if isinstance(loaded, kind)), None)
    if answer is None:
        raise TypeError(
            f"{model} holds {type(loaded).__name__}; predict takes classifiers, regressors, taggers and forecasters"
        )
    if steps is not None and not isinstance(loaded, ForecasterModel):
        raise ValueError(f"--steps is for forecasters, {model} holds {type(loaded).__name__}")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows(answer(loaded, [(path, _read(path)) for path in files], steps))
    if output is None:
        sys.stdout.write(text.getvalue())
    else:
        _files.replace(output, text.getvalue().encode())


def _read(path: Path) -> Array:
    """Return an array [T, F], or [T] of a .npy that has no columns."""
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise ValueError(f"{path} must be a file of {', '.join(_READERS)}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        array = check.numeric(reader(path), str(path))
    except (ValueError, TypeError, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"{path} must hold numbers [n_steps, n_features], got shape {array.shape}")
    return array


def _read_npy(path: Path) -> Array:
    return np.asarray(np.load(path, allow_pickle=False))


def _read_csv(path: Path) -> Array:
    """Read numbers below a line of names, if the first is one, without any number; an empty place is NaN."""
    lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    lines = [line for line in lines if line]
    names = [place for place in lines[0] if place] if lines else []
    if names and not any(map(_is_number, names)):
        lines = lines[1:]
    return np.array([[float(place or "nan") for place in line] for line in lines])


def _is_number(place: str) -> bool:
    try:
        float(place)
    except ValueError:
        return False
    return True


def _sequences(arrays: Arrays) -> list[Array]:
    return [array.reshape(len(array), -1) for _, array in arrays]


def _classes(model: ClassifierModel, arrays: Arrays, _: int | None) -> Rows:
    sequences = _sequences(arrays)
    predicted, probabilities = model.predict(sequences), model.predict_proba(sequences)
    yield ["file", "prediction", *model.classes.tolist()]
    for (path, _array), label, row in zip(arrays, predicted, probabilities, strict=True):
        found = model.classes[label > 0].tolist() if model.multilabel else label
        yield [path, " ".join(map(str, found)) if model.multilabel else found, *row.tolist()]


def _numbers(model: RegressorModel, arrays: Arrays, _: int | None) -> Rows:
    values = np.asarray(model.predict(_sequences(arrays))).reshape(len(arrays), -1)
    yield ["file", *_names("prediction", values.shape[1])]
    for (path, _array), row in zip(arrays, values, strict=True):
        yield [path, *row.tolist()]


def _tags(model: TaggerModel, arrays: Arrays, _: int | None) -> Rows:
    yield ["file", "step", "prediction"]
    for (path, _array), tags in zip(arrays, model.predict(_sequences(arrays)), strict=True):
        yield from ([path, step, tag] for step, tag in enumerate(tags.tolist()))


def _forecasts(model: ForecasterModel, arrays: Arrays, steps: int | None) -> Rows:
    n, quantiles = model.layout.n_targets, model.layout.quantiles
    names = _names("forecast", n)
    yield ["file", "step", *(names if quantiles is None else [f"{name}_q{q:g}" for name in names for q in quantiles])]
    for path, array in arrays:
        series = array[:, 0] if array.ndim == 2 and array.shape[1] == n == 1 else array
        values = model.predict(series, steps)
        yield from ([path, step + 1, *row] for step, row in enumerate(values.reshape(len(values), -1).tolist()))


def _names(name: str, n: int) -> list[str]:
    return [name] if n == 1 else [f"{name}_{k}" for k in range(n)]


_READERS: dict[str, Callable[[Path], Array]] = {".npy": _read_npy, ".csv": _read_csv}
_ANSWERS: dict[type, Callable[[Any, Arrays, int | None], Rows]] = {
    ClassifierModel: _classes,
    RegressorModel: _numbers,
    TaggerModel: _tags,
    ForecasterModel: _forecasts,
}
