"""Prefill and decode: the model reads prompts, and then one token of each text at a time.

Token ids go in, logits come out. A text that is longer than the context slides: the older half of
the window is dropped, and the newer half is read again. So a token costs at most two positions on
average. This module knows nothing about sampling or text.

Shapes: B rows in use, V entries of the model's vocabulary, T tokens of the longest prompt, C the
width of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gpt_research.model.fast.attention import for_any_length
from gpt_research.model.gpt import GPT
from gpt_research.model.kv_cache import KVCache


class Decoder:
    """A model in evaluation mode, with a cache row for each text of the batch."""

    def __init__(self, model: GPT) -> None:
        self.model, self.device = model, model.token_embedding.weight.device
        self.block_size = model.config.block_size
        self.cache: KVCache | None = None
        self._last_prompt: tuple[int, ...] = ()
        self._last_read: tuple[KVCache, torch.Tensor] | None = None

    @property
    def capacity(self) -> int:
        """Tokens that a row of the cache has memory for."""
        return 0 if self.cache is None else self.cache.capacity

    @property
    def row_bytes(self) -> int:
        """Bytes of the keys and values of one text that fills the context."""
        return self.model.new_cache(1, 1).storage.nbytes * self.block_size

    def fill_rows(
        self, rows: Sequence[int], prompts: Sequence[Sequence[int]], capacity: int, most_rows: int
    ) -> torch.Tensor:
        """Read one prompt into each of `rows`; return the logits of the next token, (len(rows), V).

        Args:
            rows: free rows, and then new rows that follow the last one.
            capacity: the most tokens that any of the texts will have.
            most_rows: the most rows that memory may be allocated for.
        """
        # The samples of one prompt share its prefill: the model reads each different prompt once.
        different = list(dict.fromkeys(map(tuple, prompts)))
        source_of = {prompt: row for row, prompt in enumerate(different)}
        sources = [source_of[tuple(prompt)] for prompt in prompts]
        read, h = self._read(different)
        capacity, used = min(capacity, self.block_size), max(rows) + 1
        if self.cache is None:
            self.cache = self.model.new_cache(used, capacity)
        elif used > len(self.cache.lengths) or capacity > self.cache.capacity:
            used = max(used, len(self.cache.lengths))
            self.cache.resize(used, capacity, reserve=min(2 * used, most_rows))
        self.cache.replace(rows, read, sources)
        return self._logits(h[sources])

    def _read(self, prompts: list[tuple[int, ...]]) -> tuple[KVCache, torch.Tensor]:
        """Prefill prompts, or reuse the last result if it was for the same single prompt."""
        # Many samples of one prompt often join one after another; the prompt is then read once.
        if len(prompts) > 1:
            return self.prefill(prompts)
        if self._last_read is None or self._last_prompt != prompts[0]:
            self._last_prompt, self._last_read = prompts[0], self.prefill(prompts)
        return self._last_read

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[KVCache, torch.Tensor]:
        """Read prompts, padded on the right; return their cache and last hidden states, (B, C)."""
        lengths = [len(prompt) for prompt in prompts]
        tokens = torch.zeros(len(prompts), max(lengths), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = torch.tensor(prompt)
        cache = self.model.new_cache(len(prompts), max(lengths))
        with for_any_length(self.device):
            h = self.model.hidden(tokens.to(self.device), cache)  # (B, T, C)
        cache.truncate(lengths)
        return cache, h[torch.arange(len(prompts)), torch.tensor(lengths) - 1]

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read one token of every row, (B,); return logits of the next, (B, V). No row may be
        full.
        """
        with for_any_length(self.device):
            h = self.model.hidden(tokens.to(self.device)[:, None], self.cache)  # (B, 1, C)
        return self._logits(h[:, -1])

    def full_rows(self) -> list[int]:
        """Return the rows that have no memory left for another token."""
        assert self.cache is not None, "no row is in use"
        return [row for row, length in enumerate(self.cache.lengths) if length == self.cache.capacity]

    def slide(self, rows: Sequence[int], texts: Sequence[Sequence[int]]) -> None:
        """Keep the newer half of the context of these rows, and read it again from position 0.

        Args:
            texts: the tokens of each row, without the one that `decode` reads next.
        """
        assert self.cache is not None, "no row is in use"
        self.clear_rows(rows)
        if kept := self.block_size // 2:
            self.cache.replace(rows, self.prefill([text[-kept:] for text in texts])[0])

    def clear_rows(self, rows: Sequence[int]) -> None:
        """Remove all tokens from these rows."""
        assert self.cache is not None, "no row is in use"
        for row in rows:
            self.cache.lengths[row] = 0

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order, and free the memory of the others."""
        if not rows:
            self.cache = None
        elif self.cache is not None:
            self.cache.select(rows)

    def free(self) -> None:
        """Free all memory."""
        self.cache = self._last_read = None

    def _logits(self, h: torch.Tensor) -> torch.Tensor:
        """Return the fp32 logits (B, V) of hidden states (B, C)."""
        logits = self.model.logits(h).float()
        return logits.cpu() if logits.device.type == "mps" else logits  # sampling needs float64, which mps lacks
