"""Files that are damaged, or meant to do harm: they load, or ValueError names the file; they take no time or memory.

LSTMCORE_FUZZED_FILES=100000 tries more of them than every run does, and asks those that load: answers may be errors.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import resource
import signal
import struct
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest

import lstmcore

N_FILES = int(os.environ.get("LSTMCORE_FUZZED_FILES", "2000"))
MEMORY = 1 << 29  # what loading may take, beyond what the process has
SECONDS = 5.0
FILES = sorted(golden.FOLDER.glob("format*/*.safetensors"))
DEEP = "[" * 100_000 + "]" * 100_000
VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 3, 7, 255, 65_535, 65_536, 10**6, 2**31 - 1, 2**31, 2**63, 10**12, 10**400),
    *(0.0, -0.5, 0.5, 1.5, 1e12, 1e308, float("inf"), float("nan")),
    *("", "lstm", "gru", "float64", "float16", "<U1000000000", "1000000f8", "O", "V8", "mean", "a" * 100_000, "../x"),
    *([], [1], [1, 2, 3], [2**40] * 3, [[1.0]], ["a", "b"], [None], {}, {"a": 1}, {"hidden_size": 10**12}),
]  # fmt: skip
ASKED = {**golden.layers(), **golden.models()}
Bytes = Callable[[bytes, np.random.Generator], bytes]


class Hangs(BaseException):
    """A file took too long; no `except Exception` hides it."""


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(0, len(content), rng.integers(1, 9)):
        changed[place] = rng.integers(0, 256)
    return bytes(changed)


def truncated(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(0, len(content))]


def other_length(content: bytes, rng: np.random.Generator) -> bytes:
    (size,) = struct.unpack("<Q", content[:8])
    lengths = (0, 1, 7, size - 1, size + 1, size + 8, 10**8, 2**31, 2**63, 2**64 - 1, int(rng.integers(0, 2 * size)))
    return struct.pack("<Q", lengths[rng.integers(len(lengths))]) + content[8:]


def swapped(tree: Any, rng: np.random.Generator) -> Any:
    """JSON with one to three of its values exchanged, removed or repeated."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.integers(1, 4)):
        places = list(nodes(tree))
        if not places:
            break
        owner, key = places[rng.integers(len(places))]
        action = rng.integers(10)
        if action == 0:
            del owner[key]
        elif action == 1 and isinstance(owner[key], list):
            owner[key] = owner[key] * int(rng.integers(2, 5))
        elif action == 2 and isinstance(owner[key], int):
            owner[key] = int(owner[key]) + int(rng.choice([-1, 1, 16]))
        else:
            owner[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    return tree


def nodes(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, (dict, list)):
            yield from nodes(value)


def with_header(content: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    (size,) = struct.unpack("<Q", content[:8])
    header = json.dumps(change(json.loads(content[8 : 8 + size]))).encode()
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def other_tensors(content: bytes, rng: np.random.Generator) -> bytes:
    return with_header(content, lambda header: swapped(header, rng))


def other_config(content: bytes, rng: np.random.Generator) -> bytes:
    def change(header: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(swapped(json.loads(header["__metadata__"]["lstmcore"]), rng))
        if rng.integers(50) == 0:
            text = text.replace("{", '{"deep": ' + DEEP + ", ", 1)
        return {**header, "__metadata__": {"lstmcore": text}}

    return with_header(content, change)


MUTATIONS: tuple[Bytes, ...] = (flipped, truncated, other_length, other_tensors, *[other_config] * 6)


def ask(model: Any, path: Path) -> None:
    """Let a model compute, where many files are tried: it may fail or go on for ever, but the process lives."""
    if "LSTMCORE_FUZZED_FILES" in os.environ:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with contextlib.suppress(Exception, Hangs):
            ASKED[path.stem].answer(model, ASKED[path.stem].inputs)


@pytest.fixture
def limited() -> Iterator[None]:
    """A limit of memory, and an alarm that `load` does not catch."""

    def ring(*_: Any) -> None:
        raise Hangs

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = signal.signal(signal.SIGALRM, ring)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of options without effect
@pytest.mark.usefixtures("limited")
def test_fuzzed_files(tmp_path: Path) -> None:
    path = tmp_path / "fuzzed.safetensors"
    loaded = 0
    for seed in range(N_FILES):
        rng = np.random.default_rng(seed)
        mutate = MUTATIONS[rng.integers(len(MUTATIONS))]
        original = FILES[rng.integers(len(FILES))]
        path.write_bytes(mutate(original.read_bytes(), rng))
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            model = lstmcore.load(path)
            loaded += 1
            ask(model, original)
        except ValueError as error:
            causes = "".join(traceback.format_exception(error))
            assert str(path) in str(error), f"seed {seed} ({mutate.__name__}):\n{causes}"
            assert "MemoryError" not in causes, f"seed {seed} ({mutate.__name__}) takes too much memory:\n{causes}"
        except BaseException as error:
            raise AssertionError(f"seed {seed} ({mutate.__name__}) gives {type(error).__name__}") from error
    print(f"{N_FILES} files, {loaded} of which load")
    assert 0 < loaded < N_FILES // 2


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("LSTM", {"hidden_size": 10**12}, "hidden_size is 1000000000000, too large for a file of 65536 numbers"),
        ("LSTM", {"num_layers": 10**6}, "num_layers is 1000000, too large for a file of .* in 20 tensors"),
        ("Dense", {"in_features": 65_536, "out_features": 65_536}, "4295032832 parameters, more than"),
        ("Embedding", {"n_tokens": 60_000, "dim": 60_000}, "it would have 3600000000 parameters"),
        ("GatedGraph", {"rounds": 60_000}, "rounds must be at most 1000, got 60000"),
        ("Recurrent", {"cell": "__import__('os')"}, "cell must be one of"),
        ("Recurrent", {"hidden_size": "4"}, "hidden_size must be an integer, got '4'"),
        ("Recurrent", {"color": 1}, "unexpected keyword argument 'color'"),
    ],
)
def test_sizes_are_refused_before_memory_is_taken(
    kind: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    refused(kind, lambda config: config["network"].update(change), message, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 10**9}, "steps must be at most 65536, or the horizon"),
        ({"steps": 0}, "steps must be at least"),
        ({"steps": 2.5}, "steps must be an integer, got 2.5"),
        ({"n_exog": -1}, "n_exog must be at least 0, got -1"),
        ({"univariate": "x"}, "univariate must be True or False, got 'x'"),
        ({"quantiles": [0.9, 0.1]}, "quantiles must ascend"),
        ({"calendar": ["week"]}, "calendar must be one of .*got 'week'"),
    ],
)
def test_what_no_forecaster_has_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    refused("forecaster", lambda config: config["task"]["layout"].update(change), message, tmp_path)


def refused(kind: str, change: Callable[[dict[str, Any]], None], message: str, folder: Path) -> None:
    """Assert that a file of this kind whose configuration was changed does not load."""

    def changed(header: dict[str, Any]) -> dict[str, Any]:
        config = json.loads(header["__metadata__"]["lstmcore"])
        change(config)
        return {**header, "__metadata__": {"lstmcore": json.dumps(config)}}

    path = folder / "hostile"
    path.write_bytes(with_header((golden.FOLDER / "format1" / f"{kind}.safetensors").read_bytes(), changed))
    with pytest.raises(ValueError, match=f"hostile is a damaged model file: .*{message}"):
        lstmcore.load(path)
