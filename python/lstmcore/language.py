"""Language models: what `RNNLanguageModel` fits, and `lstmcore.load` returns. Needs no scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from lstmcore import _validation as check
from lstmcore._live_streams import LiveStreams
from lstmcore._validation import Array
from lstmcore.chunks import Chunks
from lstmcore.model import Model
from lstmcore.network import Network
from lstmcore.sequences import Batch, Sequences
from lstmcore.vocabulary import Vocabulary, read_texts

_SCORED_TEXTS, _SCORED_LOGITS = 64, 1 << 22  # sequences of one batch that is scored, and outputs of all their rows


class LanguageModel(Model):
    """A fitted language model.

    Parameters
    ----------
    network : Network
        With an embedding, and an output for each number of the vocabulary at every step.
    vocabulary : Vocabulary
    ends : bool
        Whether texts have an end, which the model has learnt. Else a text goes on for ever.
    """

    kind: ClassVar[str] = "language_model"

    def __init__(self, network: Network, vocabulary: Vocabulary, ends: bool) -> None:
        super().__init__(network)
        self.vocabulary, self.ends = vocabulary, ends

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.network.recurrent!r}, {self.vocabulary!r}, ends={self.ends})"

    # ---- how well it knows a text ----

    def surprisal(self, text: Any) -> Any:
        """Measure how unexpected each token is, given those before it in its text: −log₂ p, in bits.

        Parameters
        ----------
        text : str, list or ndarray
            One text or a list of texts, as in `fit`. Tokens that are not in the vocabulary count as "unknown".

        Returns
        -------
        ndarray [n] of float64, or list of ndarray
            Bits of each token, and one more for the end of a text if texts have ends.
        """
        texts, several = read_texts(text, self.vocabulary.level)
        data, targets = self.prepare(texts)
        bits, begin = np.empty(len(targets)), np.cumsum(data.lengths) - data.lengths
        size = min(len(data), _SCORED_TEXTS)
        steps = max(1, _SCORED_LOGITS // (len(self.vocabulary) * size))
        chunks = Chunks(data.values, begin, data.lengths, steps)
        for batch, logits in self.network.outputs(chunks, size):
            rows = chunks.rows(batch)
            bits[rows] = _surprisal(logits, targets[rows])
        return data.split(bits) if several else bits

    def score(self, text: Any) -> float:
        """Mean of log₂ p over all tokens of a text or of texts: minus the bits per token, so that greater is better."""
        bits = self.surprisal(text)
        return -float(np.mean(np.concatenate(bits) if isinstance(bits, list) else bits))

    def perplexity(self, text: Any) -> float:
        """2 to the bits per token: among so many tokens of equal probability the model is in doubt."""
        return float(2.0 ** -self.score(text))

    def prepare(self, texts: list[Any]) -> tuple[Sequences, Array]:
        """Return what the network reads, token numbers [R, 1], and the number that follows each: int64 [R]."""
        before, after = [Vocabulary.BOUNDARY], [Vocabulary.BOUNDARY] * self.ends
        whole = [np.concatenate((before, self.vocabulary.encode(text), after)).astype(np.int64) for text in texts]
        lengths = np.array([len(text) - 1 for text in whole])
        values = np.concatenate([text[:-1] for text in whole]).astype(self.network.dtype)[:, None]
        targets = np.concatenate([text[1:] for text in whole])
        return Sequences(values, np.cumsum(lengths) - lengths, lengths), targets

    # ---- writing ----

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
        """Write on from a prompt.

        Parameters
        ----------
        prompt : str, or list or ndarray of tokens, optional
            What the text begins with. None: nothing, a text from its start.
        length : int, default=200
            Tokens to write, fewer if the text ends before.
        temperature : float, default=1.0
            Logits are divided by it: below 1 likely tokens become likelier, 0 always takes the likeliest.
        top_k : int, optional
            Draw among the k likeliest tokens only.
        top_p : float, optional
            Draw among the likeliest tokens whose probabilities together reach p, in (0, 1] (nucleus sampling,
            Holtzman et al. 2020); after `top_k`.
        seed : int, numpy.random.Generator or None, default=None
            Of the draws.

        Returns
        -------
        str or list
            What was written, without the prompt.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.
        """
        length = check.integer(length, "length", 0)
        tokens = self.stream(prompt, length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
        return "".join(tokens) if self.vocabulary.level == "character" else list(tokens)

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
        """Write as `generate` does, token by token: an iterator, endless with length=None unless the text ends."""
        sampler = Sampler(temperature, top_k, top_p, seed)
        limit = None if length is None else check.integer(length, "length", 0)
        session = self.session()
        if prompt is not None:
            session.read(prompt)
        return self._written(session, sampler, limit)

    def _written(self, session: LanguageSession, sampler: Sampler, length: int | None) -> Iterator[Any]:
        n = 0
        while length is None or n < length:
            number = sampler.draw(session.logits[0])
            if number == Vocabulary.BOUNDARY:
                return
            yield self.vocabulary.tokens[number - 2]
            n += 1
            if n != length:
                session.advance(np.array([number]))

    def session(self, n_streams: int = 1) -> LanguageSession:
        """Open live texts, each at its start."""
        return LanguageSession(self, n_streams)

    # ---- files ----

    def _task_config(self) -> dict[str, Any]:
        return {"tokens": self.vocabulary.tokens, "level": self.vocabulary.level, "ends": self.ends}

    @classmethod
    def _from_task_config(cls, network: Network, config: dict[str, Any]) -> LanguageModel:
        return cls(network, Vocabulary(config["tokens"], config["level"]), config["ends"])


class LanguageSession(LiveStreams):
    """Live texts, read token by token, and what may come next in each.

    After each token the logits have the bits that the network gives for the whole text at once.

    Parameters
    ----------
    model : LanguageModel
    n_streams : int, default=1
        Texts that are read together.

    Attributes
    ----------
    logits : ndarray [n_streams, len(vocabulary)] of float64
        Of the next token of each text; −inf for what is never written: the unknown token, and the end of texts that
        have none.
    """

    def __init__(self, model: LanguageModel, n_streams: int = 1) -> None:
        super().__init__(n_streams)
        self.model = model
        self._open()
        self.reset()

    _made = ("_network", "logits")

    def _open(self) -> None:
        self._network = self.model.network.session(self.n_streams)
        self.logits = np.zeros((self.n_streams, len(self.model.vocabulary)))

    def reset(self, streams: Any = None) -> None:
        """Begin texts anew: an index, a list of them, a slice or a mask; default: all."""
        chosen = self._chosen(streams)
        self._network.reset(chosen)
        self.advance(np.full(len(chosen), Vocabulary.BOUNDARY), chosen)

    def step(self, tokens: Any, streams: Any = None) -> Array:
        """Read one more token of each of some texts; return the probabilities [n, len(vocabulary)] of the next.

        Parameters
        ----------
        tokens : str, or sequence [n] of str or int
            A token for each text: a string of n characters, or n tokens of a model with level="token".
        streams : int, list of int, slice or mask, optional
            Which n texts, each once, in the order of the tokens; default: all.
        """
        chosen = self._chosen(streams)
        numbers = self.model.vocabulary.encode(tokens, "tokens")
        if len(numbers) != len(chosen):
            raise ValueError(f"tokens must hold {len(chosen)} tokens, one a stream, got {tokens!r}")
        self.advance(numbers, chosen)
        return _softmax(self.logits[chosen])

    def read(self, text: Any) -> None:
        """Read a text from where the streams are, the same in each."""
        numbers, n = self.model.vocabulary.encode(text, "prompt"), self.n_streams
        if len(numbers):
            sizes, lengths = np.full(len(numbers), n), np.full(n, len(numbers))
            x = np.repeat(numbers, n).astype(self.model.network.dtype)[:, None]
            logits, states = self.model.network.infer_states(Batch(x, sizes, lengths, np.arange(n), states=self.states))
            self._network.put(self._everyone, states, len(numbers))
            self._expect(logits[-n:], self._everyone)

    def advance(self, numbers: Array, chosen: Array | None = None) -> None:
        """Read one more token of each text, by its number [n]; `chosen` are the numbers of these streams."""
        chosen = self._everyone if chosen is None else chosen
        self._expect(self._network.step(numbers.astype(np.float64), chosen), chosen)

    def _expect(self, logits: Array, chosen: Array) -> None:
        rows = logits.astype(np.float64)
        rows[:, Vocabulary.UNKNOWN] = -np.inf
        if not self.model.ends:
            rows[:, Vocabulary.BOUNDARY] = -np.inf
        self.logits[chosen] = rows

    @property
    def n_steps(self) -> Array:
        """Tokens of each text since it was reset: [n_streams] of int64."""
        return self._network.n_steps - 1  # a text begins with a boundary

    @property
    def probabilities(self) -> Array:
        """Of the next token of each text: [n_streams, len(vocabulary)] of float64; number 0 is the end."""
        return _softmax(self.logits)

    @property
    def states(self) -> list[Array]:
        """One array [num_layers, n_streams, width] of each of the cell's states, such as h and c; may be assigned."""
        return self._network.states

    @states.setter
    def states(self, states: Any) -> None:
        self._network.states = states

    def _parameters(self) -> Array:
        return self.model.network.flat_parameters

    def _read(self, chosen: Array) -> dict[str, Array]:
        return {**self._network._read(chosen), "logits": self.logits[chosen]}

    def _write(self, chosen: Array, states: dict[str, Array]) -> None:
        self._network._write(chosen, states)
        self.logits[chosen] = states["logits"]

    def _like(self, n_streams: int) -> LanguageSession:
        return LanguageSession(self.model, n_streams)


