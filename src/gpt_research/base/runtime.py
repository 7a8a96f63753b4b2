"""The runtime of a command: device, precision, and this process among the others.

A command makes one `Runtime` at its start and passes it on. No other code asks torch or the
environment for the device or the rank. `torchrun` or Slurm's `srun` start several processes;
without them there is one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import sysconfig
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, cast

import torch
import torch.distributed as dist

from gpt_research.base import machine, ranks, shared_cores, slurm
from gpt_research.base.determinism import compute_deterministically
from gpt_research.base.errors import SharedError, UserError

T = TypeVar("T")
Precision = Literal["fp32", "bf16", "fp16"]
OLDEST_FOR_TRITON = OLDEST_WITH_FAST_FP16 = (7, 0)
"""Compute capabilities of NVIDIA's cards. Source: Triton's README; NVIDIA's CUDA C++ Programming
Guide, table "Throughput of native arithmetic instructions"."""


@dataclass(frozen=True)
class Runtime:
    """Device and precision of this process, and its rank among the processes."""

    device: torch.device
    precision: Precision
    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    node_size: int = 0
    """Processes of each node; 0 if the nodes differ, or if a node's ranks do not follow on each
    other."""

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def dtype(self) -> torch.dtype:
        """The type in which matrix products are computed."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return a context in which matrix products run in `dtype`; weights, sums and norms stay in
        fp32.
        """
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def sum_over_ranks(self, values: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over all processes, in place, and return it."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def any_rank(self, flag: bool) -> bool:
        """Return True if any rank passed True. Runs over gloo, so the GPU is not synchronised."""
        if self.world_size == 1:
            return flag
        flags = torch.tensor(float(flag))
        dist.all_reduce(flags)
        return bool(flags.item())

    def broadcast(self, number: int) -> int:
        """Return, on all ranks, the number that rank 0 passed."""
        if self.world_size == 1:
            return number
        numbers = torch.tensor(number)
        dist.broadcast(numbers, src=0)
        return int(numbers.item())

    def largest(self, number: int) -> int:
        """Return, on all ranks, the largest number that any rank passed."""
        if self.world_size == 1:
            return number
        numbers = torch.tensor(number)
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return int(numbers.item())

    def largest_of_each(self, numbers: Sequence[float]) -> list[float]:
        """Return, on all ranks, the largest that any rank passed in each place."""
        if self.world_size == 1:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return values.tolist()

    def answer_within(self, seconds: float) -> None:
        """From now on give up on a rank that does not answer for so long; all ranks call this."""
        if self.world_size > 1:
            self.synchronize()
            self.barrier()
            ranks.shorten_timeout(seconds)

    def texts(self, text: str) -> list[str]:
        """Return, on all ranks, the texts that they passed, in the order of the ranks."""
        if self.world_size == 1:
            return [text]
        written = text.encode()
        mine = torch.zeros(self.largest(len(written)) + 1, dtype=torch.uint8)
        mine[: len(written)] = torch.frombuffer(bytearray(written), dtype=torch.uint8) if written else 0
        all_of_them = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(all_of_them, mine)
        return [theirs.numpy().tobytes().rstrip(b"\0").decode() for theirs in all_of_them]

    def together(self, action: Callable[[], T], unlike: str = "There is a fault") -> T:
        """Return what `action` returns, if it fails on no rank. It must not speak to other ranks.

        Args:
            unlike: begins the sentence about ranks that failed where others did not, such as "The
                data set is not the same".

        Raises:
            SharedError: `action` raised a `UserError` on some rank; all ranks raise it alike.
        """
        if self.world_size == 1:
            return action()
        result, error = [], ""
        try:
            result = [action()]
        except UserError as failure:
            error = str(failure)
        self.refuse_unless_alike([error], unlike)
        return result[0]

    def refuse_unless_alike(self, errors: Sequence[str], unlike: str) -> None:
        """Raise the same error on all ranks if any rank has found some.

        Args:
            errors: what this rank found; empty texts count for nothing.

        Raises:
            SharedError: as `together` does.
        """
        mine = json.dumps([unlike, socket.gethostname(), *filter(None, errors)])
        found = [json.loads(text) for text in self.texts(mine)]
        unlike = found[0][0]  # it may name a folder, and hosts may call it by different names
        wrong = [(rank, host, messages) for rank, (_, host, *messages) in enumerate(found) if messages]
        if not wrong:
            return
        rank, host, (message, *_) = wrong[0]
        if len(wrong) < self.world_size or any(messages[0] != message for _, _, messages in wrong):
            others = f" and {len(wrong) - 1} other processes" if len(wrong) > 1 else ""
            message = f"{unlike} on host {host} (rank {rank}{others}): {message}"
        raise SharedError(message)

    def on_first(self, action: Callable[[], None]) -> None:
        """Run `action` on rank 0 alone, while the others wait.

        Raises:
            SharedError: `action` raised a `UserError`; all ranks raise it.
        """
        error = ""
        try:
            if self.is_main:
                action()
        except UserError as failure:
            if self.world_size == 1:
                raise
            error = str(failure)
        if message := self.texts(error)[0]:
            raise SharedError(message)

    def barrier(self) -> None:
        """Return when every process has called this; the GPU is not synchronised."""
        self.any_rank(False)

    def synchronize(self) -> None:
        """Wait until the device has finished all work that was queued."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def device_memory(self) -> int:
        """Return the bytes of memory of the GPU; on a CPU, this process's share of the machine's
        memory.
        """
        if self.device.type == "cuda":
            return torch.cuda.get_device_properties(self.device).total_memory
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return machine.total_memory() // processes

    def peak_memory(self) -> int:
        """Return the most bytes of the GPU's memory that tensors of this process have held; on a
        CPU, the most memory of this process.
        """
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return torch.mps.driver_allocated_memory() if self.device.type == "mps" else machine.peak_memory()

    def missing_for_compile(self) -> str | None:
        """Return what torch.compile lacks on this machine and how to get it; None if nothing."""
        if self.device.type == "cuda":
            if importlib.util.find_spec("triton") is None:
                return "Triton is not installed (pip install triton)"
            if torch.cuda.get_device_capability(self.device) < OLDEST_FOR_TRITON:
                return f"Triton needs compute capability 7.0, and {self.device_name} has less"
            compilers, package = [os.environ.get("CC", "gcc"), "gcc", "clang"], "gcc"
        else:
            compilers, package = [os.environ.get("CXX", "g++"), "clang++"], "g++"
        if not any(map(shutil.which, compilers)):
            return f"there is no {'C' if package == 'gcc' else 'C++'} compiler (such as by apt install {package})"
        # What is compiled is a module of Python's own kind.
        if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
            return "Python's headers are missing (such as by apt install python3-dev)"
        return None

    @property
    def device_name(self) -> str:
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{torch.get_num_threads()}-thread CPU" if self.device.type == "cpu" else self.device.type


