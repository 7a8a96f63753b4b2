"""Selecting: which documents stay, and in which split."""

from __future__ import annotations

import numpy as np

from gpt_research.preprocessing.plan import Plan
from gpt_research.preprocessing.stages.stage import (
    CONTAMINATED,
    EXACT_DUPLICATE,
    KEPT,
    NEAR_DUPLICATE,
    NO_HITS,
    Stage,
    sides,
    split_places,
)
from gpt_research.preprocessing.text.duplicates import MinHash, exact_duplicates, group_keys, near_duplicates


class Select(Stage):
    """Which documents stay, and in which split."""

    def run(self, plan: Plan, rank: int) -> None:
        hashes = self._load(plan, "hashes")
        lengths = [len(part) for part in hashes]
        everyone = np.arange(sum(lengths))
        originals = exact_duplicates(hashes)
        clusters, status = originals, np.where(originals == everyone, KEPT, EXACT_DUPLICATE)
        overlaps = self._overlaps(plan, lengths, status == KEPT)
        if plan.options["near_duplicates"]:
            near, clusters = self._near(plan, originals)
            status[(status == KEPT) & (near != everyone)] = NEAR_DUPLICATE
            originals = np.where(status == NEAR_DUPLICATE, near, originals)
        if plan.options["contamination"] == "drop":
            status[(status == KEPT) & overlaps.any(axis=1)] = CONTAMINATED
        # Copies stay on the side of the first of them, so that none is trained on and validated with.
        keys = group_keys(hashes, clusters)
        place, split = split_places(keys, plan), sides(keys, plan)
        corpus = np.repeat([list(plan.corpora).index(task.corpus) for task in plan.tasks], lengths)
        for index in range(len(plan.corpora)):
            kept = np.flatnonzero((corpus == index) & (status == KEPT))
            _fill_both_splits(split, place, kept, plan.options["val_fraction"])
        ends = np.cumsum(lengths)
        for task, (end, length) in enumerate(zip(ends, lengths, strict=True)):
            mine = slice(end - length, end)
            chosen = np.column_stack([status[mine], split[mine], originals[mine], overlaps[mine]])
            self.work.save_array("chosen", task, chosen)
        self.work.save_array("ends", 0, ends)

    def _load(self, plan: Plan, kind: str) -> list[np.ndarray]:
        return [self.work.load_array(kind, task) for task in range(len(plan.tasks))]

    def _near(self, plan: Plan, originals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what `near_duplicates` does, for all documents; exact copies are in the cluster of their original.

        They are not compared: some are gone with their task, and the answer must not depend on which.
        """
        is_first, parts, start = originals == np.arange(len(originals)), [], 0
        for part in self._load(plan, "signatures"):
            parts.append(part[is_first[start : start + len(part)]])
            start += len(part)
        first = np.flatnonzero(is_first)
        near, clusters = originals.copy(), originals.copy()
        near[first], clusters[first] = (first[found] for found in near_duplicates(parts, MinHash()))
        return near, clusters[originals]

    def _overlaps(self, plan: Plan, lengths: list[int], is_first: np.ndarray) -> np.ndarray:
        """Return how many 13-grams each document shares with each benchmark: (documents, benchmarks).

        Exact copies, all but the first, share none: what they hold would count as a phrase of many documents.
        """
        index = self.work.benchmark_index(plan)
        if index is None:
            return np.zeros((sum(lengths), 0), dtype=np.int64)
        first = np.cumsum([0, *lengths])
        parts = [part + [start, 0] for part, start in zip(self._load(plan, "hits"), first, strict=False)]
        hits = np.concatenate([NO_HITS, *parts])
        return index.count(hits[is_first[hits[:, 0]]], sum(lengths), most_texts=10)


def _fill_both_splits(split: np.ndarray, place: np.ndarray, kept: np.ndarray, val_fraction: float) -> None:
    """Give a small corpus one document on the side that the hash left empty."""
    if val_fraction > 0 and len(kept) >= 2:
        if not split[kept].any():
            split[kept[np.argmin(place[kept])]] = 1
        elif split[kept].all():
            split[kept[np.argmax(place[kept])]] = 0
