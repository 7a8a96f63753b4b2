"""A trace of a few steps, by torch's own profiler."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from gpt_research.base.runtime import Runtime
from gpt_research.config import TrainConfig

WAIT, WARMUP, ACTIVE = 2, 1, 3
"""Steps that are left out, that warm the profiler up, and that are kept."""


class Profiler(Protocol):
    def step(self) -> None: ...


class _Off:
    def step(self) -> None:
        """Nobody looks."""


@contextlib.contextmanager
def profiled(config: TrainConfig, runtime: Runtime) -> Iterator[Profiler]:
    """Give what is to hear of every step; with `config.profile`, write trace and table of some early ones."""
    if not (config.profile and runtime.is_main):
        yield _Off()
        return
    folder = Path(config.out) / "profile"
    folder.mkdir(exist_ok=True)

    def write(found: torch.profiler.profile) -> None:
        found.export_chrome_trace(str(folder / "trace.json"))
        by = "self_device_time_total" if runtime.device.type == "cuda" else "self_cpu_time_total"
        (folder / "table.txt").write_text(found.key_averages().table(sort_by=by, row_limit=40), encoding="utf-8")

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if runtime.device.type == "cuda" else [])]
    steps = schedule(wait=WAIT, warmup=WARMUP, active=ACTIVE, repeat=1)
    with profile(activities=activities, schedule=steps, on_trace_ready=write) as profiler:
        yield profiler
