"""The pictures of docs/page.md can be made of the page as it is, and the guide shows them all."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from serving.page.conftest import Site

TEXT = "the king loves the crown 12.\na fool hates the horse 7."
ROOT = Path(__file__).parents[3]


def test_every_picture_of_the_guide_can_be_made_anew(
    chromium: Any, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = importlib.import_module("page_pictures")
    made = script.take(chromium, site.server.address, tmp_path, TEXT, TEXT)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made)
    shown = re.findall(r"\(images/(page-[\w-]+\.png)\)", (ROOT / "docs" / "page.md").read_text("utf-8"))
    assert sorted(shown) == sorted(path.name for path in made)
    assert sorted(shown) == sorted(path.name for path in (ROOT / "docs" / "images").glob("page-*.png"))
