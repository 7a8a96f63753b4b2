"""`gpt-research index DATA`: make the index by which `trace` finds texts in a data set."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gpt_research.base import hints
from gpt_research.cli.terminal import say


@dataclass(frozen=True)
class IndexCommand:
    """Index a data set, so that trace finds texts in it."""

    data: str = "data/tokens"
    """Data set folder."""
    out: str = ""
    """Folder to write. Empty: suffix_array in the folder of the data set."""


def run(command: IndexCommand) -> int:
    """Make the index, and say where it is and how to use it; return the exit code.

    Raises:
        UserError: as `build_index` does.
    """
    from gpt_research.tracing.index import build_index

    started_at = time.perf_counter()
    folder = build_index(command.data, command.out, notice=say)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"Index: {folder} ({size / 1e6:,.1f} MB, {time.perf_counter() - started_at:.1f} s)")
    place = ["--index", command.out] if command.out else []
    print(f"  trace     {hints.command('trace', 'RUN', 'a text', *place)}")
    return 0
