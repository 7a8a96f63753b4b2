"""The parts of a model that a setting chooses by name.

`model.norm: layernorm` in a config selects the entry `layernorm` of `NORMS`; the other three tables
work alike. A part is built from the model's config, and stands with its siblings in `parts`. To add
a part, put an entry into its table before the model is built.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpt_research.base.errors import look_up
from gpt_research.model.parts.attention import ATTENTION, CausalSelfAttention
from gpt_research.model.parts.costs import weight_flops
from gpt_research.model.parts.feed_forward import ACTIVATIONS, MLP, Gate
from gpt_research.model.parts.norms import NORMS, LayerNorm, RMSNorm
from gpt_research.model.parts.positions import POSITIONS, Positions, sinusoidal_positions
from gpt_research.model_config import GPTConfig

__all__ = [
    "ACTIVATIONS",
    "ATTENTION",
    "MLP",
    "NORMS",
    "POSITIONS",
    "CausalSelfAttention",
    "Gate",
    "LayerNorm",
    "Positions",
    "RMSNorm",
    "check_variants",
    "sinusoidal_positions",
    "weight_flops",
]

_TABLES: Mapping[str, Mapping[str, object]] = {
    "norm": NORMS,
    "activation": ACTIVATIONS,
    "positions": POSITIONS,
    "attention": ATTENTION,
}


def check_variants(config: GPTConfig) -> None:
    """Check the names of a config's parts before anything is built.

    Raises:
        UserError: a table has no entry of that name; the message lists the entries.
    """
    for setting, table in _TABLES.items():
        look_up(table, getattr(config, setting), f"model.{setting}")
