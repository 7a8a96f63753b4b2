"""The model's building blocks, under the name the project's README gives them."""

from gpt_research.model.gpt import GPT, Block
from gpt_research.model.variants import MLP, CausalSelfAttention, sinusoidal_positions

__all__ = ["GPT", "MLP", "Block", "CausalSelfAttention", "sinusoidal_positions"]
