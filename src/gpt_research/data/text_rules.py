"""What a byte-level tokenizer does with a text before it merges bytes, and how it merges.

GPT-2 splits a text by its pattern and merges inside the pieces. Later vocabularies have other
patterns, such as Qwen's and Llama 3's; some bring the text into Unicode's normal form first. The
rules are those of a tokenizer.json, reduced to what decides the ids of a text. Rules that lose text
are refused. This module knows nothing about tokens.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

SPLIT_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""GPT-2's split of text into pieces; no token crosses a piece (Radford et al. 2019, the released
`encoder.py`)."""

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_OPTIONS = {
    "Split": ("pattern", "behavior", "invert"),
    "Digits": ("individual_digits",),
    "Punctuation": ("behavior",),
    "UnicodeScripts": (),
    "ByteLevel": ("use_regex",),
}
"""The splits of a tokenizer.json that can be kept without loss, and their options."""


class RulesError(ValueError):
    """The rules of a tokenizer.json lose text, or are not supported; the message says which."""


@dataclass(frozen=True)
class TextRules:
    """How a text is prepared, split and merged. The defaults are GPT-2's."""

    splits: str = '[{"type":"ByteLevel","use_regex":true}]'
    """The splits of a tokenizer.json, one after another, as JSON; ByteLevel is the last."""
    composed: bool = False
    """The text is brought into Unicode's form NFC, in which an accent is a part of its letter."""
    whole_pieces: bool = False
    """A piece that is a token is taken as it is, even if merges would not make it."""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> TextRules:
        """Return the rules of a tokenizer.json.

        Raises:
            RulesError: it loses text, or does something that is not supported.
        """
        model = content["model"]
        if model.get("type", "BPE") != "BPE":
            raise RulesError(f"its model is {model['type']}, not byte-level BPE")
        for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(option):
                raise RulesError(f"its model sets {option}, which is not supported")
        splits = [_reduced(split) for split in _flat(content.get("pre_tokenizer"), "pretokenizers")]
        kinds = [split["type"] for split in splits]
        if kinds.count("ByteLevel") != 1 or kinds[-1] != "ByteLevel":
            raise RulesError(f"its pre-tokenizers are {', '.join(kinds) or 'none'}, and ByteLevel must be the last")
        forms = [form.get("type") for form in _flat(content.get("normalizer"), "normalizers")]
        if other := [form for form in forms if form != "NFC"]:
            raise RulesError(f"it normalises text ({other[0]}), so texts would not come back")
        return cls(orjson.dumps(splits).decode(), bool(forms), bool(model.get("ignore_merges")))

    def prepared(self, text: str) -> str:
        """Return a text as it is split: its bytes are those of its tokens."""
        return unicodedata.normalize("NFC", text) if self.composed else text

    @property
    def pre_tokenizer(self) -> dict[str, Any]:
        """The entry of a tokenizer.json."""
        splits = [{**_BYTE_LEVEL, **split} if split["type"] == "ByteLevel" else split for split in self._splits]
        return splits[0] if len(splits) == 1 else {"type": "Sequence", "pretokenizers": splits}

    @property
    def normalizer(self) -> dict[str, Any] | None:
        """The entry of a tokenizer.json."""
        return {"type": "NFC"} if self.composed else None

    @property
    def patterns(self) -> tuple[str, ...]:
        """The splits in short: the pattern of each, or its kind."""
        short = []
        for split in self._splits:
            if split["type"] == "Split":
                short.append(next(iter(split["pattern"].values())))
            elif split["type"] == "ByteLevel":
                short += [SPLIT_PATTERN] if split["use_regex"] else []
            else:
                short.append(orjson.dumps(split).decode())
        return tuple(short)

    @property
    def _splits(self) -> list[dict[str, Any]]:
        splits: list[dict[str, Any]] = orjson.loads(self.splits)
        return splits


GPT2_RULES = TextRules()


def _flat(entry: Mapping[str, Any] | None, members: str) -> list[Mapping[str, Any]]:
    """Return the members of a sequence, of any depth, or the one entry, or nothing."""
    if entry is None:
        return []
    if entry.get("type") != "Sequence":
        return [entry]
    return [each for member in entry[members] for each in _flat(member, members)]


def _reduced(split: Mapping[str, Any]) -> dict[str, Any]:
    """Return a split with the options that decide pieces; refuse one that loses text."""
    kind = split.get("type")
    if kind not in _OPTIONS:
        raise RulesError(f"its pre-tokenizer is {kind}, which is not supported")
    if split.get("behavior") == "Removed":
        raise RulesError(f"its pre-tokenizer {kind} removes text, so texts would not come back")
    if split.get("add_prefix_space", kind == "ByteLevel"):
        raise RulesError("it puts a space before every text (add_prefix_space), so texts would not come back")
    defaults = {"use_regex": True, "invert": False, "individual_digits": False}
    return {"type": kind, **{name: split.get(name, defaults.get(name)) for name in _OPTIONS[kind]}}
