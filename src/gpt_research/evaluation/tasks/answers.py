"""How many bits does a byte of the true answer take, after the question?

With small models this tells more than accuracy, because it needs no right answer to move. The items
are the ready requests of the Allen Institute (see `ready_requests`), with five solved examples
before each question; CoQA has a passage and the questions before instead. Scored as OLMo-core's
metric `bpb`, with the space before the answer (v2).
Sources: Rajpurkar et al. 2016, "SQuAD"; Reddy et al. 2019, "CoQA"; Kwiatkowski et al. 2019,
"Natural Questions", in the open form of Lee et al. 2019; Jeopardy in MosaicML's selection.
"""

from __future__ import annotations

from gpt_research.evaluation.forms import requests_task

TASKS = {
    "squad": requests_task("answer", "SQuAD", "squad/bpb_5shot", "the first answer, after passage and question", 5),
    "coqa": requests_task(
        "answer", "CoQA", "coqa/bpb_0shot", "the first answer, after passage and earlier questions", 0
    ),
    "jeopardy": requests_task("answer", "Jeopardy", "jeopardy/bpb_5shot", "the answer, after category and clue", 5),
    "naturalqs": requests_task("answer", "Natural Questions", "naturalqs_open/bpb_5shot", "the first answer", 5),
}
