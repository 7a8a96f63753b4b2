"""Devices that are not here: what `gpt-research plan --on 8xh100` computes with.

Peak speeds are those of `base.peak_flops`. Sizes of memory are the makers'. Prices are what one
card cost on demand at one marketplace (RunPod) on the date below; large clouds take more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from gpt_research.base.errors import UserError, closest
from gpt_research.base.peak_flops import PEAK_FLOPS
from gpt_research.base.runtime import Precision, Runtime

PRICES_OF = "March 2026"
MEMORY_GB = {
    "H200": 141, "H100": 80, "GH200": 96, "B200": 180, "A100": 80, "L40S": 48, "L4": 24, "A10G": 24, "4090": 24,
    "3090": 24, "T4": 16, "V100": 16,
}  # fmt: skip
DOLLARS_AN_HOUR = {"H200": 3.59, "H100": 2.69, "B200": 5.98, "A100": 1.39, "4090": 0.34}
WITHOUT_BF16 = ("T4", "V100")
CARDS_OF_A_NODE = 8
"""As clouds build them."""


@dataclass(frozen=True)
class RuntimeElsewhere(Runtime):
    """The runtime that a process would have on one of several cards of a kind; it can compute
    nothing.
    """

    card: str = ""

    @property
    def peak_flops(self) -> float:
        """FLOP/s of all cards together."""
        return PEAK_FLOPS[self.card] * self.world_size

    @property
    def price_per_hour(self) -> float:
        """Dollars an hour of all cards together; 0 if the price is not known."""
        return DOLLARS_AN_HOUR.get(self.card, 0.0) * self.world_size

    @property
    def device_name(self) -> str:
        return self.card

    @property
    def can_compile(self) -> bool:
        return True

    def device_memory(self) -> int:
        return int(MEMORY_GB[self.card] * 1e9)


def elsewhere(name: str, precision: str) -> RuntimeElsewhere:
    """Return the runtime for a name such as a100, RTX-4090 or 8xh100.

    Raises:
        UserError: there is no such card in the table, or it lacks the precision.
    """
    parts = re.fullmatch(r"(?:(\d+)\s*x\s*)?(?:nvidia[ -]?)?(?:rtx[ -]?)?(\w+)", name.strip().lower())
    known = {card.lower(): card for card in PEAK_FLOPS}
    count, card = (int(parts[1] or 1), known.get(parts[2], "")) if parts else (0, "")
    if not card or count < 1:
        near = closest(name.lower(), known)
        raise UserError(f'on is "{name}", but it must be one of {", ".join(known)}, or several, such as 8xh100.{near}')
    if precision == "fp32":
        raise UserError("precision is fp32, but the peak speeds that --on computes with are those of 16 bits.")
    if precision == "bf16" and card in WITHOUT_BF16:
        raise UserError(f"precision is bf16, but a {card} has none. Use fp16.")
    chosen: Precision = "fp16" if precision == "fp16" or card in WITHOUT_BF16 else "bf16"
    node_size = CARDS_OF_A_NODE if count % CARDS_OF_A_NODE == 0 else 0
    return RuntimeElsewhere(torch.device("cuda"), chosen, world_size=count, node_size=node_size, card=card)
