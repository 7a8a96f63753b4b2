"""Completions and conversations as tokens, with a mark at each token that is to be learnt; and rows
into which several of them are packed.

    complete   prompt completion <|endoftext|>            learnt: the completion and its end
    chat       the chat format (`data.chat_format`)       learnt: the answers and their ends

A row of packed examples is computed at once, but no token attends to another example, and each
example has the positions that it would have alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from gpt_research.base.errors import UserError
from gpt_research.base.seeds import seed_for
from gpt_research.data.chat_format import encoded_turns
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.finetuning.examples import Example


@dataclass(frozen=True)
class TextExample:
    """One example: N tokens and their targets."""

    tokens: np.ndarray
    """(N,) int64."""
    targets: np.ndarray
    """(N,) int64: the next token if it is to be learnt, else -1."""
    cut: bool


class TextForm:
    """Makes tokens of the examples of complete or chat."""

    def __init__(self, task: str, tokenizer: Tokenizer, context: int) -> None:
        self.task, self.tokenizer, self.context = task, tokenizer, context

    def example(self, example: Example) -> TextExample:
        """Return the tokens of an example, cut to the context: a prompt loses its beginning, a
        conversation its oldest messages.

        Raises:
            UserError: the answer does not fit the context, or has a character that the
                vocabulary lacks.
        """
        try:
            parts = self._completion(example) if self.task == "complete" else self._conversation(example)
        except UserError as error:
            raise UserError(f"{example.where}: {error}") from None
        whole, room = sum(len(tokens) for tokens, _ in parts), self.context + 1
        kept = list(parts)
        if self.task == "chat":
            first = 1 if example.turns[0].role == "system" else 0
            # At least one message before the last answer stays.
            while sum(len(tokens) for tokens, _ in kept) > room and len(kept) > 2 * (first + 2):
                del kept[2 * first : 2 * first + 2]
        over = sum(len(tokens) for tokens, _ in kept) - room
        if over > 0:
            if self.task == "chat" or over >= len(kept[0][0]):
                raise UserError(
                    f"{example.where}: its answer does not fit the context of {self.context} tokens beside what it "
                    "answers. Shorten it, or leave the row out."
                )
            kept[0] = (kept[0][0][over:], False)
        tokens = np.array([token for part, _ in kept for token in part], np.int64)
        learnt = np.array([is_learnt for part, is_learnt in kept for _ in part], bool)
        if not learnt[1:].any():
            raise UserError(f"{example.where}: no answer is left in the context of {self.context} tokens. Shorten it.")
        return TextExample(tokens[:-1], np.where(learnt[1:], tokens[1:], -1), len(tokens) < whole)

    def _completion(self, example: Example) -> list[tuple[list[int], bool]]:
        prompt, completion = (self.tokenizer.encode(text) for text in example.texts)
        return [(prompt, False), ([*completion, self.tokenizer.end_of_text], True)]

    def _conversation(self, example: Example) -> list[tuple[list[int], bool]]:
        turns = [(turn.role, turn.content) for turn in example.turns]
        parts: list[tuple[list[int], bool]] = []
        for (role, _), (header, content) in zip(turns, encoded_turns(self.tokenizer, turns), strict=True):
            parts += [(header, False), (content, role == "assistant")]
        return parts


def packed(lengths: Sequence[int], context: int, seed: int) -> list[list[int]]:
    """Return rows of examples whose tokens fit the context together: in an order that is drawn,
    each goes to the row in which it leaves the least room.
    """
    order = np.random.default_rng(seed_for(seed, "packing")).permutation(len(lengths))
    rows: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    for number in order.tolist():
        length = lengths[number]
        room = next((room for room in range(length, context) if by_room.get(room)), None)
        if room is None:
            rows.append([])
            row, room = len(rows) - 1, context
        else:
            row = by_room[room].pop()
        rows[row].append(number)
        by_room.setdefault(room - length, []).append(row)
    return rows


class PackedBatch(NamedTuple):
    """R rows of packed examples, padded on the right to T."""

    tokens: torch.Tensor
    """(R, T) int64."""
    targets: torch.Tensor
    """(R, T) int64; -1 does not count."""
    positions: torch.Tensor
    """(R, T) int64: the place of a token in its example."""
    owners: torch.Tensor
    """(R, T) int64: the number of its example in the row, -1 for padding; empty if each row holds
    one example, for which causality is enough."""


def packed_batch(rows: Sequence[Sequence[TextExample]]) -> PackedBatch:
    """Return rows of examples as one batch."""
    longest = max(sum(len(example.tokens) for example in row) for row in rows)
    tokens, positions = np.zeros((2, len(rows), longest), np.int64)
    targets, owners = np.full((2, len(rows), longest), -1, np.int64)
    for number, row in enumerate(rows):
        begin = 0
        for owner, example in enumerate(row):
            end = begin + len(example.tokens)
            tokens[number, begin:end], targets[number, begin:end] = example.tokens, example.targets
            positions[number, begin:end], owners[number, begin:end] = np.arange(end - begin), owner
            begin = end
    if all(len(row) == 1 for row in rows):
        owners = owners[:, :0]
    return PackedBatch(*(torch.from_numpy(array).contiguous() for array in (tokens, targets, positions, owners)))
