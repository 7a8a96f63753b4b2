"""Cores and memory of this machine, and how much of them this process may use.

Containers and batch systems give a process less than the machine has. The kernel publishes these
limits in control groups (cgroups). The functions read /proc and /sys; each says what it returns if
the system has no such file.
Source: proc(5), cgroups(7), and the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from gpt_research.base.errors import UserError

PROC, CGROUPS, DEV, SYS = Path("/proc"), Path("/sys/fs/cgroup"), Path("/dev"), Path("/sys")
MEMORY_LIMIT = ("memory.max", "memory.limit_in_bytes")
MEMORY_USED = ("memory.current", "memory.usage_in_bytes")
"""Files of a memory cgroup, in version 2 and in version 1."""
LEAST_OF_A_CARD = 6 << 30
"""Bytes of its own memory; graphics that is a part of the processor reserves less."""


def usable_cores() -> float:
    """Return how many cores this process may use, by its CPU affinity and its cgroup's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cores()
    return cores if quota is None else min(cores, quota)


def physical_cores() -> int | None:
    """Return the number of physical cores, or None; two hyper-threads of one core count once."""
    cores: set[tuple[str, str]] = set()
    package = ""
    for line in _read(PROC / "cpuinfo").splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name == "physical id":
            package = value
        elif name == "core id":
            cores.add((package, value))
    return len(cores) or None


def busy_seconds() -> float | None:
    """Return the seconds that the cores this process may use have worked since the machine started,
    for any process, and those that a hypervisor took from them; None if the system does not say.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    usable = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    lines = [line.split() for line in _read(PROC / "stat").splitlines()]
    cores = [[int(ticks) for ticks in line[1:9]] for line in lines if line and line[0] in usable]
    if not cores or any(len(ticks) < 8 for ticks in cores):
        return None
    # user, nice, system, idle, waiting for a disk, two kinds of interrupt, taken by the hypervisor
    return sum(sum(ticks) - ticks[3] - ticks[4] for ticks in cores) / os.sysconf("SC_CLK_TCK")


def cpu_name() -> str | None:
    for line in _read(PROC / "cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return None


def cpu_has_flag(flag: str) -> bool:
    """Return whether the CPU has a feature, by its name in /proc/cpuinfo, such as avx512_bf16."""
    lines = _read(PROC / "cpuinfo").splitlines()
    return any(flag in line.split() for line in lines if line.startswith("flags"))


def nvidia_driver() -> str | None:
    """Return the version of NVIDIA's driver, such as 535.104; None if there is no driver."""
    text = _read(PROC / "driver" / "nvidia" / "version")
    if not text and shutil.which("nvidia-smi"):  # Windows' driver, which WSL2 shares, has no such file
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            text = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    found = re.search(r"\d+\.\d+(\.\d+)?", text)
    return found[0] if found else None


def has_nvidia_device() -> bool:
    """Return whether this process sees a card of NVIDIA's; a container may have none of them."""
    # WSL2 has one device for all cards.
    return any(DEV.glob("nvidia[0-9]*")) or (DEV / "dxg").exists()


def has_amd_card() -> bool:
    """Return whether there is a card of AMD's; graphics that is a part of the processor is none."""
    sizes = [_read(file) for file in SYS.glob("class/drm/card*/device/mem_info_vram_total")]
    return any(size.isdigit() and int(size) >= LEAST_OF_A_CARD for size in sizes)


