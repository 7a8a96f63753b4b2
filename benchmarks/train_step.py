"""Tokens a second of training steps, beside nanoGPT's model and loop in the same run.

    python benchmarks/train_step.py --nanogpt PATH [--config small gpt2-124m] [--rounds 5] [--json FILE]
    python benchmarks/train_step.py --starts [--config small]

A step is forward and backward of `--passes` micro-batches (1 on a CPU; as many as make 262,144
tokens on a GPU, as in the preset), clipping and AdamW, on random tokens; the host waits for the
device at the end of a step and nowhere else, so a GPU is as busy as in training. Every contender is
a process of its own, so that none works with another's allocator or compiled code; they take turns, one step
each in a round. Medians are shown, and as a ratio to the first row: nanoGPT as its README runs it
on a CPU, fp32 and not compiled. nanoGPT's model is read from a checkout given by path; its loop is
its train.py's, and autocast where a row says bf16. `product` is what a matrix product of GPT shape
reached in the same rounds in the best precision: the bound. MFU compares with the peak that the
card's maker states, or with that product, and shows its two terms. `first step` is from the start
of the process to the end of its first step.

`--starts` measures `gpt-research train` itself, twice on the same cache of compiled code, empty at
first: seconds from the start of the process until its first step is reported, then speed and the
share of a step that waits for data.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gpt_research.base import wait_policy

wait_policy.choose()  # before torch is loaded

import numpy as np
import torch
from flops import HEADING, Peak, flops_of

from gpt_research.base import startup
from gpt_research.base.peak_flops import measured_flops, stated_flops
from gpt_research.base.runtime import Runtime
from gpt_research.config import TrainConfig
from gpt_research.estimate.probe import RandomBatches
from gpt_research.model_config import GPTConfig
from gpt_research.training.assembly import build_step, plan_execution
from gpt_research.training.metrics import read_metrics
from gpt_research.training.step import TrainStep

SHAPES = {  # model, micro-batch
    "small": (GPTConfig(n_layer=6, n_head=6, n_embd=384, block_size=256), 16),
    "gpt2-124m": (GPTConfig(), 8),
}
STEP_TOKENS = 262_144
"""Tokens of a step on a GPU: those of the preset."""
Step = Callable[[], float]


@dataclass(frozen=True)
class Contender:
    """Who takes steps, and how."""

    program: str
    precision: str
    compiled: bool
    loss_chunk: int | None = None

    @property
    def name(self) -> str:
        chunk = "" if self.loss_chunk is None else f", loss in chunks of {self.loss_chunk or 'all'}"
        return f"{self.program}, {self.precision}, {'compiled' if self.compiled else 'eager'}{chunk}"


def contenders(arguments: argparse.Namespace, runtime: Runtime) -> list[Contender]:
    """Return all of them, nanoGPT as shipped first."""
    found = []
    for precision in dict.fromkeys(("fp32", runtime.precision)) if arguments.nanogpt else ():
        found.append(Contender("nanoGPT", precision, compiled=False))
    if arguments.nanogpt and arguments.compile:
        found.append(Contender("nanoGPT", runtime.precision, compiled=True))
    for compiled in (False, True) if arguments.compile else (False,):
        found += [Contender("ours", runtime.precision, compiled, chunk) for chunk in arguments.loss_chunk]
    return [contender for contender in found if contender.name not in arguments.leave_out]


@dataclass(frozen=True)
class Shape:
    """What every contender computes in a step."""

    model: GPTConfig
    micro_batch: int
    passes: int
    """Micro-batches of a step."""

    @property
    def tokens(self) -> int:
        return self.passes * self.micro_batch * self.model.block_size


def ours(contender: Contender, runtime: Runtime, shape: Shape) -> Step:
    """Return what takes one training step of ours and gives its seconds."""
    model, micro_batch = shape.model, shape.micro_batch
    config = TrainConfig(
        model=model, micro_batch=micro_batch, tokens_per_step=shape.tokens * runtime.world_size,
        compile=contender.compiled, loss_chunk=contender.loss_chunk,
    )  # fmt: skip
    train_step, number = (
        build_step(config, plan_execution(config, runtime), runtime, RandomBatches(model, micro_batch), TrainStep),
        iter(range(10**9)),
    )

    def step() -> float:
        began = time.perf_counter()
        train_step.take_step(next(number))
        runtime.synchronize()
        return time.perf_counter() - began

    return step


def nanogpt(contender: Contender, runtime: Runtime, shape: Shape, path: Path) -> Step:
    """Return what takes one step of nanoGPT's model and loop and gives its seconds."""
    model = shape.model
    spec = importlib.util.spec_from_file_location("nanogpt_model", path / "model.py")
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sizes = {name: getattr(model, name) for name in ("n_layer", "n_head", "n_embd", "block_size", "bias")}
    peer = module.GPT(module.GPTConfig(**sizes, vocab_size=model.padded_vocab_size, dropout=0.0)).to(runtime.device)
    optimizer = peer.configure_optimizers(0.1, 6e-4, (0.9, 0.95), runtime.device.type)
    scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
    forward = torch.compile(peer) if contender.compiled else peer
    if runtime.world_size > 1:
        forward = torch.nn.parallel.DistributedDataParallel(forward)
    sequences = RandomBatches(model, shape.micro_batch).sequences(0, 0).to(runtime.device)
    tokens, targets = sequences[:, :-1].contiguous(), sequences[:, 1:].contiguous()

    def step() -> float:
        began = time.perf_counter()
        for _ in range(shape.passes):
            with runtime.autocast():
                _, loss = forward(tokens, targets)
            scaler.scale(loss / shape.passes).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        runtime.synchronize()
        return time.perf_counter() - began

    return step


