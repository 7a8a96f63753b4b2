"""Gopher's quality rules (Rae et al. 2021, "Scaling language models", table A1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.filters import compiled
from gpt_research.preprocessing.filters.characters import table
from gpt_research.preprocessing.filters.filter import Rules, Texts, Verdict, hashes_of, share

STOP_WORDS = "the be to of and that have with"
_MOST_STOP_WORDS = 64


@dataclass(frozen=True)
class GopherQuality:
    """Leaves out texts that are too short or too long, or hardly prose."""

    min_doc_words: int = 50
    """Least words that are more than marks."""
    max_doc_words: int = 100_000
    """Most of these words."""
    min_avg_word_length: float = 3
    """Least mean length of these words, in characters."""
    max_avg_word_length: float = 10
    """Most mean length."""
    max_symbol_word_ratio: float = 0.1
    """Most "#", and most ellipses, for each word."""
    max_bullet_lines_ratio: float = 0.9
    """Most lines that begin with a bullet."""
    max_ellipsis_lines_ratio: float = 0.3
    """Most lines that end in an ellipsis."""
    max_non_alpha_words_ratio: float = 0.8
    """Least words that have a letter. (datatrove's name for it.)"""
    min_stop_words: int = 2
    """Least different stop words."""
    stop_words: str = STOP_WORDS
    """The stop words, with blanks between them."""

    def __post_init__(self) -> None:
        if not 0 < len(self.stop_words.split()) <= _MOST_STOP_WORDS:
            raise UserError(f"gopher_quality: stop_words has {len(self.stop_words.split())} words, but it must have "
                            f"1 to {_MOST_STOP_WORDS}.")  # fmt: skip

    def judge(self, texts: Texts) -> Verdict:
        words, rules = texts.words, Rules(len(texts))
        count, whole = words.lasts - words.firsts, words.of_each(words.whole)
        signs, stop_words = np.empty((len(texts), 5), dtype=np.int64), np.empty(len(texts), dtype=np.int64)
        compiled.count_signs(*texts.utf8, table(), signs)
        hashes, ellipses, lines, bullets, trailing = signs.T
        rules.least("short_doc", whole, self.min_doc_words)
        rules.most("long_doc", whole, self.max_doc_words)
        length = share(words.of_each(words.whole_characters), whole)
        rules.least("below_avg_threshold", length, self.min_avg_word_length)
        rules.most("above_avg_threshold", length, self.max_avg_word_length)
        rules.most("too_many_hashes", share(hashes, count), self.max_symbol_word_ratio)
        rules.most("too_many_ellipsis", share(ellipses, count), self.max_symbol_word_ratio)
        rules.most("too_many_bullets", share(bullets, lines), self.max_bullet_lines_ratio)
        rules.most("too_many_end_ellipsis", share(trailing, lines), self.max_ellipsis_lines_ratio)
        letters = share(words.of_each(words.letters), count)
        rules.least("below_alpha_threshold", letters, self.max_non_alpha_words_ratio)
        if self.min_stop_words:
            wanted = hashes_of(sorted(set(self.stop_words.split())))
            compiled.count_different(words.hashes, words.firsts, words.lasts, wanted, stop_words)
            rules.least("too_few_stop_words", stop_words, self.min_stop_words)
        return rules.verdict()
