"""Reads `result.json` of an experiment's folder: an ablation, a sweep or an lr-range test."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.report.known_runs import KnownRun, know
from gpt_research.report.series import RunLines, Setting

RESULT, VERSION = "result.json", 1
NEEDED = {"ablation": ("arms", "comparisons"), "sweep": ("points", "over"), "lr-range": ("curve",)}
"""The kinds of experiments, and the lists that each of them must have."""


@dataclass(frozen=True)
class Experiment:
    """An experiment's folder."""

    folder: Path
    result: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.result["kind"])

    def known(self, run: Mapping[str, Any]) -> KnownRun | None:
        """Return a run of the experiment; None if its folder is not here or cannot be read."""
        folder = self.folder / str(run.get("folder", ""))
        if not run.get("folder") or not (folder / "config.yaml").is_file():
            return None
        try:
            return know(str(folder))
        except UserError:
            return None

    def setting(self, name: str, runs: Sequence[Mapping[str, Any]]) -> Setting:
        """Return runs of the experiment as curves need them; a run that is not here has no line."""
        found = []
        for run in runs:
            known = self.known(run)
            lines = known.lines if known is not None else RunLines("", None, [])
            found.append(RunLines(str(run.get("folder", "")), run.get("seed"), lines.lines, lines.tokens_per_step))
        return Setting(name, "", found)


def is_experiment(folder: Path) -> bool:
    return (folder / RESULT).is_file() and not (folder / "config.yaml").is_file()


def read_experiment(folder: Path) -> Experiment:
    """Read the folder of an experiment.

    Raises:
        UserError: its result is damaged, or of another version or kind.
    """
    path, remedy = folder / RESULT, "Run the experiment again with the same --out; it goes on where it stopped."
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}). {remedy}") from None
    if not isinstance(result, dict) or result.get("version") != VERSION:
        version = result.get("version") if isinstance(result, dict) else None
        raise UserError(f"{path} is of version {version!r}, and this program reads {VERSION}. {remedy}")
    if result.get("kind") not in NEEDED:
        raise UserError(
            f"{path} is of the kind {result.get('kind')!r}, but must be one of {', '.join(NEEDED)}. {remedy}"
        )
    for name in NEEDED[result["kind"]]:
        if not isinstance(result.get(name), list | dict):
            raise UserError(f"{path} lacks {name!r}. {remedy}")
    return Experiment(folder, result)


def number_of(values: Mapping[str, Any] | None, *path: str) -> float | None:
    """Return a number of the result, by the names that lead to it; None if it is not known."""
    found: Any = values
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    is_number = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
    return float(found) if is_number else None
