"""Check published scores of a model: `evaluate RUN --audit FILE`.

The file has one JSON object a line, for one score: task, metric and value as published, and if
needed variant and shots.

    {"task": "arc_easy", "variant": "rc", "shots": 5, "metric": "accuracy", "value": 0.3123}

Each score is measured anew and compared in the digits that were published. If they differ, the
known faults (see `faults`), other metrics and other variants are tried, and those that give the
published digits are named.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError, closest
from gpt_research.evaluation import ready_requests
from gpt_research.evaluation.benchmark_files import MissingBenchmarkError
from gpt_research.evaluation.chosen_tasks import Items, items_of
from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.evaluation.faults import FAULTS
from gpt_research.evaluation.task import Measurement
from gpt_research.evaluation.tasks import core
from gpt_research.evaluation.tasks.table import CORPORA, TASKS, task_named
from gpt_research.evaluation.unknown_letters import without_unknown

FIELDS = ("task", "variant", "shots", "metric", "value")
ALIASES = {
    "acc": "accuracy",
    "acc_norm": "accuracy_norm",
    "acc_bytes": "accuracy_bytes",
    "acc_per_char": "accuracy_len_norm",
    "acc_raw": "accuracy",
    "len_norm": "accuracy_len_norm",
    "bpb": "bits_per_byte",
    "ppl": "perplexity",
}
"""Names of metrics in other programs."""


@dataclass(frozen=True)
class Published:
    """One published score."""

    task: str
    """The name of the task here, with its variant if the ready requests have it."""
    metric: str
    value: Decimal
    line: int

    @property
    def in_percent(self) -> bool:
        """An accuracy above 1 is a percentage."""
        return self.metric not in ("perplexity", "bits_per_byte", "word_perplexity", "bits_per_byte_pooled") and (
            self.value > 1
        )

    @property
    def step(self) -> float:
        """One unit of the last published digit."""
        exponent = self.value.as_tuple().exponent
        return float(10.0 ** int(exponent))

    def agrees(self, value: float) -> bool:
        """Return whether a value rounds to the published digits."""
        ours = value * 100 if self.in_percent else value
        return abs(ours - float(self.value)) <= self.step / 2 * (1 + 1e-9)

    def shown(self, value: float) -> str:
        """Return a value with as many digits as were published, and two more."""
        ours = value * 100 if self.in_percent else value
        return f"{ours:.{max(0, -int(self.value.as_tuple().exponent)) + 2}f}"


@dataclass(frozen=True)
class Finding:
    """What an audit found about one score."""

    published: Published
    ours: float
    standard_error: float
    items: int
    of: int
    causes: Sequence[str] = field(default_factory=list)
    """What gives the published digits."""

    @property
    def agrees(self) -> bool:
        return self.published.agrees(self.ours)

    def as_json(self) -> dict[str, Any]:
        return {
            "task": self.published.task,
            "metric": self.published.metric,
            "published": float(self.published.value),
            "value": self.ours,
            "standard_error": self.standard_error,
            "items": self.items,
            "of": self.of,
            "agrees": self.agrees,
            "causes": list(self.causes),
        }

    def sentence(self) -> str:
        """Return what was found, for the terminal."""
        one = self.published
        name = f"{one.task} {one.metric}: published {one.value}"
        part = f" on {self.items:,} of {self.of:,} items" if self.items < self.of else ""
        if self.agrees:
            return f"{name}, and so it is here{part} ({one.shown(self.ours)})."
        digits = _differing(str(one.value), one.shown(self.ours))
        said = f"{name}, but {one.shown(self.ours)} here{part}: they differ {digits}."
        if self.causes:
            return f"{said} This gives the published digits: {'; '.join(self.causes)}."
        return f"{said} No known fault, metric or variant gives the published digits."


def _differing(one: str, other: str) -> str:
    """Return from which digit on two numbers differ."""
    if len(one.partition(".")[0]) != len(other.partition(".")[0]):
        return "in the first digit"
    same = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        same += a.isdigit()
    count = sum(character.isdigit() for character in one)
    if same >= count:
        return "in the rounding of the last digit"
    return f"from digit {same + 1} of {count} on"


def read_published(path: Path, folder: str = "") -> list[Published]:
    """Return the published scores of a file.

    Args:
        folder: folder of official benchmark files, which may hold the ready requests; empty for
            none.

    Raises:
        UserError: the file is missing, or a line is not a score of a known task; the message names
            the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"There is no file {path} (--audit).") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}). Name a file of JSON lines with --audit.") from None
    found = [_published(f"{path}, line {n}", line, n, folder) for n, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise UserError(f"{path} holds no score. Each line must be a JSON object with {', '.join(FIELDS)}.")
    return found


def _published(where: str, line: str, number: int, folder: str) -> Published:
    try:
        row = json.loads(line, parse_float=Decimal, parse_int=Decimal)
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}).") from None
    value = row.get("value") if isinstance(row, dict) else None
    if not isinstance(value, Decimal) or not math.isfinite(float(value)) or not isinstance(row.get("task"), str):
        raise UserError(f"{where} must be a JSON object with task, metric and value, which is a number.")
    unknown = [name for name in row if name not in FIELDS]
    if unknown:
        raise UserError(f'{where}: there is no field "{unknown[0]}". Fields: {", ".join(FIELDS)}.')
    shots = row.get("shots")
    if shots is not None and not (isinstance(shots, Decimal) and shots == int(shots) >= 0):
        raise UserError(f"{where}: shots is {shots}, but it must be a whole number, such as 5.")
    if row["task"] == CORPORA:
        raise UserError(f"{where}: corpora is no benchmark. `evaluate` without --audit measures the loss on corpora.")
    name = _task_name(where, row["task"], str(row.get("variant") or ""), shots, folder)
    try:
        known = task_named(name).metrics
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    metric = str(row.get("metric") or next(iter(known)))
    metric = ALIASES.get(metric, metric)
    if metric not in known:
        raise UserError(f'{where}: {name} has no metric "{metric}".{closest(metric, known)} It has {", ".join(known)}.')
    return Published(name, metric, row["value"], number)


