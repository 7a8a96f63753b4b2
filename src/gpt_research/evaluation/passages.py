"""The texts of benchmarks that must not be in training data, for preprocessing to look for.

A known benchmark's task says which of its texts count. In a folder of another name, every text of every
file counts. Imports no torch.
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
    """Yield the passages of the benchmark `name` from the files in `folder`, in the order of their names.

    Read are files whose names end in .txt, .raw or .jsonl, each also as .gz or .bz2.

    Raises:
        UserError: a file that cannot be read, or none with a text.
    """
    task, is_empty = TASKS.get(name), True
    for path in _text_files(folder):
        source = read_file(path, may_lack_last_end=True)
        known = task is not None and task.files.match(path)
        for passage in task.passages(source) if task is not None and known else _passages(source):
            is_empty = False
            yield passage
    if is_empty:
        raise UserError(f"No benchmark text in {folder}. Known are .txt, .raw and .jsonl (.gz, .bz2).")


def _text_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if unpacked_name(path).suffix in SUFFIXES and path.is_file():
            yield path


def _passages(source: Source) -> Iterator[str]:
    """Yield the passages of a file that no task knows."""
    # People keep HellaSwag under many names; its false endings must not count in any of them.
    return hellaswag.passages(source) if hellaswag.has_its_layout(source) else every_text(source)
