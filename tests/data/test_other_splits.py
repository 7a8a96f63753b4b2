"""Vocabularies that split text in other ways than GPT-2: the ids are those of `tokenizers`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hard_texts import HARD_TEXTS
from other_splits import KINDS, write_vocabulary

from gpt_research.base.errors import UserError
from gpt_research.data.tokenizer import Tokenizer

TEXTS = [
    *(text for text in HARD_TEXTS if "<|" not in text and not any("\ud800" <= c <= "\udfff" for c in text)),
    "1234567 x\u0663\u0664 a1b22 \u00bd",
    "e\u0301 caf\u00e9 cafe\u0301 \u1100\u1161\u11a8 \u212b \u1e9b\u0323 ",
    "<think>hm</think>\n\n<tool>x</tool> <think",
    "line\r\n\r\n  indented\n\tand tabs  \n",
    "I'M WE'LL he's O'Neil ''tis",
]


@pytest.fixture(scope="session")
def file_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that returns the tokenizer.json of a kind, trained here."""
    root = tmp_path_factory.mktemp("splits")

    def make(kind: str) -> Path:
        path = root / kind / "tokenizer.json"
        if not path.is_file():
            write_vocabulary(kind, TEXTS, path)
        return path

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_the_ids_are_those_of_tokenizers_and_the_text_comes_back(kind: str, file_of: Callable[[str], Path]) -> None:
    own, peer = Tokenizer.load(file_of(kind)), tokenizers.Tokenizer.from_file(str(file_of(kind)))
    assert own.vocab_size == peer.get_vocab_size()
    for text in TEXTS:
        ids = own.encode(text)
        assert ids == peer.encode(text, add_special_tokens=False).ids, text
        assert own.decode(ids) == own.prepared(text)
        assert own.byte_lengths[ids].sum() == len(own.prepared(text).encode())
        stream = own.stream_decoder()
        assert "".join(map(stream.push, ids)) + stream.flush() == own.prepared(text)
    ids, counts = own.encode_batch(TEXTS, threads=2)
    assert ids.tolist() == [index for text in TEXTS for index in own.encode(text)]
    assert counts.tolist() == [len(own.encode(text)) for text in TEXTS]
    assert own.decode_bytes(own.encode(b"ab\xff\xfe\xc3")) == b"ab\xff\xfe\xc3"


@pytest.mark.parametrize("kind", KINDS)
def test_a_special_token_is_text_in_a_text_and_the_end_is_found(kind: str, file_of: Callable[[str], Path]) -> None:
    own, entry = Tokenizer.load(file_of(kind)), KINDS[kind]
    end = entry.get("end", "<|endoftext|>")
    assert own.decode([own.end_of_text]) == ""
    assert own.end_of_text == tokenizers.Tokenizer.from_file(str(file_of(kind))).token_to_id(end)
    for name in entry["specials"]:
        assert own.decode(own.encode(f"a {name} b")) == f"a {name} b"
    for name in entry.get("added", []):
        assert len(own.encode(name)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_the_same_tokenizer_for_us_and_for_transformers(
    kind: str, file_of: Callable[[str], Path], tmp_path: Path
) -> None:
    own = Tokenizer.load(file_of(kind))
    own.save(tmp_path / "tokenizer.json")
    again, peer = (
        Tokenizer.load(tmp_path / "tokenizer.json"),
        tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")),
    )
    assert again.vocabulary == own.vocabulary
    assert again.fingerprint == own.fingerprint
    assert all(peer.encode(text).ids == own.encode(text) for text in TEXTS)


def test_rules_are_a_part_of_the_fingerprint(file_of: Callable[[str], Path], tmp_path: Path) -> None:
    content = json.loads(file_of("qwen").read_text())
    variants = [content, content | {"normalizer": None}]
    variants.append(content | {"model": content["model"] | {"ignore_merges": True}})
    variants.append(content | {"pre_tokenizer": content["pre_tokenizer"]["pretokenizers"][1] | {"use_regex": True}})
    prints = set()
    for number, variant in enumerate(variants):
        (tmp_path / f"{number}.json").write_text(json.dumps(variant))
        prints.add(Tokenizer.load(tmp_path / f"{number}.json").fingerprint)
    assert len(prints) == len(variants)


def test_the_end_of_text_is_what_the_files_beside_say(file_of: Callable[[str], Path], tmp_path: Path) -> None:
    content = json.loads(file_of("llama3").read_text())
    start = next(token["id"] for token in content["added_tokens"] if token["content"] == "<|begin_of_text|>")
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [start, 99_999]}))
    assert Tokenizer.load(tmp_path / "tokenizer.json").end_of_text == start
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|end_of_text|>"}}))
    assert Tokenizer.load(tmp_path / "tokenizer.json").end_of_text != start
    # It stays when the file moves away from the others.
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|begin_of_text|>"}))
    Tokenizer.load(tmp_path / "tokenizer.json").save(tmp_path / "alone" / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "alone" / "tokenizer.json").end_of_text == start


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "normalises text .Lowercase."),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "_"}}, "Metaspace, which is not supported"),
        ({"pre_tokenizer": {"type": "Digits", "individual_digits": True}}, "ByteLevel must be the last"),
        ({"removed": True}, "removes text"),
        ({"added": {"single_word": True}}, "depends on the text around it"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_words(
    change: dict[str, Any], reason: str, file_of: Callable[[str], Path], tmp_path: Path
) -> None:
    content = json.loads(file_of("qwen").read_text())
    if change.pop("removed", False):
        content["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"
    content["added_tokens"][-1] |= change.pop("added", {})
    (tmp_path / "t.json").write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=reason):
        Tokenizer.load(tmp_path / "t.json")


def test_bytes_that_utf8_never_has_may_be_missing(file_of: Callable[[str], Path], tmp_path: Path) -> None:
    content = json.loads(file_of("smollm").read_text())
    vocab = content["model"]["vocab"]
    gone = [name for name in vocab if name in ("\u00f5", "\u00ff")]  # the bytes F5 and FF
    kept = [name for name in sorted(vocab, key=vocab.get) if name not in gone]
    content["model"]["vocab"] = {name: index for index, name in enumerate(kept)}
    content["added_tokens"][0]["id"] = len(kept)
    (tmp_path / "t.json").write_text(json.dumps(content))
    own = Tokenizer.load(tmp_path / "t.json")
    assert all(own.decode(own.encode(text)) == text for text in TEXTS)
    with pytest.raises(UserError, match="no token for the byte 0xFF"):
        own.encode(b"a\xff")
    assert np.all(own.byte_lengths[own.encode("abc")] > 0)
