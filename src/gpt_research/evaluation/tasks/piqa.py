"""PIQA: which of two ways reaches a goal of everyday life?

Scored as lm-eval's task `piqa`. The authors' files are `valid.jsonl` (1,838 goals) and
`valid-labels.lst`, which has the number of the right way for each goal.
Source: Bisk et al. 2020, "PIQA: Reasoning about Physical Commonsense in Natural Language".
"""

from __future__ import annotations

from collections.abc import Iterator

from gpt_research.evaluation.benchmark_files import BenchmarkFiles, Source, text_of
from gpt_research.evaluation.forms import Question, checked_question, choice_task
from gpt_research.evaluation.task import Task

FILES = BenchmarkFiles(
    "PIQA's validation set", ("*.jsonl",), 1838, ("baber/piqa", None, "validation"), labels="valid-labels.lst"
)


def read(source: Source) -> list[Question]:
    """Return the questions of the whole validation set."""
    FILES.check_rows(source.where, len(source.rows))
    return [_question(source, number) for number in range(len(source.rows))]


def _question(source: Source, number: int) -> Question:
    goal, *ways = (text_of(source, number, name) for name in ("goal", "sol1", "sol2"))
    where = f"{source.where}, row {number + 1}"
    return checked_question(where, f"Question: {goal}\nAnswer:", ways, source.rows[number].get("label"))


def passages(source: Source) -> Iterator[str]:
    """Yield each goal with both ways, because the file does not say which one is right."""
    for number in range(len(source.rows)):
        goal, *ways = (text_of(source, number, name) for name in ("goal", "sol1", "sol2"))
        yield from (f"{goal} {way}" for way in ways)


TASK: Task = choice_task(
    "piqa",
    FILES,
    read,
    passages=passages,
    requests="piqa/rc_0shot",
    from_documents=True,
    variant="lm-eval's prompt, the texts of both ways",
)
