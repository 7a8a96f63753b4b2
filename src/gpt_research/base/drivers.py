"""Whether torch can compute on the cards of this machine; if it cannot, why, and what helps.

`pip install torch` takes one build for all machines. It needs a recent driver and has machine code
for recent cards only, so it may be there beside a card and not be able to use it.
"""

from __future__ import annotations

import contextlib
import os
import re

import torch

from gpt_research.base import hints

INDEX = "https://download.pytorch.org/whl/"
"""Where PyTorch keeps its builds; the folders are called cpu, cu126 (CUDA 12.6) and the like."""
OLDEST_DRIVER = {13: 580, 12: 525, 11: 450}
"""Major version of CUDA -> the oldest driver for it. Source: NVIDIA's CUDA Toolkit release notes,
table "CUDA Toolkit and Minimum Required Driver Version for CUDA Minor Version Compatibility"."""
BUILDS = ((580, "cu130"), (570, "cu128"), (525, "cu126"))
"""Driver -> the newest build of torch for it. Source: the same table, and that of the toolkits' own
drivers for cu128, which Blackwell's cards need."""


def why_unusable(driver: str | None, *, has_device: bool, has_amd_card: bool) -> str | None:
    """Return why torch cannot use the card of this machine, and what to do; None if there is no
    card, or none that the user has not hidden.

    Args:
        driver: the version of NVIDIA's driver, such as 535.104; None if there is none.
        has_device: this process sees a device of NVIDIA's.
    """
    if hidden_by() is not None:
        return None
    if torch.cuda.is_available():
        return without_code(0)
    if driver is not None:
        return _nvidia(driver, has_device=has_device)
    if has_amd_card:
        return (
            f"This machine has an AMD card, but torch {torch.__version__} is built for {_built_for()}, so the card is "
            f"not used. Install a build for ROCm, as pytorch.org/get-started names it: {_how(INDEX + 'rocmX.Y')}"
        )
    return None


def hidden_by() -> str | None:
    """Return the environment variable with which the user has hidden all cards, or None."""
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        if os.environ.get(name, "0").strip().lower() in ("", "-1", "nodevfiles"):
            return name
    return None


def without_code(index: int) -> str | None:
    """Return a sentence if this torch has no machine code for a card; None if it has."""
    codes = _machine_code()
    if not codes or torch.version.hip is not None:
        return None
    card = torch.cuda.get_device_capability(index)
    # Code for 8.0 runs on 8.6 too, but not on 9.0; code of the kind "compute" is made for any newer
    # card when it is loaded.
    if any(code <= card and (is_portable or code[0] == card[0]) for code, is_portable in codes):
        return None
    oldest, newest = (f"{major}.{minor}" for major, minor in (min(codes)[0], max(codes)[0]))
    build = "cu126" if card < min(codes)[0] else "cu130"
    return (
        f"This machine has a card of compute capability {card[0]}.{card[1]} ({torch.cuda.get_device_name(index)}), but "
        f"torch {torch.__version__} has machine code for {oldest} to {newest} only. Install another build: "
        f"{_how(INDEX + build)}"
    )


def _machine_code() -> list[tuple[tuple[int, int], bool]]:
    """Return each compute capability that this torch has code for, and whether all newer cards can
    take it; empty if it does not say.
    """
    found = []
    with contextlib.suppress(RuntimeError, AttributeError):  # a torch without CUDA has no list
        for name in torch.cuda.get_arch_list():
            if parts := re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", name):
                found.append(((int(parts[2]), int(parts[3])), parts[1] == "compute"))
    return found


def _nvidia(driver: str, *, has_device: bool) -> str:
    """Return why torch cannot use the card of this driver, such as 535.104."""
    found = f"This machine has an NVIDIA card (driver {driver}), but torch {torch.__version__}"
    has = int(driver.partition(".")[0])
    build = next((name for oldest, name in BUILDS if has >= oldest), None)
    if torch.version.cuda is None:
        remedy = f"Install a build for CUDA: {_how(INDEX + build)}" if build else "Update the driver, and install one."
        return f"{found} is built for {_built_for()}, so the card is not used. {remedy}"
    found += f", built for CUDA {torch.version.cuda}, cannot use it."
    needs = OLDEST_DRIVER.get(int(torch.version.cuda.partition(".")[0]), 0)
    if has < needs:
        found += f" Update the driver (CUDA {torch.version.cuda} needs {needs} or newer)"
        return found + (f", or install torch for an older CUDA: {_how(INDEX + build)}" if build else ".")
    if not has_device:
        return (
            f"{found} The card was not handed to this container or job: start it with docker run --gpus all, or ask "
            "the batch system for a card (sbatch --gpus=1)."
        )
    return f"{found} CUDA says: {_reason()}. nvidia-smi may say more; often a restart of the machine helps."


def _reason() -> str:
    """Return the first line of what CUDA complains of when it starts."""
    try:
        torch.cuda.init()
    except Exception as error:
        return str(error).partition("\n")[0].rstrip(". ") or type(error).__name__
    return "nothing"


def what_torch_needs() -> str:
    """Return for what this torch is built, and the driver that it needs."""
    needs = OLDEST_DRIVER.get(int((torch.version.cuda or "0").partition(".")[0]), 0)
    return f"torch is built for {_built_for()}" + (f", which needs {needs} or newer" if needs else "")


def _built_for() -> str:
    if torch.version.cuda is not None:
        return f"CUDA {torch.version.cuda}"
    return f"ROCm {torch.version.hip}" if torch.version.hip is not None else "CPUs"


def _how(index: str) -> str:
    return hints.install_torch(torch.__version__, index)
