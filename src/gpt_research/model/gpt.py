"""GPT: token and position embeddings, a stack of blocks, a final norm, and a head.

Token ids go in; logits or a loss come out. Norms, activations, positions and attention are looked
up in the tables of `parts`. With the default config the model is GPT-2. It knows nothing about
text, files or devices.
Source: Radford et al. 2019 and its released weights; Brown et al. 2020 for the initialisation.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils.checkpoint import checkpoint

from gpt_research.base.errors import look_up
from gpt_research.base.seeds import seed_for
from gpt_research.model.fast import loss as losses
from gpt_research.model.kv_cache import Cache, KVCache, LayerCache
from gpt_research.model.parts.attention import ATTENTION
from gpt_research.model.parts.costs import weight_flops
from gpt_research.model.parts.feed_forward import MLP
from gpt_research.model.parts.norms import NORMS
from gpt_research.model.parts.positions import POSITIONS, Positions
from gpt_research.model_config import GPTConfig

RESIDUAL_BYTES = 4
"""The residual stream stays in fp32 under autocast, unless `residual_dtype` rounds it."""


class Block(nn.Module):
    """A pre-norm residual block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        norm = look_up(NORMS, config.norm, "model.norm")
        self.width = config.n_embd
        self.norm_1 = norm(config)
        self.attention = look_up(ATTENTION, config.attention, "model.attention")(config)
        self.norm_2 = norm(config)
        self.mlp = MLP(config)

    def forward(
        self,
        x: torch.Tensor,
        positions: Positions,
        at: torch.Tensor,
        cache: LayerCache | None = None,
        value_embedding: torch.Tensor | None = None,
        asked: torch.Tensor | None = None,
    ) -> torch.Tensor:
        # An attention of a plugin need not know of value embeddings.
        extra = {} if value_embedding is None else {"value_embedding": value_embedding}
        x = x + self.attention(self.norm_1(x), positions, at, cache, **extra)
        if asked is not None:
            x = x.flatten(0, 1)[asked]  # (P, C)
        return x + self.mlp(self.norm_2(x))

    def flops_per_token(self, context: int) -> int:
        """FLOPs of training on one token of a full context."""
        norms = weight_flops(self.norm_1) + weight_flops(self.norm_2)
        return norms + self.attention.flops_per_token(context) + self.mlp.flops_per_token()

    def activation_bytes(
        self, context: int, device: str, dtype: torch.dtype, residual_bytes: int = RESIDUAL_BYTES
    ) -> int:
        """Bytes of one token that the backward pass needs."""
        norms = 2 * residual_bytes * self.width
        return norms + self.attention.activation_bytes(context, device, dtype) + self.mlp.activation_bytes(dtype)


