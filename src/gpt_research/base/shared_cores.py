"""Lets threads of OpenMP sleep while they wait for each other, as long as others need the cores.

Threads that spin are faster on an idle machine, by a fifth of a small model's step. Beside a
process that keeps a core busy they are several times slower. So a watcher compares the work of the
cores with that of this process twice a second, and switches when others work too.

GNU's OpenMP library has no function for that. But its threads spin only as long as the process has
no more of them than cores (`base.wait_policy`). So the switch is a second team of threads, which
does nothing but sleep: the team that computes sleeps too while the second one exists.

The number of threads that compute does not follow the load, because it decides how sums are
rounded, and a run that was interrupted must equal one that was not. Fewer threads would not be
faster either than threads that sleep: benchmarks/busy.py measures both.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path

import torch

from gpt_research.base import machine, wait_policy

LOOKS_EVERY_S = 0.5
SHARED_FROM, FREE_BELOW = 0.25, 0.15
"""Cores that others use beside those that our threads leave to them: from here on threads sleep,
and below that they may spin again."""
CALM_LOOKS = 4
"""Looks in a row that must find the cores free, because spinning too early costs more than sleeping
too long."""
LASTING_LOOKS = 10
"""Looks in a row, with others at work, after which the user reads of it; short bursts are no
news."""


def follow_load() -> None:
    """Begin to watch the cores; only the first call of a process does anything.

    Does nothing if the user has chosen how threads wait, if there is one thread, or if there is no
    OpenMP library of GNU's, or no account of the cores' work.
    """
    global _watcher
    with _once:
        if _watcher is None and torch.get_num_threads() > 1 and not wait_policy.is_the_users():
            if not gnu_libraries() or machine.busy_seconds() is None:
                return
            _watcher = Watcher(SleepingTeam())
            threading.Thread(target=_watcher.watch, name="shared cores", daemon=True).start()


def fit_threads(processes: int = 1) -> None:
    """Let torch have no more threads than this process has cores, unless the user gave a number.

    Args:
        processes: of this run on this machine, this one among them.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    # A container may use a few cores of a large machine, and torch counts those of the machine.
    cores = machine.usable_cores()
    # Slurm may have given each process cores of its own; otherwise they share all.
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) == os.cpu_count():
        cores /= processes
    if torch.get_num_threads() > (fitting := max(1, int(cores))):
        torch.set_num_threads(fitting)


def are_shared() -> bool:
    """Return whether others need the cores, so that threads of this process sleep in waiting."""
    return _watcher is not None and _watcher.team.exists


def news() -> str | None:
    """Return a sentence for the user if others have needed the cores for a while, but only once."""
    global _told
    if _told or _watcher is None or _watcher.looks_shared < LASTING_LOOKS:
        return None
    _told = True
    return (
        "Other processes use this machine's cores too, so threads sleep while they wait for each other until the "
        "cores are free. Training is slower by what the others take, and its numbers stay the same."
    )


class SleepingTeam:
    """OpenMP threads that only sleep. With them the process has more than the machine has cores."""

    def __init__(self) -> None:
        self._dismissals: dict[Path, threading.Event] = {}

    @property
    def exists(self) -> bool:
        return bool(self._dismissals)

    def gather(self) -> None:
        """Start such threads in each OpenMP library that has none yet.

        The computing threads of the library sleep in waiting from now on.
        """
        for path, library in gnu_libraries().items():
            if path not in self._dismissals:
                # A team ends with the thread that made it, so it gets a thread of its own.
                gathered, self._dismissals[path] = threading.Event(), threading.Event()
                task = (library, gathered, self._dismissals[path])
                threading.Thread(target=_hold_team, args=task, name="sleeping team", daemon=True).start()
                gathered.wait()

    def dismiss(self) -> None:
        """End the threads; those that compute spin again."""
        for dismissal in self._dismissals.values():
            dismissal.set()
        self._dismissals.clear()


def _hold_team(library: ctypes.CDLL, gathered: threading.Event, dismissal: threading.Event) -> None:
    # Together with the team that computes, one thread more than there are cores.
    cores = library.omp_get_num_procs()
    size = cores - min(cores, torch.get_num_threads()) + 2  # this thread is one of its team
    # A parallel section without work: each thread of the team frees no memory.
    nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)
    library.GOMP_parallel(nothing, None, ctypes.c_uint(size), ctypes.c_uint(0))
    gathered.set()
    dismissal.wait()


class Watcher:
    """Gathers the sleeping team when others need the cores, and dismisses it when they are free."""

    def __init__(self, team: SleepingTeam) -> None:
        self.team = team
        self.looks_shared = 0
        """Looks since the team was gathered; 0 if there is none."""
        self._calm = 0

    def watch(self) -> None:
        """Look at the cores for as long as the process lives."""
        before = _work()
        while True:
            time.sleep(LOOKS_EVERY_S)
            now = _work()
            seconds, all_work, own_work = (b - a for a, b in zip(before, now, strict=True))
            left = machine.usable_cores() - torch.get_num_threads()
            self.look((all_work - own_work) / seconds - max(0.0, left))
            before = now

    def look(self, needed: float) -> None:
        """Decide by how many cores others use beyond those that this process leaves to them."""
        self._calm = self._calm + 1 if needed < FREE_BELOW else 0
        if needed >= SHARED_FROM or (self.team.exists and self._calm < CALM_LOOKS):
            self.team.gather()  # also for a library that has been loaded since
        elif self.team.exists:
            self.team.dismiss()
        self.looks_shared = self.looks_shared + 1 if self.team.exists else 0


def gnu_libraries() -> dict[Path, ctypes.CDLL]:
    """Return GNU's OpenMP libraries in this process: torch has its own, llama.cpp the system's."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    paths = {Path(line.split(maxsplit=5)[5]) for line in lines if "/libgomp" in line}
    libraries = {path: ctypes.CDLL(str(path)) for path in paths if path.exists()}
    # LLVM's library may go by this name. It has GNU's functions, and does not count threads so.
    return {path: library for path, library in libraries.items() if not hasattr(library, "kmp_set_blocktime")}


def _work() -> tuple[float, float, float]:
    """Return the time, and the seconds of work of all processes and of this one."""
    return time.perf_counter(), machine.busy_seconds() or 0.0, time.process_time()


_once = threading.Lock()
_watcher: Watcher | None = None
_told = False
