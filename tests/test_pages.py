"""The Python blocks of the README and of docs/ run, page by page, and print what their comments say."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from pathlib import Path

import pytest

import lstmcore

pytest.importorskip("sklearn")
ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "guide").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
# What a page imports that is not installed with the tests.
NEEDS = {"interop": ("torch", "keras", "onnx", "onnxruntime")}
PRINTED = re.compile(r"^\s*print\(.*\)  # (.*)$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEEDS.get(page.stem, ()):
        pytest.importorskip(name)
    text = page.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCK.finditer(text):
        line = text[: block.start(1)].count("\n")
        code = compile("\n" * line + block[1], str(page), "exec")  # tracebacks name the line of the page
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        expected = "".join(f"{comment}\n" for comment in PRINTED.findall(block[1]))
        if expected:
            same = doctest.OutputChecker().check_output(expected, printed.getvalue(), doctest.ELLIPSIS)
            assert same, f"{page}, line {line}: expected\n{expected}got\n{printed.getvalue()}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\((?!https?:)([^)#:\s]+)[^)]*\)", prose):
        assert "auto_examples/" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("name", lstmcore.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"^   {name}(\.\w+)?$", (ROOT / "docs" / "api.rst").read_text(encoding="utf-8"), re.MULTILINE)
