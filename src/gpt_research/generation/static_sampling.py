"""Sampling with fixed shapes: the settings of each row are numbers on the device.

`sampling.choose` asks the device how many tokens a nucleus has, and takes the rows of other
settings one group after another. Here all rows are computed alike and nothing is asked, so that a
GPU can record the operations. The tokens are the same.

Shapes: B rows, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from gpt_research.config import GenerateConfig
from gpt_research.generation.sampling import draw, keep_min_p, penalise_repetition, smallest_of_nucleus


@dataclass(frozen=True)
class Work:
    """What `RowSettings.choose` has to compute, because the settings of some row ask for it."""

    penalty: bool
    greedy: bool
    drawn: bool
    top_k: int
    """The size of the largest top-k, rounded up to a power of two; 0 if there is none."""
    nucleus: int
    """The number of likeliest tokens among which every nucleus lies; 0 if there is no top-p."""
    min_p: bool

    @classmethod
    def of(cls, settings: Iterable[GenerateConfig], vocab_size: int) -> Work:
        """Return the work for rows with these settings."""
        settings = list(settings)
        drawn = [own for own in settings if own.temperature > 0]
        sizes = [own.top_k for own in drawn if 0 < own.top_k < vocab_size]
        top_k = power_of_two(max(sizes), at_most=vocab_size) if sizes else 0
        nuclei = [own for own in drawn if own.top_p < 1]
        # What top-k left has no more tokens than its k, but for equally likely ones, and those are
        # kept or removed together. So a row with a top-k needs no larger sort.
        all_have_top_k = all(0 < own.top_k < vocab_size for own in nuclei)
        return cls(
            penalty=any(own.repetition_penalty != 1 for own in settings),
            greedy=len(drawn) < len(settings),
            drawn=bool(drawn),
            top_k=top_k,
            nucleus=0 if not nuclei else top_k if all_have_top_k else vocab_size,
            min_p=any(own.min_p > 0 for own in drawn),
        )


def power_of_two(number: int, *, at_most: int) -> int:
    """Return the smallest power of two that is not below `number`, or `at_most` if that is
    less.
    """
    return min(1 << (number - 1).bit_length(), at_most)


class RowSettings:
    """The settings of each row, as columns (B, 1) on the device."""

    NUMBERS = 6
    """Numbers that `of` returns for a row."""

    def __init__(self, rows: int, device: torch.device) -> None:
        """Make columns that change nothing: temperature 1 and no filter."""
        self.greedy = torch.zeros(rows, dtype=torch.bool, device=device)  # (B,)
        self.temperature = torch.ones(rows, 1, device=device)
        self.top_k = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self.top_p = torch.ones(rows, 1, dtype=torch.float64, device=device)
        self.min_p = torch.zeros(rows, 1, device=device)
        self.penalty = torch.ones(rows, 1, device=device)

    @staticmethod
    def of(settings: GenerateConfig, vocab_size: int) -> list[float]:
        """Return the settings of one row as numbers, for `load`."""
        return [
            float(settings.temperature == 0),
            settings.temperature or 1.0,
            settings.top_k if settings.top_k < vocab_size else 0,
            settings.top_p,
            settings.min_p,
            settings.repetition_penalty,
        ]

    def load(self, numbers: torch.Tensor) -> None:
        """Take over the numbers of the first rows, (B' <= B, NUMBERS) in float64."""
        greedy, *columns = numbers.split(1, dim=1)
        self.greedy[: len(numbers)] = greedy[:, 0] > 0
        own = (self.temperature, self.top_k, self.top_p, self.min_p, self.penalty)
        for column, values in zip(own, columns, strict=True):
            column[: len(numbers)] = values

    def choose(
        self, logits: torch.Tensor, work: Work, uniforms: torch.Tensor, seen: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the token of each row, (B,), that `choose` returns for it.

        Args:
            logits, uniforms, seen: as `choose` takes them.
            work: at least what the settings of the rows ask for. Rows that ask for less than `work`
                are not changed by the rest.
        """
        if work.penalty:
            assert seen is not None, "a repetition penalty needs the tokens of each text"
            logits = penalise_repetition(logits, seen, self.penalty)
        likeliest = logits.argmax(-1) if work.greedy else None
        if likeliest is not None and not work.drawn:
            return likeliest
        logits = logits / self.temperature
        if work.top_k:
            ordered = logits.topk(work.top_k).values
            # Rows whose token is of no use, such as those that have ended, may have a larger top-k.
            smallest = ordered.gather(-1, (self.top_k - 1).clamp(0, work.top_k - 1))
            logits = logits.masked_fill((logits < smallest) & (self.top_k > 0), -torch.inf)
        if work.nucleus:
            probabilities = logits.softmax(-1)
            ordered = probabilities.topk(work.nucleus).values
            smallest = smallest_of_nucleus(ordered, ordered.cumsum(-1, dtype=torch.float64), self.top_p)
            logits = logits.masked_fill((probabilities < smallest) & (self.top_p < 1), -torch.inf)
        if work.min_p:
            logits = keep_min_p(logits, self.min_p)
        drawn = draw(logits, uniforms)
        return drawn if likeliest is None else torch.where(self.greedy, likeliest, drawn)
