"""How likely a model finds given tokens: the one question that every benchmark asks.

A `Window` is a piece of text that fits the context, of which the last tokens are scored. Three ways to cut a
text into windows follow the three conventions that published figures use. Windows are scored in batches of equal
length or nearly so, and the head, a third of GPT-2's work, runs only where something is scored.

The head is computed in fp32 whatever the precision is: bf16 has 8 bits, so a logit of -100 would be rounded to a
multiple of 0.5. Knows nothing about text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gpt_research.base.runtime import Runtime
from gpt_research.model.gpt import GPT

HEAD_BYTES = {"cpu": 16 << 20}
"""Logits in memory at a time, by kind of device, else 1 GiB. On a CPU few: what malloc keeps need not be cleared by
the system again and again, which took half of the time."""


@dataclass(frozen=True)
class Window:
    """Tokens of which the last `scored` are asked about; the model reads all but the last."""

    tokens: Sequence[int] | np.ndarray
    scored: int


@dataclass(frozen=True)
class Scores:
    """What the model makes of the scored tokens of one window."""

    nats: np.ndarray
    """(scored,) float64: -ln p of each token, given all before it in the window."""
    greedy: np.ndarray
    """(scored,) bool: whether no token was likelier."""


def rolling_windows(tokens: Sequence[int], first: int, context: int) -> Iterator[Window]:
    """Cover the tokens from number `first` (1 or more) on, each scored once, as lm-eval does.

    A window scores as many new tokens as the context holds; what is before them fills it up, so that the last
    window sees a whole context. A continuation that fits is one window, its text cut on the left.
    """
    assert first >= 1, "the first token has nothing to be predicted from"
    while first < len(tokens):
        end = min(first + context, len(tokens))
        yield Window(tokens[max(0, end - context - 1) : end], end - first)
        first = end


def sliding_windows(count: int, context: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Yield (begin, first, end) of Hugging Face's windows over `count` tokens: [first, end) is scored in [begin, end).

    A window holds `context` tokens and begins `stride` after the one before. Scored is what no window scored yet
    and what has a token before it in the window: with a stride of the context, all but the first of each window.
    Source: the guide "Perplexity of fixed-length models" of transformers.
    """
    assert 1 <= stride <= context, "checked where the user sets it"
    covered = 0
    for begin in range(0, count, stride):
        end, first = min(begin + context, count), max(covered, begin + 1)
        if first < end:
            yield begin, first, end
        covered = end
        if end == count:
            return


@torch.inference_mode()
def score(
    model: GPT,
    windows: Sequence[Window],
    runtime: Runtime,
    tokens_per_batch: int,
    progress: Callable[[int], object] | None = None,
) -> list[Scores]:
    """Return the scores of each window, in order.

    Args:
        tokens_per_batch: tokens the model reads at a time, padding included (one window at least).
        progress: told how many windows are done, after each batch.
    """
    model.eval()
    order = sorted(range(len(windows)), key=lambda i: -len(windows[i].tokens))
    found: list[Scores | None] = [None] * len(windows)
    while order:
        rows = max(1, tokens_per_batch // (len(windows[order[0]].tokens) - 1))
        batch, order = order[:rows], order[rows:]
        for index, scores in zip(batch, _score_batch(model, [windows[i] for i in batch], runtime), strict=True):
            found[index] = scores
        if progress is not None:
            progress(len(batch))
    return [scores for scores in found if scores is not None]


def _score_batch(model: GPT, windows: list[Window], runtime: Runtime) -> list[Scores]:
    longest = max(len(window.tokens) for window in windows) - 1
    tokens = np.zeros((len(windows), longest), dtype=np.int64)  # padded on the right, which causality hides
    rows, columns, targets = [], [], []
    for row, window in enumerate(windows):
        length = len(window.tokens) - 1
        assert 1 <= window.scored <= length <= model.config.block_size, "a window must fit the context"
        tokens[row, :length] = window.tokens[:-1]
        rows.append(np.full(window.scored, row))
        columns.append(np.arange(length - window.scored, length))
        targets.append(np.asarray(window.tokens[-window.scored :], dtype=np.int64))
    with runtime.autocast():
        h = model.hidden(torch.from_numpy(tokens).to(runtime.device))  # (B, T, C)
    at = (torch.from_numpy(np.concatenate(part)).to(runtime.device) for part in (rows, columns))
    nats, greedy = _ask_head(model, h[tuple(at)].float(), torch.from_numpy(np.concatenate(targets)))
    ends = np.cumsum([window.scored for window in windows])[:-1]
    return [Scores(n, g) for n, g in zip(np.split(nats, ends), np.split(greedy, ends), strict=True)]


def _ask_head(model: GPT, h: torch.Tensor, targets: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return -ln p of `targets` (N,) and whether each is likeliest, for final hidden states (N, C)."""
    rows = max(1, HEAD_BYTES.get(h.device.type, 1 << 30) // (4 * model.config.padded_vocab_size))
    nats, greedy = [], []
    for part, wanted in zip(h.split(rows), targets.to(h.device).split(rows), strict=True):
        logits = model.logits(part)  # (n, V)
        chosen = logits.gather(1, wanted[:, None]).squeeze(1)
        nats.append((logits.logsumexp(1) - chosen).cpu())
        greedy.append((chosen == logits.amax(1)).cpu())
    return torch.cat(nats).double().numpy(), torch.cat(greedy).numpy()
