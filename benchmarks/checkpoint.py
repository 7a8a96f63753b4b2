"""What a checkpoint costs: how long training stands still, how long it is until it is on the disk,
size, loading.

    python benchmarks/checkpoint.py --config small --rounds 5 [--device cuda] --json out.json

Beside `torch.save` of the same state, which training waits for. The two take turns; medians over
the rounds. "one step" is a training step of 2,048 tokens on this machine, to compare the stall
with.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from gpt_research.base import wait_policy

wait_policy.choose()  # before torch is loaded

import torch

from gpt_research.base import startup
from gpt_research.base.runtime import Runtime
from gpt_research.checkpoint.files import Checkpoint, checkpoint_path, load_checkpoint
from gpt_research.checkpoint.saver import BackgroundSaver
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.config import TrainConfig
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.optimizer_state import optimizer_tensors
from gpt_research.training.optimizers import make_optimizer

SHAPES = {
    "small": GPTConfig(n_layer=6, n_head=6, n_embd=384, block_size=256),
    "gpt2-124m": GPTConfig(),
}


def step(model: GPT, optimizer: torch.optim.Optimizer, machine: Runtime) -> float:
    """Take one step of 2,048 tokens and return its seconds."""
    machine.synchronize()
    begun = time.perf_counter()
    T = model.config.block_size
    tokens = torch.randint(0, model.config.vocab_size, (2048 // T, T), device=machine.device)
    model(tokens, tokens).backward()
    optimizer.step()
    optimizer.zero_grad()
    machine.synchronize()
    return time.perf_counter() - begun


def save_ours(model: GPT, optimizer: torch.optim.Optimizer, folder: Path, number: int) -> dict[str, float]:
    saver = BackgroundSaver(folder, keep_last=1, keep_every=0)
    begun = time.perf_counter()
    saver.save(Checkpoint(number, model_tensors(model), optimizer_tensors(optimizer, model), {}))
    stall = time.perf_counter() - begun
    saver.wait()
    written = time.perf_counter() - begun
    path = checkpoint_path(folder, number)
    begun = time.perf_counter()
    found = load_checkpoint(path)
    dict(found.model), dict(found.optimizer)  # read only now
    loaded = time.perf_counter() - begun
    size = sum(file.stat().st_size for file in path.iterdir())
    return {"stall_s": stall, "on_disk_s": written, "load_s": loaded, "MB": size / 1e6}


def save_torch(model: GPT, optimizer: torch.optim.Optimizer, folder: Path) -> dict[str, float]:
    path = folder / "torch.pt"
    begun = time.perf_counter()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
    stall = time.perf_counter() - begun
    begun = time.perf_counter()
    torch.load(path, weights_only=True, map_location="cpu")
    return {
        "stall_s": stall,
        "on_disk_s": stall,
        "load_s": time.perf_counter() - begun,
        "MB": path.stat().st_size / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", choices=SHAPES, default="small")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    machine = startup.start(arguments.device, "fp32")
    model = GPT(SHAPES[arguments.config]).to(machine.device)
    optimizer = make_optimizer(model, TrainConfig())
    steps = [step(model, optimizer, machine) for _ in range(3)]
    rows: dict[str, list[dict[str, float]]] = {"ours": [], "torch.save": []}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for number in range(arguments.rounds):
            rows["ours"].append(save_ours(model, optimizer, Path(folder), number))
            rows["torch.save"].append(save_torch(model, optimizer, Path(folder)))
            steps.append(step(model, optimizer, machine))
    medians = {
        name: {key: statistics.median(row[key] for row in found) for key in found[0]} for name, found in rows.items()
    }
    print(
        f"{arguments.config}: {model.num_parameters() / 1e6:.1f}M parameters, one step {statistics.median(steps):.2f} s"
    )
    print(f"{'':12}{'stall':>10}{'on disk':>10}{'load':>10}{'MB':>10}")
    for name, row in medians.items():
        print(f"{name:12}{row['stall_s']:9.2f}s{row['on_disk_s']:9.2f}s{row['load_s']:9.2f}s{row['MB']:10.1f}")
    if arguments.json:
        result = {"config": arguments.config, "step_s": statistics.median(steps), **medians}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