def _task_name(where: str, task: str, variant: str, shots: Decimal | None, folder: str) -> str:
    """Return the name of a task here: its own, or with a variant such as rc and the shots."""
    known = TASKS.get(task) or core.TASKS.get(task) or (task_named(task) if ":" in task else None)
    if not variant and (shots is None or (known is not None and shots == known.shots)):
        return task
    if ":" in task:
        raise UserError(f"{where}: {task} names its variant and shots already. Leave variant and shots out.")
    usual = "bpb" if known is not None and known.form == "answer" else "rc"
    wanted = f"{variant or usual}{'' if shots is None or 'shot' in variant else f'_{int(shots)}shot'}"
    try:
        names = [name for name in ready_requests.names(folder) if name.startswith(f"{task}/")]
    except MissingBenchmarkError as error:
        raise UserError(f"{where}: {error}") from None
    if f"{task}/{wanted}" in names:
        return f"{task}:{wanted}"
    variants = ", ".join(name.partition("/")[2] for name in names) or "none"
    raise UserError(
        f"{where}: {task} has no variant {wanted}. Its variants in the ready requests: {variants}. Leave variant and "
        "shots out for the task as it is measured here."
    )


def audit(
    model: EvaluatedModel,
    published: Sequence[Published],
    folder: str,
    limit: int = 0,
    notice: Callable[[str], None] = lambda said: None,
) -> Iterator[Finding]:
    """Yield what is found about each published score.

    Args:
        folder: folder of official benchmark files; empty for none.
        limit: number of items of each task; 0 takes all.
        notice: called with a sentence before what takes long.
    """
    known: dict[str, tuple[Items, Measurement]] = {}

    def measured(name: str) -> tuple[Items, Measurement]:
        if name not in known:
            task = task_named(name)
            source, items = items_of(name, task, folder)
            asked = without_unknown(model, Items(task, source, items[: limit or None], len(items)))
            if not asked.items:
                raise UserError(f"{name}: the tokenizer can encode none of its items: {asked.why}.")
            known[name] = (asked, task.measure(model, asked.items))
        return known[name]

    for one in published:
        asked, found = measured(one.task)
        metric = asked.task.metrics[one.metric]
        estimate = metric.estimate(found.columns)
        causes: list[str] = []
        if not one.agrees(estimate.value):
            notice(f"{one.task} {one.metric} differs, so the known faults are tried.")
            causes = [*_other_metrics(one, asked, found), *_faults(model, one, asked, found)]
            causes += _variants(one, measured, folder)
        yield Finding(one, estimate.value, estimate.standard_error, len(asked.items), asked.of, causes)


def _other_metrics(one: Published, asked: Items, found: Measurement) -> Iterator[str]:
    for name, metric in asked.task.metrics.items():
        if name != one.metric and one.agrees(metric.estimate(found.columns).value):
            yield f"it is {name} (normalised by {metric.normalisation})" if metric.normalisation else f"it is {name}"


def _faults(model: EvaluatedModel, one: Published, asked: Items, found: Measurement) -> Iterator[str]:
    metric = asked.task.metrics[one.metric]
    for fault in FAULTS.values():
        if fault.counts is not None:
            value = fault.counts(found, asked.items, metric)
        else:
            assert fault.asks is not None, "a fault asks or counts in another way"
            wrong = asked.task.measure(fault.asks(model), asked.items)
            value = metric.estimate(wrong.columns).value
            ours = metric.estimate(found.columns).value
            # A fault that changes nothing explains nothing; and both faults of 16 bits come
            # together with ties.
            if abs(value - ours) < 1e-12:
                continue
            if not one.agrees(value) and "softmax" in fault.what:
                counts = FAULTS["ties count as right"].counts
                value = counts(wrong, asked.items, metric) if counts is not None else None
                if value is not None and one.agrees(value):
                    yield f"{fault.what}, and a tie counts as right"
                    continue
        if value is not None and one.agrees(value):
            yield fault.what


def _variants(one: Published, measured: Callable[[str], tuple[Items, Measurement]], folder: str) -> Iterator[str]:
    """Yield the variants of the same task in the ready requests that give the published digits."""
    task = one.task.partition(":")[0]
    try:
        names = [name for name in ready_requests.names(folder) if name.startswith(f"{task}/")]
    except MissingBenchmarkError:
        return
    for name in names:
        other = name.replace("/", ":", 1)
        if other == one.task:
            continue
        try:
            asked, found = measured(other)
        except UserError:  # it cannot be asked here, so it explains nothing
            continue
        metric = asked.task.metrics.get(one.metric)
        if metric is not None and one.agrees(metric.estimate(found.columns).value):
            yield f"it is the variant {name.partition('/')[2]} of the ready requests"
