"""`gpt-research plan`: what a run will take, from formulas and a measured minute, before it is begun."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gpt_research.base import runtime as runtimes
from gpt_research.base.runtime import Runtime
from gpt_research.commands import PlanCommand
from gpt_research.config import TrainConfig
from gpt_research.data.shards import Dataset
from gpt_research.estimate.footprint import Footprint, footprint
from gpt_research.estimate.outlook import Outlook, hopeless_sentence, in_words, outlook
from gpt_research.estimate.probe import Measured, Probe, Probed, fitting_micro_batches, probe
from gpt_research.training.batches import loader_of_run
from gpt_research.training.loop import dataset_tokenizer, fit_vocabulary

GB = 1e9
CLIMB_SHARE = 0.4
"""Share of the time that goes into trying micro-batches; the rest measures the one that is taken."""


@dataclass(frozen=True)
class Plan:
    """What a run will take."""

    config: TrainConfig
    """With the vocabulary of the data set, and the micro-batch that the figures are for."""
    footprint: Footprint
    epochs: dict[str, float]
    """How often each corpus will be seen; empty without a data set."""
    free_disk: int
    """Bytes that are free where the run folder will be."""
    peak_flops: float = 0.0
    """Of all devices together; 0 where nothing was measured."""
    probed: Probed | None = None
    measured: Measured | None = None
    """The steps that the speed is taken from."""
    outlook: Outlook | None = None


def run(command: PlanCommand) -> int:
    """Plan and print; return the exit code."""
    runtime = runtimes.start(command.device, command.precision)
    try:
        fields = {field.name: getattr(command, field.name) for field in dataclasses.fields(TrainConfig)}
        console = Console(highlight=False, soft_wrap=True)
        if command.seconds and runtime.is_main and not command.json:
            Console(stderr=True).print(f"Measuring real steps for about {command.seconds:.0f} seconds ...")
        found = plan(TrainConfig(**fields), runtime, command.seconds)
        if not runtime.is_main:
            return 0
        verdict = remarks(found, command, runtime)
        if command.json:
            print(json.dumps(as_dict(found, command.price_per_hour) | {"remarks": verdict}, indent=2))
            return 0
        console.print(_table(found, runtime, command.price_per_hour))
        for remark in verdict:
            console.print(remark)
    finally:
        runtimes.stop(runtime)
    return 0


def plan(config: TrainConfig, runtime: Runtime, seconds: float) -> Plan:
    """Work out what `config` takes on the devices of `runtime`; with `seconds`, measure steps for about so long.

    Raises:
        UserError: the data set is damaged or of another vocabulary, or the step does not divide over the devices.
    """
    config = dataclasses.replace(config, precision=runtime.precision)
    epochs: dict[str, float] = {}
    if Path(config.data).is_dir():
        dataset = Dataset(config.data, config.model.block_size)
        config = dataclasses.replace(config, model=fit_vocabulary(config.model, dataset, dataset_tokenizer(dataset)[0]))
        order = loader_of_run(dataclasses.replace(config, micro_batch=1), dataset.train).order
        epochs = order.passes(config.max_steps * config.tokens_per_step // config.model.block_size)
    sizes = fitting_micro_batches(config, runtime.world_size)
    disk = _free_disk(Path(config.out))
    if not seconds:
        config = dataclasses.replace(config, micro_batch=1) if config.micro_batch == "auto" else config
        return Plan(config, footprint(config, runtime), epochs, disk)
    peak = runtimes.peak_flops(runtime) * runtime.world_size
    probed, measured = _measure(config, runtime, sizes, seconds)
    config = dataclasses.replace(config, micro_batch=measured.micro_batch if measured else sizes[0])
    size = footprint(config, runtime)
    if measured is None:
        return Plan(config, size, epochs, disk, peak, probed)
    peak = max(peak, measured.tokens_per_s * size.flops_per_token)  # a peak taken from a busy machine is too low
    ahead = outlook(config, measured.tokens_per_s, size.flops_per_token, peak, corpora=max(1, len(epochs)))
    return Plan(config, size, epochs, disk, peak, probed, measured, ahead)


def _measure(
    config: TrainConfig, runtime: Runtime, sizes: list[int], seconds: float
) -> tuple[Probed | None, Measured | None]:
    """Try micro-batches, then measure the one that the run will take, or the nearest for which there is time.

    The first process chooses; the rest follow it, and take its steps together.
    """
    began = time.perf_counter()
    probed, number = None, 0
    if runtime.is_main:
        probed = probe(dataclasses.replace(config, compile=False), runtime, sizes, CLIMB_SHARE * seconds)
        number = _number_to_measure(config, probed, seconds - (time.perf_counter() - began))
    number = runtime.agree(number)
    left = max(1.0, seconds - (time.perf_counter() - began))
    if number == 0:
        return probed, None
    if runtime.world_size > 1:
        return probed, Probe(config, runtime).measure(number, left)
    again = probe(config, runtime, [number], left).found
    tried = probed.found if probed else []
    return probed, next(iter(again + [m for m in tried if m.micro_batch == number]), None)


def _number_to_measure(config: TrainConfig, probed: Probed, seconds: float) -> int:
    """Return the configured micro-batch, or auto's; a smaller one where memory or time is short."""
    if not probed.found:
        return 0
    wanted = probed.fastest.micro_batch if config.micro_batch == "auto" else config.micro_batch
    last = probed.found[-1]
    in_time = 2 * last.pass_s * wanted / last.micro_batch <= seconds
    if wanted <= probed.largest and in_time:
        return wanted
    return max((m.micro_batch for m in probed.found if m.micro_batch <= wanted), default=last.micro_batch)


