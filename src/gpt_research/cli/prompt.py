"""Reads a text that a command takes, from its flag or from standard input."""

from __future__ import annotations

from typing import BinaryIO

from gpt_research.base.errors import UserError


def read_prompt(prompt: str, standard_input: BinaryIO) -> str:
    """Return the prompt. If it is "-", it is read from standard input.

    Raises:
        UserError: standard input is empty, or the prompt is not UTF-8 text.
    """
    # Bytes of the command line that are not UTF-8 arrive as surrogates; this restores them.
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
