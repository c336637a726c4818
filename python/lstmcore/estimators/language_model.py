"""What comes next in a text, and texts that go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmcore import _validation as check
from lstmcore._samples import Samples
from lstmcore.chunks import Chunks, cut
from lstmcore.embedding import Embedding
from lstmcore.estimators._base import RNNEstimator, SupervisedEstimator
from lstmcore.estimators._options import CELL_ALIASES, documented
from lstmcore.language import LanguageModel
from lstmcore.layers import from_cell
from lstmcore.losses import CrossEntropy, Loss
from lstmcore.network import Dense, Network
from lstmcore.vocabulary import LEVELS, Vocabulary, read_texts


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class RNNLanguageModel(RNNEstimator, SupervisedEstimator):
    """Learn which token follows in texts, character by character or word by word, and write on.

    An embedding, a stack of recurrent layers and a softmax over the vocabulary at every step (Mikolov et al. 2010).
    Texts are read side by side, `batch_size` of them, in chunks of `tbptt_steps`: the state is carried from chunk to
    chunk, the gradient is not. A long text is cut into as many pieces as keep all of them busy.

    Parameters
    ----------
    level : {"character", "token"}, default="character"
        What a text is: a string of characters, or a list or 1-D array of tokens, which are strings or integers.
    min_count : int, default=1
        Tokens that come less often in ``fit`` are unknown, as are those that do not come at all.
    embedding_dim : int, default=32
        Width of the vector of a token, which is learnt.
    tbptt_steps : int, default=100
        Truncated back-propagation: largest number of steps of a chunk, after each of which the optimizer takes a step.

    Attributes
    ----------
    vocabulary_ : lstmcore.vocabulary.Vocabulary
        The tokens and their numbers.
    model_ : lstmcore.language.LanguageModel
        Does the work and needs no scikit-learn.
    history_ : dict of lists
        A column for each measure, an entry an epoch: "epoch", "loss", "learning_rate", "seconds" …
    loss_curve_ : list of float
        Mean training loss of each epoch, in nats per token: divided by log 2 these are bits.
    validation_loss_curve_ : list of float or None
        The same of the validation part after each epoch.
    n_iter_, best_epoch_ : int
        Epochs that were run; the one whose parameters were kept (from 0), None without validation data.

    Examples
    --------
    >>> text = "she sells sea shells by the sea shore. " * 50
    >>> model = RNNLanguageModel(hidden_size=32, batch_size=4, tbptt_steps=20, max_epochs=10, learning_rate=1e-2,
    ...                          random_state=0).fit(text)
    >>> model.generate("she sells", 30, temperature=0)
    ' sea shells by the sea shore. '
    >>> model.perplexity(text) < 1.1  # after one character there is hardly a doubt about the next
    True
    """

    level: str = "character"
    min_count: int = 1
    embedding_dim: int = 32
    tbptt_steps: int = 100

    model_: LanguageModel = field(init=False)

    # ---- training ----

    def fit(self, text: Any, y: Any = None, *, text_val: Any = None, resume_from: Any = None) -> RNNLanguageModel:
        """Train, from scratch unless `warm_start` is set.

        Parameters
        ----------
        text : str, or list of str; with level="token" list or ndarray of tokens, or list of such
            One text, which has no end, or a list of texts, whose ends are learnt too.
        y : None
            Ignored: the text says itself what follows.
        text_val : as `text`, optional
            Measured after each epoch; the parameters of the best epoch are kept. Without it `early_stopping` holds out
            the last `validation_fraction` of one text, or as many of several texts, drawn by `random_state`.
        resume_from : path, optional
            A file that `lstmcore.callbacks.Checkpoint` wrote: training goes on from there, to the same bits as if it
            had not been interrupted, given the same text and options.

        Returns
        -------
        RNNLanguageModel
            Itself.

        Raises
        ------
        ValueError, TypeError
            If an option or argument is not as described; the message names it and quotes the value.
        lstmcore.training.TrainingDiverged
            If the loss stops being a number. The last good parameters are kept.
        """
        self._check_options()
        texts, several = read_texts(text, self.level)
        held_out = None if text_val is None else read_texts(text_val, self.level, "text_val")[0]
        fresh = not (self.warm_start and hasattr(self, "model_"))
        rng = self._generator() if fresh else self._trainer.rng
        extra = {}
        if held_out is None and self.early_stopping:  # before the vocabulary is learnt
            extra["split_seed"] = self._split_seed(resume_from, rng)
            texts, held_out = self._hold_out(texts, np.random.default_rng(extra["split_seed"]))
        if fresh:
            self._start(texts, several, rng)
        self._trainer.extra |= extra
        self._train(self._prepared(texts), None if held_out is None else self._prepared(held_out), None, resume_from)
        return self

    def partial_fit(self, text: Any, y: Any = None) -> RNNLanguageModel:
        """Train one more epoch; the first call makes the model, with the vocabulary of its text.

        Parameters
        ----------
        text, y
            As in `fit`.
        """
        texts, several = read_texts(text, self.level)
        if not hasattr(self, "model_"):
            self._check_options()
            self._start(texts, several, self._generator())
        self._train(self._prepared(texts), None, max_epochs=1)
        return self

    # ---- what it knows and writes ----

    def generate(
        self,
        prompt: Any = None,
        length: int = 200,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: Any = None,
    ) -> Any:
        """Write on from a prompt; see `lstmcore.language.LanguageModel.generate`."""
        options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        return self._fitted_model().generate(prompt, length, **options)

    def stream(
        self,
        prompt: Any = None,
        length: int | None = None,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: Any = None,
    ) -> Iterator[Any]:
        """Write token by token; see `lstmcore.language.LanguageModel.stream`."""
        options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        return self._fitted_model().stream(prompt, length, **options)

    def score(self, text: Any, y: Any = None) -> float:
        """Minus the bits per token: the mean of log₂ p of each token of `text`, given those before it.

        The end of a text counts as a token where texts have ends.
        """
        return self._fitted_model().score(text)

    def perplexity(self, text: Any) -> float:
        """2 to the bits per token: among so many tokens of equal probability the model is in doubt."""
        return self._fitted_model().perplexity(text)

    def surprisal(self, text: Any) -> Any:
        """Bits of each token; see `lstmcore.language.LanguageModel.surprisal`."""
        return self._fitted_model().surprisal(text)

    @property
    def vocabulary_(self) -> Vocabulary:
        """The tokens and their numbers."""
        return self._fitted_model().vocabulary

    # ---- the work ----

    def _check_options(self) -> None:
        super()._check_options()
        check.choice(self.level, "level", LEVELS)
        for name in ("min_count", "embedding_dim", "tbptt_steps"):
            check.integer(getattr(self, name), name)

    def _start(self, texts: list[Any], several: bool, rng: np.random.Generator) -> None:
        """Make a new model for these texts and prepare its training."""
        vocabulary = Vocabulary.fit(texts, self.level, self.min_count)
        embedding = Embedding(len(vocabulary), self.embedding_dim, seed=rng)
        cell = str(CELL_ALIASES.get(self.cell, self.cell))
        recurrent = from_cell(cell, self.embedding_dim, self.hidden_size, **self._recurrent_options(), seed=rng)
        dense = Dense(recurrent.output_size, len(vocabulary), seed=rng)
        network = Network(recurrent, None, dense, dropout=self.dropout, embedding=embedding)
        self._prepare_training(LanguageModel(network, vocabulary, several), rng)

    def _hold_out(self, texts: list[Any], rng: np.random.Generator) -> tuple[list[Any], list[Any]]:
        """Texts to train on and to measure: of one text its end, of several some of them."""
        one = len(texts) == 1
        n = len(texts[0]) if one else len(texts)
        n_held_out = max(1, round(self.validation_fraction * n))
        if n - n_held_out < 1:
            raise ValueError(
                f"early_stopping with validation_fraction={self.validation_fraction!r} leaves nothing of "
                f"{n} {'token' if one else 'text'}(s)"
            )
        if one:
            return [texts[0][:-n_held_out]], [texts[0][-n_held_out:]]
        shuffled = rng.permutation(n)
        return [texts[i] for i in np.sort(shuffled[n_held_out:])], [texts[i] for i in np.sort(shuffled[:n_held_out])]

    def _prepared(self, texts: list[Any]) -> Samples:
        """What the trainer takes."""
        sequences, targets = self.model_.prepare(texts)
        starts, lengths = cut(sequences.lengths, self.batch_size, self.tbptt_steps)
        return Samples(Chunks(sequences.values, starts, lengths, self.tbptt_steps), targets, None, by_row=True)

    def _loss(self) -> Loss:
        return CrossEntropy()

    def _fitted_model(self) -> LanguageModel:
        model = super()._fitted_model()
        assert isinstance(model, LanguageModel)
        return model
