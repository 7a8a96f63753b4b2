"""`gpt-research doctor`: print findings about this machine, and what they mean for training."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class DoctorCommand:
    """Say what this machine has for training."""

    out: str = "runs"
    """Folder whose disk is looked at."""
    json: bool = False
    """Print one JSON object instead."""


def run(command: DoctorCommand) -> int:
    """Examine the machine and print a table; the exit code is 0 whatever was found."""
    from rich.table import Table

    from gpt_research.cli.tables import print_table
    from gpt_research.estimate.doctor import examine

    findings = examine(Path(command.out))
    if command.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
        return 0
    table = Table("", "found", "means")
    for finding in findings:
        table.add_row(finding.what, finding.found, finding.means)
    print_table(table)
    return 0
