"""What the command needs of a program that writes: PyTorch here, llama.cpp in `serving`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from gpt_research.base import runtime
from gpt_research.commands import GenerateCommand
from gpt_research.config import GenerateConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.torch_engine import Piece, stream
from gpt_research.model.fast.packed import pack
from gpt_research.model.gpt import GPT
from gpt_research.run import load_model


class Engine(Protocol):
    """A model, loaded to write."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def block_size(self) -> int: ...

    @property
    def description(self) -> str:
        """Arithmetic and machine, for the last line of the command."""
        ...

    def stream(self, prompt: str, config: GenerateConfig) -> Iterator[Piece]:
        """Yield the pieces of all samples, as `inference.generate.stream` does."""
        ...


class TorchEngine:
    """Our own model in PyTorch."""

    def __init__(self, model: GPT, tokenizer: Tokenizer, description: str = "") -> None:
        self.model, self.tokenizer, self.description = model, tokenizer, description

    @property
    def block_size(self) -> int:
        return self.model.config.block_size

    def stream(self, prompt: str, config: GenerateConfig) -> Iterator[Piece]:
        return stream(self.model, self.tokenizer, prompt, config)


@contextlib.contextmanager
def open_torch(run: Path, command: GenerateCommand) -> Iterator[Engine]:
    """Load a run's newest whole checkpoint as the command wants it.

    Raises:
        UserError: no such run, damage, or a device or weights that are not to be had here.
    """
    machine = runtime.start(command.device, command.precision)
    model, tokenizer = load_model(run, machine.device)
    model = pack(model, machine, command.weights, rows=command.num_samples)
    yield TorchEngine(model, tokenizer, f"{machine.precision} on {machine.device_name}")
