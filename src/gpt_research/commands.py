"""What each command is asked to do beside the settings of `config`: frozen dataclasses, one a command.

As there, a field is a flag of the command by the same name. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gpt_research.base.errors import require


@dataclass(frozen=True)
class ExportCommand:
    """What `gpt-research export` is asked to do."""

    run: str = ""
    """Run folder to export. Empty: the newest under runs/."""
    out: str = ""
    """Folder to write; it must not exist yet, or be empty."""
    format: Literal["hf", "gguf", "safetensors"] = "hf"
    """hf for transformers, gguf for llama.cpp, safetensors for weights under our own names."""
    dtype: Literal["f32", "f16", "bf16", "q8_0"] = "f32"
    """Type of the weights; q8_0 (8 bits) in gguf only. Only f32 keeps every bit."""
    license: str = ""
    """Licence of the weights for the model card, such as mit. Empty: the card says that none was chosen."""
    text: str = ""
    """Text file to check the export on. Empty: a built-in passage."""

    def __post_init__(self) -> None:
        require(bool(self.out), "out", self.out, "the folder to write: --out DIR")
        fits = self.dtype != "q8_0" or self.format == "gguf"
        require(fits, "dtype", self.dtype, f"f32, f16 or bf16 for --format {self.format}")


@dataclass(frozen=True)
class ImportCommand:
    """What `gpt-research import` is asked to do."""

    source: str = ""
    """A folder in Hugging Face's layout or of export --format safetensors, a hub name, or nanoGPT's ckpt.pt."""
    out: str = ""
    """Run folder to write; it must not exist yet, or be empty."""
    tokenizer: str = "auto"
    """auto takes the source's own, or GPT-2's where it has none and the size fits; gpt2; or a tokenizer.json."""
    allow_pickle: bool = False
    """Open a ckpt.pt, which is a pickle, with torch's restricted reader. Only for files you trust."""
    revision: str = "main"
    """Branch, tag or commit of a hub name."""

    def __post_init__(self) -> None:
        require(bool(self.source), "source", self.source, "a folder, a hub name or a ckpt.pt")
        require(bool(self.out), "out", self.out, "the run folder to write: --out DIR")
