"""ARC-easy: school questions about science, most with four answers.

Scored as lm-eval's task `arc_easy`: the prompt is the question, and the choices are the texts of
the answers, not their letters. The authors' files are `ARC-Easy-Dev.jsonl` (570 questions) and
`ARC-Easy-Test.jsonl` (2,376, which lm-eval takes).
Source: Clark et al. 2018, "Think you have Solved Question Answering? Try ARC".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.evaluation.benchmark_files import BenchmarkFiles, Source
from gpt_research.evaluation.forms import Question, checked_question, choice_task
from gpt_research.evaluation.task import Task

FILES = BenchmarkFiles("a split of ARC-easy", ("*.jsonl",), (570, 2376, 2251), ("allenai/ai2_arc", "ARC-Easy", "test"))


def read(source: Source) -> list[Question]:
    """Return the questions of a whole split."""
    FILES.check_rows(source.where, len(source.rows))
    return [_question(f"{source.where}, row {number}", row) for number, row in enumerate(source.rows, 1)]


def _question(where: str, row: Any) -> Question:
    if isinstance(row, dict) and "query" in row:  # a document of the ready requests
        return checked_question(where, str(row["query"]), row["choices"], row["gold"])
    try:
        question = row["question"]
        if isinstance(question, dict):  # the authors' rows
            stem, choices = question["stem"], question["choices"]
            texts, letters = [choice["text"] for choice in choices], [choice["label"] for choice in choices]
        else:  # the hub's rows
            stem, texts, letters = question, row["choices"]["text"], row["choices"]["label"]
        label = list(letters).index(row["answerKey"])
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{where}: it must have a question with its choices, and answerKey must be the label of one of them."
        ) from None
    return checked_question(where, f"Question: {stem}\nAnswer:", list(texts), label)


def passages(source: Source) -> Iterator[str]:
    """Yield each question with its true answer."""
    for number, row in enumerate(source.rows, 1):
        question = _question(f"{source.where}, row {number}", row)
        stem = question.context.removeprefix("Question: ").removesuffix("\nAnswer:")
        yield f"{stem} {question.choices[question.label]}"


TASK: Task = choice_task(
    "arc_easy",
    FILES,
    read,
    passages=passages,
    requests="arc_easy/test_rc_5shot",
    from_documents=True,
    variant="lm-eval's prompt, the texts of the answers",
)
