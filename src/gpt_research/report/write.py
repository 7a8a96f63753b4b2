"""Writes the report of runs, or of an experiment's folder, as one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpt_research.base.disk import cannot_write
from gpt_research.base.errors import UserError
from gpt_research.base.files import write_text
from gpt_research.evaluation.comparison import better
from gpt_research.evaluation.run_groups import (
    ComparedRun,
    GroupScore,
    RunGroup,
    compare_groups,
    differing_settings,
    grouped,
)
from gpt_research.report.ablation_page import ablation_sections
from gpt_research.report.experiment import Experiment, is_experiment, read_experiment
from gpt_research.report.experiment_page import experiment_page
from gpt_research.report.known_run import KnownRun
from gpt_research.report.open_run import open_run
from gpt_research.report.response_page import response_sections
from gpt_research.report.run_page import Runs, SettingScore, run_page
from gpt_research.report.series import Setting
from gpt_research.report.suite import is_shown
from gpt_research.run_reference import run_reference

NAME = "report.html"
LONGEST_TITLE = 64
"""Characters of a setting's title in a legend."""
Notice = Callable[[str], None]


def write_report(
    named: Sequence[str | Path],
    out: str | Path = "",
    *,
    confidence: float = 0.95,
    with_compressors: bool = True,
    notice: Notice = lambda _: None,
) -> Path:
    """Write the report of run folders and result files, or of one experiment's folder.

    Args:
        out: the file; empty for `report.html` in the only run or the experiment, or here.
        notice: is told what takes long.

    Returns:
        The file.

    Raises:
        UserError: what is named cannot be read, or the file cannot be written.
    """
    folders = [str(name) for name in named]
    experiments = [folder for folder in folders if is_experiment(Path(folder))]
    if experiments and len(folders) > 1:
        raise UserError(
            f"{experiments[0]} is an experiment, which is reported by itself. Name it alone, or name runs alone."
        )
    if experiments:
        text = _experiment(read_experiment(Path(folders[0])), with_compressors, notice)
    else:
        text = run_page(_runs(folders, confidence), with_compressors=with_compressors, notice=notice)
    alone = run_reference(folders[0]).folder if len(folders) == 1 else Path()
    path = Path(out) if str(out) else (alone if alone.is_dir() else Path()) / NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise cannot_write(path, error, flag="--out", then="report again") from None
    return path


def _experiment(experiment: Experiment, with_compressors: bool, notice: Notice) -> str:
    here = {}
    for name in experiment.run_folders():
        # A run that was removed, or that another process is making, has no curves; that is all.
        try:
            here[name] = open_run(str(experiment.folder / name))[0]
        except UserError:
            continue
    experiment = replace(experiment, runs=here)
    if experiment.kind == "ablation":
        lead, parts = ablation_sections(experiment, with_compressors=with_compressors, notice=notice)
    else:
        lead, parts = response_sections(experiment)
    return experiment_page(experiment, lead, parts)


def _runs(folders: Sequence[str], confidence: float) -> Runs:
    """Open runs, put those of one setting together, and compare the settings."""
    known, compared = [], []
    for folder in folders:
        run, results = open_run(folder)
        known.append(run)
        compared.append(ComparedRun(run.name, run.settings, run.data, run.evaluation, results, run.metrics))
    groups = grouped(compared)
    by_run = {id(one): run for one, run in zip(compared, known, strict=True)}
    members = [[by_run[id(run)] for run in group.runs] for group in groups]
    differing = differing_settings(groups)
    settings = [
        Setting(group.letter, _title(number, group, differing), [run.lines for run in runs])
        for number, (group, runs) in enumerate(zip(groups, members, strict=True))
    ]
    is_evaluated = any(run.results for run in compared)
    scores, remarks = compare_groups(groups, confidence) if is_evaluated else ({}, [])
    compared_scores: dict[str, list[SettingScore]] = {}
    for (task, name), of_score in scores.items():
        score, _, items = name.partition(": ")
        if len(of_score) > 1 and is_shown(of_score[0].group.runs[0].results[task].facts, score):
            rows = compared_scores.setdefault(f"{task}: {score}", [])
            # The scores of groups of items stand under Benchmarks; here are their differences.
            rows += [row for row in _scores(task, name, of_score) if not items or row.difference is not None]
    remarks = list(dict.fromkeys([*_remarks(known), *remarks]))
    return Runs(known, settings, members, differing, compared_scores, remarks, confidence)


def _title(number: int, group: RunGroup, differing: Mapping[str, Sequence[Any]]) -> str:
    """Return what tells a setting from the others, in few characters."""
    # Settings say more than names, as long as there are few of them.
    title = ", ".join(f"{name} {values[number]}" for name, values in differing.items())
    if not 0 < len(title) <= LONGEST_TITLE:
        title = ", ".join(run.name for run in group.runs)
    if len(title) > LONGEST_TITLE:
        title = title[: LONGEST_TITLE - 1] + "…"
    return title + (f" ({len(group.runs)} seeds)" if len(group.runs) > 1 else "")


def _scores(task: str, name: str, scores: Sequence[GroupScore]) -> list[SettingScore]:
    found = []
    for score in scores:
        change, verdict = score.difference, ""
        low, high = (change.low, change.high) if change is not None and change.has_interval else (None, None)
        if change is not None:
            verdict = {"A": "worse", "B": "better", "": "not decided"}[better(change)]
        value = None if change is None else change.value
        items = name.partition(": ")[2]
        found.append(SettingScore(score.group.letter, score.values, value, low, high, verdict, items))
    return found


def _remarks(known: Sequence[KnownRun]) -> list[str]:
    return [remark for run in known for remark in run.remarks]
