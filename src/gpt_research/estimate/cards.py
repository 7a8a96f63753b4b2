"""Devices that are not here: what `gpt-research plan --on 8xh100` computes with.

Peak speeds and sizes of memory are those of `base.cards`. Prices are what one card cost on demand
at one marketplace (RunPod) on the date below; large clouds take more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from gpt_research.base.cards import CARDS, Card, find_card
from gpt_research.base.errors import UserError, closest
from gpt_research.base.runtime import Precision, Runtime

PRICES_OF = "March 2026"
DOLLARS_AN_HOUR = {"h200": 3.59, "h100": 2.69, "b200": 5.98, "a100": 1.39, "4090": 0.34}
CARDS_OF_A_NODE = 8
"""As clouds build them."""
MAKERS_WORDS = re.compile(r"nvidia|amd|geforce|instinct|tesla|quadro|rtx|generation|blackwell|[^a-z0-9]")
"""What may stand in a card's name, or be left out."""


@dataclass(frozen=True)
class RuntimeElsewhere(Runtime):
    """The runtime that a process would have on one of several cards of a kind; it can compute
    nothing.
    """

    card: Card = CARDS[0]

    @property
    def peak_flops(self) -> float:
        """FLOP/s of all cards together."""
        return self.card.peak_flops(self.precision) * self.world_size

    @property
    def price_per_hour(self) -> float:
        """Dollars an hour of all cards together; 0 if the price is not known."""
        return DOLLARS_AN_HOUR.get(self.card.key, 0.0) * self.world_size

    @property
    def device_name(self) -> str:
        return self.card.key.upper()

    def missing_for_compile(self) -> str | None:
        return None  # what is missing on this machine does not count there

    def device_memory(self) -> int:
        return int(self.card.memory_gb * 1e9)


def elsewhere(name: str, precision: str) -> RuntimeElsewhere:
    """Return the runtime for a name such as a100, RTX-4090, "NVIDIA H100 PCIe" or 8xh100.

    Raises:
        UserError: there is no such card in the table, or it lacks the precision.
    """
    parts = re.fullmatch(r"(?:(\d+)\s*x\s*)?(.+)", name.strip().lower())
    known = {MAKERS_WORDS.sub("", card.key): card for card in CARDS}
    count, card = 0, None
    if parts:
        count, card = int(parts[1] or 1), find_card(parts[2]) or known.get(MAKERS_WORDS.sub("", parts[2]))
    if card is None or count < 1:
        keys = [card.key for card in CARDS]
        raise UserError(
            f'on is "{name}", but it must be one of {", ".join(keys)}, or several, such as 8xh100.'
            f"{closest(name.lower(), keys)}"
        )
    if precision == "bf16" and not card.has_bf16:
        raise UserError(f"precision is bf16, but a {card.key.upper()} has none. Use fp16.")
    chosen: Precision = "bf16" if card.has_bf16 else "fp16"
    if precision in ("fp32", "fp16"):
        chosen = "fp32" if precision == "fp32" else "fp16"
    node_size = CARDS_OF_A_NODE if count % CARDS_OF_A_NODE == 0 else 0
    return RuntimeElsewhere(torch.device("cuda"), chosen, world_size=count, node_size=node_size, card=card)
