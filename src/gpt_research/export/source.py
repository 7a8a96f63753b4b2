"""What leaves: a run's model in GPT-2's full form, its tokenizer, and the story of how it came to be.

GPT-2 as other programs know it has every bias and learned positions. Ours may lack biases (they become zeros)
and may have sinusoidal positions (they become a table; the embedding takes over their scaling, which unties
the head). Both compute the same. The padding of the vocabulary stays behind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gpt_research.base.errors import UserError
from gpt_research.base.settings import read_yaml
from gpt_research.checkpoint.files import checkpoint_path, saved_steps, verify_checkpoint
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.config import GPTConfig, TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.model.gpt import GPT
from gpt_research.model.variants import sinusoidal_positions
from gpt_research.run import load_model


@dataclass(frozen=True)
class Source:
    """A run, loaded."""

    run: Path
    step: int
    """Of the checkpoint that the weights are from."""
    config: TrainConfig
    model: GPT
    tokenizer: Tokenizer

    @property
    def name(self) -> str:
        return self.run.resolve().name


def load_source(run: Path) -> Source:
    """Load a run's newest whole checkpoint on the CPU.

    Raises:
        UserError: no such run, nothing saved, damage, or a tokenizer that does not fit the model.
    """
    model, tokenizer = load_model(run)
    if model.config.vocab_size != tokenizer.vocab_size:
        raise UserError(
            f"The model in {run} has {model.config.vocab_size} tokens and its tokenizer.json "
            f"{tokenizer.vocab_size}. Put the tokenizer it was trained with there."
        )
    return Source(run, _newest_whole_step(run), read_yaml(TrainConfig, run / "config.yaml"), model, tokenizer)


def _newest_whole_step(run: Path) -> int:
    """Return the step that `checkpoint.load_model` chose."""
    for step in reversed(saved_steps(run)):
        try:
            verify_checkpoint(checkpoint_path(run, step), optimizer=False)
        except UserError:
            continue
        return step
    raise AssertionError("load_model found a whole checkpoint")


def gpt2_form(model: GPT) -> tuple[GPTConfig, dict[str, torch.Tensor]]:
    """Return config and tensors, by our names, of an equal model with GPT-2's biases and learned positions.

    A tied head comes as no tensor of its own.
    """
    config, tensors = model.config, model_tensors(model)
    if config.positions == "sinusoidal":
        if config.tie_weights:
            tensors["head.weight"] = tensors["token_embedding.weight"]
        tensors["token_embedding.weight"] = tensors["token_embedding.weight"] * math.sqrt(config.n_embd)
        tensors["position_embedding.weight"] = sinusoidal_positions(config.block_size, config.n_embd)
        config = replace(config, positions="learned", tie_weights=False)
    if not config.bias:
        config = replace(config, bias=True)
        biases = {name: shape for name, shape in shapes(config).items() if name.endswith("bias")}
        tensors |= {name: torch.zeros(shape) for name, shape in biases.items()}
    return config, tensors


def shapes(config: GPTConfig) -> dict[str, torch.Size]:
    """Return the shape of every tensor that a checkpoint of this config holds."""
    with torch.device("meta"):
        model = GPT(config)
    found = {name: p.shape for name, p in model.named_parameters()}
    for name in ("token_embedding.weight", "head.weight"):
        if name in found:
            found[name] = torch.Size((config.vocab_size, config.n_embd))
    return found
