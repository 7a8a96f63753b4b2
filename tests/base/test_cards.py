"""A card gets its own figures, by its exact name, and no other card's."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gpt_research.base import peak_flops
from gpt_research.base.cards import CARDS, find_card
from gpt_research.base.runtime import Runtime

CARD = Runtime(torch.device("cuda", 0), "bf16")


@pytest.mark.parametrize(
    ("name", "bf16", "fp16", "fp32"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5, 989.5, 494.7),
        ("NVIDIA H100 PCIe", 756.5, 756.5, 378),
        ("NVIDIA H100 NVL", 835.5, 835.5, 417.5),
        ("NVIDIA H200", 989.5, 989.5, 494.7),
        ("NVIDIA H20", 148, 148, 74),
        ("NVIDIA H800", 989.5, 989.5, 494.7),
        ("NVIDIA GH200 480GB", 989.5, 989.5, 494.7),
        ("NVIDIA B200", 2250, 2250, 1125),
        ("NVIDIA GB200", 2500, 2500, 1250),
        ("NVIDIA B300 SXM6 AC", 2250, 2250, 1125),
        ("NVIDIA A100-SXM4-40GB", 312, 312, 156),
        ("NVIDIA A100-SXM4-80GB", 312, 312, 156),
        ("NVIDIA A100-PCIE-40GB", 312, 312, 156),
        ("NVIDIA A100 80GB PCIe", 312, 312, 156),
        ("A100-SXM4-40GB", 312, 312, 156),
        ("NVIDIA A10", 125, 125, 62.5),
        ("NVIDIA A10G", 70, 70, 35),
        ("NVIDIA A40", 149.7, 149.7, 74.8),
        ("NVIDIA A30", 165, 165, 82),
        ("NVIDIA RTX A6000", 154.8, 154.8, 77.4),
        ("NVIDIA L4", 121, 121, 60),
        ("NVIDIA L40", 181, 181, 90.5),
        ("NVIDIA L40S", 362, 362, 183),
        ("NVIDIA RTX 6000 Ada Generation", 364.2, 364.2, 182.1),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 503.8, 503.8, 251.9),
        ("NVIDIA GeForce RTX 5090", 209.5, 209.5, 104.8),
        ("NVIDIA GeForce RTX 4090", 165.2, 165.2, 82.6),
        ("NVIDIA GeForce RTX 3090", 71, 71, 35.6),
        ("NVIDIA GeForce RTX 2080 Ti", 0, 53.8, 13.4),
        ("GeForce RTX 2080 Ti", 0, 53.8, 13.4),
        ("Tesla T4", 0, 65, 8.1),
        ("NVIDIA T4", 0, 65, 8.1),
        ("Tesla V100-SXM2-16GB", 0, 125, 15.7),
        ("Tesla V100-PCIE-32GB", 0, 112, 14),
        ("AMD Instinct MI250X / MI250", 191.5, 191.5, 47.9),
        ("AMD Instinct MI300X", 1307.4, 1307.4, 163.4),
        ("AMD Instinct MI325X", 1307.4, 1307.4, 163.4),
        ("AMD Instinct MI355X", 2516.6, 2516.6, 157.3),
    ],
)
def test_a_card_has_the_makers_peak(
    name: str, bf16: float, fp16: float, fp32: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: name)
    monkeypatch.setattr(peak_flops, "measured_flops", lambda runtime: 1.0)
    for precision, teraflops in (("bf16", bf16), ("fp16", fp16), ("fp32", fp32)):
        runtime = dataclasses.replace(CARD, precision=precision)
        assert peak_flops.peak_flops(runtime) == pytest.approx(1e12 * teraflops or 1.0), precision


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA T400",
        "NVIDIA T4G",
        "Quadro T4000",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
        "NVIDIA GB10",
        "NVIDIA A1000",
        "NVIDIA H100 80GB HBM2e",
        "a card",
    ],
)
def test_a_card_that_is_not_in_the_table_is_measured_and_called_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_card(name) is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: name)
    monkeypatch.setattr(peak_flops, "measured_flops", lambda runtime: 123.4e12)
    assert peak_flops.peak_flops(CARD) == 123.4e12
    said = peak_flops.about_the_peak(CARD, 123.4e12)
    assert said.startswith(f"No peak speed of {name} in bf16 is known here")
    assert "123.4 TFLOP/s" in said
    assert peak_flops.about_the_peak(dataclasses.replace(CARD, device=torch.device("cpu")), 1e12) == ""


def test_the_table_has_no_two_cards_of_a_name() -> None:
    names = [name for card in CARDS for name in card.names]
    assert len(set(names)) == len(names)
    assert len({card.key for card in CARDS}) == len(CARDS)
    for card in CARDS:
        assert card.source
        assert 0 < card.fp32 < card.sixteen, card.key
