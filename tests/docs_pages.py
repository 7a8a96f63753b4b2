"""The pages of the documentation, taken apart: blocks of code, shell lines, prose, inline code,
links and headings.

A block's label says what it holds: `python`, `sh` or no label (shell lines), `bash` (a script) or
`text` (anything else). A block with lines that begin with `$ ` is a session: those lines are
commands, and the others are output. A block with lines that begin with `!` is a cell of a notebook.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
SHELL = ("", "sh")
INLINE_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Line:
    """A line of prose, or a command."""

    page: str
    number: int
    text: str

    @property
    def place(self) -> str:
        """Page and line, as an error message names them."""
        return f"{self.page}:{self.number}"


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: str
    number: int
    """Line of the page on which the code begins."""
    label: str
    code: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.number}"

    def commands(self) -> Iterator[Line]:
        """Yield each command of a shell block: without its comment, lines joined, `&&` taken
        apart.
        """
        lines = self.code.split("\n")
        # In a session the commands stand behind "$ ", in a cell of a notebook behind "!".
        sign = next((sign for sign in ("$ ", "!") if any(line.startswith(sign) for line in lines)), "")
        index = 0
        while index < len(lines):
            begin, text = index, lines[index]
            index += 1
            if not text.startswith(sign):
                continue
            text = text.removeprefix(sign)
            while _goes_on(text) and index < len(lines):
                text = text.removesuffix("\\") + ("" if text.endswith("\\") else "\n") + lines[index]
                index += 1
            for command in _without_comment(text).split(" && "):
                command = command.strip().removeprefix(".venv/bin/")  # where `make` puts the program
                if command:
                    yield Line(self.page, self.number + begin, command)


def _goes_on(text: str) -> bool:
    """Return whether a command needs the next line: an open quotation, or a backslash at the
    end.
    """
    if text.endswith("\\"):
        return True
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return True
    return False


def _without_comment(text: str) -> str:
    """Return a command without the comment at its end; a `#` within quotation marks begins none."""
    kept: list[str] = []
    quote = ""
    for character in text:
        if character == "#" and not quote and (not kept or kept[-1].isspace()):
            break
        if character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        kept.append(character)
    return "".join(kept)


@dataclass(frozen=True)
class Page:
    """One page."""

    name: str
    blocks: list[Block]
    prose: list[Line]
    """All lines outside blocks."""

    def inline_code(self) -> Iterator[Line]:
        """Yield each `piece of code` of the prose; one that is broken over two lines belongs to the
        first.
        """
        text = "\n".join(line.text for line in self.prose)
        for match in INLINE_CODE.finditer(text):
            line = self.prose[text.count("\n", 0, match.start())]
            yield Line(self.name, line.number, " ".join(match[1].split()))

    def links(self) -> Iterator[Line]:
        """Yield the target of each link."""
        for line in self.prose:
            for target in LINK.findall(INLINE_CODE.sub("", line.text)):
                yield Line(self.name, line.number, target)

    def anchors(self) -> set[str]:
        """Return the anchors of the headings, as both GitHub and the site make them."""
        headings = [line.text.lstrip("#").strip() for line in self.prose if re.match(r"#+ ", line.text)]
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def read_page(name: str) -> Page:
    """Read a page by its path from the root of the repository."""
    blocks: list[Block] = []
    prose: list[Line] = []
    fence = label = ""
    begin, code = 0, [""]
    for number, text in enumerate((ROOT / name).read_text(encoding="utf-8").split("\n"), start=1):
        mark = re.match(r" *(```+)(.*)", text)
        if fence and mark and mark[1] == fence and not mark[2]:
            blocks.append(Block(name, begin, label, _dedent(code)))
            fence = ""
        elif fence:
            code.append(text)
        elif mark:
            fence, label = mark[1], mark[2].strip()
            begin, code = number + 1, []
        else:
            prose.append(Line(name, number, text))
    assert not fence, f"{name}:{begin}: this block has no end"
    return Page(name, blocks, prose)


def _dedent(lines: list[str]) -> str:
    """Return the code of a block; the indentation of a block within a list is no part of it."""
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines)
