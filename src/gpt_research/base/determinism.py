"""The same bits each time, on a GPU too: what `--deterministic` sets for the process.

Some of torch's kernels add numbers in an order that changes from call to call. The deterministic
ones do not, and are slower. On a CPU the order of a given number of threads never changes, so
nothing changes there.

Sources: torch's note on reproducibility; its `sdp_utils.cpp` for attention: cuDNN's is then not
taken, and the backward pass of flash attention adds in order.
"""

from __future__ import annotations

import os

import torch
import torch.utils.deterministic

from gpt_research.base.errors import UserError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")
"""Values of the variable with which cuBLAS always takes the same algorithm. Source: section
"Results Reproducibility" of its manual."""


def compute_deterministically() -> None:
    """Let this process compute the same bits each time; must come before CUDA is used.

    Raises:
        UserError: the environment asks cuBLAS for a workspace with which it would not.
    """
    asked_for = os.environ.setdefault(WORKSPACE, WORKSPACES[0])
    if asked_for not in WORKSPACES:
        raise UserError(
            f'deterministic is true, but the environment has {WORKSPACE}="{asked_for}", with which products of '
            f"matrices may differ from run to run. Unset it, or set it to {WORKSPACES[0]}."
        )
    # Inductor then chooses no kernel by its time, which differs from process to process.
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    torch.use_deterministic_algorithms(True)
    # Memory that nothing reads before it is written decides nothing, and filling it takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
