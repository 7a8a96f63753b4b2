"""Byte-level vocabularies of the kinds that other models have, trained on texts of a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(use_regex: bool) -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def split(pattern: str, behavior: str = "isolated") -> Any:
    return pre_tokenizers.Split(Regex(pattern), behavior)


KINDS: dict[str, dict[str, Any]] = {
    "qwen": {
        "splits": [split(WORDS + r"\p{N}" + SIGNS), byte_level(False)],
        "normalizer": normalizers.NFC(),
        "specials": ["<|endoftext|>", "<|im_start|>"],
        "added": ["<think>", "</think>"],
    },
    "llama3": {
        "splits": [split(WORDS + r"\p{N}{1,3}" + SIGNS), byte_level(False)],
        "specials": ["<|begin_of_text|>", "<|end_of_text|>"],
        "ignore_merges": True,
        "end": "<|end_of_text|>",
    },
    "smollm": {
        "splits": [pre_tokenizers.Digits(individual_digits=True), byte_level(True)],
        "specials": ["<|endoftext|>"],
    },
    "deepseek": {
        "splits": [
            split("[\r\n]"),
            split(r"\s?\p{L}+"),
            split(r"\s?\p{P}+"),
            pre_tokenizers.Digits(individual_digits=True),
            byte_level(False),
        ],
        "specials": ["</s>"],
        "end": "</s>",
    },
    "nested": {
        "splits": [
            pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), split(" ", "merged_with_next")]),
            byte_level(True),
        ],
        "specials": ["<s>", "[EOS]"],
        "end": "[EOS]",
    },
}


def write_vocabulary(kind: str, texts: Sequence[str], path: Path) -> None:
    """Train a vocabulary with the package `tokenizers`, and save it as that does."""
    entry = KINDS[kind]
    learner = tokenizers.Tokenizer(models.BPE(ignore_merges=entry.get("ignore_merges", False)))
    learner.pre_tokenizer = pre_tokenizers.Sequence(entry["splits"])
    learner.decoder = decoders.ByteLevel()
    if "normalizer" in entry:
        learner.normalizer = entry["normalizer"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, show_progress=False, initial_alphabet=alphabet)
    learner.train_from_iterator([*texts, *texts], trainer)
    learner.add_special_tokens(entry["specials"])
    learner.add_tokens([AddedToken(name, normalized=False) for name in entry.get("added", [])])
    path.parent.mkdir(parents=True, exist_ok=True)
    learner.save(str(path))
