"""Readers of files as their authors publish them: SST-2, TREC, SICK, MRPC and MCTest.

A file is known by its name. A reader yields the number of each line and its columns by our names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError

Lines = Iterator[tuple[int, dict[str, Any]]]


def _lines(path: Path, encoding: str = "utf-8-sig") -> Iterator[tuple[int, str]]:
    """Yield the lines that hold anything, with their numbers; a quote or a form feed is text."""
    for number, line in enumerate(path.read_bytes().decode(encoding).split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def _fields(path: Path, count: int) -> Iterator[tuple[int, list[str]]]:
    for number, line in _lines(path):
        fields = line.split("\t")
        if len(fields) < count:
            raise UserError(f"{path}, line {number} has {len(fields)} fields, but {count} are needed.")
        yield number, fields


def sst2(path: Path, task: str) -> Lines:
    """Stanford Sentiment Treebank, two classes: `LABEL sentence`."""
    for number, line in _lines(path):
        label, _, text = line.partition(" ")
        yield number, {"text": text, "label": label}


def trec(path: Path, task: str) -> Lines:
    """Kinds of questions: `COARSE:fine question`; `label` is the coarse one, `fine` both."""
    for number, line in _lines(path, "iso-8859-1"):
        kind, _, text = line.partition(" ")
        yield number, {"text": text, "label": kind.partition(":")[0], "fine": kind}


def sick(path: Path, task: str) -> Lines:
    """Entailment of a pair, or its relatedness from 1 to 5 if the task is similarity."""
    rows = _fields(path, 5)
    next(rows, None)  # the header
    for number, (_, a, b, relatedness, entailment, *_) in rows:
        label = relatedness if task == "similarity" else entailment
        yield number, {"text_a": a, "text_b": b, "label": label}


def mrpc(path: Path, task: str) -> Lines:
    """Paraphrases, 1 or 0."""
    rows = _fields(path, 5)
    next(rows, None)
    for number, (label, _, _, a, b, *_) in rows:
        yield number, {"text_a": a, "text_b": b, "label": label}


def answers_of(path: Path) -> Path:
    """Return the file of the answers of a file of MCTest's questions."""
    return path.with_name(path.name.replace(".statements.tsv", "").replace(".tsv", "") + ".ans")


def mctest(path: Path, task: str) -> Lines:
    """Stories with four questions of four statements each; the answers lie beside them (.ans)."""
    answers_path = answers_of(path)
    if not answers_path.is_file():
        raise UserError(f"{path} needs its answers in {answers_path}, which is not there.")
    answers = [line.split() for _, line in _lines(answers_path)]
    for place, letters in enumerate(answers, start=1):
        if len(letters) != 4 or not set(letters) <= set("ABCD"):
            raise UserError(
                f"{answers_path} has {' '.join(letters)!r} for story {place}, and it must have four letters from A to "
                "D. Fetch it again."
            )
    for index, (number, (_, _, story, *rest)) in enumerate(_fields(path, 23)):
        if index >= len(answers):
            raise UserError(f"{answers_path} has answers for {len(answers)} stories, but {path} has more.")
        context = story.replace("\\newline", "\n")
        for question in range(4):
            first, *choices = rest[5 * question : 5 * question + 5]
            asked = re.sub(r"^(one|multiple): ", "", first)
            # A file of statements has the answers as statements, so that no question is needed.
            text = context if "statements" in path.name else f"{context}\n{asked}"
            yield number, {"context": text, "choices": choices, "answer": "ABCD".index(answers[index][question])}


READERS: dict[str, Callable[[Path, str], Lines]] = {
    r"stsa\.binary\.(train|dev|test)": sst2,
    r"TREC\.(train|test)": trec,
    r"SICK_(train|trial|test_annotated)\.txt": sick,
    r"msr-para-(train|val|test)\.tsv": mrpc,
    r"mc(160|500)\.(train|dev|test)(\.statements)?\.tsv": mctest,
}
"""Patterns of file names, and the reader of each."""
NAMES = ("SST-2's stsa.binary.train", "TREC.train", "SICK_train.txt", "msr-para-train.tsv", "mc160.train.tsv")


def parts_of(path: Path) -> list[Path]:
    """Return all files that examples are read from."""
    return [path, answers_of(path)] if reader_of(path) is mctest else [path]


def reader_of(path: Path) -> Callable[[Path, str], Lines] | None:
    """Return the reader of an official file; None if the name is not one of theirs."""
    return next((reader for pattern, reader in READERS.items() if re.fullmatch(pattern, path.name)), None)
