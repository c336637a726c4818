"""Recurrent networks on CPUs: a C++ SIMD core under scikit-learn's manners.

Layers (`LSTM`, `GRU`, `RNN` and others) own their parameters and call the core. Estimators (`RNNClassifier` and others)
train networks of them and need scikit-learn. `load` reads a saved model and needs NumPy alone.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from lstmcore import _cpu
from lstmcore._isa import core as _core
from lstmcore._threads import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from lstmcore import callbacks, metrics, schedules
    from lstmcore._versions import show_versions
    from lstmcore.calendar import calendar_features
    from lstmcore.displays import ForecastDisplay, GateDisplay, LossCurveDisplay
    from lstmcore.estimators.classifier import RNNClassifier
    from lstmcore.estimators.forecaster import RNNForecaster
    from lstmcore.estimators.graphs import GraphClassifier, GraphRegressor, NodeClassifier
    from lstmcore.estimators.language_model import RNNLanguageModel
    from lstmcore.estimators.online import OnlineRNNClassifier, OnlineRNNRegressor
    from lstmcore.estimators.regressor import RNNRegressor
    from lstmcore.estimators.scaler import SequenceScaler
    from lstmcore.estimators.seq2seq import RNNSeq2Seq
    from lstmcore.estimators.tagger import RNNTagger
    from lstmcore.frames import sequences_from_channels, sequences_from_frame, sequences_from_mask, series_from_frame
    from lstmcore.gated_graph import GatedGraph
    from lstmcore.graphs import Graphs
    from lstmcore.interop.c import to_c
    from lstmcore.interop.keras import from_keras, to_keras
    from lstmcore.interop.models import model_from_network
    from lstmcore.interop.onnx import from_onnx
    from lstmcore.interop.onnx_export import to_onnx
    from lstmcore.interop.torch import from_torch, to_torch
    from lstmcore.layers import GRU, LSTM, RNN
    from lstmcore.model_file import load
    from lstmcore.network import Network
    from lstmcore.online import RTRL
    from lstmcore.optimizers import SGD, Adam, AdamW, RMSprop
    from lstmcore.sequences import Sequences
    from lstmcore.time_delay import TimeDelay
    from lstmcore.tree import TreeLSTM

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "RTRL",
    "SGD",
    "Adam",
    "AdamW",
    "ForecastDisplay",
    "GateDisplay",
    "GatedGraph",
    "GraphClassifier",
    "GraphRegressor",
    "Graphs",
    "LossCurveDisplay",
    "Network",
    "NodeClassifier",
    "OnlineRNNClassifier",
    "OnlineRNNRegressor",
    "RMSprop",
    "RNNClassifier",
    "RNNForecaster",
    "RNNLanguageModel",
    "RNNRegressor",
    "RNNSeq2Seq",
    "RNNTagger",
    "SequenceScaler",
    "Sequences",
    "TimeDelay",
    "TreeLSTM",
    "calendar_features",
    "callbacks",
    "cells",
    "from_keras",
    "from_onnx",
    "from_torch",
    "get_cmake_dir",
    "get_include",
    "get_num_threads",
    "load",
    "metrics",
    "model_from_network",
    "schedules",
    "sequences_from_channels",
    "sequences_from_frame",
    "sequences_from_mask",
    "series_from_frame",
    "set_num_threads",
    "show_versions",
    "to_c",
    "to_keras",
    "to_onnx",
    "to_torch",
]

# Where each public name that is not imported at once lives. `import lstmcore` stays fast and needs no scikit-learn.
_HOME = {
    "GRU": "layers",
    "LSTM": "layers",
    "RNN": "layers",
    "RTRL": "online",
    "SGD": "optimizers",
    "Adam": "optimizers",
    "AdamW": "optimizers",
    "ForecastDisplay": "displays",
    "GateDisplay": "displays",
    "GatedGraph": "gated_graph",
    "GraphClassifier": "estimators.graphs",
    "GraphRegressor": "estimators.graphs",
    "Graphs": "graphs",
    "LossCurveDisplay": "displays",
    "Network": "network",
    "NodeClassifier": "estimators.graphs",
    "OnlineRNNClassifier": "estimators.online",
    "OnlineRNNRegressor": "estimators.online",
    "RMSprop": "optimizers",
    "RNNClassifier": "estimators.classifier",
    "RNNForecaster": "estimators.forecaster",
    "RNNLanguageModel": "estimators.language_model",
    "RNNRegressor": "estimators.regressor",
    "RNNSeq2Seq": "estimators.seq2seq",
    "RNNTagger": "estimators.tagger",
    "SequenceScaler": "estimators.scaler",
    "Sequences": "sequences",
    "TimeDelay": "time_delay",
    "TreeLSTM": "tree",
    "calendar_features": "calendar",
    "from_keras": "interop.keras",
    "from_onnx": "interop.onnx",
    "from_torch": "interop.torch",
    "load": "model_file",
    "model_from_network": "interop.models",
    "sequences_from_channels": "frames",
    "sequences_from_frame": "frames",
    "sequences_from_mask": "frames",
    "series_from_frame": "frames",
    "show_versions": "_versions",
    "to_c": "interop.c",
    "to_keras": "interop.keras",
    "to_onnx": "interop.onnx_export",
    "to_torch": "interop.torch",
}
# Modules of which docs/api.rst lists names: `lstmcore.layers.from_cell` works after `import lstmcore` alone.
_MODULES = (
    *("attention", "callbacks", "chunks", "embedding", "forecasting", "frames", "graph_network", "interop", "language"),
    *("layers", "losses", "metrics", "model", "network", "online", "pairs", "pooling", "schedules", "seq2seq"),
    *("seq2seq_model", "sequences", "streaming", "training", "vocabulary"),
)


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"lstmcore.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'lstmcore' has no attribute {name!r}")
    try:
        module = importlib.import_module(f"lstmcore.{_HOME[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sklearn":
            raise
        raise ImportError(f'lstmcore.{name} needs scikit-learn: pip install "lstmcore[sklearn]"') from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def cells() -> list[str]:
    """Return the names of the registered cells: the values that ``cell=`` takes."""
    return [str(cell["name"]) for cell in _core.cells()]


def get_include() -> str:
    """Return the folder of the C++ headers, for ``#include <lstmcore/recurrent.hpp>``.

    They need Eigen 5.0.1 or newer beside them.
    """
    return str(_installed() / "include")


def get_cmake_dir() -> str:
    """Return the folder of the CMake package, for ``-Dlstmcore_DIR=`` before ``find_package(lstmcore)``."""
    return str(_installed() / "lib" / "cmake" / "lstmcore")


def _installed() -> Path:
    # What the build installs lies beside the extension modules: in an editable installation not beside this file.
    assert _cpu.__file__ is not None
    return Path(_cpu.__file__).parent