def _free_disk(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free
    return 0


def remarks(found: Plan, command: PlanCommand, runtime: Runtime) -> list[str]:
    """Return what the figures mean, in sentences: hopeless, too large, too slow, too much disk."""
    said = []
    probed, measured, wanted = found.probed, found.measured, command.micro_batch
    if probed is not None and measured is None:
        need = found.footprint.memory_bytes / GB
        said.append(
            f"It does not fit: even one sequence takes {need:.1f} GB, and {probed.room_bytes / GB:.1f} GB may be used. "
            "Add --gradient_checkpointing, or make the model smaller."
        )
    elif probed is not None and measured is not None and probed.found:
        if wanted != "auto" and wanted > probed.largest:
            said.append(
                f"micro_batch {wanted} does not fit: take --micro_batch {probed.largest}. The time is for "
                f"{measured.micro_batch}."
            )
        elif wanted not in ("auto", measured.micro_batch):
            said.append(
                f"There was no time to measure micro_batch {wanted}: the speed is that of {measured.micro_batch}."
            )
        best = probed.fastest
        own = next((m for m in probed.found if m.micro_batch == wanted), None)
        if own is not None and best.tokens_per_s > 1.1 * own.tokens_per_s:
            said.append(
                f"--micro_batch {best.micro_batch} is {best.tokens_per_s / own.tokens_per_s:.1f} times as fast."
            )
    if found.outlook is not None and found.outlook.hopeless:
        said.append(hopeless_sentence(found.outlook, runtime, found.config))
    if found.footprint.disk_bytes > found.free_disk:
        said.append(
            f"The checkpoints do not fit the disk: {found.footprint.disk_bytes / GB:.1f} GB, and "
            f"{found.free_disk / GB:.1f} GB are free. Lower --keep_last, or name another disk with --out."
        )
    return said


def as_dict(found: Plan, price_per_hour: float = 0.0) -> dict[str, Any]:
    """Return a plan as JSON holds it; bytes, seconds and FLOPs are plain numbers."""
    size, ahead, probed = found.footprint, found.outlook, found.probed
    result: dict[str, Any] = {
        **dataclasses.asdict(size),
        "memory_bytes": size.memory_bytes,
        "micro_batch": found.config.micro_batch,
        "epochs": found.epochs,
        "free_disk_bytes": found.free_disk,
    }
    if probed is not None:
        result["largest_micro_batch"] = probed.largest
        result["room_bytes"] = probed.room_bytes
        result["tried"] = [dataclasses.asdict(m) for m in probed.found]
    if ahead is not None and found.measured is not None:
        result |= {
            "tokens_per_s": ahead.tokens_per_s,
            "mfu": ahead.mfu,
            "peak_flops": found.peak_flops,
            "peak_bytes": found.measured.peak_bytes,
            "hours": ahead.seconds / 3600,
            "hopeless": ahead.hopeless,
        }
        if price_per_hour:
            result["cost"] = ahead.seconds / 3600 * price_per_hour
    return result


def _table(found: Plan, runtime: Runtime, price_per_hour: float) -> Table:
    config, size, probed, ahead = found.config, found.footprint, found.probed, found.outlook
    model = config.model
    devices = f"{runtime.world_size} x {runtime.device_name}, {runtime.precision}"
    table = Table(show_header=False, title=f"Plan of {config.out} on {devices}", title_justify="left")
    table.add_row(
        "model",
        f"{size.parameters / 1e6:,.1f}M parameters: {model.n_layer} layers, {model.n_embd} wide, "
        f"context {model.block_size}, vocabulary {model.vocab_size:,}",
    )
    table.add_row(
        "tokens",
        f"{_count(size.tokens)} in {config.max_steps:,} steps, {size.tokens / size.parameters:,.1f} a parameter"
        " (Chinchilla: about 20)",
    )
    if found.epochs:
        table.add_row("epochs", ", ".join(f"{name} {count:.2f}" for name, count in found.epochs.items()))
    table.add_row(
        "arithmetic",
        f"{size.flops_per_token / 1e9:.3g} GFLOP a token, {size.flops_per_token * size.tokens:.2e} FLOP in all",
    )
    table.add_row(
        "memory",
        f"{size.memory_bytes / GB:.2f} GB by formula at micro_batch {config.micro_batch}: weights, gradients and "
        f"optimizer {size.state_bytes / GB:.2f}, activations {size.activation_bytes / GB:.2f}, "
        f"workspace {size.work_bytes / GB:.2f}",
    )
    if found.measured is not None and probed is not None:
        table.add_row(
            "",
            f"{found.measured.peak_bytes / GB:.2f} GB measured with all else of the process, "
            f"{probed.room_bytes / GB:.1f} GB may be used",
        )
    if probed is not None:
        for tried in probed.found:
            table.add_row(
                "tried" if tried is probed.found[0] else "",
                f"micro_batch {tried.micro_batch}: {tried.tokens_per_s:,.0f} tokens/s, {tried.peak_bytes / GB:.2f} GB",
            )
        table.add_row("largest", f"micro_batch {probed.largest} fits, predicted from those")
    if ahead is not None:
        table.add_row(
            "speed",
            f"{ahead.tokens_per_s:,.0f} tokens/s at micro_batch {config.micro_batch}, "
            f"MFU {ahead.mfu:.0%} of {found.peak_flops / 1e12:,.3g} TFLOP/s",
        )
        table.add_row("time", f"{in_words(ahead.seconds)}, until {ahead.ends_at} if begun now")
        if price_per_hour:
            table.add_row("cost", f"{ahead.seconds / 3600 * price_per_hour:,.2f} at {price_per_hour:,.2f} an hour")
    table.add_row(
        "disk",
        f"{size.disk_bytes / GB:,.2f} GB of checkpoints at most, {size.checkpoint_bytes / GB:,.2f} each; "
        f"{found.free_disk / GB:,.0f} GB are free",
    )
    return table


def _count(number: float) -> str:
    return f"{number / 1e9:,.2f}B" if number >= 1e9 else f"{number / 1e6:,.1f}M"
