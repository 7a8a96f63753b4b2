"""What the pages of all experiments have: title, data, machine, versions and commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpt_research.base import hints
from gpt_research.report import sections
from gpt_research.report.experiment import Experiment
from gpt_research.report.html import Html, code, joined, page, section, table

TITLES = {"ablation": "Ablation", "sweep": "Sweep", "lr-range": "Learning-rate range test"}


def experiment_page(experiment: Experiment, lead: Html, parts: Sequence[tuple[str, Html]]) -> str:
    """Return the page of an experiment.

    Args:
        lead: the sentences at its top.
        parts: title and section of what was found.
    """
    result = experiment.result
    return page(
        f"{TITLES[experiment.kind]}: {experiment.folder.resolve().name}",
        lead,
        [
            *parts,
            ("Data", section("Data", sections.data(experiment.data_set))),
            ("Origin", section("Origin", _origin(result))),
            ("Commands", section("Commands", _commands(experiment))),
        ],
        sections.FOOT,
    )


def _origin(result: Mapping[str, Any]) -> Html:
    parts = []
    for name in ("machine", "versions"):
        rows = [[key, str(value)] for key, value in (result.get(name) or {}).items()]
        if rows:
            parts.append(table(name.capitalize(), ["what", "value"], rows, texts=(0, 1)))
    rows = [[name, str(result[name])] for name in ("fingerprint", "base") if result.get(name)]
    if rows:
        parts.append(table("Experiment", ["what", "value"], rows, texts=(0, 1)))
    return joined(parts)


def _commands(experiment: Experiment) -> Html:
    command = experiment.result.get("command")
    parts = [code(str(command), "The command of the experiment")] if command else []
    return joined([*parts, code(hints.command("report", experiment.folder), "The command that made this page")])
