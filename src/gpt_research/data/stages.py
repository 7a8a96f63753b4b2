"""The stages of preprocessing, each a callable that the executor runs for one task.

    Read      (a task)   read -> repair -> filter -> hashes, signatures, benchmark overlaps -> documents on disk
    Select    (once)     exact duplicates -> near duplicates -> contamination -> split -> tokenizer
    Tokenize  (a task)   documents -> shards
    Finish    (once)     manifests of the corpora, the data card, then the data set's own manifest

A stage knows only its work folder; killed at any moment it is run again and leaves the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpt_research.corpora.document import Document, Drop
from gpt_research.corpora.duplicates import (
    MinHash,
    exact_duplicates,
    group_keys,
    near_duplicates,
    text_hashes,
)
from gpt_research.corpora.tables import relative, unit_file
from gpt_research.corpora.text import drop_reasons, repair_all
from gpt_research.corpora.words import hash_words
from gpt_research.data.card import write_card
from gpt_research.data.shard_writer import DOCUMENT_SCHEMA, ShardWriter
from gpt_research.data.shards import (
    FORMAT_VERSION,
    Manifest,
    Shard,
    file_sha256,
    token_dtype,
    write_json,
    write_manifest,
)
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.data.work import Plan, Progress, Task, Work
from gpt_research.errors import UserError

BATCH_BYTES = 1 << 20
EXAMPLES = 5
MOST_SOURCES = 10_000
TOKENIZER_SAMPLE_BYTES = 256 << 20
SPLITS = ("train", "val")
_NO_HITS = np.empty((0, 2), dtype=np.int64)
KEPT, EXACT_DUPLICATE, NEAR_DUPLICATE, CONTAMINATED = range(4)
STATUS_NAMES = ("kept", "exact_duplicate", "near_duplicate", "contaminated")


@dataclass(frozen=True)
class Stage:
    """A stage as datatrove calls it: with the task's number; the data it would pass on stays on disk."""

    work: Work
    strict: bool = False

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        self.run(self.work.load_plan(), rank)

    def run(self, plan: Plan, rank: int) -> None:
        raise AssertionError("each stage says what it does")


