"""Opens runs for a report, whatever state they are in, and says what is known about each."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.base.settings import by_flag, to_dict
from gpt_research.config import TrainConfig
from gpt_research.evaluation.results import RESULT_NAME, VERSION
from gpt_research.evaluation.run_groups import ComparedRun, RunGroup, differing_settings, open_run
from gpt_research.report.series import RunLines, Setting
from gpt_research.settings_history import run_config
from gpt_research.training.inspect_run import newest_lineage
from gpt_research.training.lineage import deciding_settings
from gpt_research.training.metrics import read_metrics

LONGEST_TITLE = 64
"""Characters of a setting's title in a legend."""
LARGEST_RESULT = 20_000_000
"""Bytes above which a JSON file beside a run is not looked into for an evaluation."""


@dataclass(frozen=True)
class KnownRun:
    """A run with what its folder says."""

    run: ComparedRun
    folder: Path | None
    """None if only its result file is here."""
    config: TrainConfig | None
    lineage: dict[str, Any] = field(default_factory=dict)
    """Of its newest checkpoint or its evaluation."""
    remarks: Sequence[str] = ()

    @property
    def lines(self) -> RunLines:
        size = self.run.settings.get("tokens_per_step")
        return RunLines(self.run.name, self.run.seed, self.run.lines, size if isinstance(size, int) else 1)

    @property
    def state(self) -> str:
        """How far it came, in words."""
        if not self.run.lines:
            return "evaluated" if self.run.evaluation else "nothing logged yet"
        diverged, step = self.lines.diverged_at, self.lines.last_step
        if diverged is not None:
            return f"diverged: no finite loss since step {diverged:,}"
        if self.config is None or step >= self.config.max_steps:
            return "finished"
        return f"at step {step:,} of {self.config.max_steps:,}: still training, or stopped"

    @property
    def written(self) -> str:
        """When its numbers were written last."""
        path = self.folder / "metrics.jsonl" if self.folder else Path()
        if not path.is_file():
            return "–"
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M UTC")


def know(named: str) -> KnownRun:
    """Open a run folder or a result file.

    Raises:
        UserError: there is neither, or what there is cannot be read.
    """
    path, remarks = Path(named), []
    is_run = (path / "config.yaml").is_file()
    if not is_run and not path.is_file() and not (path / RESULT_NAME).is_file():
        raise UserError(
            f"{named} is no run folder (config.yaml), result file of evaluate or experiment (result.json). Name one "
            "that training, evaluate or an experiment wrote."
        )
    try:
        run = open_run(named)
    except UserError as error:
        if not is_run:
            raise
        # The evaluation is damaged or missing; the rest of the run is worth a report all the same.
        settings = by_flag(deciding_settings(run_config(path)))
        run = ComparedRun(named, settings, newest_lineage(path).get("data", ""), {}, {}, read_metrics(path))
        if (path / RESULT_NAME).is_file():
            remarks.append(f"{error}")
    folder = path if is_run else Path(run.evaluation.get("run", "")) if run.lines else None
    config = run_config(folder) if folder is not None else None
    lineage = (newest_lineage(folder) if folder is not None else {}) or dict(run.evaluation.get("lineage", {}))
    return KnownRun(run, folder, config, lineage, remarks)


def settings_of(groups: Sequence[RunGroup], known: Sequence[KnownRun]) -> list[Setting]:
    """Return the groups as curves need them, each titled by what tells it from the others."""
    by_name = {id(one.run): one for one in known}
    differing, found = differing_settings(groups), []
    for number, group in enumerate(groups):
        # Settings say more than names, as long as there are few of them.
        title = ", ".join(f"{name} {values[number]}" for name, values in differing.items())
        if not 0 < len(title) <= LONGEST_TITLE:
            title = group.title
        if len(title) > LONGEST_TITLE:
            title = title[: LONGEST_TITLE - 1] + "…"
        many = f" ({len(group.runs)} seeds)" if len(group.runs) > 1 and "seeds" not in title else ""
        found.append(Setting(group.letter, title + many, [by_name[id(run)].lines for run in group.runs]))
    return found


def evaluations(known: KnownRun) -> list[tuple[str, dict[str, Any]]]:
    """Return the result files of `evaluate` in a run folder and beside it, as name and summary; the
    run's own first.
    """
    own = [("", dict(known.run.evaluation))] if known.run.evaluation else []
    if known.folder is None:
        return own
    folder = known.folder.resolve()
    found = []
    for path in [*sorted(folder.glob("*.json")), *sorted(folder.parent.glob("*.json"))]:
        if path.name == RESULT_NAME and path.parent == folder:
            continue
        summary = _result(path)
        # A file beside the run may be that of a neighbour.
        if summary is not None and (path.parent == folder or Path(summary["run"]).name == folder.name):
            found.append((path.name, summary))
    return own + found


def _result(path: Path) -> dict[str, Any] | None:
    """Return the content of a result file; None if it is another kind of file."""
    try:
        if path.stat().st_size > LARGEST_RESULT:
            return None
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_result = (
        isinstance(summary, dict) and summary.get("version") == VERSION and isinstance(summary.get("tasks"), dict)
    )
    return summary if is_result and isinstance(summary.get("run"), str) else None


def train_command(config: TrainConfig) -> str:
    """Return the command that trains with these settings, which needs no file but the data."""
    usual = by_flag(to_dict(TrainConfig()))
    left_out = {"resume", "step", "allow_change"}
    words = ["gpt-research", "train"]
    for name, value in by_flag(to_dict(config)).items():
        if value == usual[name] or name in left_out:
            continue
        if isinstance(value, dict):
            words += [word for key, own in value.items() for word in (f"--{name}.{key}", str(own))]
        elif isinstance(value, list):
            words += [word for own in value for word in (f"--{name}", str(own))]
        else:
            words += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    return in_lines(words)


def evaluate_command(run: str, summary: dict[str, Any]) -> str:
    """Return the command that repeats an evaluation."""
    words = ["gpt-research", "evaluate", run]
    usual: dict[str, Any] = {"split": "val", "max_tokens": 0, "batch_size": 8, "limit": 0}
    for name in ("data", "split", "max_tokens", "tasks", "benchmarks", "limit", "context", "stride", "batch_size"):
        value = summary.get("settings", {}).get(name)
        if value not in (None, "", usual.get(name)):
            words += [f"--{name}", str(value)]
    return in_lines(words)


def in_lines(words: Sequence[str]) -> str:
    """Return a command for the shell, with each flag on a line of its own."""
    head = [shlex.quote(word) for word in words]
    first = next((number for number, word in enumerate(words) if word.startswith("--")), len(words))
    lines, rest = [" ".join(head[:first])], head[first:]
    for word, quoted in zip(words[first:], rest, strict=True):
        if word.startswith("--") or not lines[1:]:
            lines.append(quoted)
        else:
            lines[-1] += f" {quoted}"
    return " \\\n    ".join(lines)
