"""C4's quality rules (Raffel et al. 2020, "Exploring the limits of transfer learning")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpt_research.preprocessing.filters import compiled
from gpt_research.preprocessing.filters.characters import table
from gpt_research.preprocessing.filters.filter import Rules, Texts, Verdict, sentence_counts
from gpt_research.preprocessing.text.arrow import joined


@dataclass(frozen=True)
class C4:
    """Keeps the lines that read like prose, and the texts that have enough of them.

    This filter changes texts: it removes lines and marks of citations.
    """

    remove_citations: bool = True
    """Take "[1]", "[edit]" and "[citation needed]" out."""
    filter_no_terminal_punct: bool = True
    """Remove lines that do not end in . ? ! or a quotation mark. FineWeb has this off."""
    min_num_sentences: int = 5
    """Least sentences of a text, in the lines that are kept."""
    min_words_per_line: int = 3
    """Remove lines of fewer words."""
    max_word_length: int = 1000
    """Remove lines with a longer word, in characters."""
    filter_lorem_ipsum: bool = True
    """Leave out texts with "lorem ipsum"."""
    filter_javascript: bool = True
    """Remove lines with "javascript"."""
    filter_curly_bracket: bool = True
    """Leave out texts with "{"."""
    filter_policy: bool = True
    """Remove lines about cookies, privacy policies and terms of use."""

    def judge(self, texts: Texts) -> Verdict:
        data, bounds = texts.utf8
        choices = np.array([self.remove_citations, self.filter_no_terminal_punct, self.filter_lorem_ipsum,
                            self.filter_javascript, self.filter_curly_bracket, self.filter_policy])  # fmt: skip
        out, reasons = np.empty(len(data) + 1, dtype=np.uint8), np.empty(len(texts), dtype=np.uint8)
        starts, stops = np.empty((2, len(data) + 1), dtype=np.int64)
        kept, lines = np.zeros((len(texts), 2), dtype=np.int64), np.zeros(len(bounds), dtype=np.int64)
        compiled.keep_lines(
            *(data, bounds, table(), choices, self.min_words_per_line, self.max_word_length),
            *(out, kept, starts, stops, lines, reasons),
        )
        sentences = np.zeros(lines[-1] + 1, dtype=np.int64)
        if self.min_num_sentences:
            np.cumsum(sentence_counts(out, starts[: lines[-1]], stops[: lines[-1]]), out=sentences[1:])
        count, rules = sentences[lines[1:]] - sentences[lines[:-1]], Rules(len(texts))
        rules.check("lorem_ipsum", reasons == 1)
        rules.check("curly_bracket", reasons == 2)
        rules.least("too_few_sentences", count, self.min_num_sentences)
        rules.check("empty", kept[:, 0] == kept[:, 1])
        changed = joined([out[start:stop].tobytes() for start, stop in kept.tolist()])
        return rules.verdict(None if changed.equals(texts.array) else changed)
