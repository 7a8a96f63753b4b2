"""Training on several ranks without torchrun.

A process of tests starts one launcher, `python rank_launcher.py`, which imports torch and then
waits for requests on its standard input. Each request is run by a fork of it, job after job, and
each rank is a fork of that, with the variables that torchrun would set.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpt_research.base import peak_flops
from gpt_research.base.runtime import Runtime
from gpt_research.base.settings import read_yaml, write_yaml
from gpt_research.config import TrainConfig
from gpt_research.finetuning.finetune import finetune
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.training.loop import train

LOOKS_EVERY_S = 0.05
"""Seconds between two looks whether a request has ended, or the tests have."""
LONGEST_S = 300
"""Seconds until the jobs of a request are given up."""
Settings = TrainConfig | FinetuneSettings
Job = tuple[Settings, int, int] | tuple[Settings, int, int, int]
"""Settings, number of ranks, last step, and the ranks of a node, if not all are on one."""


def train_on_ranks(*jobs: Job) -> None:
    """Run jobs one after another in a new process and its forks."""
    request = []
    for config, ranks, until, *node_size in jobs:
        path = Path(f"{config.out}-{ranks}-{until}.yaml")
        write_yaml(config, path)
        job = {"configs": [str(path)] * ranks, "until": until, "node_size": (node_size or [ranks])[0]}
        request.append({**job, "fine_tunes": isinstance(config, FinetuneSettings)})
    done = _launch(request)
    assert done.returncode == 0, done.stderr[-3000:]


@dataclass(frozen=True)
class Rank:
    """One rank of a job that may fail."""

    config: TrainConfig
    before: str = ""
    """Python that the rank runs before it trains, such as a fault."""


@dataclass(frozen=True)
class Ended:
    """How a rank ended."""

    error: str
    """Name and text of its exception; empty if it had none."""
    warnings: list[str]
    steps: list[int]
    """The step at which it began, and the one at which it ended; empty if it had an error."""


def outcomes(folder: Path, *jobs: Sequence[Rank], until: int) -> list[list[Ended]]:
    """Run jobs, each a list of its ranks, in one new process and its forks; return how each rank
    ended.
    """
    request = []
    for number, ranks in enumerate(jobs):
        paths = [folder / f"job-{number}-rank-{index}.yaml" for index in range(len(ranks))]
        for path, rank in zip(paths, ranks, strict=True):
            write_yaml(rank.config, path)
        befores = [rank.before for rank in ranks]
        request.append({"configs": list(map(str, paths)), "until": until, "befores": befores})
    done = _launch(request)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    ended = [[Ended(**json.loads(Path(f"{path}.ended").read_text())) for path in job["configs"]] for job in request]
    print(*ended, sep="\n")  # pytest shows it if the test fails
    return ended


def commands(folder: Path, *jobs: Sequence[tuple[str, list[str]]]) -> list[list[tuple[int, str]]]:
    """Run command lines on ranks; return exit code and standard error of each rank.

    Args:
        jobs: for each rank the Python that it runs before, and its arguments.
    """
    request = []
    for number, ranks in enumerate(jobs):
        files = [str(folder / f"job-{number}-rank-{index}") for index in range(len(ranks))]
        befores, arguments = [before for before, _ in ranks], [arguments for _, arguments in ranks]
        request.append({"configs": files, "until": 0, "befores": befores, "arguments": arguments})
    _launch(request)
    codes = [json.loads(Path(f"{job['configs'][0]}.codes").read_text()) for job in request]
    texts = [[Path(f"{file}.err").read_text() for file in job["configs"]] for job in request]
    found = [list(zip(*job, strict=True)) for job in zip(codes, texts, strict=True)]
    print(*found, sep="\n")  # pytest shows it if the test fails
    return found


def _launch(jobs: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    launcher = _launcher()
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        request = {"jobs": jobs, "output": folder, "place": os.getcwd(), "variables": dict(os.environ)}
        try:
            launcher.stdin.write(json.dumps(request) + "\n")
            launcher.stdin.flush()
            code = int(launcher.stdout.readline())
        except BaseException:  # a test that takes too long is stopped here
            _launcher.cache_clear()
            os.killpg(launcher.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess([], code, *(Path(folder, name).read_text() for name in ("out", "err")))


@functools.cache
def _launcher() -> subprocess.Popen[str]:
    """Return the launcher, which waits for a request."""
    command = [sys.executable, __file__]
    launcher = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    atexit.register(launcher.communicate)  # it ends with its input
    return launcher


def _answer_requests() -> None:
    """Run each request in a fork, and write how the fork ended."""
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            try:
                _run_jobs(**json.loads(line))
            finally:
                os._exit(1)
        ended, status = 0, 0
        while not ended:
            if select.select([sys.stdin], [], [], LOOKS_EVERY_S)[0]:  # the tests have ended meanwhile
                os.killpg(0, signal.SIGKILL)
            ended, status = os.waitpid(child, os.WNOHANG)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run_jobs(jobs: list[dict[str, Any]], output: str, place: str, variables: dict[str, str]) -> None:
    """Run jobs one after another, and exit with 0 if all ranks ended well."""
    signal.alarm(LONGEST_S)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(variables)
    for descriptor, name in enumerate((os.devnull, f"{output}/out", f"{output}/err")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), descriptor)
    ended_well = True
    for job in jobs:
        if not _fork_ranks(**job):
            ended_well = False
            if not job.get("befores"):
                print(f"{job['configs'][0]} failed on {len(job['configs'])} ranks", file=sys.stderr)
                break
    sys.stderr.flush()
    os._exit(0 if ended_well else 1)


def _fork_ranks(
    configs: list[str],
    until: int,
    befores: Sequence[str] = (),
    arguments: Sequence[list[str]] = (),
    node_size: int = 0,
    fine_tunes: bool = False,
) -> bool:
    """Return whether all ranks ended well. The first that fails ends the others, which would wait
    for it, unless each says how it ends.
    """
    ranks = len(configs)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running, codes = {}, [0] * ranks
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            _set_variables(rank, ranks, port, node_size or ranks)
            before = befores[rank] if befores else None
            if arguments:
                _be_command(configs[rank], before or "", arguments[rank])
            _be_rank(configs[rank], until, before, fine_tunes)
        running[child] = rank
    ended_well = True
    while running:
        child, status = os.wait()
        codes[running.pop(child)] = os.waitstatus_to_exitcode(status)
        if status != 0:
            ended_well = False
            for other in running if not befores else ():
                os.kill(other, signal.SIGKILL)
    Path(f"{configs[0]}.codes").write_text(json.dumps(codes))
    return ended_well


def _set_variables(rank: int, ranks: int, port: int, node_size: int) -> None:
    variables = {"RANK": rank, "LOCAL_RANK": rank % node_size, "WORLD_SIZE": ranks, "MASTER_PORT": port}
    # If the ranks are no multiple of a node's, the last node has fewer.
    variables["LOCAL_WORLD_SIZE"] = min(node_size, ranks - rank // node_size * node_size)
    os.environ.update({name: str(value) for name, value in variables.items()}, MASTER_ADDR="127.0.0.1")


def _be_command(file: str, before: str, arguments: list[str]) -> None:
    from gpt_research.cli import command_line

    os.dup2(os.open(f"{file}.err", os.O_WRONLY | os.O_CREAT), 2)
    code = 1
    try:
        exec(before, {})
        code = command_line.main(arguments)
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def _be_rank(config_file: str, until: int, before: str | None, fine_tunes: bool) -> None:
    path, error, steps = Path(config_file), "", []
    with warnings.catch_warnings(record=before is not None) as found:
        try:
            exec(before or "", {})
            if fine_tunes:
                outcome = finetune(read_yaml(FinetuneSettings, path), until=until)
            else:
                outcome = train(read_yaml(TrainConfig, path), until=until)
            steps = [outcome.step - outcome.steps_here, outcome.step]
        except BaseException as failure:
            if before is None:
                traceback.print_exc()
            error = f"{type(failure).__name__}: {failure}"
    texts = [str(warning.message) for warning in found or []]
    if before is not None:
        Path(f"{config_file}.ended").write_text(json.dumps({"error": error, "warnings": texts, "steps": steps}))
    os._exit(1 if error else 0)


if __name__ == "__main__":
    # Otherwise each rank imports them in its first step, or when it draws.
    for module in ("torch._dynamo", "torch.distributed.fsdp", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        importlib.import_module(module)
    # Otherwise each rank would measure the peak of this machine for half a second.
    peak = peak_flops.measured_flops(Runtime(torch.device("cpu"), "fp32"))
    peak_flops.measured_flops = lambda runtime, seconds=0.0: peak
    gc.collect()
    gc.freeze()  # otherwise each rank looks through all that was imported for garbage, and copies it thereby
    _answer_requests()
