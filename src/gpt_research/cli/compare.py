"""`gpt-research compare A B`: print two evaluations side by side, paired item by item."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from gpt_research.base.errors import UserError, require
from gpt_research.base.files import write_json

if TYPE_CHECKING:
    from gpt_research.evaluation.comparison import Comparison


@dataclass(frozen=True)
class CompareCommand:
    """Compare two evaluations, paired item by item."""

    runs: list[str] = field(default_factory=list)
    """Two run folders that were evaluated, or two result files."""
    confidence: float = 0.95
    """Confidence of the intervals: the share of repetitions in which one would hold the true
    difference."""
    json: str = ""
    """File to write the comparison to. Empty: none."""

    def __post_init__(self) -> None:
        require(len(self.runs) == 2, "runs", self.runs, "two run folders or result files: compare RUN_A RUN_B")
        require(0 < self.confidence < 1, "confidence", self.confidence, "between 0 and 1, such as 0.95")


def run(command: CompareCommand) -> int:
    """Print the comparison and write it to a file if one is named; return the exit code."""
    from gpt_research.evaluation import comparison, results

    paths = [results.find(run) for run in command.runs]
    (first, a), (second, b) = (results.read(path) for path in paths)
    compared = comparison.compare(a, b, command.confidence)
    # Precision and device belong to the whole evaluation, and `compare` sees only its tasks.
    compared.remarks.extend(comparison.setting_remarks(first, second))
    if not compared.differences:
        raise UserError(f"{paths[0]} and {paths[1]} have no items in common. {' '.join(compared.remarks)}")
    _print(f"A: {_name(first)}   B: {_name(second)}", compared, command.confidence)
    if command.json:
        try:
            write_json(Path(command.json), _as_json(compared, command))
        except OSError as error:
            raise UserError(f"{command.json} could not be written ({error.strerror}).") from None
    return 0


def _name(summary: dict[str, Any]) -> str:
    return f"{summary.get('run')}, step {summary.get('step')}"


def _print(title: str, compared: Comparison, confidence: float) -> None:
    from gpt_research.evaluation.comparison import better
    from gpt_research.evaluation.report import number

    console = Console()
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("task", "score"):
        table.add_column(heading, no_wrap=True)
    for heading in ("A", "B", "B - A", f"{confidence:.4g} interval", "better"):
        table.add_column(heading, justify="right", no_wrap=True)
    for (task, name), d in compared.differences.items():
        interval = f"{number(d.low, '+')} to {number(d.high, '+')}"
        values = number(d.a), number(d.b), number(d.value, "+")
        table.add_row(task, name, *values, interval, better(task, name, d) or "?")
    console.print(table)
    items = {task: d.items for (task, _), d in compared.differences.items()}
    lines = [
        *(f"{task}: {count:,} pairs." for task, count in items.items()),
        *compared.remarks,
        "? = the interval holds 0: no difference is shown.",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _as_json(compared: Comparison, command: CompareCommand) -> dict[str, Any]:
    from gpt_research.evaluation.comparison import better
    from gpt_research.evaluation.results import finite

    rows = [
        {
            "task": task,
            "score": name,
            **{k: finite(getattr(d, k)) for k in ("a", "b", "value", "standard_error", "low", "high")},
            "items": d.items,
            "better": better(task, name, d),
        }
        for (task, name), d in compared.differences.items()
    ]
    return {
        "a": command.runs[0],
        "b": command.runs[1],
        "confidence": command.confidence,
        "differences": rows,
        "remarks": compared.remarks,
    }
