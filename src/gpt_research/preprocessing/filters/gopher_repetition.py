"""Gopher's repetition rules (Rae et al. 2021, "Scaling language models", table A1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpt_research.preprocessing.filters import compiled
from gpt_research.preprocessing.filters.characters import table
from gpt_research.preprocessing.filters.filter import Rules, Texts, Verdict, share

_TOPS, _COPIES = np.arange(2, 5), np.arange(5, 11)


@dataclass(frozen=True)
class GopherRepetition:
    """Leaves out texts that say the same again and again."""

    dup_para_frac: float = 0.3
    """Most paragraphs that are copies of an earlier one of the text."""
    dup_para_char_frac: float = 0.2
    """Most characters in such paragraphs."""
    dup_line_frac: float = 0.3
    """Most lines that are copies of an earlier one of the text."""
    dup_line_char_frac: float = 0.2
    """Most characters in such lines."""
    top_2_gram: float = 0.20
    """Most characters in the most frequent two words in a row."""
    top_3_gram: float = 0.18
    """The same of three words."""
    top_4_gram: float = 0.16
    """The same of four."""
    duplicated_5_n_grams: float = 0.15
    """Most characters in five words in a row that were there before."""
    duplicated_6_n_grams: float = 0.14
    """The same of six words."""
    duplicated_7_n_grams: float = 0.13
    """The same of seven."""
    duplicated_8_n_grams: float = 0.12
    """The same of eight."""
    duplicated_9_n_grams: float = 0.11
    """The same of nine."""
    duplicated_10_n_grams: float = 0.10
    """The same of ten."""

    def judge(self, texts: Texts) -> Verdict:
        words, rules = texts.words, Rules(len(texts))
        counts = np.empty((len(texts), 7 + len(_TOPS) + len(_COPIES)), dtype=np.int64)
        compiled.count_repeated(
            *(*texts.utf8, table(), words.firsts, words.lasts, words.characters, words.hashes, words.sums, words.undo),
            *(_TOPS, _COPIES, counts),
        )
        characters, paragraphs, copies, copied, lines, line_copies, lines_copied, *in_a_row = counts.T
        rules.most("dup_para_frac", share(copies, paragraphs), self.dup_para_frac)
        rules.most("dup_para_char_frac", share(copied, characters), self.dup_para_char_frac)
        rules.most("dup_line_frac", share(line_copies, lines), self.dup_line_frac)
        rules.most("dup_line_char_frac", share(lines_copied, characters), self.dup_line_char_frac)
        names = [*(f"top_{n}_gram" for n in _TOPS), *(f"duplicated_{n}_n_grams" for n in _COPIES)]
        for name, repeated in zip(names, in_a_row, strict=True):
            rules.most(name, share(repeated, characters), getattr(self, name))
        return rules.verdict()
