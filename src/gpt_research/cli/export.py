"""`gpt-research export` and `gpt-research import`: what the terminal shows of them."""

from __future__ import annotations

from gpt_research.commands import ExportCommand, ImportCommand
from gpt_research.export.exporting import export_run
from gpt_research.export.importing import import_model


def run(command: ExportCommand | ImportCommand) -> int:
    """Do what the command line asked for and print what came of it; return the exit code."""
    if isinstance(command, ExportCommand):
        proofs = export_run(command)
        print(f"Wrote {command.out} ({command.format}, {command.dtype}).")
        for proof in proofs:
            print(f"  {proof}")
    else:
        for line in import_model(command):
            print(line)
        print(f'Next: gpt-research generate {command.out} --prompt "Once upon a time"')
    return 0
