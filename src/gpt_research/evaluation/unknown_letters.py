"""Leave out the items that a vocabulary of characters cannot write.

Such a vocabulary has no token for a letter that its training texts lack. One item with that letter
would stop a whole suite, so the item is left out, and the score says how many are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gpt_research.config import GenerateConfig
from gpt_research.data.characters import UnknownCharacterError
from gpt_research.evaluation.chosen_tasks import Items
from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.evaluation.task import Task
from gpt_research.evaluation.windows import Scores, Window


class _OnlyEncodes(EvaluatedModel):
    """Encodes the texts that it is asked about, and computes nothing."""

    def score(self, windows: Sequence[Window]) -> list[Scores]:
        return [Scores(np.zeros(window.scored), np.ones(window.scored, dtype=bool)) for window in windows]

    def write(self, prompts: Sequence[str], config: GenerateConfig) -> list[str]:
        for prompt in prompts:
            self.tokenizer.encode(prompt)
        return [""] * len(prompts)


def without_unknown(model: EvaluatedModel, asked: Items) -> Items:
    """Return the items of a task without those that the model's tokenizer cannot encode.

    No items may be left.
    """
    if model.tokenizer.knows_all_text:
        return asked
    # The task itself asks, because only it knows which texts it makes of an item.
    dry = model.quiet.as_a(_OnlyEncodes)
    if _unknown(dry, asked.task, asked.items) is None:
        return asked
    found = [_unknown(dry, asked.task, [item]) for item in asked.items]
    left_out = {number: error for number, error in enumerate(found) if error is not None}
    kept = [item for item, error in zip(asked.items, found, strict=True) if error is None]
    first, error = next(iter(left_out.items()))
    return replace(asked, items=kept, left_out=list(left_out), why=f"item {first + 1} has {error.character}")


def _unknown(dry: EvaluatedModel, task: Task, items: Sequence[Any]) -> UnknownCharacterError | None:
    try:
        task.measure(dry, items)
    except UnknownCharacterError as error:
        return error
    return None
