"""A model under test: how likely does it find given tokens, continuations and running text?

Contexts and continuations become tokens as in lm-eval, so that the scores agree. Whitespace at the
end of a context moves to its continuation. If the context alone has n tokens, the continuation is
what follows the first n tokens of both together. An empty context is the end-of-text token.

One case is ours. A token may cross the border of the two texts: after "wor", the text "ld" becomes
the one token "world". lm-eval then scores only what follows that token, or stops because nothing
follows. We encode the continuation alone, so that every byte of it is scored.

What windows have in common at their beginnings is computed once (see `packing`). Rows are scored in
batches of about one length, so that little of a batch is padding. The output head takes a third of
GPT-2's work and runs only at the positions that are scored, once for each. It always runs in fp32:
bf16 has 8 significant bits, so it would round a logit near -100 to a multiple of 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch

from gpt_research.base.errors import UserError, not_finite
from gpt_research.base.runtime import Runtime
from gpt_research.config import GenerateConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.evaluation.packing import Beginning, Kept, Row, Trees, batches, can_share, pack
from gpt_research.evaluation.task import Continuations, RunningText
from gpt_research.evaluation.windows import Scores, Window, rolling_windows, sliding_windows
from gpt_research.model.fast.attention import for_any_length
from gpt_research.model.gpt import GPT

HEAD_BYTES = {"cpu": 16 << 20}
"""Bytes of logits to hold in memory at a time, by type of device; 1 GiB for other types. A CPU gets
a small block, because malloc reuses it, while the system must clear a large block each time. That
took half of the time."""

FULL_BATCH = {"cpu": 256}
"""Tokens of a batch from which on padding costs more time than another batch, by type of device. On
other types a batch is as large as it may be."""

Progress = Callable[[int], Callable[[int], object]]
"""A function that is called with the number of windows when scoring begins. It returns a function
that is called with the number of windows that were scored since its last call."""


class Written(Protocol):
    """A text that a model wrote."""

    @property
    def text(self) -> str: ...


Generator = Callable[[GPT, Tokenizer, Sequence[str], GenerateConfig], Sequence[Written]]
"""From model, tokenizer, prompts and settings to a text for each prompt."""


def no_progress(total: int) -> Callable[[int], object]:
    """Report no progress."""
    return lambda done: None


@dataclass(frozen=True)
class EvaluatedModel:
    """A model, and how to ask it. It is the `task.LanguageModel` that tasks measure."""

    model: GPT
    tokenizer: Tokenizer
    runtime: Runtime
    context: int
    """Number of tokens that the model may look at; at most its block size."""
    batch_size: int = 8
    """Size of a batch in sequences as long as the context; shorter sequences make batches of as
    many tokens."""
    stride: int | None = None
    """Tokens from the start of one window of a running text to the start of the next; None for the
    context."""
    progress: Progress = no_progress
    generator: Generator | None = None
    """What writes texts, such as `torch_engine.generate`; None if no task asks for texts."""

    @property
    def quiet(self) -> EvaluatedModel:
        """The same model, which reports no progress."""
        return replace(self, progress=no_progress)

    def as_a(self, kind: type[EvaluatedModel]) -> EvaluatedModel:
        """The same model, which answers as a subclass does."""
        return kind(**{field.name: getattr(self, field.name) for field in fields(self)})

    def score(self, windows: Sequence[Window]) -> list[Scores]:
        """Return the scores of each window, in order."""
        advance = self.progress(len(windows))
        return score(self.model, windows, self.runtime, self.batch_size * self.context, advance)

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> Continuations:
        """Return how likely the second text of each pair is after the first."""
        encoded = [encode_pair(self.tokenizer, *pair) for pair in pairs]
        found = self.token_continuations([(pair.before, pair.after) for pair in encoded])
        return replace(found, fused=np.array([pair.is_fused for pair in encoded], dtype=bool))

    def token_continuations(self, pairs: Sequence[tuple[list[int], list[int]]]) -> Continuations:
        """Return the same for pairs of lists of tokens; the first list must not be empty.

        Raises:
            UserError: a second list is empty.
        """
        if any(not after for _, after in pairs):
            raise UserError("A continuation has no token, so there is nothing to score. Give it at least one.")
        windows: list[Window] = []
        owners: list[int] = []
        for index, (before, after) in enumerate(pairs):
            # A continuation that is longer than the context needs more than one window.
            of_pair = list(rolling_windows(before + after, len(before), self.context))
            windows += of_pair
            owners += [index] * len(of_pair)
        nats, greedy = np.zeros(len(pairs)), np.ones(len(pairs), dtype=bool)
        for owner, scores in zip(owners, self.score(windows), strict=True):
            nats[owner] += scores.nats.sum()
            greedy[owner] &= bool(scores.greedy.all())
        # A window holds one token more than the context, because the model does not read the last.
        cut = [len(before) + len(after) > self.context + 1 for before, after in pairs]
        tokens = np.array([len(after) for _, after in pairs], dtype=np.int64)
        return Continuations(nats, greedy, tokens, int(np.sum(cut)), np.zeros(len(pairs), dtype=bool))

    def generate(self, prompts: Sequence[str], max_new_tokens: int, stop: Sequence[str]) -> list[str]:
        """Return what greedy decoding writes after each prompt, up to a stop text."""
        return self.write(prompts, GenerateConfig(max_new_tokens=max_new_tokens, temperature=0.0, stop=list(stop)))

    def write(self, prompts: Sequence[str], config: GenerateConfig) -> list[str]:
        """Return what the model writes after each prompt.

        A prompt that does not fit the context together with its answer is cut on the left;
        `cut_prompts` counts those.

        Raises:
            UserError: an answer may fill the context, so no prompt fits.
        """
        assert self.generator is not None, "a model that writes needs a generator"
        room = self._room(config.max_new_tokens)
        shortened = [self._shortened(text, room) for text in prompts]
        samples = self.generator(self.model, self.tokenizer, shortened, config)
        return [sample.text for sample in samples]

    def cut_prompts(self, prompts: Sequence[str], max_new_tokens: int) -> int:
        """Return how many of the prompts do not fit the context together with their answers."""
        room = self._room(max_new_tokens)
        return sum(len(self.tokenizer.encode(text)) > room for text in prompts)

    def _room(self, max_new_tokens: int) -> int:
        """Return the tokens that a prompt may have."""
        if max_new_tokens >= self.context:
            raise UserError(
                f"An answer may have {max_new_tokens} tokens (max_new_tokens), but the context has {self.context}, so "
                "there is no room for a prompt. Take fewer, or a model with a longer context."
            )
        return self.context - max_new_tokens

    def _shortened(self, text: str, room: int) -> str:
        tokens = self.tokenizer.encode(text)
        kept = len(tokens)
        # A text that is cut within a word may become more tokens than it was cut to, so try again.
        while len(self.tokenizer.encode(text)) > room:
            kept = min(kept - 1, room)
            text = self.tokenizer.decode(tokens[len(tokens) - kept :]).lstrip("\ufffd")
        return text

    def running_text(self, pieces: Sequence[str]) -> RunningText:
        """Join the pieces to one text, score its tokens, and return the sums for each piece.

        A token that lies in two pieces counts for the first.
        """
        stride = self.context if self.stride is None else self.stride
        if not 1 <= stride <= self.context:
            raise UserError(
                f"stride is {stride}, but it must be 1 to {self.context}, the context. "
                "A longer stride would skip tokens."
            )
        pieces = [self.tokenizer.prepared(piece) for piece in pieces]
        tokens = np.array(self.tokenizer.encode("".join(pieces)), dtype=np.int64)
        lengths = self.tokenizer.byte_lengths[tokens]
        # Token boundaries need not be piece boundaries, so bytes tell which piece a token is in.
        owner = _owners([len(piece.encode()) for piece in pieces], lengths)

        spans = list(sliding_windows(len(tokens), self.context, stride))
        scores = self.score([Window(tokens[begin:end], end - first) for begin, first, end in spans])
        scored, nats = np.zeros(len(tokens)), np.zeros(len(tokens))
        for (_, first, end), window in zip(spans, scores, strict=True):
            scored[first:end], nats[first:end] = 1.0, window.nats

        def by_piece(values: np.ndarray) -> np.ndarray:
            return np.bincount(owner, values, minlength=len(pieces))

        counts = by_piece(np.ones(len(tokens)))
        return RunningText(by_piece(nats), counts, by_piece(scored), by_piece(lengths * scored), stride)


def _owners(piece_bytes: Sequence[int], token_bytes: np.ndarray) -> np.ndarray:
    """Return the number of the piece that holds the first byte of each token, (tokens,)."""
    starts = np.cumsum(token_bytes) - token_bytes
    return np.searchsorted(np.cumsum(piece_bytes)[:-1], starts, side="right")


class EncodedPair(NamedTuple):
    """The tokens of a context and of its continuation; neither list is empty."""

    before: list[int]
    after: list[int]
    is_fused: bool
    """A token of both texts together crosses their border."""


def encode_pair(tokenizer: Tokenizer, before: str, after: str) -> EncodedPair:
    """Return the tokens of a context and of its continuation.

    Raises:
        UserError: the continuation is empty.
    """
    kept = before.rstrip()
    before, after = kept, before[len(kept) :] + after
    if not after:
        raise UserError(
            f"The continuation of the context {before[-60:]!r} is empty, so there is nothing to score. Look at the "
            "answers of this item in the benchmark's file or in the task."
        )
    if not before:
        return EncodedPair([tokenizer.end_of_text], tokenizer.encode(after), False)
    context, whole = tokenizer.encode(before), tokenizer.encode(before + after)
    if len(whole) > len(context) and whole[: len(context)] == context:
        return EncodedPair(context, whole[len(context) :], False)
    # A token of `whole` holds the end of the context and the beginning of the continuation. Cut
    # after it, the continuation would lose its beginning, and the model would be certain of it.
    return EncodedPair(context, tokenizer.encode(after), True)


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
        tokens_per_batch: tokens of a batch, with padding; a longer window is a batch by itself.
        progress: called after each batch with the number of its windows.

    Raises:
        UserError: the model's output is not finite.
    """
    model.eval()
    done: dict[int, Scores] = {}
    rows, beginning, kept = pack(windows, share=can_share(model)), None, None
    for batch in batches(rows, tokens_per_batch, FULL_BATCH.get(runtime.device.type)):
        if batch[0].beginning is not beginning:
            beginning = batch[0].beginning
            kept = None if beginning is None else _read(model, beginning, runtime)
        done |= _score_batch(model, windows, batch, runtime, kept)
        if progress is not None:
            progress(sum(len(row.windows) for row in batch))
    return [done[index] for index in range(len(windows))]


