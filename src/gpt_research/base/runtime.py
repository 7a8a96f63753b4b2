"""The runtime of a command: device, precision, and this process among the others.

`startup.start` makes one `Runtime`, and the command passes it on. No other code asks torch or the
environment for the device or the rank.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
import torch.distributed as dist

from gpt_research.base import machine, ranks
from gpt_research.base.errors import SharedError, UserError

T = TypeVar("T")
Precision = Literal["fp32", "bf16", "fp16"]
OLDEST_FOR_TRITON = (7, 0)
"""Compute capability of NVIDIA's cards. Source: Triton's README."""


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
        return int(self.largest_of_each([number])[0])

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
        return ranks.gather_texts(text, self.world_size)

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

    def seed(self, seed: int) -> None:
        """Begin the device's stream of random numbers anew; and the CPU's, because it is drawn from
        beside a GPU too.
        """
        if self.device.type == "cpu":
            # torch.manual_seed asks for the seed of every other kind of device, and notes each time
            # from where it was called: more work than a step of a tiny model.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

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

    def free_memory(self) -> int:
        """Return the bytes that this process may take on its device, those in torch's own cache
        included.
        """
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device)
        if self.device.type == "mps":
            return torch.mps.recommended_max_memory()
        return machine.free_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

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
