"""How training scales over processes: measured on this machine, and reckoned for clusters.

    python benchmarks/scaling.py [--device cuda] [--ranks 1 2] [--rounds 3] [--json FILE]

Measured: the same tokens a step on each number of processes, by DDP and by FSDP2; efficiency is the
speed of N processes divided by N times the speed of one. On CPUs it is the small model in fp32 over
gloo, one thread each; processes beyond the cores share them. On GPUs it is the preset as training
runs it, compiled and in its precision, over NCCL, by default on 1, 2, 4 ... of the cards.

Reckoned: the preset on H100s. A step's arithmetic against the bytes that its gradient moves,
nothing overlapped and all of it hidden behind the backward pass (two thirds of the arithmetic); the
truth lies between. A ring all-reduce moves 2 (n - 1) / n times the gradient through each link
(Patarasuk and Yuan 2009); over nodes, NCCL reduces inside a node first, so each network card
carries an eighth.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gpt_research.base import wait_policy

wait_policy.choose()  # before torch is loaded

import torch
from flops import HEADING, Peak, flops_of, peak_of

from gpt_research.base import startup
from gpt_research.config import TrainConfig
from gpt_research.estimate.probe import RandomBatches
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.assembly import build_step, plan_execution
from gpt_research.training.step import TrainStep

SMALL = GPTConfig(n_layer=6, n_head=6, n_embd=384, block_size=256, vocab_size=50257)
STEP_TOKENS = 8192
PEAK, MFU = 989.5e12, 0.40
"""Dense bf16 FLOP/s of an H100, and the share of it that training reaches."""
INSIDE, BETWEEN = 450e9, 50e9
"""Bytes a second and direction: NVLink of an H100, and a 400 Gbit/s network card for each GPU."""


def setting(device: str, how: str) -> TrainConfig:
    """Return what is trained on a device."""
    if device == "cpu":
        return TrainConfig(model=SMALL, micro_batch=4, tokens_per_step=STEP_TOKENS, parallel=how)  # type: ignore[arg-type]
    return TrainConfig(micro_batch=32, parallel=how)  # type: ignore[arg-type]


def worker(arguments: argparse.Namespace) -> None:
    """Take steps as one of the processes that torchrun started; the first prints its seconds."""
    runtime = startup.start(arguments.device, "fp32" if arguments.device == "cpu" else "auto")
    config = setting(arguments.device, arguments.worker)
    batches = RandomBatches(config.model, config.micro_batch)  # type: ignore[arg-type]
    train_step = build_step(config, plan_execution(config, runtime), runtime, batches, TrainStep)
    warm_up, times = 3 if train_step.plan.compiled else 1, []
    for step in range(warm_up + arguments.rounds):
        runtime.synchronize()
        runtime.barrier()
        began = time.perf_counter()
        train_step.take_step(step)
        runtime.synchronize()
        times.append(time.perf_counter() - began)
    if runtime.is_main:
        peak = peak_of(runtime)
        print(json.dumps([times[warm_up:], peak.flops, peak.source]))
    startup.stop(runtime)


def run(ranks: int, how: str, arguments: argparse.Namespace) -> tuple[list[float], Peak]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    command = [*launcher, __file__, "--worker", how, "--rounds", str(arguments.rounds), "--device", arguments.device]
    said = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if said.returncode:
        sys.exit(said.stderr[-2000:])
    times, peak, source = json.loads(said.stdout.splitlines()[-1])
    return times, Peak(peak, source)


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure each number of processes and print the table."""
    config = setting(arguments.device, "ddp")
    print(f"| processes | how | tokens/s | efficiency | {HEADING} |\n| ---: | --- | ---: | ---: | ---: |")
    found: dict[str, Any] = {}
    alone = 0.0
    for count in arguments.ranks:
        for how in ("ddp", "fsdp") if count > 1 else ("ddp",):
            times, peak = run(count, how, arguments)
            speed = config.tokens_per_step / statistics.median(times)
            alone = alone or speed / count
            said, mfu = how if count > 1 else "alone", peak.mfu(flops_of(config.model), speed / count)
            print(f"| {count} | {said} | {speed:,.0f} | {speed / alone / count:.0%} | {mfu} |", flush=True)
            row = {"seconds": times, "tokens_per_s": speed, "efficiency": speed / alone / count, "mfu": mfu}
            found[f"{count} {said}"] = row
    print(f"\nPeak of one: {peak}")
    return found


def reckoned() -> None:
    """Print what the formulas say of the preset."""
    with torch.device("meta"):
        model = GPT(GPTConfig())
    gradient, flops = 4 * sum(p.numel() for p in model.parameters()), model.flops_per_token()
    print("\n| GPUs | tokens a step | arithmetic, ms | gradient, ms | efficiency, between |")
    print("| ---: | ---: | ---: | ---: | --- |")
    for tokens in (262_144, 2_097_152):
        for gpus in (8, 64, 512):
            nodes = gpus // 8
            work = tokens / gpus * flops / (PEAK * MFU)
            moved = 2 * 7 / 8 * gradient / INSIDE
            if nodes > 1:
                moved += 2 * (nodes - 1) / nodes * gradient / 8 / BETWEEN
            hidden = max(0.0, moved - 2 / 3 * work)
            low, high = work / (work + moved), work / (work + hidden)
            print(
                f"| {gpus} | {tokens:,} | {work * 1e3:.1f} | {moved * 1e3:.1f} | {low:.0%} and {high:.0%} |", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--ranks", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments)
        return
    if arguments.ranks is None:
        cards = torch.cuda.device_count()
        arguments.ranks = [1, 2] if arguments.device == "cpu" else [1 << n for n in range(cards.bit_length())]
    found = measured(arguments)
    reckoned()
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
