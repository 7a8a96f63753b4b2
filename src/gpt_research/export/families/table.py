"""The table of families, and which of them a model belongs to."""

from __future__ import annotations

from gpt_research.base.errors import UserError
from gpt_research.export.families.family import Family, Program, Settings
from gpt_research.export.families.gpt2 import Gpt2
from gpt_research.export.families.llama import Llama, Qwen3
from gpt_research.model_config import GPTConfig

FAMILIES: dict[str, Family] = {family.name: family for family in (Gpt2(), Llama(), Qwen3())}
"""Families, by `model_type` of transformers."""


def family_of(config: GPTConfig, program: Program = "transformers") -> Family | None:
    """Return the family in whose form a program can have a model, or None if there is none."""
    return next((family for family in FAMILIES.values() if not family.obstacles(config, program)), None)


def require_family(config: GPTConfig, program: Program) -> Family:
    """Return the family in whose form a program can have a model.

    Raises:
        UserError: there is none; the message lists the settings that keep the model out of the
            nearest one, with the values that it has.
    """
    if family := family_of(config, program):
        return family
    nearest = min(FAMILIES.values(), key=lambda family: len(family.obstacles(config, program)))
    obstacles = "; ".join(map(str, nearest.obstacles(config, program)))
    titles = ", ".join(family.title for family in FAMILIES.values())
    raise UserError(
        f"{program} knows no such model (it knows {titles}). Nearest is {nearest.title}, but {obstacles}. "
        "--format safetensors takes any model."
    )


def family_of_settings(settings: Settings) -> Family:
    """Return the family that a config.json of transformers names.

    Raises:
        UserError: it names none, or one that is not in the table.
    """
    kind = settings.entries.get("model_type", "gpt2")
    if kind not in FAMILIES:
        settings.refuse("model_type", " or ".join(map(repr, FAMILIES)), kind)
    if settings.entries.get("quantization_config") is not None:
        settings.refuse("quantization_config", "left out, because quantized weights are not supported")
    return FAMILIES[kind]
