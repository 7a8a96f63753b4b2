"""`gpt-research generate`: read the prompt, load an engine, print the text as it is generated."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpt_research.base import hints
from gpt_research.base.errors import UserError, require
from gpt_research.base.stopping import Stopped
from gpt_research.cli.prompt import read_prompt
from gpt_research.cli.terminal import Terminal, said_after_the_text, say
from gpt_research.config import GenerateConfig, require_step

if TYPE_CHECKING:
    from gpt_research.generation.engine import GenerationEngine, Piece, Sample
    from gpt_research.run_reference import RunReference

RULE = "\n" + 40 * "─" + "\n"

GGUF_TYPES = {"auto": "f32", "fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""The type of the GGUF file for each precision."""


@dataclass(frozen=True)
class GenerateCommand(GenerateConfig):
    """The settings of `gpt-research generate`."""

    run: str = ""
    """Run folder, or RUN@STEP for one of its checkpoints. Empty: the newest under runs/."""
    step: str = ""
    """Checkpoint: newest, best (lowest validation loss) or its step.
    Default: the one that RUN@STEP names, else the newest."""
    ema: bool | None = None
    """Take the averaged weights (ema_decay), or with false those of the step. Default: the averaged
    ones if the checkpoint has them."""
    prompt: str = "\n"
    """Text to continue; - reads it from standard input; an empty one begins a document."""
    chat: bool | None = None
    """Take the prompt as a user's message, in the chat format of the run, and print the answer
    alone; false continues the prompt as it is. Default: as the run was fine-tuned."""
    interactive: bool = False
    """Ask for prompts, one after another, until /quit."""
    json: bool = False
    """Print one JSON object for each sample instead: prompt, text, ended, tokens, logprobs."""
    engine: Literal["torch", "llamacpp"] = "torch"
    """torch, or llamacpp: llama.cpp on the CPU, with a GGUF file of the run that is kept in its
    folder."""
    weights: Literal["same", "int8"] = "same"
    """int8 keeps the matrices in 8 bits, which is faster and a little less exact."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic and weights. auto: bf16 if the device is fast at it, else fp32."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_step("step", self.step or "newest")
        require(not (self.interactive and self.json), "json", True, "left out in an interactive session")
        alone = not self.interactive or self.num_samples == 1
        require(alone, "num_samples", self.num_samples, "1 in an interactive session")
        on_cpu = self.engine == "torch" or self.device in ("auto", "cpu")
        require(on_cpu, "device", self.device, "auto or cpu for --engine llamacpp")


def run(command: GenerateCommand) -> int:
    """Print the samples, or hold a conversation; return the exit code.

    Raises:
        UserError: a package is missing, or the prompt, the run or a setting is wrong.
    """
    open_engine = {"torch": open_torch, "llamacpp": open_llama_cpp}[command.engine]
    out = Terminal(sys.stdout)
    prompt = "" if command.interactive else read_prompt(command.prompt, sys.stdin.buffer)
    try:
        with open_engine(command) as (chosen, engine):
            chat = answers_messages(command, chosen)
            if command.interactive:
                from gpt_research.cli.interactive import Continuation, Conversation, converse

                converse(engine, command, out.write, talk=Conversation() if chat else Continuation())
            else:
                write(engine, command, prompt, chosen.folder, out, chat=chat)
    except (KeyboardInterrupt, Stopped):
        out.write("\n")
        raise
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does, and a later flush would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


@contextlib.contextmanager
def open_torch(command: GenerateCommand) -> Iterator[tuple[RunReference, GenerationEngine]]:
    """Load a checkpoint of the run into PyTorch; yield the run and the engine.

    Raises:
        UserError: the run is missing or damaged, or this machine lacks the device or kernels for
            the weights.
    """
    from gpt_research.base import startup
    from gpt_research.generation.torch_engine import TorchEngine
    from gpt_research.model.fast.packed import pack
    from gpt_research.run import load_model, named_or_newest

    chosen = named_or_newest(command.run, command.step)
    machine = startup.start(command.device, command.precision)
    model, tokenizer = load_model(chosen.folder, machine.device, chosen.step, command.ema)
    model = pack(model, machine, command.weights, rows=command.num_samples, use_up=True)
    yield chosen, TorchEngine(model, tokenizer, description=f"{machine.precision} on {machine.device_name}")


@contextlib.contextmanager
def open_llama_cpp(command: GenerateCommand) -> Iterator[tuple[RunReference, GenerationEngine]]:
    """Load a checkpoint of the run into llama.cpp; yield the run and the engine.

    Raises:
        UserError: a package is missing, or `gguf_of_run` or llama.cpp fails.
    """
    for package in ("xllamacpp", "gguf"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"--engine llamacpp needs {package}. Run: {hints.install('export', package)}")
    from gpt_research.export.gguf_of_run import gguf_of_run
    from gpt_research.generation.llama_cpp import LlamaCpp
    from gpt_research.generation.llama_cpp_engine import LARGEST_BATCH, LlamaCppEngine
    from gpt_research.run import named_or_newest

    chosen = named_or_newest(command.run, command.step)
    dtype = "q8_0" if command.weights == "int8" else GGUF_TYPES[command.precision]
    file = gguf_of_run(chosen.folder, dtype, chosen.step, command.ema, notice=say)
    slots = min(command.num_samples, LARGEST_BATCH)
    with (
        contextlib.closing(LlamaCpp(file.path, file.tokenizer, file.config.block_size, slots)) as llama,
        contextlib.closing(LlamaCppEngine(llama, dtype)) as engine,
    ):
        yield chosen, engine


def answers_messages(command: GenerateCommand, chosen: RunReference) -> bool:
    """Return whether the prompt is a user's message, and not a text to continue."""
    from gpt_research.data.chat_format import has_chat_format
    from gpt_research.training.inspect_run import training_of

    return has_chat_format(training_of(chosen).lineage) if command.chat is None else command.chat


