"""Wikipedia: a MediaWiki dump (`.xml`, `.xml.bz2`), or the hub's rows of ready text.

A document is an article: its title, a blank line and its prose. Redirects, pages outside the
article namespace and disambiguation pages (unless `ReadOptions.keep_disambiguation`) are dropped.
The `position` of a document from a dump is the page's id, by which the site finds the page; from a
table it is the row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_research.preprocessing.document import Document, Drop, ReadOptions, Unit
from gpt_research.preprocessing.formats.files import form_of, relative, unit_file, walk
from gpt_research.preprocessing.formats.streams import BrokenInputError, open_bytes
from gpt_research.preprocessing.formats.tables import TableReader, cut
from gpt_research.preprocessing.formats.wiki.dump import Page, cut_dump, pages
from gpt_research.preprocessing.formats.wiki.wikitext import is_disambiguation, plain_text

_DUMP = re.compile(r"\.xml(?:-p\d+p\d+)?(?:-[\w-]+)?(?:\.(?:bz2|gz|xz|zst))?$", re.IGNORECASE)


@dataclass(frozen=True)
class WikipediaReader(TableReader):
    """Wikipedia's articles, from a dump or from tables."""

    name: str = "wikipedia"
    licence: str = "Wikipedia's authors, CC BY-SA 4.0 (and GFDL): name them and share alike."

    def units(self, root: Path) -> list[Unit]:
        """Cut dumps into ranges of bytes, and tables as every reader does."""
        units: list[Unit] = []
        for path in walk(root):
            if _DUMP.search(path.name):
                units += cut_dump(path, relative(path, root))
            elif form_of(path).is_table:
                units += cut(path, root)
        return units

    def read(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Stream one unit."""
        path = unit_file(root, unit)
        if _DUMP.search(path.name):
            for page in pages(path, unit):
                yield page if isinstance(page, Drop) else _article(page, unit.path, options)
        else:
            yield from super().read(root, unit, options)

    def columns(self, names: Sequence[str], options: ReadOptions) -> list[str]:
        """Return the column of the text, and that of the title if there is one."""
        return [*super().columns(names, options), *(name for name in names if name == "title")]

    def document(
        self, text: str, record: dict[str, Any], source: str, position: int, options: ReadOptions
    ) -> Document | Drop:
        """Make an article of a row `title, text` or `title, maintext`."""
        return _row(record.get("title"), text, source, position, options)


def is_dump(path: Path) -> bool:
    """Return whether a file is a dump of a wiki: by its name, or if it begins as one."""
    name = path.name.lower()
    if not _DUMP.search(name):
        return name.endswith(".xml.7z") and "pages-" in name
    if "pages-" in name:
        return True
    try:
        with open_bytes(path) as file:
            return b"<mediawiki" in file.peek(1)
    except (OSError, BrokenInputError):
        return False


def _article(page: Page, source: str, options: ReadOptions) -> Document | Drop:
    if page.namespace != "0":
        return Drop("not_an_article", source, page.id, page.title)
    if page.is_redirect or page.wikitext[:20].lstrip().lower().startswith("#redirect"):
        return Drop("redirect", source, page.id, page.title)
    if not options.keep_disambiguation and is_disambiguation(page.title, page.wikitext):
        return Drop("disambiguation", source, page.id, page.title)
    prose = plain_text(page.wikitext)
    if not prose:
        return Drop("empty", source, page.id, page.title)
    return Document(f"{page.title}\n\n{prose}", source, page.id)


_MAY_REFER = re.compile(
    r"\b(?:may|can|could)(?: also| either)? (?:refer to|mean|stand for)\b[^\n.]{0,40}:?[ \t]*(?:\n|$)"
)
# The pattern begins with a newline, because one that begins with `^` would be tried at every
# character.
_CLOSING = re.compile(r"\n(?:See also|References|External links|Further reading|Notes and references)[ \t]*(?=\n|\Z)")


def _row(title: object, text: str, source: str, position: int, options: ReadOptions) -> Document | Drop:
    """Make an article of a row that has no markup any more but still has its closing sections."""
    name = title.strip() if isinstance(title, str) else ""
    if not options.keep_disambiguation and (
        name.endswith("(disambiguation)") or _MAY_REFER.search(text[: len(name) + 120])
    ):
        return Drop("disambiguation", source, position, name)
    # Closing sections are the last ones, so the article ends where the first of them begins. The
    # first quarter is not searched, so an early heading of that name does not end the article.
    closing = _CLOSING.search(text, max(len(text) // 4 - 1, 0))
    prose = (text[: closing.start()] if closing else text).strip()
    if not prose:
        return Drop("empty", source, position, name)
    headed = not name or prose.startswith(f"{name}\n")
    return Document(prose if headed else f"{name}\n\n{prose}", source, position)
