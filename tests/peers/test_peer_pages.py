"""The pages that need peers, which the tests without them leave out."""

from __future__ import annotations

from pathlib import Path

import pytest
import test_pages


@pytest.mark.parametrize("page", [page for page in test_pages.PAGES if page.stem in test_pages.NEEDS])
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test_pages.test_blocks_run(page, tmp_path, monkeypatch)
