"""The KV cache: keys and values of the tokens that a model has read.

With it a new token costs one position instead of the whole text. The memory is allocated once, for
the longest text. Rows are independent: the text of a row begins in column 0 and its next token goes
to column `lengths[row]`, so the results of a row do not depend on its batch. Prompts of different
lengths are padded on the right. The causal mask hides the padding from the text before it, and
`truncate` frees its columns for the tokens that follow.

The shapes of a `KVCache` follow its longest row. A GPU is fast if a step has the same shapes as the
one before, so that it can record the step and replay it. A `Window` gives it that: the columns are
fixed, and the length of each row is a tensor on the device.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

import torch


class Cache(abc.ABC):
    """Where a step puts its keys and values, and what its tokens may attend to, for all layers."""

    layers: list[LayerCache]
    begin = end = 0
    rows: torch.Tensor | None = None
    columns: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    bias: torch.Tensor | None = None

    @abc.abstractmethod
    def extend(self, new_tokens: int) -> torch.Tensor:
        """Assign columns to the next tokens of every row; return their positions, (T,) or
        (B, T).
        """


class KVCache(Cache):
    """The cache of a whole model: one `LayerCache` for each block.

    B rows, H heads of size D, S columns in use, T new tokens.
    """

    def __init__(
        self,
        batch_size: int,
        *,
        n_layer: int,
        n_head: int,
        head_size: int,
        capacity: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Make an empty cache for `batch_size` rows of `capacity` tokens."""
        shape = (n_layer, 2, batch_size, n_head, capacity, head_size)
        self._adopt(torch.zeros(shape, device=device, dtype=dtype), [0] * batch_size)

    def _adopt(self, storage: torch.Tensor, lengths: list[int]) -> None:
        self.storage = storage  # (n_layer, 2, R, H, capacity, D); R - B rows are spare
        self.lengths = lengths
        rows = len(lengths)
        self.layers = [LayerCache(self, layer[0, :rows], layer[1, :rows]) for layer in storage]

    @property
    def capacity(self) -> int:
        return self.storage.size(4)

    def extend(self, new_tokens: int) -> torch.Tensor:
        """Assign columns to the next tokens of every row; return their positions.

        The positions are (T,), or (B, T) if the lengths of the rows differ. The columns and the
        attention mask are computed here, once for all layers.
        """
        self.begin, self.end = min(self.lengths), max(self.lengths) + new_tokens
        assert self.end <= self.capacity, "the cache is full: the caller must slide the context first"
        device = self.storage.device
        steps = torch.arange(new_tokens, device=device)
        if self.begin + new_tokens == self.end:
            # All rows have the same length, so slices of the storage are enough.
            self.rows, self.columns, positions = None, None, steps + self.begin
            queries = positions[None]
        else:
            self.rows = torch.arange(len(self.lengths), device=device)[:, None]
            self.columns = positions = queries = torch.tensor(self.lengths, device=device)[:, None] + steps
        self.mask = None
        # One new token may attend to everything, and tokens of an empty cache need only causality.
        if self.columns is not None or (self.begin > 0 and new_tokens > 1):
            keys = torch.arange(self.end, device=device)
            self.mask = (keys <= queries[..., None])[:, None]  # (B or 1, 1, T, S)
        self.lengths = [length + new_tokens for length in self.lengths]
        return positions

    def truncate(self, lengths: Sequence[int]) -> None:
        """Drop the tokens of each row beyond its new length."""
        assert all(new <= old for new, old in zip(lengths, self.lengths, strict=True)), "truncate only shortens"
        self.lengths = list(lengths)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row may be repeated."""
        index = torch.tensor(rows, device=self.storage.device)
        self._adopt(self.storage.index_select(2, index), [self.lengths[row] for row in rows])

    def resize(self, rows: int, capacity: int, *, reserve: int) -> None:
        """Add empty rows until there are `rows`, each with memory for at least `capacity` tokens.

        If more memory is needed, it is allocated for `reserve` rows, at least `rows` of them. With
        a reserve, rows that are added one by one rarely need a copy.
        """
        old, used = self.storage, len(self.lengths)
        layers, two, old_rows, heads, old_capacity, size = old.shape
        lengths = self.lengths + [0] * (rows - used)
        if rows <= old_rows and capacity <= old_capacity:
            return self._adopt(old, lengths)
        storage = old.new_zeros(layers, two, max(reserve, old_rows), heads, max(capacity, old_capacity), size)
        longest = max(self.lengths, default=0)
        storage[:, :, :used, :, :longest] = old[:, :, :used, :, :longest]
        return self._adopt(storage, lengths)

    def replace(self, rows: Sequence[int], other: KVCache, sources: Sequence[int] | None = None) -> None:
        """Overwrite these rows with `sources` of another cache; None means all of them in order."""
        for row, source in zip(rows, range(len(other.lengths)) if sources is None else sources, strict=True):
            length = self.lengths[row] = other.lengths[source]
            self.storage[:, :, row, :, :length] = other.storage[:, :, source, :, :length]
            # The row may still hold an infinity of an earlier text. Attention gives it the weight
            # 0, and 0 times infinity is NaN.
            self.storage[:, :, row, :, length:] = 0


class Window(Cache):
    """The first S columns of a cache, spare rows too, in a step whose shapes are always the same.

    The columns that a row has not filled are masked. A row whose S columns are full overwrites its
    last one, so it must not be in use.
    """

    def __init__(self, cache: KVCache, lengths: torch.Tensor, columns: int) -> None:
        """Look at `columns` of a cache; `lengths` (R,) is the number of tokens of each row."""
        storage = cache.storage
        self.lengths, self.end = lengths, columns
        self.layers = [LayerCache(self, layer[0], layer[1]) for layer in storage]
        self.rows = torch.arange(len(lengths), device=storage.device)[:, None]
        self._all_columns = torch.arange(columns, device=storage.device)
        self._seen, self._unseen = storage.new_zeros(()), storage.new_full((), -torch.inf)

    def extend(self, new_tokens: int) -> torch.Tensor:
        """Assign a column to the next token of every row; return the positions, (R, 1)."""
        assert new_tokens == 1, "a window takes one token of each row"
        self.columns = self.lengths.clamp(max=self.end - 1)[:, None]
        self.mask = (self._all_columns <= self.columns)[:, None, None]  # (R, 1, 1, S)
        self.bias = torch.where(self.mask, self._seen, self._unseen)
        return self.columns


class LayerCache:
    """Keys and values of one block, each (B, H, capacity, D)."""

    def __init__(self, cache: Cache, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.cache = cache
        self.keys = keys
        self.values = values

    def append(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Store k and v (B, H, T, D) in the columns of `extend`; return keys, values and mask.

        Keys and values are those of all S tokens. The mask is (B or 1, 1, T, S), True if a token
        may attend. It is None if plain causality is enough.
        """
        cache = self.cache
        if cache.columns is None:
            self.keys[:, :, cache.begin : cache.end] = k
            self.values[:, :, cache.begin : cache.end] = v
        else:
            self.keys[cache.rows, :, cache.columns] = k.transpose(1, 2)
            self.values[cache.rows, :, cache.columns] = v.transpose(1, 2)
        return self.keys[:, :, : cache.end], self.values[:, :, : cache.end], cache.mask

    @property
    def bias(self) -> torch.Tensor | None:
        """The mask as numbers to add to scores, 0 or -inf; None if the cache does not keep it.

        Fused kernels need the numbers, and a GPU would compute them from the mask in every layer.
        """
        return self.cache.bias


class OwnKeys(LayerCache):
    """Gives attention the keys and values of this step alone, with the mask of its cache."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def append(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return keys, values and mask as they are."""
        return k, v, self.cache.mask
