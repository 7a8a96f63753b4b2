"""The recipe that an experiment begins with: a settings file, and what `--set` changes in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt_research.config import TrainConfig


def base_of(name: str, assignments: Sequence[str]) -> TrainConfig:
    """Return the settings of a base, with what all arms get.

    Raises:
        UserError: there is no such file or preset, or a setting is wrong.
    """
    from gpt_research.base.settings import find_config, read_yaml
    from gpt_research.config import TrainConfig
    from gpt_research.lab.arms import changed, parse_assignments

    config = read_yaml(TrainConfig, find_config(name))
    for text in assignments:
        where = f"--set {text!r}"
        config = changed(config, parse_assignments(text, where), where)
    return config


def check_recipe(config: TrainConfig) -> None:
    """Refuse names of variants, optimizers and schedules that do not exist, before anything is
    trained.

    Raises:
        UserError: there is no such name.
    """
    from gpt_research.model.variants import check_variants
    from gpt_research.training.optimizers import state_bytes
    from gpt_research.training.schedules import learning_rates

    check_variants(config.model)
    learning_rates(config)
    state_bytes(config)