def take_turns(pipe: Connection, contender: Contender, shape: Shape, arguments: Any) -> None:
    """Be one contender: take a step whenever the pipe says so, and answer with its seconds."""
    torch.manual_seed(0)
    runtime = startup.start(arguments.device, contender.precision)
    if contender.program == "ours":
        step = ours(contender, runtime, shape)
    else:
        step = nanogpt(contender, runtime, shape, arguments.nanogpt)
    while pipe.recv():
        pipe.send(step())


def measure(name: str, arguments: argparse.Namespace, runtime: Runtime) -> dict[str, Any]:
    """Let all contenders take turns on one model."""
    model, micro_batch = SHAPES[name]
    micro_batch = arguments.micro_batch or micro_batch
    on_gpu = runtime.device.type != "cpu"
    passes = arguments.passes or (max(1, STEP_TOKENS // (micro_batch * model.block_size)) if on_gpu else 1)
    shape = Shape(model, micro_batch, passes)
    first, pipes = {}, {}
    context = multiprocessing.get_context("spawn")
    for contender in contenders(arguments, runtime):
        pipes[contender.name], other = context.Pipe()
        began = time.perf_counter()
        task = (other, contender, shape, arguments)
        context.Process(target=take_turns, args=task, daemon=True).start()
        ask(pipes[contender.name])
        first[contender.name] = time.perf_counter() - began
        ask(pipes[contender.name])  # the first step compiles, the second fills caches
    seconds: dict[str, list[float]] = {contender: [] for contender in pipes}
    products = []
    for _ in range(arguments.rounds):
        products.append(measured_flops(runtime))
        for contender, pipe in pipes.items():
            seconds[contender].append(ask(pipe))
    for pipe in pipes.values():
        pipe.send(False)
    tokens, product, flops = shape.tokens, statistics.median(products), flops_of(model)
    stated = stated_flops(runtime)
    peak = Peak(stated, "as its maker states it") if stated else Peak(product, "a matrix product, measured")
    rows = {
        contender: {
            "tokens_per_s": tokens / statistics.median(times),
            "best": tokens / min(times),
            "mfu": peak.mfu(flops, tokens / statistics.median(times)),
            "share_of_product": flops.both * tokens / statistics.median(times) / product,
            "first_step_s": first[contender],
            "seconds": times,
        }
        for contender, times in seconds.items()
    }
    said = f"{passes} x micro-batch {micro_batch} x {model.block_size}, {arguments.rounds} rounds"
    print(f"\n{name}: {said}, {runtime.precision} product {product / 1e9:,.0f} GFLOP/s, peak {peak}\n")
    print(f"| | tokens/s, median (best) | ratio to the first | share of product | {HEADING} | first step, s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    base = next(iter(rows.values()))["tokens_per_s"]
    for contender, row in rows.items():
        print(
            f"| {contender} | {row['tokens_per_s']:,.0f} ({row['best']:,.0f}) | {row['tokens_per_s'] / base:.2f} | "
            f"{row['share_of_product']:.0%} | {row['mfu']} | {row['first_step_s']:.1f} |",
            flush=True,
        )
    return {
        "micro_batch": micro_batch,
        "passes": passes,
        "model": dataclasses.asdict(model),
        "products": products,
        "rows": rows,
    }


def ask(pipe: Connection) -> float:
    """Let a contender take one step; return its seconds."""
    pipe.send(True)
    return float(pipe.recv())


def measure_starts(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Start `gpt-research train` twice, plain and compiled: with an empty cache of compiled code,
    then a full one.
    """
    rows = {}
    print(f"\n{name}: gpt-research train\n")
    print("| | first start, s | second start, s | tokens/s | waiting for data |\n| --- | ---: | ---: | ---: | ---: |")
    for compiled in (False, True) if arguments.compile else (False,):
        with tempfile.TemporaryDirectory() as folder:
            starts = [start(name, Path(folder), number, compiled, arguments) for number in range(2)]
        rows["compiled" if compiled else "eager"] = starts
        wait = max(s["data_wait"] for s in starts)
        print(
            f"| ours, {'compiled' if compiled else 'eager'} | {starts[0]['first_step_s']:.1f} | "
            f"{starts[1]['first_step_s']:.1f} | {starts[1]['tokens_per_s']:,.0f} | {wait:.2%} |",
            flush=True,
        )
    return rows


def start(name: str, folder: Path, number: int, compiled: bool, arguments: argparse.Namespace) -> dict[str, float]:
    """Train for some steps in a new process; return when the first was done, the speed, and the
    wait for data.
    """
    model, micro_batch = SHAPES[name]
    data, out = folder / "data", folder / f"run_{number}"
    data.mkdir(exist_ok=True)
    for split in ("train", "val"):  # as nanoGPT has them
        np.random.default_rng(0).integers(0, model.vocab_size, 1_000_000, dtype=np.uint16).tofile(data / f"{split}.bin")
    shape = {f"model.{key}": getattr(model, key) for key in ("n_layer", "n_head", "n_embd", "block_size")}
    settings = shape | {
        "data": data, "out": out, "micro_batch": micro_batch, "tokens_per_step": micro_batch * model.block_size,
        "max_steps": 1 + arguments.rounds, "warmup_steps": 1, "log_interval": 1, "eval_tokens": 1,
        "compile": str(compiled).lower(), "device": arguments.device, "precision": arguments.precision,
    }  # fmt: skip
    command = [sys.executable, "-m", "gpt_research", "train", *(f"--{k}={v}" for k, v in settings.items())]
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(folder / "cache")}
    began = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("step 1 "):
                first_step_s = time.perf_counter() - began
    assert process.returncode == 0, "".join(said)
    steps = [line for line in read_metrics(out) if "loss" in line][1:]
    return {
        "first_step_s": first_step_s,
        "tokens_per_s": statistics.median(line["tokens_per_s"] for line in steps),
        "data_wait": max(line["data_wait"] for line in steps),
    }


def main() -> None:
    """Measure, print tables as Markdown and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--config", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--micro_batch", type=int, default=0)
    parser.add_argument("--passes", type=int, default=0, help="micro-batches of a step")
    parser.add_argument("--loss_chunk", nargs="+", type=lambda x: None if x == "auto" else int(x), default=[None])
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--leave_out", nargs="+", default=[], help="contenders, by their names in the table")
    parser.add_argument("--starts", action="store_true", help="measure first and second starts of training instead")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    runtime = startup.start(arguments.device, arguments.precision)
    print(f"{runtime.device_name}, {runtime.precision}, torch {torch.__version__}, Python {platform.python_version()}")
    measured = {
        name: measure_starts(name, arguments) if arguments.starts else measure(name, arguments, runtime)
        for name in arguments.config
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
