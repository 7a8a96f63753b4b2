"""What a result was made with: this machine in words, and the versions of the programs."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from gpt_research.base import machine
from gpt_research.version import __version__

TRAINED_ON = "trained_on.json"
"""File of a run: machine of the first rank, and versions, with which it began or went on last."""


def about_the_machine() -> dict[str, Any]:
    """Return processor, cores, memory, cards and system."""
    cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu": machine.cpu_name() or platform.processor(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "memory_gb": round(machine.total_memory() / 1e9, 1),
        **({"cards": ", ".join(cards)} if cards else {}),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    return {"gpt-research": __version__, "torch": torch.__version__, "python": platform.python_version()}
