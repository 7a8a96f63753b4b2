"""The readers by name, and the corpus that `NAME=PATH` on the command line means.

Forms: `NAME=PATH`, `NAME:reader=PATH`, `NAME=hub:owner/name`. A name in `READERS` chooses that
reader. With any other name the files decide, unless a reader is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from gpt_research.base.errors import UserError, closest
from gpt_research.preprocessing.document import Reader, RecordReader
from gpt_research.preprocessing.formats.files import form_of, is_about_the_data, is_archive, relative, walk
from gpt_research.preprocessing.formats.tables import GenericReader
from gpt_research.preprocessing.readers.cnn import CnnReader
from gpt_research.preprocessing.readers.corpus import Corpus
from gpt_research.preprocessing.readers.enron import EnronReader
from gpt_research.preprocessing.readers.gutenberg import GutenbergReader
from gpt_research.preprocessing.readers.hub import HubReader
from gpt_research.preprocessing.readers.openwebtext import OpenWebTextReader
from gpt_research.preprocessing.readers.transweb import TransWebReader
from gpt_research.preprocessing.readers.wikipedia import WikipediaReader, is_dump

READERS: dict[str, Callable[[], Reader]] = {
    "cnn": CnnReader,
    "enron": EnronReader,
    "gutenberg": GutenbergReader,
    "openwebtext": OpenWebTextReader,
    "transweb": TransWebReader,
    "wikipedia": WikipediaReader,
    "files": GenericReader,
}
"""Reader classes by their names on the command line. A plugin adds `READERS["mine"] = MyReader`."""

_OPENWEBTEXT = re.compile(r"(?:urlsf_subset|openwebtext).*\.(?:xz|tar|tgz|tar\.\w+)$")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def resolve(spec: str) -> Corpus:
    """Return the corpus that `NAME=PATH`, `NAME:reader=PATH` or `NAME=hub:owner/name` means.

    Raises:
        UserError: another form, a name that cannot be a folder's, an unknown reader, or a path that
            does not exist.
    """
    left, equals, location = spec.partition("=")
    name, _, chosen = left.partition(":")
    if not equals or not location or not name:
        raise UserError(f'"{spec}" names no corpus. Write NAME=PATH, for example cnn=data/cnn.')
    if not _NAME.fullmatch(name):
        raise UserError(
            f'"{name}" cannot name a corpus (in "{spec}"). Use small letters, digits, "_", "-" and ".", '
            "starting with a letter or digit."
        )
    if chosen and chosen not in READERS:
        raise UserError(
            f'There is no reader "{chosen}" (in "{spec}").{closest(chosen, READERS)} '
            f"Readers: {', '.join(sorted(READERS))}."
        )
    known = chosen or (name if name in READERS else "")
    if location.startswith("hub:"):
        reader = READERS[known]() if known else None
        rows_reader = reader if isinstance(reader, RecordReader) else None
        return Corpus(name, Path(location), HubReader.parse(location.removeprefix("hub:"), rows_reader))
    root = Path(location).expanduser()
    if not root.exists():
        raise UserError(f'{root} does not exist (corpus "{name}").{_closest_neighbour(root)} Write NAME=PATH.')
    return Corpus(name, root, READERS[known or reader_for(root)]())


def reader_for(root: Path) -> str:
    """Return the name of the reader for the files at `root`, by their names and beginnings.

    Raises:
        UserError: one reader would hide files that another one reads.
    """
    found: dict[str, Path] = {}
    for path in walk(root):
        found.setdefault(_reader_of(path), path)
    special = [name for name in found if name not in ("", "files")]
    if not special:
        return "files"
    if len(special) > 1 or "files" in found:
        first, second = (found[name] for name in [*special, "files"][:2])
        raise UserError(
            f"{root} holds files of more than one form: {relative(first, root)} is for the reader {special[0]}, "
            f"{relative(second, root)} for {[*special, 'files'][1]}. Put them into folders of their own, or choose: "
            + " or ".join(f"NAME:{name}={root}" for name in sorted([*special, *({"files"} & found.keys())]))
            + "."
        )
    return special[0]


def _reader_of(path: Path) -> str:
    """Return the reader of one file, or an empty string if none reads it or it only describes
    others.
    """
    lower = path.name.lower()
    if "maildir" in path.parts or _is_mail_table(path) or (lower.startswith("enron_mail") and is_archive(path)):
        return "enron"
    if is_dump(path):
        return "wikipedia"
    if _OPENWEBTEXT.match(lower) and not form_of(path).kind:
        return "openwebtext"
    if is_about_the_data(path.name):
        return ""
    return "files" if form_of(path).kind or is_archive(path) else ""


def _is_mail_table(path: Path) -> bool:
    """Return whether a file is Kaggle's table of Enron's mails."""
    if path.name.lower() != "emails.csv":
        return False
    with open(path, "rb") as file:
        return file.readline(100).replace(b'"', b"").strip() == b"file,message"


def _closest_neighbour(path: Path) -> str:
    """Return ' Did you mean "x"?' for a similar name beside `path`, or an empty string."""
    parent = path.parent
    return closest(path.name, (entry.name for entry in parent.iterdir())) if parent.is_dir() else ""
