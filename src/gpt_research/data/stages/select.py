"""Selecting: which documents stay, in which split, and the tokenizer if it is to be learnt from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpt_research.corpora.duplicates import MinHash, exact_duplicates, group_keys, near_duplicates
from gpt_research.data.stages.stage import (
    CONTAMINATED,
    EXACT_DUPLICATE,
    KEPT,
    NEAR_DUPLICATE,
    NO_HITS,
    Stage,
    read_documents,
)
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.data.work import Plan

TOKENIZER_SAMPLE_BYTES = 256 << 20
"""Text that a tokenizer is trained on, at most."""


class Select(Stage):
    """Which documents stay, and in which split; and the tokenizer, if it is to be learnt from those for training."""

    def run(self, plan: Plan, rank: int) -> None:
        hashes = self._load(plan, "hashes")
        lengths = [len(part) for part in hashes]
        everyone = np.arange(sum(lengths))
        originals = exact_duplicates(hashes)
        clusters, status = originals, np.where(originals == everyone, KEPT, EXACT_DUPLICATE)
        if plan.options["near_duplicates"]:
            near, clusters = near_duplicates(self._load(plan, "signatures"), MinHash())
            status[(status == KEPT) & (near != everyone)] = NEAR_DUPLICATE
            originals = np.where(status == NEAR_DUPLICATE, near, originals)
        overlaps = self._overlaps(plan, lengths)
        if plan.options["contamination"] == "drop":
            status[(status == KEPT) & overlaps.any(axis=1)] = CONTAMINATED
        # Copies stay on the side of the first of them, so that none is trained on and validated with.
        place = _unit_interval(group_keys(hashes, clusters), plan.options["seed"])
        split = np.where(place < plan.options["val_fraction"], 1, 0)
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
        if plan.options["tokenizer"] == "train":
            learnt = Tokenizer.train(self._training_texts(plan), plan.options["vocab_size"])
            learnt.save(self.work.folder / "tokenizer.json")

    def _load(self, plan: Plan, kind: str) -> list[np.ndarray]:
        return [self.work.load_array(kind, task) for task in range(len(plan.tasks))]

    def _overlaps(self, plan: Plan, lengths: list[int]) -> np.ndarray:
        """Return how many 13-grams each document shares with each benchmark: (documents, benchmarks)."""
        index = self.work.benchmark_index(plan)
        if index is None:
            return np.zeros((sum(lengths), 0), dtype=np.int64)
        first = np.cumsum([0, *lengths])
        hits = [part + [start, 0] for part, start in zip(self._load(plan, "hits"), first, strict=False)]
        return index.count(np.concatenate([NO_HITS, *hits]), sum(lengths), most_texts=10)

    def _training_texts(self, plan: Plan) -> Iterator[str]:
        """Yield kept training documents; every n-th where they are more than a tokenizer needs."""
        sizes = [self.work.path("documents", task, "arrow").stat().st_size for task in range(len(plan.tasks))]
        every = 1 + sum(sizes) // TOKENIZER_SAMPLE_BYTES
        for task in range(len(plan.tasks)):
            chosen, row = self.work.load_array("chosen", task), 0
            for batch in read_documents(self.work, task):
                for text, (status, split, *_) in zip(
                    batch["text"].to_pylist(), chosen[row : row + len(batch)].tolist(), strict=True
                ):
                    if status == KEPT and split == 0 and row % every == 0:
                        yield text
                    row += 1


def _unit_interval(keys: np.ndarray, seed: int) -> np.ndarray:
    """Map document keys (n,) uint64 to [0, 1), another way for every seed."""
    mixed = (keys ^ np.random.SeedSequence(seed).generate_state(1, np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(11)) * 2.0**-53


def _fill_both_splits(split: np.ndarray, place: np.ndarray, kept: np.ndarray, val_fraction: float) -> None:
    """Give a small corpus one document on the side that the hash left empty."""
    if val_fraction > 0 and len(kept) >= 2:
        if not split[kept].any():
            split[kept[np.argmin(place[kept])]] = 1
        elif split[kept].all():
            split[kept[np.argmax(place[kept])]] = 0
