"""The files in tar and zip archives, also in archives within them, each as a stream.

Nothing is unpacked to disk, except for a while what only a file on disk can be read as: a zip
archive within an archive. A member that is damaged costs only itself. Knows nothing about texts.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from gpt_research.preprocessing.document import Drop
from gpt_research.preprocessing.formats.files import form_of, has_name_of_archive, is_hidden
from gpt_research.preprocessing.formats.streams import BrokenInputError, decompressed, open_bytes
from gpt_research.preprocessing.formats.tar import begins_tar, tar_members

_BLOCK = 1 << 16
_DEEPEST = 4
"""Archives within each other that are opened."""
_ZIP_BEGINS = (b"PK\x03\x04", b"PK\x05\x06")


@dataclass
class ArchivedFile:
    """A file in an archive, to be read before the next one is asked for."""

    source: str
    """Its archive and its path, with `!` between them."""
    name: str
    """Its own name, without folders."""
    stream: io.BufferedReader
    """Its content, decompressed."""


def archived_files(path: Path, source: str, share: int = 0, shares: int = 1) -> Iterator[ArchivedFile | Drop]:
    """Yield every `shares`-th file of an archive, from number `share` on, and a drop for each that
    is hidden or damaged.

    The members of an archive within it belong to the share of that archive.
    """
    with open_bytes(path) as stream:
        if stream.peek(4)[:4] in _ZIP_BEGINS:
            yield from _zip_files(path, source, share, shares, 1)
        else:
            yield from _tar_files(stream, source, share, shares, 1)


def _tar_files(
    stream: io.BufferedReader, source: str, share: int, shares: int, depth: int
) -> Iterator[ArchivedFile | Drop]:
    for position, member in enumerate(tar_members(stream)):
        if position % shares == share:
            yield from _opened(member, member.name, source, position, depth)


def _zip_files(path: Path, source: str, share: int, shares: int, depth: int) -> Iterator[ArchivedFile | Drop]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise BrokenInputError("broken_zip", str(error)) from error
    with archive:
        for position, info in enumerate(archive.infolist()):
            if info.is_dir() or position % shares != share:
                continue
            name = info.filename
            try:
                with archive.open(info) as member:
                    yield from _opened(_ZipMember(member), name, source, position, depth)
            # It is encrypted, packed in a way that the standard library does not know, or damaged.
            except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
                yield Drop("broken_zip", f"{source}!{name}", 0, str(error)[:200], broken=True)


class _ZipMember(io.RawIOBase):
    """A member of a zip archive, whose errors are those of a damaged input."""

    def __init__(self, member: IO[bytes]) -> None:
        self._member = member

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._member.read(len(buffer))
        except (zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
            raise BrokenInputError("broken_zip", str(error)) from error
        buffer[: len(data)] = data
        return len(data)


def _opened(content: io.RawIOBase, path: str, source: str, position: int, depth: int) -> Iterator[ArchivedFile | Drop]:
    """Yield a member, or the files in it if it is an archive itself."""
    inner, parts = f"{source}!{path}", [part for part in PurePosixPath(path).parts if part not in (".", "..")]
    if not parts or any(map(is_hidden, parts)):
        yield Drop("hidden_file", inner, position, "its name, or its folder's, begins with a dot or __MACOSX")
        return
    try:
        stream = decompressed(io.BufferedReader(content, _BLOCK))
        is_zip = stream.peek(4)[:4] in _ZIP_BEGINS and path.lower().endswith(".zip")
        if not is_zip and not _is_tar(path, stream):
            yield ArchivedFile(inner, parts[-1], stream)
        elif depth == _DEEPEST:
            yield Drop("archive_too_deep", inner, position, f"over {_DEEPEST} archives within each other", broken=True)
        elif is_zip:
            with spooled(stream, ".zip") as file:
                yield from _zip_files(file, inner, 0, 1, depth + 1)
        else:
            yield from _tar_files(stream, inner, 0, 1, depth + 1)
    except BrokenInputError as error:
        yield Drop(error.reason, inner, position, error.detail, broken=True)


def _is_tar(path: str, stream: io.BufferedReader) -> bool:
    """Return whether a member is a tar archive. A text by its name is none, whatever it holds."""
    return has_name_of_archive(path) or (not form_of(path).kind and begins_tar(stream.peek(512)))


@contextlib.contextmanager
def spooled(stream: io.BufferedReader, suffix: str) -> Iterator[Path]:
    """Yield the path of a file that holds a stream until the block ends."""
    with tempfile.TemporaryDirectory(prefix="gpt-research-") as folder:
        path = Path(folder, f"member{suffix}")
        with open(path, "wb") as file:
            shutil.copyfileobj(stream, file, _BLOCK)
        yield path
