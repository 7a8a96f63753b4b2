"""`gpt-research compare RUN...`: print evaluations side by side, and draw the curves of the runs.

Two evaluations are paired item by item. With more runs, or runs that were not evaluated, seeds of
one setting count together, and each setting is compared with the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_research.base import hints
from gpt_research.base.errors import UserError, require
from gpt_research.base.files import write_json

if TYPE_CHECKING:
    from rich.table import Table

    from gpt_research.evaluation.comparison import Comparison
    from gpt_research.evaluation.run_groups import ComparedRun, GroupScore, RunGroup
    from gpt_research.evaluation.statistics import Difference

    Scores = dict[tuple[str, str], list[GroupScore]]

UNCLEAR = "? = the interval holds 0: no difference is shown."


@dataclass(frozen=True)
class CompareCommand:
    """Compare two evaluations item by item, or many runs."""

    runs: list[str] = field(default_factory=list)
    """Run folders, or RUN@STEP for one of their checkpoints, or result files of evaluate; two or
    more."""
    confidence: float = 0.95
    """Confidence of the intervals: the share of repetitions in which one would hold the true
    difference."""
    group_seeds: bool = True
    """Count runs that differ only in their seed as one setting; false shows each run alone."""
    ema: bool | None = None
    """In the table of training: losses of the averaged weights (ema_decay), or with false of those
    of the step. Default: of the averaged ones if a run has them."""
    plot: str = ""
    """PNG file to draw the curves of all runs into. Empty: none."""
    json: str = ""
    """File to write the comparison to. Empty: none."""

    def __post_init__(self) -> None:
        rule = "two or more run folders or result files: compare RUN_A RUN_B"
        require(len(self.runs) >= 2, "runs", self.runs, rule)
        require(0 < self.confidence < 1, "confidence", self.confidence, "between 0 and 1, such as 0.95")


def run(command: CompareCommand) -> int:
    """Print the comparison, and write the files that are named; return the exit code."""
    from gpt_research.evaluation.run_groups import grouped, open_run

    runs = [open_run(name) for name in command.runs]
    if len(runs) == 2 and all(run.results for run in runs):
        found = _compare_two(runs, command)
        groups = grouped(runs, by_settings=False)
    else:
        groups = grouped(runs, by_settings=command.group_seeds)
        found = _compare_many(groups, command)
    if command.plot:
        _plot(groups, command.plot)
    if command.json:
        try:
            write_json(Path(command.json), found)
        except OSError as error:
            raise UserError(f"{command.json} could not be written ({error.strerror}).") from None
    return 0


def _compare_two(runs: Sequence[ComparedRun], command: CompareCommand) -> dict[str, Any]:
    """Pair two evaluations and print them; return the content of the JSON file."""
    from gpt_research.evaluation import comparison

    first, second = (run.evaluation for run in runs)
    compared = comparison.compare(runs[0].results, runs[1].results, command.confidence)
    # Precision and device belong to the whole evaluation, and `compare` sees only its tasks.
    compared.remarks.extend(comparison.setting_remarks(first, second))
    if not compared.differences:
        raise UserError(f"{runs[0].name} and {runs[1].name} have no items in common. {' '.join(compared.remarks)}")
    averaged = [", averaged weights" if run.evaluation.get("averaged_weights") else "" for run in runs]
    titles = [
        f"{run.evaluation.get('run')}, step {run.evaluated_step}{of}" for run, of in zip(runs, averaged, strict=True)
    ]
    units = {task: result.facts["unit"] for task, result in runs[0].results.items()}
    _print_pair(titles, compared, command.confidence, units)
    return _pair_json(compared, command)


def _print_pair(titles: Sequence[str], compared: Comparison, confidence: float, units: Mapping[str, str]) -> None:
    from gpt_research.cli.tables import print_table
    from gpt_research.evaluation.comparison import better
    from gpt_research.evaluation.statistics import counted, number

    _print_lines(f"{letter}: {title}" for letter, title in zip("AB", titles, strict=True))
    marks = []
    for task in dict.fromkeys(task for task, _ in compared.differences):
        of_task = {name: d for (other, name), d in compared.differences.items() if other == task}
        title = f"{task}: {counted(next(iter(of_task.values())).items, units[task])}"
        table = _table(title, "A", "B", "B - A", f"{confidence:.4g} interval", "better")
        for name, d in of_task.items():
            marks.append(better(d) or _mark(d))
            table.add_row(_label(name), number(d.a), number(d.b), number(d.value, "+"), _interval(d), marks[-1])
        print_table(table)
    _print_lines([*compared.remarks, *([UNCLEAR] if "?" in marks else [])])


def _compare_many(groups: Sequence[RunGroup], command: CompareCommand) -> dict[str, Any]:
    """Compare settings with the first one and print them; return the content of the JSON file."""
    from gpt_research.cli.tables import print_table
    from gpt_research.evaluation.run_groups import compare_groups, differing_settings

    scores, remarks = compare_groups(groups, command.confidence)
    _print_lines(f"{group.letter}: {group.title}" for group in groups)
    for name, values in differing_settings(groups).items():
        _print_lines([f"{name}: " + ", ".join(f"{g.letter} {v}" for g, v in zip(groups, values, strict=True))])
    not_evaluated = [run.name for group in groups for run in group.runs if not run.results]
    if not_evaluated:
        remarks.append(f"Not evaluated yet ({hints.command('evaluate', 'RUN')}): {', '.join(not_evaluated)}.")
    training = _training_table(groups, command.ema)
    if training.row_count:
        print_table(training)
    for task in dict.fromkeys(task for task, _ in scores):
        print_table(_task_table(task, scores, command.confidence))
    marks = [_better(s) for of_score in scores.values() for s in of_score if s.difference]
    if any(len(group.runs) > 1 for group in groups):
        remarks.append("± is the standard deviation over seeds.")
    _print_lines([*remarks, *([UNCLEAR] if "?" in marks else [])])
    return _groups_json(groups, scores, remarks, command)


def _training_table(groups: Sequence[RunGroup], ema: bool | None) -> Table:
    """Return what the metrics of the runs say: steps, tokens, validation loss, time."""
    from gpt_research.estimate.time_estimate import in_words

    table = _table("training", "runs", "step", "tokens", "validation loss", "bits per byte", "time", first="")
    for group in groups:
        runs = [run for run in group.runs if run.lines]
        if runs:
            steps, tokens, seconds = (
                [value for run in runs if (value := run.last(name)) is not None]
                for name in ("step", "tokens", "elapsed_s")
            )
            losses, bits = (
                [run.last_validation(name, ema) for run in runs] for name in ("val_loss", "val_bits_per_byte")
            )
            table.add_row(
                group.letter,
                f"{len(runs)}",
                _range(steps),
                _range(tokens) if tokens else "",
                _spread([loss for loss in losses if loss is not None]),
                _spread([value for value in bits if value is not None]),
                in_words(sum(seconds) / len(seconds)) if seconds else "",
            )
    return table


def _task_table(task: str, scores: Scores, confidence: float) -> Table:
    from gpt_research.evaluation.statistics import counted, number

    of_task = {name: of_score for (other, name), of_score in scores.items() if other == task}
    first = next(iter(of_task.values()))
    facts = first[0].group.runs[0].results[task].facts
    title = f"{task}: {counted(len(first[0].mean.influence), facts['unit'])}"
    table = _table(title, "", "score ", f"- {first[0].base.letter}", f"{confidence:.4g} interval", "better")
    for name, of_score in of_task.items():
        for place, score in enumerate(of_score):
            change = score.difference
            table.add_row(
                _label(name) if place == 0 else "",
                score.group.letter,
                _spread(score.values),
                *(number(change.value, "+"), _interval(change), _better(score)) if change else ("", "", ""),
                end_section=place == len(of_score) - 1,
            )
    return table


def _table(title: str, *headings: str, first: str = "score") -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column(first)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _label(score: str) -> str:
    """Return what a row is called: its score, or the group of items below the row of the score."""
    return score.partition(": ")[2].replace("_", " ") or score


def _print_lines(lines: Any) -> None:
    for line in lines:
        print(line)


def _interval(change: Difference) -> str:
    from gpt_research.evaluation.statistics import number

    return f"{number(change.low, '+')} to {number(change.high, '+')}" if change.has_interval else "none"


def _mark(change: Difference) -> str:
    return "?" if change.has_interval else "unknown"


def _better(score: GroupScore) -> str:
    """Return the letter of the better setting of the two that a difference is between, or a
    mark.
    """
    from gpt_research.evaluation.comparison import better

    assert score.difference is not None, "the first setting has no difference"
    letters = {"": _mark(score.difference), "A": score.base.letter, "B": score.group.letter}
    return letters[better(score.difference)]


def _spread(values: Sequence[float]) -> str:
    """Return the mean of a score over runs, with the standard deviation if there are several."""
    from statistics import fmean, stdev

    from gpt_research.evaluation.statistics import number

    if not values:
        return ""
    return number(fmean(values)) + (f" ± {number(stdev(values))}" if len(values) > 1 else "")


def _range(values: Sequence[float]) -> str:
    least, most = min(values), max(values)
    return f"{most:,.0f}" if least == most else f"{least:,.0f} to {most:,.0f}"


def _plot(groups: Sequence[RunGroup], path: str) -> None:
    from gpt_research.evaluation.run_groups import curves_of
    from gpt_research.training.curves import draw_comparison

    try:
        drawn = draw_comparison(Path(path), curves_of(groups))
    except (OSError, ValueError) as error:  # ValueError: matplotlib does not know the suffix
        raise UserError(f"{path} could not be drawn ({error}). Name a PNG file with --plot.") from None
    if not drawn:
        raise UserError("No curve to plot: none of the runs has a metrics.jsonl here. Name run folders.")
    print(f"Curves: {path}")


def _pair_json(compared: Comparison, command: CompareCommand) -> dict[str, Any]:
    from gpt_research.evaluation.comparison import better

    rows = [
        {"task": task, "score": name, **_difference_json(d), "better": better(d)}
        for (task, name), d in compared.differences.items()
    ]
    return {
        "a": command.runs[0],
        "b": command.runs[1],
        "confidence": command.confidence,
        "differences": rows,
        "remarks": compared.remarks,
    }


def _difference_json(change: Difference) -> dict[str, Any]:
    from gpt_research.evaluation.results import finite

    names = ("a", "b", "value", "standard_error", "low", "high")
    return {**{name: finite(getattr(change, name)) for name in names}, "items": change.items}


def _groups_json(
    groups: Sequence[RunGroup], scores: Scores, remarks: list[str], command: CompareCommand
) -> dict[str, Any]:
    from gpt_research.evaluation.results import finite

    def as_json(task: str, name: str, score: GroupScore) -> dict[str, Any]:
        change = score.difference
        return {
            "task": task,
            "score": name,
            "group": score.group.letter,
            "value": finite(score.mean.value),
            "by_run": [finite(value) for value in score.values],
            "difference": {**_difference_json(change), "better": _better(score)} if change else None,
        }

    training = ("val_loss", "val_bits_per_byte", "val_loss_ema", "val_bits_per_byte_ema", "tokens", "elapsed_s")
    return {
        "groups": {
            group.letter: [
                {
                    "run": run.name,
                    "seed": run.seed,
                    "step": run.step,
                    "evaluated_step": run.evaluated_step if run.results else None,
                    **{name: run.last(name) for name in training},
                    "settings": dict(run.settings),
                }
                for run in group.runs
            ]
            for group in groups
        },
        "confidence": command.confidence,
        "scores": [as_json(task, name, s) for (task, name), of_score in scores.items() for s in of_score],
        "remarks": remarks,
    }
