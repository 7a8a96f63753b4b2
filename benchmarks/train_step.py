"""Tokens a second of training steps, beside nanoGPT's model and loop in the same run.

    python benchmarks/train_step.py --nanogpt PATH [--config small gpt2-124m] [--rounds 5] [--json FILE]

A step is forward, backward, clipping and AdamW on random tokens. The contenders take turns, one step each in a round;
medians are shown, and as a ratio to the first row. nanoGPT's model is read from a checkout given by path; its loop is
its train.py's: autocast where the precision asks for it, clip_grad_norm_, AdamW from its own configure_optimizers.
`product` is what a matrix product of GPT shape reached in the same rounds: the bound.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gpt_research import runtime as runtimes
from gpt_research.config import GPTConfig, TrainConfig
from gpt_research.runtime import Runtime
from gpt_research.training.engine import Engine
from gpt_research.training.probe import RandomBatches

SHAPES = {  # model, micro-batch
    "small": (GPTConfig(n_layer=6, n_head=6, n_embd=384, block_size=256), 16),
    "gpt2-124m": (GPTConfig(), 8),
}
Step = Callable[[], float]


def ours(runtime: Runtime, model: GPTConfig, micro_batch: int, **settings: Any) -> Step:
    """Return what takes one step of our engine and gives its seconds."""
    tokens = micro_batch * model.block_size
    config = TrainConfig(model=model, micro_batch=micro_batch, tokens_per_step=tokens, **settings)
    engine, number = Engine(config, runtime, RandomBatches(model, micro_batch)), iter(range(10**9))

    def step() -> float:
        began = time.perf_counter()
        engine.take_step(next(number))
        runtime.synchronize()
        return time.perf_counter() - began

    return step


def nanogpt(path: Path, runtime: Runtime, model: GPTConfig, micro_batch: int, *, compiled: bool) -> Step:
    """Return what takes one step of nanoGPT's model and loop and gives its seconds."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", path / "model.py")
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    peer = module.GPT(
        module.GPTConfig(
            n_layer=model.n_layer,
            n_head=model.n_head,
            n_embd=model.n_embd,
            block_size=model.block_size,
            vocab_size=50304,
            dropout=0.0,
            bias=model.bias,
        )
    ).to(runtime.device)
    optimizer = peer.configure_optimizers(0.1, 6e-4, (0.9, 0.95), runtime.device.type)
    forward = torch.compile(peer) if compiled else peer
    batches = RandomBatches(model, micro_batch)
    tokens, targets = (x.to(runtime.device) for x in batches.batch(0, 0))

    def step() -> float:
        began = time.perf_counter()
        with runtime.autocast():
            _, loss = forward(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        runtime.synchronize()
        return time.perf_counter() - began

    return step


def measure(name: str, arguments: argparse.Namespace, runtime: Runtime) -> dict[str, Any]:
    """Let all contenders take turns on one model."""
    model, micro_batch = SHAPES[name]
    micro_batch = arguments.micro_batch or micro_batch
    contenders: dict[str, Step] = {}
    for compiled in (False, True) if arguments.compile else (False,):
        said = ", compiled" if compiled else ""
        if arguments.nanogpt:
            contenders[f"nanoGPT{said}"] = nanogpt(arguments.nanogpt, runtime, model, micro_batch, compiled=compiled)
        for chunk in arguments.loss_chunk:
            how = "" if chunk is None else ", whole loss" if chunk == 0 else f", loss in chunks of {chunk}"
            contenders[f"ours{said}{how}"] = ours(runtime, model, micro_batch, compile=compiled, loss_chunk=chunk)
    first = {}
    for contender, step in contenders.items():  # the first step compiles, the second fills caches
        first[contender] = step()
        step()
    seconds: dict[str, list[float]] = {contender: [] for contender in contenders}
    products = []
    for _ in range(arguments.rounds):
        products.append(runtimes.measured_flops(runtime))
        for contender, step in contenders.items():
            seconds[contender].append(step())
    tokens, product = micro_batch * model.block_size, statistics.median(products)
    with torch.device("meta"):
        from gpt_research.model import GPT

        flops = GPT(model).flops_per_token()
    rows = {
        contender: {
            "tokens_per_s": tokens / statistics.median(times),
            "best": tokens / min(times),
            "share_of_product": flops * tokens / statistics.median(times) / product,
            "first_step_s": first[contender],
            "seconds": times,
        }
        for contender, times in seconds.items()
    }
    print(f"\n{name}: micro-batch {micro_batch} x {model.block_size}, product {product / 1e9:,.0f} GFLOP/s\n")
    print("| | tokens/s, median (best) | ratio to the first | share of product | first step, s |")
    print("| --- | ---: | ---: | ---: | ---: |")
    base = next(iter(rows.values()))["tokens_per_s"]
    for contender, row in rows.items():
        print(
            f"| {contender} | {row['tokens_per_s']:,.0f} ({row['best']:,.0f}) | {row['tokens_per_s'] / base:.2f} | "
            f"{row['share_of_product']:.0%} | {row['first_step_s']:.1f} |",
            flush=True,
        )
    return {"micro_batch": micro_batch, "model": dataclasses.asdict(model), "product_flops": product, "rows": rows}


def main() -> None:
    """Measure, print tables as Markdown and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--config", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--micro_batch", type=int, default=0)
    parser.add_argument("--loss_chunk", nargs="+", type=lambda x: None if x == "auto" else int(x), default=[None])
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    runtime = runtimes.start(arguments.device, arguments.precision)
    torch.manual_seed(0)
    print(f"{runtime.device_name}, {runtime.precision}, torch {torch.__version__}, Python {platform.python_version()}")
    measured = {name: measure(name, arguments, runtime) for name in arguments.config}
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
