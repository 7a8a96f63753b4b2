"""Prints tables so that every number is whole: on a narrow terminal, in a pipe and in a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

MOST_COLUMNS, LONGEST_WORD = 10_000, 30
"""More columns than any table has, and the longest word of a text that is never broken."""


def print_table(table: Table) -> None:
    """Print a table on standard output, as wide as the terminal, or 80 columns wide without one.

    Texts wrap between words. Numbers, which stand in columns that are justified to the right, do
    not wrap. If that does not fit, the lines are longer than the terminal is wide.
    """
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(highlight=False)
    unlimited = console.options.update(width=MOST_COLUMNS)
    for column in table.columns:
        column.no_wrap = column.no_wrap or column.justify == "right"
        sizes = [Measurement.get(console, unlimited, cell) for cell in (column.header, *column.cells)]
        # Without a least width, rich would cut what does not fit.
        column.min_width = max(size.maximum if column.no_wrap else min(size.minimum, LONGEST_WORD) for size in sizes)
    console.width = max(console.width, sum(column.min_width or 0 for column in table.columns))
    console.print(table, crop=False)
