"""The peak speed of a device in FLOP/s, the base of MFU (model FLOPs utilisation).

It is the maker's figure if the card is known (`base.cards`), else that of a timed matrix product.
"""

from __future__ import annotations

import time

import torch

from gpt_research.base.cards import find_card
from gpt_research.base.runtime import Runtime


def peak_flops(runtime: Runtime) -> float:
    """Return the peak FLOP/s of one device in the runtime's precision."""
    return stated_flops(runtime) or measured_flops(runtime)


def stated_flops(runtime: Runtime) -> float:
    """Return the FLOP/s that the maker states for the card of the runtime, in its precision; 0 if
    none are known.
    """
    if runtime.device.type != "cuda":
        return 0.0
    # A runtime of a card elsewhere (`estimate.cards`) knows which one it is.
    card = getattr(runtime, "card", None) or find_card(runtime.device_name)
    return card.peak_flops(runtime.precision) if card is not None else 0.0


def about_the_peak(runtime: Runtime, flops: float) -> str:
    """Return the sentence for a card that is not in the table; empty for all other devices.

    Args:
        flops: what was measured in place of the maker's figure, in FLOP/s.
    """
    if runtime.device.type == "cpu" or stated_flops(runtime):
        return ""
    return (
        f"No peak speed of {runtime.device_name} in {runtime.precision} is known here, so MFU is the share of what a "
        f"matrix product reached on it: {flops / 1e12:,.1f} TFLOP/s."
    )


def measured_flops(runtime: Runtime, seconds: float = 0.4) -> float:
    """Return the FLOP/s of the fastest matrix product of GPT shapes, timed for about `seconds`.

    The figure is too low if the machine is busy meanwhile. So a trainer whose steps are faster
    measures again, and takes its own speed for the peak if that is still higher.
    """
    # A small product comes first, because its speed tells how long a large one would take.
    shapes = [(64, 768, 768), (1024, 768, 3072), (1024, 3072, 768)]
    if runtime.device.type != "cpu":
        shapes = [(size, size, size) for size in (2048, 4096, 8192)]  # a smaller one would not fill a GPU
    best = 0.0
    for m, k, n in shapes:
        # If 16 bits are emulated, one large product takes many seconds.
        if best and 2 * m * k * n / best > seconds:
            break
        a = torch.randn(m, k, device=runtime.device, dtype=runtime.dtype)
        b = torch.randn(k, n, device=runtime.device, dtype=runtime.dtype)
        runtime.synchronize()
        started_at = time.perf_counter()
        while time.perf_counter() - started_at < seconds / len(shapes):
            before = time.perf_counter()
            torch.mm(a, b)
            runtime.synchronize()
            best = max(best, 2 * m * k * n / (time.perf_counter() - before))
    return best
