"""The vocabulary of single characters, from all texts: `--tokenizer char`.

Every document is looked at, not a sample, because a text with a character that the vocabulary lacks
could not be encoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing.document import Drop
from gpt_research.preprocessing.job_plan import JobPlan
from gpt_research.preprocessing.stages.stage import ReadingStage, Stage
from gpt_research.preprocessing.text.batches import clean_batches

CODE_POINTS = 0x110000
"""One more than the largest code point of Unicode."""


@dataclass(frozen=True)
class FindCharacters(ReadingStage):
    """Saves the characters of a task's documents as sorted code points."""

    def run(self, plan: JobPlan, rank: int) -> None:
        task, seen = plan.tasks[rank], np.zeros(CODE_POINTS, dtype=bool)
        corpus = self.corpus(plan, task.corpus)
        for unit in task.units:
            for batch in clean_batches(corpus.stream(unit, plan.read_options), plan.options["min_characters"]):
                if not isinstance(batch, Drop):
                    text = "".join(batch.to_strings())
                    seen[np.frombuffer(text.encode("utf-32-le", "replace"), dtype="<u4")] = True
        self.work.save_array("characters", rank, np.flatnonzero(seen))


@dataclass(frozen=True)
class UniteCharacters(Stage):
    """Numbers the characters of all tasks by their code points, as nanoGPT does."""

    def run(self, plan: JobPlan, rank: int) -> None:
        parts = [self.work.load_array("characters", task) for task in range(len(plan.tasks))]
        characters = map(chr, np.unique(np.concatenate(parts)).tolist())
        Tokenizer.from_characters(characters).save(self.work.folder / "tokenizer.json")
