"""The rank of a process that Slurm's `srun` started, so that no launcher stands between.

Source: the section "Output environment variables" of srun(1).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping

FIRST_PORT, PORTS = 20_000, 12_000
"""Ports on which rank 0 listens; those from 32,768 on belong to outgoing connections."""
STRIDE = 7_417
"""From the port of a job to that of the next: jobs with numbers close together, which may share a
node, have ports far apart (Knuth's multiplicative hash)."""


def torchrun_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that torchrun would set, from those of `srun`.

    Returns:
        Nothing if torchrun has set them, or if this is the only process of its step. A batch
        script is not a step, so a command that it calls without `srun` is alone.
    """
    world_size = int(environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if "RANK" in environ or world_size == 1:
        return {}
    node = int(environ["SLURM_NODEID"])
    # Steps of a job may run side by side, and jobs may share a node.
    number = STRIDE * int(environ["SLURM_JOB_ID"]) + int(environ["SLURM_STEP_ID"])
    return {
        "RANK": environ["SLURM_PROCID"],
        "LOCAL_RANK": environ["SLURM_LOCALID"],
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(tasks_of_nodes(environ["SLURM_STEP_TASKS_PER_NODE"])[node]),
        "MASTER_ADDR": environ.get("MASTER_ADDR") or _address_of_first(environ["SLURM_STEP_NODELIST"]),
        "MASTER_PORT": environ.get("MASTER_PORT") or str(FIRST_PORT + number % PORTS),
    }


def tasks_of_nodes(text: str) -> list[int]:
    """Return the number of tasks of each node, from Slurm's short form: 2(x3),1 is 2, 2, 2, 1."""
    tasks: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        tasks += [int(count)] * int(times or 1)
    return tasks


def _address_of_first(nodes: str) -> str:
    """Return the address at which Slurm itself reaches the first of `nodes`, such as n[1-4]."""
    # Without scontrol: the first name of n[01-04,7],m2 is n01.
    first = _scontrol("show", "hostnames", nodes).split()[:1]
    name = first[0] if first else re.sub(r"\[(\w+).*|,.*", r"\1", nodes)
    address = re.search(r"\bNodeAddr=(\S+)", _scontrol("show", "node", "--oneliner", name))
    return address[1] if address else name


def _scontrol(*arguments: str) -> str:
    if shutil.which("scontrol") is None:
        return ""
    try:
        return subprocess.run(["scontrol", *arguments], capture_output=True, text=True, timeout=60).stdout
    except subprocess.TimeoutExpired:  # the controller is busy; the names of nodes are addresses too
        return ""
