"""One forward pass of a model, watched: its residual stream, its attention, parts switched off.

The model's own forward pass runs, whatever its parts are, so that nothing of it is written a second
time. Hooks of PyTorch read and change what passes between the parts. They sit on a twin of the
model, which shares every tensor with it, so that the model may serve other threads meanwhile.
Fused attention yields no weights, so they are computed beside it from the queries and keys that it
is given.

Shapes: B sequences of T tokens, width C, L blocks, H heads.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from gpt_research.base.errors import UserError, require
from gpt_research.model.gpt import GPT, Block
from gpt_research.model_config import GPTConfig

SeeWeights = Callable[[int, torch.Tensor], None]
"""Takes the number of a block and its attention weights, (B, H, T, T) in fp32."""


@dataclass(frozen=True)
class Off:
    """Parts of a model that are switched off. Blocks and heads are counted from 0.

    A head that is off adds nothing to the output of its attention; the bias of the projection
    stays. An attention or a feed-forward network that is off adds nothing to the residual stream.
    """

    heads: Collection[tuple[int, int]] = ()
    """Block and query head."""
    attention: Collection[int] = ()
    """Blocks whose attention is off."""
    mlps: Collection[int] = ()
    """Blocks whose feed-forward network is off."""
    layers: Collection[int] = ()
    """Blocks that are skipped."""

    def check(self, config: GPTConfig) -> None:
        """Check that a model has these parts.

        Raises:
            UserError: it does not have one of them.
        """
        blocks = f"a block, 0 to {config.n_layer - 1}"
        for name in ("attention", "mlps", "layers"):
            for block in getattr(self, name):
                require(0 <= block < config.n_layer, f"off.{name}", block, blocks)
        for block, head in self.heads:
            require(0 <= block < config.n_layer, "off.heads", [block, head], blocks + ", and a head")
            rule = f"a block and a head, 0 to {config.n_head - 1}"
            require(0 <= head < config.n_head, "off.heads", [block, head], rule)


@dataclass(frozen=True)
class Seen:
    """What a pass showed."""

    hidden: torch.Tensor
    """(B, T, C): the final, normed hidden states, as `GPT.hidden` returns them."""
    residual: list[torch.Tensor]
    """(B, T, C) each: the residual stream before the first block and after each block; empty if it
    was not asked for."""


@torch.no_grad()
def watch(
    model: GPT,
    tokens: torch.Tensor,
    *,
    off: Sequence[Off] = (),
    residual: bool = False,
    weights: SeeWeights | None = None,
) -> Seen:
    """Run `model` in evaluation mode over `tokens` (B, T) and return what was seen.

    Args:
        off: what is switched off in each row; all rows if there is one entry.
        residual: keep the residual stream.
        weights: is called with the attention weights of each block, first block first.

    Raises:
        UserError: a part to switch off does not exist; or the weights of an attention cannot be
            seen, because it does not call PyTorch's `scaled_dot_product_attention` once.
    """
    for parts in off:
        parts.check(model.config)
    twin = _twin(model)
    streams: list[torch.Tensor] = []
    if residual:
        twin.blocks[0].register_forward_pre_hook(lambda block, inputs: streams.append(inputs[0]))
    for number, module in enumerate(twin.blocks):
        _switch_off(cast(Block, module), number, off, model.config)
        if residual:
            module.register_forward_hook(lambda block, inputs, output: streams.append(output))
    if weights is None:
        return Seen(twin.hidden(tokens), streams)
    with _SeenAttention(twin, weights):
        return Seen(twin.hidden(tokens), streams)


def _twin(model: GPT) -> GPT:
    """Return a copy in evaluation mode that shares all tensors; its modules are its own."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors}).eval()


def _switch_off(block: Block, number: int, off: Sequence[Off], config: GPTConfig) -> None:
    """Put hooks on a block that switch its parts off."""

    def rows(is_off: Callable[[Off], bool]) -> torch.Tensor | None:
        chosen = torch.tensor([is_off(parts) for parts in off], dtype=torch.bool)
        return chosen[:, None, None] if chosen.any() else None

    def nothing(rows: torch.Tensor, module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output.masked_fill(rows.to(output.device), 0)

    def skipped(rows: torch.Tensor, module: object, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.where(rows.to(output.device), inputs[0], output)

    def without(heads: torch.Tensor, module: object, inputs: Any) -> tuple[torch.Tensor]:
        by_head = inputs[0].unflatten(-1, (config.n_head, -1))  # (B, T, H, D)
        return (by_head.masked_fill(heads.to(by_head.device), 0).flatten(-2),)

    if (chosen := rows(lambda parts: number in parts.attention)) is not None:
        block.attention.register_forward_hook(partial(nothing, chosen))
    if (chosen := rows(lambda parts: number in parts.mlps)) is not None:
        block.mlp.register_forward_hook(partial(nothing, chosen))
    heads = torch.tensor([[(number, head) in parts.heads for head in range(config.n_head)] for parts in off])
    if heads.any():
        # The projection reads the heads side by side.
        block.attention.proj.register_forward_pre_hook(partial(without, heads[:, None, :, None]))
    # It comes last, because what is skipped leaves nothing of its parts.
    if (chosen := rows(lambda parts: number in parts.layers)) is not None:
        block.register_forward_hook(partial(skipped, chosen))


class _SeenAttention(TorchFunctionMode):
    """Inside, the attention weights of each block are computed beside fused attention.

    Only the calls of this thread are seen.
    """

    def __init__(self, model: GPT, see: SeeWeights) -> None:
        super().__init__()
        self.see, self.heads = see, model.config.n_head
        self.block, self.calls = 0, 0
        for number, block in enumerate(model.blocks):
            attention = cast(Block, block).attention
            attention.register_forward_pre_hook(partial(self._begin, number))
            attention.register_forward_hook(self._end)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.calls += 1
            # A single token attends to itself, in whatever shape a group of heads stands.
            found = attention_weights_of(*args, **kwargs)
            self.see(self.block, found.reshape(len(found), self.heads, -1, found.size(-1)))
        return func(*args, **kwargs)

    def _begin(self, number: int, attention: object, inputs: object) -> None:
        self.block, self.calls = number, 0

    def _end(self, attention: object, inputs: object, output: object) -> None:
        if self.calls != 1:
            raise UserError(
                f"The attention {type(attention).__name__} of block {self.block} calls PyTorch's "
                f"scaled_dot_product_attention {self.calls} times, so its weights cannot be shown. "
                "Let it call that once."
            )


def attention_weights_of(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Return the weights (B, H, T, S), in fp32, by which `scaled_dot_product_attention` of the same
    arguments mixes the values; dropout is left out.
    """
    if enable_gqa:
        k = k.repeat_interleave(q.size(-3) // k.size(-3), -3)
    scores = (q.float() @ k.float().mT) * (1 / math.sqrt(q.size(-1)) if scale is None else scale)
    if is_causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(future, -math.inf)
    if attn_mask is not None:
        boolean = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if boolean else scores + attn_mask.float()
    return scores.softmax(-1)
