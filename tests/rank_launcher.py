"""Training on several ranks without torchrun: `python rank_launcher.py [[CONFIG, RANKS, UNTIL,
NODE_SIZE], ...]`.

The jobs run one after another, and torch is imported once: each rank is a fork of this process with
the variables that torchrun would set.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

import torch

from gpt_research.base import peak_flops
from gpt_research.base.runtime import Runtime
from gpt_research.base.settings import read_yaml, write_yaml
from gpt_research.config import TrainConfig
from gpt_research.training.loop import train

Job = tuple[TrainConfig, int, int] | tuple[TrainConfig, int, int, int]
"""Settings, number of ranks, last step, and the ranks of a node, if not all are on one."""


def train_on_ranks(*jobs: Job) -> None:
    """Run jobs one after another in a new process and its forks."""
    request = []
    for config, ranks, until, *node_size in jobs:
        path = Path(f"{config.out}-{ranks}-{until}.yaml")
        write_yaml(config, path)
        request.append([str(path), ranks, until, *(node_size or [ranks])])
    command = [sys.executable, __file__, json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def _fork_ranks(config: TrainConfig, ranks: int, until: int, node_size: int) -> bool:
    """Return whether all ranks ended well. The first that fails ends the others, which would wait
    for it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = {}
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            variables = {"RANK": rank, "LOCAL_RANK": rank % node_size, "WORLD_SIZE": ranks}
            # If the ranks are no multiple of a node's, the last node has fewer.
            variables["LOCAL_WORLD_SIZE"] = min(node_size, ranks - rank // node_size * node_size)
            _be_rank(config, variables | {"MASTER_PORT": port}, until)
        running[child] = rank
    ended_well = True
    while running:
        child, status = os.wait()
        del running[child]
        if status != 0:
            ended_well = False
            for other in running:
                os.kill(other, signal.SIGKILL)
    return ended_well


def _be_rank(config: TrainConfig, variables: dict[str, int], until: int) -> None:
    os.environ.update({name: str(value) for name, value in variables.items()}, MASTER_ADDR="127.0.0.1")
    try:
        train(config, until=until)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    for module in ("torch._dynamo", "torch.distributed.fsdp"):  # otherwise each rank imports them in its first step
        importlib.import_module(module)
    # Otherwise each rank would measure the peak of this machine for half a second.
    peak = peak_flops.measured_flops(Runtime(torch.device("cpu"), "fp32"))
    peak_flops.measured_flops = lambda runtime, seconds=0.0: peak
    for config_file, *numbers in json.loads(sys.argv[1]):
        if not _fork_ranks(read_yaml(TrainConfig, Path(config_file)), *numbers):
            sys.exit(f"{config_file} failed on {numbers[0]} ranks")
