"""Training on several ranks without torchrun: `python rank_launcher.py [[CONFIG, RANKS, UNTIL],
...]`.

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

from gpt_research.base.settings import read_yaml, write_yaml
from gpt_research.config import TrainConfig
from gpt_research.training.loop import train


def train_on_ranks(*jobs: tuple[TrainConfig, int, int]) -> None:
    """Run jobs of (settings, number of ranks, last step) in one new process and its forks."""
    request = []
    for config, ranks, until in jobs:
        path = Path(f"{config.out}-{ranks}-{until}.yaml")
        write_yaml(config, path)
        request.append([str(path), ranks, until])
    command = [sys.executable, __file__, json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def _fork_ranks(config: TrainConfig, ranks: int, until: int) -> bool:
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
            _be_rank(config, rank, ranks, port, until)
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


def _be_rank(config: TrainConfig, rank: int, ranks: int, port: int, until: int) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()}, MASTER_ADDR="127.0.0.1")
    try:
        train(config, until=until)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    for module in ("torch._dynamo", "torch.distributed.fsdp"):  # otherwise each rank imports them in its first step
        importlib.import_module(module)
    for config_file, rank_count, last_step in json.loads(sys.argv[1]):
        if not _fork_ranks(read_yaml(TrainConfig, Path(config_file)), rank_count, last_step):
            sys.exit(f"{config_file} failed on {rank_count} ranks")
