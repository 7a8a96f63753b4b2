"""Examples of a task, made of the rows of a file and checked one by one."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256
from gpt_research.finetuning import official
from gpt_research.finetuning.tables import Row, read_rows

COLUMNS: dict[str, tuple[str, ...]] = {
    "classify": ("text", "label"),
    "pairs": ("text_a", "text_b", "label"),
    "similarity": ("text_a", "text_b", "label"),
    "choice": ("context", "choices", "answer"),
    "complete": ("prompt", "completion"),
    "chat": ("messages",),
}
"""The columns of each task."""
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """One example: its texts in the order of the task's columns, and the answer."""

    where: str
    texts: tuple[str, ...] = ()
    """classify: the text; pairs, similarity: both; choice: the context and the choices; complete:
    prompt and completion."""
    label: Any = None
    """classify, pairs: the class as text; similarity: a number; choice: the index."""
    turns: tuple[Turn, ...] = ()
    """chat: the messages."""


@dataclass(frozen=True)
class ExampleFile:
    """The examples of a file."""

    path: Path
    sha256: str
    examples: list[Example] = field(repr=False)

    @classmethod
    def read(cls, path: str, task: str, columns: Mapping[str, str]) -> ExampleFile:
        """Read the examples of a task.

        Args:
            columns: the names that the file has for columns of the task, where they differ.

        Raises:
            UserError: as `read_rows` does, or a row lacks a column, or holds what the task cannot
                take; the message names file and line.
        """
        if stray := [name for name in columns if name not in COLUMNS[task]]:
            known = ", ".join(COLUMNS[task])
            raise UserError(f"columns.{stray[0]} is no column of {task}. Columns: {known}.")
        rows = read_rows(Path(path), task)
        examples = [_example(row, task, {name: columns.get(name, name) for name in COLUMNS[task]}) for row in rows]
        return cls(Path(path), sha256_of_examples(Path(path)), examples)


