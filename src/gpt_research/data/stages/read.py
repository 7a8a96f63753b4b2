"""Reading: documents of a task, cleaned, with what the comparison over all tasks needs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gpt_research.corpora.document import Document, Drop
from gpt_research.corpora.duplicates import MinHash, text_hashes
from gpt_research.corpora.tables import relative, unit_file
from gpt_research.corpora.text import drop_reasons, repair_all
from gpt_research.corpora.words import hash_words
from gpt_research.data.shard_writer import DOCUMENT_SCHEMA
from gpt_research.data.shards import file_sha256
from gpt_research.data.stages.stage import NO_HITS, Drops, Stage, size_of_texts
from gpt_research.data.work import Plan, Progress, Task
from gpt_research.errors import UserError

BATCH_BYTES = 1 << 20
"""Text that is worked on at once: as much as a core's cache holds."""


class Read(Stage):
    """Documents of a task, cleaned, with what the comparison over all tasks needs."""

    def run(self, plan: Plan, rank: int) -> None:
        task, drops, progress = plan.tasks[rank], Drops(), self.work.progress()
        place = self.work.path("documents", rank, "arrow")
        part = place.with_name(place.name + ".part")
        minhash, near, index = MinHash(), plan.options["near_duplicates"], self.work.benchmark_index()
        hashes, signatures, hits = [text_hashes([])], [minhash.signatures(hash_words([]))], [NO_HITS]
        documents = text_bytes = 0
        with (
            pa.OSFile(str(part), "wb") as file,
            pa.ipc.new_file(file, DOCUMENT_SCHEMA) as writer,
        ):
            for batch, done in self._batches(plan, task, drops):
                texts, records = _cleaned(batch, plan.options["min_characters"], drops)
                writer.write_batch(records)
                hashes.append(text_hashes(texts, records["text"]))
                if near or index:
                    words = hash_words(records["text"])
                    signatures += [minhash.signatures(words)] if near else []
                    hits += [index.hits(words) + [documents, 0]] if index else []
                documents += len(texts)
                text_bytes += size_of_texts(records)
                self._report(progress, rank, drops, read_bytes=done, documents=documents, text_bytes=text_bytes)
        part.replace(place)
        self.work.save_array("hashes", rank, np.concatenate(hashes))
        self.work.save_array("signatures", rank, np.concatenate(signatures))
        self.work.save_array("hits", rank, np.concatenate(hits))
        self.work.save_json("read", rank, {"documents": documents, **vars(drops), "sources": self._sources(plan, task)})
        self._report(progress, rank, drops, read_bytes=task.size)

    def _batches(self, plan: Plan, task: Task, drops: Drops) -> Iterator[tuple[list[Document], int]]:
        """Yield documents as they were read, about BATCH_BYTES together, and the bytes of input read so far."""
        corpus, batch, size, done = plan.corpus(task.corpus), [], 0, 0
        for unit in task.units:
            for item in corpus.read(unit, plan.read_options):
                if isinstance(item, Document):
                    batch.append(item)
                    size += len(item.text)
                    if size >= BATCH_BYTES:
                        yield batch, done
                        batch, size = [], 0
                    continue
                if item.broken and self.strict:
                    raise UserError(
                        f"{corpus.name}: {item.source}: {item.reason}: {item.detail} "
                        "Mend the file, or leave --strict out to set it aside."
                    )
                drops.add(item)
            done += unit.size
        if batch:
            yield batch, done

    @staticmethod
    def _report(progress: Progress, rank: int, drops: Drops, **values: int) -> None:
        dropped, broken = sum(drops.counts.values()), sum(drops.broken.values())
        progress.set(rank, drops=dropped, broken=broken, **values)

    def _sources(self, plan: Plan, task: Task) -> list[dict[str, Any]]:
        """Hash the files that begin in this task."""
        root, found = plan.corpus(task.corpus).root, []
        for unit in task.units:
            for name, place in _files(unit_file(root, unit), root) if unit.start == 0 else []:
                with contextlib.suppress(OSError):  # unreadable: the reader has said so
                    size, sha256 = os.stat(place).st_size, file_sha256(place)
                    found.append({"path": name, "bytes": size, "sha256": sha256})
        return found


def _files(path: Path, root: Path) -> list[tuple[str, str]]:
    """Return name in the corpus and place of a unit's file; of a folder (of mails), of the files right in it."""
    if not path.is_dir():
        return [(relative(path, root), str(path))]
    inside = "" if path == root else relative(path, root) + "/"
    with os.scandir(path) as entries:
        return sorted((inside + entry.name, entry.path) for entry in entries if entry.is_file())


def _cleaned(batch: list[Document], min_characters: int, drops: Drops) -> tuple[list[str], pa.RecordBatch]:
    """Repair documents and leave out what is no text; return the texts alone, and all of `DOCUMENT_SCHEMA`."""
    texts, array = repair_all([document.text for document in batch])
    places = [document.source for document in batch], [document.position for document in batch]
    records = pa.record_batch([array, *places], schema=DOCUMENT_SCHEMA)
    reasons = drop_reasons(texts, array, min_characters)
    if not any(reasons):
        return texts, records
    for document, text, reason in zip(batch, texts, reasons, strict=True):
        if reason:
            drops.add(Drop(reason, document.source, document.position, text[:100]))
    kept = [reason is None for reason in reasons]
    return list(compress(texts, kept)), records.filter(pa.array(kept))
