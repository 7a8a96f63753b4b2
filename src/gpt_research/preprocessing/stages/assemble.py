"""Assembling: the kept documents of a task become shards."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from gpt_research.data.shards import Shard
from gpt_research.preprocessing.document import Drop
from gpt_research.preprocessing.encoded import SPLITS, EncodedDocuments, encode_with_ends
from gpt_research.preprocessing.job_plan import JobPlan, Task
from gpt_research.preprocessing.shard_writer import write_shard
from gpt_research.preprocessing.stages.stage import (
    CONTAMINATED,
    KEPT,
    STATUS_NAMES,
    Drops,
    Stage,
    copy_of,
    load_tokenizer,
)
from gpt_research.preprocessing.text.arrow import integers, numbers
from gpt_research.preprocessing.text.batches import place_of


class Assemble(Stage):
    """Writes the shards of a task's kept documents."""

    def run(self, plan: JobPlan, rank: int) -> None:
        task, drops = plan.tasks[rank], Drops()
        encoded, chosen = EncodedDocuments(self.work, rank), self.work.load_array("chosen", rank)
        status, split, originals = chosen[:, :3].T
        for row in np.flatnonzero(status != KEPT).tolist():
            detail = self._detail(status[row], originals[row], drops)
            drops.add(Drop(STATUS_NAMES[status[row]], *place_of(encoded.rows, row), detail))
        folder, shards = self.work.folder.parent / task.corpus, {}
        folder.mkdir(parents=True, exist_ok=True)
        # A corpus of one document would have no validation split, so that document is cut in two.
        if self._is_lone_document(plan, task, status):
            row = int(np.flatnonzero(status == KEPT)[0])
            shards = self._cut(encoded, row, folder, task.number, plan.options["val_fraction"])
        else:
            for index, name in enumerate(SPLITS):
                rows = np.flatnonzero((status == KEPT) & (split == index))
                if rows.size:
                    shards[name] = encoded.write_shard(folder, task.number, index, rows)
        self.work.progress().set(rank, assembled=int(numbers(encoded.rows["tokens"]).sum()))
        overlaps = (chosen[status == KEPT, 3:] > 0).sum(axis=0).tolist()
        assembled = {"shards": {k: asdict(v) for k, v in shards.items()}, "overlaps": overlaps, **vars(drops)}
        self.work.save_json("assembled", rank, assembled)

    def _detail(self, status: int, original: int, drops: Drops) -> str:
        """Return which document a dropped one copies, if the drop is one of the few examples."""
        if status == CONTAMINATED or not drops.needs_example(STATUS_NAMES[status]):
            return ""
        ends = self.work.load_array("ends", 0)
        rank = int(np.searchsorted(ends, original, side="right"))
        row = int(original - (ends[rank - 1] if rank else 0))
        corpus = self.work.load_plan().tasks[rank].corpus
        return copy_of(corpus, *place_of(EncodedDocuments(self.work, rank).rows, row))

    @staticmethod
    def _is_lone_document(plan: JobPlan, task: Task, status: np.ndarray) -> bool:
        """Return whether one document is all of a corpus; its last part then becomes validation."""
        only_task = sum(other.corpus == task.corpus for other in plan.tasks) == 1
        return only_task and plan.options["val_fraction"] > 0 and int((status == KEPT).sum()) == 1

    def _cut(
        self, encoded: EncodedDocuments, row: int, folder: Path, number: int, val_fraction: float
    ) -> dict[str, Shard]:
        """Write the two parts of a lone document, whichever split its hash assigned it to."""
        tokenizer, document = load_tokenizer(self.work), encoded.rows.slice(row, 1)
        tokens = np.concatenate([*encoded.tokens(np.array([row]))])
        pieces = cut_document(tokenizer.decode(tokens[:-1].tolist()), val_fraction)
        shards = {}
        for name, piece in zip(SPLITS, pieces, strict=True):
            tokens, lengths = encode_with_ends(tokenizer, [piece])
            size = integers(np.array([len(piece.encode())]))
            index = pa.table(
                {"tokens": integers(lengths), "bytes": size, **{k: document[k] for k in ("source", "position")}}
            )
            shards[name] = write_shard(folder, f"{name}_{number:05d}", [tokens], index)
        return shards


def cut_document(text: str, val_fraction: float) -> tuple[str, str]:
    """Cut the last `val_fraction` off a text, at the end of a paragraph, line or word."""
    at = int(len(text) * (1 - val_fraction))
    for border in ("\n\n", "\n", " "):
        end = text.rfind(border, at // 2, at)
        if end > 0:
            return text[:end], text[end + len(border) :]
    return text[:at], text[at:]