class Sampler:
    """Draws tokens. Parameters are those of `LanguageModel.generate`.

    Examples
    --------
    >>> numbers, p = Sampler(top_k=3, top_p=0.8).candidates(np.log([0.1, 0.2, 0.4, 0.3]))
    >>> numbers.tolist(), p.round(3).tolist()
    ([2, 3, 1], [0.444, 0.333, 0.222])
    """

    def __init__(
        self, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, seed: Any = None
    ) -> None:
        self.temperature = check.real(temperature, "temperature")
        if self.temperature < 0:
            raise ValueError(f"temperature must be at least 0, got {temperature!r}")
        self.top_k = None if top_k is None else check.integer(top_k, "top_k")
        self.top_p = 1.0 if top_p is None else check.real(top_p, "top_p")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {top_p!r}")
        self._rng = check.generator(seed)

    def candidates(self, logits: Array) -> tuple[Array, Array]:
        """Return the numbers that may be drawn, likeliest first, and their probabilities."""
        numbers = np.argsort(-logits, kind="stable")[: self.top_k]
        numbers = numbers[np.isfinite(logits[numbers])]
        if self.temperature == 0:
            return numbers[:1], np.ones(1)
        p = _softmax(logits[numbers] / self.temperature)
        n = 1 + int(np.searchsorted(np.cumsum(p)[:-1], self.top_p))  # the first n reach top_p
        return numbers[:n], p[:n] / p[:n].sum()

    def draw(self, logits: Array) -> int:
        """Draw a number, given the logits [n] of all."""
        numbers, p = self.candidates(logits)
        return int(numbers[np.searchsorted(np.cumsum(p)[:-1], self._rng.random(), side="right")])


def _softmax(logits: Array) -> Array:
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(p / p.sum(axis=-1, keepdims=True))


def _surprisal(logits: Array, targets: Array) -> Array:
    """−log₂ of the softmax of rows [N, V] at their targets [N]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1, dtype=np.float64))
    return np.asarray((log_sums - shifted[np.arange(len(targets)), targets]) / np.log(2.0))
