"""FineWeb's quality rules (Penedo et al. 2024, "The FineWeb datasets", section 3.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpt_research.preprocessing.filters import compiled
from gpt_research.preprocessing.filters.characters import table
from gpt_research.preprocessing.filters.filter import Rules, Texts, Verdict, share


@dataclass(frozen=True)
class FineWeb:
    """Leaves out texts that are lists or menus, and texts whose lines repeat."""

    line_punct_thr: float = 0.12
    """Least lines that end in a mark that ends a sentence."""
    short_line_thr: float = 0.67
    """Most short lines."""
    short_line_length: int = 30
    """Characters of a short line, at most."""
    char_duplicates_ratio: float = 0.01
    """Most characters in lines that are copies of an earlier one of the text."""
    new_line_ratio: float = 0.3
    """Most line breaks for each word."""

    def judge(self, texts: Texts) -> Verdict:
        rules = Rules(len(texts))
        counts, copied = np.empty((len(texts), 5), dtype=np.int64), np.empty(len(texts), dtype=np.int64)
        compiled.count_lines(*texts.utf8, table(), self.short_line_length, counts)
        compiled.count_copied_lines(*texts.utf8, table(), copied)
        lines, closed, short, characters, breaks = counts.T
        rules.check("empty", lines == 0)
        rules.least("line_punct_ratio", share(closed, lines), self.line_punct_thr)
        rules.most("short_line_ratio", share(short, lines), self.short_line_thr)
        rules.most("char_dup_ratio", share(copied, characters), self.char_duplicates_ratio)
        rules.most("list_ratio", share(breaks, texts.word_counts), self.new_line_ratio)
        return rules.verdict()
