"""The policy by which OpenMP's threads wait for each other, chosen before torch is loaded.

torch cuts an operation on a CPU into one part for each thread, and threads that are done wait for
the others. By default they spin, so they hold a core that another program, or the very thread they
wait for, may need: beside one busy process a training step then takes several times as long.

Whatever starts a process of ours calls `choose` first, because the OpenMP library reads these
variables when it is loaded. `base.shared_cores` then decides, while the process runs, whether its
threads spin or sleep. A program that only imports this package keeps its own policy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping

# GNU's library sleeps at once by the policy `passive`, but to wake a thread costs a fifth of the
# speed on an idle machine. With a number of spins besides, about that of its default, it sleeps at
# once only while the process has more OpenMP threads than cores, which `shared_cores`
# arranges. Source: libgomp's manual, GOMP_SPINCOUNT.
POLICY = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "200000"}
POLICY_OF_WORKERS = POLICY | {"GOMP_SPINCOUNT": "0"}
USERS_CHOICE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Variables by which a user may have chosen; those named KMP are of LLVM's and Intel's library."""


def choose(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the policy for this process and all that it starts, unless the user has chosen one."""
    if not any(name in environment for name in USERS_CHOICE):
        environment.update(POLICY)


def choose_for_worker(environment: MutableMapping[str, str] = os.environ) -> None:
    """The same for one of many processes that share the cores: its threads never spin."""
    if not is_the_users(environment):
        environment.update(POLICY_OF_WORKERS)


def is_the_users(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the user has chosen how threads wait."""
    chosen = {name: environment[name] for name in USERS_CHOICE if name in environment}
    return bool(chosen) and chosen != POLICY
