"""`make docs` builds the site without a warning; it holds every page, the reference, and an index
for searching.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
needs_zensical = pytest.mark.skipif(
    importlib.util.find_spec("zensical") is None, reason='zensical is not installed (pip install -e ".[docs]")'
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built of a copy of what it is made of."""
    copy = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "mkdocs.yml", copy)
    for name in ("docs", "src"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    command = [str(Path(sys.executable).parent / "zensical"), "build", "--strict"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "No issues found" in said
    assert "griffe" not in said, f"a docstring is not understood: {said}"
    return copy / "site"


@pytest.mark.slow
@needs_zensical
def test_every_page_is_in_the_site_and_its_menu(site: Path) -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs")
        assert (site / name).with_suffix(".html").is_file()
        assert f"- {name.as_posix()}\n" in menu


@pytest.mark.slow
@needs_zensical
def test_the_reference_describes_the_public_names_from_their_docstrings(site: Path) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html"))
    for name in ("run.Run.open", "run.load_model", "config.TrainConfig", "model.gpt.GPT", "training.loop.train",
                 "generation.torch_engine.generate", "preprocessing.pipeline.preprocess",
                 "evaluation.evaluate.evaluate", "export.exporting.export_run"):  # fmt: skip
        assert f'id="gpt_research.{name}"' in pages
    assert "Highest learning rate, reached after warm-up." in pages


@pytest.mark.slow
@needs_zensical
def test_the_site_holds_its_own_index_for_searching(site: Path) -> None:
    index = json.loads((site / "search.json").read_text(encoding="utf-8"))
    found = {item["location"].split("#")[0] for item in index["items"] if "verify-resume" in item["text"]}
    assert "reliability.html" in found
    assert (site / "search.js").is_file(), "pages that are opened from the disk cannot fetch JSON"
    pages = [path.read_text(encoding="utf-8") for path in site.rglob("*.html")]
    elsewhere = re.compile(r'<(?:link|script)[^>]+(?:href|src)="(https?://[^"]+)"')
    fetched = {url for page in pages for url in elsewhere.findall(page)}
    assert not fetched, "fonts, styles and scripts are the site's own"
