"""To ONNX: layers, networks and fitted models as one file that other runtimes run.

What users have goes in and what they want comes out: preprocessing, pooling and units are nodes of the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lstmcore
from lstmcore import _files
from lstmcore import _validation as check
from lstmcore._recurrent import Recurrent
from lstmcore.forecasting import ForecasterModel
from lstmcore.interop import _onnx_check, _onnx_models
from lstmcore.interop._onnx_graph import Graph
from lstmcore.language import LanguageModel
from lstmcore.model import ClassifierModel, RegressorModel, TaggerModel
from lstmcore.network import Network

if TYPE_CHECKING:
    import onnx

_OLDEST = 14
_KINDS: tuple[tuple[type, str, Callable[[Graph, Any], None]], ...] = (
    (Recurrent, "layer", _onnx_models.layer),
    (Network, "network", _onnx_models.network),
    (ClassifierModel, ClassifierModel.kind, _onnx_models.classifier),
    (TaggerModel, TaggerModel.kind, _onnx_models.tagger),
    (RegressorModel, RegressorModel.kind, _onnx_models.regressor),
    (ForecasterModel, ForecasterModel.kind, _onnx_models.forecaster),
    (LanguageModel, LanguageModel.kind, _onnx_models.language_model),
)


def to_onnx(what: Any, path: Any = None, *, opset: int = 17) -> onnx.ModelProto:
    """Return an ONNX model that computes what a layer, network, model or fitted estimator computes.

    Batch and steps may be of any length, and ragged batches give the numbers that lstmcore gives: the input
    ``lengths`` [batch] of int64 says how many steps each sequence has. It may be left out (all have all steps), as may
    initial states (zero).

    Parameters
    ----------
    what : Recurrent, Network, model or fitted estimator
        A layer of any cell, a `TimeDelay`; a network; a classifier, tagger, regressor, forecaster or language model:
        what ``model_`` holds and `load` returns, or the estimator itself.
    path : str or path, optional
        Where to write it, too; an existing file is replaced only by a complete one.
    opset : int, default=17
        Version of ONNX's operators, at least 14: newer runtimes take all older ones.

    Returns
    -------
    onnx.ModelProto
        Checked by ``onnx.checker``, and on random input compared with `what`: in ONNX Runtime, or through `from_onnx`
        where that is missing. Its metadata name the version of lstmcore ("lstmcore.version") and the kind
        ("lstmcore.kind").

    Raises
    ------
    TypeError
        If `what` is none of these.
    ValueError
        If a part of it has no form in ONNX, or `opset` is out of range; the message names it.
    ImportError
        If the package onnx is missing.
    RuntimeError
        If it does not compute the same.

    Notes
    -----
    Inputs and outputs by kind, [batch, time, ...] in all but layers with ``batch_first=False``:

    ==============  ========================================  ==============================================
    kind            inputs                                    outputs
    ==============  ========================================  ==============================================
    layer           x, lengths, h0, c0 (others: `state`)      y, h_n, c_n: as calling the layer
    network         x or tokens, lengths, h0, c0 or static    output, h_n, c_n
    classifier      X, lengths, static                        label, probabilities
    tagger          X, lengths, static                        label, probabilities of every step
    regressor       X, lengths, static                        prediction; quantiles
    forecaster      y, lengths, X, known                      forecast: after each series' last step
    language model  tokens, lengths, h0, c0                   logits of the next token at every step, h_n, c_n
    ==============  ========================================  ==============================================

    Layers and networks take and give their own dtype. X, y, known and the static features of a model are raw float64
    numbers, NaN where a value is missing if the model takes that; tokens are int64 [batch, time]. Nothing checks them.
    What stands beyond a length in an output of every step means nothing. Cells that ONNX's LSTM, GRU and RNN operators
    can express use these; others, float64, projections and zoneout run step by step in a Scan.

    Examples
    --------
    >>> import onnxruntime  # doctest: +SKIP
    >>> classifier = lstmcore.RNNClassifier().fit(X, y)  # doctest: +SKIP
    >>> _ = lstmcore.to_onnx(classifier, "classifier.onnx")  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession("classifier.onnx")  # doctest: +SKIP
    >>> label, probabilities = session.run(None, {"X": X})  # doctest: +SKIP
    """
    path = None if path is None else _files.as_path(path)
    opset = check.integer(opset, "opset", _OLDEST)
    if hasattr(what, "_fitted_model"):
        what = what._fitted_model()
    kind, build = _kind(what)
    try:
        import onnx
    except ImportError as error:
        raise ImportError("to_onnx needs the package onnx: pip install onnx onnxruntime") from error
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise ValueError(f"opset must be at most {newest}, the newest of onnx {onnx.__version__}, got {opset}")
    graph = Graph(opset)
    build(graph, what)
    version = lstmcore.__version__
    names = {"lstmcore.version": version, "lstmcore.kind": kind, **_onnx_models.vocabulary(what)}
    model = graph.model(names, version)
    _onnx_check.compare(model, what)
    if path is not None:
        _files.replace(path, model.SerializeToString())
    return model


def _kind(what: Any) -> tuple[str, Callable[[Graph, Any], None]]:
    """What it is, and what writes it."""
    for type_, kind, build in _KINDS:
        if isinstance(what, type_):
            return kind, build
    raise TypeError(
        f"what must be a recurrent layer, a Network, a model or a fitted estimator of sequences, series or texts, "
        f"got {type(what).__name__}, which has no form in ONNX"
    )
