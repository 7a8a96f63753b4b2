"""Compare many runs: those that differ in nothing but the seed count as one setting.

`open_run` takes a run folder or a result file. A run folder gives the numbers of its training even
if it was not evaluated. `grouped` puts runs together that have the same settings, data and program,
whatever their seed is. `compare_groups` compares each setting with the first one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from gpt_research.evaluation import results
from gpt_research.evaluation.comparison import comparable, few_items, infinite_score, many_groups
from gpt_research.evaluation.results import Result
from gpt_research.evaluation.statistics import Difference, Estimate, Metric, difference_of_means, mean_estimate
from gpt_research.run_reference import RunReference, run_reference
from gpt_research.training.curves import GroupCurves
from gpt_research.training.inspect_run import training_of
from gpt_research.training.lineage import deciding_settings, settings_with_origin
from gpt_research.training.metrics import read_metrics

LONGEST_LABEL = 70
"""Characters of a label in a picture."""


@dataclass(frozen=True)
class ComparedRun:
    """A run, as far as it is known here."""

    name: str
    """The folder or file that the user named."""
    settings: Mapping[str, Any]
    """The settings that decide what it learns, flat (`model.n_layer`), with the seed; empty if they
    are not known."""
    data: str
    """Fingerprint of its data; empty if it is not known."""
    evaluation: Mapping[str, Any]
    """The summary of its result file; empty if it was not evaluated."""
    results: Mapping[str, Result]
    lines: Sequence[Mapping[str, Any]]
    """The lines of its metrics.jsonl; empty if its folder is not here."""

    @property
    def seed(self) -> int | None:
        return self.settings.get("seed")

    @property
    def step(self) -> int:
        """The newest step that is known, which training may have reached after the evaluation."""
        return max([self.evaluated_step, *(line["step"] for line in self.lines)])

    @property
    def evaluated_step(self) -> int:
        """The step whose weights the results are of; 0 if it is not known."""
        return int(self.evaluation.get("step", 0))

    def last(self, name: str) -> float | None:
        """Return the newest value of a number in metrics.jsonl."""
        return next((line[name] for line in reversed(self.lines) if line.get(name) is not None), None)

    def last_validation(self, name: str, averaged: bool | None) -> float | None:
        """Return the newest `val_loss` or `val_bits_per_byte`; by default of the averaged weights,
        if the run has them.
        """
        of_average = self.last(f"{name}_ema")
        return self.last(name) if averaged is False or (averaged is None and of_average is None) else of_average


@dataclass(frozen=True)
class RunGroup:
    """Runs of one setting."""

    letter: str
    runs: Sequence[ComparedRun]

    @property
    def title(self) -> str:
        """The names of its runs, and their seeds."""
        seeds = [str(run.seed) for run in self.runs if run.seed is not None]
        return ", ".join(run.name for run in self.runs) + (f" (seeds {', '.join(seeds)})" if len(seeds) > 1 else "")

    def estimates(self, task: str, score: str) -> list[Estimate]:
        compared = [run.results[task].compared[score] for run in self.runs]
        return [metric.estimate(columns) for metric, columns in compared]


@dataclass(frozen=True)
class GroupScore:
    """One score of one setting, and its difference to the first setting that has the score."""

    group: RunGroup
    base: RunGroup
    """The first setting."""
    mean: Estimate
    """The mean over its runs."""
    values: Sequence[float]
    """The score of each run."""
    difference: Difference | None
    """None for the first setting."""


def open_run(named: str) -> ComparedRun:
    """Open a run folder, or one of its checkpoints (`RUN@STEP`), or a result file.

    Of a checkpoint and of a result file, the numbers of training end at its step.

    Raises:
        UserError: there is neither, it is damaged, or the run has neither metrics nor a result.
    """
    reference = run_reference(named)
    summary: dict[str, Any] = {}
    measured: dict[str, Result] = {}
    if results.result_file(reference).is_file() or not read_metrics(reference.folder):
        summary, measured = results.read(results.find(named))
    last: float = math.inf
    if reference.folder.is_file():  # its run may be here too, and may have gone on
        reference, last = RunReference(Path(summary.get("run", ""))), summary.get("step", last)
    lines: Sequence[Mapping[str, Any]] = []
    settings, lineage = summary.get("trained_with", {}), summary.get("lineage", {})
    if (reference.folder / "config.yaml").is_file():
        trained = training_of(reference)
        settings, lines = deciding_settings(trained.config), [n for n in trained.metrics if n["step"] <= last]
        lineage = lineage if lineage.get("data") else trained.lineage
    return ComparedRun(
        named, settings_with_origin(settings, lineage), lineage.get("data", ""), summary, measured, lines
    )


def grouped(runs: Sequence[ComparedRun], *, by_settings: bool = True) -> list[RunGroup]:
    """Return the settings in the order of their first runs.

    Args:
        by_settings: put seeds of one setting together; False makes each run a group of its own.
    """
    groups: dict[str, list[ComparedRun]] = {}
    # Where the settings are not known, as in a result file of 0.1, a run is a group of its own.
    for number, run in enumerate(runs):
        key = _key(run) if by_settings and run.settings else str(number)
        # Two runs with the same seed are one run, measured twice.
        if any(other.seed == run.seed for other in groups.get(key, [])):
            key = str(number)
        groups.setdefault(key, []).append(run)
    return [RunGroup(_letter(number), runs) for number, runs in enumerate(groups.values())]


def _key(run: ComparedRun) -> str:
    decides = {name: value for name, value in run.settings.items() if name != "seed"}
    return json.dumps([decides, run.data])


def _letter(number: int) -> str:
    return ascii_uppercase[number] if number < 26 else f"{_letter(number // 26 - 1)}{ascii_uppercase[number % 26]}"


def differing_settings(groups: Sequence[RunGroup]) -> dict[str, list[Any]]:
    """Return the settings in which the groups differ, with the value of each group."""
    first = [group.runs[0].settings for group in groups]
    if not all(first):
        return {}
    names = dict.fromkeys(name for settings in first for name in settings if name != "seed")
    values = {name: [settings.get(name) for settings in first] for name in names}
    values["data (fingerprint)"] = [group.runs[0].data[:12] or "unknown" for group in groups]
    return {name: of_groups for name, of_groups in values.items() if any(v != of_groups[0] for v in of_groups)}


def compare_groups(
    groups: Sequence[RunGroup], confidence: float
) -> tuple[dict[tuple[str, str], list[GroupScore]], list[str]]:
    """Return the scores by the names of task and score, and remarks about what does not compare.

    A task is compared for the groups all of whose runs measured it on the same items as the first.
    """
    scores: dict[tuple[str, str], list[GroupScore]] = {}
    remarks: list[str] = []
    tasks = dict.fromkeys(task for group in groups for run in group.runs for task in run.results)
    for task in tasks:
        measured = [group for group in groups if all(task in run.results for run in group.runs)]
        missing = [group.letter for group in groups if group not in measured]
        if missing:
            remarks.append(f"{task}: not every run of {', '.join(missing)} measured it.")
        if not measured:
            continue
        base = measured[0].runs[0].results[task]
        same = [group for group in measured if all(_same_items(base, run.results[task]) for run in group.runs)]
        for group in measured:
            if group not in same:
                remarks.append(f"{task}: {group.letter} was not measured on the same items as {measured[0].letter}.")
        for name in ("context", "stride"):
            used = [_used(group, task, name) for group in same]
            if any(value != used[0] for value in used):
                values = ", ".join(f"{group.letter} {value}" for group, value in zip(same, used, strict=True))
                remarks.append(f"{task}: {name} {values}.")
        remarks += [*few_items(task, base), *many_groups(task, base, confidence)]
        for name, (metric, _) in base.compared.items():
            fitting = [g for g in same if all(_has(metric, name, base, run.results[task]) for run in g.runs)]
            left = [group.letter for group in same if group not in fitting]
            if left:
                remarks.append(f"{task}: {name} of {', '.join(left)} left out, because its tokens are others.")
            if fitting:
                scores[task, name] = _scores(fitting, task, name, confidence)
                for score in scores[task, name]:
                    remarks += infinite_score(task, name, score.difference) if score.difference else []
    remarks += [remark for name in ("precision", "device") for remark in _evaluated_with(groups, name)]
    remarks += _evaluated_steps(groups)
    single = [group.letter for group in groups if len(group.runs) == 1]
    if any(len(group.runs) > 1 for group in groups) and single:
        remarks.append(
            f"{', '.join(single)}: one run only, so its intervals tell how the score varies with other texts, and "
            "nothing about other seeds."
        )
    return scores, remarks


def _evaluated_with(groups: Sequence[RunGroup], name: str) -> list[str]:
    """Return a remark if a setting of the whole evaluation is not the same for all runs."""
    found = {g.letter: {str(run.evaluation[name]) for run in g.runs if name in run.evaluation} for g in groups}
    if len(set().union(*found.values())) < 2:
        return []
    listed = ", ".join(f"{letter} {' and '.join(sorted(values))}" for letter, values in found.items() if values)
    return [f"{name}: {listed}."]


def _evaluated_steps(groups: Sequence[RunGroup]) -> list[str]:
    """Return a remark if the scores are of other steps than each other, or than the training."""
    # Results of 0.1 do not name their step.
    evaluated = [(g.letter, [run for run in g.runs if run.results and run.evaluated_step]) for g in groups]
    runs = [run for _, of_group in evaluated for run in of_group]
    if len({run.evaluated_step for run in runs}) < 2 and all(run.evaluated_step == run.step for run in runs):
        return []
    steps = {letter: sorted({run.evaluated_step for run in of_group}) for letter, of_group in evaluated if of_group}
    listed = ", ".join(f"{letter} {' and '.join(f'{step:,}' for step in found)}" for letter, found in steps.items())
    return [f"The scores are of these steps: {listed}."]


def curves_of(groups: Sequence[RunGroup]) -> list[GroupCurves]:
    """Return the curves of the groups whose metrics are here.

    They stand by step, or by token if the runs have steps of different sizes.
    """
    sizes = {run.settings.get("tokens_per_step") for group in groups for run in group.runs if run.lines}
    by_token = len(sizes) > 1 and None not in sizes
    differing, found = differing_settings(groups), []
    for number, group in enumerate(groups):
        # Settings say more than names, as long as there are few of them.
        settings = ", ".join(f"{name} {values[number]}" for name, values in differing.items())
        many = f", {len(group.runs)} runs" * (len(group.runs) > 1)
        title = settings + many if 0 < len(settings) <= LONGEST_LABEL else group.title
        if len(title) > LONGEST_LABEL:
            title = title[: LONGEST_LABEL - 3] + "..."
        runs = [
            [{**line, "x": line["step"] * (run.settings["tokens_per_step"] if by_token else 1)} for line in run.lines]
            for run in group.runs
            if run.lines
        ]
        if runs:
            found.append(GroupCurves(f"{group.letter}: {title}", runs, "tokens" if by_token else "step"))
    return found


def _used(group: RunGroup, task: str, name: str) -> str:
    """Return a setting that the runs of a group were measured with; several if they differ."""
    return " and ".join(dict.fromkeys(str(run.results[task].facts.get(name)) for run in group.runs))


def _same_items(one: Result, other: Result) -> bool:
    return one.facts["items_sha256"] == other.facts["items_sha256"] and one.items == other.items


def _has(metric: Metric, name: str, base: Result, other: Result) -> bool:
    """Return True if a result has a score, and it can be compared with that of the first."""
    return name in other.compared and comparable(metric, base, other)


def _scores(groups: Sequence[RunGroup], task: str, name: str, confidence: float) -> list[GroupScore]:
    base, found = groups[0].estimates(task, name), []
    higher_is_better = groups[0].runs[0].results[task].compared[name][0].higher_is_better
    for number, group in enumerate(groups):
        estimates, order = group.estimates(task, name), base
        seeds = [[run.seed for run in g.runs] for g in (groups[0], group)]
        same_seeds = None not in seeds[0] and set(seeds[0]) == set(seeds[1])
        if same_seeds:  # pair each run with that of the same seed
            order = [base[seeds[0].index(seed)] for seed in seeds[1]]
        change = (
            difference_of_means(order, estimates, confidence, same_seeds=same_seeds, higher_is_better=higher_is_better)
            if number
            else None
        )
        found.append(GroupScore(group, groups[0], mean_estimate(estimates), [e.value for e in estimates], change))
    return found
