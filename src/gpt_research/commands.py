"""What each command is asked to do beside the settings of `config`: frozen dataclasses, one a command.

As there, a field is a flag of the command by the same name. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gpt_research.base.errors import require
from gpt_research.config import GenerateConfig


@dataclass(frozen=True)
class GenerateCommand(GenerateConfig):
    """What `gpt-research generate` is asked to do."""

    run: str = ""
    """Run folder to write with. Empty: the newest under runs/."""
    prompt: str = "\n"
    """Text to go on from; - reads it from standard input; empty begins a document."""
    interactive: bool = False
    """Ask for prompts, one after another, until /quit."""
    json: bool = False
    """Print one JSON object a sample instead: prompt, text, ended, tokens, logprobs."""
    engine: Literal["torch", "llamacpp"] = "torch"
    """torch, or llamacpp: llama.cpp on the CPU, with a GGUF file made of the run and kept in its folder."""
    weights: Literal["same", "int8"] = "same"
    """int8 keeps the matrices in 8 bits: faster, a little less exact."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic and weights. auto: bf16 where the device is fast at it, else fp32."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not (self.interactive and self.json), "json", True, "left out in an interactive session")
        alone = not self.interactive or self.num_samples == 1
        require(alone, "num_samples", self.num_samples, "1 in an interactive session")
        on_cpu = self.engine == "torch" or self.device in ("auto", "cpu")
        require(on_cpu, "device", self.device, "auto or cpu for --engine llamacpp")


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
