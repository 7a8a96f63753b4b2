"""A page made of a few kinds of blocks, written as Markdown or as one self-contained HTML file.

Blocks hold plain text from any source, so both writers escape it. This module knows nothing about
data sets.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Code:
    """Text that a reader copies, such as a command."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of plain text; a column is aligned to the right if all its cells are numbers."""

    headings: list[str]
    """Headings of the columns; empty ones if the first column names the rows."""
    rows: list[list[str]]

    def numeric(self, column: int) -> bool:
        cells = [row[column] for row in self.rows if row[column]]
        return bool(cells) and all(re.fullmatch(r"-|[\d,.]+( [kM]B|%)?", cell) for cell in cells)


@dataclass(frozen=True)
class Picture:
    """A figure as SVG of our own, which is not escaped; Markdown refers to the HTML page."""

    title: str
    svg: str


Block = Heading | Paragraph | Code | Table | Picture

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2733; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { margin-top: 3rem; border-bottom: 1px solid #d5dbe1; } h3 { margin-bottom: .4rem; }
table { border-collapse: collapse; font-size: .9rem; display: block; overflow-x: auto; }
th { text-align: left; background: #f2f5f8; } th:empty { padding: 0; border: 0; }
th, td { padding: .3rem .7rem; border: 1px solid #d5dbe1; vertical-align: top; overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
pre { background: #f2f5f8; padding: .8rem 1rem; overflow-x: auto; }
figure { margin: 1.5rem 0; } figure svg { max-width: 100%; height: auto; } figcaption { font-weight: 600; }
"""


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """Return a whole HTML page."""
    body = "\n".join(map(_html_block, blocks))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # The browser fetches nothing and runs nothing, whatever the corpora hold.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{_escaped(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html_block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{_escaped(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{_escaped(block.text)}</p>"
    if isinstance(block, Code):
        return f"<pre>{html.escape(block.text)}</pre>"
    if isinstance(block, Picture):
        return f"<figure>\n<figcaption>{_escaped(block.title)}</figcaption>\n{block.svg}\n</figure>"
    kinds = [' class="number"' if block.numeric(column) else "" for column in range(len(block.headings))]
    head = "".join(f"<th{kind}>{_escaped(cell)}</th>" for kind, cell in zip(kinds, block.headings, strict=True))
    rows = [
        "<tr>" + "".join(f"<td{kind}>{_escaped(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in block.rows
    ]
    return "\n".join(["<table>", *([f"<tr>{head}</tr>"] if any(block.headings) else []), *rows, "</table>"])


def as_markdown(blocks: Sequence[Block]) -> str:
    """Return Markdown with GitHub's tables."""
    return "\n\n".join(map(_markdown_block, blocks)) + "\n"


def _markdown_block(block: Block) -> str:
    if isinstance(block, Heading):
        return "#" * block.level + " " + _markdown(block.text)
    if isinstance(block, Paragraph):
        return _markdown(block.text)
    if isinstance(block, Code):
        return f"```sh\n{block.text}\n```"
    if isinstance(block, Picture):
        return f"{_markdown(block.title)}: see data_card.html."
    lines = [block.headings, ["---:" if block.numeric(c) else "---" for c in range(len(block.headings))]]
    lines += [[_markdown(cell) for cell in row] for row in block.rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _plain(text: str) -> str:
    """Put a text on one line; replace invisible characters and those that change its direction."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))


def _escaped(text: str) -> str:
    return html.escape(_plain(text))


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", _plain(text))
