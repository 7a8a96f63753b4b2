"""Enron's mails: CMU's maildir (folder or `.tar.gz`), Kaggle's `emails.csv`, or the hub's
simplified rows.

A document is the author's own words under a short header (`ReadOptions.mail_header`). A mail that
is in several folders gives the same text each time, so one copy stays. A mail that only quotes
others is dropped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gpt_research.preprocessing.document import Document, Drop, ReadOptions, Unit
from gpt_research.preprocessing.formats.files import form_of, relative, unit_file
from gpt_research.preprocessing.formats.mail import Mail, parse
from gpt_research.preprocessing.formats.own_words import own_words
from gpt_research.preprocessing.formats.streams import MAX_RECORD, open_bytes
from gpt_research.preprocessing.formats.tables import TableReader, cut
from gpt_research.preprocessing.formats.tar import tar_members
from gpt_research.preprocessing.text.decoding import format_of
from gpt_research.preprocessing.text.personal_data import mask

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_MOST_MAILS = 1 << 16
"""Bytes of a mail that are read at once. Asking for the file's size first would cost as much as
reading it."""
_NO_MAIL = re.compile(r"\.|_|readme|licen[cs]e", re.IGNORECASE)


@dataclass(frozen=True)
class EnronReader(TableReader):
    """Enron's mails in any form. A unit is a folder of mails, an archive, or part of a table."""

    name: str = "enron"
    licence: str = "Public record (released by the US energy regulator, FERC); holds personal data."

    def units(self, root: Path) -> list[Unit]:
        """Return one unit for each folder of mails, each archive, and each part of a table."""
        if root.is_file():
            return cut(root, root) if form_of(root).kind else [Unit(root.name, root.stat().st_size)]
        units: list[Unit] = []
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            mails = 0
            for name in sorted(names):
                if _is_mail(name):
                    mails += _size(f"{folder}/{name}")
                elif form_of(name).is_table:
                    units += cut(Path(folder, name), root)
                elif name.lower().endswith(_ARCHIVES):
                    units.append(Unit(relative(Path(folder, name), root), _size(f"{folder}/{name}")))
            if mails:
                units.append(Unit(Path(folder).relative_to(root).as_posix(), mails))
        return sorted(units, key=lambda unit: (unit.path, unit.start))

    def read(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Stream the mails of one unit."""
        path = unit_file(root, unit)
        if path.is_dir():
            yield from _read_folder(path, unit, options)
        elif path.name.lower().endswith(_ARCHIVES):
            yield from _read_archive(path, unit, options)
        elif form_of(path).is_table:
            yield from super().read(root, unit, options)
        else:
            yield _mail(path.read_bytes(), unit.path, 0, options)

    def columns(self, names: Sequence[str], options: ReadOptions) -> list[str]:
        """Return the column of the message: of Kaggle's `file, message` the second."""
        return ["message"] if options.text_key is None and "message" in names else super().columns(names, options)

    def document(
        self, text: str, record: dict[str, Any], source: str, position: int, options: ReadOptions
    ) -> Document | Drop:
        """Make a document of a row: a whole message, or one of the hub's simplified ones."""
        return _document(_simplified(text) or parse(text.encode("utf-8", "replace")), source, position, options)


@lru_cache(maxsize=1 << 14)  # all folders have the same names in them
def _is_mail(name: str) -> bool:
    """Return whether a file in a folder of mails is a mail, not a table or an archive."""
    if _NO_MAIL.match(name):
        return False
    return not form_of(name).is_table and not name.lower().endswith(_ARCHIVES)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _read_folder(folder: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
    """Read the mails of a folder by name. Folders within it are units of their own."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.is_dir() and _is_mail(entry.name))
    prefix = "" if unit.path == "." else f"{unit.path}/"
    for name in names:
        source = f"{prefix}{name}"
        try:
            # With half a million mails, `Path` would take ten times as long, and a buffer would
            # only add a copy.
            with open(f"{folder}/{name}", "rb", buffering=0) as file:
                data = file.read(_MOST_MAILS)
                data = data + file.read() if len(data) == _MOST_MAILS else data
        except OSError as error:
            reason = "vanished" if isinstance(error, FileNotFoundError) else "unreadable"
            yield Drop(reason, source, 0, str(error)[:200], broken=True)
            continue
        if data:
            yield _mail(data, source, 0, options)
        else:
            yield Drop("empty_file", source, 0, "the file has no bytes", broken=True)


def _read_archive(path: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
    """Stream the mails of a tar archive, without unpacking them to disk."""
    with open_bytes(path) as stream:
        for position, member in enumerate(tar_members(stream)):
            if _NO_MAIL.match(member.name.rpartition("/")[2]):
                continue
            source = f"{unit.path}!{member.name}"
            if member.size > MAX_RECORD:
                yield Drop("mail_too_long", source, position, f"{member.size >> 20} MB", broken=True)
            else:
                yield _mail(member.read(member.size), source, position, options)


def _mail(data: bytes, source: str, position: int, options: ReadOptions) -> Document | Drop:
    """Make a document of the bytes of a mail. A picture or an archive among mails is none."""
    if format := format_of(data):
        return Drop("not_text", source, position, format)
    return _document(parse(data), source, position, options)


# The hub's rows have header lines, and the body after `Body:`.
_BODY = re.compile(r"^[ \t]*Body:[ \t]*\n?", re.MULTILINE)
_FIELD = re.compile(r"^[ \t]*(From|To|Cc|Bcc|Date|Subject):[ \t]*(.*(?:\n(?![ \t]*\w+:).*)*)", re.MULTILINE)


def _simplified(text: str) -> Mail | None:
    """Return the mail in a row of the hub's form, or None if the row is an original message."""
    body = _BODY.search(text)
    if body is None or "Message-ID:" in text[: body.start()]:
        return None
    fields: Any = _FIELD.findall(text[: body.start()])
    headers = {name.lower(): " ".join(value.split()) for name, value in fields}
    return Mail(headers, text[body.end() :])


def _document(mail: Mail, source: str, position: int, options: ReadOptions) -> Document | Drop:
    body = own_words(mail.body)
    if not body.strip():
        quoted = mail.body.strip()[:80]
        quoted = quoted if options.keep_personal_data else mask(quoted)
        return Drop("only_quotation" if quoted else "empty", source, position, quoted)
    head = _short_header(mail.headers, options)
    text = f"{head}\n\n{body}" if head else body
    return Document(text if options.keep_personal_data else mask(text), source, position)


_ADDRESS = re.compile(r"\s*<[^<>]*>|\s*/O=\S+|@\S+$|\"")


def _short_header(headers: dict[str, str], options: ReadOptions) -> str:
    subject = " ".join(headers.get("subject", "").split())
    lines = [f"Subject: {subject}"] if subject else []
    if options.mail_header == "none":
        return ""
    if options.mail_header == "full":
        # The X- headers have names where the others have addresses.
        sender = _ADDRESS.sub("", headers.get("x-from") or headers.get("from", "")).strip()
        receivers = _ADDRESS.sub("", headers.get("x-to") or headers.get("to", "")).strip()
        if len(receivers) > 200:
            receivers = receivers[:200].rpartition(",")[0] + ", ..."
        fields = (("From", sender), ("To", receivers), ("Date", headers.get("date", "")))
        lines = [f"{name}: {value}" for name, value in fields if value] + lines
    return "\n".join(lines)
