"""A fitted model from sequence to sequence. Needs no scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._beam_search import Search
from lstmcore._samples import Samples
from lstmcore._sources import SOURCES, AnySource, Read, read_outputs
from lstmcore._validation import Array
from lstmcore.metrics import error_rate
from lstmcore.model import Model
from lstmcore.pairs import Pairs
from lstmcore.seq2seq import Seq2SeqNetwork
from lstmcore.vocabulary import Vocabulary

_BEAMS = 2048  # outputs that are written side by side


class Seq2SeqModel(Model):
    """A fitted model that writes a sequence of tokens for what it reads.

    Parameters
    ----------
    network : Seq2SeqNetwork
    source : TokenSource, VectorSource or FeatureSource
        What happens to samples before the network.
    vocabulary : Vocabulary
        Of the outputs.
    search : Search
        How outputs are searched for.
    """

    kind = "seq2seq"
    network: Seq2SeqNetwork  # type: ignore[assignment]
    network_type = Seq2SeqNetwork

    def __init__(self, network: Seq2SeqNetwork, source: AnySource, vocabulary: Vocabulary, search: Search) -> None:
        self.network = network
        self.source, self.vocabulary, self.search = source, vocabulary, search

    def __repr__(self) -> str:
        network = self.network
        return f"{type(self).__name__}({network.encoder!r}, {network.decoder!r}, outputs={network.n_outputs})"

    def predict(self, X: Any, *, beam_width: int | None = None, return_attention: bool = False) -> Any:
        """Write the likeliest output of each sample, or with a narrow beam nearly.

        Parameters
        ----------
        X : array_like
            As in ``fit``.
        beam_width : int, optional
            In place of the model's own.
        return_attention : bool, default=False
            Whether the weights of `attention` are wanted, too.

        Returns
        -------
        list of str, or of lists of tokens
            With `return_attention` a tuple of it and a list of arrays.
        """
        outputs, _ = self._search(X, beam_width)
        return (outputs, self.attention(X, outputs)) if check.flag(return_attention, "return_attention") else outputs

    def predict_with_log_proba(self, X: Any, *, beam_width: int | None = None) -> tuple[list[Any], Array]:
        """Write outputs as `predict`, and return their log probabilities [n] as well."""
        return self._search(X, beam_width)

    def error_rate(self, X: Any, y: Any) -> float:
        """Edit distances between outputs and `y`, summed, over the summed lengths of `y`: see `lstmcore.metrics`."""
        return error_rate(read_outputs(y, "y", self.vocabulary.level)[0], self.predict(X))

    def attention(self, X: Any, y: Any) -> list[Array]:
        """Return where the decoder looks while it writes known outputs.

        Parameters
        ----------
        X, y : array_like
            As in ``fit``; tokens of `y` must be known.

        Returns
        -------
        list of ndarray [len(y[i]) + 1, len(X[i])]
            How much of each step of the input is in the context for each token of the output and for its end; rows add
            up to 1.

        Raises
        ------
        ValueError
            If the model has no attention.
        """
        if self.network.attention is None:
            raise ValueError(
                "attention needs a model with attention: this one was fitted with attention=None, or on single vectors"
            )
        pairs = self.samples(X, y).sequences
        assert isinstance(pairs, Pairs) and pairs.source is not None
        found: list[Any] = [None] * len(pairs)
        for indices in pairs.minibatches(_BEAMS):
            batch = pairs.batch(indices)
            flat, begin = self.network.infer(batch)[1], 0
            assert flat is not None
            for i, steps in zip(batch.order, batch.lengths, strict=True):
                end = begin + steps * pairs.source.lengths[i]
                found[i] = flat[begin:end].reshape(steps, -1)
                begin = end
        return found

    def session(self, n_streams: int = 1) -> Any:
        """Refuse: an output is written when its sample is complete."""
        raise TypeError("a session needs a model that answers step by step; this one reads its whole sample first")

    def samples(self, X: Any, y: Any, weights: Array | None = None, names: tuple[str, str] = ("X", "y")) -> Samples:
        """Return what the trainer takes: for each step of each output the token before it, and as target its own."""
        read = self.source.read(X, names[0])
        texts, _ = read_outputs(y, names[1], self.vocabulary.level)
        if len(texts) != read.n:
            raise ValueError(
                f"{names[1]} must hold {read.n} outputs, one for each sample of {names[0]}, got {len(texts)}"
            )
        boundary = self.vocabulary.BOUNDARY
        numbers = [self.vocabulary.encode(text) for text in texts]
        for i, row in enumerate(numbers):
            for j in np.flatnonzero(row == self.vocabulary.UNKNOWN)[:1]:
                raise ValueError(f"{names[1]}[{i}][{j}] is {texts[i][j]!r}, which is no token of the model's outputs")
        lengths = np.array([len(row) + 1 for row in numbers])
        ends = np.cumsum(lengths)
        targets = np.concatenate([np.append(row, boundary) for row in numbers])
        values = np.roll(targets, 1).astype(np.float32)[:, None]  # the end of one output is the beginning of the next
        pairs = Pairs(values, ends - lengths, lengths, read.static, read.sequences)
        return Samples(pairs, targets, None if weights is None else np.repeat(weights, lengths), by_row=True)

    def _search(self, X: Any, beam_width: int | None) -> tuple[list[Any], Array]:
        read = self.source.read(X, "X")
        search = self.search
        if beam_width is not None:
            search = search._replace(beam_width=check.integer(beam_width, "beam_width"))
        outputs: list[Any] = [None] * read.n
        found = np.empty(read.n)
        boundary, unknown = self.vocabulary.BOUNDARY, self.vocabulary.UNKNOWN
        for indices in _batches(read, max(1, _BEAMS // search.beam_width)):
            source = None if read.sequences is None else read.sequences.batch(indices)
            order = indices if source is None else source.order
            decoding = self.network.start(source, None if read.static is None else read.static[order])
            written, found[order] = search.run(decoding, len(order), boundary, unknown)
            for i, numbers in zip(order, written, strict=True):
                outputs[i] = self.vocabulary.decode(numbers)
        return outputs, found

    def _task_config(self) -> dict[str, Any]:
        return {
            "source": {"kind": self.source.kind, **self.source.to_config()},
            "tokens": self.vocabulary.tokens,
            "level": self.vocabulary.level,
            "search": self.search._asdict(),
        }

    @classmethod
    def _from_task_config(cls, network: Any, config: dict[str, Any]) -> Seq2SeqModel:
        source = dict(config["source"])
        kind = SOURCES[source.pop("kind")]
        vocabulary = Vocabulary(config["tokens"], config["level"])
        return cls(network, kind.from_config(source), vocabulary, Search(**config["search"]))


def _batches(read: Read, size: int) -> list[Array]:
    """Indices of samples that are computed together: of sequences, those of similar lengths."""
    if read.sequences is not None:
        return read.sequences.minibatches(size)
    return np.split(np.arange(read.n), range(size, read.n, size))
