"""mup holds what it promises: after a few steps, activations have changed as much at every width.

Source: Yang et al. 2022, "Tensor Programs V", appendix D.1 (coordinate check) and table 8.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import pytest
import torch

from gpt_research.config import OptimizerConfig, TrainConfig
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.optimizers import make_optimizer

WIDTHS = (64, 128, 256, 512)
STEPS = 3


def shape(width: int, parametrization: Literal["standard", "mup"], **changes: Any) -> GPTConfig:
    # The number of heads stays, so that their size grows too.
    base = GPTConfig(n_layer=2, n_head=4, block_size=16, vocab_size=64, parametrization=parametrization)
    return dataclasses.replace(base, n_embd=width, mup_base_width=64, **changes)


def changes_of_activations(config: GPTConfig, optimizer: str, rate: float, seed: int) -> dict[str, float]:
    """Return by how much an entry of each activation has changed after some steps, on average."""
    model = GPT(config, seed)
    settings = TrainConfig(model=config, optimizer=OptimizerConfig(optimizer), learning_rate=rate, tokens_per_step=1024)
    steps = make_optimizer(model, settings)
    for group in steps.param_groups:
        group["lr"] = rate * group["lr_scale"]
    seen: dict[str, list[torch.Tensor]] = {}
    for name, module in model.named_modules():
        if name in ("token_embedding", "norm", "head") or name.rpartition(".")[2] in ("attention", "mlp"):

            def keep(module: object, inputs: object, output: torch.Tensor, name: str = name) -> None:
                seen.setdefault(name, []).append(output.detach())

            module.register_forward_hook(keep)
    tokens = torch.randint(0, 64, (4, 17), generator=torch.Generator().manual_seed(seed))
    for _ in range(STEPS + 1):
        (model(tokens[:, :-1], tokens[:, 1:]) / 64).backward()
        steps.step()
        steps.zero_grad()
    return {name: float((outputs[-1] - outputs[0]).abs().mean()) for name, outputs in seen.items()}


def growth(
    parametrization: Literal["standard", "mup"], optimizer: str, rate: float, **changes: Any
) -> dict[str, float]:
    """Return the exponent with which the change of each activation grows with the width."""
    logs = []
    for width in WIDTHS[: 4 if optimizer == "adamw" else 3]:  # products of 512 take Muon seconds on one core
        config = shape(width, parametrization, **changes)
        found = [changes_of_activations(config, optimizer, rate, seed) for seed in (1, 2)]
        logs.append({name: math.log2(sum(each[name] for each in found)) for name in found[0]})
    places = torch.arange(len(logs)) - (len(logs) - 1) / 2
    return {
        name: float((places * torch.tensor([each[name] for each in logs])).sum() / places.square().sum())
        for name in logs[0]
    }


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 4e-3), ("muon", 2e-2)])
def test_activations_change_alike_at_all_widths_under_mup_and_not_under_standard(optimizer: str, rate: float) -> None:
    mup, standard = (growth(how, optimizer, rate) for how in ("mup", "standard"))  # type: ignore[arg-type]
    assert len(mup) == 7
    assert max(map(abs, mup.values())) < 0.3, mup
    within_blocks = [slope for name, slope in standard.items() if "blocks" in name]
    assert min(within_blocks) > 0.6, standard
    assert standard["head"] > 0.4, standard


def test_a_modern_shape_changes_alike_too() -> None:
    modern = {"norm": "rmsnorm", "activation": "swiglu", "positions": "rope", "tie_weights": False, "qk_norm": True}
    assert max(map(abs, growth("mup", "adamw", 4e-3, **modern).values())) < 0.3


def test_rates_decay_and_first_weights_follow_the_table_of_the_paper() -> None:
    settings = TrainConfig(model=shape(256, "mup", tie_weights=False), weight_decay=0.1)
    model = GPT(settings.model, 1)
    groups = {group["kind"]: group for group in make_optimizer(model, settings).param_groups}
    assert {kind: group["lr_scale"] for kind, group in groups.items()} == {
        "matrix": 1 / 4, "embedding": 1.0, "head": 1.0, "vector": 1.0,
    }  # fmt: skip
    # The step multiplies the two, so the share of a weight that decays is that of all widths.
    assert {kind: group["weight_decay"] * group["lr_scale"] for kind, group in groups.items()} == {
        "matrix": 0.1, "embedding": 0.1, "head": 0.1, "vector": 0.0,
    }  # fmt: skip
    spread = {name: float(weight.detach().std()) for name, weight in model.named_parameters() if weight.dim() == 2}
    assert spread["token_embedding.weight"] == pytest.approx(0.02, rel=0.02)
    assert spread["head.weight"] == pytest.approx(0.02, rel=0.02)  # its scores are divided by 4
    assert spread["blocks.0.attention.qkv.weight"] == pytest.approx(0.01, rel=0.02)
    # Muon's step has the norm of the map itself, so it needs no other rate.
    muons = make_optimizer(GPT(settings.model, 1), dataclasses.replace(settings, optimizer=OptimizerConfig("muon")))
    assert {g["kind"]: (g["lr_scale"], g["weight_decay"]) for g in muons.param_groups} == {
        "matrix": (1.0, 0.1), "embedding": (0.2, 0.1), "head": (0.2, 0.1), "vector": (0.2, 0.0),
    }  # fmt: skip
