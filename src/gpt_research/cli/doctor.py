"""`gpt-research doctor`: print findings about this machine, and what they mean for training."""

from __future__ import annotations

import json
import shutil
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path

from gpt_research.base.errors import require

NAME_WIDTH = 19
"""Columns of the names."""


@dataclass(frozen=True)
class DoctorCommand:
    """Say what this machine has for training."""

    out: str = "runs"
    """Folder whose disk is looked at."""
    compile_seconds: float = 20.0
    """Longest time for the test of torch.compile, which a slow disk or a busy machine may need."""
    json: bool = False
    """Print the rows as a JSON list instead, at the end."""

    def __post_init__(self) -> None:
        require(self.compile_seconds > 0, "compile_seconds", self.compile_seconds, "above 0")


def run(command: DoctorCommand) -> int:
    """Examine the machine and print each row when it is known; return 1 if there is a card that
    torch cannot use.
    """
    from gpt_research.estimate.doctor import Place, examine

    findings, seen = examine(Place(Path(command.out), command.compile_seconds)), []
    width = min(100, shutil.get_terminal_size((100, 24)).columns - 1)
    for finding in findings:
        seen.append(finding)
        if not command.json:
            print(_row(finding.what, finding.found, width), flush=True)
            if finding.means:
                print(_row("", f"-> {finding.means}", width), flush=True)
    if command.json:
        print(json.dumps([asdict(finding) for finding in seen], indent=2))
    return 1 if any(finding.unusable for finding in seen) else 0


def _row(name: str, text: str, width: int) -> str:
    """Return a row: the name, and the text beside it in lines of at most `width` characters."""
    first, rest = f"{name:<{NAME_WIDTH}}", " " * NAME_WIDTH
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
