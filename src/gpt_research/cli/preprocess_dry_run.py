"""Shows what `gpt-research preprocess` would read: `--dry_run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpt_research.preprocessing.settings import PreprocessConfig

if TYPE_CHECKING:
    from rich.console import Console

    from gpt_research.preprocessing.dry_run import Look

EXCERPT = 300
"""Characters of the first document that are shown."""


def show(config: PreprocessConfig, looks: Sequence[Look], console: Console) -> None:
    """Print what was found in the corpora, the room that a run needs, and settings that fit."""
    from gpt_research.cli.terminal import printable
    from gpt_research.preprocessing.advice import advice
    from gpt_research.preprocessing.room import free_bytes, in_units, token_bytes

    lines = [line for look in looks for line in _lines(look)]
    text, documents = sum(look.text_bytes for look in looks), sum(look.documents for look in looks)
    tokens = token_bytes(text, config.vocab_size)
    lines.append(
        f"{config.out} will take about {in_units(tokens)}, and twice that while it is made; its disk has "
        f"{in_units(free_bytes(Path(config.out)))} free."
    )
    if better := advice(config, round(text), documents, config.out):
        lines.append(better)
    for line in [*lines, "Nothing was written, because of --dry_run."]:
        console.print(printable(line), markup=False)


def _lines(look: Look) -> list[str]:
    """Return what is printed of one corpus."""
    from gpt_research.preprocessing.formats.remedies import remedies
    from gpt_research.preprocessing.remarks import left_out_files
    from gpt_research.preprocessing.room import in_units

    about = "" if look.exact else "about "
    lines = [
        f"{look.name}",
        f"  reader     {look.reader}",
        f"  files      {look.files:,}" + (f", {in_units(look.size)}" if look.size else ""),
        f"  text       {about}{look.documents:,} documents, {about}{in_units(look.text_bytes)}",
    ]
    if look.text_key:
        lines.append(f"  text key   {look.text_key} (another one: --text_key KEY)")
    if look.drops:
        drops = ", ".join(f"{count:,} {reason}" for reason, count in sorted(look.drops.items()))
        lines.append(f"  dropped    {drops}" + ("" if look.exact else ", of what was looked at"))
    if look.left_out:
        lines.append(f"  left out   {left_out_files(look.left_out)}")
        lines += [f"             {remedy}" for remedy in remedies(look.left_out)]
    if look.first is None:
        return [*lines, "  first      no document was found in the part that was looked at"]
    text = look.first.text
    lines.append(f"  first      {look.first.source} ({look.first.position})")
    shown = text[:EXCERPT].splitlines() or [""]
    more = [f"... and {len(text) - EXCERPT:,} characters more"] if len(text) > EXCERPT else []
    return [*lines, *(f"             | {line}" for line in [*shown, *more])]
