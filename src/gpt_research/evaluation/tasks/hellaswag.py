"""HellaSwag: which of four endings continues the story?

Scored as lm-eval's task `hellaswag`. The context is "activity: story" without the marks of
wikiHow's layout, and its unfinished last sentence begins with a capital letter. A space and an
ending follow.

The true ending has the highest probability, or with `accuracy_norm` the highest (ln p) / characters
of the ending.

There are two layouts of the file: the authors' rows (.jsonl, or the hub), and a text with six lines
for each question (context, label, four endings). The six lines come without the marks, and their
unfinished sentence begins with a small letter, as in the authors' field `ctx`. We restore the
capital letter: if the context does not end with a full stop, its unfinished sentence is the text
after the last full stop. Where a mark stood, the six lines keep one space or none and the authors'
rows two, so that about half of the questions differ in blanks. The ready requests have the
authors'.
Source: Zellers et al. 2019, "HellaSwag: Can a Machine Really Finish Your Sentence?".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.evaluation.benchmark_files import BenchmarkFiles, Source, every_text, text_of
from gpt_research.evaluation.forms import Question, choice_task
from gpt_research.evaluation.task import Figure, Task

FILES = BenchmarkFiles(
    "HellaSwag's validation set", ("*.jsonl", "*.txt"), 10042, ("Rowan/hellaswag", None, "validation")
)
LINES = 6
"""Lines of one question in the text layout."""
_MARK = re.compile(r"\[.*?\]")
_WIKIHOW = re.compile(r"\[(header|title|step|substeps)\]")
_UNFINISHED = re.compile(r"(.*[.?!\"')]\s+)([^.?!]*[^.?!\s])", re.DOTALL)


def read(source: Source) -> list[Question]:
    """Return the questions, from either layout."""
    if source.rows and isinstance(source.rows[0], str):
        count, rest = divmod(len(source.rows), LINES)
        if rest:
            raise UserError(
                f"{source.where} has {len(source.rows):,} lines, no multiple of {LINES} (context, label, four "
                "endings): it was cut short. Fetch it again."
            )
        FILES.check_rows(source.where, count)
        return [_from_lines(source, number) for number in range(count)]
    FILES.check_rows(source.where, len(source.rows))
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
    """Remove the marks of wikiHow's layout: [title] becomes a full stop, others become nothing."""
    text = _MARK.sub("", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def _cleaned_again(text: str) -> str:
    """Clean a text of the six lines, from which only the known marks were removed."""
    return clean(text) if "[" in text else text


def passages(source: Source) -> Iterator[str]:
    """Yield context and true ending of each question, or all lines of a text of another layout.

    The false endings do not count, because a machine wrote them for the benchmark: a document that
    holds one of them does not give an answer away.
    """
    if _has_six_lines(source):
        for start in range(0, len(source.rows), LINES):
            context, label, *endings = source.rows[start : start + LINES]
            yield _WIKIHOW.sub(" ", f"{context} {endings[int(label)]}")
    elif source.rows and isinstance(source.rows[0], dict):
        for number, row in enumerate(source.rows):
            if not _is_original(row):
                raise UserError(f"{source.where}, row {number + 1}: it must have ctx, endings and the label of one.")
            yield _WIKIHOW.sub(" ", f"{row['ctx']} {row['endings'][int(row['label'])]}")
    else:
        yield from every_text(source)


def has_its_layout(source: Source) -> bool:
    """Return True if the rows have one of the two layouts."""
    return _has_six_lines(source) or (bool(source.rows) and all(map(_is_original, source.rows)))


def _has_six_lines(source: Source) -> bool:
    rows = source.rows
    return len(rows) > 1 and isinstance(rows[0], str) and len(rows) % LINES == 0 and set(rows[1::LINES]) <= set("0123")


def _is_original(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    endings, label = row.get("endings"), str(row.get("label"))
    return isinstance(row.get("ctx"), str) and isinstance(endings, list) and label in map(str, range(len(endings)))


TASK: Task = choice_task(
    "hellaswag",
    FILES,
    read,
    passages=passages,
    requests="hellaswag/rc_0shot",
    variant="lm-eval's prompt",
    published={"accuracy_norm": [Figure(0.3114, 1024, "lm-eval, hellaswag")]},
)
