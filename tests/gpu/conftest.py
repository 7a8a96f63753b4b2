"""Tests of what only a card can show: `make test-gpu` on a machine that has one.

Elsewhere they skip. `GPT_RESEARCH_TEST_DEVICE=cpu` runs their bodies on a CPU, as far as it can
take the place of a card, so that they are known to be right but for the card.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from gpt_research.base import startup

DEVICE = os.environ.get("GPT_RESEARCH_TEST_DEVICE", "cuda")


@pytest.fixture(scope="session")
def device() -> str:
    """The name of the device under test."""
    if DEVICE == "cuda" and not startup.cuda_is_usable():
        pytest.skip(startup.unusable_card() or "there is no card (GPT_RESEARCH_TEST_DEVICE=cpu takes the CPU)")
    return DEVICE


@pytest.fixture
def card(device: str) -> Iterator[str]:
    """The device, which a CPU cannot take the place of."""
    if device != "cuda":
        pytest.skip("a CPU cannot take the place of a card here")
    yield device
    torch.cuda.empty_cache()


@pytest.fixture(autouse=True)
def products_as_elsewhere() -> Iterator[None]:
    """Training lets fp32 products run in tf32, and that stays for the process."""
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)