class Drops:
    """Counts what a task leaves out, by reason, with a few examples."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.broken: dict[str, int] = {}
        self.examples: dict[str, list[dict[str, Any]]] = {}

    def add(self, drop: Drop) -> None:
        self.counts[drop.reason] = self.counts.get(drop.reason, 0) + 1
        if drop.broken:
            self.broken[drop.reason] = self.broken.get(drop.reason, 0) + 1
        examples = self.examples.setdefault(drop.reason, [])
        if len(examples) < EXAMPLES:
            examples.append({"source": drop.source, "position": drop.position, "detail": drop.detail[:200]})


class Read(Stage):
    """Documents of a task, cleaned, with what the comparison over all tasks needs."""

    def run(self, plan: Plan, rank: int) -> None:
        task, drops, progress = plan.tasks[rank], Drops(), self.work.progress()
        place = self.work.path("documents", rank, "arrow")
        part = place.with_name(place.name + ".part")
        minhash, near, index = MinHash(), plan.options["near_duplicates"], self.work.benchmark_index()
        hashes, signatures, hits = [text_hashes([])], [minhash.signatures(hash_words([]))], [_NO_HITS]
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
                text_bytes += _text_bytes(records)
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
        """Hash the files that begin in this task; of a unit that is a folder (of mails), the files right in it."""
        root, found = plan.corpus(task.corpus).root, []
        for unit in task.units:
            path = unit_file(root, unit)
            for file in [path] if not path.is_dir() else sorted(path.iterdir()):
                if unit.start == 0 and file.is_file():
                    with contextlib.suppress(OSError):  # unreadable: the reader has said so
                        size, sha256 = file.stat().st_size, file_sha256(file)
                        found.append({"path": relative(file, root), "bytes": size, "sha256": sha256})
        return found


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


def read_documents(work: Work, rank: int) -> Iterator[pa.RecordBatch]:
    """Yield the documents of a task as record batches of `DOCUMENT_SCHEMA`."""
    with pa.memory_map(str(work.path("documents", rank, "arrow"))) as file:
        reader = pa.ipc.open_file(file)
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)


class Select(Stage):
    """Which documents stay, and in which split; and the tokenizer, trained on those for training."""

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
        self._tokenizer(plan).save(self.work.folder / "tokenizer.json")

    def _load(self, plan: Plan, kind: str) -> list[np.ndarray]:
        return [self.work.load_array(kind, task) for task in range(len(plan.tasks))]

    def _overlaps(self, plan: Plan, lengths: list[int]) -> np.ndarray:
        """Return how many 13-grams each document shares with each benchmark: (documents, benchmarks)."""
        index = self.work.benchmark_index()
        if index is None:
            return np.zeros((sum(lengths), 0), dtype=np.int64)
        first = np.cumsum([0, *lengths])
        hits = [part + [start, 0] for part, start in zip(self._load(plan, "hits"), first, strict=False)]
        return index.count(np.concatenate([_NO_HITS, *hits]), sum(lengths), most_texts=10)

    def _tokenizer(self, plan: Plan) -> Tokenizer:
        choice = plan.options["tokenizer"]
        if choice == "gpt2":
            return Tokenizer.gpt2()
        if choice == "train":
            return Tokenizer.train(self._training_texts(plan), plan.options["vocab_size"])
        return Tokenizer.load(Path(choice))

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


class Tokenize(Stage):
    """Shards of a task's kept documents."""

    def run(self, plan: Plan, rank: int) -> None:
        task, drops, progress = plan.tasks[rank], Drops(), self.work.progress()
        file = self.work.folder / "tokenizer.json"
        tokenizer = _load_tokenizer(file, file_sha256(file))
        writer = ShardWriter(self.work.folder.parent / task.corpus, task.number, tokenizer)
        chosen, row, encoded = self.work.load_array("chosen", rank), 0, 0
        alone = self._is_lone_document(plan, task, chosen)
        for batch in read_documents(self.work, rank):
            status, split, originals = chosen[row : row + len(batch), :3].T
            row += len(batch)
            for index in np.flatnonzero(status != KEPT).tolist():
                place = batch["source"][index].as_py(), batch["position"][index].as_py()
                drops.add(
                    Drop(
                        STATUS_NAMES[status[index]],
                        *place,
                        self._detail(status[index], originals[index], drops),
                    )
                )
            texts, places = batch["text"].to_pylist(), batch.select(["source", "position"])
            for side, name in enumerate(SPLITS):
                rows = np.flatnonzero((status == KEPT) & (split == side))
                part, of = [texts[index] for index in rows.tolist()], places.take(pa.array(rows))
                if alone and part:
                    part[0], end = cut_document(part[0], plan.options["val_fraction"])
                    writer.add("val", [end], of)
                writer.add(name, part, of)
            encoded += _text_bytes(batch)
            progress.set(rank, encoded_bytes=encoded)
        shards = writer.finish()
        overlaps = (chosen[chosen[:, 0] == KEPT, 3:] > 0).sum(axis=0).tolist()
        self.work.save_json(
            "tokens",
            rank,
            {"shards": {k: asdict(v) for k, v in shards.items()}, "overlaps": overlaps, **vars(drops)},
        )

    def _detail(self, status: int, original: int, drops: Drops) -> str:
        """Say which document a copy is of, for the few that are kept as examples."""
        known = drops.examples.get(STATUS_NAMES[status], [])
        if status == CONTAMINATED or len(known) >= EXAMPLES:
            return ""
        ends = self.work.load_array("ends", 0)
        task = int(np.searchsorted(ends, original, side="right"))
        row = int(original - (ends[task - 1] if task else 0))
        for batch in read_documents(self.work, task):
            if row < len(batch):
                corpus = self.work.load_plan().tasks[task].corpus
                return f"copy of {corpus}: {batch['source'][row]} ({batch['position'][row]})"
            row -= len(batch)
        raise AssertionError("the original is a document of its task")

    @staticmethod
    def _is_lone_document(plan: Plan, task: Task, chosen: np.ndarray) -> bool:
        """Whether the corpus is one document in all, which then gives its end to validation."""
        only_task = sum(other.corpus == task.corpus for other in plan.tasks) == 1
        return only_task and plan.options["val_fraction"] > 0 and int((chosen[:, 0] == KEPT).sum()) == 1


