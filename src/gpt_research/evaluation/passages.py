"""The texts of benchmarks that preprocessing looks for in training data.

If a folder has the name of a task, the task decides which texts of its files count. In a folder
with another name, all texts count. This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.evaluation.benchmark_files import Source, every_text, read_file, unpacked_name
from gpt_research.evaluation.tasks import hellaswag
from gpt_research.evaluation.tasks.table import TASKS

SUFFIXES = (".txt", ".raw", ".jsonl")


def passages_of(folder: Path, name: str) -> Iterator[str]:
    """Yield the passages of the benchmark `name` from the files below `folder`.

    Files are read in the order of their names if these end in .txt, .raw or .jsonl, packed or not.

    Raises:
        UserError: a file cannot be read, or no file holds a text.
    """
    task, is_empty = TASKS.get(name), True
    for path in _text_files(folder):
        passages = (task.passages or every_text) if task and task.files.match(path) else _passages
        for passage in passages(read_file(path, may_lack_last_end=True)):
            is_empty = False
            yield passage
    if is_empty:
        raise UserError(f"No benchmark text in {folder}. Known are .txt, .raw and .jsonl (.gz, .bz2).")


def _text_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if unpacked_name(path).suffix in SUFFIXES and path.is_file():
            yield path


def _passages(source: Source) -> Iterator[str]:
    """Return the passages of a file that does not belong to a task."""
    # A copy of HellaSwag may be in a folder with any name, and its false endings must not count.
    return hellaswag.passages(source) if hellaswag.has_its_layout(source) else every_text(source)
