"""Finds a text in token shards without decoding them.

A text that is looked for lies in one token, or it begins in one token and goes on in the next. For
each entry of the vocabulary it is known which beginnings of the text it ends with, and which rests
of the text it can go on with. Two masks of bits hold that, so a pair of neighbours can begin the
text if their masks share a bit. Whole shards are looked at in this way, and only what passes is
decoded. A blank in the text stands for any single white space, because lines of books are broken
anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gpt_research.base.errors import UserError, require
from gpt_research.data.documents import Document, Documents, Place
from gpt_research.data.tokenizer import Tokenizer

LONGEST = 200
"""Characters of a text that is looked for."""
FILTERED = 60
"""Its first bytes, by which pairs of tokens are chosen: a mask has 64 bits."""
CHUNK = 1 << 20
"""Tokens that are looked at together."""
AROUND = 48
"""Tokens of text shown before and after a match."""
_UPPER, _BLANK = bytes(range(65, 91)), b"\n\t\r\x0b\x0c"
_BLANKS = bytes.maketrans(_BLANK, b" " * len(_BLANK))
_SMALL = bytes.maketrans(_UPPER + _BLANK, _UPPER.lower() + b" " * len(_BLANK))


@dataclass(frozen=True)
class Match:
    """A place where the text stands."""

    document: Document
    token: int
    """The token of the document in which the match begins."""
    before: str
    match: str
    after: str


@dataclass(frozen=True)
class Found:
    """What a search has found so far."""

    matches: list[Match]
    cursor: tuple[int, int] | None
    """Where to go on: the number of the shard among those that are searched, and a token; None at
    the end."""
    searched: float
    """Share of the tokens that were looked at."""


class Pattern:
    """A text to look for, in one vocabulary."""

    def __init__(self, text: str, tokenizer: Tokenizer, *, exact_case: bool = False) -> None:
        """Prepare the masks.

        Args:
            exact_case: False takes small and capital letters as the same.

        Raises:
            UserError: the text is empty or too long.
        """
        require(0 < len(text) <= LONGEST, "The text to look for", text[:40], f"1 to {LONGEST} characters")
        self._table = _BLANKS if exact_case else _SMALL
        text = tokenizer.prepared(text)
        forms = [text] if exact_case else [text, text.lower(), text.upper(), text.capitalize(), text.title()]
        # Outside of ASCII a letter and its capital are other bytes, so each form is looked for.
        self.forms = list(dict.fromkeys(form.encode("utf-8", "replace").translate(self._table) for form in forms))
        self._tokens = [token.translate(self._table) for token in tokenizer.vocabulary.tokens]
        for special in tokenizer.vocabulary.specials.values():
            self._tokens[special] = b""  # text never reaches over the end of a document
        self.masks = [self._masks(form[:FILTERED]) for form in self.forms]

    def _masks(self, text: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return for each token: whether it holds the text, which beginnings of the text it ends
        with, and which rests of it it begins with or is the beginning of.
        """
        size = len(self._tokens)
        holds, ends, goes_on = np.zeros(size, bool), np.zeros(size, np.uint64), np.zeros(size, np.uint64)
        for number, token in enumerate(self._tokens):
            if not token:
                continue
            holds[number] = text in token
            starts, begins = 0, 0
            for k in range(1, len(text)):
                starts |= token.endswith(text[:k]) << k
                begins |= (token.startswith(text[k:]) or text.startswith(token, k)) << k
            ends[number], goes_on[number] = starts, begins
        return holds, ends, goes_on

    def candidates(self, tokens: np.ndarray) -> np.ndarray:
        """Return the places in `tokens` (n,) at which a match may begin; the last token counts only
        if it holds the whole text.
        """
        chosen = np.zeros(len(tokens), bool)
        for holds, ends, goes_on in self.masks:
            chosen |= holds[tokens]
            chosen[:-1] |= (ends[tokens[:-1]] & goes_on[tokens[1:]]) != 0
        return np.flatnonzero(chosen)

    def find(self, tokens: Sequence[int]) -> tuple[int, int] | None:
        """Return first byte and length of the first match that begins in the first of `tokens`."""
        first = len(self._tokens[tokens[0]])
        content = bytearray()
        longest = max(map(len, self.forms))
        for token in tokens:
            if not self._tokens[token] or len(content) >= first + longest:
                break
            content += self._tokens[token]
        found = [(at, len(form)) for form in self.forms if 0 <= (at := content.find(form)) < first]
        return min(found, default=None)


def search(
    documents: Documents,
    tokenizer: Tokenizer,
    pattern: Pattern,
    places: Sequence[Place],
    *,
    cursor: tuple[int, int] = (0, 0),
    limit: int = 20,
    seconds: float = 1.0,
) -> Found:
    """Look for a text in the shards at `places`, from `cursor` on.

    The search pauses once it has `limit` matches or has taken about `seconds`.

    Raises:
        UserError: a shard or an index cannot be read.
    """
    sizes = [documents.shards(corpus, split)[shard].tokens for corpus, split, shard in places]
    total, until = sum(sizes), time.monotonic() + seconds
    matches: list[Match] = []
    number, token = cursor
    while number < len(places):
        for at in _in_shard(documents, tokenizer, pattern, places[number], token, sizes[number]):
            if isinstance(at, Match):
                matches.append(at)
                token = at.document.start + at.token + 1
            else:
                token = at
            if len(matches) >= limit or time.monotonic() > until:
                searched = (sum(sizes[:number]) + token) / total
                return Found(matches, (number, token), min(searched, 1.0))
        number, token = number + 1, 0
    return Found(matches, None, 1.0)


def _in_shard(
    documents: Documents, tokenizer: Tokenizer, pattern: Pattern, place: Place, begin: int, size: int
) -> Iterator[Match | int]:
    """Yield the matches in a shard from a token on, and after each chunk the token reached."""
    longest = max(map(len, pattern.forms))
    while begin < size:
        end = min(begin + CHUNK, size)
        # A match that begins in this chunk may end after it; a token has at least one byte.
        tokens = documents.shard_tokens(place, begin, min(end + longest, size))
        if len(tokens) < end - begin:
            raise UserError(f"The shard {place[2]} of {place[0]} ({place[1]}) is too short. Run preprocessing again.")
        for at in pattern.candidates(tokens[: end - begin + 1]).tolist():
            if at < end - begin and (found := pattern.find(tokens[at : at + longest + 1].tolist())) is not None:
                yield _match(documents, tokenizer, place, begin + at, *found)
        begin = end
        yield begin


def _match(documents: Documents, tokenizer: Tokenizer, place: Place, token: int, offset: int, length: int) -> Match:
    document = documents.containing(place, token)
    inside = token - document.start
    first = max(0, inside - AROUND)
    before = tokenizer.decode_bytes(documents.tokens(document, first, inside - first).tolist())
    rest = tokenizer.decode_bytes(documents.tokens(document, inside, length + 1 + AROUND).tolist())
    parts = before + rest[:offset], rest[offset : offset + length], rest[offset + length :]
    # The first and the last character may be cut.
    texts = [part.decode("utf-8", "replace").strip("�") for part in parts]
    return Match(document, inside, texts[0], texts[1], texts[2][: 4 * AROUND])