@lru_cache(maxsize=1)
def _load_tokenizer(file: Path, sha256: str) -> Tokenizer:
    """Load a tokenizer once for all tasks of a process; to build its encoder takes about a second."""
    return Tokenizer.load(file)


def _text_bytes(documents: pa.RecordBatch) -> int:
    return pc.sum(pc.binary_length(documents["text"])).as_py() or 0


def cut_document(text: str, val_fraction: float) -> tuple[str, str]:
    """Cut the last `val_fraction` off a text, at the nearest paragraph's or line's end before it."""
    at = int(len(text) * (1 - val_fraction))
    for border in ("\n\n", "\n", " "):
        found = text.rfind(border, at // 2, at)
        if found > 0:
            return text[:found], text[found + len(border) :]
    return text[:at], text[at:]


class Finish(Stage):
    """The manifests: once the last of them is there, the folder is a data set."""

    def run(self, plan: Plan, rank: int) -> None:
        out = self.work.folder.parent
        file = self.work.folder / "tokenizer.json"
        tokenizer = _load_tokenizer(file, file_sha256(file))
        manifests = {name: self._manifest(plan, name, tokenizer) for name in plan.corpora}
        if not any(manifest.count("train") for manifest in manifests.values()):
            reasons = {r: n for m in manifests.values() for r, n in m.drops.items()}
            raise UserError(
                f"No document is left of {', '.join(plan.corpora.values())}: "
                f"{', '.join(f'{n} {r}' for r, n in reasons.items()) or 'nothing was read'}. Check the paths."
            )
        for name, manifest in manifests.items():
            write_manifest(out / name, manifest)
        write_card(out, manifests, plan.corpora)
        shutil.copyfile(self.work.folder / "tokenizer.json", out / "tokenizer.json")
        write_json(
            out / "dataset.json",
            {
                "version": FORMAT_VERSION,
                "corpora": list(plan.corpora),
                "read_from": plan.corpora,
                "plan": plan_digest(plan),
                "options": plan.options,
            },
        )

    def _manifest(self, plan: Plan, name: str, tokenizer: Tokenizer) -> Manifest:
        """Add up what the tasks of a corpus left."""
        corpus, drops = plan.corpus(name), Drops()
        splits: dict[str, list[Shard]] = {split: [] for split in SPLITS}
        sources, documents, index = [], 0, self.work.benchmark_index()
        overlaps = dict.fromkeys(index.names, 0) if index else {}
        for rank, task in enumerate(plan.tasks):
            if task.corpus != name:
                continue
            read, tokens = self.work.load_json("read", rank), self.work.load_json("tokens", rank)
            for split, shard in tokens["shards"].items():
                splits[split].append(Shard(**shard))
            documents += read["documents"] + sum(read["counts"].values())
            sources += read["sources"]
            for benchmark, count in zip(overlaps, tokens["overlaps"], strict=True):
                overlaps[benchmark] += count
            for part in (read, tokens):
                for reason, count in part["counts"].items():
                    drops.counts[reason] = drops.counts.get(reason, 0) + count
                    known = drops.examples.setdefault(reason, [])
                    known += part["examples"][reason][: EXAMPLES - len(known)]
        (self.work.folder.parent / name).mkdir(exist_ok=True)
        return Manifest(
            fingerprint=tokenizer.fingerprint,
            vocab_size=tokenizer.vocab_size,
            dtype=token_dtype(tokenizer.vocab_size).name,
            splits=splits,
            reader=corpus.reader.name,
            licence=corpus.reader.licence,
            documents_read=documents,
            drops=drops.counts,
            drop_examples=drops.examples,
            contamination=overlaps,
            sources=self._listed(sources, name),
            options=plan.options,
        )

    def _listed(self, sources: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
        """Keep a long list of files out of the manifest, in a table beside it."""
        if len(sources) <= MOST_SOURCES:
            return sources
        path = self.work.folder.parent / name / "sources.parquet"
        pq.write_table(pa.Table.from_pylist(sources), path, compression="zstd")
        return [{"path": path.name, "files": len(sources), "bytes": sum(s["bytes"] for s in sources)}]


def plan_digest(plan: Plan) -> str:
    """Return a short name for everything that decides a data set's bytes, but the files' contents."""
    return hashlib.sha256(repr(plan.as_json()).encode()).hexdigest()[:16]
