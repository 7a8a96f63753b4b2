"""The tokenizer inside a GGUF file.

llama.cpp knows the splits of vocabularies by name. It does not compose accents, so a text that is
not in the form NFC may become other tokens there than here, if the vocabulary asks for that form.
"""

from __future__ import annotations

from typing import Any

import orjson

from gpt_research.base.errors import UserError
from gpt_research.data.text_rules import SPLIT_PATTERN, TextRules
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.data.vocabulary import CharacterVocabulary, Vocabulary, spell, unspell

NORMAL, CONTROL, ADDED = 1, 3, 4
"""Types of a token; an added token is text that is matched before the merges apply."""
_NO_MERGE = "\ue000 \ue001"
"""A merge of two texts that no token has. llama.cpp refuses a file without merges, and a vocabulary
of single characters has none; llama.cpp then finds each character as an added token."""

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {
    "gpt-2": ((SPLIT_PATTERN,), False),
    "smollm": (('{"type":"Digits","individual_digits":true}', SPLIT_PATTERN), False),
    "qwen2": ((rf"{_WORDS}\p{{N}}{_SIGNS}",), False),
    "llama-bpe": ((rf"{_WORDS}\p{{N}}{{1,3}}{_SIGNS}",), True),
}
"""llama.cpp's name of a split: its patterns, and whether a piece that is a token is taken whole."""
_RULES, _COMPOSED = "gpt_research.tokenizer.splits", "gpt_research.tokenizer.composed"
"""Keys of our own, so that a file can be read back; llama.cpp passes over them."""


def add_tokenizer(writer: Any, vocabulary: Vocabulary) -> None:
    """Add the keys of a vocabulary to a `gguf.GGUFWriter`.

    Raises:
        UserError: llama.cpp has no such split.
    """
    rules = vocabulary.rules
    split = next((name for name, known in SPLITS.items() if known == (rules.patterns, rules.whole_pieces)), None)
    if split is None:
        raise UserError(
            f"llama.cpp does not know how this tokenizer splits text ({orjson.dumps(rules.patterns).decode()}); "
            f"it knows those of {', '.join(SPLITS)}. --format hf takes any."
        )
    types = dict.fromkeys(vocabulary.specials.values(), CONTROL) | dict.fromkeys(vocabulary.added.values(), ADDED)
    # These tokens stand in the file as plain text; all others in GPT-2's spelling of bytes.
    names = {index: name for name, index in (vocabulary.specials | vocabulary.added).items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list([names.get(i) or spell(token) for i, token in enumerate(vocabulary.tokens)])
    writer.add_token_types([types.get(i, NORMAL) for i in range(len(vocabulary.tokens))])
    merges = [f"{spell(left)} {spell(right)}" for left, right in vocabulary.merges]
    writer.add_token_merges(merges or [_NO_MERGE])
    end = vocabulary.specials[vocabulary.end_of_text]
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)  # a prompt is not the beginning of a document
    writer.add_string(_RULES, rules.splits)
    writer.add_bool(_COMPOSED, rules.composed)


def read_tokenizer(values: dict[str, Any]) -> Tokenizer:
    """Return the tokenizer of a file that `add_tokenizer` wrote into.

    Args:
        values: of all keys of the file.
    """
    spelled, types = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    named: dict[int, dict[str, int]] = {CONTROL: {}, ADDED: {}}
    tokens = []
    for index, (name, kind) in enumerate(zip(spelled, types, strict=True)):
        if kind != NORMAL:
            named[kind][name] = index
        tokens.append(b"" if kind == CONTROL else name.encode() if kind == ADDED else unspell(name))
    if NORMAL not in types:
        return Tokenizer(CharacterVocabulary.from_ids(named[ADDED], named[CONTROL]))
    merges = [merge.split(" ") for merge in values["tokenizer.ggml.merges"]]
    pairs = tuple((unspell(left), unspell(right)) for left, right in merges)
    end = spelled[values["tokenizer.ggml.eos_token_id"]]
    _, whole_pieces = SPLITS[values["tokenizer.ggml.pre"]]
    rules = TextRules(values[_RULES], bool(values[_COMPOSED]), whole_pieces)
    return Tokenizer(Vocabulary(tuple(tokens), pairs, named[CONTROL], named[ADDED], end, rules))
