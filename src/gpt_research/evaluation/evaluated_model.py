"""The model under test: how likely it finds given tokens, continuations and texts.

Texts are cut into context and continuation as lm-eval cuts them, so that the tokens, and with them the scores, are
the same: blanks at the end of a context go to the continuation, both are encoded together, and what is beyond the
context's own tokens is the continuation. An empty context is the end-of-text token.

Windows are scored in batches of equal length or nearly so. The head, a third of GPT-2's work, runs only where
something is scored, and in fp32 whatever the precision is: bf16 has 8 bits, so a logit of -100 would be rounded to a
multiple of 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.evaluation.task import Continuations, RunningText
from gpt_research.evaluation.windows import Scores, Window, rolling_windows, sliding_windows
from gpt_research.model.gpt import GPT

HEAD_BYTES = {"cpu": 16 << 20}
"""Logits in memory at a time, by kind of device, else 1 GiB. On a CPU few: what malloc keeps need not be cleared by
the system again and again, which took half of the time."""

Progress = Callable[[int], Callable[[int], object]]
"""Called with a number of windows when scoring begins; what it returns is called with how many more are done."""


def no_progress(total: int) -> Callable[[int], object]:
    """Show nothing."""
    return lambda done: None


@dataclass(frozen=True)
class EvaluatedModel:
    """A model with all that it takes to ask it. It is a `task.LanguageModel`."""

    model: GPT
    tokenizer: Tokenizer
    runtime: Runtime
    context: int
    """Tokens that it may look at, at most its own context."""
    batch_size: int = 8
    """Sequences of the whole context at a time; as many tokens of shorter ones."""
    stride: int | None = None
    """Tokens from one window of a running text to the next; None for the context."""
    progress: Progress = no_progress

    def score(self, windows: Sequence[Window]) -> list[Scores]:
        """Return the scores of each window, in order."""
        advance = self.progress(len(windows))
        return score(self.model, windows, self.runtime, self.batch_size * self.context, advance)

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> Continuations:
        """Return how likely each pair's second text is after its first."""
        return self.token_continuations([encode_pair(self.tokenizer, *pair) for pair in pairs])

    def token_continuations(self, pairs: Sequence[tuple[list[int], list[int]]]) -> Continuations:
        """Return the same for tokens of context (at least one) and continuation."""
        windows: list[Window] = []
        owners: list[int] = []
        for index, (before, after) in enumerate(pairs):
            of_pair = list(rolling_windows(before + after, len(before), self.context))
            windows += of_pair
            owners += [index] * len(of_pair)
        nats, greedy = np.zeros(len(pairs)), np.ones(len(pairs), dtype=bool)
        for owner, scores in zip(owners, self.score(windows), strict=True):
            nats[owner] += scores.nats.sum()
            greedy[owner] &= bool(scores.greedy.all())
        cut = [len(before) + len(after) > self.context + 1 for before, after in pairs]
        return Continuations(nats, greedy, int(np.sum(cut)))

    def running_text(self, pieces: Sequence[str]) -> RunningText:
        """Return how likely the text is that the pieces make when joined, by sliding windows.

        Raises:
            UserError: the stride does not fit the context.
        """
        stride = self.context if self.stride is None else self.stride
        if not 1 <= stride <= self.context:
            raise UserError(
                f"stride is {stride}, but it must be 1 to {self.context}, the context: more would skip tokens."
            )
        tokens = np.array(self.tokenizer.encode("".join(pieces)), dtype=np.int64)
        lengths = self.tokenizer.byte_lengths[tokens]
        owner = _owners([len(piece.encode()) for piece in pieces], lengths)

        places = list(sliding_windows(len(tokens), self.context, stride))
        scores = self.score([Window(tokens[begin:end], end - first) for begin, first, end in places])
        scored, nats = np.zeros(len(tokens)), np.zeros(len(tokens))
        for (_, first, end), window in zip(places, scores, strict=True):
            scored[first:end], nats[first:end] = 1.0, window.nats

        def by_piece(values: np.ndarray) -> np.ndarray:
            return np.bincount(owner, values, minlength=len(pieces))

        counts = by_piece(np.ones(len(tokens)))
        return RunningText(by_piece(nats), counts, by_piece(scored), by_piece(lengths * scored), stride)


def _owners(piece_bytes: Sequence[int], token_bytes: np.ndarray) -> np.ndarray:
    """Return for each token the number of the piece that its first byte is in."""
    starts = np.cumsum(token_bytes) - token_bytes
    return np.searchsorted(np.cumsum(piece_bytes)[:-1], starts, side="right")


def encode_pair(tokenizer: Tokenizer, before: str, after: str) -> tuple[list[int], list[int]]:
    """Return the tokens of a context and of its continuation."""
    kept = before.rstrip()
    before, after = kept, before[len(kept) :] + after
    if not before:
        return [tokenizer.end_of_text], tokenizer.encode(after)
    context = tokenizer.encode(before)
    return context, tokenizer.encode(before + after)[len(context) :]


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
    done: list[Scores | None] = [None] * len(windows)
    while order:
        rows = max(1, tokens_per_batch // (len(windows[order[0]].tokens) - 1))
        batch, order = order[:rows], order[rows:]
        for index, scores in zip(batch, _score_batch(model, [windows[i] for i in batch], runtime), strict=True):
            done[index] = scores
        if progress is not None:
            progress(len(batch))
    return [scores for scores in done if scores is not None]


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
