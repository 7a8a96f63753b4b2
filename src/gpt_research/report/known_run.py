"""What is known about a run: how far it came, its evaluations, the commands that repeat it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from gpt_research.base.settings import by_flag, to_dict
from gpt_research.base.this_machine import TRAINED_ON
from gpt_research.config import TrainConfig
from gpt_research.evaluation.settings import EvaluationSettings
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.report.series import RunLines

RESULT, VERSION = "evaluation.json", 1
"""Name and version of the result file of `evaluate`."""
LARGEST_RESULT = 20_000_000
"""Bytes above which a JSON file beside a run is not looked into for an evaluation."""


@dataclass(frozen=True)
class KnownRun:
    """A run with what its folder or its result file says."""

    name: str
    """The folder or file that the user named."""
    folder: Path | None
    """None if only its result file is here."""
    config: TrainConfig | None
    settings: Mapping[str, Any]
    """The settings that decide what it learns, flat; empty if they are not known."""
    data: str
    """Fingerprint of its data; empty if it is not known."""
    evaluation: Mapping[str, Any]
    """The summary of its result file; empty if it was not evaluated."""
    metrics: Sequence[Mapping[str, Any]]
    """The lines of its metrics.jsonl."""
    lineage: Mapping[str, Any] = field(default_factory=dict)
    """Of its newest checkpoint or its evaluation."""
    remarks: Sequence[str] = ()
    is_file: bool = False
    """The user named a result file and not its run, so no other result is shown."""

    @cached_property
    def lines(self) -> RunLines:
        size, seed = self.settings.get("tokens_per_step"), self.settings.get("seed")
        return RunLines(self.name, seed, self.metrics, size if isinstance(size, int) else 1)

    @cached_property
    def trained_on(self) -> Mapping[str, Any]:
        """Machine and versions; empty if the run does not say."""
        try:
            facts = json.loads((self.folder / TRAINED_ON).read_text(encoding="utf-8")) if self.folder else {}
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    @property
    def step(self) -> int:
        """The newest step that is known."""
        return max(self.evaluation.get("step", 0), self.lines.last_step)

    def last(self, name: str) -> float | None:
        """Return the newest value of a number in metrics.jsonl."""
        return next((line[name] for line in reversed(self.metrics) if line.get(name) is not None), None)

    @property
    def state(self) -> str:
        """How far it came, in words."""
        if not self.metrics:
            return "evaluated" if self.evaluation else "nothing logged yet"
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


def evaluations(known: KnownRun) -> list[tuple[str, dict[str, Any]]]:
    """Return the result files of `evaluate` in a run folder and beside it, as name and summary; the
    run's own first.
    """
    own = [("", dict(known.evaluation))] if known.evaluation else []
    if known.folder is None or known.is_file:
        return own
    folder = known.folder.resolve()
    found = []
    for path in [*sorted(folder.glob("*.json")), *sorted(folder.parent.glob("*.json"))]:
        if path.name == RESULT and path.parent == folder:
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


def train_command(config: TrainConfig, lineage: Mapping[str, Any]) -> str:
    """Return the command that trains with these settings, which needs no file but the data.

    Args:
        lineage: that of the run, which says whether it is a fine-tuning.
    """
    fine_tuning = lineage.get("finetune", {}).get("settings")
    if fine_tuning is not None:
        usual, run = to_dict(FinetuneSettings()), fine_tuning.get("run", "")
        words = _flags(fine_tuning, usual, {"run", "resume", "allow_change"})
        return in_lines(["gpt-research", "finetune", run, *words])
    words = _flags(by_flag(to_dict(config)), by_flag(to_dict(TrainConfig())), {"resume", "step", "allow_change"})
    return in_lines(["gpt-research", "train", *words])


def evaluate_command(run: str, summary: Mapping[str, Any]) -> str:
    """Return the command that repeats an evaluation.

    Args:
        run: the run folder.
        summary: of its result file.
    """
    words = ["gpt-research", "evaluate", f"{run}@{summary['step']}" if "step" in summary else run]
    settings, usual = summary.get("settings", {}), to_dict(EvaluationSettings())
    # Columns are of the examples of a fine-tuned run.
    words += _flags({name: value for name, value in settings.items() if name in usual or name == "columns"}, usual)
    if summary.get("precision", "fp32") != "fp32":
        words += ["--precision", summary["precision"]]
    averaged = bool(summary.get("averaged_weights"))
    if averaged or summary.get("trained_with", {}).get("ema_decay"):
        words += ["--ema", json.dumps(averaged)]
    if any("lm_eval" in of_task for of_task in summary.get("tasks", {}).values()):
        words += ["--harness"]
    if samples := summary.get("memorisation", {}).get("samples"):
        words += ["--memorisation", str(samples["count"])]
    return in_lines(words)


def _flags(settings: Mapping[str, Any], usual: Mapping[str, Any], left_out: Collection[str] = ()) -> list[str]:
    """Return the flags that give settings, but for those that are as usual."""
    words: list[str] = []
    for name, value in settings.items():
        if value == usual.get(name) or name in left_out:
            continue
        if isinstance(value, dict):
            words += [word for key, own in value.items() for word in (f"--{name}.{key}", str(own))]
        elif isinstance(value, list):
            words += [word for own in value for word in (f"--{name}", str(own))]
        else:
            words += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    return words


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
