"""The evaluation tasks, by name. To add a task, write a file beside this one and a line in `TASKS`.

A plugin adds a task from outside the package with the same line: `TASKS["mine"] = Task(...)`.
Besides these there are the tasks of CORE (core/NAME), the task folders of the ready requests
(NAME:VARIANT), and those of a user's YAML file (see `own_tasks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from gpt_research.base.errors import UserError, closest
from gpt_research.evaluation.forms import FORMS, requests_task
from gpt_research.evaluation.labelled import FINETUNED, metrics_for
from gpt_research.evaluation.statistics import BITS_PER_BYTE, LOSS, PERPLEXITY, Metric
from gpt_research.evaluation.task import Task
from gpt_research.evaluation.tasks import answers, arc_easy, blimp, core, hellaswag, lambada, piqa, sciq, wikitext2

TASKS: dict[str, Task] = {
    "wikitext2": wikitext2.TASK,
    "blimp": blimp.TASK,
    "arc_easy": arc_easy.TASK,
    "sciq": sciq.TASK,
    "piqa": piqa.TASK,
    "lambada": lambada.TASK,
    "hellaswag": hellaswag.TASK,
    **answers.TASKS,
}

CORPORA = "corpora"
"""Name of the task that measures the loss on each corpus of a data set. It is not in `TASKS`,
because it reads a data set and not a benchmark file: see `evaluation.corpora`."""
CORPUS_METRICS = {"loss": LOSS, "perplexity": PERPLEXITY, "bits_per_byte": BITS_PER_BYTE}

SUITES: dict[str, dict[str, int]] = {
    "small": {
        CORPORA: 0,
        "wikitext2": 0,
        "blimp": 0,
        "arc_easy": 0,
        "sciq": 0,
        "piqa": 0,
        "lambada": 0,
        "hellaswag": 2000,
        "squad": 1000,
        "coqa": 1000,
        "jeopardy": 1000,
        "naturalqs": 1000,
    },
    "core": dict.fromkeys(core.TASKS, 0),
}
"""Tasks that are measured together, each with the number of its items; 0 takes all."""


def task_named(name: str) -> Task:
    """Return a task of `TASKS`, of CORE, or of the ready requests.

    Raises:
        UserError: there is no such task; the message names the closest one and all tasks.
    """
    if name in TASKS:
        return TASKS[name]
    if name in core.TASKS:
        return core.TASKS[name]
    task, _, variant = name.partition(":")
    if variant:
        return _of_ready_requests(task, variant)
    known = (CORPORA, *TASKS)
    raise UserError(
        f'There is no task "{name}".{closest(name, known)} Tasks: {", ".join(known)}; TASK:VARIANT of the ready '
        "requests, such as openbookqa:rc_5shot; or the path of a YAML file of your own tasks."
    )


@cache
def _of_ready_requests(task: str, variant: str) -> Task:
    # The name of a variant tells its form, and ends with the number of solved examples.
    form = "answer" if "bpb" in variant else "choice"
    shots = variant.rpartition("_")[2].removesuffix("shot")
    return requests_task(form, f"{task}, {variant}", f"{task}/{variant}", variant, int(shots) if shots.isdigit() else 0)


def metrics_of(result: str, form: str = "", classes: int = 0) -> Mapping[str, Metric]:
    """Return the metrics of a result.

    Args:
        result: the name of a task, or corpora/NAME for a corpus.
        form: the form of the task, if its result file names one.
        classes: the number of classes of a task of fine-tuning, if its result file names them.

    Raises:
        UserError: there is no such task, because a plugin is not loaded.
    """
    if result.partition("/")[0] == CORPORA:
        return CORPUS_METRICS
    if result.partition("/")[0] == FINETUNED:
        return metrics_for(result.partition("/")[2], classes)
    if form in FORMS:
        return FORMS[form].metrics
    if result not in TASKS:
        raise UserError(
            f'The result holds scores of the task "{result}", which is not known here. If a plugin adds it, give the '
            "plugin too: --plugin FILE.py"
        )
    return TASKS[result].metrics
