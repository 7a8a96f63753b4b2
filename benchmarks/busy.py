"""Tokens a second of training on a CPU whose cores others need too, beside nanoGPT's loop.

    python benchmarks/busy.py --nanogpt PATH [--loads idle busy four second] [--rounds 3] [--json FILE]
    python benchmarks/busy.py --nanogpt PATH --loads ranks busy-ranks

The model is the demo's. Every contender is a process of its own and keeps its own way in which
threads wait for each other (`WAYS`). They take turns under each load, once a round; medians over
the rounds are shown. A contender works for a moment before it is timed, so that what follows the
load has followed. A measurement during which other processes of the machine worked is repeated.
Loads:

    idle        nothing else
    busy        one process that keeps a core busy
    four        four of them
    second      another run of the same kind; tokens a second are those of both together
    ranks       two processes of one run over gloo, with as many threads each as the row says
    busy-ranks  the same, beside one process that keeps a core busy
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpt_research.base import machine, wait_policy

SPIN = {"GOMP_SPINCOUNT": "300000"}
"""The default of torch's OpenMP library. Said aloud, it counts as the user's and is left alone."""
WAYS: dict[str, tuple[str, dict[str, str]]] = {
    "ours": ("ours", wait_policy.POLICY),
    "ours, threads always spin": ("ours", SPIN),
    "ours, threads always sleep": ("ours", {"OMP_WAIT_POLICY": "passive"}),
    "ours, one thread": ("ours", {**wait_policy.POLICY, "OMP_NUM_THREADS": "1"}),
    "nanoGPT": ("nanogpt", SPIN),
    "nanoGPT, one thread": ("nanogpt", {**SPIN, "OMP_NUM_THREADS": "1"}),
}
"""Program and environment of each contender."""
SETTLE_S = {"idle": 3.5, "busy": 1.5, "four": 1.5, "second": 1.5, "ranks": 3.5, "busy-ranks": 1.5}
"""Seconds of work before the timed ones. Threads that slept spin again only after some calm."""
BUSY = {"idle": 0, "busy": 1, "four": 4, "second": 0, "ranks": 0, "busy-ranks": 1}
"""Processes of each load that keep a core busy."""
DISTURBED_FROM = 0.1
"""Cores that processes of no part in this may use in a measurement; else it is repeated."""
TOKENS, MICRO_BATCH = 1024, 8
"""Tokens of a step and sequences of a pass, as the demo has them."""


def work(program: str, nanogpt_path: str) -> None:
    """Be a contender: take steps for each number of seconds on standard input, and answer with
    tokens a second.
    """
    import torch
    from train_step import Contender, Shape, nanogpt, ours

    from gpt_research.base import startup
    from gpt_research.model_config import GPTConfig

    torch.manual_seed(0)
    runtime = startup.start("cpu", "auto" if program == "ours" else "fp32")
    model = GPTConfig(n_layer=4, n_head=4, n_embd=256, block_size=128, dropout=0.0, vocab_size=4096)
    about = Contender(program, runtime.precision, compiled=False)
    shape = Shape(model, MICRO_BATCH // runtime.world_size, passes=1)
    if program == "ours":
        step = ours(about, runtime, shape)
    else:
        with contextlib.redirect_stdout(sys.stderr):  # it prints its size
            step = nanogpt(about, runtime, shape, Path(nanogpt_path))
    for line in sys.stdin:
        steps, began = 0, time.perf_counter()
        # All ranks of a run must take the same steps.
        while not runtime.any_rank(time.perf_counter() - began >= float(line)):
            step()
            steps += 1
        print(steps * TOKENS / (time.perf_counter() - began), flush=True)
    startup.stop(runtime)


class Run:
    """One run of a contender, on one or more processes."""

    def __init__(self, way: str, arguments: argparse.Namespace, ranks: int = 1) -> None:
        program, chosen = WAYS[way]
        choices = (*wait_policy.USERS_CHOICE, "OMP_NUM_THREADS", "RANK", "WORLD_SIZE", "LOCAL_RANK")
        plain = {name: value for name, value in os.environ.items() if name not in choices}
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(ranks)}
        command = [sys.executable, __file__, "--worker", program, "--nanogpt", str(arguments.nanogpt)]
        self.processes = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env=plain | chosen | (group | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}),
            )
            for rank in range(ranks)
        ]  # fmt: skip

    def begin(self, seconds: float) -> None:
        """Let it take steps for so long."""
        for process in self.processes:
            assert process.stdin is not None
            print(seconds, file=process.stdin, flush=True)

    def tokens_per_s(self) -> float:
        """Wait until it is done, and return its speed."""
        said = [process.stdout.readline() for process in self.processes if process.stdout is not None]
        assert all(said), "a contender has ended"
        return float(said[0])


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[list[subprocess.Popen[Any]]]:
    """Keep this number of cores busy inside the block; yield the processes that do it."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield others
    finally:
        for other in others:
            other.kill()
            other.wait()


