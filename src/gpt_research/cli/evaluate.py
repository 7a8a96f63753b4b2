"""`gpt-research evaluate`: a run's loss on a data set and its scores on benchmarks, as tables and as a result file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpt_research.evaluation.settings import EvaluationSettings


@dataclass(frozen=True)
class EvaluateCommand(EvaluationSettings):
    """What `gpt-research evaluate` is asked to do."""

    run: str = ""
    """Run folder to evaluate. Empty: the newest under runs/."""
    json: str = ""
    """Result file; what it holds of each item goes beside it. Empty: evaluation.json in the run folder."""
    harness: bool = False
    """Let lm-eval score the benchmarks too, through its own code on the same items, and show both."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the matrix products."""


def run(command: EvaluateCommand) -> int:
    """Evaluate, print the tables, write the result; return the exit code."""
    from rich.console import Console

    from gpt_research.base import runtime as runtimes
    from gpt_research.evaluation import results
    from gpt_research.evaluation.evaluate import evaluate
    from gpt_research.evaluation.report import report
    from gpt_research.evaluation.tasks.table import check_names
    from gpt_research.run import Run, named_or_newest

    check_names(command.named_tasks)
    folder = named_or_newest(command.run)
    runtime = runtimes.start(command.device, command.precision)
    with _progress() as progress:
        opened = Run.open(folder, runtime.device)
        summary, measured = evaluate(opened, command, runtime, with_lm_eval=command.harness, progress=progress)
    summary["settings"] = {"run": command.run, **summary["settings"]}
    path = Path(command.json) if command.json else folder / results.RESULT_NAME
    results.write(path, summary, measured.values())
    console = Console()
    for part in report(summary, measured):
        if isinstance(part, str):
            console.print(part, markup=False, highlight=False)
        else:
            console.print(part)
    print(f"Result: {path}")
    return 0


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int], Callable[[int], object]]]:
    """Show a bar for each task, if a person is watching."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:

        def begin(name: str, total: int) -> Callable[[int], object]:
            bar = bars.add_task(name, total=total)
            return lambda done: bars.advance(bar, done)

        yield begin
