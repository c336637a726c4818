"""The examples of docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import lstmcore

pytest.importorskip("sklearn")
MODULES = [
    module.name
    for module in pkgutil.walk_packages(lstmcore.__path__, "lstmcore.")
    if not module.name.startswith(("lstmcore._core", "lstmcore._cpu", "lstmcore._demo", "lstmcore.demo"))
]


@pytest.mark.parametrize("name", ["lstmcore", *MODULES])
def test_examples_run(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).failed == 0