def _read(model: GPT, beginning: Beginning, runtime: Runtime) -> Kept:
    """Return the keys and values of a beginning."""
    kept = Kept(len(model.blocks), runtime.device)
    with runtime.autocast(), for_any_length(runtime.device):
        model.hidden(torch.from_numpy(beginning.tokens)[None].to(runtime.device), kept)
    return kept


def _score_batch(
    model: GPT, windows: Sequence[Window], batch: Sequence[Row], runtime: Runtime, before: Kept | None
) -> dict[int, Scores]:
    longest = max(len(row.tokens) for row in batch)
    # The padding is on the right, where causal attention keeps it from every scored token.
    tokens = np.zeros((len(batch), longest), dtype=np.int64)
    members, places, targets = [], [], []
    for number, row in enumerate(batch):
        tokens[number, : len(row.tokens)] = row.tokens
        for index, way in zip(row.windows, row.ways, strict=True):
            window = windows[index]
            assert 1 <= window.scored <= len(way) <= model.config.block_size, "a window must fit the context"
            members.append(index)
            places.append(number * longest + way[-window.scored :])
            targets.append(np.asarray(window.tokens[-window.scored :], dtype=np.int64))
    cache = Trees(batch, len(model.blocks), runtime.device, before) if batch[0].needs_mask else None
    # Continuations of one context ask the same place for their first tokens.
    asked, which = np.unique(np.concatenate(places), return_inverse=True)
    inputs, at = (torch.from_numpy(numbers).to(runtime.device) for numbers in (tokens, asked))
    with runtime.autocast(), for_any_length(runtime.device):
        h = model.hidden(inputs, cache, at)  # (P, C)
    # The head runs outside of autocast, and so in fp32.
    nats, greedy = _ask_head(model, h.float(), which, np.concatenate(targets))
    ends = np.cumsum([windows[index].scored for index in members])[:-1]
    found = zip(np.split(nats, ends), np.split(greedy, ends), strict=True)
    return {index: Scores(n, g) for index, (n, g) in zip(members, found, strict=True)}


