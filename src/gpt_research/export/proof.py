"""The proof of an export: another program reads it and must compute what our model computes.

On one passage of real text, the other program must cut the text into the same tokens, give every
next token the same log-probability within the format's bound, and continue the text greedily with
the same tokens. A different token passes only if it is a tie: our log-probabilities of the two
tokens differ by less than four times the largest difference just measured. (Both log-probabilities
are off, and at this token perhaps by a little more.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from gpt_research.base.errors import UserError, not_finite
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.model.gpt import GPT

PASSAGE = (
    "Call me Ishmael. Some years ago\u2014never mind how long precisely\u2014having little or no money in my "
    "purse, and nothing particular to interest me on shore, I thought I would sail about a little and see "
    "the watery part of the world. It is a way I have of driving off the spleen, and regulating the "
    "circulation.\n\n"
    "    def whale(n): return [2 ** i for i in range(n)]  # 1851, 24% off\n\n"
    "\u00ab Qu\u2019est-ce que c\u2019est ? \u00bb  Stra\u00dfe, na\u00efve caf\u00e9s, \u041a\u0438\u0442, "
    "\u767d\u9be8\u3068\u6d77, \U0001f40b\U0001f30a. It's 3 o'clock; they'll sail, we've time.\t The end "
)
"""Prose (Melville 1851), code, digits, several scripts and odd spaces."""

PASSAGE_TOKENS = 128
"""Tokens of the passage that are compared."""
PROMPT_TOKENS = 16
NEW_TOKENS = 24
"""Tokens of the prompt of the greedy comparison, and of its continuation."""
CONTEXT = 256
"""Tokens that a program needs room for; keys and values of a long context would fill gigabytes."""


@dataclass(frozen=True)
class Bound:
    """How far another program's log-probabilities may be from ours."""

    largest: float
    """Largest difference over tokens and positions, as a share of our standard deviation."""
    divergence: float
    """Kullback-Leibler divergence from ours in nats, the mean over positions."""


BOUNDS = {
    "f32": Bound(1e-3, 1e-6),
    "f16": Bound(5e-2, 1e-4),
    "bf16": Bound(4e-1, 4e-3),
    "q8_0": Bound(1.0, 2e-2),
}
"""At least six times the error of rounding (docs/export.md); a wrong tensor exceeds it by far."""


@dataclass(frozen=True)
class Proof:
    """What was measured."""

    reader: str
    positions: int
    """Positions at which the whole distribution was compared."""
    largest: float
    """In the units of `Bound.largest`."""
    divergence: float
    new_tokens: int
    """Greedy tokens that were equal."""
    tied: bool = False
    """The greedy continuations differ from a tie on."""

    def __str__(self) -> str:
        tie = ", then a tie" if self.tied else ""
        return (
            f"{self.reader}: log-probabilities within {self.largest:.1e} of their spread, "
            f"divergence {self.divergence:.1e} nats at {self.positions} places; "
            f"{self.new_tokens} greedy tokens equal{tie}"
        )


class Reader(Protocol):
    """A program that has loaded a model."""

    name: str

    def encode(self, text: str) -> list[int]: ...

    def log_probs(self, tokens: list[int]) -> tuple[list[int], torch.Tensor]:
        """Return some positions (P,) and the log-probabilities (P, V) of the token after each."""
        ...

    def greedy(self, tokens: list[int], count: int) -> list[int]:
        """Return up to `count` greedy next tokens, until the context or the text ends."""
        ...


class OurReader:
    """Our own program, with the run's weights or with weights read back from a file."""

    def __init__(self, model: GPT, tokenizer: Tokenizer, name: str = "gpt-research") -> None:
        self.name = name
        self.model = model.eval()
        self.tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    @torch.no_grad()
    def log_probs(self, tokens: list[int]) -> tuple[list[int], torch.Tensor]:
        logits = self.model(torch.tensor([tokens]))[0].float()
        return list(range(len(tokens))), logits.log_softmax(-1)

    def greedy(self, tokens: list[int], count: int) -> list[int]:
        new: list[int] = []
        room = self.model.config.block_size - len(tokens)
        while len(new) < min(count, room) and new[-1:] != [self.tokenizer.end_of_text]:
            new.append(int(self.log_probs(tokens + new)[1][-1].argmax()))
        return new


