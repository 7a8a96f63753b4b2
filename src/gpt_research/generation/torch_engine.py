"""The generation engine that runs our model in PyTorch; the calls `generate` and `stream`.

    step: decode one token of every row -> requests join (prefill) -> choose a token for every row
        -> pieces

A sample depends on the weights, its prompt, its settings and its number, and never on its batch. It
has its own random stream, keyed by seed and number, and its own row in the cache. The number of
rows is limited so that the cache fits into memory; further requests wait.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict, abc
from collections.abc import Callable, Iterator

import torch

from gpt_research.base.errors import UserError, not_finite
from gpt_research.config import GenerateConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.decoder import Decoder
from gpt_research.generation.engine import Piece, Request, Sample, encoded, stream_samples
from gpt_research.generation.sampling import choose_by_row, rows_by_settings
from gpt_research.generation.sequence import Sequence
from gpt_research.model.gpt import GPT

LARGEST_CACHE = 4 << 30
"""Bytes of keys and values that an engine may hold, unless it is given a number of rows; on a GPU
never more than a quarter of its memory."""


def generate(
    model: GPT,
    tokenizer: Tokenizer,
    prompts: str | abc.Sequence[str],
    config: GenerateConfig | None = None,
    *,
    notice: Callable[[str], None] = warnings.warn,
) -> list[Sample]:
    """Return `config.num_samples` samples for each prompt, prompt by prompt.

    Raises:
        UserError: as `stream` does.
    """
    pieces = stream(model, tokenizer, prompts, config, notice=notice)
    samples = {piece.id: piece.sample for piece in pieces if piece.sample is not None}
    return [samples[id] for id in sorted(samples)]


def stream(
    model: GPT,
    tokenizer: Tokenizer,
    prompts: str | abc.Sequence[str],
    config: GenerateConfig | None = None,
    *,
    notice: Callable[[str], None] = warnings.warn,
) -> Iterator[Piece]:
    """Yield the pieces of all samples as they are generated.

    The id of a piece is `index of the prompt * num_samples + number of the sample`.

    Args:
        prompts: one or many. If a prompt is empty, the sample begins a document: it follows
            `<|endoftext|>`.
        notice: is called once, with a sentence for the user, if a text outgrows the context.

    Raises:
        UserError: at the call, if a prompt is longer than the context, or if the tokenizer is
            not the model's; later, if the model's output is not finite.
    """
    engine = TorchEngine(model, tokenizer)
    pieces = stream_samples(engine, prompts, config or GenerateConfig(), notice=notice)
    return _in_evaluation_mode(model, pieces)


def _in_evaluation_mode(model: GPT, pieces: Iterator[Piece]) -> Iterator[Piece]:
    was_training = model.training
    model.eval()
    try:
        yield from pieces
    finally:
        model.train(was_training)


class TorchEngine:
    """A model in evaluation mode, the batch that it generates, and a queue of requests.

    Args:
        max_rows: the most samples in the batch. Default: as many as LARGEST_CACHE holds.
        description: precision and device, in words.

    Raises:
        UserError: the tokenizer has more entries than the model.
    """

    def __init__(self, model: GPT, tokenizer: Tokenizer, *, max_rows: int | None = None, description: str = "") -> None:
        if tokenizer.vocab_size > model.config.vocab_size:
            raise UserError(
                f"The tokenizer has {tokenizer.vocab_size} entries, but the model {model.config.vocab_size}. "
                "Use the tokenizer that the model was trained with."
            )
        self.tokenizer, self.description = tokenizer, description
        self._decoder = Decoder(model)
        self.max_rows = max_rows or max(1, _room_for_cache(self._decoder.device) // self._decoder.row_bytes)
        self._waiting: OrderedDict[int, Request] = OrderedDict()
        self._next_id = 0
        self._rows: list[Sequence] = []
        """The sequence of each row. A row is free if its sequence has ended. It stays in the batch
        until another sequence takes it or the batch is compacted."""
        self._chosen = torch.empty(0, dtype=torch.long)  # (B,) the newest tokens; the model has not read them
        self._groups: list[tuple[GenerateConfig, list[int]]] = []
        self._seen: torch.Tensor | None = None  # (B, V) True if the row's text has the token

    @property
    def block_size(self) -> int:
        return self._decoder.block_size

    @property
    def busy(self) -> bool:
        return bool(self._waiting) or any(sequence.live for sequence in self._rows)

    def add(self, request: Request) -> int:
        """Queue a request; return its id.

        Raises:
            UserError: as `GenerationEngine.add` does.
        """
        request = encoded(request, self.tokenizer, self.block_size)
        id, self._next_id = self._next_id, self._next_id + 1
        self._waiting[id] = request
        return id

    def cancel(self, id: int) -> None:
        """End a request without a last piece. Its row is free immediately."""
        self._waiting.pop(id, None)
        for sequence in self._rows:
            if sequence.id == id:
                sequence.live = False
        self._free_if_idle()

    @torch.inference_mode()
    def step(self) -> list[Piece]:
        """Decode the newest tokens, start waiting requests if rows are free, and draw a token a
        row.

        Raises:
            UserError: the model's output is not finite.
        """
        live = [row for row, sequence in enumerate(self._rows) if sequence.live]
        joining = min(len(self._waiting), self.max_rows - len(live))
        # Compaction copies the cache. It is rare because it waits until half of the rows are free.
        if not live or 2 * (len(live) + joining) <= len(self._rows):
            self._keep(live)
        logits = self._decode() if live else None
        if joining:
            logits = self._join(joining, logits)
        if logits is None:
            return []
        pieces = self._draw(logits[:, : self.tokenizer.vocab_size])
        self._free_if_idle()
        return pieces

    def _free_if_idle(self) -> None:
        if not self.busy:
            self._keep([])
            self._decoder.free()

    def _keep(self, rows: list[int]) -> None:
        """Keep only these rows of the batch."""
        self._decoder.keep_rows(rows)
        self._rows = [self._rows[row] for row in rows]
        self._chosen = self._chosen[rows]
        self._regroup()

    def _decode(self) -> torch.Tensor:
        """Read the newest token of every row; return the logits of the next token, (B, V)."""
        full = self._decoder.full_rows()
        if full and self._decoder.capacity < self.block_size:
            # Every live sequence has memory for its whole request. So the sequences of these rows
            # have ended while the batch went on, and their tokens are of no use.
            self._decoder.clear_rows(full)
        elif full:
            for row in full:
                self._rows[row].slid = True
            texts = [self._rows[row].prompt + self._rows[row].tokens for row in full]
            self._decoder.slide(full, [text[:-1] for text in texts])
        return self._decoder.decode(self._chosen)

    def _join(self, count: int, logits: torch.Tensor | None) -> torch.Tensor:
        """Move `count` requests from the queue to rows; return the logits of all rows, (B, V)."""
        new = [Sequence(*self._waiting.popitem(last=False), self.tokenizer) for _ in range(count)]
        free = [row for row, sequence in enumerate(self._rows) if not sequence.live]
        rows = [*free, *range(len(self._rows), len(self._rows) + count)][:count]
        for row, sequence in zip(free, new, strict=False):
            self._rows[row] = sequence
        self._rows += new[len(free) :]
        capacity = max(len(sequence.prompt) + sequence.settings.max_new_tokens for sequence in new)
        first = self._decoder.fill_rows(rows, [sequence.prompt for sequence in new], capacity, self.max_rows)
        self._regroup()
        if logits is None:
            return first
        grown = first.new_empty(len(self._rows), first.size(1))
        grown[: len(logits)] = logits
        grown[rows] = first
        return grown

    def _regroup(self) -> None:
        """Group the rows by settings and mark the tokens of their texts, after the batch has
        changed.
        """
        self._groups = rows_by_settings([sequence.settings for sequence in self._rows])
        self._seen = None
        if any(settings.repetition_penalty != 1 for settings, _ in self._groups):
            self._seen = torch.zeros(len(self._rows), self.tokenizer.vocab_size, dtype=torch.bool)
            for row, sequence in enumerate(self._rows):
                self._seen[row, sequence.prompt + sequence.tokens] = True

    def _draw(self, logits: torch.Tensor) -> list[Piece]:
        """Choose a token for every row from the logits (B, V); return the new pieces."""
        if self._seen is not None:
            self._seen = self._seen.to(logits.device)
        uniforms = torch.tensor([sequence.random.random() for sequence in self._rows], dtype=torch.float64)
        self._chosen = choose_by_row(logits, self._groups, uniforms.to(logits.device), self._seen)
        if self._seen is not None:
            self._seen.scatter_(1, self._chosen[:, None], True)
        totals = logits.logsumexp(1)
        logprobs = logits.gather(1, self._chosen[:, None]).squeeze(1) - totals
        alternatives = self._alternatives(logits, totals)
        pieces = []
        for row, (token, logprob) in enumerate(zip(self._chosen.tolist(), logprobs.tolist(), strict=True)):
            sequence = self._rows[row]
            if not sequence.live:
                continue
            if not math.isfinite(logprob):
                raise not_finite("no text can be drawn from it")
            if piece := sequence.take(token, logprob, alternatives.get(row)):
                pieces.append(piece)
        return pieces

    def _alternatives(self, logits: torch.Tensor, totals: torch.Tensor) -> dict[int, dict[int, float]]:
        """Return the log-probabilities of the likeliest tokens, for each row whose request has
        `logprobs`.
        """
        counts = {
            row: sequence.request.logprobs for row, sequence in enumerate(self._rows) if sequence.request.logprobs
        }
        if not counts:
            return {}
        rows = list(counts)
        likeliest = logits[rows].topk(min(max(counts.values()), logits.size(1)))
        values = (likeliest.values - totals[rows, None]).tolist()
        return {
            row: dict(zip(ids[: counts[row]], scores, strict=False))
            for row, ids, scores in zip(rows, likeliest.indices.tolist(), values, strict=True)
        }


def _room_for_cache(device: torch.device) -> int:
    if device.type != "cuda":
        return LARGEST_CACHE
    return min(LARGEST_CACHE, torch.cuda.get_device_properties(device).total_memory // 4)
