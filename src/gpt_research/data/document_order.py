"""The documents of a shard in the order in which one pass over the data reads them.

With `shuffle_documents`, a pass does not read the tokens of a shard as they lie in its file but
document by document, in an order of its own. So a window that holds the end of one document and the
beginning of another joins other documents in each pass, and cuts them at other places. Data that is
read many times gains by it. This module knows nothing about files.
"""

from __future__ import annotations

import numpy as np


class DocumentOrder:
    """One shard as one pass reads it: a permutation of its documents."""

    def __init__(self, ends: np.ndarray, key: tuple[int, ...]) -> None:
        """Draw the order.

        Args:
            ends: (documents,) int64, the token after each document, ascending; the first document
                begins at 0.
            key: of the random stream.
        """
        lengths = np.diff(ends, prepend=0)
        order = np.random.default_rng(key).permutation(len(ends))
        self._ends = ends
        self._first = (ends - lengths)[order]
        """First token in the shard of each document, in the order of the pass."""
        self._place = np.concatenate([[0], np.cumsum(lengths[order])])
        """Where each document begins in the pass, and the end."""
        self._rank = np.empty(len(ends), np.int64)
        self._rank[order] = np.arange(len(ends))

    def spans(self, place: int, length: int) -> list[tuple[int, int]]:
        """Return where the pass has the tokens `place` to `place + length`: pieces of the shard,
        each as its first token and its length.
        """
        found = []
        document = int(np.searchsorted(self._place, place, side="right")) - 1
        while length > 0:
            inside = place - int(self._place[document])
            taken = min(length, int(self._place[document + 1]) - place)
            if taken > 0:
                found.append((int(self._first[document]) + inside, taken))
            place, length, document = place + taken, length - taken, document + 1
        return found

    def places(self, tokens: np.ndarray) -> np.ndarray:
        """Return the place in the pass (n,) of each of the shard's tokens (n,): the inverse of
        `spans`.
        """
        rank = self._rank[np.searchsorted(self._ends, tokens, side="right")]
        return self._place[rank] + (tokens - self._first[rank])
