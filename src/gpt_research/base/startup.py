"""The start of a command's runtime: which device, which precision, and the other processes.

`torchrun` or Slurm's `srun` start several processes; without them there is one.
"""

from __future__ import annotations

import os
import warnings
from typing import cast

import torch
import torch.distributed as dist

from gpt_research.base import drivers, kernel_caches, machine, ranks, shared_cores, slurm
from gpt_research.base.determinism import compute_deterministically
from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Precision, Runtime

OLDEST_WITH_FAST_FP16 = (7, 0)
"""Compute capability of NVIDIA's cards. Source: NVIDIA's CUDA C++ Programming Guide, table
"Throughput of native arithmetic instructions"."""


def start(device: str = "auto", precision: str = "auto", *, deterministic: bool = False) -> Runtime:
    """Choose the device and, under `torchrun` or `srun`, join the other processes.

    Args:
        deterministic: compute the same bits each time, from now on and in the whole process.

    Raises:
        UserError: the machine has no such device, the device does not support the precision, or the
            processes do not find each other.
    """
    kernel_caches.bound()
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
        name = best_device()
        if name != "cuda" and local_rank == 0 and (sentence := unusable_card()) is not None:
            warnings.warn(sentence, stacklevel=3)
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


def best_device() -> str:
    """Return the kind of device that `auto` stands for on this machine: cuda, mps or cpu."""
    if cuda_is_usable():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def cuda_is_usable() -> bool:
    """Return whether torch can compute on an NVIDIA or AMD card of this machine."""
    return any(_without_code(index) is None for index in range(_count_cards()))


def _count_cards() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `unusable_card` says what torch would warn of
        # The count alone is that of the driver, which may be too old for this torch.
        return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _without_code(index: int) -> str | None:

    return drivers.without_code(index)


def unusable_card() -> str | None:
    """Return why torch cannot use the card of this machine, and what to do; None if it can, or if
    there is no card, or none that the user has not hidden.
    """

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