@contextlib.contextmanager
def _matrices_as_shapes() -> Iterator[None]:
    """Inside, the matrices of new modules are shapes on the meta device, whose memory and first
    draw cost nothing. Vectors and buffers are as their module makes them.
    """

    def as_shape(module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter:
        if parameter.dim() < 2 or parameter.is_meta:
            return parameter
        return nn.Parameter(parameter.to("meta"), parameter.requires_grad)

    hook = register_module_parameter_registration_hook(as_shape)  # type: ignore[arg-type]
    try:
        yield
    finally:
        hook.remove()


class GPT(nn.Module):
    """A decoder-only transformer.

    B sequences of T tokens, width C, V = vocab_size. The embedding has `padded_vocab_size` rows;
    the logits of the extra rows are cut off before they leave the model.
    """

    def __init__(self, config: GPTConfig, seed: int | None = None, *, drawn: bool = True) -> None:
        """Build a model and draw its weights, from torch's random stream if there is no `seed`.

        Args:
            drawn: False leaves every matrix a shape without memory, until `initialise` draws it.

        Raises:
            UserError: the config names a part that its table in `variants` does not have.
        """
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        self.loss_chunk = 0
        """Tokens whose logits are held at a time; 0 holds all of them."""
        self.residual_dtype: torch.dtype | None = None
        """Type to which the residual stream is rounded in training; None leaves it as it is."""
        with _matrices_as_shapes():
            self.token_embedding = nn.Embedding(config.padded_vocab_size, config.n_embd)
            self.position_embedding = look_up(POSITIONS, config.positions, "model.positions")(config)
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
            # A token's own vector in the values reaches the end without passing the blocks between.
            self.value_embeddings = nn.ModuleDict(
                {
                    str(layer): nn.Embedding(config.padded_vocab_size, config.kv_heads * config.head_dim)
                    for layer in range(config.n_layer)
                    if config.value_embeddings and (config.n_layer - 1 - layer) % 2 == 0
                }
            )
            self.norm = look_up(NORMS, config.norm, "model.norm")(config)
            self.head = nn.Linear(config.n_embd, config.padded_vocab_size, bias=False)
            if config.tie_weights:
                self.head.weight = self.token_embedding.weight
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        # If everything is built on the meta device, only the shapes are wanted: by estimates and
        # exporters.
        if drawn and not torch.empty(0).is_meta:
            self.initialise(int(torch.randint(2**62, (), device="cpu")) if seed is None else seed)

    @torch.no_grad()
    def initialise(self, seed: int, part: str = "", device: torch.device | str = "cpu") -> None:
        """Draw those matrices of the model that are shapes only, one after another.

        They are Normal(0, 0.02), divided by sqrt(2 n_layer) for residual projections, which
        `zero_projections` sets to 0. `mup` divides what it draws for blocks by the root of the
        width's ratio. A matrix depends on the seed and on its own name and shape only. So two
        models that share a part start with the same part, and a part may be drawn without the
        others.

        Args:
            part: the submodule to draw, such as `blocks.3`; the whole model if empty.
            device: where the drawn matrices are put.
        """
        config = self.config
        residual = {
            f"{name}.{projection}.weight"
            for name, module in self.named_modules()
            for projection in getattr(module, "residual_projections", ())
        }
        for name, parameter in self.get_submodule(part).named_parameters(prefix=part):
            if not parameter.is_meta:
                continue
            std = 0.02
            if name.startswith("blocks."):
                std /= math.sqrt(config.width_ratio)
            if name in residual:
                # Each block adds two branches to the residual stream. With this divisor their sum
                # has the same spread for any number of blocks.
                std = 0.0 if config.initialisation == "zero_projections" else std / math.sqrt(2 * config.n_layer)
            # The draw is made on the CPU, because other devices draw other numbers from one seed.
            generator = torch.Generator("cpu").manual_seed(seed_for(seed, "weights", name))
            drawn = torch.empty(parameter.shape, device="cpu").normal_(std=std, generator=generator)
            # Swapping keeps the object, which a tied head shares.
            torch.utils.swap_tensors(parameter, nn.Parameter(drawn.to(device), parameter.requires_grad))

    def forward(
        self, tokens: torch.Tensor, targets: torch.Tensor | None = None, cache: Cache | None = None
    ) -> torch.Tensor:
        """Return logits (B, T, V), or with `targets` (B, T) the summed cross-entropy in nats.

        Targets of -1 do not count. With a `cache` the tokens continue the text in it and are added
        to it.
        """
        h = self.hidden(tokens, cache)
        return self.logits(h) if targets is None else self.loss(h, targets)

    def loss(self, h: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the summed cross-entropy in nats of hidden states (B, T, C), a scalar."""
        h, targets, config = h.flatten(0, 1), targets.flatten(), self.config
        if self.loss_chunk:
            # Grad mode is off inside an autograd.Function; a detached weight tells it that no
            # gradient is needed.
            weight = self.head.weight if torch.is_grad_enabled() else self.head.weight.detach()
            nats: torch.Tensor = losses.ChunkedCrossEntropy.apply(
                self._for_head(h), weight, targets, config.vocab_size, self.loss_chunk, config.logit_softcap
            )
            return nats
        # The logarithm of a sum over the whole vocabulary needs fp32.
        return F.cross_entropy(self.logits(h).float(), targets, ignore_index=-1, reduction="sum")

    def hidden(
        self, tokens: torch.Tensor, cache: Cache | None = None, asked: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the final, normed hidden states (B, T, C) of `tokens` (B, T).

        With `asked`, places (P,) in the flattened tokens, only those are returned, (P, C). The last
        feed-forward network, a sixth of a model of four layers, then runs for them alone.
        """
        T = tokens.size(1)
        fits = cache is not None or self.config.block_size >= T  # a cache counts the tokens itself
        assert fits, f"{T} tokens do not fit a context of {self.config.block_size}"
        at = torch.arange(T, device=tokens.device) if cache is None else cache.extend(T)
        x = self.position_embedding.embed(self.token_embedding(tokens), at)  # (B, T, C)
        x = F.dropout(x, self.config.dropout, self.training)
        if self.training and self.residual_dtype is not None:
            x = x.to(self.residual_dtype)  # each block adds in the type of its input
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            layer = cache.layers[index] if cache is not None else None
            own = self.value_embeddings[str(index)](tokens) if str(index) in self.value_embeddings else None
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, self.position_embedding, at, layer, own, use_reentrant=False)
            else:
                x = block(x, self.position_embedding, at, layer, own, asked if index == last else None)
        return self.norm(x)

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """Return the scores (..., V) of the next token for hidden states (..., C)."""
        config = self.config
        scores = self.head(self._for_head(h))[..., : config.vocab_size]
        return losses.softcapped(scores.float(), config.logit_softcap) if config.logit_softcap else scores

    def _for_head(self, h: torch.Tensor) -> torch.Tensor:
        # Under mup the scores are divided by the width's ratio; their input is smaller than they.
        return h if self.config.width_ratio == 1 else h / self.config.width_ratio

    def new_cache(self, batch_size: int, capacity: int | None = None) -> KVCache:
        """Return an empty KV cache of `batch_size` rows, by default for the whole context."""
        config, weight = self.config, self.token_embedding.weight
        capacity = min(capacity or config.block_size, config.block_size)
        shape = {"n_layer": config.n_layer, "n_head": config.kv_heads, "head_size": config.head_dim}
        return KVCache(batch_size, **shape, capacity=capacity, device=weight.device, dtype=weight.dtype)

    def saved_rows(self) -> dict[str, int]:
        """Return how many rows of each padded parameter are saved: those of the vocabulary."""
        tables = ["token_embedding.weight", "head.weight"]
        tables += [f"value_embeddings.{layer}.weight" for layer in self.value_embeddings]
        return dict.fromkeys(tables, self.config.vocab_size)

    def num_parameters(self, *, embedding: bool = True) -> int:
        """Count parameters without padding; `embedding=False` leaves out all that is looked up."""
        rows = self.saved_rows()
        sizes = {name: p[: rows[name]].numel() if name in rows else p.numel() for name, p in self.named_parameters()}
        if embedding:
            return sum(sizes.values())
        left_out = ("token_embedding", "position_embedding", "value_embeddings")
        return sum(size for name, size in sizes.items() if name.split(".")[0] not in left_out)

    def _blocks(self) -> list[Block]:
        return [cast(Block, block) for block in self.blocks]

    def flops_per_token(self) -> int:
        """FLOPs of training on one token of a full context; for GPT-2, 6 N + 12 L C T.

        N are the weights that multiply. A tied embedding counts once, as the head; positions and
        untied embeddings are looked up, not multiplied.
        """
        config = self.config
        blocks = sum(block.flops_per_token(config.block_size) for block in self._blocks())
        return blocks + weight_flops(self.norm) + 6 * config.vocab_size * config.n_embd

    def activation_bytes(self, device: str, dtype: torch.dtype) -> int:
        """Bytes that the forward pass keeps of one token of a full context until its backward pass.

        `dtype` is that of matrix products. `gradient_checkpointing`, `loss_chunk` and
        `residual_dtype` count as they are set.
        """
        config = self.config
        residual = RESIDUAL_BYTES if self.residual_dtype is None else self.residual_dtype.itemsize
        blocks = [block.activation_bytes(config.block_size, device, dtype, residual) for block in self._blocks()]
        kept = sum(blocks)
        if self.gradient_checkpointing:
            # Each block keeps its input only; the one that is computed again keeps everything.
            kept = len(blocks) * residual * config.n_embd + max(blocks)
        # The embedding, the input of the final norm, and the input of the head.
        kept += (2 * residual + dtype.itemsize) * config.n_embd
        return kept + (0 if self.loss_chunk else losses.LOGIT_COPIES * 4 * config.padded_vocab_size)
