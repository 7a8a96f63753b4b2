"""Compare two evaluations: the difference of each score, with a confidence interval.

The scores of the two models are paired item by item (see `statistics`). So a task is compared only
if both evaluations measured it on the same items; a remark names each task that is left out, and
why. The two evaluations may have different settings, such as the context. A remark names those too,
because the settings may be the cause of a difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpt_research.evaluation.statistics import Difference, Metric, difference

if TYPE_CHECKING:
    from gpt_research.evaluation.results import Result

FEW_ITEMS = 30
"""With fewer items, an interval of the normal distribution is too narrow; a remark says so."""


OF_TOKENS = (
    " The items of a corpus are its tokens, of which two tokenizers have none in common: compare such runs on a text, "
    "with --tasks wikitext2."
)


@dataclass(frozen=True)
class Comparison:
    """Two evaluations, A and B, compared."""

    differences: dict[tuple[str, str], Difference]
    """The differences B minus A, by the names of task and score."""
    remarks: list[str]
    """Sentences about the tasks that were left out and about settings that differ."""


def compare(a: Mapping[str, Result], b: Mapping[str, Result], confidence: float = 0.95) -> Comparison:
    """Return B minus A of each score, for each task that both measured on the same items."""
    differences, remarks = {}, []
    for task in [*a, *(task for task in b if task not in a)]:
        if task not in a or task not in b:
            remarks.append(f"{task}: only {'A' if task in a else 'B'} measured it.")
            continue
        one, other = a[task], b[task]
        if one.facts["items_sha256"] != other.facts["items_sha256"] or one.items != other.items:
            remarks.append(
                f"{task}: not the same items ({one.items:,} and {other.items:,}). Evaluate both with the same files, "
                f"data, context and limits.{OF_TOKENS if task.startswith('corpora/') else ''}"
            )
            continue
        for name in ("context", "stride"):
            if name in one.facts and one.facts[name] != other.facts.get(name):
                remarks.append(f"{task}: {name} {one.facts[name]} and {other.facts[name]}.")
        remarks += [*few_items(task, one), *many_groups(task, one, confidence)]
        ours, theirs = one.compared, other.compared
        lacking = [name for name in ours if name not in theirs]
        if lacking:
            remarks.append(f"{task}: only A has {', '.join(lacking)}.")
        for name, (metric, columns) in ours.items():
            if name in lacking:
                continue
            if comparable(metric, one, other):
                differences[task, name] = difference(metric, columns, theirs[name][1], confidence)
                remarks += infinite_score(task, name, differences[task, name])
            else:
                remarks.append(f"{task}: {name} left out, because the two have different tokens.")
    return Comparison(differences, remarks)


def comparable(metric: Metric, one: Result, other: Result) -> bool:
    """Return True unless the score is one per token and the two have different tokens."""
    if metric.denominator != "tokens":
        return True
    if one.facts["context"] != other.facts["context"]:
        # The first token of a window is not scored, so another context scores a few other tokens.
        # Another tokenizer usually changes the number by far more than 2%.
        return bool(abs(one.columns["tokens"].sum() / other.columns["tokens"].sum() - 1) < 0.02)
    return bool((one.columns["tokens"] == other.columns["tokens"]).all())


def few_items(task: str, result: Result) -> list[str]:
    """Return a remark if a task was measured on so few items that an interval says little."""
    if result.items == 1:
        one = f"1 {result.facts['unit'].removesuffix('s')}"
        return [
            f"{task}: only {one}, so an interval cannot be had and no difference can be told from chance. Measure "
            "more, such as a larger validation split (--val_fraction in preprocessing)."
        ]
    if result.items < FEW_ITEMS:
        return [f"{task}: only {result.items} {result.facts['unit']}; the interval is rough."]
    return []


def many_groups(task: str, result: Result, confidence: float) -> list[str]:
    """Return remarks about a task whose groups of items are compared too."""
    sizes = result.group_sizes
    if not sizes:
        return []
    chance = f"1 interval in {1 / (1 - confidence):.0f} leaves out 0 by chance"
    remarks = [f"{task}: {len(sizes)} groups of items are compared at once, and {chance}."]
    few = [name for name, size in sizes.items() if size < FEW_ITEMS]
    if few:
        remarks.append(f"{task}: fewer than {FEW_ITEMS} items in {', '.join(few)}; their intervals are rough.")
    return remarks


def infinite_score(task: str, score: str, change: Difference) -> list[str]:
    """Return a remark if a score has no interval although it was measured on many items."""
    if change.has_interval or change.items == 1:
        return []
    return [f"{task}: {score} has no interval, because it is infinite for one of the two."]


def setting_remarks(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return a remark for each of precision and device that differs between two summaries."""
    names = [name for name in ("precision", "device") if first.get(name) != second.get(name)]
    return [f"{name}: {first.get(name)} and {second.get(name)}." for name in names]


def better(change: Difference) -> str:
    """Return which of the two is better, "A" or "B", or "" if the interval holds 0 or there is
    none.
    """
    if not change.is_clear:
        return ""
    return "B" if (change.value > 0) == change.higher_is_better else "A"
