"""The models of fine-tuning: one with a head on the extract token, and one that reads packed rows.

`HeadedGPT` is a `GPT` with one more linear layer, so that it has the weights of a language model by
the same names. Its loss is GPT-1's: that of the task, and a share of the language model's.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F

from gpt_research.finetuning.batches import HeadBatch
from gpt_research.model.gpt import GPT
from gpt_research.model.kv_cache import Cache, OwnKeys
from gpt_research.model_config import GPTConfig


class HeadedGPT(GPT):
    """A GPT whose head scores an example by the hidden state of its extract token.

    S sequences of B examples, K outputs.
    """

    def __init__(self, config: GPTConfig, task: str, outputs: int, *, with_lm: bool = True) -> None:
        """Build a model whose matrices are shapes.

        Args:
            with_lm: False leaves the loss of the language model out.
        """
        super().__init__(config, drawn=False)
        self.task, self.with_lm = task, with_lm
        # As in GPT-1's equation 3, it has no bias; transformers' heads have none either.
        self.task_head = nn.Linear(config.n_embd, outputs, bias=False, device="meta")

    def forward(  # type: ignore[override]
        self, tokens: torch.Tensor, targets: torch.Tensor | None = None, *rest: torch.Tensor, cache: Cache | None = None
    ) -> torch.Tensor:
        """Return the summed loss of a `HeadBatch`, whose entries are the arguments; in evaluation
        mode its scores. With tokens and targets alone, what `GPT` returns.
        """
        if not rest:
            return super().forward(tokens, targets, cache)
        assert targets is not None, "the entries of a batch come together"
        batch = HeadBatch(tokens, targets, *rest)
        h = self.hidden(tokens)  # (S, T, C)
        scores = self.scores(h, batch)
        if not self.training:
            return scores
        loss = task_losses(self.task, scores, batch.labels).sum()
        if self.with_lm:
            return loss + batch.lm_scale * loss_of_counted(self, h, targets)
        # DDP waits for a gradient of every weight, also of a head that is not used.
        return loss + 0.0 * self.head.weight.sum()

    def scores(self, h: torch.Tensor, batch: HeadBatch) -> torch.Tensor:
        """Return the scores of each example in fp32: (B, K); for similarity (B,); for a choice, of
        each answer.
        """
        h = h[torch.arange(len(h), device=h.device), batch.ends]  # (S, C)
        examples = len(batch.labels)
        if self.task == "similarity":
            # The two orders of a pair are added before the head.
            h = h.new_zeros(examples, h.size(1)).index_add(0, batch.owners, h)
        scores: torch.Tensor = self.task_head(F.dropout(h, self.config.dropout, self.training)).float()
        if self.task == "similarity":
            return scores[:, 0]
        if self.task == "choice":
            slots = int(batch.slots.max()) + 1
            # Examples may have fewer answers than others.
            table = scores.new_full((examples, slots), -torch.inf)
            return table.index_put((batch.owners, batch.slots), scores[:, 0])
        return scores


def loss_of_counted(model: GPT, h: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the summed cross-entropy in nats of hidden states (B, T, C), a scalar.

    Padding and prompts have targets of -1. The vocabulary's matrix, up to a third of a small model,
    is left out for them.
    """
    counted = targets >= 0
    return model.loss(h[counted][None], targets[counted][None])


def task_losses(task: str, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss of each example, (B,): cross-entropy, or the squared error."""
    if task == "similarity":
        return (scores - labels).square()
    return F.cross_entropy(scores, labels, reduction="none")


class PackedRows(Cache):
    """What rows of packed examples give to attention: positions, and a mask by which no token
    attends to another example. It keeps no tokens from before.
    """

    def __init__(self, positions: torch.Tensor, owners: torch.Tensor, layers: int) -> None:
        T = owners.size(1)
        causal = torch.ones(T, T, dtype=torch.bool, device=owners.device).tril()
        self.positions = positions
        self.mask = ((owners[:, :, None] == owners[:, None]) & causal)[:, None]  # (R, 1, T, T)
        self.layers = [OwnKeys(self) for _ in range(layers)]

    def extend(self, new_tokens: int) -> torch.Tensor:
        """Return the positions of the tokens, (R, T)."""
        return self.positions


class PackedGPT(GPT):
    """A GPT that reads rows of packed examples."""

    def __init__(self, config: GPTConfig) -> None:
        """Build a model whose matrices are shapes."""
        super().__init__(config, drawn=False)

    def forward(  # type: ignore[override]
        self, tokens: torch.Tensor, targets: torch.Tensor | None = None, *rest: torch.Tensor, cache: Cache | None = None
    ) -> torch.Tensor:
        """Return the summed loss of a `PackedBatch`, whose entries are the arguments; in evaluation
        mode nats and whether it is the likeliest, of each target that counts, (2, N). With tokens
        and targets alone, what `GPT` returns.
        """
        if not rest:
            return super().forward(tokens, targets, cache)
        assert targets is not None, "the entries of a batch come together"
        positions, owners = rest
        rows = PackedRows(positions, owners, self.config.n_layer) if owners.numel() else None
        h = self.hidden(tokens, rows)
        if self.training:
            return loss_of_counted(self, h, targets)
        logits, counted = self.logits(h[targets >= 0]).float(), targets[targets >= 0]
        nats = F.cross_entropy(logits, counted, reduction="none")
        return torch.stack([nats, (logits.argmax(-1) == counted).to(nats.dtype)])
