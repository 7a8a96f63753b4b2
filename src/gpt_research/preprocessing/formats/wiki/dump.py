"""The pages of a MediaWiki XML dump, streamed: plain, `.bz2` (one stream or many), or otherwise
compressed.

A dump is cut into units by bytes. A unit owns the pages that begin in it, and reads on to the end
of its last page. Pages are found by their tags, and each is parsed as XML by itself, so damage
costs only the pages in which it is: after a broken bz2 block, reading goes on with the next one.
Knows nothing about wikitext.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from gpt_research.preprocessing.document import Drop, Unit
from gpt_research.preprocessing.formats.bz2_blocks import SIGNATURE, contents
from gpt_research.preprocessing.formats.streams import MAX_RECORD, BrokenInputError, open_bytes

UNIT_BYTES = 8 << 20
_PIECE = 1 << 20
_OPEN = b"<page>"
# All but the first character is in an atomic group, because a pattern that begins with one literal
# character is searched for fast.
_TAG = re.compile(rb"<(?>(/?)page>)")


@dataclass(slots=True)
class Page:
    """A page of the dump: its latest revision."""

    id: int
    title: str
    namespace: str
    is_redirect: bool
    wikitext: str


def cut_dump(path: Path, name: str) -> list[Unit]:
    """Cut a dump into units of about `UNIT_BYTES`, or one if only bz2 could be cut."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(64)
    if size <= UNIT_BYTES or not (head.startswith(SIGNATURE) or head.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"<")):
        return [Unit(name, size)]
    starts = range(0, size, UNIT_BYTES)
    return [Unit(name, min(UNIT_BYTES, size - start), start, min(start + UNIT_BYTES, size)) for start in starts]


def pages(path: Path, unit: Unit) -> Iterator[Page | Drop]:
    """Yield the pages that begin in this unit, and a drop for each damaged piece."""
    held = b""
    owned = True
    limit = 0  # index in `held` at which the unit has ended
    last = 0
    for piece, ends in _pieces(path, unit):
        if isinstance(piece, Drop):
            piece.position = last
            yield piece
            if ends:
                return
            held = b""
            continue
        held += piece
        # After the end of the unit, only a page whose tag has begun still belongs to it.
        if not owned and not 0 <= held.find(_OPEN) < limit:
            return
        at = 0
        begins: list[int] = []
        for tag in _TAG.finditer(held):
            if not tag[1]:
                begins.append(tag.start())
                continue
            at = tag.end()
            if begins:
                lost, begin = begins[0], begins[-1]
                if lost < begin:
                    yield _broken("invalid_xml", unit, last, held[lost : lost + 200], "a page without an end")
                if not owned and begin >= limit:
                    return
                page = _page(held[begin:at], unit, last)
                last = page.id if isinstance(page, Page) else last
                yield page
                begins.clear()
            if not owned:
                return
        held = held[at:]
        limit = len(held) if owned else limit
        owned = not ends
        if not owned and b"<" not in held:
            return
        if len(held) > MAX_RECORD:
            yield _broken("page_too_long", unit, last, held[:200], f"over {MAX_RECORD >> 20} MB")
            held = b""
    if (begin := held.find(_OPEN)) >= 0:
        yield _broken("truncated_xml", unit, last, held[begin : begin + 200], "the dump ends inside a page")


def _broken(reason: str, unit: Unit, position: int, excerpt: bytes, detail: str) -> Drop:
    shown = " ".join(excerpt.decode("utf-8", "replace").split())[:120]
    return Drop(reason, unit.path, position, f"{detail}: {shown}", broken=True)


def _page(data: bytes, unit: Unit, last: int) -> Page | Drop:
    fields: dict[str, str] = {}
    held: list[str] = []

    def begin(name: str, attributes: dict[str, str]) -> None:
        held.clear()

    def end(name: str) -> None:
        # The text is that of the last revision. All other fields are the first of their name,
        # because those of the page come before those of its revisions.
        if name == "text" or name not in fields:
            fields[name] = "".join(held)
        held.clear()

    parser = expat.ParserCreate()
    parser.buffer_text, parser.buffer_size = True, len(data)
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = begin, end, held.append
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        return _broken("invalid_xml", unit, last, data[:200], str(error))
    number = fields.get("id", "")
    return Page(
        int(number) if number.isdecimal() else last,
        fields.get("title", ""),
        fields.get("ns") or "0",
        "redirect" in fields,
        fields.get("text", ""),
    )


# --- bytes of a unit ------------------------------------------------------------------------------


def _pieces(path: Path, unit: Unit) -> Iterator[tuple[bytes | Drop, bool]]:
    """Yield pieces from the unit's start to the file's end, and whether the unit ends with each."""
    stop = unit.stop if unit.stop >= 0 else path.stat().st_size
    with open(path, "rb") as file:
        is_bz2 = file.read(len(SIGNATURE)) == SIGNATURE
    if is_bz2:
        yield from _bz2_pieces(path, unit, stop)
    elif unit.stop >= 0:
        yield from _plain_pieces(path, unit, stop)
    else:
        try:
            with open_bytes(path) as stream:
                while data := stream.read1(_PIECE):
                    yield data, False
        except BrokenInputError as error:
            yield Drop(error.reason, unit.path, 0, error.detail[:200], broken=True), True


def _plain_pieces(path: Path, unit: Unit, stop: int) -> Iterator[tuple[bytes, bool]]:
    with open(path, "rb") as file:
        file.seek(unit.start)
        while data := file.read(min(_PIECE, stop - file.tell()) if file.tell() < stop else _PIECE):
            yield data, file.tell() >= stop


def _bz2_pieces(path: Path, unit: Unit, stop: int) -> Iterator[tuple[bytes | Drop, bool]]:
    """Yield the decompressed blocks from the unit's start on, and a drop for a damaged one."""
    with open(path, "rb") as file:
        for number, (begin, end, content) in enumerate(contents(file, unit.start, stop)):
            if not number and begin >= 8 * stop:
                return
            ends = end >= 8 * stop
            if isinstance(content, bytes):
                yield content, ends
            else:
                yield Drop("broken_bz2", unit.path, 0, f"at byte {begin // 8}: {content}", broken=True), ends
