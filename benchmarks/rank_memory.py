"""How much memory of its host a process takes until the model is on its device.

    python benchmarks/rank_memory.py [--ranks 2 4] [--parallel fsdp] [--layers 24] [--width 1024]

Processes of a CPU (gloo) build the training step of a GPT, and then load the weights of a checkpoint
of the same shape, as a resumed run does. Each prints the most memory that it has held, beyond that
of its imports. On a CPU the shards of the model lie in this memory too. All processes together take
at most ranks times the size of the model.
"""

from __future__ import annotations

import argparse
import importlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_args

from gpt_research.base import wait_policy

wait_policy.choose()  # before torch is loaded

from gpt_research.base import machine, startup
from gpt_research.checkpoint.files import WHOLE, Checkpoint, checkpoint_path, load_checkpoint
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.checkpoint.weights import model_tensors, restore_model
from gpt_research.config import TrainConfig
from gpt_research.estimate.probe import RandomBatches
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.assembly import build_step, plan_execution
from gpt_research.training.execution import Parallel
from gpt_research.training.step import TrainStep


def worker(model: GPTConfig, how: str, run: Path) -> None:
    """Build a step and load weights as one of several processes; print the peaks."""
    importlib.import_module("torch._dynamo")  # the optimizer imports it
    importlib.import_module("torch.distributed.fsdp")
    runtime = startup.start("cpu", "fp32")
    config = TrainConfig(
        model=model,
        micro_batch=1,
        tokens_per_step=model.block_size * runtime.world_size,
        parallel=how,  # type: ignore[arg-type]
        precision="fp32",
    )
    machine.forget_peak()
    imported = machine.peak_memory()
    plan = plan_execution(config, runtime)
    train_step = build_step(config, plan, runtime, RandomBatches(model, 1), TrainStep)
    built = machine.peak_memory()
    runtime.barrier()
    machine.forget_peak()
    where = checkpoint_path(run, 1)
    restore_model(train_step.model, load_checkpoint(where, optimizer=False).model, str(where))
    loaded = machine.peak_memory()
    print(f"rank {runtime.rank}: built {(built - imported) / 1e9:.2f} GB, loaded {(loaded - imported) / 1e9:.2f} GB")
    runtime.barrier()
    startup.stop(runtime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--parallel", choices=[how for how in get_args(Parallel) if how != "none"], default="fsdp")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    args = parser.parse_args()
    model = GPTConfig(n_layer=args.layers, n_head=args.width // 64, n_embd=args.width)
    if args.run:
        worker(model, args.parallel, Path(args.run))
        return
    with tempfile.TemporaryDirectory(prefix="rank_memory-") as folder:
        whole = GPT(model, seed=1)
        parameters = whole.num_parameters()
        save_checkpoint(Path(folder), Checkpoint(1, model_tensors(whole), {}, {}), 1, part=WHOLE)
        del whole
        print(f"{parameters / 1e6:.0f}M parameters, {4 * parameters / 1e9:.2f} GB")
        for ranks in args.ranks:
            print(f"{ranks} processes, {args.parallel}:", flush=True)
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            together = {"WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            processes = [
                subprocess.Popen(
                    [sys.executable, *sys.argv, "--run", folder],
                    env=os.environ | {name: str(v) for name, v in (together | {"RANK": r, "LOCAL_RANK": r}).items()},
                )
                for r in range(ranks)
            ]
            codes = [process.wait() for process in processes]
            if any(codes):
                sys.exit("a process failed")


if __name__ == "__main__":
    main()
