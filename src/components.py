"""The model's building blocks, under the name the project's README gives them."""

from gpt_research.model.gpt import GPT
from gpt_research.model.layers import MLP, Block, CausalSelfAttention, sinusoidal_positions

__all__ = ["GPT", "MLP", "Block", "CausalSelfAttention", "sinusoidal_positions"]
