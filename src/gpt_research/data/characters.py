"""The encoder of a vocabulary of single characters (`vocabulary.CharacterVocabulary`).

It looks characters up, many texts at once, and refuses a character that the vocabulary lacks, with
a message that names it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from gpt_research.base.errors import UserError

_SHOWN = 40
"""Characters of the vocabulary that a message lists."""


class UnknownCharacterError(UserError):
    """A text has a character that the vocabulary lacks."""

    def __init__(self, message: str, character: str) -> None:
        super().__init__(message)
        self.character = character
        """The character with its code point and name, for messages."""


class CharacterEncoder:
    """Looks up the id of each character of texts, many texts at once."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        """Take the id of each character."""
        self._characters = ids

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of texts one after the other, (m,) int64, and counts (n,) int64.

        Raises:
            UnknownCharacterError: a text has a character that is not in the vocabulary.
            UnicodeEncodeError: a text has a surrogate.
        """
        codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype="<u4")
        known = codes < len(self._ids)
        ids = self._ids[np.where(known, codes, 0)]
        missing = ~known | (ids < 0)
        if missing.any():
            raise self._unknown(chr(codes[missing.argmax()]))
        return ids, np.fromiter(map(len, texts), np.int64, len(texts))

    def known_part(self, text: str) -> str:
        """Return the characters of `text` that are in the vocabulary."""
        return "".join(filter(self._characters.__contains__, text))

    @cached_property
    def _ids(self) -> np.ndarray:
        """The id of each code point, or -1; up to the largest one of the vocabulary."""
        ids = np.full(max(map(ord, self._characters), default=0) + 1, -1, dtype=np.int64)
        for character, index in self._characters.items():
            ids[ord(character)] = index
        return ids

    def _unknown(self, character: str) -> UnknownCharacterError:
        name = unicodedata.name(character, "")
        shown = "".join(sorted(self._characters))
        listed = repr(shown[:_SHOWN])[1:-1] + (" ..." if len(shown) > _SHOWN else "")
        described = f"{character!r} (U+{ord(character):04X}{', ' + name if name else ''})"
        return UnknownCharacterError(
            f"The tokenizer knows {len(shown)} characters ({listed}), and {described} is not one of them. Leave that "
            "character out, or use a model with a tokenizer that knows all text (preprocess with --tokenizer gpt2 or "
            "train).",
            described,
        )
