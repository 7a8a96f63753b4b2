"""SciQ: science questions with four answers, after the passage that they were written for.

Scored as lm-eval's task `sciq`. The authors' files are `valid.json` and `test.json` (1,000
questions each; lm-eval takes the test set). The package of ready requests has the validation set;
its variant without the passage is `sciq:rc_0shot`.
Source: Welbl et al. 2017, "Crowdsourcing Multiple Choice Science Questions".
"""

from __future__ import annotations

from collections.abc import Iterator

from gpt_research.evaluation.benchmark_files import BenchmarkFiles, Source, text_of
from gpt_research.evaluation.forms import Question, choice_task
from gpt_research.evaluation.task import Task

FILES = BenchmarkFiles("a split of SciQ", ("*.json", "*.jsonl"), (1000, 11679), ("allenai/sciq", None, "test"))
CHOICES = ("distractor1", "distractor2", "distractor3", "correct_answer")


def read(source: Source) -> list[Question]:
    """Return the questions of a whole split."""
    FILES.check_rows(source.where, len(source.rows))
    return [_question(source, number) for number in range(len(source.rows))]


def _question(source: Source, number: int) -> Question:
    support, question = (text_of(source, number, name) for name in ("support", "question"))
    choices = tuple(text_of(source, number, name) for name in CHOICES)
    return Question(f"{support.lstrip()}\nQuestion: {question}\nAnswer:", choices, len(choices) - 1)


def passages(source: Source) -> Iterator[str]:
    """Yield the passage of each question, and the question with its answer."""
    for number in range(len(source.rows)):
        support, question, answer = (
            text_of(source, number, name) for name in ("support", "question", "correct_answer")
        )
        yield support
        yield f"{question} {answer}"


TASK: Task = choice_task(
    "sciq",
    FILES,
    read,
    passages=passages,
    requests="sciq/rc_0shot",
    from_documents=True,
    variant="lm-eval's prompt, with the passage",
)
