"""How many bits does a byte of the true answer take, after the question?

With small models this tells more than accuracy, because it needs no right answer to move. The items
are the ready requests of the Allen Institute (see `ready_requests`), with five solved examples
before each question; CoQA has a passage and the questions before instead. Scored as OLMo-core's
metric `bpb`, with the space before the answer (v2).
Sources: Rajpurkar et al. 2016, "SQuAD"; Reddy et al. 2019, "CoQA"; Kwiatkowski et al. 2019,
"Natural Questions", in the open form of Lee et al. 2019; Jeopardy in MosaicML's selection.
"""

from __future__ import annotations

from gpt_research.base.errors import UserError
from gpt_research.evaluation.benchmark_files import BenchmarkFiles, Source
from gpt_research.evaluation.forms import FORMS, Completion
from gpt_research.evaluation.task import Task


def answer_task(title: str, requests: str, variant: str, shots: int) -> Task:
    """Return a task of gold answers, whose items are ready requests."""
    form = FORMS["answer"]

    def read(source: Source) -> list[Completion]:
        raise UserError(f"{title} has no file of its own here. Its items are the ready requests {requests}.")

    return Task(
        files=BenchmarkFiles(title, ()),
        unit=form.unit,
        read=read,
        measure=form.measure,
        metrics=form.metrics,
        shown=form.shown,
        form="answer",
        requests=requests,
        variant=variant,
        requests_variant=variant,
        shots=shots,
    )


TASKS = {
    "squad": answer_task("SQuAD", "squad/bpb_5shot", "the first answer, after passage and question", 5),
    "coqa": answer_task("CoQA", "coqa/bpb_0shot", "the first answer, after passage and earlier questions", 0),
    "jeopardy": answer_task("Jeopardy", "jeopardy/bpb_5shot", "the answer, after category and clue", 5),
    "naturalqs": answer_task("Natural Questions", "naturalqs_open/bpb_5shot", "the first answer", 5),
}
