"""The generation engine that runs our model in PyTorch; the calls `generate` and `stream`.

    step: decode the newest token of every row and draw the next one -> requests join (prefill, and
        a draw) -> pieces

There are two ways to decode. On a GPU by NVIDIA or AMD a step has fixed shapes, so that it is
recorded and replayed (`static_step`). Elsewhere it has the shapes that the texts need
(`_decode_texts`). Both give the same tokens.

A sample depends on the weights, its prompt, its settings and its number, and never on its batch. It
has its own random stream, keyed by seed and number, and its own row in the cache. The number of
rows is limited so that the cache fits into memory; further requests wait.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import OrderedDict, abc
from collections.abc import Callable, Iterator

import torch

from gpt_research.base.errors import UserError, not_finite
from gpt_research.config import GenerateConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.decoder import Decoder
from gpt_research.generation.draws import Drawing
from gpt_research.generation.engine import Piece, Request, Sample, encoded, stream_samples
from gpt_research.generation.sequence import Draw, Sequence
from gpt_research.generation.static_step import StaticStep, window_columns
from gpt_research.model.gpt import GPT

LARGEST_CACHE = 4 << 30
"""Bytes of keys and values that an engine may hold, unless it is given a number of rows. On a CUDA
device it is a quarter of the device's memory instead."""


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
        max_rows: the most samples in the batch. Default: as many as LARGEST_CACHE holds, or a
            quarter of the GPU's memory.
        description: precision and device, in words.
        static: whether steps have fixed shapes. Default: on a CUDA device.

    Raises:
        UserError: the tokenizer has more entries than the model.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        *,
        max_rows: int | None = None,
        description: str = "",
        static: bool | None = None,
    ) -> None:
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
        self._static = self._decoder.device.type == "cuda" if static is None else static
        self._static_step: StaticStep | None = None
        self._drawing: Drawing | None = None
        self._changed = False
        """True if a row got another sequence or other contents since the last step."""

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
        with _any_kernel(self._decoder.device):
            drawn = self._decode() if live else []
            if joining:
                drawn = self._join(joining, drawn)
        pieces = []
        for sequence, draw in zip(self._rows, drawn, strict=True):
            if not sequence.live:
                continue
            if not math.isfinite(draw.logprob):
                raise not_finite("no text can be drawn from it")
            if piece := sequence.take(*draw):
                pieces.append(piece)
        self._free_if_idle()
        return pieces

    def _free_if_idle(self) -> None:
        if not self.busy:
            self._keep([])
            self._decoder.free()
            self._static_step = self._drawing = None

    def _keep(self, rows: list[int]) -> None:
        """Keep only these rows of the batch."""
        self._decoder.keep_rows(rows)
        self._rows = [self._rows[row] for row in rows]
        self._changed = True

    def _decode(self) -> list[Draw]:
        """Read the newest token of every row; return a draw for each."""
        full = self._decoder.full_rows()
        ended = [row for row in full if not self._rows[row].live]
        # A sequence that has ended while the batch goes on has tokens that are of no use.
        self._decoder.clear_rows(ended)
        if sliding := [row for row in full if self._rows[row].live]:
            # Every sequence has memory for its whole request, or for the whole context.
            assert self._decoder.capacity == self.block_size
            for row in sliding:
                self._rows[row].slid = True
            texts = [self._rows[row].prompt + self._rows[row].tokens for row in sliding]
            self._decoder.slide(sliding, [text[:-1] for text in texts])
            self._changed = True
        drawn = self._decode_static() if self._static else self._decode_texts()
        self._changed = False
        return drawn

    def _decode_texts(self) -> list[Draw]:
        """Decode with the shapes that the texts need."""
        if self._drawing is None or self._changed:
            self._drawing = Drawing(self._rows, self.tokenizer.vocab_size)
        logits = self._decoder.decode(torch.tensor([sequence.newest for sequence in self._rows]))
        return self._drawing.draw(logits[:, : self.tokenizer.vocab_size])

    def _decode_static(self) -> list[Draw]:
        """Decode with fixed shapes."""
        cache = self._decoder.cache
        assert cache is not None, "no row is in use"
        if self._static_step is None or self._static_step.storage is not cache.storage:
            self._static_step = StaticStep(self._decoder.model, cache, self.tokenizer.vocab_size)
            self._changed = True
        if self._changed:
            self._static_step.load(self._rows)
        return self._static_step.run()

    def _join(self, count: int, drawn: list[Draw]) -> list[Draw]:
        """Move `count` requests from the queue to rows; return the draws of all rows."""
        new = [Sequence(*self._waiting.popitem(last=False), self.tokenizer) for _ in range(count)]
        free = [row for row, sequence in enumerate(self._rows) if not sequence.live]
        rows = [*free, *range(len(self._rows), len(self._rows) + count)][:count]
        for row, sequence in zip(free, new, strict=False):
            self._rows[row] = sequence
        self._rows += new[len(free) :]
        capacity = max(len(sequence.prompt) + sequence.settings.max_new_tokens for sequence in new)
        if self._static:
            capacity = window_columns(capacity, self.block_size)
        logits = self._decoder.fill_rows(rows, [sequence.prompt for sequence in new], capacity, self.max_rows)
        self._changed = True
        first = Drawing(new, self.tokenizer.vocab_size).draw(logits[:, : self.tokenizer.vocab_size])
        draws = {**dict(enumerate(drawn)), **dict(zip(rows, first, strict=True))}
        return [draws[row] for row in range(len(self._rows))]


def _room_for_cache(device: torch.device) -> int:
    """Return the bytes that keys and values may take."""
    if device.type != "cuda":
        return LARGEST_CACHE
    return torch.cuda.get_device_properties(device).total_memory // 4


@contextlib.contextmanager
def _any_kernel(device: torch.device) -> Iterator[None]:
    """Let kernels run whose last bits may differ from one call to the next.

    A run that asks PyTorch for deterministic kernels alone also writes samples, and PyTorch has no
    such kernel for the cumulative sums that a draw needs on a GPU. It would raise an error.
    """
    if device.type != "cuda" or not torch.are_deterministic_algorithms_enabled():
        yield
        return
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=warn_only)
