"""The stage that hashes the 13-grams of the benchmarks, if the run looks for contamination."""

from __future__ import annotations

from pathlib import Path

from gpt_research.evaluation.passages import passages_of
from gpt_research.preprocessing.job_plan import JobPlan
from gpt_research.preprocessing.stages.stage import Stage
from gpt_research.preprocessing.text.contamination import grams_of


class IndexBenchmarks(Stage):
    """Saves the 13-grams of the benchmarks; each benchmark is a task."""

    def run(self, plan: JobPlan, rank: int) -> None:
        folder = Path(plan.benchmarks[rank])
        self.work.save_array("benchmarks", rank, grams_of(passages_of(folder, folder.name)))
