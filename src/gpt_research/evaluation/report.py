"""Tables of an evaluation for the terminal, with published figures beside the scores.

The functions return tables and lines of text; the command prints them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from gpt_research.evaluation.results import Result, corpus_losses
from gpt_research.evaluation.statistics import Estimate, number
from gpt_research.evaluation.task import Figure
from gpt_research.evaluation.tasks.table import TASKS
from gpt_research.training.validation import Loss, total


def report(summary: Mapping[str, Any], results: Mapping[str, Result]) -> Iterator[Table | str]:
    """Yield the tables of corpora and benchmarks, and a line about each benchmark."""
    title = f"{summary['run']}, step {summary['step']:,}"
    title += ", averaged weights" if summary.get("averaged_weights") else ""
    if losses := corpus_losses(results):
        settings = summary["settings"]
        yield _corpora_table(f"{title}, on {settings['data']} ({settings['split']})", losses, results)
        yield from _without_error({name: r for name, r in results.items() if name not in TASKS})
    benchmarks = {name: result for name, result in results.items() if name in TASKS}
    if benchmarks:
        yield _benchmark_table(title, benchmarks)
        yield from _without_error(benchmarks)
        for name in benchmarks:
            yield _footnote(name, summary["tasks"][name])


def _corpora_table(title: str, losses: Mapping[str, Loss], results: Mapping[str, Result]) -> Table:
    table = Table("corpus", title=title)
    for heading in ("documents", "tokens", "loss", "perplexity", "bits per byte"):
        table.add_column(heading, justify="right")
    rows = {**losses, "overall": total(losses)} if len(losses) > 1 else losses
    for name, loss in rows.items():
        result = results.get(f"corpora/{name}")
        error = f" ± {standard_error(result.estimates['loss'])}" if result and result.items > 1 else ""
        table.add_row(
            name,
            f"{result.items:,}" if result else "",
            f"{loss.tokens:,}",
            f"{loss.loss:.4f}{error}",
            f"{loss.perplexity:.2f}",
            f"{loss.bits_per_byte:.4f}",
        )
    return table


def _benchmark_table(title: str, results: Mapping[str, Result]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("task", "score"):
        table.add_column(heading, no_wrap=True)
    for heading in ("value", "± error", "context", "GPT-2 124M"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task, result in results.items():
        context = result.facts["context"]
        for name, estimate in result.estimates.items():
            figure = nearest(TASKS[task].published.get(name, ()), context)
            beside = f"{number(figure.value)} at {figure.context:,}" if figure else ""
            values = number(estimate.value), standard_error(estimate)
            table.add_row(task, name, *values, f"{context:,}", beside)
    return table


def nearest(figures: Sequence[Figure], context: int) -> Figure | None:
    """Return the figure whose context is nearest to `context`; None if there are no figures."""
    return min(figures, key=lambda figure: abs(figure.context - context), default=None)


def standard_error(estimate: Estimate) -> str:
    """Return the standard error of a score in few characters, or "none" if it cannot be had."""
    error = estimate.standard_error
    return number(error) if math.isfinite(error) else "none"


def _without_error(results: Mapping[str, Result]) -> Iterator[str]:
    """Yield a sentence about each task whose scores have no standard error."""
    for name, result in results.items():
        if result.items == 1:
            yield (
                f"{name}: only 1 {result.facts['unit'].removesuffix('s')}, so its scores have no standard error: how "
                "much they vary cannot be known."
            )


def _footnote(task: str, facts: Mapping[str, Any]) -> str:
    """Return a line about a task: its items, lm-eval's scores, overlap with training data."""
    parts = [f"{task}: {facts['items']:,} {facts['unit']}"]
    if "stride" in facts:
        parts.append(f"{facts['tokens']:,} tokens, stride {facts['stride']:,}")
    if facts.get("cut"):
        parts.append(f"{facts['cut']:,} texts were longer than the context and cut on the left")
    if "lm_eval" in facts:
        theirs = ", ".join(f"{name} {number(value)}" for name, value in facts["lm_eval"].items())
        parts.append(f"lm-eval on the same items: {theirs}")
    overlap = facts["contamination"]
    if overlap["documents"] is None:
        parts.append(f"in the training data: {overlap['why']}")
    else:
        rest = ", others dropped" if overlap.get("dropped") else ""
        parts.append(f"in the training data: {overlap['documents']:,} of {overlap['of']:,} documents{rest}")
    return "; ".join(parts) + "."
