"""`gpt-research compare A B`: two evaluations side by side, with the interval of their difference.

Scores are paired item by item (`estimates`), so only tasks that both measured on the same items are compared; which
were not, and why, is said. Settings that differ are allowed and named: a difference may be theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from gpt_research.base.errors import UserError
from gpt_research.base.files import write_json
from gpt_research.commands import CompareCommand
from gpt_research.evaluation import results
from gpt_research.evaluation.report import number
from gpt_research.evaluation.results import Result
from gpt_research.evaluation.statistics import HIGHER_IS_BETTER, Difference, difference, metrics_of

FEW_ITEMS = 30
"""Below this the normal interval is too narrow to be trusted."""


@dataclass(frozen=True)
class Comparison:
    """What came of it."""

    differences: dict[tuple[str, str], Difference]
    """By task and score."""
    remarks: list[str]
    """Tasks left out and why, and settings that differ."""


def run(command: CompareCommand) -> int:
    """Print the comparison, write its JSON; return the exit code."""
    places = [results.find(place) for place in command.runs]
    (first, a), (second, b) = (results.read(path) for path in places)
    found = compare(a, b, command.confidence)
    found.remarks.extend(_settings(first, second))
    if not found.differences:
        raise UserError(f"{places[0]} and {places[1]} have no items in common. {' '.join(found.remarks)}")
    _table(f"A: {_name(first)}   B: {_name(second)}", found, command.confidence, Console())
    if command.json:
        try:
            write_json(Path(command.json), _as_json(found, command))
        except OSError as error:
            raise UserError(f"{command.json} could not be written ({error.strerror}).") from None
    return 0


def compare(a: dict[str, Result], b: dict[str, Result], confidence: float = 0.95) -> Comparison:
    """Return B minus A for each score of each task that both have on the same items."""
    differences, remarks = {}, []
    for task in [*a, *(task for task in b if task not in a)]:
        if task not in a or task not in b:
            remarks.append(f"{task}: only {'A' if task in a else 'B'} measured it.")
            continue
        one, other = a[task], b[task]
        if one.facts["items_sha256"] != other.facts["items_sha256"] or one.items != other.items:
            remarks.append(
                f"{task}: not the same items ({one.items:,} and {other.items:,}). Evaluate both with the same files, "
                "data and limits."
            )
            continue
        changes = [f"{name} {one.facts[name]} and {other.facts[name]}" for name in ("context", "stride")
                   if name in one.facts and one.facts[name] != other.facts.get(name)]  # fmt: skip
        remarks += [f"{task}: {change}." for change in changes]
        if one.items < FEW_ITEMS:
            remarks.append(f"{task}: only {one.items} {one.facts['unit']}; the interval is rough.")
        for name, metric in metrics_of(task).items():
            if _comparable(name, one, other):
                differences[task, name] = difference(metric, one.columns, other.columns, confidence)
            else:
                remarks.append(f"{task}: {name} left out, for the two have different tokens.")
    return Comparison(differences, remarks)


def _comparable(name: str, one: Result, other: Result) -> bool:
    """A score a token means something only on the same tokens; bytes and words are the same for all."""
    if name not in ("loss", "perplexity") or "tokens" not in one.columns:
        return True
    if one.facts["context"] != other.facts["context"]:  # the windows' first tokens are not scored
        return bool(abs(one.columns["tokens"].sum() / other.columns["tokens"].sum() - 1) < 0.02)
    return bool((one.columns["tokens"] == other.columns["tokens"]).all())


def _settings(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    names = [name for name in ("precision", "device") if first.get(name) != second.get(name)]
    return [f"{name}: {first.get(name)} and {second.get(name)}." for name in names]


def _name(summary: dict[str, Any]) -> str:
    return f"{summary.get('run')}, step {summary.get('step')}"


def better(metric: str, found: Difference) -> str:
    """Return A or B where the interval leaves 0 out, else an empty text."""
    if not found.is_clear:
        return ""
    return "B" if (found.value > 0) == (metric in HIGHER_IS_BETTER) else "A"


def _table(title: str, found: Comparison, confidence: float, console: Console) -> None:
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("task", "score"):
        table.add_column(heading, no_wrap=True)
    for heading in ("A", "B", "B - A", f"{confidence:.4g} interval", "better"):
        table.add_column(heading, justify="right", no_wrap=True)
    for (task, name), d in found.differences.items():
        interval = f"{number(d.low, '+')} to {number(d.high, '+')}"
        table.add_row(task, name, number(d.a), number(d.b), number(d.value, "+"), interval, better(name, d) or "?")
    console.print(table)
    for task, items in {task: d.items for (task, _), d in found.differences.items()}.items():
        console.print(f"{task}: {items:,} pairs.", markup=False, highlight=False)
    for remark in found.remarks:
        console.print(remark, markup=False, highlight=False)
    console.print("? = the interval holds 0: no difference is shown.", markup=False, highlight=False)


def _as_json(found: Comparison, command: CompareCommand) -> dict[str, Any]:
    rows = [
        {
            "task": task,
            "score": name,
            **{k: results.finite(getattr(d, k)) for k in ("a", "b", "value", "standard_error", "low", "high")},
            "items": d.items,
            "better": better(name, d),
        }
        for (task, name), d in found.differences.items()
    ]
    return {"a": command.runs[0], "b": command.runs[1], "confidence": command.confidence, "differences": rows,
            "remarks": found.remarks}  # fmt: skip
