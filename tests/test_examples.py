"""The gallery's long examples run from the first line to the last, on little data: ``make test-examples``."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import sys
import types
from pathlib import Path

import matplotlib
import numpy as np
import pytest

import lstmcore

ROOT = Path(__file__).parent.parent

spec = importlib.util.spec_from_file_location("gallery", ROOT / "docs" / "gallery.py")
gallery = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gallery)

# What the constants at the top of a long example become here, so that it takes a second or two.
SHRUNK = {
    "caption_digits": {"N_TRAIN": 600, "N_TEST": 100, "EPOCHS": 2, "HIDDEN_SIZE": 16},
    "classify_japanese_topics": {"FOLDS": 2, "SIZES": (30,), "STEPS": 2},
    "classify_moving_digits": {"N_TRAIN": 2500, "N_TEST": 200, "EPOCHS": 1},
    "generate_text": {"HIDDEN, EPOCHS, STEPS": (16, 1, 50), "CHARACTERS": 60_000},
    "label_relations_in_parses": {"N_TRAIN, N_TEST": (200, 50), "EPOCHS": 1, "HIDDEN_SIZE": 8},
    "learn_a_drifting_stream": {"HOURS": 4000, "FROZEN_UNTIL": "2011-01-01"},
    "rate_sentiment": {"N_TEXTS": 300, "N_TEST": 100, "N_NETWORKS": 1, "EPOCHS": 1},
    "read_images_by_rows": {"N_TRAIN": 500, "EPOCHS": 1, "DIGIT_EPOCHS": 1, "LINEAR_STEPS": 5},
    "read_kanji_names": {"N_TRAIN": 600, "N_TEST": 100, "EPOCHS": 2, "HIDDEN_SIZE": 16},
    "rnn_against_lstm": {"SEEDS": (0,), "EPOCHS": 2, "ORIGIN_STEP": 30},
    "solubility_of_molecules": {"N_TRAIN": 60, "EPOCHS": 1, "HIDDEN_SIZE": 8, "SEEDS": 1},
    "spell_to_phonemes": {"N_TRAIN": 600, "N_TEST": 100, "EPOCHS": 2, "HIDDEN_SIZE": 16},
    "tag_turkish_words": {"N_SENTENCES": 200, "EPOCHS": 1, "FOLDS": 2},
}


def shrunk(name: str) -> str:
    """Return an example's text with the constants of the table in place of its own."""
    source = gallery.read_source(name)
    for constant, value in SHRUNK[name].items():
        source, found = re.subn(rf"(?m)^{constant} = .*$", f"{constant} = {value!r}", source)
        assert found == 1, f"{name}.py must set {constant} once, in one line"
    return source


def test_every_long_example_is_shrunk_here():
    assert sorted(SHRUNK) == gallery.long_examples()


@pytest.mark.parametrize("name", gallery.long_examples())
@pytest.mark.filterwarnings(
    "ignore:.*FigureCanvasAgg is non-interactive",
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:The number of unique classes",
)
def test_an_example_runs(name, monkeypatch):
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    module = types.ModuleType(f"example_{name}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(ROOT)
    exec(compile(shrunk(name), str(gallery.EXAMPLES / f"{name}.py"), "exec"), vars(module))
    assert plt.get_fignums(), "draws a figure"
    plt.close("all")


def test_users_of_a_service_come_and_go(tmp_path):
    for name in ("fastapi", "uvicorn", "httpx"):
        pytest.importorskip(name, exc_type=ImportError)
    import httpx

    service = types.ModuleType("serve_over_http")
    exec(compile(gallery.read_source("serve_over_http"), "serve_over_http.py", "exec"), vars(service))
    service.make_model(tmp_path / "model")
    model = lstmcore.load(tmp_path / "model")
    X = dict(zip(("ada", "bo", "cy"), np.random.default_rng(0).normal(size=(3, 6, 4)), strict=True))
    found = {}

    async def use(first):
        app = service.make_app(model, 2, str(tmp_path / "parked"))  # room for two of three
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")
        async with app.router.lifespan_context(app), client:
            for t in range(first, first + 3):
                for user, rows in X.items():
                    found[user] = (await client.post(f"/step?user={user}", json={"x": rows[t].tolist()})).json()
            assert (await client.post("/step?user=ada", json={"x": [1.0]})).status_code == 422

    for first in (0, 3):  # the second service goes on with what the first has parked
        asyncio.run(use(first))
    for user, rows in X.items():
        assert found[user]["probability"] == model.predict_proba(rows[None]).max()
        assert found[user]["label"] == model.predict(rows[None])[0]


def test_every_example_has_its_place_in_the_gallery():
    index = (gallery.EXAMPLES / "index.rst").read_text(encoding="utf-8")
    examples = {path.stem for path in gallery.EXAMPLES.glob("*.py")} - set(gallery.SERVICES)
    assert examples <= set(re.findall(r"\.\./examples/(\w+)\.py", index))
    assert set(gallery.SHORT) <= examples


def test_the_hash_is_that_of_the_code_alone():
    source = '"""\nTitle\n=====\n"""\n\nimport math\n\n# %%\n# Text,\n# more text.\n\nx = math.pi  # a comment\n'
    assert [block.code.strip() for block in gallery.code_blocks(source)] == ["import math", "x = math.pi  # a comment"]
    assert [block.line for block in gallery.code_blocks(source)] == [4, 10]
    assert gallery.fingerprint(source) == gallery.fingerprint(source.replace("more text", "measured: 3"))
    assert gallery.fingerprint(source) != gallery.fingerprint(source.replace("math.pi", "math.e"))
