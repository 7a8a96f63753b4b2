"""CORE: the 22 tasks by which DataComp-LM compares base models, with its corrected baselines.

The files are the authors': `local_data` of MosaicML's llm-foundry (scripts/eval/local_data), or the
bundle of nanochat (eval_data). Put either folder into DIR/core. A task is centred,
(accuracy - baseline) / (1 - baseline), and CORE is the mean over all 22. Without all of them there
is no CORE.

    multiple choice     the choice with the lowest mean nats of a token
    schema              the context after which a token of the continuation has the lowest
    language modelling  greedy decoding writes the whole continuation

As in nanochat, the rows of a file are shuffled with the seed 1337, and the solved examples of item
i are drawn from the others with the seed 1234 + i; llm-foundry draws others. Baselines are those of
September 2025: before, three of them were wrong (commonsense_qa 20, agi_eval_lsat_ar 20,
bigbench_language_identification 9.1), and scores of before cannot be compared with these.
Source: Li et al. 2024, "DataComp-LM", and its `eval/eval_meta_data.csv`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.evaluation.benchmark_files import BenchmarkFiles, Source
from gpt_research.evaluation.forms import FORMS, Completion, Options, drawn, task_of_form
from gpt_research.evaluation.task import LanguageModel, Measurement, Task

WHERE = "github.com/mosaicml/llm-foundry, folder scripts/eval/local_data"
SEED = 1234
SHUFFLE_SEED = 1337


@dataclass(frozen=True)
class CoreTask:
    """What DataComp-LM says about one task."""

    file: str
    kind: str
    """choice, schema or cloze."""
    shots: int
    baseline: float
    """Accuracy of a guess."""
    rows: int | None = None
    delimiter: str = " "
    """What stands between a question and its answer."""


_ANSWER = "\nAnswer: "
CORE: dict[str, CoreTask] = {
    "hellaswag_zeroshot": CoreTask("hellaswag", "choice", 0, 0.25, 10042),
    "jeopardy": CoreTask("jeopardy_all", "cloze", 10, 0.0, 2117, _ANSWER),
    "bigbench_qa_wikidata": CoreTask("bigbench_qa_wikidata", "cloze", 10, 0.0, 20321),
    "arc_easy": CoreTask("arc_easy", "choice", 10, 0.25, 2376, _ANSWER),
    "arc_challenge": CoreTask("arc_challenge", "choice", 10, 0.25, 1172, _ANSWER),
    "copa": CoreTask("copa", "choice", 0, 0.5, 100),
    "commonsense_qa": CoreTask("commonsense_qa", "choice", 10, 0.403, 1221),
    "piqa": CoreTask("piqa", "choice", 10, 0.5, 1838, _ANSWER),
    "openbook_qa": CoreTask("openbook_qa", "choice", 0, 0.25, 500),
    "lambada_openai": CoreTask("lambada_openai", "cloze", 0, 0.0, 5153),
    "hellaswag": CoreTask("hellaswag", "choice", 10, 0.25, 10042),
    "winograd": CoreTask("winograd_wsc", "schema", 0, 0.5, 273),
    "winogrande": CoreTask("winogrande", "schema", 0, 0.5, 1267),
    "bigbench_dyck_languages": CoreTask("bigbench_dyck_languages", "cloze", 10, 0.0, 1000),
    "agi_eval_lsat_ar": CoreTask("agi_eval_lsat_ar", "choice", 3, 0.25, 230),
    "bigbench_cs_algorithms": CoreTask("bigbench_cs_algorithms", "cloze", 10, 0.0, 1320),
    "bigbench_operators": CoreTask("bigbench_operators", "cloze", 10, 0.0, 210),
    "bigbench_repeat_copy_logic": CoreTask("bigbench_repeat_copy_logic", "cloze", 10, 0.0, 32),
    "squad": CoreTask("squad", "cloze", 10, 0.0, 10570),
    "coqa": CoreTask("coqa", "cloze", 0, 0.0, 7983),
    "boolq": CoreTask("boolq", "choice", 10, 0.62, 3270, _ANSWER),
    "bigbench_language_identification": CoreTask("bigbench_language_identification", "choice", 10, 0.25, 10000),
}


def _reader(name: str, task: CoreTask) -> Callable[[Source], list[Any]]:
    def read(source: Source) -> list[Any]:
        if task.rows is not None:
            files(name).check_rows(source.where, len(source.rows))
        turn = {"choice": _choice, "schema": _schema, "cloze": _cloze}[task.kind]
        rows, found = list(enumerate(source.rows, 1)), []
        random.Random(SHUFFLE_SEED).shuffle(rows)
        for place, (number, row) in enumerate(rows):
            others = drawn(SEED + place, len(rows), task.shots, place)
            try:
                examples = "".join(_solved(task, rows[other][1]) + "\n\n" for other in others)
                found.append(turn(task, row, examples))
            except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
                raise UserError(f"{source.where}: row {number} is not a {task.kind} of CORE ({error!r}).") from None
        return found

    return read


def _solved(task: CoreTask, row: Mapping[str, Any]) -> str:
    """Return a row with its answer."""
    if task.kind == "choice":
        return f"{row['query']}{task.delimiter}{row['choices'][row['gold']]}"
    if task.kind == "schema":
        return f"{row['context_options'][row['gold']]}{task.delimiter}{row['continuation']}"
    return f"{row['context'].strip()}{task.delimiter}{row['continuation']}"


def _choice(task: CoreTask, row: Mapping[str, Any], examples: str) -> Options:
    context = f"{examples}{row['query']}{task.delimiter}"
    return _options([(context, choice) for choice in row["choices"]], row["gold"])


def _schema(task: CoreTask, row: Mapping[str, Any], examples: str) -> Options:
    contexts = [f"{examples}{context}{task.delimiter}" for context in row["context_options"]]
    return _options([(context, row["continuation"]) for context in contexts], row["gold"])


def _options(pairs: Sequence[tuple[str, str]], gold: int) -> Options:
    if not 0 <= gold < len(pairs):
        raise IndexError(f"gold is {gold}")
    contexts, continuations = zip(*[_blank_moved(*pair) for pair in pairs], strict=True)
    return Options(contexts, continuations, gold)


def _cloze(task: CoreTask, row: Mapping[str, Any], examples: str) -> Completion:
    return Completion(*_blank_moved(f"{examples}{row['context'].strip()}{task.delimiter}", row["continuation"]))


def _blank_moved(context: str, answer: str) -> tuple[str, str]:
    """Return both texts, with the blank between them before the answer, to whose token it
    belongs.
    """
    kept = context.rstrip()
    return kept, context[len(kept) :] + answer


def _with_baseline(task: CoreTask) -> Callable[[LanguageModel, Sequence[Any]], Measurement]:
    measure = FORMS["cloze" if task.kind == "cloze" else "choice"].measure

    def measured(model: LanguageModel, items: Sequence[Any]) -> Measurement:
        found = measure(model, items)
        columns = {**found.columns, "chance": np.full(len(items), task.baseline)}
        return replace(found, columns=columns, settings={**found.settings, "baseline": task.baseline})

    return measured


def files(name: str) -> BenchmarkFiles:
    """Return where the rows of a task are: DIR/core, in the file or in a folder of its category."""
    task = CORE[name]
    return BenchmarkFiles(f"the task {name} of CORE ({WHERE})", (f"{task.file}.jsonl",), task.rows, folder="core")


def _task(name: str, task: CoreTask) -> Task:
    form = "cloze" if task.kind == "cloze" else "choice"
    return task_of_form(
        form,
        files=files(name),
        read=_reader(name, task),
        measure=_with_baseline(task),
        shown=(MEASURE[task.kind],),
        variant=f"CORE's prompt, {task.kind}",
        shots=task.shots,
    )


MEASURE = {"choice": "accuracy_tokens", "schema": "accuracy_tokens", "cloze": "accuracy"}
"""The metric of CORE for each kind of task."""
TASKS: dict[str, Task] = {f"core/{name}": _task(name, task) for name, task in CORE.items()}


def centred(scores: Mapping[str, Mapping[str, float]], in_part: Sequence[str] = ()) -> dict[str, Any]:
    """Return the centred scores and their mean, for the result file.

    Args:
        scores: the values of the metrics of each task that was measured, by the name of the task.
        in_part: the tasks of which only some items were measured.

    Returns:
        centred: by the name of the task; missing: the tasks that were not measured; core: the
        mean, or None if a task is missing or was measured in part.
    """
    found = {}
    for name, task in CORE.items():
        if f"core/{name}" in scores:
            accuracy = scores[f"core/{name}"][MEASURE[task.kind]]
            found[name] = (accuracy - task.baseline) / (1 - task.baseline)
    missing = [name for name in CORE if name not in found]
    mean = None if missing or in_part else sum(found.values()) / len(found)
    facts = {"missing": missing, "in_part": list(in_part), "files": WHERE, "baselines": "September 2025"}
    return {"core": mean, "centred": found, **facts}
