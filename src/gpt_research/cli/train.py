"""`gpt-research train`: what the terminal shows of a run, and how to go on after it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from gpt_research.config import TrainConfig
from gpt_research.training.loop import Trainer, train
from gpt_research.training.reporter import Reporter
from gpt_research.training.step import compiles
from gpt_research.training.validation import Loss, total


def run(config: TrainConfig) -> int:
    """Train and tell how it ended; return the exit code."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    reporter = TerminalReporter(console)
    try:
        outcome = train(config, reporter)
    finally:
        reporter.close()
    if reporter.bar is None:  # another rank speaks
        return 0
    if outcome.stopped_by is not None:
        console.print(
            f"Stopped at step {outcome.step:,} of {config.max_steps:,}, saved. Go on with: "
            f"gpt-research train --resume {outcome.run}"
        )
        return 128 + outcome.stopped_by
    if outcome.steps_here == 0:
        console.print(f"{outcome.run} has all its {outcome.step:,} steps already: nothing to train.")
    else:
        console.print(f"Trained {outcome.steps_here:,} steps, {outcome.step:,} in all.")
    console.print(f"  curve     {outcome.run}/loss.png")
    console.print(f"  generate  gpt-research generate {outcome.run}")
    console.print(f"  evaluate  gpt-research evaluate {outcome.run}")
    return 0


class TerminalReporter(Reporter):
    """A progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None

    def start(self, trainer: Trainer) -> None:
        config, runtime = trainer.config, trainer.runtime
        passes = trainer.loader.order.passes(config.max_steps * trainer.loader.samples_per_step)
        tokens = config.max_steps * config.tokens_per_step
        self.console.print(
            f"Model: {trainer.model.num_parameters() / 1e6:.1f}M parameters, {config.model.n_layer} layers, "
            f"{config.model.n_head} heads, {config.model.n_embd} wide, context {config.model.block_size}, "
            f"vocabulary {config.model.vocab_size:,}"
        )
        self.console.print(
            f"Data:  {tokens / 1e6:,.1f}M tokens to see: "
            + ", ".join(f"{name} {count:.2f} epochs" for name, count in passes.items())
            + (f" (mix_temperature {config.mix_temperature:g})" if config.mix_temperature != 1 else "")
        )
        self.console.print(
            f"Run:   {config.out}, {runtime.world_size} x {runtime.device_name}, {runtime.precision}, "
            f"{trainer.engine.micro_steps} x {config.micro_batch} sequences a step on each"
            + (f", {trainer.engine.parallel}" if runtime.world_size > 1 else "")
            + (", compiled" if compiles(config, runtime) else "")
        )
        if trainer.start_step:
            self.console.print(f"Going on from step {trainer.start_step:,} of {config.max_steps:,}.")
        columns = (
            TextColumn("step {task.completed:,.0f}/{task.total:,.0f}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.task = self.bar.add_task("", total=config.max_steps, completed=trainer.start_step, note="")
        self.tokens_per_step, self.max_steps = config.tokens_per_step, config.max_steps
        self.bar.start()

    def step(self, step: int, values: dict[str, float]) -> None:
        left = (self.max_steps - step) * self.tokens_per_step / values["tokens_per_s"]
        note = (
            f"loss {values['loss']:.4f}  {values['tokens_per_s']:,.0f} tokens/s  MFU {values['mfu']:.1%}  "
            f"{_duration(left)} left"
        )
        assert self.bar is not None, "start comes first"
        self.bar.update(self.task, completed=step, note=note)
        if not self.console.is_terminal:
            self.console.print(f"step {step:,}  {note}")

    def evaluated(self, step: int, losses: dict[str, Loss]) -> None:
        overall = total(losses)
        text = f"step {step:,}  validation loss {overall.loss:.4f}, {overall.bits_per_byte:.4f} bits per byte"
        if len(losses) > 1:
            text += " (" + ", ".join(f"{name} {loss.bits_per_byte:.4f}" for name, loss in losses.items()) + ")"
        self.console.print(text)

    def saved(self, step: int, path: Path) -> None:
        self.console.print(f"step {step:,}  saved {path}")

    def note(self, text: str) -> None:
        self.console.print(text)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def _duration(seconds: float) -> str:
    """Say a time in its two largest units: 45s, 12m30s, 3h05m, 2d04h."""
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02d}s"
    if s < 86400:
        return f"{s // 3600}h{s % 3600 // 60:02d}m"
    return f"{s // 86400}d{s % 86400 // 3600:02d}h"
