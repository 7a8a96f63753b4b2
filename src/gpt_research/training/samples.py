"""The samples of a run: one text after each evaluation, in `samples.txt`."""

from __future__ import annotations

from pathlib import Path

from gpt_research.config import GenerateConfig, TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.torch_engine import generate
from gpt_research.model.gpt import GPT

LONGEST = 200
"""Tokens of a sample at most."""


def write_sample(run: Path, step: int, model: GPT, tokenizer: Tokenizer, config: TrainConfig) -> None:
    """Append one sample to `samples.txt`; its draw touches no random stream of training."""
    prompt = config.sample_prompt
    length = min(LONGEST, max(1, config.model.block_size // 2))
    settings = GenerateConfig(max_new_tokens=length, seed=config.seed)
    model.eval()
    sample = generate(model, tokenizer, prompt, settings, notice=lambda _: None)[0]
    with open(run / "samples.txt", "a", encoding="utf-8") as file:
        file.write(f"--- step {step} ---\n{prompt}{sample.text}\n\n")
