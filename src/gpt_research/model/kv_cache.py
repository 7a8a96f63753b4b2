"""Keys and values of the tokens a model has read, so that each new token costs one position, not the whole text.

Memory is taken once, for the longest context. Every row of the batch has the same length; shorter prompts are
padded on the left, and `starts` tells where each row's text begins, so that its padding is never attended to.
"""

from __future__ import annotations

import torch

from gpt_research.config import GPTConfig


class KVCache:
    """The cache of a whole model: one `LayerCache` a block."""

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        starts: torch.Tensor | None = None,
    ) -> None:
        """Make an empty cache for `batch_size` rows.

        Args:
            starts: (batch_size,) index of each row's first real token; None where no row is padded.
        """
        self.config = config
        self.starts = starts
        self.length = 0
        shape = (config.n_layer, 2, batch_size, config.n_head, config.block_size, config.head_size)
        storage = torch.zeros(shape, device=device, dtype=dtype)
        self.layers = [LayerCache(self, storage[i, 0], storage[i, 1]) for i in range(config.n_layer)]

    def positions(self, new_tokens: int) -> torch.Tensor:
        """Return the positions of the next tokens: (T,), or (B, T) where rows begin at different places."""
        device = self.layers[0].keys.device
        positions = torch.arange(self.length, self.length + new_tokens, device=device)
        if self.starts is None:
            return positions
        return (positions - self.starts[:, None]).clamp(min=0)  # what stands on padding is never read

    def mask(self, new_tokens: int) -> torch.Tensor | None:
        """Return who may see whom, (B or 1, 1, T, S) with True for yes; None where plain causality says it all."""
        if self.starts is None and (self.length == 0 or new_tokens == 1):
            return None
        device = self.layers[0].keys.device
        seen = torch.arange(self.length + new_tokens, device=device)
        asking = torch.arange(self.length, self.length + new_tokens, device=device)
        allowed = (seen <= asking[:, None])[None]  # (1, T, S)
        if self.starts is not None:
            # A padding position sees itself, so that its softmax is not empty and gives no NaN.
            allowed = allowed & ((seen >= self.starts[:, None, None]) | (seen == asking[:, None]))
        return allowed[:, None]

    def clear(self, starts: torch.Tensor | None = None) -> None:
        """Forget every token, keep the memory."""
        self.length = 0
        self.starts = starts


class LayerCache:
    """Keys and values of one block, each (B, H, block_size, D)."""

    def __init__(self, cache: KVCache, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.cache = cache
        self.keys = keys
        self.values = values

    def append(
        self, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Store k and v (B, H, T, D) behind what is there; return all keys, all values and the mask."""
        begin, end = self.cache.length, self.cache.length + k.size(2)
        assert end <= self.keys.size(2), "the cache is full: the caller must slide the context first"
        self.keys[:, :, begin:end] = k
        self.values[:, :, begin:end] = v
        return self.keys[:, :, :end], self.values[:, :, :end], self.cache.mask(end - begin)
