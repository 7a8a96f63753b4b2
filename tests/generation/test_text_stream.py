"""Streamed text has whole characters and no part of a stop text, for any division into tokens."""

from __future__ import annotations

import random

import pytest

from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.text_stream import TextStream


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Bytes and a few merges, so that most characters outside ASCII take several tokens."""
    return Tokenizer.train(["abc abc abcd bcd abab"], 265)


def stream(tokenizer: Tokenizer, tokens: list[int], stop: list[str]) -> tuple[list[str], bool]:
    """The pieces of a stream, and whether it found a stop text."""
    text = TextStream(tokenizer, stop)
    pieces = []
    for token in tokens:
        pieces.append(text.push(token))
        if text.stopped:
            break
    return [*pieces, text.flush()], text.stopped


def cut(text: str, stop: list[str]) -> str:
    """The text before the stop text that is complete first, the longest of several."""
    for end in range(len(text) + 1):
        found = [len(s) for s in stop if text[:end].endswith(s)]
        if found:
            return text[: end - max(found)]
    return text


@pytest.mark.parametrize("text", ["naïve café", "日本語のテキスト", "🙂👩‍👩‍👧 ok", "a\u0301 z\u0335"])
def test_pieces_are_whole_characters_and_join_to_the_text(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)
    assert len(tokens) > len(text)
    pieces, _ = stream(tokenizer, tokens, [])
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_cut_short_at_the_end_is_dropped(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("ok 語".encode())[:-1]
    assert "".join(stream(tokenizer, tokens, [])[0]) == "ok "


def test_bytes_that_are_no_text_show_as_replacement_characters(tokenizer: Tokenizer) -> None:
    assert "".join(stream(tokenizer, tokenizer.encode(b"a\xff\xfeb"), [])[0]) == "a\ufffd\ufffdb"


def test_text_is_cut_before_the_first_stop_text_whatever_the_tokens(tokenizer: Tokenizer) -> None:
    rng = random.Random(0)
    for _ in range(1500):
        text = "".join(rng.choices("abc", k=rng.randrange(1, 14)))
        stop = ["".join(rng.choices("abc", k=rng.randrange(1, 5))) for _ in range(rng.randrange(1, 4))]
        places = sorted(rng.sample(range(len(text) + 1), k=min(3, len(text))))
        chunks = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
        tokens = [token for chunk in chunks for token in tokenizer.encode(chunk)]
        pieces, stopped = stream(tokenizer, tokens, stop)
        assert "".join(pieces) == cut(text, stop), (text, stop, chunks)
        assert stopped == any(s in text for s in stop)


def test_the_beginning_of_a_stop_text_is_held_back_until_it_is_none(tokenizer: Tokenizer) -> None:
    text = TextStream(tokenizer, ["\n\nEnd"])
    ids = [tokenizer.encode(character)[0] for character in "x\n\nEy"]
    assert [text.push(token) for token in ids] == ["x", "", "", "", "\n\nEy"]


def test_nothing_is_held_back_without_need(tokenizer: Tokenizer) -> None:
    text = TextStream(tokenizer, ["###"])
    assert [text.push(token) for token in tokenizer.encode("xyz")] == ["x", "y", "z"]


def test_what_looked_like_a_beginning_comes_at_the_end(tokenizer: Tokenizer) -> None:
    pieces, stopped = stream(tokenizer, tokenizer.encode("x##"), ["###"])
    assert ("".join(pieces), stopped) == ("x##", False)
