"""What every command of the lab says at its end."""

from __future__ import annotations

import sys
from pathlib import Path


def write_page(folder: Path) -> None:
    """Write the report of an experiment beside its result, and say where both are."""
    from gpt_research.lab.results import RESULT
    from gpt_research.report.write import write_report

    page = write_report([str(folder)], "", notice=lambda text: print(text, file=sys.stderr))
    print(f"Result: {folder / RESULT}\nReport: {page}")
