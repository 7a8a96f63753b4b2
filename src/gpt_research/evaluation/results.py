"""The result of an evaluation, in memory and on disk.

    evaluation.json           scores with standard errors, and the settings that repeat them
    evaluation.items.jsonl    one line for each task: what each item scored, for `compare`

A run folder has those of its newest evaluation. If another checkpoint is evaluated, the result of
the one before is kept beside it, as `evaluation-step_00000600.json` with its items.

The first file holds the SHA-256 of the second, so that a mix of two evaluations is noticed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpt_research.base import hints
from gpt_research.base.disk import cannot_write
from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256, write_json, write_text
from gpt_research.checkpoint.files import find_step
from gpt_research.evaluation.statistics import Columns, Estimate, Metric, in_group, shows_signal
from gpt_research.evaluation.tasks.table import CORPORA, metrics_of
from gpt_research.run_reference import RunReference, run_reference
from gpt_research.training.validation import Loss, total

RESULT_NAME = "evaluation.json"
VERSION = 1


@dataclass(frozen=True)
class Result:
    """What one task measured."""

    task: str
    """The name of a task in `TASKS`, or corpora/NAME for a corpus of the data set."""
    columns: dict[str, np.ndarray]
    """One array for each column that a metric of the task names, with one entry for each item."""
    facts: dict[str, Any]
    """context, items_sha256, unit (what an item is), and the settings and counts of the task."""

    @property
    def items(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics whose columns were measured, by name. Older results lack newer metrics."""
        known = metrics_of(self.task, self.facts.get("form", ""), len(self.facts.get("labels", [])))
        return {name: metric for name, metric in known.items() if metric.columns <= self.columns.keys()}

    @property
    def estimates(self) -> dict[str, Estimate]:
        """The scores, by name."""
        return {name: metric.estimate(self.columns) for name, metric in self.metrics.items()}

    @property
    def group_sizes(self) -> dict[str, int]:
        """The number of items in each group; empty if the items have no groups."""
        if "group" not in self.columns:  # as in results of older versions
            return {}
        return {name: int((self.columns["group"] == number).sum()) for number, name in enumerate(self.facts["groups"])}

    @property
    def compared(self) -> dict[str, tuple[Metric, Columns]]:
        """What `compare` compares, by name: the scores, and then those of each group of items, such
        as `accuracy: binding`. Each with the columns that it follows from.
        """
        parts: list[tuple[str, Columns]] = [("", self.columns)]
        parts += [(f": {group}", in_group(self.columns, number)) for number, group in enumerate(self.group_sizes)]
        return {f"{name}{of}": (metric, columns) for of, columns in parts for name, metric in self.metrics.items()}

    @property
    def chances(self) -> dict[str, tuple[float, bool]]:
        """For each score that can be guessed: what a guess gets, and if the score is above that."""
        found = {}
        for name, metric in self.metrics.items():
            chance = metric.chance_level(self.columns)
            if chance is not None:
                found[name] = (chance, shows_signal(metric.estimate(self.columns), chance))
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the scores and the facts, as evaluation.json holds them."""
        metrics, chances = self.metrics, self.chances
        scores: dict[str, dict[str, Any]] = {}
        for name, estimate in self.estimates.items():
            scores[name] = {"value": finite(estimate.value), "standard_error": finite(estimate.standard_error)}
            if metrics[name].normalisation:
                scores[name]["normalisation"] = metrics[name].normalisation
            if name in chances:
                scores[name] |= {"chance": chances[name][0], "signal": chances[name][1]}
        return {"scores": scores, "items": self.items, **self.facts}


def finite(value: float) -> float | None:
    """Return the number, or None if it is infinite or nan, because JSON has no such numbers."""
    return value if math.isfinite(value) else None


def corpus_losses(results: Mapping[str, Result]) -> dict[str, Loss]:
    """Return the loss on each corpus that was measured, by the corpus's name."""
    losses = {}
    for name, result in results.items():
        task, _, corpus = name.partition("/")
        if task == CORPORA:
            nats, tokens, size = (result.columns[column].sum() for column in ("nats", "tokens", "bytes"))
            losses[corpus] = Loss(float(nats), int(tokens), int(size))
    return losses


