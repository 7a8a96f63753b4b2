"""How near the variants of the model come to the speed of memory, beside GPT-2's shape.

    python benchmarks/generation_variants.py --threads 1 --rounds 5
    python benchmarks/generation_variants.py --variant qwen3 --precision int8 --profile

The bound of a token is the time to read all matrices, and the keys and values at half the length of
the text, once. A variant reads other numbers of bytes than GPT-2, so not speeds but shares of the
bound are compared. All weights are random and of about GPT-2 124M's size, the prompt is one token,
and sampling is greedy. The variants take turns in each round. "of GPT-2" is the median of the ratios
of each round, "best" the ratio of the best rounds, which other programs disturb least; the share
itself is that of the median. With --cpu the time is that of the processor,
which other programs disturb less.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gpt_research.base import wait_policy

wait_policy.choose()  # before torch is loaded

import torch
from generation import Endless, memory_speed
from torch import nn

from gpt_research.base import startup
from gpt_research.base.runtime import Runtime
from gpt_research.config import GenerateConfig
from gpt_research.generation.torch_engine import generate
from gpt_research.model.fast.packed import pack
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig

GPT2 = GPTConfig(block_size=512)
LLAMA = replace(GPT2, positions="rope", norm="rmsnorm", activation="swiglu", bias=False)
# What groups of heads save in queries, keys and values goes into the feed-forward network.
VARIANTS = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "llama, groups of 3": replace(LLAMA, n_kv_head=4, n_ff=2400),
    "qwen3": replace(LLAMA, n_kv_head=4, n_ff=2400, qk_norm=True),
    "relu2, rope, qk_norm": replace(LLAMA, activation="relu2", qk_norm=True),
    "geglu": replace(GPT2, activation="geglu"),
    "alibi": replace(GPT2, positions="alibi"),
    "value embeddings, softcap": replace(LLAMA, value_embeddings=True, logit_softcap=15.0),
}
WEIGHT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}


def bytes_a_token(model: GPT, precision: str, tokens: int) -> float:
    """Bytes of all matrices, and of fp32 keys and values at half the length of the text."""
    config = model.config
    matrices = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    cached = config.n_layer * 2 * config.kv_heads * config.head_dim * tokens / 2
    return matrices * WEIGHT_BYTES[precision] + cached * 4


def prepared(config: GPTConfig, precision: str, tokens: int) -> tuple[Callable[[], object], float]:
    """Return a function that writes a text, and the bytes that it must read for each token."""
    torch.manual_seed(0)
    model = GPT(config).eval()
    needed = bytes_a_token(model, precision, tokens)
    machine = Runtime(torch.device("cpu"), "fp32" if precision == "int8" else precision)
    packed = pack(model, machine, "int8" if precision == "int8" else "same", use_up=True)
    settings = GenerateConfig(max_new_tokens=tokens, temperature=0)
    return functools.partial(generate, packed, Endless.gpt2(), "\n", settings), needed


def seconds(action: Callable[[], object], of_processor: bool) -> float:
    clock = time.process_time if of_processor else time.perf_counter
    started_at = clock()
    action()
    return clock() - started_at


def measure(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Print a table for each precision; return the rows of all."""
    rows: list[dict[str, object]] = []
    names = ["gpt2", *(name for name in arguments.variant or VARIANTS if name != "gpt2")]
    for precision in arguments.precision:
        field = {name: prepared(VARIANTS[name], precision, arguments.tokens) for name in names}
        taken: dict[str, list[float]] = {name: [] for name in names}
        speeds = []
        for _ in range(arguments.rounds + 1):
            speeds.append(memory_speed(startup.start("cpu", "fp32")))
            for name, (write, _) in field.items():
                taken[name].append(seconds(write, arguments.cpu) / arguments.tokens)
        speed = max(speeds)
        print(f"\n{precision}, memory {speed / 1e9:.1f} GB/s, load {os.getloadavg()[0]}")
        print(f"{'':28}{'ms a token':>12}{'of bound':>10}{'of GPT-2':>10}{'best':>8}")
        for name, (_, needed) in field.items():
            # The first round warms up.
            shares = [needed / speed / each for each in taken[name][1:]]
            of_gpt2 = [field["gpt2"][1] / speed / each for each in taken["gpt2"][1:]]
            ratio = statistics.median(share / other for share, other in zip(shares, of_gpt2, strict=True))
            row = {"variant": name, "precision": precision, "ms": 1e3 * statistics.median(taken[name][1:])}
            best = max(shares) / max(of_gpt2)
            row |= {"share": statistics.median(shares), "of_gpt2": ratio, "best_of_gpt2": best}
            print(f"{name:28}{row['ms']:12.2f}{row['share']:10.0%}{ratio:10.2f}{best:8.2f}", flush=True)
            rows.append(row)
    return rows


def profile(arguments: argparse.Namespace) -> None:
    """Print the operations of one variant, by their own time."""
    write, _ = prepared(VARIANTS[arguments.variant[0]], arguments.precision[0], arguments.tokens)
    write()
    with torch.profiler.profile() as recorded:
        write()
    print(recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=30, max_name_column_width=50))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", nargs="+", choices=VARIANTS)
    parser.add_argument("--precision", nargs="+", choices=WEIGHT_BYTES, default=["int8", "fp16", "bf16"])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="threads of PyTorch (default: its own choice)")
    parser.add_argument("--cpu", action="store_true", help="time of the processor")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.profile:
        profile(arguments)
        return
    rows = measure(arguments)
    if arguments.json:
        about = {"torch": torch.__version__, "threads": torch.get_num_threads(), "tokens": arguments.tokens}
        arguments.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
