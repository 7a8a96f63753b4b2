"""From logits to a token: temperature, top-k, top-p, min-p, repetition penalty, and the draw.

Rows are independent, and a draw is a pure function of a row's logits and of one uniform number, so that a
does not depend on what else is in its batch. Filters set what they remove to -inf and compare tokens by value
alone: equally likely tokens stay or go together, whatever their ids.

Shapes: B rows, V tokens of the vocabulary. Knows nothing about models or text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from gpt_research.config import GenerateConfig


def rows_by_settings(settings: Iterable[GenerateConfig]) -> list[tuple[GenerateConfig, list[int]]]:
    """Group the rows of a batch whose tokens are drawn in the same way, given the settings of each row."""
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
    """Return one token for each row, (B,), with one call of `choose` for each of the groups of `rows_by_settings`."""
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
        logits: (B, V), as the model gives them.
        uniforms: (B,) float64 numbers in [0, 1), one a row; greedy choice ignores them.
        seen: (B, V) True where a row's text holds the token; None without a repetition penalty.
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


def penalise_repetition(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Divide the positive logits of tokens already seen by `penalty`, and multiply the negative ones.

    Source: Keskar et al. 2019, "CTRL", section 4.1, with the sign taken care of as Hugging Face does.
    """
    weakened = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, weakened, logits)


def keep_top_k(logits: torch.Tensor, k: int) -> torch.Tensor:
    """Keep each token that fewer than `k` tokens are likelier than. Source: Fan et al. 2018."""
    smallest = logits.topk(min(k, logits.size(-1)), sorted=False).values.amin(-1, keepdim=True)
    return logits.masked_fill(logits < smallest, -torch.inf)


def keep_top_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Keep each token where all likelier tokens together have a probability below `p`: the nucleus.

    Source: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1.
    """
    probabilities = logits.softmax(-1)
    for size in (min(1024, logits.size(-1)), logits.size(-1)):  # a nucleus is mostly small, and sorting all slow
        ordered = probabilities.topk(size).values
        reached = ordered.cumsum(-1, dtype=torch.float64)
        if (reached[:, -1] >= p).all():
            break
    likelier = reached - ordered  # the first of equals has just the mass of those above it
    kept = (likelier < p).sum(-1, keepdim=True)  # at least 1
    return logits.masked_fill(probabilities < ordered.gather(-1, kept - 1), -torch.inf)


def keep_min_p(logits: torch.Tensor, min_p: float) -> torch.Tensor:
    """Keep each token at least `min_p` times as likely as the likeliest.

    Source: Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling".
    """
    likeliest = logits.amax(-1, keepdim=True)
    return logits.masked_fill(logits < likeliest + torch.tensor(min_p).log().item(), -torch.inf)


def draw(logits: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Return the token at which each row's cumulative probability passes its uniform number, (B,)."""
    cumulative = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    below_total = torch.nextafter(total, torch.zeros_like(total))  # so that the last token drawn has a share
    point = torch.minimum(uniforms[:, None] * total, below_total)
    return torch.searchsorted(cumulative, point, right=True).squeeze(-1)
