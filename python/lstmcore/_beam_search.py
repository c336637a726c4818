"""Beam search: the likeliest outputs of a decoder, or nearly."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from lstmcore._validation import Array


class Stepper(Protocol):
    """Sequences that are being written, see `lstmcore.seq2seq.Decoding`."""

    def step(self, tokens: Array) -> Array:
        """Read one token of each sequence; return the logits of the next."""

    def select(self, rows: Array) -> None:
        """Go on with these sequences."""


class Search(NamedTuple):
    """How outputs are searched for.

    Attributes
    ----------
    beam_width : int
        How many unfinished outputs are followed; 1 takes the likeliest token at each step.
    length_penalty : float
        Outputs are ranked by log p / n**length_penalty, with n their tokens, the end among them: 0 prefers short ones,
        1 is the mean over tokens.
    max_length : int
        No output has more tokens, its end not counted.
    """

    beam_width: int
    length_penalty: float
    max_length: int

    def run(self, decoding: Stepper, n: int, boundary: int, never: int) -> tuple[list[Array], Array]:
        """Search for the best output of each of `n` sequences that `decoding` starts from.

        Parameters
        ----------
        decoding : Stepper
        n : int
        boundary : int
            The token that begins and ends an output.
        never : int
            A token that is never written.

        Returns
        -------
        outputs : list of ndarray of int64
            Without their ends.
        log_probabilities : ndarray [n] of float64
        """
        width = self.beam_width
        who = np.arange(n)  # the sequences that are still searched for
        beams = _Beams(
            np.zeros((n, width, self.max_length + 1), np.int64),
            np.where(np.arange(width) == 0, 0.0, -np.inf) + np.zeros((n, 1)),
            np.zeros((n, width), np.int64),
        )
        decoding.select(np.repeat(who, width))
        tokens = np.full((n, width), boundary)
        outputs: list[Any] = [None] * n
        found = np.empty(n)
        for t in range(self.max_length + 1):
            logp = _log_softmax(decoding.step(tokens.ravel()).astype(np.float64)).reshape(len(who), width, -1)
            allowed = np.arange(logp.shape[2]) != never
            if t == self.max_length:
                allowed = np.arange(logp.shape[2]) == boundary
            logp[..., ~allowed] = -np.inf
            beams, tokens, parent = self._advance(beams, logp, t, boundary)
            done = self._decided(beams)
            for i in np.flatnonzero(done):
                best = int(
                    np.argmax(np.where(beams.lengths[i] > 0, self._rank(beams.scores[i], beams.lengths[i]), -np.inf))
                )
                outputs[who[i]] = beams.tokens[i, best, : beams.lengths[i, best] - 1]
                found[who[i]] = beams.scores[i, best]
            if done.all():
                break
            rows = (np.arange(len(who))[:, None] * width + parent)[~done]
            decoding.select(rows.ravel())
            beams, tokens, who = _Beams(*(part[~done] for part in beams)), tokens[~done], who[~done]
        return outputs, found

    def _rank(self, scores: Array, lengths: Any) -> Array:
        return scores / np.asarray(lengths, np.float64).clip(1) ** self.length_penalty

    def _ended_ranks(self, beams: _Beams) -> Array:
        return np.where(beams.lengths > 0, self._rank(beams.scores, beams.lengths), -np.inf)

    def _advance(self, beams: _Beams, logp: Array, t: int, boundary: int) -> tuple[_Beams, Array, Array]:
        """Take each output one token further and keep the best; those that have ended stay as they are."""
        n, width, n_tokens = logp.shape
        ended = beams.lengths > 0
        logp[ended] = -np.inf
        logp[ended, boundary] = 0.0
        totals = beams.scores[..., None] + logp
        ranks = self._rank(totals, np.where(ended, beams.lengths, t + 1)[..., None]).reshape(n, -1)
        best = np.argsort(-ranks, axis=1, kind="stable")[:, :width] if width > 1 else ranks.argmax(axis=1)[:, None]
        parent, tokens = np.divmod(best, n_tokens)
        rows = np.arange(n)[:, None]
        written, lengths = beams.tokens[rows, parent], beams.lengths[rows, parent]
        written[..., t] = tokens
        lengths[(tokens == boundary) & (lengths == 0)] = t + 1
        return _Beams(written, totals.reshape(n, -1)[rows, best], lengths), tokens, parent

    def _decided(self, beams: _Beams) -> Array:
        """Whether no output that goes on can come to rank above the best that has ended: [n]."""
        ended = beams.lengths > 0
        best = self._ended_ranks(beams).max(axis=1)
        hope = np.where(ended, -np.inf, self._rank(beams.scores, self.max_length + 1)).max(axis=1)
        return (best >= hope) & ended.any(axis=1)


class _Beams(NamedTuple):
    """Outputs of n sequences: tokens [n, width, max_length + 1], their log p and, of those that have ended, lengths."""

    tokens: Array
    scores: Array
    lengths: Array


def _log_softmax(logits: Array) -> Array:
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
