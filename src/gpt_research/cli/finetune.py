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

    study: bool = False
    """Ask what pretraining buys: fine-tune with the run's weights and from scratch on more and more
    examples, with several seeds, into the folder out."""
    test: str = ""
    """With --study: the file of examples that the scores are of."""
    sizes: str = "10,100,500,2000"
    """With --study: numbers of training examples; one beyond those that there are means all."""
    seeds: int = 5
    """With --study: seeds of each size, the same on both sides."""
    rates: str = "1e-4,3e-4,1e-3,3e-3"
    """With --study: learning rates among which each side chooses its own."""
    tune_at: int = 500
    """With --study: training examples of the trials that choose the rates."""

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
    if command.study:
        return _study(command)
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


def _study(command: FinetuneCommand) -> int:
    """Make a study, and print its table; return the exit code."""
    import signal
    from dataclasses import fields

    from gpt_research.base import startup
    from gpt_research.base.errors import UserError
    from gpt_research.finetuning.fine_tuned import evaluate_fine_tuned, open_fine_tuned
    from gpt_research.finetuning.finetune import finetune
    from gpt_research.lab.label_study import SIDES, LabelStudy, run_study, shown
    from gpt_research.run_reference import run_reference

    try:
        sizes = [int(size) for size in command.sizes.split(",")]
        rates = [float(rate) for rate in command.rates.split(",")]
    except ValueError:
        raise UserError(
            f"sizes ({command.sizes}) and rates ({command.rates}) must be numbers with commas between them."
        ) from None
    settings = FinetuneSettings(**{field.name: getattr(command, field.name) for field in fields(FinetuneSettings)})

    def train(own: FinetuneSettings) -> None:
        stopped_by = finetune(own).stopped_by
        if stopped_by is not None:  # the user stops the study, and not only this trial
            signal.raise_signal(stopped_by)

    def judge(run: str, file: str) -> dict[str, float | None]:
        runtime = startup.start(command.device, "fp32")
        summary, result = evaluate_fine_tuned(open_fine_tuned(run_reference(run), file, runtime.device), runtime)
        return {name: score["value"] for name, score in summary["tasks"][result.task]["scores"].items()}

    study = LabelStudy(settings, command.test, sizes, command.seeds, rates, command.tune_at)
    result = run_study(study, train, judge, lambda line: print(line, flush=True))
    print(f"{result['score']}, mean over {result['seeds']} seeds (95% interval):")
    for one in result["sizes"]:
        sides = (f"{name} {shown(one[name])}" for name in (*SIDES, "difference"))
        print(f"  {one['examples']:>6,} examples: {', '.join(sides)}")
    print(f"Page: {command.out}/study.html")
    return 0
