"""`gpt-research import`: make a run of weights from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from gpt_research.base import hints
from gpt_research.base.errors import require


@dataclass(frozen=True)
class ImportCommand:
    """Make a run folder of weights from elsewhere, at step 0."""

    source: str = ""
    """A folder (Hugging Face's layout, or our export), a hub name, or nanoGPT's ckpt.pt."""
    out: str = ""
    """Run folder to write; it must not exist yet, or be empty."""
    tokenizer: str = "auto"
    """auto (the source's own; GPT-2's if it has none and the size fits), gpt2, or a tokenizer.json.
    """
    allow_pickle: bool = False
    """Open a ckpt.pt, a pickle, with torch's restricted reader. Only for files you trust."""
    revision: str = "main"
    """Branch, tag or commit of a hub name."""

    def __post_init__(self) -> None:
        require(bool(self.source), "source", self.source, "a folder, a hub name or a ckpt.pt")
        require(bool(self.out), "out", self.out, "the run folder to write: --out DIR")


def run(command: ImportCommand) -> int:
    """Write the run folder and print what was read; return the exit code."""
    from gpt_research.export.importing import import_model

    lines = import_model(
        command.source,
        command.out,
        tokenizer=command.tokenizer,
        allow_pickle=command.allow_pickle,
        revision=command.revision,
    )
    for line in lines:
        print(line)
    print(f"Next: {hints.command('generate', command.out, '--prompt', 'Once upon a time')}")
    return 0
