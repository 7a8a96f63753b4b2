"""Tables of an evaluation for the terminal, with published figures beside the scores.

The functions return tables and lines of text; the command prints them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from gpt_research.evaluation.forms import FORMS
from gpt_research.evaluation.results import Result, corpus_losses
from gpt_research.evaluation.statistics import Estimate, counted, number
from gpt_research.evaluation.task import Figure
from gpt_research.evaluation.tasks import core
from gpt_research.evaluation.tasks.table import CORPORA, TASKS
from gpt_research.training.validation import Loss, total


def report(summary: Mapping[str, Any], results: Mapping[str, Result]) -> Iterator[Table | str]:
    """Yield the tables of corpora and benchmarks, and a line about each benchmark."""
    title = f"{summary['run']}, step {summary['step']:,}"
    title += ", averaged weights" if summary.get("averaged_weights") else ""
    if losses := corpus_losses(results):
        settings = summary["settings"]
        yield _corpora_table(f"{title}, on {settings['data']} ({settings['split']})", losses, results)
        yield from _without_error({name: r for name, r in results.items() if _is_corpus(name)})
    benchmarks = {name: result for name, result in results.items() if not _is_corpus(name)}
    if benchmarks:
        yield _benchmark_table(title, benchmarks)
        for name, result in benchmarks.items():
            if "groups" in result.facts:
                yield _group_table(name, result.facts["groups"])
        silent = without_signal(benchmarks)
        if silent:
            named = "; ".join(f"{task} ({', '.join(names)})" for task, names in silent.items())
            yield f"? = no signal at this size, because the 95% interval reaches the chance level: {named}."
        yield from _without_error(benchmarks)
        for name in benchmarks:
            yield _footnote(name, summary["tasks"][name])
    if "core" in summary:
        yield _core(summary["core"])
    for name, why in summary.get("missing", {}).items():
        yield f"{name} is missing. {why}"


def _is_corpus(result: str) -> bool:
    return result.partition("/")[0] == CORPORA


def shown_scores(result: Result) -> dict[str, Estimate]:
    """Return the scores of a result that tables show."""
    form = FORMS.get(result.facts.get("form", ""))
    shown = form.shown if form is not None else ()
    if result.task in core.TASKS:
        shown = tuple(core.TASKS[result.task].shown)
    return {name: estimate for name, estimate in result.estimates.items() if not shown or name in shown}


def _core(found: Mapping[str, Any]) -> str:
    count = len(found["centred"])
    if found["core"] is not None:
        return f"CORE, the mean of all {count} centred scores: {number(found['core'])}."
    if not found["missing"]:
        return (
            f"CORE is the mean of {count} centred scores over all of their items, and only some items of "
            f"{counted(len(found['in_part']), 'tasks')} were measured, so there is none."
        )
    return (
        f"CORE is the mean of 22 centred scores, and only {count} are here, so there is none. Missing: "
        f"{', '.join(found['missing'])}. Their files: {found['files']}."
    )


def _group_table(name: str, groups: Mapping[str, Any]) -> Table:
    table = Table(title=f"{name}, by what the pairs are about", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("accuracy", "± error", "pairs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group, facts in groups.items():
        error = number(facts["standard_error"]) if "standard_error" in facts else "none"
        table.add_row(group, number(facts["accuracy"]), error, f"{facts['items']:,}")
    return table


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
    for heading in ("value", "± error", "chance", "context", "GPT-2 124M"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task, result in results.items():
        context, chances = result.facts["context"], result.chances
        published = TASKS[task].published if task in TASKS else {}
        for name, estimate in shown_scores(result).items():
            figure = nearest(published.get(name, ()), context)
            beside = f"{number(figure.value)} at {figure.context:,}" if figure else ""
            values = number(estimate.value), standard_error(estimate)
            chance = number(chances[name][0]) + ("" if chances[name][1] else " ?") if name in chances else ""
            table.add_row(task, name, *values, chance, f"{context:,}", beside)
    return table


def without_signal(results: Mapping[str, Result]) -> dict[str, list[str]]:
    """Return the scores that are not above a guess, by task: those say nothing about the model."""
    found: dict[str, list[str]] = {}
    for task, result in results.items():
        for name, (_, signal) in result.chances.items():
            if not signal and name in shown_scores(result):
                found.setdefault(task, []).append(name)
    return found


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


def _not_encoded(found: Mapping[str, Any]) -> str:
    count, why = len(found["items"]), found["why"]
    left_out = f"{counted(count, 'items')} {'is' if count == 1 else 'are'} left out"
    return f"{left_out}, because the tokenizer has no token for a character ({why})"


def _footnote(task: str, facts: Mapping[str, Any]) -> str:
    """Return a line about a task: its items, lm-eval's scores, overlap with training data."""
    of = f" of {facts['first_of']:,}" if "first_of" in facts else ""
    parts = [f"{task}: {counted(facts['items'], facts['unit'])}{of}"]
    parts += [facts["about"]] if "about" in facts else []
    parts += [facts["variant"]] if "variant" in facts else []
    if facts.get("shots"):
        parts.append(f"{facts['shots']} solved examples before each")
    if "sha256" in facts.get("source", {}):
        parts.append(f"SHA-256 {facts['source']['sha256'][:12]}")
    if "not_encoded" in facts:
        parts.append(_not_encoded(facts["not_encoded"]))
    if "stride" in facts:
        parts.append(f"{facts['tokens']:,} tokens, stride {facts['stride']:,}")
    if facts.get("cut"):
        were = "was" if facts["cut"] == 1 else "were"
        beside = " with its answer" if facts["cut"] == 1 else " with their answers"
        whole = beside if "max_new_tokens" in facts else ""  # an answer that is written needs room too
        parts.append(f"{counted(facts['cut'], 'texts')} {were} longer{whole} than the context and cut on the left")
    if facts.get("ties"):
        parts.append(f"{counted(len(facts['ties']), 'ties')}, shared")
    if facts.get("fused"):
        parts.append(f"a token crosses the border of {len(facts['fused']):,} contexts and continuations")
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
