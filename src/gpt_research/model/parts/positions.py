"""Position encodings: they tell the model where a token stands.

Shapes: B sequences, T new tokens, S tokens in all, C = n_embd, H heads of D features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn as nn
import torch.nn.functional as F

if TYPE_CHECKING:
    from gpt_research.model_config import GPTConfig


class Positions(nn.Module):
    """An encoding that changes nothing: the causal mask alone tells the model of order.

    An encoding overrides `embed`, if it changes the embedding of a token; `rotate`, if it changes
    queries and keys; or `bias`, if it changes their scores. `at` holds the position of each token:
    (T,), or (B, T) if the rows of a batch stand at different positions.
    Source for none: Haviv et al. 2022, "Transformer Language Models without Positional Encodings".
    """

    def __init__(self, config: GPTConfig | None = None) -> None:
        super().__init__()

    def embed(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Return the input of the first block, (B, T, C), for token embeddings `x` (B, T, C)."""
        return x

    def rotate(self, q: torch.Tensor, k: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return queries (B, H, T, D) and keys (B, key heads, T, D) for the scores of one block.

        The KV cache keeps the keys that this returns.
        """
        return q, k

    def bias(self, at: torch.Tensor, tokens: int) -> torch.Tensor | None:
        """Return what is added to the scores, (1 or B, H, T, S), in fp32; None if nothing is.

        The keys stand at the positions 0 to `tokens` - 1.
        """
        return None


class LearnedPositions(Positions, nn.Embedding):
    """A learned vector for each position, as GPT-2 has it."""

    def __init__(self, config: GPTConfig) -> None:
        nn.Embedding.__init__(self, config.block_size, config.n_embd)

    def embed(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return x + self(at)


class SinusoidalPositions(Positions):
    """Fixed sines and cosines. Source: Vaswani et al. 2017, section 3.5."""

    table: torch.Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.register_buffer("table", sinusoidal_positions(config.block_size, config.n_embd), persistent=False)

    def embed(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        # Section 3.4 scales the embeddings, so that the sines do not drown the tokens.
        return x * math.sqrt(x.size(-1)) + self.table[at]


def sinusoidal_positions(block_size: int, n_embd: int) -> torch.Tensor:
    """Return (block_size, n_embd): PE(t, 2i) = sin(t / 10000^(2i/C)), PE(t, 2i+1) = cos(same)."""
    t = torch.arange(block_size, dtype=torch.float64)[:, None]
    frequencies = 10000.0 ** (-torch.arange(0, n_embd, 2, dtype=torch.float64) / n_embd)
    angles = t * frequencies  # (block_size, C / 2)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).float()


class RotaryPositions(Positions):
    """Turn each pair of features by an angle in proportion to the position, so that a score depends
    on the distance alone. Features i and i + D/2 are a pair, as in GPT-NeoX and Llama.

    Source: Su et al. 2021, "RoFormer".
    """

    table: torch.Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        size = config.head_dim
        rates = config.rope_theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        angles = torch.arange(config.block_size, dtype=torch.float64)[:, None] * rates  # (block_size, D / 2)
        cos, sin = angles.cos().float(), angles.sin().float()
        self.register_buffer("table", torch.cat((cos, cos, -sin, sin), -1), persistent=False)  # (block_size, 2D)

    def rotate(self, q: torch.Tensor, k: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        table = F.embedding(at, self.table)  # (T, 2D) or (B, T, 2D)
        if at.dim() == 2:
            table = table[:, None]  # all heads of a row stand at the same positions
        cos, sin = table.chunk(2, -1)

        def turn(x: torch.Tensor) -> torch.Tensor:
            # (a, b) becomes (a cos - b sin, b cos + a sin), in few operations for the many small
            # steps of generation. In fp32, because 8 bits of a cosine would blur the distance of
            # far tokens.
            return torch.addcmul(x * cos, x.roll(x.size(-1) // 2, -1), sin).to(x.dtype)

        return turn(q), turn(k)


class AlibiPositions(Positions):
    """Lower each score in proportion to the distance, with a slope of its own for each head.

    Source: Press et al. 2022, "Train Short, Test Long", section 3.
    """

    slopes: torch.Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.register_buffer("slopes", torch.tensor(alibi_slopes(config.n_head)), persistent=False)

    def bias(self, at: torch.Tensor, tokens: int) -> torch.Tensor:
        keys = torch.arange(tokens, device=at.device)
        distances = (at[..., None] - keys).float()  # (T, S) or (B, T, S)
        return -self.slopes[:, None, None] * (distances[:, None] if at.dim() == 2 else distances[None, None])


def alibi_slopes(heads: int) -> list[float]:
    """Return the slope of each head: 2^(-8i/n) if n, the number of heads, is a power of two.

    Otherwise the slopes of the next smaller power of two come first, and then every second one of
    twice that power, as the authors' code has it.
    """
    power = 1 << (heads.bit_length() - 1)
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    return slopes + [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * (heads - power), 2)]


POSITIONS: dict[str, Callable[[GPTConfig], Positions]] = {
    "learned": LearnedPositions,
    "sinusoidal": SinusoidalPositions,
    "rope": RotaryPositions,
    "alibi": AlibiPositions,
    "none": Positions,
}
"""`model.positions`: from a config to a position encoding."""