def start(device: str = "auto", precision: str = "auto", *, deterministic: bool = False) -> Runtime:
    """Choose the device and, under `torchrun` or `srun`, join the other processes.

    Args:
        deterministic: compute the same bits each time, from now on and in the whole process.

    Raises:
        UserError: the machine has no such device, the device does not support the precision, or the
            processes do not find each other.
    """
    if deterministic:
        compute_deterministically()
    os.environ.update(slurm.torchrun_variables(os.environ))
    world_size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = _find_device(device, local_rank, world_size)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
        # Products that stay in fp32 may use tf32, which is several times as fast and rounds less
        # than bf16.
        torch.set_float32_matmul_precision("high")
    elif chosen.type == "cpu":
        shared_cores.fit_threads(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        shared_cores.follow_load()
    if world_size > 1 and not dist.is_initialized():
        ranks.join(rank, world_size, chosen)
    node_size = _node_size(rank, local_rank, world_size)
    return Runtime(chosen, _find_precision(chosen, precision), rank, local_rank, world_size, node_size)


def _node_size(rank: int, local_rank: int, world_size: int) -> int:
    """Return `Runtime.node_size`. All processes must call this."""
    size = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    if world_size == 1:
        return size
    regular = world_size % size == 0 and rank % size == local_rank
    facts = torch.tensor([size, -size, not regular])
    dist.all_reduce(facts, dist.ReduceOp.MAX)
    largest, smallest, irregular = facts.tolist()
    return 0 if irregular or largest != -smallest else largest


def stop(runtime: Runtime) -> None:
    """Leave the group of processes."""
    if runtime.world_size > 1:
        ranks.leave()


def _find_device(name: str, local_rank: int, world_size: int) -> torch.device:
    if name == "auto":
        if cuda_is_usable():
            name = "cuda"
        else:
            if local_rank == 0 and (sentence := unusable_card()) is not None:
                warnings.warn(sentence, stacklevel=3)
            return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f'device is "{name}", but it must be auto, cpu, cuda, cuda:N or mps.') from None
    if device.type == "cuda":
        if world_size > 1 and device.index is not None:
            raise UserError(f'device is "{name}", but {world_size} processes need a card each. Use --device cuda.')
        index = local_rank if device.index is None else device.index
        if index >= (count := _count_cards()):
            raise UserError(
                f'device is "{name}", but this machine shows {count} CUDA devices, and process '
                f"{local_rank} of this machine needs number {index}. "
                + ("Start one process a card." if world_size > 1 else unusable_card() or "Leave --device out.")
            )
        if (sentence := _without_code(index)) is not None:
            raise UserError(sentence)
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError('device is "mps", but this machine has none. Leave --device out.')
    return device


def cuda_is_usable() -> bool:
    """Return whether torch can compute on an NVIDIA or AMD card of this machine."""
    return any(_without_code(index) is None for index in range(_count_cards()))


def _count_cards() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `unusable_card` says what torch would warn of
        # The count alone is that of the driver, which may be too old for this torch.
        return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _without_code(index: int) -> str | None:
    from gpt_research.base import drivers

    return drivers.without_code(index)


def unusable_card() -> str | None:
    """Return why torch cannot use the card of this machine, and what to do; None if it can, or if
    there is no card, or none that the user has not hidden.
    """
    from gpt_research.base import drivers

    if cuda_is_usable():
        return None
    has_device, has_amd_card = machine.has_nvidia_device(), machine.has_amd_card()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return drivers.why_unusable(machine.nvidia_driver(), has_device=has_device, has_amd_card=has_amd_card)


def _find_precision(device: torch.device, precision: str) -> Precision:
    if precision == "auto":
        return _fastest_precision(device)
    if precision == "bf16" and device.type == "cuda" and not _bf16_is_native(device):
        raise UserError(f"precision is bf16, but {torch.cuda.get_device_name(device)} has none. Use fp16.")
    if precision not in ("fp32", "bf16", "fp16"):
        raise UserError(f'precision is "{precision}", but it must be auto, fp32, bf16 or fp16.')
    return cast(Precision, precision)


def _fastest_precision(device: torch.device) -> Precision:
    if _bf16_is_native(device):
        return "bf16"
    # Volta and Turing compute fp16 about eight times as fast as fp32, and bf16 not at all.
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= OLDEST_WITH_FAST_FP16:
        return "fp16"
    return "fp32"


def _bf16_is_native(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Without AVX-512's instructions for bf16, products are emulated and slower than in fp32.
        capability = torch.backends.cpu.get_cpu_capability()
        return capability.startswith("AVX512") and machine.cpu_has_flag("avx512_bf16")
    return False
