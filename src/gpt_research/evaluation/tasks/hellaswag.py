"""HellaSwag: which of four endings goes on with the story?

As lm-eval's task `hellaswag`: the context is "activity: story", its unfinished last sentence with a capital, the
marks of its origin cleaned away; an ending follows after a blank. accuracy: the true ending is the likeliest
as a whole. accuracy_norm: it is the likeliest by character of the ending.

Two layouts are read: the original rows (.jsonl, the hub), and a text of six lines a task (context, label, four
endings), cleaned before. The six lines keep the unfinished sentence small, as the original `ctx` has it; its capital
is put back here, from the rule that it is what follows the last full stop of a context that does not end with one.
Source: Zellers et al. 2019, "HellaSwag: Can a Machine Really Finish Your Sentence?".
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.evaluation.benchmark_files import Source, check_rows, digest, text_of
from gpt_research.evaluation.evaluated_model import Subject
from gpt_research.evaluation.results import Result

TASK = "hellaswag"
LINES = 6
"""Of one task in the text layout."""
_MARK = re.compile(r"\[.*?\]")
_UNFINISHED = re.compile(r"(.*[.?!\"')]\s+)([^.?!]*[^.?!\s])", re.DOTALL)


@dataclass(frozen=True)
class Question:
    """One task, cleaned."""

    context: str
    endings: tuple[str, ...]
    label: int
    """Number of the true ending."""


def questions(source: Source) -> list[Question]:
    """Return the tasks of either layout.

    Raises:
        UserError: not the whole validation set, or a damaged row.
    """
    if source.rows and isinstance(source.rows[0], str):
        count, rest = divmod(len(source.rows), LINES)
        if rest:
            raise UserError(
                f"{source.where} has {len(source.rows):,} lines, no multiple of {LINES} (context, label, four "
                "endings): it was cut short. Fetch it again."
            )
        check_rows(TASK, source.where, count)
        return [_from_lines(source, number) for number in range(count)]
    check_rows(TASK, source.where, len(source.rows))
    return [_from_row(source, number) for number in range(len(source.rows))]


def _from_lines(source: Source, number: int) -> Question:
    context, label, *endings = source.rows[number * LINES : (number + 1) * LINES]
    if label not in ("0", "1", "2", "3"):
        raise UserError(f"{source.where}, line {number * LINES + 2}: the label is {label!r}, but it must be 0 to 3.")
    unfinished = _UNFINISHED.fullmatch(context)
    if unfinished:
        context = unfinished[1] + unfinished[2].capitalize()
    return Question(_cleaned_again(context), tuple(map(_cleaned_again, endings)), int(label))


def _from_row(source: Source, number: int) -> Question:
    activity, story, unfinished = (text_of(source, number, name) for name in ("activity_label", "ctx_a", "ctx_b"))
    row = source.rows[number]
    endings, label = row.get("endings"), str(row.get("label"))
    if not isinstance(endings, list) or len(endings) != 4 or label not in ("0", "1", "2", "3"):
        raise UserError(
            f"{source.where}, row {number + 1}: it must have four endings and a label of 0 to 3, but its label is "
            f"{label}. Take the validation set: the test set has no labels."
        )
    context = clean(f"{activity}: {story} {unfinished.capitalize()}")
    return Question(context, tuple(clean(str(ending)) for ending in endings), int(label))


def clean(text: str) -> str:
    """Take out the marks of wikiHow's layout: a title ends a sentence, other brackets go with what is in them."""
    text = _MARK.sub("", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def _cleaned_again(text: str) -> str:
    """Finish texts that were cleaned of the known marks only."""
    return clean(text) if "[" in text else text


def measure(subject: Subject, source: Source, limit: int = 0) -> Result:
    """Return the scores by question; `limit` takes the first so many."""
    asked = questions(source)[: limit or None]
    pairs = [(question.context, " " + ending) for question in asked for ending in question.endings]
    found = subject.continuations(pairs, TASK)
    nats = found.nats.reshape(-1, 4)
    characters = np.array([[len(ending) for ending in question.endings] for question in asked])
    labels = np.array([question.label for question in asked])
    columns = {
        "correct": nats.argmin(1) == labels,
        "correct_norm": (nats / np.maximum(characters, 1)).argmin(1) == labels,
        **{f"nats_{number}": nats[:, number] for number in range(4)},
    }
    items = digest([astuple(question) for question in asked])
    facts = {"context": subject.context, "source": source.facts, "items_sha256": items, "cut": found.cut}
    return Result(TASK, columns, {**facts, "unit": "questions"})
