"""The evaluation tasks, by name. To add a task, write a file beside this one and a line in `TASKS`.

A plugin adds a task from outside the package with the same line: `TASKS["mine"] = Task(...)`.
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
"""Name of the task that measures the loss on each corpus of a data set. It is not in `TASKS`,
because it reads a data set and not a benchmark file: see `evaluation.corpora`."""
CORPUS_METRICS = {"loss": LOSS, "perplexity": PERPLEXITY, "bits_per_byte": BITS_PER_BYTE}


def check_names(names: Iterable[str]) -> None:
    """Check that every name is that of a task. Call it after the plugins were loaded.

    Raises:
        UserError: a task is unknown; the message names the closest task and all tasks.
    """
    known = (CORPORA, *TASKS)
    for name in names:
        if name not in known:
            raise UserError(f'There is no task "{name}".{closest(name, known)} Tasks: {", ".join(known)}.')


def metrics_of(result: str) -> Mapping[str, Metric]:
    """Return the metrics of a result, which has the name of a task, or corpora/NAME for a corpus.

    Raises:
        UserError: there is no such task, because a plugin is not loaded.
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