def measure(load: str, way: str, arguments: argparse.Namespace, runs: dict[tuple[str, int], list[Run]]) -> float:
    """Return the tokens a second of a contender under a load."""
    ranks, together = (2 if "ranks" in load else 1), (2 if load == "second" else 1)
    mine = runs.setdefault((way, ranks), [])
    while len(mine) < together:
        mine.append(Run(way, arguments, ranks))
        mine[-1].begin(0.5)
        mine[-1].tokens_per_s()  # the first steps fill caches
    with busy_processes(BUSY[load]) as others:
        known = [*others, *(process for run in mine[:together] for process in run.processes)]
        seconds = SETTLE_S[load]
        for _ in range(1 + arguments.tries):
            began, before = time.perf_counter(), foreign_work(known)
            for run in mine[:together]:
                run.begin(seconds)
            speed = sum(run.tokens_per_s() for run in mine[:together])
            foreign = (foreign_work(known) - before) / (time.perf_counter() - began)
            if seconds == arguments.seconds and foreign < DISTURBED_FROM:
                break
            seconds = arguments.seconds
    return speed


def foreign_work(known: list[subprocess.Popen[Any]]) -> float:
    """Return the seconds that the cores have worked for others than these processes."""
    ticks = 0
    for process in known:
        fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # user and system
    return (machine.busy_seconds() or 0.0) - ticks / os.sysconf("SC_CLK_TCK")


def show(speeds: dict[str, dict[str, list[float]]]) -> None:
    """Print a table of medians, with ratios to nanoGPT under the same load, and the three aims."""
    median = {
        load: {way: statistics.median(found) for way, found in ways.items() if found} for load, ways in speeds.items()
    }
    print(f"\n| tokens/s (x nanoGPT) | {' | '.join(median)} |\n| --- |{' ---: |' * len(median)}")
    for way in next(iter(median.values())):
        cells = []
        for ways in median.values():
            ratio = f" ({ways[way] / ways['nanoGPT']:.2f})" if "nanoGPT" in ways else ""
            cells.append(f"{ways[way]:,.0f}{ratio}")
        print(f"| {way} | {' | '.join(cells)} |")
    idle = median.get("idle", {})
    for what, load, of, aim in (
        ("idle, beside threads that always spin", "idle", "ours, threads always spin", 0.97),
        ("beside a busy process, to one idle core alone", "busy", "ours, one thread", 0.70),
        ("two runs together, to one alone", "second", "ours", 0.85),
    ):
        if load in median and {"ours", of} <= idle.keys():
            print(f"{what}: {median[load]['ours'] / idle[of]:.0%} (aim: {aim:.0%})")


def main() -> None:
    """Measure, print the table as Markdown and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--loads", nargs="+", choices=BUSY, default=["idle", "busy", "four", "second"])
    parser.add_argument("--contenders", nargs="+", choices=WAYS, help="all of them by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--tries", type=int, default=3, help="of a measurement that others disturb")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no measurement begins")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.nanogpt)
        return
    ways = arguments.contenders or [way for way, (who, _) in WAYS.items() if who == "ours" or arguments.nanogpt]
    speeds: dict[str, dict[str, list[float]]] = {load: {way: [] for way in ways} for load in arguments.loads}
    runs: dict[tuple[str, int], list[Run]] = {}
    turns = itertools.product(range(arguments.rounds), arguments.loads, ways)
    began = time.monotonic()
    try:
        for _, load, way in turns:
            if time.monotonic() - began > 60 * arguments.minutes:
                break
            speeds[load][way].append(measure(load, way, arguments, runs))
    finally:
        for process in (process for many in runs.values() for run in many for process in run.processes):
            process.kill()
            process.wait()
    show(speeds)
    if arguments.json:
        arguments.json.write_text(json.dumps(speeds, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
