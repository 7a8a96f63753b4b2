"""`gpt-research export`: write a run in another format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gpt_research.base.errors import require
from gpt_research.config import require_step


@dataclass(frozen=True)
class ExportCommand:
    """Write a run in another program's format, proved to compute what the run computes."""

    run: str = ""
    """Run folder to export, or RUN@STEP for one of its checkpoints. Empty: the newest under runs/.
    """
    step: str = ""
    """Checkpoint to export: newest, best (lowest validation loss) or its step.
    Default: the one that RUN@STEP names, else the newest."""
    ema: bool | None = None
    """Take the averaged weights (ema_decay), or with false those of the step. Default: the averaged
    ones if the checkpoint has them."""
    out: str = ""
    """Folder to write; it must not exist yet, or be empty."""
    format: str = "hf"
    """hf for transformers, gguf for llama.cpp, safetensors for weights under our own names."""
    dtype: Literal["f32", "f16", "bf16", "q8_0"] = "f32"
    """Type of the weights; q8_0 (8 bits) in gguf only. Only f32 keeps every bit."""
    license: str = ""
    """Licence of the weights for the model card, such as mit. Empty: the card says there is none.
    """
    text: str = ""
    """Text file to check the export on. Empty: a built-in passage."""

    def __post_init__(self) -> None:
        require_step("step", self.step or "newest")
        require(bool(self.out), "out", self.out, "the folder to write: --out DIR")


def run(command: ExportCommand) -> int:
    """Write the export and print how it was proved; return the exit code."""
    from pathlib import Path

    from gpt_research.export.exporting import export_run
    from gpt_research.run import named_or_newest

    chosen = named_or_newest(command.run, command.step)
    proofs = export_run(
        chosen.folder,
        Path(command.out),
        step=chosen.step,
        ema=command.ema,
        format=command.format,
        dtype=command.dtype,
        licence=command.license,
        text_file=command.text,
    )
    print(f"Wrote {command.out} ({command.format}, {command.dtype}).")
    for proof in proofs:
        print(f"  {proof}")
    return 0
