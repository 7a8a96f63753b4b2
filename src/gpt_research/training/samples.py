"""The texts that a model writes while it is trained, in `samples.txt` of its run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gpt_research.base.disk import dispensable
from gpt_research.base.errors import UserError
from gpt_research.config import GenerateConfig, TrainConfig
from gpt_research.training.execution import ExecutionPlan
from gpt_research.training.metrics import SAMPLES
from gpt_research.training.parallel import uncompiled

if TYPE_CHECKING:
    from gpt_research.data.tokenizer import Tokenizer
    from gpt_research.generation.engine import Sample
    from gpt_research.model.gpt import GPT

LONGEST_SAMPLE = 200
"""The most tokens of a sample."""


def write_sample(
    run: Path,
    step: int,
    model: GPT,
    tokenizer: Tokenizer,
    config: TrainConfig,
    plan: ExecutionPlan,
    generate: Callable[..., list[Sample]],
) -> None:
    """Append one sample. Its random stream is its own, so training is unchanged.

    Args:
        generate: `generation.torch_engine.generate`.
    """
    # The default prompt is a line's end, which a vocabulary of characters may not have.
    prompt = tokenizer.known_part(config.sample_prompt)
    length = max(1, config.model.block_size // 2)
    settings = GenerateConfig(max_new_tokens=min(LONGEST_SAMPLE, length), seed=config.seed)
    model.eval()
    try:
        with uncompiled(plan):
            made = generate(model, tokenizer, prompt, settings, notice=lambda _: None)
        text = prompt + made[0].text
    except UserError as error:  # a model that has diverged must not end its run in a traceback
        text = f"(no sample: {error})"
    path = run / SAMPLES
    with dispensable(path), open(path, "a", encoding="utf-8") as file:
        file.write(f"--- step {step} ---\n{text}\n\n")
