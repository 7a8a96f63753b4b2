"""Indexing benchmarks: the 13-grams of each, if contamination is looked for."""

from __future__ import annotations

from pathlib import Path

from gpt_research.preprocessing.job_plan import JobPlan
from gpt_research.preprocessing.stages.stage import Stage
from gpt_research.preprocessing.text.contamination import folder_grams


class IndexBenchmarks(Stage):
    """Saves the 13-grams of the benchmarks; each benchmark is a task."""

    def run(self, plan: JobPlan, rank: int) -> None:
        self.work.save_array("benchmarks", rank, folder_grams(Path(plan.benchmarks[rank])))
