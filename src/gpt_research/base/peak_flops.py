"""The peak speed of a device in FLOP/s, the base of MFU (model FLOPs utilisation).

It is the maker's figure if the device is in the table, else that of a timed matrix product.
"""

from __future__ import annotations

import time

import torch

from gpt_research.base.runtime import Runtime

PEAK_FLOPS = {
    "H200": 989.5e12,
    "H100": 989.5e12,
    "GH200": 989.5e12,
    "B200": 2250e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
    "4090": 165.2e12,
    "3090": 71e12,
    "T4": 65e12,
    "V100": 125e12,
}
"""Dense bf16 FLOP/s as the makers state them; fp16 has the same. The first key that is a part of
the device's name counts, so L40S stands before L4."""


def peak_flops(runtime: Runtime) -> float:
    """Return the peak FLOP/s of one device in the runtime's precision."""
    if runtime.device.type == "cuda" and runtime.precision != "fp32":
        for part, flops in PEAK_FLOPS.items():
            if part in torch.cuda.get_device_name(runtime.device):
                return flops
    return measured_flops(runtime)


def measured_flops(runtime: Runtime, seconds: float = 0.4) -> float:
    """Return the FLOP/s of the fastest matrix product of GPT shapes, timed for about `seconds`.

    The figure is too low if the machine is busy meanwhile. So a trainer whose steps are faster
    measures again, and takes its own speed for the peak if that is still higher.
    """
    # A small product comes first, because its speed tells how long a large one would take.
    shapes = [(64, 768, 768), (1024, 768, 3072), (1024, 3072, 768)]
    if runtime.device.type != "cpu":
        shapes = [(8192, 8192, 8192)]  # a smaller product would not fill a GPU
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
