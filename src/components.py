"""The model's building blocks, under the name the project's README gives them."""

from gpt_research.model.components import MLP, Block, CausalSelfAttention, sinusoidal_positions
from gpt_research.model.gpt import GPT

__all__ = ["GPT", "MLP", "Block", "CausalSelfAttention", "sinusoidal_positions"]
