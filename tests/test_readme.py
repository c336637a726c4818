"""The example of the README runs, and says what it should."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
README = Path(__file__).parent.parent / "README.md"


def test_the_example_runs_and_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    accuracy = re.search(r"^accuracy: ([\d.]+)$", capsys.readouterr().out, re.MULTILINE)
    assert accuracy is not None
    assert float(accuracy.group(1)) > 0.9


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target
