"""Whether a data set may be written where it is asked for: the corpora and the room on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.document import Unit
from gpt_research.preprocessing.formats.files import form_of
from gpt_research.preprocessing.job_plan import JobPlan
from gpt_research.preprocessing.readers.corpus import Corpus

PACKED, PARQUET, WIKITEXT = 3.0, 1.8, 0.3
"""Bytes of text for a byte on disk: of compressed texts, of Parquet, and of Wikipedia's markup."""
BYTES_PER_TOKEN = 4.4
"""Of English text with GPT-2's vocabulary. Smaller vocabularies need more tokens."""

SURELY = 0.7
"""Share of the estimated need below which a run is refused: the estimate may be too high."""


def refuse_out_in_corpus(out: Path, corpora: Sequence[Corpus]) -> None:
    """Raise `UserError` if a data set at `out` would be within a corpus, which the next run would
    read as text.
    """
    for corpus in corpora:
        if not corpus.root.is_dir():
            continue
        root = corpus.root.resolve()
        for folder in (out, *(out / other.name for other in corpora)):
            if folder.resolve().is_relative_to(root):
                raise UserError(
                    f'The data set would be written to {folder}, within the corpus "{corpus.name}" ({corpus.root}), '
                    "and be read as text the next time. Name a folder outside of it with --out."
                )


def text_bytes(units: Sequence[Unit], reader: str = "") -> float:
    """Return about how many bytes of text units hold, by their sizes and the forms of their
    files.
    """
    return sum(unit.size * _expansion(unit.path, reader) for unit in units)


def _expansion(path: str, reader: str) -> float:
    name = path.lower()
    form = form_of(name)
    if form.kind == "parquet":
        return PARQUET
    is_packed = form.packed or name.endswith((".tgz", ".zip", ".7z"))
    return (PACKED if is_packed else 1.0) * (WIKITEXT if reader == "wikipedia" and ".xml" in name else 1.0)


def token_bytes(text: float, vocab_size: int) -> float:
    """Return about how many bytes the tokens of a text take."""
    return text / BYTES_PER_TOKEN * (2 if vocab_size <= 1 << 16 else 4)


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk on which a folder is, or will be."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_room(out: Path, plan: JobPlan) -> None:
    """Raise `UserError` if the disk of `out` has clearly no room for the tokens of the corpora.

    What an interrupted run has written counts as room, because it is not written again.
    """
    text = text_bytes([unit for task in plan.tasks for unit in task.units])
    needed = token_bytes(text, plan.options["vocab_size"])
    free = free_bytes(out) + sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if free < SURELY * needed:
        raise UserError(
            f"{out} needs about {in_units(needed)} for the tokens of {in_units(text)} of text (estimated from the "
            f"sizes of the files), and its disk has {in_units(free)} free. Free some space, or name another place "
            "with --out."
        )


def in_units(size: float) -> str:
    """Write a number of bytes in kB, MB or GB."""
    if size >= 1e9:
        return f"{size / 1e9:,.1f} GB"
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
