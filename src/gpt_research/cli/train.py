"""`gpt-research train`: train a model on token shards, and say how to go on afterwards."""

from __future__ import annotations

from gpt_research.base import hints
from gpt_research.config import TrainConfig


def run(config: TrainConfig) -> int:
    """Train, and print how it ended; return the exit code."""
    from rich.console import Console

    from gpt_research.checkpoint.files import saved_steps
    from gpt_research.cli.terminal_reporter import TerminalReporter
    from gpt_research.estimate.micro_batch import resolve_micro_batch
    from gpt_research.training.loop import train
    from gpt_research.training.optimizer_check import check_optimizer
    from gpt_research.training.optimizers import own_optimizer
    from gpt_research.training.schedules import learning_rates
    from gpt_research.training.trackers import find_tracker

    # Before steps are measured for micro_batch auto.
    find_tracker(config.tracker)
    if own_optimizer(config.optimizer.name) is None:
        check_optimizer(config)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    reporter = TerminalReporter(console)
    if not isinstance(config.micro_batch, int):
        config = resolve_micro_batch(config, reporter.note)
    try:
        outcome = train(config, reporter)
    finally:
        reporter.close()
    if reporter.bar is None:  # only the main process prints
        return 0 if outcome.stopped_by is None else 128 + outcome.stopped_by
    if outcome.stopped_by is not None:
        console.print(
            f"Stopped at step {outcome.step:,} of {config.max_steps:,}, saved. Go on with: "
            f"{hints.command('train', '--resume', outcome.run)}"
        )
        return 128 + outcome.stopped_by
    if outcome.ended_early:
        console.print(
            f"Stopped early at step {outcome.step:,} of {config.max_steps:,}: {config.early_stopping} evaluations "
            "without a new lowest validation loss. Go on with: "
            f"{hints.command('train', '--resume', outcome.run, '--early_stopping', 0)}"
        )
    elif outcome.steps_here == 0:
        console.print(f"{outcome.run} has all its {outcome.step:,} steps already: nothing to train.")
    else:
        console.print(f"Trained {outcome.steps_here:,} steps, {outcome.step:,} in all.")
    if (before := learning_rates(config).steps_before_decay) and before in saved_steps(outcome.run):
        longer = hints.command("train", "--resume", outcome.run, "--step", before, "--max_steps", 2 * config.max_steps)
        console.print(f"The checkpoint before the decay is that of step {before:,}. Go on to more steps with: {longer}")
    console.print(f"  curve     {outcome.run}/loss.png")
    best = ["--step", "best"] if config.keep_best else []
    console.print(f"  generate  {hints.command('generate', outcome.run, *best)}")
    console.print(f"  evaluate  {hints.command('evaluate', outcome.run, *best)}")
    return 0
