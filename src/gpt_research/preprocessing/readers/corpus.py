"""A corpus with its reader. Damage does not end a run: a damaged piece becomes a counted drop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.document import BatchReader, Document, Drop, Reader, ReadOptions, Unit
from gpt_research.preprocessing.formats.files import form_of, printable, unit_file, unread_files
from gpt_research.preprocessing.formats.remedies import remedies
from gpt_research.preprocessing.formats.streams import BrokenInputError
from gpt_research.preprocessing.remarks import left_out_files

_FORMS = (
    ".txt, .text, .md, .jsonl, .ndjson, .json, .csv, .tsv, .parquet (each also as .gz, .zst, .bz2 or .xz), "
    ".tar, .zip, .xml.bz2, maildir"
)
_PROBED_UNITS = 3
_PROBED_ITEMS = 20


@dataclass(frozen=True)
class Corpus:
    """A named corpus with the reader for its form."""

    name: str
    root: Path
    reader: Reader

    def units(self) -> list[Unit]:
        """Cut the corpus into units, in a fixed order; at least one.

        Raises:
            UserError: the reader finds nothing that it can read.
        """
        units = self.reader.units(self.root)
        if not units:
            others = self.left_out([])
            if others:
                holds = f"it holds {left_out_files(others)}"
            else:
                holds = "it holds no file" if self.root.is_dir() else "its name ends in another suffix"
            raise UserError(
                f'Nothing that reader "{self.reader.name}" can read in {self.root} (corpus "{self.name}"): {holds}. '
                f"Readable are {_FORMS}; another reader is named as {self.name}:READER=PATH."
                + "".join(f" {remedy}" for remedy in remedies(others))
            )
        return units

    def left_out(self, units: Sequence[Unit]) -> dict[str, int]:
        """Return the number of files that are in none of the corpus's units, by suffix, the most
        frequent first.
        """
        if not self.root.is_dir():
            return {}
        others = unread_files(self.root, {unit.path for unit in units})
        counts = Counter(printable(PurePosixPath(name).suffix.lower()) or "no suffix" for name in others)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def check(self, units: Sequence[Unit], options: ReadOptions) -> None:
        """Raise `UserError` if the first units show that no text can be found with these options.

        `read` counts a file without the text's field as damaged and goes on. If the first files all
        lack it, then the choice of the field is wrong, and a long run would end with nothing.
        """
        problem = ""
        for unit in units[:_PROBED_UNITS]:
            for item in islice(self.read(unit, options), _PROBED_ITEMS):
                if isinstance(item, Document):
                    return
                if item.reason == "no_text_key":
                    problem = problem or f"{item.source}: {item.detail}"
        if problem:
            raise UserError(f'Corpus "{self.name}" has {problem}. Name the one that holds the text: --text_key KEY.')

    def read(self, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Stream one unit. Damaged input becomes a drop with `broken=True`."""
        return self._guarded(unit, options, self.reader.read)

    def stream(self, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop | pa.RecordBatch]:
        """Stream one unit as `read` does, in batches (`DOCUMENT_SCHEMA`) if the reader has them."""
        reader = self.reader
        return self._guarded(unit, options, reader.stream if isinstance(reader, BatchReader) else reader.read)

    def _guarded(self, unit: Unit, options: ReadOptions, read: Callable[..., Iterator[Any]]) -> Iterator[Any]:
        position = 0
        try:
            file = unit_file(self.root, unit)
            if file.is_file() and file.stat().st_size == 0:
                form = form_of(file)
                # An empty note is no damage, and an empty archive is a download that failed.
                may_be_empty = form.kind in ("text", "lines", "csv") and not form.packed
                yield Drop("empty_file", unit.path, 0, "the file has no bytes", broken=not may_be_empty)
                return
            for item in read(self.root, unit, options):
                position = 1 + (item["position"][-1].as_py() if isinstance(item, pa.RecordBatch) else item.position)
                yield item
        except (UserError, AssertionError):
            raise
        except Exception as error:  # one odd file must not end a run over a million
            yield Drop(*_fault(error, unit, position), broken=True)


def _fault(error: Exception, unit: Unit, position: int) -> tuple[str, str, int, str]:
    """Return reason, source, position and detail of the error that ended a unit early."""
    detail = f"{type(error).__name__}: {error}"[:300]
    if isinstance(error, BrokenInputError):
        reason, detail = error.reason, error.detail[:300]
    elif isinstance(error, FileNotFoundError):
        reason = "vanished"
    elif isinstance(error, UnicodeError):
        reason = "invalid_encoding"
    elif type(error).__module__.partition(".")[0] == "pyarrow":
        reason = "broken_parquet"
    elif isinstance(error, OSError):
        reason = "unreadable"
    else:
        reason = "reader_error"
    return reason, unit.path, position, detail
