"""`gpt-research evaluate`: a run's loss on a data set and its scores on benchmarks, as tables and as a result file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from gpt_research.base import runtime as runtimes
from gpt_research.base.errors import UserError
from gpt_research.base.settings import read_yaml, to_dict
from gpt_research.commands import EVALUATION_TASKS, EvaluateCommand
from gpt_research.config import TrainConfig
from gpt_research.data.shards import Dataset
from gpt_research.evaluation import benchmark_files, provenance, results
from gpt_research.evaluation import report as tables
from gpt_research.evaluation.benchmark_files import Source
from gpt_research.evaluation.evaluated_model import Progress as ProgressCallback
from gpt_research.evaluation.evaluated_model import Subject
from gpt_research.evaluation.results import Result
from gpt_research.evaluation.tasks import corpora as by_document
from gpt_research.evaluation.tasks import hellaswag, lambada
from gpt_research.evaluation.tasks import wikitext2 as wikitext
from gpt_research.run import load_model, newest_run


def run(command: EvaluateCommand) -> int:
    """Evaluate, print the tables, write the result; return the exit code."""
    run_folder = Path(command.run) if command.run else newest_run(Path("runs"))
    summary, found = evaluate(run_folder, command)
    path = Path(command.json) if command.json else run_folder / results.RESULT_NAME
    results.write(path, summary, found.values())
    tables.show(summary, found, Console())
    print(f"Result: {path}")
    return 0


def evaluate(run_folder: Path, command: EvaluateCommand) -> tuple[dict[str, Any], dict[str, Result]]:
    """Return the summary for the result file, and each task's result.

    Raises:
        UserError: no model, no data, another tokenizer, a damaged benchmark, or a setting that does not fit.
    """
    started_at = time.perf_counter()
    runtime = runtimes.start(command.device, command.precision)
    model, tokenizer = load_model(run_folder, runtime.device)
    trained = read_yaml(TrainConfig, run_folder / "config.yaml")
    context = command.context or model.config.block_size
    if context > model.config.block_size:
        raise UserError(f"context is {context}, but the model's is {model.config.block_size}. Choose that or less.")
    command = replace(command, tasks=",".join(_tasks(command, trained.data)), data=command.data or trained.data)
    sources = {
        task: benchmark_files.find(task, command.benchmarks) for task in command.chosen_tasks if task != "corpora"
    }
    with _progress() as progress:
        subject = Subject(model, tokenizer, runtime, context, command.batch_size, progress)
        found = _corpora(subject, command) if "corpora" in command.chosen_tasks else {}
        for task, source in sources.items():
            found[task] = _benchmark(subject, source, task, command)
        theirs = _harness(subject, sources, command) if command.harness else {}
    summary: dict[str, Any] = {
        "run": str(run_folder),
        **provenance.checkpoint_facts(run_folder),
        "model": to_dict(model.config),
        "settings": to_dict(command),
        "precision": runtime.precision,
        "device": runtime.device_name,
        "context": context,
        "versions": provenance.versions(),
        "elapsed_s": round(time.perf_counter() - started_at, 1),
        "tasks": {task: result.as_json() for task, result in found.items()},
    }
    for task in sources:
        summary["tasks"][task]["contamination"] = provenance.contamination(trained.data, summary["lineage"], task)
        summary["tasks"][task] |= {"lm_eval": theirs[task]} if task in theirs else {}
    return summary | tables.corpora_summary(found), found


def _tasks(command: EvaluateCommand, trained_on: str) -> list[str]:
    """Return the tasks to do: those named, else the corpora where they are, and what --benchmarks holds."""
    if command.chosen_tasks:
        return command.chosen_tasks
    if not command.benchmarks:
        return ["corpora"]
    has_data = bool(command.data) or Path(trained_on).is_dir()
    return [task for task in EVALUATION_TASKS if task != "corpora" or has_data]


def _corpora(subject: Subject, command: EvaluateCommand) -> dict[str, Result]:
    dataset = Dataset(command.data, subject.context)
    if dataset.fingerprint not in ("", subject.tokenizer.fingerprint):
        raise UserError(
            f"{command.data} was written with the tokenizer {dataset.fingerprint[:12]}, but {command.run} was trained "
            f"with {subject.tokenizer.fingerprint[:12]}. Preprocess the text with --tokenizer "
            f"{command.run}/tokenizer.json."
        )
    names = [name for name, files in dataset.splits[command.split].items() if files.num_tokens > 1]
    if not names:
        raise UserError(f"{command.data} has nothing in the split {command.split}. Try --split train.")
    found = [by_document.measure(subject, dataset, name, command.split, command.max_tokens) for name in names]
    return {result.task: result for result in found}


def _benchmark(subject: Subject, source: Source, task: str, command: EvaluateCommand) -> Result:
    if task == "wikitext2":
        return wikitext.measure(subject, source, command.stride, command.limit)
    if task == "lambada":
        return lambada.measure(subject, source, command.limit)
    return hellaswag.measure(subject, source, command.limit)


def _harness(subject: Subject, sources: dict[str, Source], command: EvaluateCommand) -> dict[str, dict[str, float]]:
    """Let lm-eval score the same items."""
    from gpt_research.evaluation.harness import HarnessModel, rescore

    part = slice(command.limit or None)
    passages = lambada.passages(sources["lambada"])[part] if "lambada" in sources else []
    questions = hellaswag.questions(sources["hellaswag"])[part] if "hellaswag" in sources else []
    return rescore(HarnessModel(subject), passages, questions) if passages or questions else {}


@contextlib.contextmanager
def _progress() -> Iterator[ProgressCallback]:
    """Show a bar for each task, where a person is watching."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:

        def begin(name: str, total: int) -> Callable[[int], object]:
            bar = bars.add_task(name, total=total)
            return lambda done: bars.advance(bar, done)

        yield begin
