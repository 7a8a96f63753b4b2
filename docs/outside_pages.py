"""A hook of MkDocs: pages from outside of docs/ join the site, and the links between them and docs/ hold there too.

In the repository README.md links to docs/training.md, and docs/scaling.md links to ../benchmarks/RESULTS.md. In the
site README.md is the home page, and every page lies under one root.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "benchmarks/RESULTS.md": "benchmarks/RESULTS.md",
}
"""Pages outside of docs/: path in the repository -> path in the site."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside."""
    for source, target in PAGES.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links to where the pages lie in the site."""
    if page.file.src_uri in PAGES.values():
        return markdown.replace("](docs/", "](").replace("](../docs/", "](../").replace("](LICENSE", "](index.md")
    return markdown.replace("](../benchmarks/", "](benchmarks/").replace("](../CONTRIBUTING.md", "](CONTRIBUTING.md")
