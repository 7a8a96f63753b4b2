"""Writes the numbers of a run to metrics.jsonl and to a tracker."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_research.base.disk import dispensable
from gpt_research.base.files import AppendedLines, write_text
from gpt_research.config import TrainConfig
from gpt_research.training import trackers

METRICS = "metrics.jsonl"
SAMPLES = "samples.txt"
"""File of a run folder to which each evaluation appends a text, below a line with its step."""
_SAMPLE_HEAD = re.compile(r"^--- step (\d+) ---$", re.MULTILINE)


@dataclass(frozen=True)
class Earlier:
    """What the sessions before this one did for the run."""

    step: int = 0
    """The step of the last logged line before this session; 0 if there is none."""
    tokens: int = 0
    """Tokens that the steps up to this one have read."""
    seconds: float = 0.0
    """Time of all earlier sessions, with that of steps that were lost and are taken again."""


class Metrics:
    """Appends one JSON object a line to `metrics.jsonl`, and passes the numbers on to the
    tracker.
    """

    def __init__(self, run: Path, config: TrainConfig, start_step: int) -> None:
        """Open the files, and drop lines and samples after `start_step`, which a resumed run writes
        again.

        Raises:
            UserError: the tracker cannot be used.
        """
        path = run / METRICS
        lines = read_metrics(run)
        kept = [line for line in lines if line["step"] <= start_step]
        self.earlier = _earlier(lines, kept)
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        _drop_samples_after(run / SAMPLES, start_step)
        self._path, self._file = path, AppendedLines(path)
        self._tracker = trackers.begin(config.tracker, run, dataclasses.asdict(config), start_step)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Write the numbers of a step."""
        plain = {name: _plain(value) for name, value in values.items()}
        with dispensable(self._path):
            self._file.write(json.dumps({"step": step, **plain}) + "\n")
        if self._tracker is not None:
            self._tracker.log(step, dict(_flatten(values)))

    def finish(self) -> None:
        with dispensable(self._path):
            self._file.close()
        if self._tracker is not None:
            self._tracker.finish()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of `metrics.jsonl`, without a last line that a crash cut short."""
    path = run / METRICS
    return parse_metrics(path.read_text(encoding="utf-8")) if path.is_file() else []


def parse_metrics(text: str) -> list[dict[str, Any]]:
    """Return the lines of a text in the form of `metrics.jsonl`, without those that are damaged."""
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return [line for line in lines if isinstance(line, dict) and isinstance(line.get("step"), int)]


def read_samples(run: Path) -> list[tuple[int, str]]:
    """Return the samples of `samples.txt`, each with its step."""
    path = run / SAMPLES
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    _, *parts = _SAMPLE_HEAD.split(text)
    return [(int(step), sample.strip("\n")) for step, sample in zip(parts[::2], parts[1::2], strict=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN and no infinity
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return value


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            pairs += _flatten(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            pairs.append((prefix + name, value))
    return pairs


def _earlier(lines: list[dict[str, Any]], kept: list[dict[str, Any]]) -> Earlier:
    """Add up the earlier sessions, from all lines and from those that are kept."""
    step, tokens = next(((m["step"], m["tokens"]) for m in reversed(kept) if "tokens" in m), (0, 0))
    seconds = before = 0.0
    for elapsed in (m["elapsed_s"] for m in lines if m.get("elapsed_s") is not None):
        # Version 0.1 counted from 0 again in each session.
        seconds += elapsed - before if elapsed >= before else elapsed
        before = elapsed
    return Earlier(step, tokens, seconds)


def _drop_samples_after(path: Path, step: int) -> None:
    """Cut `samples.txt` before the first sample of a later step."""
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8")
    later = next((head.start() for head in _SAMPLE_HEAD.finditer(text) if int(head[1]) > step), None)
    if later is not None:
        write_text(path, text[:later])
