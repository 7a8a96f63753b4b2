"""How likely a model finds each token of a prompt, and which tokens it finds likelier.

The model runs in fp32, as in `evaluate`, so that scores which are taken through the server equal
those which are taken in this process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gpt_research.base.errors import not_finite
from gpt_research.model.fast.attention import for_any_length
from gpt_research.model.gpt import GPT

LOGITS_BYTES = 16 << 20
"""Bytes of logits to hold at a time, as in `evaluation.evaluated_model`."""


@dataclass(frozen=True)
class PromptScores:
    """Log-probabilities of the tokens of a prompt but the first, which follows nothing."""

    logprobs: list[float]
    alternatives: list[dict[int, float]]
    """The likeliest tokens at the place of each token."""


@torch.inference_mode()
def score_prompt(model: GPT, tokens: Sequence[int], count: int, vocab_size: int) -> PromptScores:
    """Score a prompt of at most one token more than the context.

    Args:
        count: likeliest tokens to report at each place.
        vocab_size: entries of the tokenizer; the model may have more.

    Raises:
        UserError: the model's output is not finite.
    """
    logprobs: list[float] = []
    alternatives: list[dict[int, float]] = []
    if len(tokens) < 2:
        return PromptScores(logprobs, alternatives)
    device = model.token_embedding.weight.device
    ids = torch.tensor(tokens, device=device)
    with for_any_length(device):
        h = model.hidden(ids[None, :-1])[0].float()  # (T, C)
    rows = max(1, LOGITS_BYTES // (4 * model.config.padded_vocab_size))
    for part, wanted in zip(h.split(rows), ids[1:].split(rows), strict=True):
        logits = model.logits(part)  # (rows, V)
        totals = logits.logsumexp(1, keepdim=True)
        scores = (logits.gather(1, wanted[:, None]) - totals).squeeze(1)
        if not scores.isfinite().all():
            raise not_finite("it has no score")
        logprobs += scores.tolist()
        likeliest = logits[:, :vocab_size].topk(min(count, vocab_size))
        values = (likeliest.values - totals).tolist()
        alternatives += [
            dict(zip(ids, row, strict=True)) for ids, row in zip(likeliest.indices.tolist(), values, strict=True)
        ]
    return PromptScores(logprobs, alternatives)
