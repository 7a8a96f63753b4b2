"""Indexing: the 13-grams of a benchmark, where contamination is looked for."""

from __future__ import annotations

from pathlib import Path

from gpt_research.evaluation.passages import passages_of
from gpt_research.preprocessing.plan import Plan
from gpt_research.preprocessing.stages.stage import Stage
from gpt_research.preprocessing.text.contamination import grams_of


class Index(Stage):
    """The 13-grams of a benchmark; each is a task of its own."""

    def run(self, plan: Plan, rank: int) -> None:
        folder = Path(plan.benchmarks[rank])
        self.work.save_array("benchmarks", rank, grams_of(passages_of(folder, folder.name)))