def sha256_of_examples(path: Path) -> str:
    """Return the SHA-256 of a file of examples; with its answers, if they lie in a file beside
    it.
    """
    hashes = [file_sha256(part) for part in official.parts_of(path)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _example(row: Row, task: str, names: Mapping[str, str]) -> Example:
    if missing := [theirs for theirs in names.values() if theirs not in row.values]:
        raise UserError(_lacks(row, task, missing))
    values = {ours: row.values[theirs] for ours, theirs in names.items()}
    if task == "chat":
        return Example(row.where, turns=_turns(row, values["messages"]))
    if task == "choice":
        choices = _choices(row, values["choices"])
        return Example(
            row.where, (_text(row, names["context"], values["context"]), *choices), _answer(row, values, choices)
        )
    *texts, last = names
    if task == "complete":
        return Example(row.where, tuple(_text(row, names[name], values[name]) for name in (*texts, last)))
    found = tuple(_text(row, names[name], values[name]) for name in texts)
    return Example(row.where, found, (_number if task == "similarity" else _label)(row, names[last], values[last]))


def _lacks(row: Row, task: str, missing: Sequence[str]) -> str:
    """Return the complaint about a row without a column of the task; it may be of another task."""
    there = ", ".join(map(str, row.values)) or "none"
    others = [name for name, needed in COLUMNS.items() if name != task and set(needed) <= row.values.keys()]
    if others:
        return (
            f"{row.where} is of another task: it has the columns {there}, which are those of {others[0]}, and not "
            f"{', '.join(missing)} of {task}. One file holds one task: split it, or fine-tune with --task {others[0]}."
        )
    return f"{row.where} has no {missing[0]!r} for the task {task} (its columns: {there}). Name it with --columns."


def _text(row: Row, name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UserError(f"{row.where}: {name} is {value!r}, and it must be a text.")
    if not value.strip():
        raise UserError(f"{row.where}: {name} is empty. Fill it in, or leave the row out.")
    return value


def _label(row: Row, name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UserError(f"{row.where}: {name} is {value!r}, and a class must be a text or a whole number.")
    if not str(value).strip():
        raise UserError(f"{row.where}: {name} is empty. Name the class, or leave the row out.")
    return str(value).strip()


def _number(row: Row, name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(
            f"{row.where}: {name} is {value!r}, and similarity needs a number. For classes take --task pairs."
        )
    return number


def _choices(row: Row, value: Any) -> list[str]:
    if isinstance(value, str):  # a table holds them as JSON
        try:
            value = orjson.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list) or len(value) < 2:
        raise UserError(f"{row.where}: choices must be a list of at least two texts (in a table, as JSON).")
    return [_text(row, "choices", choice) for choice in value]


def _answer(row: Row, values: Mapping[str, Any], choices: Sequence[str]) -> int:
    answer = values["answer"]
    if isinstance(answer, str) and answer in choices:
        return choices.index(answer)
    if isinstance(answer, str) and answer.strip().isdecimal():
        answer = int(answer)
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        rule = f"one of the choices, or its number from 0 to {len(choices) - 1}"
        raise UserError(f"{row.where}: answer is {answer!r}, and it must be {rule}.")
    return answer


def _turns(row: Row, value: Any) -> tuple[Turn, ...]:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list) or not value:
        raise UserError(f"{row.where}: messages must be a list of objects with role and content.")
    turns = []
    for message in value:
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            raise UserError(f"{row.where}: a message has the role {role!r}, and it must be {', '.join(ROLES)}.")
        turns.append(Turn(role, _text(row, "content", message.get("content"))))
    if not any(turn.role == "assistant" for turn in turns):
        raise UserError(f"{row.where} has no message of the assistant, so there is nothing to learn.")
    return tuple(turns)


@dataclass(frozen=True)
class Classes:
    """The classes of a task, in the order of the head."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, train: ExampleFile, wanted: Sequence[str]) -> Classes:
        """Return the classes of the training examples, or those that are wanted.

        Raises:
            UserError: there is one class only, a wanted one has no example, or another one has.
        """
        counts = Counter(example.label for example in train.examples)
        for name in wanted:
            if name not in counts:
                raise UserError(f"labels has the class {name!r}, of which {train.path} holds no example. Leave it out.")
        names = tuple(wanted) or tuple(sorted(counts, key=_sorting_key))
        classes = cls(names)
        classes.check(train, "labels")
        if len(names) < 2:
            raise UserError(f"{train.path} holds one class only ({names[0]!r}), and two are needed to tell apart.")
        return classes

    def in_order_of(self, names: Sequence[str]) -> Classes:
        """Return these classes in the order of a head that has them already; as they are if it has
        others.
        """
        return Classes(tuple(names)) if sorted(names) == sorted(self.names) else self

    def check(self, file: ExampleFile, source: str) -> None:
        """Refuse an example of a class that is not among these.

        Args:
            source: where these classes come from, in words.
        """
        known = set(self.names)
        for example in file.examples:
            if example.label not in known:
                listed = ", ".join(map(repr, self.names[:8])) + (", ..." if len(self.names) > 8 else "")
                raise UserError(
                    f"{example.where} has the label {example.label!r}, which is not among those of {source} "
                    f"({listed}). Correct it, or leave the row out."
                )

    def rare(self, train: ExampleFile) -> str:
        """Return a sentence on the classes with one example; empty if there is none."""
        counts = Counter(example.label for example in train.examples)
        once = [repr(name) for name in self.names if counts[name] == 1]
        if not once:
            return ""
        listed = ", ".join(once[:5]) + (", ..." if len(once) > 5 else "")
        return (
            f"{len(once)} of {len(self.names)} labels occur once in {train.path} ({listed}): too rarely to be learnt."
        )


def _sorting_key(name: str) -> tuple[bool, float, str]:
    """Sort numbers by their value, and before other names."""
    try:
        value = float(name)
    except ValueError:
        value = math.nan
    return (False, value, name) if math.isfinite(value) else (True, 0.0, name)