def _ask_head(model: GPT, h: torch.Tensor, which: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return -ln p of each target after one of the hidden states, and if no token is likelier.

    Args:
        h: hidden states (P, C).
        which: (N,) the number of the hidden state of each target.
        targets: (N,) tokens.
    """
    rows = max(1, HEAD_BYTES.get(h.device.type, 1 << 30) // (4 * model.config.padded_vocab_size))
    nats, greedy = np.empty(len(targets)), np.empty(len(targets), dtype=bool)
    # Targets of one hidden state stand together, so that its logits are computed once.
    order = np.argsort(which, kind="stable")
    for begin, part in zip(range(0, len(h), rows), h.split(rows), strict=True):
        these = order[slice(*np.searchsorted(which[order], [begin, begin + rows]))]
        at = torch.from_numpy(which[these] - begin).to(h.device)
        logits = model.logits(part)  # (P', V)
        of_target = at, torch.from_numpy(targets[these]).to(h.device)
        greedy[these] = (logits[of_target] == logits.amax(1)[at]).cpu().numpy()
        # On a CPU the fused log_softmax takes half the time of logsumexp.
        nats[these] = -logits.log_softmax(1)[of_target].cpu().double().numpy()
    if not np.isfinite(nats).all():
        raise not_finite("it has no score")
    return nats, greedy
