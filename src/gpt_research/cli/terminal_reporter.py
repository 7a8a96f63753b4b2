"""Shows a training run on the terminal: a progress bar, and a line for each event."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from gpt_research.base.stopping import is_first_rank
from gpt_research.estimate.first_steps import FirstSteps
from gpt_research.training.reporter import Beginning, Reporter
from gpt_research.training.validation import Loss, total


class TerminalReporter(Reporter):
    """A progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None

    def start(self, beginning: Beginning) -> None:
        config, runtime, plan = beginning.config, beginning.runtime, beginning.plan
        self.console.print(
            f"Model: {beginning.parameters / 1e6:.1f}M parameters, {config.model.n_layer} layers, "
            f"{config.model.n_head} heads, {config.model.n_embd} wide, context {config.model.block_size}, "
            f"vocabulary {config.model.vocab_size:,}"
        )
        self.console.print(
            f"Data:  {beginning.tokens / 1e6:,.1f}M tokens to see: "
            + ", ".join(f"{name} {count:.2f} epochs" for name, count in beginning.epochs.items())
            + (f" (mix_temperature {config.mix_temperature:g})" if config.mix_temperature != 1 else "")
        )
        self.console.print(
            f"Run:   {config.out}, {runtime.world_size} x {runtime.device_name}, {runtime.precision}, "
            f"{plan.micro_steps} x {config.micro_batch} sequences a step on each"
            + (f", {plan.parallel}" if runtime.world_size > 1 else "")
        )
        if runtime.device.type == "cuda" or plan.compiled != "none":
            compiled = {"none": "not compiled", "blocks": "compiled block by block", "whole": "compiled whole"}
            self.console.print(f"Model is {compiled[plan.compiled]}: {plan.compiled_because}.")
        if beginning.start_step:
            self.console.print(f"Going on from step {beginning.start_step:,} of {config.max_steps:,}.")
        columns = (
            TextColumn("step {task.completed:,.0f}/{task.total:,.0f}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.task = self.bar.add_task("", total=config.max_steps, completed=beginning.start_step, note="")
        self.first_steps = FirstSteps(beginning)
        for sentence in self.first_steps.before_first():
            self.note(sentence)
        self.tokens, self.max_steps = beginning.tokens, config.max_steps
        self.bar.start()

    def before_pass(self) -> None:
        for sentence in self.first_steps.before_pass():
            self.note(sentence)

    def paused(self, seconds: float) -> None:
        self.first_steps.paused(seconds)

    def step(self, step: int, values: dict[str, float]) -> None:
        left = (1 - step / self.max_steps) * self.tokens / values["tokens_per_s"]
        note = (
            f"loss {values['loss']:.4f}  {values['tokens_per_s']:,.0f} tokens/s  MFU {values['mfu']:.1%}  "
            f"{_duration(left)} left"
        )
        assert self.bar is not None, "start comes first"
        self.bar.update(self.task, completed=step, note=note)
        if not self.console.is_terminal:
            self.console.print(f"step {step:,}  {note}")

    def evaluated(self, step: int, losses: dict[str, Loss]) -> None:
        self._evaluated(step, losses, "validation loss")

    def evaluated_average(self, step: int, losses: dict[str, Loss]) -> None:
        self._evaluated(step, losses, "of the averaged weights")

    def _evaluated(self, step: int, losses: dict[str, Loss], what: str) -> None:
        overall = total(losses)
        text = f"step {step:,}  {what} {overall.loss:.4f}"
        text += f", {overall.bits_per_byte:.4f} bits per byte" if overall.bytes else ""
        text += "".join(f", {name} {score:.4f}" for name, score in overall.scores.items())
        if not math.isfinite(overall.loss):
            text = f"step {step:,}  the validation loss is not finite: the model has diverged"
        elif len(losses) > 1:
            text += " (" + ", ".join(f"{name} {loss.bits_per_byte:.4f}" for name, loss in losses.items()) + ")"
        self.console.print(text)

    def saved(self, step: int, path: Path) -> None:
        self.console.print(f"step {step:,}  saved {path}")

    def stopping(self) -> None:
        if not is_first_rank():  # each rank catches the signal
            return
        # A signal handler may run while the console holds its lock, so this must not use the
        # console.
        print("\nStopping: saving a checkpoint first. Ctrl-C again leaves at once.", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        self.console.print(text)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def _duration(seconds: float) -> str:
    """Return a time in its two largest units: 45s, 12m30s, 3h05m, 2d04h."""
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02d}s"
    if s < 86400:
        return f"{s // 3600}h{s % 3600 // 60:02d}m"
    return f"{s // 86400}d{s % 86400 // 3600:02d}h"
