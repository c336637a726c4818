"""RNNLanguageModel: what it learns, how it scores, and what it writes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import reference

import lstmcore
from lstmcore import RNNLanguageModel
from lstmcore.callbacks import Checkpoint
from lstmcore.language import LanguageModel, Sampler
from lstmcore.vocabulary import Vocabulary

TEXT = "she sells sea shells by the sea shore. " * 30
NAMES = ["anna", "bo", "carla", "dora", "emil", "fritz", "gregor", "hanna"] * 4
SMALL: dict[str, Any] = dict(
    hidden_size=24, embedding_dim=8, batch_size=4, tbptt_steps=20, max_epochs=3, learning_rate=1e-2, random_state=0
)


@pytest.fixture(scope="module")
def model() -> RNNLanguageModel:
    """A model that knows its text."""
    return RNNLanguageModel(**{**SMALL, "max_epochs": 20}).fit(TEXT)


def log_likelihoods(model: LanguageModel, text: Any) -> np.ndarray:
    """log₂ p of each token and of the end, with the float64 equations."""
    p = {name: value.astype(np.float64) for name, value in model.network.parameters.items()}
    weights = {name.removeprefix("recurrent."): v for name, v in p.items() if name.startswith("recurrent.")}
    numbers = np.concatenate(([0], model.vocabulary.encode(text), [0] * model.ends)).astype(int)
    zeros = tuple(np.zeros((1, 1, 24)) for _ in range(2))
    y, _ = reference.run("lstm", weights, p["embedding.weight"][numbers[:-1], None], zeros)
    z = y[:, 0] @ p["dense.weight"].T + p["dense.bias"]
    return (z[np.arange(len(z)), numbers[1:]] - np.log(np.exp(z).sum(axis=1))) / np.log(2)


def test_it_learns_a_text_by_heart(model: RNNLanguageModel) -> None:
    assert model.generate("she sells sea", 66, temperature=0) == (" shells by the sea shore. she sells sea" * 2)[:66]
    assert model.perplexity(TEXT) < 1.05
    assert model.loss_curve_[-1] < 0.05 * model.loss_curve_[0]


@pytest.mark.parametrize("text", [TEXT[:70], "xylophone!", NAMES[:5]])
def test_score_is_that_of_the_equations(model: RNNLanguageModel, text: Any) -> None:
    expected = [log_likelihoods(model.model_, part) for part in ([text] if isinstance(text, str) else text)]
    found = model.surprisal(text)
    for bits, log_p in zip([found] if isinstance(text, str) else found, expected, strict=True):
        np.testing.assert_allclose(bits, -log_p, rtol=1e-4, atol=1e-4)
    assert model.score(text) == pytest.approx(np.mean(np.concatenate(expected)), rel=1e-5)
    assert model.perplexity(text) == pytest.approx(2 ** -model.score(text))


def test_texts_have_ends() -> None:
    model = RNNLanguageModel(**{**SMALL, "max_epochs": 60}).fit(NAMES)
    assert model.model_.ends
    assert len(model.surprisal("anna")) == 5 and len(model.surprisal(["bo", "emil"])[1]) == 5
    written = {model.generate(seed=seed) for seed in range(30)}
    assert len(written & set(NAMES)) >= 4 and max(map(len, written)) < 20
    expected = log_likelihoods(model.model_, "carla")
    np.testing.assert_allclose(model.surprisal("carla"), -expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("as_array", [False, True])
def test_tokens_are_strings_or_integers(as_array: bool) -> None:
    period = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    text: Any = np.tile(period, 60) if as_array else np.tile(period, 60).astype(str).tolist()
    model = RNNLanguageModel(level="token", **{**SMALL, "max_epochs": 20}).fit(text)
    written = model.generate(text[:8], 16, temperature=0)
    assert written == list(text[:16]) and isinstance(written, list)
    assert model.perplexity([text[:20], text[5:9]]) < 3
    several = RNNLanguageModel(level="token", **SMALL).fit([text[:100], text[:50]])
    assert several.model_.ends and len(several.vocabulary_) == 9


def test_unknown_tokens(model: RNNLanguageModel) -> None:
    assert model.surprisal("she sells six shells").shape == (20,)
    rare = RNNLanguageModel(min_count=100, **SMALL).fit(TEXT)
    assert sorted(rare.vocabulary_.tokens) == sorted(c for c in set(TEXT) if TEXT.count(c) >= 100)
    assert Vocabulary.UNKNOWN in rare.vocabulary_.encode("shore")
    assert set(rare.generate(length=200, seed=0)) <= set(rare.vocabulary_.tokens)


# ---- writing ----


def test_generation_is_seeded(model: RNNLanguageModel) -> None:
    first = model.generate("sea", 50, temperature=3, seed=1)
    assert first == model.generate("sea", 50, temperature=3, seed=1) != model.generate("sea", 50, temperature=3, seed=2)
    assert model.generate("sea", 50, top_k=1, seed=3) == model.generate("sea", 50, temperature=0)
    assert model.generate("sea", 50, top_p=1e-9, seed=3) == model.generate("sea", 50, temperature=0)
    assert len(first) == 50 and model.generate("sea", 0) == ""


def test_stream_is_generate_token_by_token(model: RNNLanguageModel) -> None:
    endless = model.stream("sea", temperature=2, seed=4)
    assert "".join(itertools.islice(endless, 40)) == model.generate("sea", 40, temperature=2, seed=4)
    assert "".join(endless_part := list(itertools.islice(endless, 5))) and len(endless_part) == 5


def test_sampler_keeps_the_right_sets() -> None:
    p = np.array([0.05, 0.4, 0.1, 0.25, 0.2])
    logits = np.log(p) + 7
    assert Sampler(top_k=2).candidates(logits)[0].tolist() == [1, 3]
    numbers, kept = Sampler(top_p=0.8).candidates(logits)
    assert numbers.tolist() == [1, 3, 4]
    np.testing.assert_allclose(kept, p[numbers] / p[numbers].sum())
    assert Sampler(top_k=4, top_p=0.5).candidates(logits)[0].tolist() == [1, 3]  # 0.4 / 0.95 < 0.5
    assert Sampler(top_p=0.39).candidates(logits)[0].tolist() == [1]
    hot = Sampler(temperature=2).candidates(logits)[1]
    np.testing.assert_allclose(hot, np.sort(np.sqrt(p))[::-1] / np.sqrt(p).sum())
    never = np.where(p == 0.4, -np.inf, logits)
    sampler = Sampler(seed=0)
    drawn = np.bincount([sampler.draw(never) for _ in range(4000)], minlength=5) / 4000
    np.testing.assert_allclose(drawn, np.where(p == 0.4, 0, p) / 0.6, atol=0.03)


def test_session_has_the_bits_of_the_whole_text(model: RNNLanguageModel) -> None:
    fitted, text = model.model_, "the sea shells"
    data, _ = fitted.prepare([text])
    whole = fitted.network.predict(data).astype(np.float64)
    session = fitted.session(n_streams=3)
    for row, token in zip(whole, text, strict=True):
        for logits in session.logits:
            np.testing.assert_array_equal(logits[2:], row[2:])
        p = session.step(token * 3)
    assert p.shape == (3, len(fitted.vocabulary)) and p[0, 1] == 0
    np.testing.assert_allclose(p.sum(axis=1), 1)
    prompted = fitted.session()
    prompted.read(text)
    np.testing.assert_array_equal(prompted.logits[0], session.logits[0])


# ---- training ----


@pytest.mark.parametrize("text", [TEXT, NAMES], ids=["one", "several"])
def test_early_stopping_holds_out(text: Any) -> None:
    options = {**SMALL, "early_stopping": True, "validation_fraction": 0.25, "max_epochs": 4}
    model = RNNLanguageModel(**options).fit(text)
    assert len(model.validation_loss_curve_) == 4 and model.best_epoch_ is not None
    if isinstance(text, str):
        n = round(0.25 * len(text))
        same = RNNLanguageModel(**SMALL | {"max_epochs": 4}).fit(text[:-n], text_val=text[-n:])
        assert len(same.validation_loss_curve_) == 4


def test_vocabulary_has_nothing_that_is_held_out() -> None:
    model = RNNLanguageModel(**SMALL, early_stopping=True).fit(TEXT + "§" * 10)
    assert "§" not in model.vocabulary_.tokens


def test_same_model_for_any_number_of_threads() -> None:
    parameters = []
    for n in (1, 2):
        lstmcore.set_num_threads(n)
        model = RNNLanguageModel(**SMALL, dropout=0.2).fit(TEXT)
        parameters.append(model.model_.network.flat_parameters.copy())
    lstmcore.set_num_threads(None)
    np.testing.assert_array_equal(*parameters)


def test_partial_fit_warm_start_and_resuming(tmp_path: Any) -> None:
    model = RNNLanguageModel(**SMALL).partial_fit(TEXT).partial_fit(TEXT + "?")
    assert model.n_iter_ == 2 and "?" not in model.vocabulary_.tokens
    warm = RNNLanguageModel(**SMALL, warm_start=True).fit(TEXT)
    assert warm.fit(TEXT).n_iter_ == 6
    options = {**SMALL, "early_stopping": True, "dropout": 0.1}
    whole = RNNLanguageModel(**options).fit(TEXT)
    path = tmp_path / "run.safetensors"
    cut = [Checkpoint(path), lambda trainer: trainer.epoch == 2]
    RNNLanguageModel(**options, callbacks=cut).fit(TEXT)
    resumed = RNNLanguageModel(**options).fit(TEXT, resume_from=path)
    assert resumed.score(TEXT) == whole.score(TEXT)


@pytest.mark.parametrize("text", [TEXT, NAMES], ids=["one", "several"])
def test_saved_model_is_the_same(text: Any, tmp_path: Any) -> None:
    model = RNNLanguageModel(**SMALL).fit(text)
    model.save(tmp_path / "model.safetensors")
    loaded = lstmcore.load(tmp_path / "model.safetensors")
    assert isinstance(loaded, LanguageModel) and loaded.ends == model.model_.ends
    assert loaded.score(text) == model.score(text)
    assert loaded.generate("s", 30, seed=0) == model.generate("s", 30, seed=0)
    assert "ends=" in repr(loaded) and "tokens" in repr(loaded)


# ---- bad input ----


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (3, {}, r"text must be a string, got int 3"),
        ("", {}, "text is empty"),
        ([], {}, r"text must hold at least one text, got \[\]"),
        (["ab", ""], {}, r"text\[1\] is empty"),
        (["ab", 3], {}, r"text\[1\] must be a string, got int 3"),
        ([[1, 2]], {}, r"text\[0\] must be a string, .*; level='token' takes"),
        ("ab", {"level": "token"}, r"text must be a list or a 1-D array of tokens, got str 'ab'"),
        ([1.5], {"level": "token"}, r"text\[0\] must be a string or an integer, got 1.5"),
        ("ab", {"level": "word"}, "level must be one of 'character', 'token', got 'word'"),
        ("ab", {"min_count": 0}, "min_count must be at least 1, got 0"),
        ("ab", {"embedding_dim": 0}, "embedding_dim must be at least 1, got 0"),
        ("ab", {"tbptt_steps": None}, "tbptt_steps must be an integer, got None"),
        ("a", {"early_stopping": True}, r"leaves nothing of 1 token"),
    ],
)
def test_bad_input_of_fit(text: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        RNNLanguageModel(**options).fit(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature must be at least 0, got -1"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"top_p": 0}, r"top_p must lie in \(0, 1\], got 0"),
        ({"length": -1}, "length must be at least 0, got -1"),
        ({"prompt": 3}, "prompt must be a string, got int 3"),
    ],
)
def test_bad_input_of_generate(model: RNNLanguageModel, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        model.generate(**options)
    with pytest.raises(ValueError, match="tokens must hold 2 tokens, one a stream, got 'abc'"):
        model.model_.session(2).step("abc")
    with pytest.raises(ValueError, match="not fitted yet"):
        RNNLanguageModel().generate()
    with pytest.raises(ValueError, match="tokens must differ, got 'a' twice"):
        Vocabulary(["a", "b", "a"])
