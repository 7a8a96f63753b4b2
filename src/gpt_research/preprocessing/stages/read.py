"""Reading: the documents of a task are cleaned, hashed and encoded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.base.files import size_and_sha256
from gpt_research.preprocessing.document import Drop
from gpt_research.preprocessing.encoded import EncodedWriter
from gpt_research.preprocessing.filters.catalogue import chosen_for
from gpt_research.preprocessing.filters.chain import filtered
from gpt_research.preprocessing.formats.files import printable, relative, unit_file
from gpt_research.preprocessing.job_plan import JobPlan, Task
from gpt_research.preprocessing.stages.stage import (
    EXACT_DUPLICATE,
    NO_HITS,
    STATUS_NAMES,
    Drops,
    ReadingStage,
    benchmark_index,
    copy_of,
    load_tokenizer,
    size_of_texts,
    splits_of,
)
from gpt_research.preprocessing.text.arrow import encoded
from gpt_research.preprocessing.text.batches import Batch, clean_batches, place_of
from gpt_research.preprocessing.text.duplicates import KnownTexts, MinHash, text_hashes
from gpt_research.preprocessing.text.words import hash_words
from gpt_research.preprocessing.work_folder import Progress


@dataclass(frozen=True)
class Read(ReadingStage):
    """Saves the tokens of a task's documents, and the hashes by which `Select` compares them."""

    strict: bool = False
    """Stop at the first damaged piece of input."""

    def run(self, plan: JobPlan, rank: int) -> None:
        task, drops, progress = plan.tasks[rank], Drops(), self.work.progress()
        minhash, near, index = MinHash(), plan.options["near_duplicates"], benchmark_index(self.work, plan)
        hashes, signatures = [text_hashes(encoded([]))], [np.empty((0, minhash.num_hashes), dtype=np.uint8)]
        hits, documents, text_bytes, tokens, known = [NO_HITS], 0, 0, 0, KnownTexts()
        with EncodedWriter(self.work, rank, load_tokenizer(self.work)) as writer:
            cleaned = clean_batches(self._items(plan, task, rank), plan.options["min_characters"])
            for item in filtered(cleaned, chosen_for(plan.options, task.corpus)):
                if isinstance(item, Drop):
                    self._add(drops, item, task)
                    continue
                # Copies within a task are dropped here. `Select` finds those in other tasks.
                numbers, is_new = known.look_up(keys := text_hashes(item.texts))
                batch, keys = item.keep(is_new), keys[is_new]
                if len(batch):
                    hashes.append(keys)
                    # Words are hashed only if something compares them, because that takes time.
                    if near or index:
                        words = hash_words(batch.texts)
                        signatures += [minhash.signatures(words)] if near else []
                        hits += [index.hits(words) + [documents, 0]] if index else []
                    tokens += writer.add(batch, splits_of(keys[:, 0], plan))
                    documents += len(batch)
                    text_bytes += size_of_texts(batch.texts)
                for row in np.flatnonzero(~is_new).tolist():
                    drops.add(self._copy(item, row, int(numbers[row]), task, writer, drops))
                self._report(progress, rank, drops, documents=documents, text_bytes=text_bytes, tokens=tokens)
        self.work.save_array("hashes", rank, np.concatenate(hashes))
        self.work.save_array("signatures", rank, np.concatenate(signatures))
        self.work.save_array("hits", rank, np.concatenate(hits))
        reader = self.corpus(plan, task.corpus).reader
        read = {"reader": reader.name, "licence": reader.licence, "documents": documents, **vars(drops)}
        self.work.save_json("read", rank, {**read, "sources": self._sources(plan, task)})
        self._report(progress, rank, drops)

    def _items(self, plan: JobPlan, task: Task, rank: int) -> Iterator[Any]:
        """Yield what the reader finds in a task's units, and note the progress."""
        corpus, progress, done = self.corpus(plan, task.corpus), self.work.progress(), 0
        for unit in task.units:
            yield from corpus.stream(unit, plan.read_options)
            done += unit.size
            progress.set(rank, read_bytes=done)

    @staticmethod
    def _copy(batch: Batch, row: int, original: int, task: Task, writer: EncodedWriter, drops: Drops) -> Drop:
        """Return the drop of a copy of another document, which the first few drops name."""
        reason, detail = STATUS_NAMES[EXACT_DUPLICATE], ""
        if drops.needs_example(reason):
            detail = copy_of(task.corpus, *writer.source_of(original))
        return Drop(reason, *place_of(batch.rows, row), detail)

    def _add(self, drops: Drops, drop: Drop, task: Task) -> None:
        """Count a drop; under `strict`, raise UserError if it is damage."""
        if drop.broken and self.strict:
            raise UserError(
                f"{task.corpus}: {drop.source}: {drop.reason}: {drop.detail.rstrip('. ')}. "
                "Mend the file, or leave --strict out to set it aside."
            )
        drops.add(drop)

    @staticmethod
    def _report(progress: Progress, rank: int, drops: Drops, **values: int) -> None:
        # The progress bar reads these counters.
        dropped, broken = sum(drops.counts.values()), sum(drops.broken.values())
        progress.set(rank, drops=dropped, broken=broken, **values)

    def _sources(self, plan: JobPlan, task: Task) -> list[dict[str, Any]]:
        """Return path, bytes and SHA-256 of each source file whose first unit is in this task."""
        root, sources = self.corpus(plan, task.corpus).root, []
        for unit in task.units:
            for name, path in _files(unit_file(root, unit), root) if unit.start == 0 else []:
                with contextlib.suppress(OSError):  # the reader has counted the file as unreadable
                    size, sha256 = size_and_sha256(path)
                    sources.append({"path": printable(name), "bytes": size, "sha256": sha256})
        return sources


def _files(path: Path, root: Path) -> list[tuple[str, str]]:
    """Return name and path of a unit's file, or of the files right inside a folder of mails."""
    if not path.is_dir():
        return [(relative(path, root), str(path))]
    inside = "" if path == root else relative(path, root) + "/"
    with os.scandir(path) as entries:
        return sorted((inside + entry.name, entry.path) for entry in entries if entry.is_file())
