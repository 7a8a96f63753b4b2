"""C4's rule of bad words, with a list that the user names. No list comes with this project."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.filters.filter import Texts, Verdict


@dataclass(frozen=True)
class BadWords:
    """Leaves out texts that have a word of a list, in any case, between characters of no word."""

    FILES: ClassVar = ("words",)

    words: str = ""
    """File with one word or phrase on each line."""

    def __post_init__(self) -> None:
        if not self.words:
            raise UserError("bad_words needs a list: bad_words(words=FILE), with one word or phrase on each line.")
        if not Path(self.words).is_file():
            raise UserError(f"bad_words: there is no file {self.words}. Name a list: bad_words(words=FILE).")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        lines = Path(self.words).read_text(encoding="utf-8", errors="replace").splitlines()
        words = sorted({line.strip().lower() for line in lines if line.strip()})
        if not words:
            raise UserError(f"bad_words: {self.words} has no word. Write one word or phrase on each line.")
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)")

    def judge(self, texts: Texts) -> Verdict:
        pattern = self._pattern
        found = (row for row, text in enumerate(texts.strings()) if pattern.search(text.lower()))
        return Verdict(dict.fromkeys(found, "listed"))
