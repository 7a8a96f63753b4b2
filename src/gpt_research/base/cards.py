"""The cards whose peak speed and memory are known: the base of MFU, and of `plan --on`.

A card is found by its exact name, as `torch.cuda.get_device_name` gives it: an "L40" is no "L4",
and an H100 is sold with three speeds under three names. A card that is not here is measured
(`base.peak_flops`). That is also better for some that have a name:

- a laptop's card (RTX 4090 Laptop GPU): its speed depends on the power that its maker allows;
- a slice of a card (A100-SXM4-40GB MIG 3g.20gb): it has a part of the speed;
- GB10 (DGX Spark) and RTX PRO 6000 Blackwell Server Edition: NVIDIA states only rounded figures for
  FP4 with sparsity.
"""

from __future__ import annotations

from dataclasses import dataclass

VOLTA = "NVIDIA V100 data sheet"
TURING = "NVIDIA Turing GPU architecture, white paper (reference clocks, fp32 accumulation)"
AMPERE_GEFORCE = "NVIDIA Ampere GA102 GPU architecture, white paper (dense, fp32 accumulation)"
ADA_GEFORCE = "NVIDIA Ada GPU architecture, white paper (dense, fp32 accumulation)"
BLACKWELL_GEFORCE = "NVIDIA RTX Blackwell GPU architecture, white paper (dense, fp32 accumulation)"
A100 = "NVIDIA A100 data sheet (dense)"
HOPPER = "NVIDIA H100 and H200 data sheets (half of the figures with sparsity)"
BLACKWELL = "NVIDIA HGX B200/B300 and GB200/GB300 NVL72 data sheets (half of the figures with sparsity, for one GPU)"
OWN = "NVIDIA's data sheet of the card (dense, or half of the figure with sparsity)"
INSTINCT = (
    "AMD Instinct data sheet of the card (dense, matrix; MI200: a half of it, for torch shows each die as a card)"
)


@dataclass(frozen=True)
class Card:
    """A card: its dense peaks in TFLOP/s, for products of numbers of each type."""

    key: str
    """Its short name, for `plan --on`."""
    memory_gb: float
    sixteen: float
    """For bf16 and fp16, added up in fp32."""
    fp32: float
    """With TF32, which training uses for fp32 on NVIDIA's cards from Ampere on; else plain fp32."""
    source: str
    """The maker's document with these figures."""
    names: tuple[str, ...]
    """As torch gives them; old drivers leave `NVIDIA` or `Tesla` out."""
    has_bf16: bool = True

    def peak_flops(self, precision: str) -> float:
        """Return FLOP/s in fp32, bf16 or fp16; 0 if the card does not have the type."""
        if precision == "bf16" and not self.has_bf16:
            return 0.0
        return 1e12 * (self.fp32 if precision == "fp32" else self.sixteen)