@dataclass(frozen=True)
class Expected:
    """What our model says of a text. Once it is known, the model's memory can go to others."""

    text: str
    ids: list[int]
    """Tokens of the text."""
    tokens: list[int]
    """Those that are compared, P."""
    log_probs: torch.Tensor
    """Of the token after each, (P, V)."""
    prompt: list[int]
    greedy: list[int]
    """The greedy continuation of the prompt, N tokens."""
    choices: torch.Tensor
    """The log-probabilities of each of them, (N, V)."""

    @classmethod
    def of(cls, ours: OurReader, text: str = PASSAGE) -> Expected:
        """Ask our model.

        Raises:
            UserError: the text is empty, or our model's output is not finite.
        """
        ids = ours.encode(text)
        tokens = ids[: min(PASSAGE_TOKENS, ours.model.config.block_size)]
        if not tokens:
            raise UserError("The text to check the export with is empty. Name another with --text.")
        log_probs = ours.log_probs(tokens)[1]
        if not log_probs.isfinite().all():
            raise not_finite("no other program can be compared with it")
        prompt = tokens[: min(PROMPT_TOKENS, max(1, len(tokens) // 2))]
        greedy = ours.greedy(prompt, NEW_TOKENS)
        # One pass gives the choices at all places, because a token sees only what is before it.
        rows = ours.log_probs((prompt + greedy)[:-1])[1][len(prompt) - 1 :] if greedy else log_probs[:0]
        return cls(text, ids, tokens, log_probs, prompt, greedy, rows)


def prove_all(
    model: GPT, tokenizer: Tokenizer, readers: Iterator[tuple[Reader, Bound]], text: str = PASSAGE
) -> list[Proof]:
    """Compare each of the programs, one after another, with our model on `text`.

    Characters that the vocabulary does not know are left out of the text first. The model loses its
    weights, because the programs load them again, and a large model fits the memory only once.

    Raises:
        UserError: as `compare` and `Expected.of` do.
    """
    if text:
        # A vocabulary of characters may know none of the text; then all that it has are compared.
        text = tokenizer.known_part(text) or tokenizer.decode(range(tokenizer.vocab_size))
    expected = Expected.of(OurReader(model, tokenizer), text)
    model.to("meta")
    if model.config.tie_weights:  # each use of a tied weight has become a tensor of its own
        model.head.weight = model.token_embedding.weight
    proofs = []
    for reader, bound in readers:
        proofs.append(compare(expected, reader, bound))
        del reader  # before the next one loads the weights
    return proofs


def prove(ours: OurReader, other: Reader, bound: Bound, text: str = PASSAGE) -> Proof:
    """Compare another program with our model on `text`.

    Raises:
        UserError: as `compare` and `Expected.of` do.
    """
    return compare(Expected.of(ours, text), other, bound)


def compare(expected: Expected, other: Reader, bound: Bound) -> Proof:
    """Compare what another program says with what our model said.

    Raises:
        UserError: they differ by more than the bound, and the message says where and by how much.
    """
    ids = other.encode(expected.text)
    if ids != expected.ids:
        pairs = enumerate(zip(expected.ids, ids, strict=False))
        first = next((i for i, (a, b) in pairs if a != b), min(len(ids), len(expected.ids)))
        raise _refusal(other, f"it cuts text into other tokens (from token {first} of {len(expected.ids)} on)")
    positions, theirs = other.log_probs(expected.tokens)
    ours = expected.log_probs[positions]
    if theirs.shape != ours.shape:
        raise _refusal(other, f"its vocabulary has {theirs.shape[-1]} entries, not {ours.shape[-1]}")
    spread = float(ours.std(dim=-1).mean()) or 1.0  # a vocabulary of one token has no spread
    largest = float((theirs - ours).abs().max()) / spread
    divergence = float((ours.exp() * (ours - theirs)).sum(-1).mean())
    # The comparisons are written so that NaN fails.
    if not (largest <= bound.largest and abs(divergence) <= bound.divergence):
        raise _refusal(
            other,
            f"log-probabilities differ by {largest:.1e} of their spread (allowed {bound.largest:.0e}), "
            f"divergence {divergence:.1e} nats (allowed {bound.divergence:.0e})",
        )
    agreed, tied = _compare_greedy(expected, other, 4 * largest * spread)
    return Proof(other.name, len(positions), largest, divergence, agreed, tied)


def _compare_greedy(expected: Expected, other: Reader, tie: float) -> tuple[int, bool]:
    """Return the number of equal greedy tokens, and whether a tie ended the comparison."""
    theirs = other.greedy(expected.prompt, NEW_TOKENS)
    parted = _first_difference(expected.greedy, theirs)
    if parted is None:
        return len(expected.greedy), False
    choices = expected.choices[parted : parted + 1]
    if len(choices) and parted < len(theirs) and float(choices.max() - choices[0, theirs[parted]]) <= tie:
        return parted, True
    raise _refusal(other, f"its greedy continuation parts at token {parted} of {len(expected.greedy)}")


def _first_difference(expected: Sequence[int], theirs: Sequence[int]) -> int | None:
    if list(expected) == list(theirs):
        return None
    pairs = zip(expected, theirs, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(theirs)))


def _refusal(other: Reader, what: str) -> UserError:
    return UserError(
        f"The export was not written: read back by {other.name}, it does not compute what the run computes: "
        f"{what}. Choose a finer --dtype, or report this."
    )
