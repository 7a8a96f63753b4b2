"""Evaluate a run: its loss on each corpus of a data set, and its scores on benchmarks.

`evaluate` finds and reads the benchmark files, asks the model, and returns what the result files
hold (see `results`). It prints nothing and writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.base.settings import to_dict
from gpt_research.data.dataset_tokenizer import check_same_tokens
from gpt_research.data.shards import Dataset
from gpt_research.evaluation import benchmark_files, corpora, provenance
from gpt_research.evaluation.chosen_tasks import Items, choose, read_items
from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.evaluation.results import Result, corpora_summary
from gpt_research.evaluation.settings import EvaluationSettings
from gpt_research.evaluation.task import Task
from gpt_research.evaluation.tasks import core
from gpt_research.evaluation.tasks.table import CORPORA
from gpt_research.evaluation.unknown_letters import without_unknown
from gpt_research.generation.torch_engine import generate
from gpt_research.run import Run
from gpt_research.training.lineage import deciding_settings

NamedProgress = Callable[[str, int], Callable[[int], object]]
"""A function as `evaluated_model.Progress`, whose first argument is the name of the task."""

Rescore = Callable[[EvaluatedModel, Mapping[str, Sequence[Any]], Mapping[str, Task]], Mapping[str, Mapping[str, float]]]
"""From a model, the items of tasks and the tasks, by name, to scores by task and score."""


def no_progress(name: str, total: int) -> Callable[[int], object]:
    """Report no progress."""
    return lambda done: None


def evaluate(
    run: Run,
    settings: EvaluationSettings,
    runtime: Runtime,
    *,
    rescore: Rescore | None = None,
    progress: NamedProgress = no_progress,
) -> tuple[dict[str, Any], dict[str, Result]]:
    """Return the summary for the result file, and the result of each task.

    Args:
        run: the run, opened on the runtime's device.
        rescore: another program that scores the same items, such as `harness.rescore_model`; its
            scores are put into the summary.
        progress: called when a task begins.

    Raises:
        UserError: a task is unknown, a benchmark or the data set is missing or damaged, the data
            set has another tokenizer, or the context or the stride does not fit the model.
    """
    started_at = time.perf_counter()
    model = evaluated_model(run, settings, runtime)
    chosen = choose(settings, run.config.data)
    # The result file names the tasks and the data that were measured, not the empty defaults.
    named = settings.tasks if settings.tasks or settings.suite else ",".join(chosen.names)
    settings = replace(settings, tasks=named, data=settings.data or run.config.data)
    # All files are read before the model is asked, so that a damaged one is noticed at once.
    asked, missing = read_items(chosen, settings)
    # The corpora come first, in the order of the tables and of the result file.
    results: dict[str, Result] = {}
    if chosen.with_corpora:
        try:
            results = _measure_corpora(model, settings, run.folder, progress)
        except UserError as error:
            if CORPORA in settings.named_tasks or not settings.suite:
                raise
            missing[CORPORA] = str(error)  # a suite goes on without what cannot be measured
    asked = {name: without_unknown(model, items) for name, items in asked.items()}
    unknown = {name: items for name, items in asked.items() if not items.items}
    missing |= {name: f"The tokenizer can encode none of its items: {items.why}." for name, items in unknown.items()}
    asked = {name: items for name, items in asked.items() if name not in unknown}
    if missing and not asked and not results:
        first = list(unknown or missing)[:3]
        raise UserError(" ".join(f"{name} cannot be measured. {missing[name]}" for name in first))
    for name, items in asked.items():
        results[name] = measure_task(replace(model, progress=partial(progress, name)), name, items)
    theirs: Mapping[str, Mapping[str, float]] = {}
    if rescore is not None:
        theirs = rescore(
            replace(model, progress=partial(progress, "lm-eval")),
            {name: of_task.items for name, of_task in asked.items()},
            {name: of_task.task for name, of_task in asked.items()},
        )
    summary: dict[str, Any] = {
        "run": str(run.folder),
        "step": run.step,
        "lineage": dict(run.lineage),
        "weights_sha256": run.weights_sha256,
        **({"averaged_weights": True} if run.averaged else {}),
        "model": to_dict(run.model.config),
        "trained_with": deciding_settings(run.config),
        "settings": to_dict(settings),
        "precision": runtime.precision,
        "device": runtime.device_name,
        "context": model.context,
        "versions": provenance.versions(),
        "elapsed_s": round(time.perf_counter() - started_at, 1),
        "tasks": {name: result.as_json() for name, result in results.items()},
        **({"missing": missing} if missing else {}),
    }
    if settings.suite == "core":
        in_part = [name for name, items in asked.items() if name in core.TASKS and len(items.items) < items.of]
        summary["core"] = core.centred({name: _values(result) for name, result in results.items()}, in_part)
    for name in asked:
        summary["tasks"][name]["contamination"] = provenance.contamination(run.config.data, run.lineage, name)
        summary["tasks"][name] |= {"lm_eval": theirs[name]} if name in theirs else {}
    return summary | corpora_summary(results), results


def evaluated_model(run: Run, settings: EvaluationSettings, runtime: Runtime) -> EvaluatedModel:
    """Return the model of a run, as the settings have it measured.

    Raises:
        UserError: the context is longer than the model's.
    """
    context = settings.context or run.model.config.block_size
    if context > run.model.config.block_size:
        raise UserError(f"context is {context}, but the model's is {run.model.config.block_size}. Choose at most that.")
    how = context, settings.batch_size, settings.stride
    return EvaluatedModel(run.model, run.tokenizer, runtime, *how, generator=generate)


def _values(result: Result) -> dict[str, float]:
    return {name: estimate.value for name, estimate in result.estimates.items()}


def measure_task(model: EvaluatedModel, name: str, asked: Items) -> Result:
    """Measure the task `name` on its items."""
    measured = asked.task.measure(model, asked.items)
    # The hash of the items says which results `compare` may pair, wherever the files were.
    facts = {
        **asked.facts,
        "context": model.context,
        **measured.settings,
        "source": asked.source.facts,
        "items_sha256": benchmark_files.digest(asked.items),
        **measured.counts,
        "unit": asked.task.unit,
    }
    return Result(name, measured.columns, facts)


def _measure_corpora(
    model: EvaluatedModel, settings: EvaluationSettings, run_folder: Path, progress: NamedProgress
) -> dict[str, Result]:
    dataset = Dataset(settings.data, model.context)
    check_same_tokens(dataset, model.tokenizer, run_folder)
    # One token alone cannot be scored, because nothing is before it.
    names = [name for name, files in dataset.splits[settings.split].items() if files.num_tokens > 1]
    if not names:
        raise UserError(f"{settings.data} has nothing in the split {settings.split}. Try --split train.")
    results = {}
    for name in names:
        part = corpora.CorpusPart(dataset, name, settings.split, settings.max_tokens)
        columns = corpora.measure(replace(model, progress=partial(progress, name)), part)
        facts = {"context": model.context, "items_sha256": part.sha256(model.context), "unit": "documents"}
        results[f"{CORPORA}/{name}"] = Result(f"{CORPORA}/{name}", columns, facts)
    return results
