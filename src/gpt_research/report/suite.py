"""The benchmarks of evaluations: each score beside that of a guess, and how it was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpt_research.evaluation.forms import FORMS
from gpt_research.evaluation.statistics import number
from gpt_research.report.html import Html, details, joined, listed, paragraph, table
from gpt_research.report.intervals import Row, interval_table
from gpt_research.report.known_run import KnownRun, evaluations

Z = 1.96
"""Standard errors on each side of a score that its 95% interval holds."""


def suite(labelled: Sequence[tuple[str, KnownRun]]) -> Html:
    """Return the section about benchmarks; empty if no run was measured on one.

    Args:
        labelled: each run with the letter of its setting.
    """
    measured = [
        (" ".join(part for part in (label, known.name, file and f"({file})") if part), summary)
        for label, known in labelled
        for file, summary in evaluations(known)
    ]
    measured = [(who, summary) for who, summary in measured if any(_benchmarks(summary))]
    if not measured:
        return Html("")
    parts = [_above_chance(measured), _bits(measured), _groups(measured), _missing(measured)]
    return joined([*parts, details("How each score was measured", _how(measured))])


def _benchmarks(summary: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the tasks that are no corpora of the data set."""
    for name, task in summary["tasks"].items():
        if not name.startswith("corpora/"):
            yield name, task


def _shown(task: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the scores of a task that tables show."""
    for name, score in task.get("scores", {}).items():
        if score.get("value") is not None and is_shown(task, name):
            yield name, score


def is_shown(task: Mapping[str, Any], score: str) -> bool:
    """Return whether tables show a score of a task, by the facts in its result."""
    form = FORMS.get(str(task.get("form", "")))
    of_core = "baseline" in task  # CORE compares the choices by their mean nats of a token
    return form is None or score in form.shown or (of_core and score == "accuracy_tokens")


def _side_by_side(
    measured: Sequence[tuple[str, Mapping[str, Any]]],
) -> list[tuple[int, str, str, str, Mapping[str, Any]]]:
    """Return the scores, with those of all evaluations beside one another: number and name of the
    evaluation, task, score, and what is known of it.
    """
    found = [
        (number, who, name, metric, score)
        for number, (who, summary) in enumerate(measured)
        for name, task in _benchmarks(summary)
        for metric, score in _shown(task)
    ]
    names = list(dict.fromkeys((name, metric) for _, _, name, metric, _ in found))
    return sorted(found, key=lambda one: names.index((one[2], one[3])))


def _row(label: str, score: Mapping[str, Any], cells: Sequence[object], colour: int, base: float = 0.0) -> Row:
    value, error = score["value"] - base, score.get("standard_error")
    low, high = (None, None) if error is None else (value - Z * error, value + Z * error)
    return Row(label, value, low, high, cells=cells, colour=colour)


def _above_chance(measured: Sequence[tuple[str, Mapping[str, Any]]]) -> Html:
    rows = []
    for colour, who, name, metric, score in _side_by_side(measured):
        if "chance" not in score:
            continue
        error = score.get("standard_error")
        cells = [
            *([who] if len(measured) > 1 else []),
            number(score["value"]),
            "–" if error is None else number(error),
            number(score["chance"]),
            "" if score.get("signal") else "no signal at this size",
        ]
        rows.append(_row(f"{name}, {metric}", score, cells, colour, score["chance"]))
    if not rows:
        return Html("")
    run = ["run"] if len(measured) > 1 else []
    headings = ["task and score", "above chance", *run, "score", "± standard error", "chance", "signal"]
    texts = [number for number, heading in enumerate(headings[2:]) if heading in ("run", "signal")]
    note = paragraph(
        "Drawn is the score minus that of a guess, with its 95% interval over items. If the interval reaches 0, the "
        "score says nothing about the model: there is no signal at this size. A tie is shared."
    )
    return joined([interval_table("Accuracy above chance", headings, rows, texts=texts), note])


def _bits(measured: Sequence[tuple[str, Mapping[str, Any]]]) -> Html:
    rows = []
    for colour, who, name, metric, score in _side_by_side(measured):
        if metric == "bits_per_byte":
            error = score.get("standard_error")
            cells = [*([who] if len(measured) > 1 else []), number(score["value"])]
            rows.append(_row(name, score, [*cells, "–" if error is None else number(error)], colour))
    if not rows:
        return Html("")
    run = ["run"] if len(measured) > 1 else []
    headings = ["task", "bits per byte", *run, "bits per byte", "± standard error"]
    caption = "Bits per byte of texts and of true answers (lower is better)"
    return interval_table(caption, headings, rows, mark=None, texts=(0,) if run else ())


def _groups(measured: Sequence[tuple[str, Mapping[str, Any]]]) -> Html:
    """Return the accuracies by phenomenon, a column for each evaluation."""
    parts = []
    names = dict.fromkeys(name for _, summary in measured for name, task in _benchmarks(summary) if "groups" in task)
    for name in names:
        of = [(who, summary["tasks"][name]["groups"]) for who, summary in measured if name in summary["tasks"]]
        groups = sorted({group for _, found in of for group in found})
        rows = [[group, *(_accuracy(found.get(group)) for _, found in of)] for group in groups]
        headings = ["phenomenon", *(who if len(of) > 1 else "accuracy" for who, _ in of)]
        parts.append(table(f"{name} by phenomenon", headings, rows))
    return joined(parts)


def _accuracy(group: Mapping[str, Any] | None) -> str:
    if group is None:
        return "–"
    error = group.get("standard_error")
    return number(group["accuracy"]) + ("" if error is None else f" ± {number(error)}")


def _missing(measured: Sequence[tuple[str, Mapping[str, Any]]]) -> Html:
    said = []
    for who, summary in measured:
        of = f"{who}: " if len(measured) > 1 else ""
        said += [f"{of}{name} is missing. {why}" for name, why in summary.get("missing", {}).items()]
        core = summary.get("core")
        if core is not None and core["core"] is None:
            said.append(f"{of}no CORE, because it is the mean of 22 tasks. Missing: {', '.join(core['missing'])}.")
        elif core is not None:
            said.append(f"{of}CORE, the mean of 22 centred scores: {number(core['core'])}.")
    return listed(said) if said else Html("")


def _how(measured: Sequence[tuple[str, Mapping[str, Any]]]) -> Html:
    rows: list[list[Any]] = []
    for who, summary in measured:
        for name, task in _benchmarks(summary):
            items = f"{task.get('items', 0):,} {task.get('unit', '')}"
            if "first_of" in task:
                items += f", the first of {task['first_of']:,}"
            if "about" in task:
                items += f", {task['about']}"
            shown = [(metric, score["normalisation"]) for metric, score in _shown(task) if "normalisation" in score]
            facts = (task.get("variant", "–"), task.get("shots", 0), "; ".join(": ".join(one) for one in shown) or "–")
            counts = (task.get("context", "–"), len(task.get("ties", [])), task.get("cut", 0),
                      len(task.get("not_encoded", {}).get("items", [])))  # fmt: skip
            rows.append([who, name, items, *facts, *counts, str(task.get("source", {}).get("sha256", "–"))[:12]])
    first = ["run", "task", "items", "variant", "shots", "normalised by"]
    headings = [*first, "context", "ties", "cut", "not encoded", "SHA-256"]
    return table("How each score was measured", headings, rows, texts=(0, 1, 2, 3, 5, 10))
