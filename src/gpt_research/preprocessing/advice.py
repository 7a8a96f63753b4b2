"""Settings that fit the size of a corpus: the tokenizer and the share of validation.

The defaults are those of GPT-2 and of a large corpus. Own notes are small: most of 50,257 entries
would never be learnt, and one document in two hundred is none.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any

from gpt_research.base import hints
from gpt_research.preprocessing.formats.files import printable
from gpt_research.preprocessing.remarks import LEAST_DOCUMENTS, LEAST_TOKENS, fitting_fraction
from gpt_research.preprocessing.room import in_units
from gpt_research.preprocessing.settings import PreprocessConfig

LITTLE_TEXT = 100_000_000
"""Bytes of text below which a tokenizer of its own fits better than GPT-2's."""
SMALLEST_VOCABULARY = 512
_BYTES_PER_TOKEN = 3.5


def fitting_vocabulary(text_bytes: int) -> int:
    """Return the entries of a tokenizer for a text: about the square root of its bytes.

    So each entry comes up some hundred times, and a model can learn it: 1,024 for a megabyte, 4,096
    for 11 MB, 8,192 for 100 MB.
    """
    return max(SMALLEST_VOCABULARY, 2 ** round(math.log2(math.sqrt(max(text_bytes, 1)))))


def better_settings(config: PreprocessConfig, text_bytes: int, documents: int) -> dict[str, str]:
    """Return the flags, with values, that fit a text better than those of `config`.

    Args:
        text_bytes: bytes of the text of all corpora.
        documents: their documents.
    """
    flags: dict[str, str] = {}
    if not documents:
        return flags
    vocabulary = fitting_vocabulary(text_bytes)
    # A vocabulary may be chosen twice as large or as small without harm.
    too_large = config.tokenizer == "train" and config.vocab_size > 2 * vocabulary
    if text_bytes < LITTLE_TEXT and (config.tokenizer == "gpt2" or too_large):
        flags |= {"tokenizer": "train", "vocab_size": str(vocabulary)}
    tokens = text_bytes / _BYTES_PER_TOKEN
    fraction = fitting_fraction(documents, tokens)
    is_small = documents * config.val_fraction < LEAST_DOCUMENTS or tokens * config.val_fraction < LEAST_TOKENS
    if 0 < config.val_fraction < fraction and is_small:
        flags["val_fraction"] = f"{fraction:g}"
    return flags


def advice(config: PreprocessConfig, text_bytes: int, documents: int, out: str) -> str:
    """Return a sentence with the command that fits a text better, or an empty string.

    Args:
        out: where the command shall write.
    """
    flags = better_settings(config, text_bytes, documents)
    if not flags:
        return ""
    chosen = {name: _value(value) for name, value in _changed(config).items()} | flags | {"out": out}
    words = [*config.corpora, *(word for name, value in chosen.items() for word in (f"--{name}", value))]
    return printable(
        f"For {in_units(text_bytes)} of text in {documents:,} document{'s' * (documents != 1)}, other settings fit "
        f"better: {hints.command('preprocess', *words)}"
    )


def _changed(config: PreprocessConfig) -> dict[str, Any]:
    """Return the settings that the user has chosen, but for those that the sentence names."""
    defaults = PreprocessConfig()
    names = (f.name for f in fields(config) if f.name not in ("corpora", "out", "dry_run"))
    return {name: getattr(config, name) for name in names if getattr(config, name) != getattr(defaults, name)}


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