def write(
    engine: GenerationEngine, command: GenerateCommand, prompt: str, folder: Path, out: Terminal, *, chat: bool = False
) -> None:
    """Print the samples of one prompt, and then the speed.

    Args:
        chat: the prompt is a user's message.

    Raises:
        UserError: the message is empty, or leaves no room for an answer.
    """
    from gpt_research.generation.engine import stream_samples

    asked: str | list[int] = message(engine, prompt) if chat else prompt
    if not prompt:
        say("The prompt is empty: the text begins a new document.")
    logprobs = 0 if command.json else None
    # JSON lists the log-probability of each token, and no alternatives.
    with said_after_the_text(out.end_line) as notice:
        pieces = Counted(stream_samples(engine, [asked], command, logprobs=logprobs, notice=notice))
        if command.json:
            print_json(pieces, prompt, out)
        else:
            print_samples(pieces, "" if chat else prompt, command.num_samples, out)
    say(f"{folder}, seed {command.seed}, {engine.description}: {pieces.speed()}")


def message(engine: GenerationEngine, prompt: str) -> list[int]:
    """Return the tokens after which the model answers a user's message.

    Raises:
        UserError: the message is empty, or leaves no room for an answer.
    """
    from gpt_research.data.chat_format import encode_chat

    if not prompt.strip():
        raise UserError(
            "This run answers messages, and the prompt is empty. Write one with --prompt, or continue texts with "
            "--chat false."
        )
    tokens = encode_chat(engine.tokenizer, [("user", prompt)])
    if len(tokens) >= engine.block_size:
        raise UserError(
            f"The message has {len(tokens):,} tokens in the chat format, which leave no room for an answer in the "
            f"context of {engine.block_size}. Shorten it."
        )
    return tokens


class Counted:
    """An iterable of pieces that measures the speed of generation."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = pieces
        self._tokens, self._elapsed_s = 0, 0.0

    def __iter__(self) -> Iterator[Piece]:
        started_at = time.perf_counter()
        for piece in self._pieces:
            if piece.sample is not None:
                self._tokens += len(piece.sample.tokens)
            yield piece
        self._elapsed_s = time.perf_counter() - started_at

    def speed(self) -> str:
        rate = self._tokens / max(self._elapsed_s, 1e-9)
        return f"{self._tokens} tokens in {self._elapsed_s:.1f} s ({rate:.1f} tokens/s)"


def print_samples(pieces: Iterable[Piece], prompt: str, num_samples: int, out: Terminal) -> None:
    """Print the samples in order. The first unfinished one is printed while it is generated."""
    waiting = [prompt] + [RULE + prompt] * (num_samples - 1)
    finished: set[int] = set()
    shown = 0
    for piece in pieces:
        waiting[piece.id] += piece.text
        if piece.sample is not None:
            finished.add(piece.id)
        # When a sample is finished, all that has gathered of the next one appears at once.
        while shown < num_samples:
            out.write(waiting[shown])
            waiting[shown] = ""
            if shown not in finished:
                break
            shown += 1
    out.write("\n")


def print_json(pieces: Iterable[Piece], prompt: str, out: Terminal) -> None:
    """Print one JSON object for each sample, each on its line, in order."""
    samples: dict[int, Sample] = {}
    shown = 0
    for piece in pieces:
        if piece.sample is not None:
            samples[piece.id] = piece.sample
        while shown in samples:
            out.write(json.dumps({"prompt": prompt, **vars(samples.pop(shown))}) + "\n")
            shown += 1
