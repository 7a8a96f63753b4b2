"""`gpt-research plan`: print the time, memory and disk that a run will take, before it begins."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpt_research.base.errors import require
from gpt_research.config import TrainConfig

if TYPE_CHECKING:
    from rich.table import Table

    from gpt_research.base.runtime import Runtime
    from gpt_research.estimate.plan import RunPlan

GB = 1e9


@dataclass(frozen=True)
class PlanCommand(TrainConfig):
    """Say what a run will take, measured on this machine before it begins."""

    on: str = ""
    """Plan for a device that is not here, by its peak speed and --mfu: a100, h100, h100-pcie, h200,
    b200, mi300x, 5090, 4090, 3090, l40s, l4, a10g, t4, v100 and 40 more, or several, such as
    8xh100. Empty: measure on this machine."""
    mfu: float = 0.4
    """For --on: share of the peak speed that training reaches (MFU). 0.4 is usual for a model of
    100M parameters and more in bf16, compiled; small models and small batches reach less."""
    price_per_hour: float = 0.0
    """What an hour of all devices together costs. 0: the price of --on's table, in dollars of March
    2026, or no cost if it has none."""
    seconds: float = 60.0
    """Time to measure real steps for; 0 gives the formulas only."""
    json: bool = False
    """Print one JSON object instead."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.seconds < 86400, "seconds", self.seconds, "0 or more, and less than a day")
        require(0 < self.mfu <= 1, "mfu", self.mfu, "above 0 and at most 1, such as 0.4")
        require(self.price_per_hour >= 0, "price_per_hour", self.price_per_hour, "0 or more")


def run(command: PlanCommand) -> int:
    """Plan and print; return the exit code."""
    from rich.console import Console

    from gpt_research.base import startup
    from gpt_research.cli.tables import print_table
    from gpt_research.estimate.plan import as_dict, plan_run, remarks

    if command.on:
        return _run_elsewhere(command)
    runtime = startup.start(command.device, command.precision, deterministic=command.deterministic)
    try:
        console = Console(highlight=False, soft_wrap=True)
        if command.seconds and runtime.is_main and not command.json:
            Console(stderr=True).print(f"Measuring real steps for about {command.seconds:.0f} seconds ...")
        run_plan = plan_run(command.run_settings(), runtime, command.seconds)
        if not runtime.is_main:
            return 0
        # `run_plan.config` has the measured micro-batch, and the remarks compare it with the
        # setting.
        sentences = remarks(run_plan, command.micro_batch, runtime)
        if command.json:
            print(json.dumps(as_dict(run_plan, command.price_per_hour) | {"remarks": sentences}, indent=2))
            return 0
        print_table(_table(run_plan, runtime, command.price_per_hour))
        for sentence in sentences:
            console.print(sentence)
    finally:
        startup.stop(runtime)
    return 0


def _run_elsewhere(command: PlanCommand) -> int:
    """Plan for a device that is not here, and print; return the exit code."""
    from rich.console import Console

    from gpt_research.estimate.cards import PRICES_OF, elsewhere
    from gpt_research.estimate.plan import as_dict, plan_elsewhere, remarks

    runtime = elsewhere(command.on, command.precision)
    run_plan = plan_elsewhere(command.run_settings(), runtime, command.mfu)
    price = command.price_per_hour or runtime.price_per_hour
    sentences = [
        f"Computed, not measured: an MFU of {command.mfu:.0%} is assumed (--mfu); run plan on the machine itself for "
        "its real speed.",
        *remarks(run_plan, command.micro_batch, runtime),
    ]
    if not price:
        sentences.append(f"What an hour of a {runtime.device_name} costs is not known here: name it with "
                         "--price_per_hour, and the cost is shown.")  # fmt: skip
    elif not command.price_per_hour:
        sentences.append(f"The price is in dollars, on demand, of {PRICES_OF}: name yours with --price_per_hour.")
    if command.json:
        print(json.dumps(as_dict(run_plan, price) | {"remarks": sentences}, indent=2))
        return 0
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(run_plan, runtime, price))
    for sentence in sentences:
        console.print(sentence)
    return 0


def _table(run_plan: RunPlan, runtime: Runtime, price_per_hour: float) -> Table:
    from rich.table import Table

    from gpt_research.estimate.time_estimate import in_words

    config, resources, sweep, duration = run_plan.config, run_plan.resources, run_plan.sweep, run_plan.time
    model = config.model
    devices = f"{runtime.world_size} x {runtime.device_name}, {runtime.precision}"
    table = Table(show_header=False, title=f"Plan of {config.out} on {devices}", title_justify="left")
    table.add_row(
        "model",
        f"{resources.parameters / 1e6:,.1f}M parameters: {model.n_layer} layers, {model.n_embd} wide, "
        f"context {model.block_size}, vocabulary {model.vocab_size:,}",
    )
    table.add_row(
        "tokens",
        f"{_count(resources.tokens)} in {config.max_steps:,} steps, "
        f"{resources.tokens / resources.parameters:,.1f} a parameter (Chinchilla: about 20)",
    )
    if run_plan.epochs:
        table.add_row("epochs", ", ".join(f"{name} {count:.2f}" for name, count in run_plan.epochs.items()))
    table.add_row(
        "arithmetic",
        f"{resources.flops_per_token / 1e9:.3g} GFLOP a token, "
        f"{resources.flops_per_token * resources.tokens:.2e} FLOP in all",
    )
    if run_plan.compiled:
        table.add_row("compile", run_plan.compiled)
    table.add_row(
        "memory",
        f"{resources.memory_bytes / GB:.2f} GB by formula at micro_batch {config.micro_batch}: weights, gradients and "
        f"optimizer {resources.state_bytes / GB:.2f}, activations {resources.activation_bytes / GB:.2f}, "
        f"workspace {resources.work_bytes / GB:.2f}",
    )
    if run_plan.measured is not None and sweep is not None:
        table.add_row(
            "",
            f"{run_plan.measured.peak_bytes / GB:.2f} GB measured with all else of the process, "
            f"{sweep.room_bytes / GB:.1f} GB may be used",
        )
    if sweep is not None:
        for tried in sweep.measurements:
            table.add_row(
                "tried" if tried is sweep.measurements[0] else "",
                f"micro_batch {tried.micro_batch}: {tried.tokens_per_s:,.0f} tokens/s, {tried.peak_bytes / GB:.2f} GB",
            )
        table.add_row("largest", f"micro_batch {sweep.largest} fits, predicted from those")
    if duration is not None:
        table.add_row(
            "speed",
            f"{duration.tokens_per_s:,.0f} tokens/s at micro_batch {config.micro_batch}, "
            f"MFU {duration.mfu:.0%} of {_teraflops(run_plan.peak_flops)} TFLOP/s",
        )
        table.add_row("time", f"{in_words(duration.seconds)}, until {duration.ends_at} if begun now")
        if price_per_hour:
            table.add_row("cost", f"{duration.seconds / 3600 * price_per_hour:,.2f} at {price_per_hour:,.2f} an hour")
    table.add_row(
        "disk",
        f"{resources.disk_bytes / GB:,.2f} GB of checkpoints at most, {resources.checkpoint_bytes / GB:,.2f} each"
        + ("" if run_plan.free_disk is None else f"; {run_plan.free_disk / GB:,.0f} GB are free"),
    )
    return table


def _teraflops(flops: float) -> str:
    return f"{flops / 1e12:,.0f}" if flops >= 100e12 else f"{flops / 1e12:.3g}"


def _count(number: float) -> str:
    return f"{number / 1e9:,.2f}B" if number >= 1e9 else f"{number / 1e6:,.1f}M"
