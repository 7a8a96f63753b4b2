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
from gpt_research.evaluation.benchmark_files import Source
from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.evaluation.results import Result, corpora_summary
from gpt_research.evaluation.settings import EvaluationSettings
from gpt_research.evaluation.tasks.table import CORPORA, TASKS, check_names
from gpt_research.run import Run
from gpt_research.training.lineage import deciding_settings

NamedProgress = Callable[[str, int], Callable[[int], object]]
"""A function as `evaluated_model.Progress`, whose first argument is the name of the task."""


def no_progress(name: str, total: int) -> Callable[[int], object]:
    """Report no progress."""
    return lambda done: None


def evaluate(
    run: Run,
    settings: EvaluationSettings,
    runtime: Runtime,
    *,
    with_lm_eval: bool = False,
    progress: NamedProgress = no_progress,
) -> tuple[dict[str, Any], dict[str, Result]]:
    """Return the summary for the result file, and the result of each task.

    Args:
        run: the run, opened on the runtime's device.
        with_lm_eval: let lm-eval score the same items too, and put its scores into the summary.
        progress: called when a task begins.

    Raises:
        UserError: a task is unknown, a benchmark or the data set is missing or damaged, the data
            set has another tokenizer, or the context or the stride does not fit the model.
    """
    started_at = time.perf_counter()
    context = settings.context or run.model.config.block_size
    if context > run.model.config.block_size:
        raise UserError(f"context is {context}, but the model's is {run.model.config.block_size}. Choose at most that.")
    chosen = _chosen_tasks(settings, run.config.data)
    # The result file names the tasks and the data that were measured, not the empty defaults.
    settings = replace(settings, tasks=",".join(chosen), data=settings.data or run.config.data)
    tasks = {name: TASKS[name] for name in chosen if name != CORPORA}
    # All files are read before the model is asked, so that a damaged one is noticed at once.
    sources = {name: benchmark_files.find(name, task.files, settings.benchmarks) for name, task in tasks.items()}
    items = {name: task.read(sources[name])[: settings.limit or None] for name, task in tasks.items()}
    model = EvaluatedModel(run.model, run.tokenizer, runtime, context, settings.batch_size, settings.stride)
    # The corpora come first, in the order of the tables and of the result file.
    results = _measure_corpora(model, settings, run.folder, progress) if CORPORA in chosen else {}
    for name, source in sources.items():
        results[name] = measure_task(replace(model, progress=partial(progress, name)), name, source, items[name])
    theirs = _lm_eval_scores(model, items, progress) if with_lm_eval else {}
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
        "context": context,
        "versions": provenance.versions(),
        "elapsed_s": round(time.perf_counter() - started_at, 1),
        "tasks": {name: result.as_json() for name, result in results.items()},
    }
    for name in tasks:
        summary["tasks"][name]["contamination"] = provenance.contamination(run.config.data, run.lineage, name)
        summary["tasks"][name] |= {"lm_eval": theirs[name]} if name in theirs else {}
    return summary | corpora_summary(results), results


def _chosen_tasks(settings: EvaluationSettings, trained_on: str) -> list[str]:
    """Return the tasks that the settings name. If they name none, return the default ones.

    These are the corpora, and with a folder of benchmarks also every task. With such a folder the
    corpora are left out if the data set is not on this machine.
    """
    if settings.named_tasks:
        check_names(settings.named_tasks)
        return settings.named_tasks
    if not settings.benchmarks:
        return [CORPORA]
    has_data = bool(settings.data) or Path(trained_on).is_dir()
    return [*([CORPORA] if has_data else []), *TASKS]


def measure_task(model: EvaluatedModel, name: str, source: Source, items: Sequence[Any]) -> Result:
    """Measure the task `name` on `items`, all or some of those that it read from `source`."""
    measured = TASKS[name].measure(model, items)
    # The hash of the items says which results `compare` may pair, wherever the files were.
    facts = {
        "context": model.context,
        **measured.settings,
        "source": source.facts,
        "items_sha256": benchmark_files.digest(items),
        **measured.counts,
        "unit": TASKS[name].unit,
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


def _lm_eval_scores(
    model: EvaluatedModel, items: Mapping[str, Sequence[Any]], progress: NamedProgress
) -> dict[str, dict[str, float]]:
    """Return lm-eval's scores of the same items, for each task that lm-eval has too."""
    # lm-eval is an optional dependency, so the adapter is imported only if it is asked for.
    from gpt_research.evaluation.harness import HarnessModel, rescore

    return rescore(HarnessModel(replace(model, progress=partial(progress, "lm-eval"))), items)
