"""llama.cpp as the engine of `generate`: the GGUF file of a run, made where it is not there yet, and opened."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from gpt_research.commands import GenerateCommand
from gpt_research.export.gguf_of_run import gguf_of_run
from gpt_research.generation.engine import Engine
from gpt_research.generation.llama_cpp import LlamaCpp
from gpt_research.generation.llama_cpp_engine import LARGEST_BATCH, LlamaCppEngine
from gpt_research.generation.torch_engine import say

TYPES = {"auto": "f32", "fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""Precision -> type of the file."""


@contextlib.contextmanager
def open_llama_cpp(run: Path, command: GenerateCommand) -> Iterator[Engine]:
    """Load a run's newest whole checkpoint into llama.cpp, by way of its GGUF file.

    Raises:
        UserError: as `gguf_of_run` does.
    """
    dtype = "q8_0" if command.weights == "int8" else TYPES[command.precision]
    file = gguf_of_run(run, dtype, say)
    slots = min(command.num_samples, LARGEST_BATCH)
    with contextlib.closing(LlamaCpp(file.path, file.tokenizer, file.config.block_size, slots)) as llama:
        yield LlamaCppEngine(llama, file.config, dtype, slots, logprobs=command.json)