# fmt: off
CARDS = (
    Card("h100", 80, 989.5, 494.7, HOPPER, ("NVIDIA H100 80GB HBM3",)),
    Card("h100-pcie", 80, 756.5, 378, HOPPER, ("NVIDIA H100 PCIe",)),
    Card("h100-nvl", 94, 835.5, 417.5, HOPPER, ("NVIDIA H100 NVL",)),
    Card("h200", 141, 989.5, 494.7, HOPPER, ("NVIDIA H200",)),
    Card("h200-nvl", 141, 835.5, 417.5, HOPPER, ("NVIDIA H200 NVL",)),
    Card("gh200", 96, 989.5, 494.7, HOPPER, ("NVIDIA GH200 480GB", "NVIDIA GH200 120GB")),
    Card("gh200-144gb", 144, 989.5, 494.7, HOPPER, ("NVIDIA GH200 144G HBM3e",)),
    Card("h800", 80, 989.5, 494.7, OWN, ("NVIDIA H800",)),
    Card("h800-pcie", 80, 756.5, 378, OWN, ("NVIDIA H800 PCIe",)),
    Card("h20", 96, 148, 74, OWN, ("NVIDIA H20",)),
    Card("h20-141gb", 141, 148, 74, OWN, ("NVIDIA H20-3e",)),
    Card("b200", 180, 2250, 1125, BLACKWELL, ("NVIDIA B200",)),
    Card("gb200", 186, 2500, 1250, BLACKWELL, ("NVIDIA GB200",)),
    Card("b300", 270, 2250, 1125, BLACKWELL, ("NVIDIA B300 SXM6 AC", "NVIDIA B300")),
    Card("gb300", 278, 2500, 1250, BLACKWELL, ("NVIDIA GB300",)),
    Card("a100", 80, 312, 156, A100, ("NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe", "NVIDIA A100-PCIE-80GB")),
    Card("a100-40gb", 40, 312, 156, A100, ("NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB")),
    Card("a800", 80, 312, 156, A100, ("NVIDIA A800-SXM4-80GB", "NVIDIA A800 80GB PCIe")),
    Card("a800-40gb", 40, 312, 156, A100, ("NVIDIA A800-SXM4-40GB", "NVIDIA A800 40GB Active")),
    Card("a40", 48, 149.7, 74.8, OWN, ("NVIDIA A40",)),
    Card("a30", 24, 165, 82, OWN, ("NVIDIA A30",)),
    Card("a10", 24, 125, 62.5, OWN, ("NVIDIA A10",)),
    Card("a10g", 24, 70, 35, OWN, ("NVIDIA A10G",)),
    Card("a2", 16, 18, 9, OWN, ("NVIDIA A2",)),
    Card("l40s", 48, 362, 183, OWN, ("NVIDIA L40S",)),
    Card("l40", 48, 181, 90.5, OWN, ("NVIDIA L40",)),
    Card("l4", 24, 121, 60, OWN, ("NVIDIA L4",)),
    Card("pro6000", 96, 503.8, 251.9, OWN, ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition",)),
    Card("pro6000-max-q", 96, 438.9, 219.5, OWN, ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",)),
    Card("6000ada", 48, 364.2, 182.1, OWN, ("NVIDIA RTX 6000 Ada Generation",)),
    Card("a6000", 48, 154.8, 77.4, AMPERE_GEFORCE, ("NVIDIA RTX A6000",)),
    Card("a5000", 24, 111.1, 55.6, OWN, ("NVIDIA RTX A5000",)),
    Card("a4000", 16, 76.7, 38.3, OWN, ("NVIDIA RTX A4000",)),
    Card("5090", 32, 209.5, 104.8, BLACKWELL_GEFORCE, ("NVIDIA GeForce RTX 5090",)),
    Card("5080", 16, 112.6, 56.3, BLACKWELL_GEFORCE, ("NVIDIA GeForce RTX 5080",)),
    Card("5070ti", 16, 87.9, 43.9, BLACKWELL_GEFORCE, ("NVIDIA GeForce RTX 5070 Ti",)),
    Card("4090", 24, 165.2, 82.6, ADA_GEFORCE, ("NVIDIA GeForce RTX 4090",)),
    Card("4080", 16, 97.5, 48.7, ADA_GEFORCE, ("NVIDIA GeForce RTX 4080",)),
    Card("3090ti", 24, 80, 40, ADA_GEFORCE, ("NVIDIA GeForce RTX 3090 Ti",)),
    Card("3090", 24, 71, 35.6, AMPERE_GEFORCE, ("NVIDIA GeForce RTX 3090",)),
    Card("3080", 10, 59.5, 29.8, AMPERE_GEFORCE, ("NVIDIA GeForce RTX 3080",)),
    Card("3070", 8, 40.6, 20.3, AMPERE_GEFORCE, ("NVIDIA GeForce RTX 3070",)),
    Card("2080ti", 11, 53.8, 13.4, TURING, ("NVIDIA GeForce RTX 2080 Ti",), has_bf16=False),
    Card("2080", 8, 40.3, 10, TURING, ("NVIDIA GeForce RTX 2080",), has_bf16=False),
    Card("titan-rtx", 24, 130.5, 16.3, TURING, ("NVIDIA TITAN RTX",), has_bf16=False),
    Card("rtx8000", 48, 130.5, 16.3, TURING, ("Quadro RTX 8000",), has_bf16=False),
    Card("t4", 16, 65, 8.1, "NVIDIA T4 data sheet", ("Tesla T4",), has_bf16=False),
    Card("v100", 16, 125, 15.7, VOLTA, ("Tesla V100-SXM2-16GB",), has_bf16=False),
    Card("v100-32gb", 32, 125, 15.7, VOLTA, ("Tesla V100-SXM2-32GB", "Tesla V100-SXM3-32GB"), has_bf16=False),
    Card("v100-pcie", 16, 112, 14, VOLTA, ("Tesla V100-PCIE-16GB",), has_bf16=False),
    Card("v100-pcie-32gb", 32, 112, 14, VOLTA, ("Tesla V100-PCIE-32GB",), has_bf16=False),
    Card("v100s", 32, 130, 16.4, VOLTA, ("Tesla V100S-PCIE-32GB",), has_bf16=False),
    Card("mi355x", 288, 2516.6, 157.3, INSTINCT, ("AMD Instinct MI355X",)),
    Card("mi350x", 288, 2306.9, 144.2, INSTINCT, ("AMD Instinct MI350X",)),
    Card("mi325x", 256, 1307.4, 163.4, INSTINCT, ("AMD Instinct MI325X",)),
    Card("mi300x", 192, 1307.4, 163.4, INSTINCT, ("AMD Instinct MI300X",)),
    Card("mi300a", 128, 980.6, 122.6, INSTINCT, ("AMD Instinct MI300A",)),
    Card("mi250x", 64, 191.5, 47.9, INSTINCT, ("AMD Instinct MI250X", "AMD Instinct MI250X / MI250")),
    Card("mi250", 64, 181, 45.3, INSTINCT, ("AMD Instinct MI250",)),
    Card("mi210", 64, 181, 45.3, INSTINCT, ("AMD Instinct MI210",)),
)
# fmt: on


def find_card(name: str) -> Card | None:
    """Return the card that torch calls `name`; None if its figures are not known."""
    return _BY_NAME.get(_plain(name))


def _plain(name: str) -> str:
    """Return a name without what drivers of different age put before it."""
    words = name.lower().split()
    while words and words[0] in ("nvidia", "tesla"):
        words = words[1:]
    return " ".join(words)


_BY_NAME = {_plain(name): card for card in CARDS for name in card.names}
