"""Does training lose anything if its residual stream is rounded to bf16? Paired seeds, two sizes.

Both arms train in bf16 on the same batches from the same weights; the residual stream is fp32 in
one and bf16 in the other. The table gives the difference of their validation losses with a 95%
interval (Student's t over the pairs), and beside it what another seed changes.

    gpt-research preprocess gutenberg=BOOKS --tokenizer train --vocab_size 2048 --val_fraction 0.1 --out data/books
    python benchmarks/residual.py --data data/books

Runs are kept in --out and go on where they stopped, so several processes may share the work.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

from gpt_research.evaluation.statistics import student_quantile

SIZES = {"1M": (4, 4, 144), "4M": (5, 4, 256)}
"""Name to layers, heads and width."""
ARMS = ("fp32", "bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="data set of gpt-research preprocess")
    parser.add_argument("--out", default="runs/residual")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=256, help="of 4,096 tokens")
    parser.add_argument("--only", default="", help="seeds that this process trains, such as 0,2; default: all")
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.only.split(",")] if args.only else range(args.seeds)
    for seed, size, arm in itertools.product(seeds, SIZES, ARMS):
        train(args, size, arm, seed)
    if not args.only:
        report(args)


def run_folder(args: argparse.Namespace, size: str, arm: str, seed: int) -> Path:
    return Path(args.out, f"{size}-{arm}-{seed}")


def train(args: argparse.Namespace, size: str, arm: str, seed: int) -> None:
    layers, heads, width = SIZES[size]
    settings = {
        "data": args.data,
        "out": run_folder(args, size, arm, seed),
        "model.n_layer": layers,
        "model.n_head": heads,
        "model.n_embd": width,
        "model.block_size": 256,
        "micro_batch": 16,
        "tokens_per_step": 4096,
        "max_steps": args.steps,
        "learning_rate": 2e-3,
        "warmup_steps": args.steps // 10,
        "eval_interval": 0,
        "eval_tokens": 1 << 19,
        "save_interval": 50,
        "keep_last": 1,
        "device": "cpu",
        "precision": "bf16",
        "residual_precision": arm,
        "seed": seed,
    }
    command = [sys.executable, "-m", "gpt_research", "train"]
    for name, value in settings.items():
        command += [f"--{name}", str(value)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def val_loss(folder: Path) -> float:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return float([line["val_loss"] for line in lines if "val_loss" in line][-1])


def report(args: argparse.Namespace) -> None:
    print(f"{args.steps * 4096:,} tokens, validation loss in nats; difference = bf16 - fp32")
    for size in SIZES:
        losses = {arm: [val_loss(run_folder(args, size, arm, seed)) for seed in range(args.seeds)] for arm in ARMS}
        differences = [rounded - whole for whole, rounded in zip(losses["fp32"], losses["bf16"], strict=True)]
        mean = statistics.mean(differences)
        half = student_quantile(0.975, args.seeds - 1) * statistics.stdev(differences) / math.sqrt(args.seeds)
        print(
            f"{size}: fp32 {statistics.mean(losses['fp32']):.4f}, bf16 {statistics.mean(losses['bf16']):.4f}, "
            f"difference {mean:+.5f} ({mean - half:+.5f} to {mean + half:+.5f}); "
            f"another seed changes {statistics.stdev(losses['fp32']):.4f}"
        )


if __name__ == "__main__":
    main()
