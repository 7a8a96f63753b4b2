"""Selecting: which documents stay, and in which split."""

from __future__ import annotations

import numpy as np

from gpt_research.preprocessing.job_plan import JobPlan
from gpt_research.preprocessing.stages.stage import (
    CONTAMINATED,
    EXACT_DUPLICATE,
    KEPT,
    NEAR_DUPLICATE,
    NO_HITS,
    Stage,
    benchmark_index,
    splits_of,
    uniform_of,
)
from gpt_research.preprocessing.text.duplicates import MinHash, exact_duplicates, group_keys, near_duplicates


class Select(Stage):
    """Compares the documents of all tasks, and saves which of them stay and in which split."""

    def run(self, plan: JobPlan, rank: int) -> None:
        hashes = self._load(plan, "hashes")
        lengths = [len(part) for part in hashes]
        everyone = np.arange(sum(lengths))
        # Documents are numbered over all tasks; the original of a document that copies none is
        # itself.
        originals = exact_duplicates(hashes)
        clusters, status = originals, np.where(originals == everyone, KEPT, EXACT_DUPLICATE)
        overlaps = self._overlaps(plan, lengths, status == KEPT)
        if plan.options["near_duplicates"]:
            near, clusters = self._near(plan, originals)
            status[(status == KEPT) & (near != everyone)] = NEAR_DUPLICATE
            originals = np.where(status == NEAR_DUPLICATE, near, originals)
        if plan.options["contamination"] == "drop":
            status[(status == KEPT) & overlaps.any(axis=1)] = CONTAMINATED
        # Copies go to the split of the first of them, so that no text is in both splits.
        keys = group_keys(hashes, clusters)
        uniform, split = uniform_of(keys, plan), splits_of(keys, plan)
        corpus = np.repeat([list(plan.corpora).index(task.corpus) for task in plan.tasks], lengths)
        for index in range(len(plan.corpora)):
            kept = np.flatnonzero((corpus == index) & (status == KEPT))
            _fill_both_splits(split, uniform, kept, plan.options["val_fraction"])
        # Each task gets the rows of its own documents, for `Assemble`.
        ends = np.cumsum(lengths)
        for task, (end, length) in enumerate(zip(ends, lengths, strict=True)):
            mine = slice(end - length, end)
            chosen = np.column_stack([status[mine], split[mine], originals[mine], overlaps[mine]])
            self.work.save_array("chosen", task, chosen)
        self.work.save_array("ends", 0, ends)

    def _load(self, plan: JobPlan, kind: str) -> list[np.ndarray]:
        return [self.work.load_array(kind, task) for task in range(len(plan.tasks))]

    def _near(self, plan: JobPlan, originals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the original and the cluster of each document, as `near_duplicates` does.

        Exact copies are in the cluster of their original. They are not compared, because tasks drop
        some of them, and the result must not depend on which.
        """
        is_first, parts, start = originals == np.arange(len(originals)), [], 0
        for part in self._load(plan, "signatures"):
            parts.append(part[is_first[start : start + len(part)]])
            start += len(part)
        first = np.flatnonzero(is_first)
        near, clusters = originals.copy(), originals.copy()
        near[first], clusters[first] = (first[rows] for rows in near_duplicates(parts, MinHash()))
        return near, clusters[originals]

    def _overlaps(self, plan: JobPlan, lengths: list[int], is_first: np.ndarray) -> np.ndarray:
        """Return the 13-grams that documents share with benchmarks: (documents, benchmarks) int64.

        Exact copies count as sharing none, except the first, because their text would look like a
        common phrase.
        """
        index = benchmark_index(self.work, plan)
        if index is None:
            return np.zeros((sum(lengths), 0), dtype=np.int64)
        first = np.cumsum([0, *lengths])
        parts = [part + [start, 0] for part, start in zip(self._load(plan, "hits"), first, strict=False)]
        hits = np.concatenate([NO_HITS, *parts])
        # As in GPT-3, a 13-gram in more than ten documents is a common phrase and does not count.
        return index.count(hits[is_first[hits[:, 0]]], sum(lengths), most_texts=10)


def _fill_both_splits(split: np.ndarray, uniform: np.ndarray, kept: np.ndarray, val_fraction: float) -> None:
    """Move one document of a small corpus to the split that the hashes left empty."""
    if val_fraction > 0 and len(kept) >= 2:
        if not split[kept].any():
            split[kept[np.argmin(uniform[kept])]] = 1
        elif split[kept].all():
            split[kept[np.argmax(uniform[kept])]] = 0
