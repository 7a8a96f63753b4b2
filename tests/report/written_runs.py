"""Run folders and experiments for tests of the report, made of numbers without training, and how a
page is read.

A test says `page.count(text) == 0`, because pytest compares a long text that ought not to hold
another one letter by letter, which takes minutes.
"""

from __future__ import annotations

import html
import json
import math
import random
import re
from pathlib import Path
from typing import Any

from gpt_research.base.settings import write_yaml
from gpt_research.config import TrainConfig
from gpt_research.model_config import GPTConfig

HOSTILE = """<script>alert('x')<!-- "quoted" & <img src=x onerror=alert(1)>"""
"""The name of a run, of a corpus, or a sample that would run a script if it were not escaped."""


def text_of(page: str) -> str:
    """Return what a reader sees, without markup."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def titles(page: str) -> list[str]:
    return re.findall(r"<figcaption><h3>(.*?)</h3>", page)


def write_run(
    folder: Path,
    seed: int = 1,
    *,
    learning_rate: float = 1e-3,
    steps: int = 100,
    stop: int | None = None,
    diverge: int | None = None,
    gain: float = 0.0,
    data: str = "nowhere",
    corpora: tuple[str, ...] = ("books", "wiki"),
    tokens_per_step: int = 1024,
    log_interval: int = 1,
) -> list[dict[str, Any]]:
    """Write a run folder, and return the lines of its metrics.

    Args:
        stop: the last step that is logged; the run is not finished if it is below `steps`.
        diverge: from this step on, losses are not finite.
        gain: by how much its losses are lower.
    """
    folder.mkdir(parents=True)
    model = GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=32, dropout=0.0)
    config = TrainConfig(
        data=data, out=str(folder), seed=seed, learning_rate=learning_rate, max_steps=steps, micro_batch=8,
        tokens_per_step=tokens_per_step, model=model, warmup_steps=2,
    )  # fmt: skip
    write_yaml(config, folder / "config.yaml")
    noise, of_seed, lines = random.Random(seed), random.Random(seed).gauss(0, 0.02), []
    for step in range(log_interval, (stop or steps) + 1, log_interval):
        finite = diverge is None or step < diverge
        loss = 4 + 4 * math.exp(-6 * step / steps) + of_seed - gain
        numbers = {"loss": loss + noise.gauss(0, 0.1), "mean_loss": loss, "grad_norm": abs(noise.gauss(1, 0.1))}
        lines.append(
            {"step": step, **(numbers if finite else dict.fromkeys(numbers)), "learning_rate": learning_rate,
             "tokens_per_s": noise.gauss(3000, 100), "tokens": step * tokens_per_step, "elapsed_s": step * 0.5,
             "peak_memory_gb": 0.5}
        )  # fmt: skip
        if step % max(1, steps // 10) == 0:
            bits = loss / 2 + noise.gauss(0, 0.002)
            of_corpora = {
                name: {"loss": (2 * bits + n) if finite else None, "bits_per_byte": (bits + n / 10) if finite else None}
                for n, name in enumerate(corpora)
            }
            lines.append(
                {"step": step, "val_loss": 2 * bits if finite else None, "val_bits_per_byte": bits if finite else None,
                 "corpora": of_corpora}
            )  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    samples = "".join(f"--- step {step} ---\nA text of step {step}.\n\n" for step in (steps // 2, stop or steps))
    (folder / "samples.txt").write_text(samples, encoding="utf-8")
    return lines


def write_ablation(
    folder: Path, *, arms: tuple[str, ...] = ("base", "rope"), seeds: int = 3, **other: Any
) -> dict[str, Any]:
    """Write the folder of an ablation with two horizons, and return its result."""
    folder.mkdir(parents=True)
    of_arms = []
    for number, arm in enumerate(arms):
        runs = []
        for horizon in (0.5, 1.0):
            for seed in range(1, seeds + 1):
                steps, where = int(100 * horizon), f"arm-{number}/{horizon}/seed-{seed}"
                lines = write_run(folder / where, seed, steps=steps, gain=0.1 * number)
                bits = lines[-1]["val_bits_per_byte"] - 0.1 * horizon
                runs.append(
                    {"seed": seed, "horizon": horizon, "folder": where, "state": "done", "why": "", "steps": steps,
                     "tokens": steps * 1024, "seconds": steps * 0.5, "loss": 2 * bits, "bits_per_byte": bits,
                     "corpora": {name: {"loss": 2 * bits, "bits_per_byte": bits} for name in ("books", "wiki")},
                     "weights_sha256": "ab" * 32}
                )  # fmt: skip
        tried = [{"value": 0.001 * 2**n, "bits_per_byte": 2 + 0.1 * (n - 1) ** 2, "runs": []} for n in range(4)]
        of_arms.append(
            {"name": arm, "changes": {} if number == 0 else {"model.positions": arm}, "parameters": 4_230_000,
             "settings": {"learning_rate": 0.002, "model.positions": "learned" if number == 0 else arm},
             "tuned": {"setting": "learning_rate", "tried": tried, "chosen": 0.002}, "runs": runs}
        )  # fmt: skip
    comparisons = [
        {"arm": arm, "horizon": horizon, "pairs": seeds, "verdict": "better", "holm": "not decided",
         "bits_per_byte": {"mean": -0.05, "low": -0.08, "high": -0.02},
         "loss": {"mean": -0.1, "low": -0.16, "high": -0.04}, "seed_noise": 0.004, "pairing_gain": 3.1,
         "smallest_visible": 0.006,
         "tokens_ratio": {"mean": 1.5, "low": 1.3, "high": 1.7, "beyond": None} if horizon == 1 else None,
         "time_ratio": {"mean": 2.0, "low": 1.9, "high": None, "beyond": "more"} if horizon == 1 else None,
         "sentence": f"{arm} is better."}
        for arm in arms[1:] for horizon in (0.5, 1.0)
    ]  # fmt: skip
    result = {
        "version": 1, "kind": "ablation", "command": "gpt-research ablate demo --change model.positions=rope",
        "base": "demo.yaml", "fingerprint": "f00d" * 4, "data": {"folder": "nowhere", "fingerprint": ""},
        "most_pairs": 8, "confidence": 0.95, "machine": {"processor": "a tested one", "threads": 1},
        "versions": {"gpt-research": "0.2.0", "torch": "2.13.0"}, "arms": of_arms, "comparisons": comparisons,
        "sentences": [f"{arm} is better by 0.05 bits per byte." for arm in arms[1:]], **other,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return result


def write_sweep(folder: Path) -> None:
    """Write the folder of a sweep over two settings."""
    points = [
        {"settings": {"learning_rate": rate, "weight_decay": decay},
         "runs": [{"seed": s, "folder": "", "state": "done", "bits_per_byte": 2 + rate * 10 + decay}
                  for s in (1, 2)]}
        for rate in (0.001, 0.002, 0.004) for decay in (0.0, 0.1)
    ]  # fmt: skip
    points[-1]["runs"] = [{"seed": 1, "folder": "", "state": "diverged", "bits_per_byte": None}]
    result = {
        "version": 1, "kind": "sweep", "command": "gpt-research sweep demo", "points": points,
        "over": {"learning_rate": [0.001, 0.002, 0.004], "weight_decay": [0.0, 0.1]},
        "best": {"settings": {"learning_rate": 0.002, "weight_decay": 0.0}, "bits_per_byte": 2.02},
        "optimum": {"learning_rate": {"value": 0.0021, "low": 0.0016, "high": 0.0027}, "bits_per_byte": 2.01},
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def write_lr_range(folder: Path, suggestion: float | None = 0.004) -> None:
    """Write the folder of an lr-range test that ends in a diverged loss."""
    curve = [{"learning_rate": 1e-5 * 1.2**n, "loss": 8 - n / 20 if n < 45 else None} for n in range(50)]
    result = {"version": 1, "kind": "lr-range", "command": "gpt-research lr-range demo", "curve": curve,
              "suggestion": suggestion}  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
