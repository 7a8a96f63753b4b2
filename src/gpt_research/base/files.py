"""Files: their hashes, JSON, and the one way in which this project writes a file.

A file is written beside its place, under a hidden name that ends in `.part`, and moved there when
it is whole. So a reader, or a run that starts again after a crash, finds a whole file or none.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def file_sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    return size_and_sha256(path)[1]


def size_and_sha256(path: Path | str) -> tuple[int, str]:
    """Return the number of a file's bytes, and their SHA-256 in hexadecimal."""
    size, digest = 0, hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        # A larger block would get fresh pages from the system for each file, and clearing them
        # takes longer than hashing a small file.
        while block := file.read(1 << 16):
            size += len(block)
            digest.update(block)
    return size, digest.hexdigest()


@contextlib.contextmanager
def written_whole(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a path beside `path`, and move it to `path` when the block succeeds.

    The block writes a file or a folder under the yielded path. If the block raises, that is removed
    and `path` stays as it was. An old file at `path` is replaced; an old folder must be empty.

    Args:
        durable: wait until the bytes are on the disk itself, so that they survive a power failure.
    """
    part = part_path(path)
    try:
        yield part
        if durable:
            flush(part)
        part.replace(path)
        if durable:
            flush(path.parent)  # the new name is an entry of the folder
    except BaseException as error:  # Ctrl-C must leave nothing behind either
        with contextlib.suppress(OSError):
            shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        # An error of `write` names no file, and one of `open` names a file that the user never saw.
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(part)):
            error.filename = str(path)
        raise


def part_path(path: Path) -> Path:
    """Return the name under which `path` is written before it is moved to its place."""
    return path.with_name(f".{path.name}.part")


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write UTF-8 text, whole or not at all."""
    with written_whole(path, durable=durable) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any, *, durable: bool = False) -> None:
    """Write a value as JSON, whole or not at all."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    if not can_be_written(text):  # the name of a file that is not UTF-8; escapes bring it back
        text = json.dumps(value, indent=1)
    write_text(path, text + "\n", durable=durable)


def can_be_written(text: str) -> bool:
    """Return whether UTF-8 can write `text`: it has no surrogates, as Python uses them for names of
    files that are not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class AppendedLines:
    """A file to which lines are appended, each at once, so that it can be followed.

    A line that the disk refuses is kept and written before the next one.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  closed in close
        self._waiting = b""

    def write(self, line: str) -> None:
        """Append a line, and those that wait.

        Raises:
            OSError: the disk is full; the line waits.
        """
        self._waiting += line.encode()
        self._write()

    def close(self) -> None:
        """Write the lines that wait, and close the file.

        Raises:
            OSError: the disk is still full.
        """
        with self._file:
            self._write()

    def _write(self) -> None:
        while self._waiting:
            self._waiting = self._waiting[self._file.write(self._waiting) :]


def flush(path: Path) -> None:
    """Wait until a file or a folder is on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems refuse to flush a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
