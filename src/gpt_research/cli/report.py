"""`gpt-research report RUN...`: write one HTML file that shows runs, or an experiment."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from gpt_research.base.errors import require


@dataclass(frozen=True)
class ReportCommand:
    """Write one HTML file about runs, or about the folder of an experiment."""

    runs: list[str] = field(default_factory=list)
    """Run folders, or RUN@STEP for one of their checkpoints, or result files of evaluate, or the
    folder of one ablation, sweep or lr-range. Runs that differ in nothing but the seed are one
    setting."""
    out: str = ""
    """HTML file to write. Empty: report.html in the folder that is named, or here if several are.
    """
    confidence: float = 0.95
    """Confidence of the intervals of runs; an experiment has its own."""
    compressors: bool = True
    """Compute what xz, bz2 and PPMd need for the validation text, once for a data set."""

    def __post_init__(self) -> None:
        require(len(self.runs) >= 1, "runs", self.runs, "one or more run folders: report RUN")
        require(0 < self.confidence < 1, "confidence", self.confidence, "between 0 and 1, such as 0.95")


def run(command: ReportCommand) -> int:
    """Write the report and say where it is; return the exit code."""
    from gpt_research.report.write import write_report

    path = write_report(
        command.runs,
        command.out,
        confidence=command.confidence,
        with_compressors=command.compressors,
        notice=lambda text: print(text, file=sys.stderr),
    )
    print(f"Report: {path}")
    return 0
