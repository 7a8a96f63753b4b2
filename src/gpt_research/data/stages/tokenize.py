"""Tokenising: shards of a task's kept documents."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from gpt_research.corpora.arrow import encoded, mask
from gpt_research.corpora.document import Drop
from gpt_research.data.shard_writer import ShardWriter
from gpt_research.data.stages.stage import (
    CONTAMINATED,
    EXAMPLES,
    KEPT,
    SPLITS,
    STATUS_NAMES,
    Drops,
    Stage,
    load_tokenizer,
    read_documents,
    size_of_texts,
)
from gpt_research.data.work import Plan, Task


class Tokenize(Stage):
    """Shards of a task's kept documents."""

    def run(self, plan: Plan, rank: int) -> None:
        task, drops, progress = plan.tasks[rank], Drops(), self.work.progress()
        writer = ShardWriter(self.work.folder.parent / task.corpus, task.number, load_tokenizer(self.work))
        chosen, row, done = self.work.load_array("chosen", rank), 0, 0
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
            for side, name in enumerate(SPLITS):
                wanted = (status == KEPT) & (split == side)
                part = batch if wanted.all() else batch.filter(mask(wanted))
                if alone and len(part):  # whatever side its hash has put it on
                    pieces = cut_document(part["text"][0].as_py(), plan.options["val_fraction"])
                    for split_name, piece in zip(SPLITS, pieces, strict=True):
                        writer.add(split_name, part.set_column(0, "text", encoded([piece])))
                else:
                    writer.add(name, part)
            done += size_of_texts(batch)
            progress.set(rank, encoded_bytes=done)
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


def cut_document(text: str, val_fraction: float) -> tuple[str, str]:
    """Cut the last `val_fraction` off a text, at the nearest paragraph's or line's end before it."""
    at = int(len(text) * (1 - val_fraction))
    for border in ("\n\n", "\n", " "):
        found = text.rfind(border, at // 2, at)
        if found > 0:
            return text[:found], text[found + len(border) :]
    return text[:at], text[at:]
