"""Reads `result.json` of an experiment's folder: an ablation, a sweep or an lr-range test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.report.known_run import KnownRun
from gpt_research.report.series import RunLines, Setting

RESULT, VERSION = "result.json", 1
NEEDED: dict[str, dict[str, dict[str, type]]] = {
    "ablation": {"arms": {"name": str, "runs": list}, "comparisons": {"arm": str}},
    "sweep": {"points": {"settings": dict, "runs": list}},
    "lr-range": {"curve": {}},
}
"""The kinds of experiments, the lists that each must have, and the fields of the lists' entries."""


@dataclass(frozen=True)
class Experiment:
    """An experiment's folder."""

    folder: Path
    result: Mapping[str, Any]
    runs: Mapping[str, KnownRun] = field(default_factory=dict)
    """The runs whose folders are here, by the names of the folders in the experiment's."""

    @property
    def kind(self) -> str:
        return str(self.result["kind"])

    @property
    def data_set(self) -> dict[str, str]:
        """The folder of its data set and the fingerprint; empty if they are not known."""
        data = self.result.get("data") or {}
        return {str(data["folder"]): str(data.get("fingerprint") or "")} if data.get("folder") else {}

    def known(self, run: Mapping[str, Any]) -> KnownRun | None:
        """Return a run of the experiment; None if its folder is not here or cannot be read."""
        return self.runs.get(str(run.get("folder", "")))

    def setting(self, name: str, runs: Sequence[Mapping[str, Any]]) -> Setting:
        """Return runs of the experiment as curves need them; a run that is not here has no line."""
        found = []
        for run in runs:
            known = self.known(run)
            lines = known.lines if known is not None else RunLines("", None, [])
            found.append(RunLines(str(run.get("folder", "")), run.get("seed"), lines.lines, lines.tokens_per_step))
        return Setting(name, "", found)

    def run_folders(self) -> list[str]:
        """Return the names of the folders of all its runs."""
        entries = [*self.result.get("arms", []), *self.result.get("points", [])]
        return [str(run["folder"]) for entry in entries for run in entry["runs"] if run.get("folder")]


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
    wrong = next(_damage(result), None)
    if wrong is not None:
        raise UserError(f"{path} is damaged: {wrong}. {remedy}")
    return Experiment(folder, result)


def _damage(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a result lacks, in words."""
    for name, fields in NEEDED[result["kind"]].items():
        entries = result.get(name)
        if not isinstance(entries, list):
            yield f"it has no list {name!r}"
            continue
        for number, entry in enumerate(entries):
            for name_of, kind in fields.items():
                if not isinstance(entry, dict) or not isinstance(entry.get(name_of), kind):
                    yield f"{name}[{number}] has no {name_of!r}"
            runs = entry.get("runs", []) if isinstance(entry, dict) else None
            if runs is None or not all(isinstance(run, dict) for run in runs):
                yield f"{name}[{number}] is not an object"
    if result["kind"] == "sweep" and not isinstance(result.get("over"), dict):
        yield "it has no object 'over'"
