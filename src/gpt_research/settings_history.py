"""The settings with which each step of a run was taken.

    <run>/settings.jsonl    {"from_step": 1000, "data": "9f3c...", "settings": {...}}

A line holds all settings of the steps after `from_step`, up to the next line's. Lines are only ever
added. If a run went back to an earlier step, the line that was added then counts for the steps
after it. `config.yaml` holds the newest settings; a run of version 0.1 has no other. Knows nothing
about how settings are used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.base.files import write_text
from gpt_research.base.settings import by_flag, from_dict, read_yaml, to_dict
from gpt_research.config import TrainConfig


@dataclass(frozen=True)
class Period:
    """The steps that were taken with the same settings."""

    from_step: int
    """Steps that the run had taken before."""
    config: TrainConfig
    data: str = ""
    """Fingerprint of the data set; empty if it is not known."""


def run_config(folder: Path, step: int | None = None) -> TrainConfig:
    """Return the settings with which a run took a step, counted from 1; by default the newest.

    Raises:
        UserError: the folder is not a run, or its config.yaml or settings.jsonl is damaged.
    """
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is not a run folder (it has no config.yaml). Name the folder that training wrote.")
    return read_yaml(TrainConfig, folder / "config.yaml") if step is None else period_of(folder, step).config


def config_to_go_on(folder: Path, step: int, newest: int) -> TrainConfig:
    """Return the settings with which a run goes on from a saved step: those of its next step, or
    the newest if that step is its newest one.

    Raises:
        UserError: as `run_config` does.
    """
    return run_config(folder, None if step == newest else step + 1)


def has_history(folder: Path) -> bool:
    """Return whether a run knows its earlier settings; a run of version 0.1 does not."""
    return (folder / "settings.jsonl").is_file()


def periods(folder: Path) -> list[Period]:
    """Return the periods of a run in the order of their steps.

    If the run has no history, one period with the newest settings stands for all steps.

    Raises:
        UserError: as `run_config` does.
    """
    in_force: list[Period] = []
    for line in _lines(folder):
        added = Period(line["from_step"], from_dict(TrainConfig, line["settings"], line["where"]), line["data"])
        # The run went on from here in another way, so what it did after this step does not count.
        in_force = [period for period in in_force if period.from_step < added.from_step]
        in_force.append(added)
    return in_force or [Period(0, run_config(folder))]


def period_of(folder: Path, step: int) -> Period:
    """Return the period in which a run took a step, counted from 1.

    Raises:
        UserError: as `run_config` does.
    """
    first, *later = periods(folder)
    return next((period for period in reversed(later) if period.from_step < step), first)


def keep_old_settings(folder: Path) -> None:
    """Begin the history of a run of version 0.1 with the settings of its config.yaml."""
    if not has_history(folder):
        _append(folder, Period(0, run_config(folder)))


def record(folder: Path, period: Period) -> list[tuple[str, Any, Any]]:
    """Add a period, if it is not the one that is in force; return name, old and new value of each
    change.
    """
    period = replace(period, config=replace(period.config, resume="auto", step="newest", allow_change=False))
    if not has_history(folder):
        _append(folder, period)
        return []
    before = period_of(folder, period.from_step + 1)
    changes = [change for change in differences(before.config, period.config) if change[0] != "out"]
    # The data of a run of version 0.1 is not known, and no change can be told.
    other_data = before.data not in ("", period.data)
    # After going back, the same settings hold longer than they did.
    went_back = any(known.from_step > period.from_step for known in periods(folder))
    if changes or before.data != period.data or went_back:
        _append(folder, period)
    return [*changes, *([("data (content)", before.data[:12], period.data[:12])] if other_data else [])]


def differences(old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """Return name, old and new value of each setting that differs between two of a class."""
    before, after = by_flag(to_dict(old)), by_flag(to_dict(new))
    return [(name, before.get(name), value) for name, value in after.items() if before.get(name) != value]


def in_words(changes: Sequence[tuple[str, Any, Any]]) -> str:
    """Return changes as `learning_rate: 0.001 -> 0.0003; seed: 1 -> 2`."""
    return "; ".join(f"{name}: {before!r} -> {after!r}" for name, before, after in changes)


def _append(folder: Path, period: Period) -> None:
    line = {"from_step": period.from_step, "data": period.data, "settings": to_dict(period.config)}
    path = folder / "settings.jsonl"
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    # The whole file is written anew, so that a crash cannot leave half a line.
    write_text(path, before + json.dumps(line, ensure_ascii=False) + "\n", durable=True)


def _lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "settings.jsonl"
    if not path.is_file():
        return []
    found: list[dict[str, Any]] = []
    try:
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            line = json.loads(text)
            entries = {"from_step": int(line["from_step"]), "data": str(line["data"]), "settings": line["settings"]}
            found.append({**entries, "where": f"{path}, line {number}"})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error!r}). Move it away to go by config.yaml alone.") from None
    return found
