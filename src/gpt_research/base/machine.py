"""What the operating system says of this machine: cores, memory, and what of them this process may use.

Containers and batch systems give a process less than the machine has; the kernel tells through control groups
(cgroups). Everything here is read from /proc and /sys, and answers None where a system does not have them.
Source: proc(5), cgroups(7), and the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def usable_cores() -> float:
    """Return how many cores' time this process may use: its affinity, cut by the cgroup's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cores()
    return cores if quota is None else min(cores, quota)


def physical_cores() -> int | None:
    """Return the cores of the machine, hyper-threads counted once."""
    cores: set[tuple[str, str]] = set()
    package = ""
    for line in _read(PROC / "cpuinfo").splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name == "physical id":
            package = value
        elif name == "core id":
            cores.add((package, value))
    return len(cores) or None


def cpu_name() -> str | None:
    for line in _read(PROC / "cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return None


def total_memory() -> int:
    """Return the bytes of memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_memory() -> int:
    """Return the bytes that this process may still take without pushing anything out of memory."""
    free = _fields(PROC / "meminfo").get("MemAvailable")
    room = total_memory() // 2 if free is None else free  # elsewhere than on Linux: a careful guess
    limit = cgroup_memory()
    return room if limit is None else max(0, min(room, limit - cgroup_memory_used()))


def resident_memory() -> int:
    """Return the bytes of memory that this process holds now."""
    return _fields(PROC / "self" / "status").get("VmRSS", 0)


def peak_memory() -> int:
    """Return the most bytes of memory this process has held, since its start or `forget_peak`."""
    peak = _fields(PROC / "self" / "status").get("VmHWM")
    if peak is not None:
        return peak
    import resource  # getrusage counts what the parent held before exec, so it comes second

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> None:
    """Let the peak begin anew; without effect where the kernel does not allow it."""
    with contextlib.suppress(OSError):
        (PROC / "self" / "clear_refs").write_text("5")


def die_first() -> None:
    """Ask the kernel to end this process before any other where memory runs out."""
    with contextlib.suppress(OSError):
        (PROC / "self" / "oom_score_adj").write_text("1000")


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, for the next tensor; without effect elsewhere than on glibc.

    Otherwise every large tensor is a mapping of its own, whose pages the kernel clears again in each step: a tenth of
    a training step on a CPU. Source: mallopt(3).
    """
    trim_threshold, mmap_max = -1, -4
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, -1)  # never


def cgroup_memory() -> int | None:
    """Return the bytes that this process's cgroup may hold, None without a limit."""
    found = [limit for folder in _cgroup_folders("memory") for limit in _numbers(folder, *MEMORY_LIMIT)]
    limits = [limit for limit in found if limit < total_memory()]  # version 1 says "none" by a huge number
    return min(limits, default=None)


MEMORY_LIMIT = ("memory.max", "memory.limit_in_bytes")
MEMORY_USED = ("memory.current", "memory.usage_in_bytes")


def cgroup_memory_used() -> int:
    """Return the bytes that the cgroup holds, without file pages that the kernel can drop."""
    for folder in _cgroup_folders("memory"):
        for used in _numbers(folder, *MEMORY_USED):
            return max(0, used - _fields(folder / "memory.stat", unit=1).get("inactive_file", 0))
    return 0


def cgroup_cores() -> float | None:
    """Return how many cores' time the cgroup may take, None without a limit."""
    found = []
    for folder in _cgroup_folders("cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")  # version 2
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        with contextlib.suppress(ValueError):
            if int(quota) > 0:
                found.append(int(quota) / int(period))
    return min(found, default=None)


def _cgroup_folders(controller: str) -> list[Path]:
    """Return the folders of this process's cgroup and of those above it."""
    folders = [CGROUPS, CGROUPS / controller]  # in a container the root is the container's own
    for line in _read(PROC / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        folder = CGROUPS / controller if controllers else CGROUPS
        for name in Path(path).parts[1:]:
            folder /= name
            folders.append(folder)
    return [folder for folder in folders if folder.is_dir()]


def _numbers(folder: Path, *names: str) -> list[int]:
    return [int(text) for name in names if (text := _read(folder / name)).isdigit()]


def _fields(path: Path, unit: int = 1024) -> dict[str, int]:
    """Read a file of names and numbers, such as /proc/meminfo, whose numbers are kilobytes."""
    found = {}
    for line in _read(path).splitlines():
        parts = line.replace(":", " ").split()
        if len(parts) >= 2 and parts[1].isdigit():
            found[parts[0]] = int(parts[1]) * unit
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
