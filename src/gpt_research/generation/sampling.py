"""Sampling: repetition penalty, temperature, top-k, top-p, min-p, and the draw of a token.

Rows are independent. The token of a row is a pure function of its logits and of one uniform number,
so a sample does not depend on its batch. A filter sets the logits of the tokens that it removes to
-inf. Filters look at logits only, so they keep or remove equally likely tokens together. A row that
is not finite gets some token; the caller notices it by the token's log-probability.

Shapes: B rows, V tokens of the vocabulary. This module knows nothing about models or text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from gpt_research.config import GenerateConfig


def rows_by_settings(settings: Iterable[GenerateConfig]) -> list[tuple[GenerateConfig, list[int]]]:
    """Group the rows of a batch by the settings that `choose` reads."""
    groups: dict[tuple[float, ...], tuple[GenerateConfig, list[int]]] = {}
    for row, own in enumerate(settings):
        key = (own.temperature, own.top_k, own.top_p, own.min_p, own.repetition_penalty)
        groups.setdefault(key, (own, []))[1].append(row)
    return list(groups.values())


def choose_by_row(
    logits: torch.Tensor,
    groups: Sequence[tuple[GenerateConfig, list[int]]],
    uniforms: torch.Tensor,
    seen: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return one token for each row, (B,), with one `choose` for each group of
    `rows_by_settings`.
    """
    if len(groups) == 1:
        return choose(logits, groups[0][0], uniforms, seen)
    tokens = torch.empty(len(logits), dtype=torch.long, device=logits.device)
    for settings, members in groups:
        rows = torch.tensor(members, device=logits.device)
        seen_here = None if seen is None or settings.repetition_penalty == 1 else seen[rows]
        tokens[rows] = choose(logits[rows], settings, uniforms[rows], seen_here)
    return tokens


def choose(
    logits: torch.Tensor, config: GenerateConfig, uniforms: torch.Tensor, seen: torch.Tensor | None = None
) -> torch.Tensor:
    """Return one token for each row, (B,).

    Args:
        logits: (B, V), the output of the model.
        uniforms: (B,) float64 numbers in [0, 1). Temperature 0 ignores them.
        seen: (B, V) True if the row's text has the token. None if there is no repetition penalty.
    """
    if seen is not None:
        logits = penalise_repetition(logits, seen, config.repetition_penalty)
    if config.temperature == 0:
        return logits.argmax(-1)
    logits = logits / config.temperature
    if 0 < config.top_k < logits.size(-1):
        logits = keep_top_k(logits, config.top_k)
    if config.top_p < 1:
        logits = keep_top_p(logits, config.top_p)
    if config.min_p > 0:
        logits = keep_min_p(logits, config.min_p)
    return draw(logits, uniforms)


def penalise_repetition(logits: torch.Tensor, seen: torch.Tensor, penalty: float | torch.Tensor) -> torch.Tensor:
    """Divide the positive logits of seen tokens by `penalty`, and multiply the negative ones by it.

    Source: Keskar et al. 2019, "CTRL", section 4.1. Hugging Face treats negative logits in the same
        way.
    """
    weakened = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, weakened, logits)


def keep_top_k(logits: torch.Tensor, k: int) -> torch.Tensor:
    """Keep a token if fewer than `k` tokens are more likely. Source: Fan et al. 2018."""
    smallest = logits.topk(min(k, logits.size(-1)), sorted=False).values.amin(-1, keepdim=True)
    return logits.masked_fill(logits < smallest, -torch.inf)


def keep_top_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Keep a token if all more likely tokens together have a probability below `p`: the nucleus.

    Source: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1.
    """
    probabilities = logits.softmax(-1)
    # Sorting all tokens is slow and most nuclei are small, so the likeliest 1,024 are tried first.
    for size in (min(1024, logits.size(-1)), logits.size(-1)):
        ordered = probabilities.topk(size).values
        reached = ordered.cumsum(-1, dtype=torch.float64)
        if (reached[:, -1] >= p).all():
            break
    return logits.masked_fill(probabilities < smallest_of_nucleus(ordered, reached, p), -torch.inf)


def smallest_of_nucleus(ordered: torch.Tensor, reached: torch.Tensor, p: float | torch.Tensor) -> torch.Tensor:
    """Return the smallest probability in the nucleus of each row, (B, 1), or the last of `ordered`
    if that is larger.

    Args:
        ordered: (B, K), the probabilities of the K likeliest tokens, falling.
        reached: (B, K), their sums from the first one.
    """
    likelier = reached - ordered  # for the first of equally likely tokens, the mass of all more likely ones
    # At least 1; nan is below nothing, and a row of nan must not end the process.
    kept = (likelier < p).sum(-1, keepdim=True).clamp(min=1)
    return ordered.gather(-1, kept - 1)


def keep_min_p(logits: torch.Tensor, min_p: float | torch.Tensor) -> torch.Tensor:
    """Keep a token if it is at least `min_p` times as likely as the most likely one.

    Source: Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling".
    """
    # p >= min_p * p_max is the same as a comparison of logits, without a softmax.
    share = min_p.log() if isinstance(min_p, torch.Tensor) else torch.tensor(min_p).log().item()
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + share, -torch.inf)


def draw(logits: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Return the first token of each row whose cumulative probability exceeds its uniform
    number.
    """
    # In fp32, sums over 50,000 tokens would lose the unlikely ones.
    cumulative = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    # The point stays below the total, because beyond it there are only tokens of probability 0.
    below_total = torch.nextafter(total, torch.zeros_like(total))
    point = torch.minimum(uniforms[:, None] * total, below_total)
    # A row of nan is beyond every point. Its token means nothing; it must exist all the same.
    return torch.searchsorted(cumulative, point, right=True).squeeze(-1).clamp(max=logits.size(-1) - 1)
