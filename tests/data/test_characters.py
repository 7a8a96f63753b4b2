"""Vocabularies of single characters: ids, refusals, and the file, which other programs read."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from gpt_research.base.errors import UserError
from gpt_research.data.tokenizer import Tokenizer

CHARACTERS = "\n aé\u0301Кни鯨\U0001f40b"


@pytest.fixture(scope="module")
def characters() -> Tokenizer:
    return Tokenizer.from_characters(CHARACTERS)


def test_ids_are_the_places_in_the_list_and_the_end_comes_last(characters: Tokenizer) -> None:
    assert characters.encode("Кни") == [5, 6, 7]
    assert (characters.vocab_size, characters.end_of_text) == (len(CHARACTERS) + 1, len(CHARACTERS))
    assert characters.byte_lengths.tolist() == [len(c.encode()) for c in CHARACTERS] + [0]


@given(st.lists(st.text(CHARACTERS)))
def test_texts_come_back_one_by_one_and_in_batches(texts: list[str]) -> None:
    tokenizer = Tokenizer.from_characters(CHARACTERS)
    tokens, counts = tokenizer.encode_batch(texts)
    assert tokens.dtype == tokenizer.dtype
    assert counts.tolist() == [len(text) for text in texts]
    assert tokenizer.decode(tokens.tolist()) == "".join(texts)
    for text in texts:
        assert tokenizer.encode(text) == tokenizer.encode(text.encode()) == [CHARACTERS.index(c) for c in text]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a Z", "'Z' \\(U\\+005A, LATIN CAPITAL LETTER Z\\)"),
        ("\U0001f30a", "U\\+1F30A"),
        ("\0", "'.x00' \\(U\\+0000\\)"),
        ("\ud800", "U\\+FFFD"),
        (b"a\xff", "0xFF"),
    ],
)
def test_another_character_is_refused_by_its_name(characters: Tokenizer, text: str | bytes, named: str) -> None:
    with pytest.raises(UserError, match=named):
        characters.encode(text)
    if isinstance(text, str):
        with pytest.raises(UserError, match=named):
            characters.encode_batch(["a", text])
        assert set(characters.known_part(text)) <= set(CHARACTERS)


@pytest.mark.parametrize(("listed", "problem"), [(["a", "bc"], "not one character"), ("aba", "'a' comes twice")])
def test_a_list_with_other_entries_is_refused(listed: list[str], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        Tokenizer.from_characters(listed)


def test_the_file_brings_back_the_same_vocabulary(characters: Tokenizer, tmp_path: Path) -> None:
    characters.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again.vocabulary == characters.vocabulary
    assert again.fingerprint == pickle.loads(pickle.dumps(characters)).fingerprint == characters.fingerprint
    assert Tokenizer.from_characters(CHARACTERS[::-1]).fingerprint != characters.fingerprint


def test_hugging_faces_tokenizers_read_the_file_with_the_same_ids(characters: Tokenizer) -> None:
    peer = tokenizers.Tokenizer.from_str(characters.vocabulary.to_json())
    for text in (CHARACTERS, " \n\n  a", "鯨\U0001f40b\n"):
        ids = peer.encode(text).ids
        assert ids == characters.encode(text)
        assert peer.decode(ids) == text
    with pytest.raises(Exception, match="UNK"):
        peer.encode("Z")


def test_a_file_whose_ids_have_a_gap_is_refused(characters: Tokenizer, tmp_path: Path) -> None:
    content = json.loads(characters.vocabulary.to_json())
    content["model"]["vocab"]["a"] = 99
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be used as a tokenizer: its token ids"):
        Tokenizer.load(tmp_path / "tokenizer.json")
