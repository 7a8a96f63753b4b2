"""A result: what was measured on each item, and all it takes to measure it again; on disk two files.

evaluation.json           scores with standard errors, settings, run, step, fingerprints, versions: for people
evaluation.items.jsonl    one line a task: what each item scored, for `compare`; named in the first by its SHA-256
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256, write_json, write_text
from gpt_research.evaluation.statistics import Estimate
from gpt_research.evaluation.tasks.table import CORPORA, metrics_of
from gpt_research.training.validation import Loss, total

RESULT_NAME = "evaluation.json"
VERSION = 1


@dataclass(frozen=True)
class Result:
    """One task, measured."""

    task: str
    """A name of `TASKS`, or corpora/NAME."""
    columns: dict[str, np.ndarray]
    """What each item scored; one array a column, one entry an item."""
    facts: dict[str, Any]
    """context, items_sha256, unit (what an item is), and what else decides the scores."""

    @property
    def items(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def estimates(self) -> dict[str, Estimate]:
        """The scores by name."""
        return {name: metric.estimate(self.columns) for name, metric in metrics_of(self.task).items()}

    def as_json(self) -> dict[str, Any]:
        """Return scores and facts."""
        scores = {
            name: {"value": finite(estimate.value), "standard_error": finite(estimate.standard_error)}
            for name, estimate in self.estimates.items()
        }
        return {"scores": scores, "items": self.items, **self.facts}


def finite(value: float) -> float | None:
    """Return a number as JSON has it: no infinity, no nan."""
    return value if math.isfinite(value) else None


def corpus_losses(results: Mapping[str, Result]) -> dict[str, Loss]:
    """Return the losses by corpus; nothing if no corpus was measured."""
    losses = {}
    for name, result in results.items():
        task, _, corpus = name.partition("/")
        if task == CORPORA:
            nats, tokens, size = (result.columns[column].sum() for column in ("nats", "tokens", "bytes"))
            losses[corpus] = Loss(float(nats), int(tokens), int(size))
    return losses


def corpora_summary(results: Mapping[str, Result]) -> dict[str, Any]:
    """Return the losses overall and by corpus for the result file; nothing if no corpus was measured."""
    losses = corpus_losses(results)
    if not losses:
        return {}
    return {"overall": _loss_json(total(losses)), "corpora": {name: _loss_json(loss) for name, loss in losses.items()}}


def _loss_json(loss: Loss) -> dict[str, float | None]:
    names = ("loss", "perplexity", "bits_per_byte", "tokens", "bytes")
    return {name: finite(getattr(loss, name)) for name in names}


def write(path: Path, summary: dict[str, Any], results: Iterable[Result]) -> None:
    """Write both files, the summary last.

    Raises:
        UserError: the place refuses.
    """
    items = items_path(path)
    lines = [json.dumps({"task": r.task, **{k: _plain(v) for k, v in r.columns.items()}}) for r in results]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(items, "".join(line + "\n" for line in lines))
        write_json(path, {"version": VERSION, **summary, "items": {"file": items.name, "sha256": file_sha256(items)}})
    except OSError as error:
        raise UserError(f"{path} could not be written ({error.strerror}). Name another file with --json.") from None


def _plain(values: np.ndarray) -> list[float]:
    """Keep single precision's digits, which is what the model gives; sums over tokens keep one more."""
    whole = values.dtype.kind in "biu"
    return [int(v) if whole else float(f"{v:.9g}") for v in values.tolist()]


def items_path(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".json") + ".items.jsonl")


def find(place: str) -> Path:
    """Return the result file of a run folder, or the file itself.

    Raises:
        UserError: there is none.
    """
    path = Path(place)
    if path.is_dir():
        path /= RESULT_NAME
        if not path.is_file():
            raise UserError(f'{place} was not evaluated yet. Run "gpt-research evaluate {place}" first.')
    if not path.is_file():
        raise UserError(f"There is no run folder or result file {place}.")
    return path


def read(path: Path) -> tuple[dict[str, Any], dict[str, Result]]:
    """Return the summary and the results by task.

    Raises:
        UserError: no result file, or a damaged one.
    """
    remedy = 'Run "gpt-research evaluate" again.'
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(summary, dict) or summary.get("version") != VERSION:
            raise UserError(f"{path} is no result of this version of evaluate. {remedy}")
        items = items_path(path)
        if file_sha256(items) != summary["items"]["sha256"]:
            raise UserError(f"{items} does not belong to {path}: its SHA-256 is another. {remedy}")
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
