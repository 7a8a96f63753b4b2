"""What `gpt-research generate` does: find the run, read the prompt, write to the terminal as the text comes.

Text goes to standard output, everything said about it to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, TextIO

from gpt_research.base.errors import UserError
from gpt_research.cli.interactive import converse
from gpt_research.commands import GenerateCommand
from gpt_research.generation.engine import Engine, open_torch
from gpt_research.generation.torch_engine import Piece, Sample, say
from gpt_research.run import newest_run

RULE = "\n" + 40 * "─" + "\n"


OpenEngine = Callable[[Path, GenerateCommand], AbstractContextManager[Engine]]
"""Loads a run as a command wants it, and lets it go afterwards."""


def run(command: GenerateCommand, open_engine: OpenEngine = open_torch) -> int:
    """Write what the command asks for; return the exit code.

    Raises:
        UserError: the prompt, the run or a setting is at fault.
    """
    prompt = "" if command.interactive else read_prompt(command.prompt, sys.stdin.buffer)
    folder = Path(command.run) if command.run else newest_run(Path("runs"))
    out = Terminal(sys.stdout)
    try:
        with open_engine(folder, command) as engine:
            if command.interactive:
                converse(engine, command, out.write)
                return 0
            if not prompt:
                say("The prompt is empty: the text begins a new document.")
            pieces = Counted(engine.stream(prompt, command))
            if command.json:
                print_json(pieces, prompt, out)
            else:
                print_samples(pieces, prompt, command.num_samples, out)
            say(f"{folder}, seed {command.seed}, {engine.description}: {pieces.speed()}")
    except KeyboardInterrupt:
        out.write("\n")
        return 130
    except BrokenPipeError:  # the reader has seen enough, as `head` does; nothing more may be flushed to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def read_prompt(prompt: str, standard_input: BinaryIO) -> str:
    """Return the prompt, from standard input where it is "-".

    Raises:
        UserError: standard input is empty, or the prompt is no UTF-8 text.
    """
    data = standard_input.read() if prompt == "-" else prompt.encode("utf-8", "surrogateescape")
    where = "Standard input" if prompt == "-" else "The prompt"
    if prompt == "-" and not data:
        raise UserError("Standard input holds no prompt. Pipe a text in, or give it with --prompt.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where} is not UTF-8 text: byte {data[error.start]:#04x} at position {error.start}. "
            "Convert it to UTF-8 first."
        ) from None
    if "\0" in text:
        raise UserError(f"{where} is no text: it has a zero byte at position {data.index(0)}.")
    return text


class Terminal:
    """Standard output, safe for what a model may write."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        # A model can write any character; on a screen control characters would do more than show themselves.
        controls = [*range(32), *range(127, 160)] if out.isatty() else []
        self._shown = {code: "\ufffd" for code in controls if chr(code) not in "\n\t"}

    def write(self, text: str) -> None:
        """Show text at once."""
        text = text.translate(self._shown)
        encoding = self._out.encoding or "utf-8"
        self._out.write(text.encode(encoding, "replace").decode(encoding))
        self._out.flush()


class Counted:
    """Pieces on their way, with the speed at which they came."""

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
    """Stream the first sample; the others, written beside it, follow in order as soon as they can."""
    waiting = [prompt] + [RULE + prompt] * (num_samples - 1)
    finished: set[int] = set()
    shown = 0
    for piece in pieces:
        waiting[piece.index] += piece.text
        if piece.sample is not None:
            finished.add(piece.index)
        while shown < num_samples:
            out.write(waiting[shown])
            waiting[shown] = ""
            if shown not in finished:
                break
            shown += 1
    out.write("\n")


def print_json(pieces: Iterable[Piece], prompt: str, out: Terminal) -> None:
    """Print one object a line for each sample, in order."""
    samples: dict[int, Sample] = {}
    shown = 0
    for piece in pieces:
        if piece.sample is not None:
            samples[piece.index] = piece.sample
        while shown in samples:
            out.write(json.dumps({"prompt": prompt, **vars(samples.pop(shown))}) + "\n")
            shown += 1
