"""GPT-2: token and position embeddings, a stack of blocks, a final norm, and a head tied to the embedding.

Token ids go in; logits or a loss come out. It knows nothing about text, files or devices.
Source: Radford et al. 2019 and its released weights; Brown et al. 2020 for the scaled initialisation.
"""

from __future__ import annotations

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from gpt_research.config import GPTConfig
from gpt_research.model.fast.loss import ChunkedCrossEntropy
from gpt_research.model.kv_cache import KVCache
from gpt_research.model.layers import Block, sinusoidal_positions


class GPT(nn.Module):
    """A decoder-only transformer.

    B sequences of T tokens, width C, V = vocab_size. The embedding has `padded_vocab_size` rows; the extra ones
    are cut off wherever logits leave the model.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        self.loss_chunk = 0
        """Tokens whose logits are held at a time; 0 for all, and then the loss is computed the plain way."""
        self.token_embedding = nn.Embedding(config.padded_vocab_size, config.n_embd)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.block_size, config.n_embd)
        else:
            table = sinusoidal_positions(config.block_size, config.n_embd)
            self.position_table: torch.Tensor
            self.register_buffer("position_table", table, persistent=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.head = nn.Linear(config.n_embd, config.padded_vocab_size, bias=False)
        if config.tie_weights:
            self.head.weight = self.token_embedding.weight
        self._initialise()

    def _initialise(self) -> None:
        """Normal(0, 0.02) everywhere; residual projections smaller by sqrt(2 n_layer); biases 0."""
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue  # norms and biases: torch's ones, and zeros below
            residual = name.endswith(("attention.proj.weight", "mlp.down.weight"))
            std = 0.02 / math.sqrt(2 * self.config.n_layer) if residual else 0.02
            nn.init.normal_(parameter, std=std)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(
        self, tokens: torch.Tensor, targets: torch.Tensor | None = None, cache: KVCache | None = None
    ) -> torch.Tensor:
        """Return logits (B, T, V), or with `targets` (B, T) the summed cross-entropy in nats, a scalar.

        Targets of -1 do not count. With a `cache` the tokens continue what it holds, and are added to it.
        """
        h = self.hidden(tokens, cache)
        return self.logits(h) if targets is None else self.loss(h, targets)

    def loss(self, h: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the summed cross-entropy in nats of hidden states (B, T, C) against `targets` (B, T), a scalar."""
        h, targets, vocab_size = h.flatten(0, 1), targets.flatten(), self.config.vocab_size
        if self.loss_chunk:
            # Which inputs want a gradient is all that the function sees of the gradient mode.
            weight = self.head.weight if torch.is_grad_enabled() else self.head.weight.detach()
            nats: torch.Tensor = ChunkedCrossEntropy.apply(h, weight, targets, vocab_size, self.loss_chunk)
            return nats
        return F.cross_entropy(self.logits(h).float(), targets, ignore_index=-1, reduction="sum")

    def hidden(self, tokens: torch.Tensor, cache: KVCache | None = None) -> torch.Tensor:
        """Return the final, normed hidden states (B, T, C) of `tokens` (B, T)."""
        x = self._embed(tokens, cache)
        for index, block in enumerate(self.blocks):
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x, cache.layers[index] if cache is not None else None)
        return self.norm(x)

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """Return the scores (..., V) of the next token for hidden states (..., C)."""
        return self.head(h)[..., : self.config.vocab_size]

    def _embed(self, tokens: torch.Tensor, cache: KVCache | None) -> torch.Tensor:
        T = tokens.size(1)
        assert self.config.block_size >= T, f"{T} tokens do not fit a context of {self.config.block_size}"
        positions = torch.arange(T, device=tokens.device) if cache is None else cache.extend(T)
        x = self.token_embedding(tokens)  # (B, T, C)
        if self.config.positions == "learned":
            x = x + self.position_embedding(positions)
        else:  # Vaswani et al., section 3.4: scaled, so that the sines do not drown the tokens
            x = x * math.sqrt(self.config.n_embd) + self.position_table[positions]
        return F.dropout(x, self.config.dropout, self.training)

    def num_parameters(self, *, embedding: bool = True) -> int:
        """Count parameters without the padding; `embedding=False` leaves out token and position tables."""
        padding = (self.config.padded_vocab_size - self.config.vocab_size) * self.config.n_embd
        total = sum(p.numel() for p in self.parameters()) - padding * (1 if self.config.tie_weights else 2)
        if embedding:
            return total
        tables = self.config.vocab_size * self.config.n_embd
        if self.config.positions == "learned":
            tables += self.config.block_size * self.config.n_embd
        return total - tables

    def flops_per_token(self) -> float:
        """FLOPs of training on one token: 6 N + 12 L C T, N being the parameters that multiply.

        Source: Chowdhery et al. 2022 (PaLM), appendix B, as nanoGPT uses it. The tied embedding counts once, as
        the head; positions and untied embeddings are looked up, not multiplied.
        """
        config = self.config
        multiplied = self.num_parameters(embedding=False)
        if config.tie_weights:
            multiplied += config.vocab_size * config.n_embd
        return 6 * multiplied + 12 * config.n_layer * config.n_embd * config.block_size
