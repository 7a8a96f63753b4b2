"""A fine-tuned run, opened with its head: it answers examples and is measured on a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_research.base import hints, plugins
from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.base.settings import to_dict
from gpt_research.checkpoint.files import checkpoint_path, load_step
from gpt_research.checkpoint.weights import restore_model
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.evaluation.labelled import FINETUNED, interval, value_of
from gpt_research.evaluation.provenance import versions
from gpt_research.evaluation.results import Result, finite
from gpt_research.finetuning.examples import Classes, ExampleFile
from gpt_research.finetuning.head_objective import HeadObjective
from gpt_research.finetuning.objective import Finetuning
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.finetuning.text_objective import TextObjective
from gpt_research.model.gpt import GPT
from gpt_research.run_reference import RunReference
from gpt_research.settings_history import run_config
from gpt_research.training.inspect_run import training_of


def finetuning_of(reference: RunReference) -> dict[str, Any] | None:
    """Return what the lineage of a checkpoint says of its fine-tuning; None if it is of a run that
    was only pretrained.

    Raises:
        UserError: the folder is not a run, or has no such checkpoint.
    """
    found = training_of(reference).lineage.get("finetune")
    return dict(found) if found else None


def settings_of(reference: RunReference) -> FinetuneSettings:
    """Return the settings of a fine-tuned run.

    Raises:
        UserError: it was not fine-tuned.
    """
    found = finetuning_of(reference)
    if found is None:
        raise UserError(
            f"{reference.folder} was not fine-tuned. Go on with it by "
            f"{hints.command('train', '--resume', reference.folder)}"
        )
    return _settings(found)


def _settings(found: Mapping[str, Any]) -> FinetuneSettings:
    # What one command allowed, the next must allow itself.
    known = {field.name for field in dataclasses.fields(FinetuneSettings)} - {"allow_change"}
    return FinetuneSettings(**{name: value for name, value in found["settings"].items() if name in known})


@dataclass(frozen=True)
class FineTuned:
    """One checkpoint of a fine-tuned run."""

    folder: Path
    step: int
    objective: Finetuning
    """With the file that is measured as its training examples; nothing is trained."""
    model: GPT
    """With its head and its adapters, in evaluation mode."""
    lineage: Mapping[str, Any]
    weights_sha256: str


def open_fine_tuned(
    reference: RunReference, data: str, device: Any = "cpu", columns: Mapping[str, str] | None = None
) -> FineTuned:
    """Open a fine-tuned run and a file of examples of its task.

    Args:
        data: the file; empty takes the validation examples of the run.
        columns: the names that the file has for columns of the task; by default those of the run.

    Raises:
        UserError: the run was not fine-tuned, a file cannot be used, or it has a label that the run
            has not learnt.
    """
    folder = reference.folder
    run_config(folder)
    checkpoint = load_step(folder, reference.step, optimizer=False)
    found = checkpoint.lineage.get("finetune") if checkpoint is not None else None
    if checkpoint is None or not found:
        raise UserError(
            f"{folder} was not fine-tuned, so it has no answers for {data}. See: {hints.command('finetune', '--help')}"
        )
    config, where = run_config(folder, checkpoint.step), str(checkpoint_path(folder, checkpoint.step))
    plugins.require(checkpoint.lineage.get("plugins", {}), str(folder))
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    if tokenizer.fingerprint != checkpoint.lineage["tokenizer"]:
        raise UserError(f"{folder / 'tokenizer.json'} is not the tokenizer of this model. Put the right one back.")
    settings = _settings(found)
    if not (data or settings.val):
        raise UserError(f"{folder} has no validation examples. Name a file with --data.")
    settings = dataclasses.replace(settings, columns={**settings.columns, **(columns or {})})
    file = ExampleFile.read(data or settings.val, found["task"], settings.columns)
    shared = settings, tokenizer, config.model, file, file, int(found["source_vocabulary"])
    classes = Classes(tuple(found["labels"])) if "labels" in found else None
    if classes is not None:
        classes.check(file, str(folder))
    objective: Finetuning = TextObjective(*shared)
    if settings.has_head:
        objective = HeadObjective(*shared, classes, tuple(found.get("scale", (0.0, 1.0))))
    model = objective.new_model(config.model)
    restore_model(model, checkpoint.weights(None, where).tensors, where)
    model = model.to(device).eval()
    sha256 = checkpoint.weights(None, where).sha256
    return FineTuned(folder, checkpoint.step, objective, model, checkpoint.lineage, sha256)


def scores_of(run: FineTuned, runtime: Runtime, *names: str, batch_size: int = 8) -> list[float]:
    """Return some scores of a run on its file; nan where one is not defined."""
    columns = dict(run.objective.measure(run.model, "val", batch_size, runtime))
    return [value_of(run.objective.metrics[name], columns) for name in names]


def evaluate_fine_tuned(run: FineTuned, runtime: Runtime, batch_size: int = 8) -> tuple[dict[str, Any], Result]:
    """Return the summary for the result file, and the result; its scores have 95% intervals."""
    started_at, objective = time.perf_counter(), run.objective
    columns = dict(objective.measure(run.model, "val", batch_size, runtime))
    file = objective.files["val"]
    name, named = f"{FINETUNED}/{objective.task}", objective.settings.columns
    # Another column of the same file is another question.
    asked = f"{file.sha256} {json.dumps(named, sort_keys=True)}" if named else file.sha256
    facts = {
        "context": objective.model.block_size,
        "source": {"file": str(file.path), "sha256": file.sha256},
        "items_sha256": hashlib.sha256(asked.encode()).hexdigest() if named else asked,
        "cut": objective.cut("val"),
        "unit": "examples",
        **objective.facts,
    }
    result = Result(name, columns, facts)
    as_json = result.as_json()
    for score, metric in result.metrics.items():
        low, high = interval(metric, columns)
        as_json["scores"][score]["interval"] = [finite(low), finite(high)]
    summary = {
        "run": str(run.folder),
        "step": run.step,
        "lineage": dict(run.lineage),
        "weights_sha256": run.weights_sha256,
        "model": to_dict(objective.model),
        "settings": {"data": str(file.path), **({"columns": named} if named else {})},
        "precision": runtime.precision,
        "device": runtime.device_name,
        "context": objective.model.block_size,
        "versions": versions(),
        "elapsed_s": round(time.perf_counter() - started_at, 1),
        "tasks": {name: as_json},
    }
    return summary, result
