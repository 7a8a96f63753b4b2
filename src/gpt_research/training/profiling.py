"""Records a trace of a few early steps with torch's profiler."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from gpt_research.base.disk import dispensable
from gpt_research.base.files import write_text

WAIT, WARMUP, ACTIVE = 2, 1, 3
"""Steps that are left out, that warm the profiler up, and that are recorded."""


class Profiler(Protocol):
    """Counts the steps of a run."""

    def step(self) -> None: ...


class _Off:
    def step(self) -> None:
        """Record nothing."""


@contextlib.contextmanager
def profiled(folder: Path | None, device: torch.device) -> Iterator[Profiler]:
    """Yield an object whose `.step()` is called after each step; record a trace of a few early
    ones.

    Args:
        folder: where trace.json and table.txt go; None records nothing.
    """
    if folder is None:
        yield _Off()
        return
    folder.mkdir(exist_ok=True)
    on_gpu = device.type == "cuda"

    def write(recorded: torch.profiler.profile) -> None:
        by = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        with dispensable(folder):
            recorded.export_chrome_trace(str(folder / "trace.json"))
            write_text(folder / "table.txt", recorded.key_averages().table(sort_by=by, row_limit=40))

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    steps = schedule(wait=WAIT, warmup=WARMUP, active=ACTIVE, repeat=1)
    with profile(activities=activities, schedule=steps, on_trace_ready=write) as profiler:
        yield profiler
