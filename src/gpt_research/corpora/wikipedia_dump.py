"""The pages of a MediaWiki XML dump, streamed: plain, `.bz2` (also multistream), or otherwise compressed.

A dump is cut into units by bytes. A unit owns the pages that begin in it and reads on to the end of its
last one. Pages are found by their tags, and each is parsed as XML by itself, so that damage costs the pages
it lies in and no others: after a broken bz2 stream, reading goes on with the next one. Knows nothing of
wikitext.
"""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

from gpt_research.corpora.document import Drop, Unit
from gpt_research.corpora.streams import MAX_RECORD, BrokenInputError, open_bytes

UNIT_BYTES = 64 << 20
_BLOCK = 1 << 20
_BZ2_START = b"BZh"
# A stream's first block follows its header of four bytes; the block's magic number is pi.
_BZ2_BLOCK = b"1AY&SY"
_OPEN, _CLOSE = b"<page>", b"</page>"


@dataclass(slots=True)
class Page:
    """A page of the dump: its latest revision."""

    id: int
    title: str
    namespace: str
    is_redirect: bool
    wikitext: str


def cut_dump(path: Path, name: str) -> list[Unit]:
    """Cut a dump into units of about `UNIT_BYTES`; packed other than as bz2, it is one unit."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(64)
    if size <= UNIT_BYTES or not (head.startswith(_BZ2_START) or head.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"<")):
        return [Unit(name, size)]
    starts = range(0, size, UNIT_BYTES)
    return [Unit(name, min(UNIT_BYTES, size - start), start, min(start + UNIT_BYTES, size)) for start in starts]


def pages(path: Path, unit: Unit) -> Iterator[Page | Drop]:
    """Yield the pages that begin in this unit, and a drop for each damaged piece."""
    held = b""
    owned = True
    last = 0
    for piece in _pieces(path, unit):
        if isinstance(piece, Drop):
            piece.position = last
            yield piece
            if not owned:
                return
            held = b""
            continue
        data, is_owned = piece
        begun = len(held)
        held += data
        if owned and not is_owned:
            # Past the end of the unit: only the page whose tag has begun is still this unit's.
            owned = False
            if not 0 <= held.find(_OPEN) < begun:
                return
        at = 0
        while (end := held.find(_CLOSE, at)) >= 0:
            begin = held.rfind(_OPEN, at, end)
            if begin >= 0:
                if (lost := held.find(_OPEN, at, begin)) >= 0:
                    yield _broken("invalid_xml", unit, last, held[lost : lost + 200], "a page without an end")
                page = _page(held[begin : end + len(_CLOSE)], unit, last)
                last = page.id if isinstance(page, Page) else last
                yield page
            at = end + len(_CLOSE)
            if not owned:
                return
        held = held[at:]
        if len(held) > MAX_RECORD:
            yield _broken("page_too_long", unit, last, held[:200], f"over {MAX_RECORD >> 20} MB")
            held = b""
    if (begin := held.find(_OPEN)) >= 0:
        yield _broken("truncated_xml", unit, last, held[begin : begin + 200], "the dump ends inside a page")


def _broken(reason: str, unit: Unit, position: int, excerpt: bytes, detail: str) -> Drop:
    shown = " ".join(excerpt.decode("utf-8", "replace").split())[:120]
    return Drop(reason, unit.path, position, f"{detail}: {shown}", broken=True)


def _page(data: bytes, unit: Unit, last: int) -> Page | Drop:
    try:
        page = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        return _broken("invalid_xml", unit, last, data[:200], str(error))
    texts = [revision.findtext("text") or "" for revision in page.iter("revision")]
    number = page.findtext("id") or ""
    return Page(
        int(number) if number.isdecimal() else last,
        page.findtext("title") or "",
        page.findtext("ns") or "0",
        page.find("redirect") is not None,
        texts[-1] if texts else "",
    )


# --- bytes of a unit ----------------------------------------------------------------------------------------


def _pieces(path: Path, unit: Unit) -> Iterator[tuple[bytes, bool] | Drop]:
    """Yield `(bytes, whether they belong to the unit)` from the unit's start to the end of the file."""
    with open(path, "rb") as file:
        is_bz2 = file.read(3) == _BZ2_START
        file.seek(unit.start)
        stop = unit.stop if unit.stop >= 0 else path.stat().st_size
        if is_bz2:
            yield from _bz2_pieces(path, unit, stop)
            return
        if unit.stop >= 0:
            yield from _plain_pieces(path, unit, stop)
            return
    try:
        with open_bytes(path) as stream:
            while data := stream.read1(_BLOCK):
                yield data, True
    except BrokenInputError as error:
        yield Drop(error.reason, unit.path, 0, error.detail[:200], broken=True)


def _plain_pieces(path: Path, unit: Unit, stop: int) -> Iterator[tuple[bytes, bool]]:
    with open(path, "rb") as file:
        file.seek(unit.start)
        position = unit.start
        while data := file.read(min(_BLOCK, stop - position) if position < stop else _BLOCK):
            yield data, position < stop
            position += len(data)


def _bz2_pieces(path: Path, unit: Unit, stop: int) -> Iterator[tuple[bytes, bool] | Drop]:
    """Decompress the streams that begin in the unit, and those after it; skip the damaged ones."""
    with open(path, "rb") as file:
        start = _next_stream(file, unit.start)
        while start is not None:
            decompressor = bz2.BZ2Decompressor()
            file.seek(start)
            try:
                while not decompressor.eof:
                    packed = file.read(_BLOCK) if decompressor.needs_input else b""
                    if not packed and decompressor.needs_input:
                        raise EOFError("the file ends inside a bz2 stream")
                    yield decompressor.decompress(packed, 4 * _BLOCK), start < stop
            except (OSError, EOFError, ValueError) as error:
                yield Drop("broken_bz2", unit.path, 0, f"at byte {start}: {error}", broken=True)
                start = _next_stream(file, start + 1)
                continue
            start = _next_stream(file, file.tell() - len(decompressor.unused_data))


def _next_stream(file: BinaryIO, offset: int) -> int | None:
    """Return where the next bz2 stream begins at or after `offset`."""
    overlap = len(_BZ2_START) + 1 + len(_BZ2_BLOCK) - 1
    file.seek(offset)
    tail = b""
    while block := file.read(_BLOCK):
        window = tail + block
        base = file.tell() - len(window)
        found = window.find(_BZ2_BLOCK)
        while found >= 0:
            header = window[max(0, found - 4) : found]
            if header[:3] == _BZ2_START and header[3:].isdigit():
                return base + found - 4
            found = window.find(_BZ2_BLOCK, found + 1)
        tail = window[-overlap:]
    return None
