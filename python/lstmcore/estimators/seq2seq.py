"""Sequences of tokens from what may be of another length: an encoder, attention and a decoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._beam_search import Search
from lstmcore._isa import core
from lstmcore._sources import FeatureSource, read_outputs, source_kind
from lstmcore._validation import Array
from lstmcore.attention import SCORES
from lstmcore.estimators._base import RNNEstimator, SupervisedEstimator
from lstmcore.estimators._options import CELL_ALIASES, documented
from lstmcore.losses import CrossEntropy, Loss
from lstmcore.seq2seq import Seq2SeqConfig, Seq2SeqNetwork
from lstmcore.seq2seq_model import Seq2SeqModel
from lstmcore.training import Trainer
from lstmcore.vocabulary import Vocabulary


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class RNNSeq2Seq(RNNEstimator, SupervisedEstimator):
    """Write a sequence of tokens for each sample: translate, spell, pronounce, describe.

    An encoder, a stack of recurrent layers, reads the sample; a decoder starts from what it remembers and writes one
    token after another, each time looking back at the steps of the sample (attention), until it writes an end
    (Sutskever, Vinyals & Le 2014; Bahdanau, Cho & Bengio 2015). Samples and outputs may have any lengths; nothing is
    padded. In training the decoder reads the right tokens ("teacher forcing"), in `predict` its own.

    X is one of

    - a list of strings, or of lists or 1-D arrays of tokens (strings or integers);
    - a 3-D array (n_samples, n_timesteps, n_features) or a list of 2-D arrays of different lengths, or `Sequences`;
    - a 2-D array (n_samples, n_features): one vector a sample, such as features of an image. There is no encoder then,
      and a dense layer makes the decoder's initial state of the vector.

    y is a list of strings, which are written character by character, or of lists of tokens. Both vocabularies are
    learnt.

    Parameters
    ----------
    decoder_cell : str or None, default=None
        Cell of the decoder, if it is to be another one than `cell`.
    bidirectional : bool, default=True
        Whether the encoder reads from both ends.
    attention : {"additive", "dot"} or None, default="additive"
        How the decoder looks back at the encoder's steps, see `lstmcore.attention.Attention`. None: not at all.
    attention_size : int or None, default=None
        Width of "additive"; None: hidden_size.
    embedding_dim : int, default=64
        Width of the vectors of tokens, of input and output.
    min_count : int, default=1
        Tokens of X that come less often are taken for one, "unknown", as are those that come only in `predict`.
    standardize : bool, default=True
        Bring each feature of X to mean zero and variance one; tokens are left alone.
    label_smoothing : float, default=0.0
        Share of the probability that the targets spread over all tokens (Szegedy et al. 2016).
    beam_width : int, default=1
        How many outputs `predict` follows at a time; 1 takes the likeliest token at each step.
    length_penalty : float, default=1.0
        Outputs of a beam are ranked by log p / length**length_penalty: 0 prefers short ones.
    max_length : int or None, default=None
        The most tokens that `predict` writes; None: as many as the longest output of ``fit``.

    Attributes
    ----------
    model_ : lstmcore.seq2seq_model.Seq2SeqModel
        Does the work and needs no scikit-learn.
    history_ : dict of lists
        A column for each measure, an entry an epoch: "epoch", "loss", "learning_rate", "seconds" …
    loss_curve_ : list of float
        Mean training loss of each epoch, over tokens and ends.
    validation_scores_, validation_loss_curve_ : list of float or None
        Share of the tokens and ends of the validation part that are likeliest after the right ones, and loss, after
        each epoch.
    n_iter_, best_epoch_ : int
        Epochs that were run; the one whose parameters were kept (from 0), None without validation data.

    See Also
    --------
    RNNTagger : A label for every step: outputs as long as their inputs.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = ["".join(rng.choice(list("abcd"), rng.integers(1, 6))) for _ in range(400)]
    >>> y = [text[::-1] for text in X]
    >>> options = dict(cell="gru", hidden_size=32, embedding_dim=8, max_epochs=15, learning_rate=1e-2, random_state=0)
    >>> model = RNNSeq2Seq(**options).fit(X, y)
    >>> model.predict(["abcd", "dad"])
    ['dcba', 'dad']
    """

    decoder_cell: str | None = None
    bidirectional: bool = True
    attention: str | None = "additive"
    attention_size: int | None = None
    embedding_dim: int = 64
    min_count: int = 1
    standardize: bool = True
    label_smoothing: float = 0.0
    beam_width: int = 1
    length_penalty: float = 1.0
    max_length: int | None = None
    model_: Seq2SeqModel = field(init=False)

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        resume_from: Any = None,
    ) -> RNNSeq2Seq:
        """Train, from scratch unless `warm_start` is set.

        Parameters
        ----------
        X, y : array_like
            Samples and their outputs, see the class. An output may be empty.
        sample_weight : array_like [n_samples], optional
            Weigh the samples in the loss.
        X_val, y_val : array_like, optional
            Validation data, measured after each epoch; the parameters of the best epoch are kept.
        resume_from : path, optional
            A file that `lstmcore.callbacks.Checkpoint` wrote: training goes on from there, to the same bits as if it
            had not been interrupted, given the same data and options.

        Returns
        -------
        estimator
            Itself.

        Raises
        ------
        ValueError, TypeError
            If an option or argument is not as described; the message names it and quotes the value.
        lstmcore.training.TrainingDiverged
            If the loss stops being a number. The last good parameters are kept.
        """
        self._check_options()
        outputs, level = read_outputs(y, "y")
        if not (self.warm_start and hasattr(self, "model_")):
            rng = self._generator()
            model = self._new_model(X, Vocabulary.fit(outputs, level), rng)
            self._longest = max(len(output) for output in outputs)
        else:
            model = self.model_
        data = model.samples(X, y, self._weights(sample_weight, len(outputs)))
        validation = None
        if X_val is not None or y_val is not None:
            validation = model.samples(X_val, y_val, names=("X_val", "y_val"))
        if not (self.warm_start and hasattr(self, "model_")):
            self.model_ = model
            self._trainer = Trainer(model.network, self._training_config(self._loss()), rng)  # type: ignore[arg-type]
        model.search = self._search()
        if validation is None and self.early_stopping:
            train, rest = self._split(data, self._split_generator(resume_from))
            data, validation = data.take(train), data.take(rest)
        self._train(data, validation, resume_from=resume_from)
        return self

    def predict(self, X: Any, *, beam_width: int | None = None, return_attention: bool = False) -> Any:
        """Write the output of each sample.

        Parameters
        ----------
        X : array_like
            As in `fit`.
        beam_width : int, optional
            In place of the option.
        return_attention : bool, default=False
            Whether the weights of `attention` are wanted, too.

        Returns
        -------
        list of str, or of lists of tokens
            With `return_attention` a tuple of it and a list of arrays.
        """
        return self._fitted_model().predict(X, beam_width=beam_width, return_attention=return_attention)

    def attention_weights(self, X: Any, y: Any) -> list[Array]:
        """Return where the decoder looks while it writes known outputs.

        Parameters
        ----------
        X, y : array_like
            As in `fit`.

        Returns
        -------
        list of ndarray [len(y[i]) + 1, len(X[i])]
            How much of each step of the input is in the context for each token of the output and for its end; rows add
            up to 1.
        """
        weights: list[Array] = self._fitted_model().attention(X, y)
        return weights

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of the samples whose output is right from its first token to its end.

        Parameters
        ----------
        X, y : array_like
            As in `fit`.
        sample_weight : array_like [n_samples], optional

        Returns
        -------
        float
        """
        outputs, _ = read_outputs(y, "y", self._fitted_model().vocabulary.level)
        predicted = self.predict(X)
        if len(predicted) != len(outputs):
            raise ValueError(f"y must hold {len(predicted)} outputs, one for each sample of X, got {len(outputs)}")
        right = [list(a) == list(b) for a, b in zip(predicted, outputs, strict=True)]
        return float(np.average(right, weights=self._weights(sample_weight, len(outputs))))

    def error_rate(self, X: Any, y: Any) -> float:
        """Edit distances between what is predicted and `y`, summed, over the summed lengths of `y`.

        The phoneme, character or word error rate; see `lstmcore.metrics.error_rate`. 0 is perfect.
        """
        return float(self._fitted_model().error_rate(X, y))

    # ---- parts ----

    def _check_options(self) -> None:
        super()._check_options()
        if self.decoder_cell is not None:
            check.choice(self.decoder_cell, "decoder_cell", [*(cell["name"] for cell in core.cells()), *CELL_ALIASES])
        for name in ("bidirectional", "standardize"):
            check.flag(getattr(self, name), name)
        if self.attention is not None:
            check.choice(self.attention, "attention", SCORES)
        for name in ("embedding_dim", "min_count", "beam_width"):
            check.integer(getattr(self, name), name)
        if self.max_length is not None:
            check.integer(self.max_length, "max_length")
        if self.attention_size is not None:
            check.integer(self.attention_size, "attention_size")
            if self.attention != "additive":
                raise ValueError(
                    f"attention_size must be None with attention={self.attention!r}, got {self.attention_size!r}"
                )
        check.fraction(self.label_smoothing, "label_smoothing")
        if check.real(self.length_penalty, "length_penalty") < 0:
            raise ValueError(f"length_penalty must be at least 0, got {self.length_penalty!r}")

    def _weights(self, sample_weight: Any, n: int) -> Array | None:
        weights = self._read_weights(sample_weight, range(n))
        return None if weights is None else weights.astype(np.float32)

    def _search(self) -> Search:
        return Search(self.beam_width, float(self.length_penalty), self.max_length or self._longest)

    def _new_model(self, X: Any, vocabulary: Vocabulary, rng: np.random.Generator) -> Seq2SeqModel:
        source = source_kind(X).fit(X, self.standardize, self.min_count)
        cell = str(CELL_ALIASES.get(self.cell, self.cell))
        decoder_cell = cell if self.decoder_cell is None else CELL_ALIASES.get(self.decoder_cell, self.decoder_cell)
        sizes = {"hidden_size": self.hidden_size, **self._recurrent_options()}
        encoded = not isinstance(source, FeatureSource)
        config = Seq2SeqConfig(
            n_outputs=len(vocabulary),
            embedding_dim=self.embedding_dim,
            decoder={"cell": decoder_cell, **sizes},
            encoder={"cell": cell, "bidirectional": self.bidirectional, **sizes} if encoded else None,
            attention=self.attention if encoded else None,
            attention_size=(self.attention_size or self.hidden_size) if self.attention == "additive" else None,
            dropout=self.dropout,
            n_tokens=source.n_tokens,
            n_features=source.n_features,
        )
        return Seq2SeqModel(Seq2SeqNetwork(config, rng), source, vocabulary, Search(1, 0.0, 1))

    def _loss(self) -> Loss:
        return CrossEntropy(self.label_smoothing)

    def _score(self, outputs: Array, targets: Array, weights: Array | None = None) -> float:
        return float(np.average(outputs.argmax(axis=1) == targets, weights=weights))