def corpora_summary(results: Mapping[str, Result]) -> dict[str, Any]:
    """Return the entries "overall" and "corpora" of evaluation.json, if a corpus was measured."""
    losses = corpus_losses(results)
    if not losses:
        return {}
    return {"overall": _loss_json(total(losses)), "corpora": {name: _loss_json(loss) for name, loss in losses.items()}}


def _loss_json(loss: Loss) -> dict[str, float | None]:
    names = ("loss", "perplexity", "bits_per_byte", "tokens", "bytes")
    return {name: finite(getattr(loss, name)) for name in names}


def write(path: Path, summary: dict[str, Any], results: Iterable[Result]) -> None:
    """Write both files. The summary comes last, so that it never names a file that is not there.

    Raises:
        UserError: a file cannot be written.
    """
    items = items_path(path)
    lines = [json.dumps({"task": r.task, **{k: _plain(v) for k, v in r.columns.items()}}) for r in results]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(items, "".join(line + "\n" for line in lines))
        write_json(path, {"version": VERSION, **summary, "items": {"file": items.name, "sha256": file_sha256(items)}})
    except OSError as error:
        raise cannot_write(path, error, flag="--json", then="evaluate again") from None


def _plain(values: np.ndarray) -> list[float]:
    """Return numbers for JSON, with the 9 digits that tell any two float32 apart."""
    whole = values.dtype.kind in "biu"  # booleans, and integers with or without a sign
    return [int(v) if whole else float(f"{v:.9g}") for v in values.tolist()]


def items_path(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".json") + ".items.jsonl")


def keep_that_of_another_step(run: Path, step: int) -> None:
    """Copy the result in a run folder to the name of its own step, if it is not that of `step`, so
    that the next one does not take its place.

    Raises:
        UserError: the disk refuses it.
    """
    path = run / RESULT_NAME
    evaluated = _step_in(path)
    if evaluated in (None, step) or not items_path(path).is_file():
        return
    kept = _of_step(run, evaluated)
    try:
        for source, target in ((items_path(path), items_path(kept)), (path, kept)):
            write_text(target, source.read_text(encoding="utf-8"))
    except OSError as error:
        raise cannot_write(kept, error, flag="--json", then="evaluate again") from None


def _step_in(path: Path) -> int | None:
    """Return the step that a result file is of; None if there is none, or it is damaged."""
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _of_step(run: Path, step: int) -> Path:
    """Return where the result of a step is kept after another one was evaluated."""
    return run / f"{Path(RESULT_NAME).stem}-step_{step:08d}.json"


def find(run_or_file: str) -> Path:
    """Return the result file of a run folder, or of its checkpoint that `RUN@STEP` names; or the
    path itself if it is that of a file.

    Raises:
        UserError: there is no such run or file, or the run was not evaluated yet, or not at that
            checkpoint.
    """
    reference = run_reference(run_or_file)
    path = result_file(reference)
    if reference.folder.is_dir() and not path.is_file():
        raise UserError(f"{run_or_file} was not evaluated yet. Run: {hints.command('evaluate', run_or_file)}")
    if not path.is_file():
        raise UserError(f"There is no run folder or result file {run_or_file}.")
    return path


def result_file(reference: RunReference) -> Path:
    """Return where the result of a run or of its checkpoint is, if there is one; a file is itself.

    Raises:
        UserError: the run has no such checkpoint.
    """
    if not reference.folder.is_dir():
        return reference.folder
    path = reference.folder / RESULT_NAME
    if not reference.is_named:
        return path
    step = find_step(reference.folder, reference.step)
    return path if _step_in(path) == step else _of_step(reference.folder, step)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Result]]:
    """Return the summary of a result file, and the result of each task by name.

    Raises:
        UserError: the file is missing or damaged, or of another version.
    """
    remedy = "Evaluate again."
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(summary, dict) or summary.get("version") != VERSION:
            raise UserError(f"{path} is not a result of this version of evaluate. {remedy}")
        # The two files are written one after the other, so a stopped evaluation may leave a mix.
        items = items_path(path)
        if file_sha256(items) != summary["items"]["sha256"]:
            raise UserError(f"{items} does not belong to {path}, because its SHA-256 differs. {remedy}")
        results = {}
        for line in items.read_text(encoding="utf-8").splitlines():
            columns = json.loads(line)
            task = columns.pop("task")
            results[task] = Result(task, {k: np.array(v) for k, v in columns.items()}, summary["tasks"][task])
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}). {remedy}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error!r}). {remedy}") from None
    return summary, results
