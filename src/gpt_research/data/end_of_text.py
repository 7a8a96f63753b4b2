"""Which token of a vocabulary ends a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

END_OF_TEXT = "<|endoftext|>"
"""The special token put after each document."""
MARK = "end_of_text"
"""The entry of an added token in a tokenizer.json that ends a text under another name. Readers of
the format pass over an entry that they do not know."""
_USUAL = ("<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]")
"""Other names, if no file says which token it is."""


def find_end(listed: Sequence[Mapping[str, Any]], vocab: Mapping[str, int], folder: Path) -> str:
    """Return the name of the token that ends a text.

    It is the one that is marked, or `<|endoftext|>`, or the one that the files of Hugging Face's
    layout name, or one of the usual names.

    Args:
        listed: the added tokens of a tokenizer.json.
        vocab: its other tokens.
        folder: where it lies.
    """
    ids = dict(vocab) | {token["content"]: token["id"] for token in listed}
    marked = [token["content"] for token in listed if token.get(MARK)]
    for name in (*marked, END_OF_TEXT, *_named_beside(folder, ids), *_USUAL):
        if name in ids:
            return str(name)
    return END_OF_TEXT  # the vocabulary reports that it is missing


def _named_beside(folder: Path, ids: Mapping[str, int]) -> list[str]:
    """Return what tokenizer_config.json and config.json say, if they are there."""
    found: list[str] = []
    for file, entry in (("tokenizer_config.json", "eos_token"), ("config.json", "eos_token_id")):
        try:
            value = orjson.loads((folder / file).read_bytes()).get(entry)
        except (OSError, ValueError, AttributeError):
            continue
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            found.append(value)
        else:
            wanted = value if isinstance(value, list) else [value]
            found += [name for index in wanted for name, known in ids.items() if known == index]
    return found
