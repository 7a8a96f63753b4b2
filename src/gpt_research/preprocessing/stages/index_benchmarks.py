"""Indexing: the 13-grams of a benchmark, where contamination is looked for."""

from __future__ import annotations

from pathlib import Path

from gpt_research.preprocessing.plan import Plan
from gpt_research.preprocessing.stages.stage import Stage
from gpt_research.preprocessing.text.contamination import folder_grams


class Index(Stage):
    """The 13-grams of a benchmark; each is a task of its own."""

    def run(self, plan: Plan, rank: int) -> None:
        self.work.save_array("benchmarks", rank, folder_grams(Path(plan.benchmarks[rank])))
