"""The pictures of docs/page.md can be made of the page as it is, and the guide shows them all."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from serving.page.conftest import Site

ROOT = Path(__file__).parents[3]


def test_every_picture_of_the_guide_can_be_made_anew(chromium: Any, site: Site, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("page_pictures", ROOT / "benchmarks" / "page_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = script.take(chromium, site.server.address, tmp_path)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made)
    shown = re.findall(r"\(images/(page-[\w-]+\.png)\)", (ROOT / "docs" / "page.md").read_text("utf-8"))
    assert sorted(shown) == sorted(path.name for path in made)
    assert sorted(shown) == sorted(path.name for path in (ROOT / "docs" / "images").glob("page-*.png"))
