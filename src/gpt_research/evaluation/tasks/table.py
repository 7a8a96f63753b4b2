"""The evaluation tasks by name. A new task is a file beside this one and a line of `TASKS`.

A plugin adds a task of its own in the same way: `TASKS["mine"] = Task(...)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gpt_research.base.errors import UserError, closest
from gpt_research.evaluation.statistics import BITS_PER_BYTE, LOSS, PERPLEXITY, Metric
from gpt_research.evaluation.task import Task
from gpt_research.evaluation.tasks import hellaswag, lambada, wikitext2

TASKS: dict[str, Task] = {
    "wikitext2": wikitext2.TASK,
    "lambada": lambada.TASK,
    "hellaswag": hellaswag.TASK,
}

CORPORA = "corpora"
"""The task that measures the loss on each corpus of a data set (`evaluation.corpora`). It has no benchmark file."""
CORPUS_METRICS = {"loss": LOSS, "perplexity": PERPLEXITY, "bits_per_byte": BITS_PER_BYTE}


def check_names(names: Iterable[str]) -> None:
    """Refuse a task that is not known, plugins included.

    Raises:
        UserError: naming the closest task and all tasks.
    """
    known = (CORPORA, *TASKS)
    for name in names:
        if name not in known:
            raise UserError(f'There is no task "{name}".{closest(name, known)} Tasks: {", ".join(known)}.')


def metrics_of(result: str) -> Mapping[str, Metric]:
    """Return the scores of a result: of a task, or of `corpora/plays`, the corpus plays.

    Raises:
        UserError: no such task is known.
    """
    name = result.partition("/")[0]
    if name == CORPORA:
        return CORPUS_METRICS
    if name not in TASKS:
        raise UserError(
            f'The result holds scores of the task "{name}", which is not known here. If a plugin adds it, give the '
            "plugin too: --plugin FILE.py"
        )
    return TASKS[name].metrics
