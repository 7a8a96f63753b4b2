"""`gpt-research finetune`: train a run further on examples of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpt_research.base import hints
from gpt_research.finetuning.settings import FinetuneSettings


@dataclass(frozen=True)
class FinetuneCommand(FinetuneSettings):
    """Fine-tune a run."""

    @classmethod
    def settings_of_run(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of the run that `--resume` names, by flag name."""
        resume = str(given.get("resume") or "")
        if resume in ("", "auto", "never"):
            return {}
        from gpt_research.base.settings import by_flag, to_dict
        from gpt_research.finetuning.fine_tuned import settings_of
        from gpt_research.run_reference import run_reference

        reference = run_reference(resume)
        return {**by_flag(to_dict(settings_of(reference))), "resume": resume, "out": str(reference.folder)}


def run(command: FinetuneCommand) -> int:
    """Fine-tune, and print how it ended; return the exit code."""
    from rich.console import Console

    from gpt_research.cli.terminal_reporter import TerminalReporter
    from gpt_research.finetuning.finetune import finetune

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    reporter = TerminalReporter(console)
    try:
        outcome = finetune(command, reporter)
    finally:
        reporter.close()
    if reporter.bar is None:  # only the main process prints
        return 0 if outcome.stopped_by is None else 128 + outcome.stopped_by
    go_on = hints.command("finetune", "--resume", outcome.run)
    if outcome.stopped_by is not None:
        console.print(f"Stopped at step {outcome.step:,}, saved. Go on with: {go_on}")
        return 128 + outcome.stopped_by
    if outcome.ended_early:
        console.print(f"Stopped early at step {outcome.step:,}: no lower validation loss any more.")
    elif outcome.steps_here == 0:
        console.print(f"{outcome.run} has all its {outcome.step:,} steps already: nothing to train.")
    else:
        console.print(f"Trained {outcome.steps_here:,} steps, {outcome.step:,} in all.")
    best = f"{outcome.run}@best" if command.val else str(outcome.run)
    console.print(f"  scores    {hints.command('evaluate', best, '--data', 'FILE')}")
    if command.has_head:
        console.print(f"  export    {hints.command('export', best, '--out', 'FOLDER')}")
    else:
        console.print(f"  generate  {hints.command('generate', best)}")
    return 0
