"""What a run would read, found out without writing anything: `--dry_run`.

A few units of each corpus are read, for some seconds. From their text follows that of the others of
their kind, so the numbers of a small corpus are exact and those of a large one are estimates.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from gpt_research.preprocessing.document import Document, Drop, MissingTextError, ReadOptions, Unit
from gpt_research.preprocessing.formats.files import form_of, unit_file
from gpt_research.preprocessing.formats.tables import TableReader, records
from gpt_research.preprocessing.job_plan import JobPlan
from gpt_research.preprocessing.readers.corpus import Corpus
from gpt_research.preprocessing.room import text_bytes

LOOK_S = 3.0
"""Seconds of reading for each corpus."""


@dataclass
class Look:
    """What a run would find in one corpus."""

    name: str
    reader: str
    files: int
    size: int
    """Bytes on disk; 0 if they are not known, as on the hub."""
    text_key: str = ""
    """The field that holds the text; empty if the files have no fields."""
    first: Document | None = None
    documents: int = 0
    text_bytes: float = 0
    exact: bool = True
    """All was read; else documents and bytes of text are estimates."""
    drops: dict[str, int] = field(default_factory=dict)
    """Numbers of drops by reason, among what was read."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Numbers of files that the reader does not take, by suffix."""


def look(corpus: Corpus, plan: JobPlan) -> Look:
    """Look into a corpus of a plan.

    Raises:
        UserError: the reader finds nothing, or no text.
    """
    units = [unit for task in plan.tasks if task.corpus == corpus.name for unit in task.units]
    files = {unit.path for unit in units}
    found = Look(corpus.name, corpus.reader.name, len(files), sum(unit.size for unit in units))
    found.text_key = _text_key(corpus, units, plan.read_options)
    found.left_out = plan.left_out.get(corpus.name, {})
    ends_at = time.perf_counter() + LOOK_S
    looked_at: list[Unit] = []
    for unit in _spread(units):
        looked_at.append(unit)
        if not _look_into(unit, corpus, plan.read_options, found, ends_at):
            found.exact = False
        if time.perf_counter() > ends_at:
            break
    if len(looked_at) < len(units):
        found.exact = False
        sampled = sum(unit.size for unit in looked_at)
        share = found.size / sampled if sampled else len(units) / len(looked_at)
        found.documents, found.text_bytes = round(found.documents * share), found.text_bytes * share
    return found


def _look_into(unit: Unit, corpus: Corpus, options: ReadOptions, found: Look, ends_at: float) -> bool:
    """Read a unit until `ends_at` and add what it holds to `found`; return True if that was all."""
    documents, size, whole = 0, 0.0, True
    for item in corpus.read(unit, options):
        if isinstance(item, Drop):
            found.drops[item.reason] = found.drops.get(item.reason, 0) + 1
        else:
            found.first = found.first or item
            documents, size = documents + 1, size + len(item.text.encode("utf-8", "replace"))
        if time.perf_counter() > ends_at:
            whole = False
            break
    if not whole and size and unit.size:
        # How much of the unit this was is not known, so its text is that of its kind.
        expected = max(size, text_bytes([unit], found.reader))
        documents, size = round(documents * expected / size), expected
    found.documents, found.text_bytes = found.documents + documents, found.text_bytes + size
    return whole


def _spread(units: Sequence[Unit]) -> Iterator[Unit]:
    """Yield all units, first of all the first one, and then those that halve the gaps."""
    taken: set[int] = set()
    step = len(units)
    while step:
        for index in range(0, len(units), step):
            if index not in taken:
                taken.add(index)
                yield units[index]
        step //= 2


def _text_key(corpus: Corpus, units: Sequence[Unit], options: ReadOptions) -> str:
    """Return the field that holds the text of the first table, or an empty string."""
    reader = corpus.reader
    tables = [unit for unit in units if form_of(unit.path).is_table]
    if not isinstance(reader, TableReader) or not tables:
        return ""
    columns = partial(reader.columns, options=options)
    try:
        for item in records(unit_file(corpus.root, tables[0]), tables[0], columns):
            if not isinstance(item, Drop):
                return columns(list(item[1]))[0]
    except (MissingTextError, OSError):  # the reader has counted it as damaged
        pass
    return ""