def total_memory() -> int:
    """Return the bytes of memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_memory() -> int:
    """Return the bytes that this process may still take, by the machine and by its cgroup."""
    free = _fields(PROC / "meminfo").get("MemAvailable")
    if free is None:
        free = total_memory() // 2  # not Linux: half of the memory is a careful guess
    limit = cgroup_memory()
    return free if limit is None else max(0, min(free, limit - cgroup_memory_used()))


def require_memory(needed: int, free: int, what: str, remedy: str) -> None:
    """Refuse what cannot fit, before anything is allocated.

    Args:
        needed: bytes.
        free: bytes that may still be taken.
        what: the beginning of the sentence, such as "This model".
        remedy: a sentence.

    Raises:
        UserError: `free` is not enough.
    """
    if needed > free:
        gib = 1 << 30
        raise UserError(f"{what} needs {needed / gib:.1f} GiB of memory, and {free / gib:.1f} GiB are free. {remedy}")


def peak_memory() -> int:
    """Return the most bytes of memory that this process has held since its start or
    `forget_peak`.
    """
    peak = _fields(PROC / "self" / "status").get("VmHWM")
    if peak is not None:
        return peak
    import resource  # a fallback only, because it also counts what the parent process held before exec

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> None:
    """Reset the peak that `peak_memory` returns; does nothing if the kernel does not allow it."""
    with contextlib.suppress(OSError):
        (PROC / "self" / "clear_refs").write_text("5")  # 5 resets VmHWM and nothing else


def die_first() -> None:
    """Ask the kernel to kill this process before any other if memory runs out."""
    with contextlib.suppress(OSError):
        (PROC / "self" / "oom_score_adj").write_text("1000")  # 1000 is the highest score


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""C macros of malloc.h, which ctypes does not see."""


def keep_freed_memory() -> None:
    """Make malloc keep freed memory for the next tensor instead of returning it to the kernel."""
    # Otherwise every large tensor is a mapping of its own, and the kernel clears its pages again in
    # each step, which takes a tenth of a training step on a CPU.
    _set_malloc(M_MMAP_MAX, 0)  # no tensor gets a mapping of its own
    _set_malloc(M_TRIM_THRESHOLD, -1)  # no freed memory goes back


def return_freed_memory(size: int = 1 << 20) -> None:
    """Make malloc return the memory of each tensor of at least `size` bytes when it is freed."""
    # Otherwise malloc raises this bound when the first large tensor is freed, and from then on
    # keeps the gaps that large tensors leave between small ones.
    _set_malloc(M_MMAP_THRESHOLD, size)


def _set_malloc(name: int, value: int) -> None:
    """Set an option of glibc's malloc; do nothing with another C library. Source: mallopt(3)."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(name, value)


def cgroup_memory() -> int | None:
    """Return the bytes that the cgroup of this process may hold; None without a limit."""
    limits = [limit for folder in _cgroup_folders("memory") for limit in _numbers(folder, *MEMORY_LIMIT)]
    # cgroup version 1 writes a huge number for "no limit".
    return min((limit for limit in limits if limit < total_memory()), default=None)


def cgroup_memory_used() -> int:
    """Return the bytes that the cgroup holds, without file pages that the kernel can drop."""
    for folder in _cgroup_folders("memory"):
        for used in _numbers(folder, *MEMORY_USED):
            return max(0, used - _fields(folder / "memory.stat", unit=1).get("inactive_file", 0))
    return 0


def cgroup_cores() -> float | None:
    """Return how many cores the cgroup may use; None without a limit."""
    quotas = []
    for folder in _cgroup_folders("cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")  # cgroup version 2
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        with contextlib.suppress(ValueError):
            if int(quota) > 0:
                quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _cgroup_folders(controller: str) -> list[Path]:
    """Return the folders of this process's cgroup and of those above it."""
    # Inside a container, /proc names the folder by its path outside. The root folder that the
    # container sees is then its own, so it is always in the list.
    folders = [CGROUPS, CGROUPS / controller]
    for line in _read(PROC / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        # A line of version 2 names no controllers, because its one hierarchy has all of them.
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
    """Return the numbers of a file such as /proc/meminfo, in bytes, by name; `unit` is one in
    bytes.
    """
    fields = {}
    for line in _read(path).splitlines():
        parts = line.replace(":", " ").split()
        if len(parts) >= 2 and parts[1].isdigit():
            fields[parts[0]] = int(parts[1]) * unit
    return fields


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
