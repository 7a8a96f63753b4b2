"""Results as tables for the terminal: the corpora, then the benchmarks beside the published figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from gpt_research.evaluation.published import nearest
from gpt_research.evaluation.results import Result, finite
from gpt_research.training.validation import Loss, total


def corpora_of(found: Mapping[str, Result]) -> dict[str, Loss]:
    """Return the losses by corpus."""
    sums = {task: [r.columns[name].sum() for name in ("nats", "tokens", "bytes")] for task, r in found.items()
            if task.startswith("corpora/")}  # fmt: skip
    return {task.partition("/")[2]: Loss(float(n), int(t), int(b)) for task, (n, t, b) in sums.items()}


def corpora_summary(found: Mapping[str, Result]) -> dict[str, Any]:
    """Return the losses by corpus and overall for the result file; nothing where no corpus was measured."""
    losses = corpora_of(found)
    if not losses:
        return {}
    return {
        "overall": _plain(total(losses)),
        "corpora": {name: _plain(loss) for name, loss in losses.items()},
    }


def _plain(loss: Loss) -> dict[str, float | None]:
    names = ("loss", "perplexity", "bits_per_byte", "tokens", "bytes")
    return {name: finite(getattr(loss, name)) for name in names}


def show(summary: dict[str, Any], found: Mapping[str, Result], console: Console) -> None:
    """Print the tables of what was measured."""
    title = f"{summary['run']}, step {summary['step']:,}"
    if losses := corpora_of(found):
        settings = summary["settings"]
        console.print(_corpora_table(f"{title}, on {settings['data']} ({settings['split']})", losses, found))
    benchmarks = {task: result for task, result in found.items() if not task.startswith("corpora/")}
    if benchmarks:
        console.print(_benchmark_table(title, benchmarks))
        for task in benchmarks:
            console.print(_footnote(task, summary["tasks"][task]), markup=False, highlight=False)


def _corpora_table(title: str, losses: Mapping[str, Loss], found: Mapping[str, Result]) -> Table:
    table = Table("corpus", title=title)
    for heading in ("documents", "tokens", "loss", "perplexity", "bits per byte"):
        table.add_column(heading, justify="right")
    rows = {**losses, "overall": total(losses)} if len(losses) > 1 else losses
    for name, loss in rows.items():
        result = found.get(f"corpora/{name}")
        error = f" ± {result.estimates['loss'].standard_error:.4f}" if result else ""
        table.add_row(
            name,
            f"{result.items:,}" if result else "",
            f"{loss.tokens:,}",
            f"{loss.loss:.4f}{error}",
            f"{loss.perplexity:.2f}",
            f"{loss.bits_per_byte:.4f}",
        )
    return table


def _benchmark_table(title: str, found: Mapping[str, Result]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("task", "score"):
        table.add_column(heading, no_wrap=True)
    for heading in ("value", "± error", "context", "GPT-2 124M"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task, result in found.items():
        context = result.facts["context"]
        for name, estimate in result.estimates.items():
            figure = nearest(task, name, context)
            beside = f"{number(figure.value)} at {figure.context:,}" if figure else ""
            values = number(estimate.value), number(estimate.standard_error)
            table.add_row(task, name, *values, f"{context:,}", beside)
    return table


def number(value: float, sign: str = "") -> str:
    """Return a score in few characters; `sign` "+" writes the sign of positive ones too."""
    digits = ".4f" if abs(value) < 10 else ".2f" if abs(value) < 1000 else ",.0f" if abs(value) < 1e7 else ".3g"
    return format(value, sign + digits)


def _footnote(task: str, facts: dict[str, Any]) -> str:
    """Return one line: how much was measured, how, and what of it the training data held."""
    parts = [f"{task}: {facts['items']:,} {facts['unit']}"]
    if "stride" in facts:
        parts.append(f"{facts['tokens']:,} tokens, stride {facts['stride']:,}")
    if facts.get("cut"):
        parts.append(f"{facts['cut']:,} texts were longer than the context and cut on the left")
    if "lm_eval" in facts:
        theirs = ", ".join(f"{name} {number(value)}" for name, value in facts["lm_eval"].items())
        parts.append(f"lm-eval on the same items: {theirs}")
    found = facts["contamination"]
    if found["documents"] is None:
        parts.append(f"in the training data: {found['why']}")
    else:
        rest = ", others dropped" if found.get("dropped") else ""
        parts.append(f"in the training data: {found['documents']:,} of {found['of']:,} documents{rest}")
    return "; ".join(parts) + "."
