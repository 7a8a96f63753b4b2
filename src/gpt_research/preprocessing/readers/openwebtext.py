"""OpenWebText: web pages in archives within archives, streamed and never unpacked to disk.

It reads the original `openwebtext.tar.xz` (a tar of `urlsf_subset*.xz`, each an xz of a tar of
`.txt`), a folder of those `.xz`, the newer `subsets/urlsf_subset*.tar` (tars of the same `.xz`),
the hub's tables, and unpacked texts. The source of a document in an archive is the innermost
archive, and its position is the index among that archive's files. A page's furniture
(`Advertisement`, `Share on Twitter`) is left out, whatever the form (see `web_furniture`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_research.preprocessing.document import Document, Drop, ReadOptions, Unit
from gpt_research.preprocessing.formats.fields import text_of
from gpt_research.preprocessing.formats.files import form_of, table_files, unit_file, walk
from gpt_research.preprocessing.formats.streams import MAX_RECORD, BrokenInputError, decompressed, open_bytes
from gpt_research.preprocessing.formats.tables import TableReader, cut, cut_archive
from gpt_research.preprocessing.formats.tar import Member, tar_members
from gpt_research.preprocessing.formats.web_furniture import has_furniture, without_furniture
from gpt_research.preprocessing.text.decoding import sign_of_binary, text_and_utf8

_ARCHIVES = (".tar", ".xz", ".tar.gz", ".tgz", ".tar.bz2", ".tar.zst")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class OpenWebTextReader(TableReader):
    """OpenWebText in its original archives or as tables."""

    name: str = "openwebtext"
    licence: str = "Texts belong to their authors; the packaging of OpenWebText is CC0."

    def files(self, root: Path) -> list[Path]:
        """Return the archives, tables and texts."""
        paths = walk(root)
        others = set(table_files(root, [path for path in paths if not _is_archive(path)]))
        return [path for path in paths if _is_archive(path) or path in others]

    def document(
        self, text: str, record: dict[str, Any], source: str, position: int, options: ReadOptions
    ) -> Document | Drop:
        """Make a document of a row, without the furniture of its page."""
        return Document(without_furniture(text), source, position)

    def units(self, root: Path) -> list[Unit]:
        """Cut into files, and a large outer archive into shares of its members."""
        units: list[Unit] = []
        for path in self.files(root):
            units += cut_archive(path, root) if _is_archive(path) else cut(path, root)
        return units

    def read(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Stream one unit."""
        path = unit_file(root, unit)
        if not _is_archive(path):
            yield from super().read(root, unit, options)
            return
        with open_bytes(path) as stream:
            yield from _documents(stream, unit.path, unit.start, max(unit.stop, 1))


def _is_archive(path: Path) -> bool:
    """Return whether a file is an archive of pages, by its name."""
    return path.name.lower().endswith(_ARCHIVES) and not form_of(path).kind


def _documents(stream: io.BufferedReader, source: str, share: int, shares: int) -> Iterator[Document | Drop]:
    for position, member in enumerate(tar_members(stream)):
        if position % shares != share:
            continue
        if member.name.lower().endswith(_ARCHIVES):
            inner = f"{source}!{member.name}"
            try:
                # Only the members of the outermost archive are divided into shares.
                yield from _documents(decompressed(io.BufferedReader(member, _BLOCK)), inner, 0, 1)
            except BrokenInputError as error:
                yield Drop(error.reason, inner, 0, error.detail, broken=True)
        else:
            yield _document(member, source, position)


def _document(member: Member, source: str, position: int) -> Document | Drop:
    if member.size > MAX_RECORD:
        return Drop("text_too_long", source, position, f"{member.name}: {member.size} bytes", broken=True)
    data = member.read(member.size)
    if sign := sign_of_binary(data):
        return Drop("not_text", source, position, f"{member.name}: {sign}")
    decoded, utf8 = text_and_utf8(data)
    text = text_of(decoded, source, position)
    if isinstance(text, Drop):
        return text
    # Searching bytes takes half the time. Most pages have no furniture, and their UTF-8 is passed
    # on as it is.
    if utf8 is None or text is not decoded or has_furniture(utf8):
        return Document(without_furniture(text), source, position)
    return Document(text, source, position, utf8)
