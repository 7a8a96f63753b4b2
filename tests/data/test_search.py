"""Documents in lists, and texts found in token shards: the same as in the decoded documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_research.base.errors import UserError
from gpt_research.data import search as search_module
from gpt_research.data.documents import Documents
from gpt_research.data.search import Match, Pattern, search
from gpt_research.data.shards import read_manifests
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.settings import PreprocessConfig


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in several shards, with letters that are several bytes."""
    texts, out = tmp_path_factory.mktemp("texts"), tmp_path_factory.mktemp("data") / "tokens"
    for n in range(30):
        body = f"Book {n}.\nÉté à Paris,\nthe king's the\tking {'naïve ' * (n % 7)}the end of book {n}. ✓"
        (texts / f"Book_{n:02d}.txt").write_text(body, encoding="utf-8")
    config = PreprocessConfig(
        corpora=[f"books={texts}"], out=str(out), tokenizer="train", vocab_size=300, val_fraction=0.2, workers=1,
        near_duplicates=False, tasks=3,
    )  # fmt: skip
    preprocess(config)
    return out


@pytest.fixture(scope="module")
def documents(books: Path) -> Documents:
    return Documents(read_manifests(books))


@pytest.fixture(scope="module")
def tokenizer(books: Path) -> Tokenizer:
    return Tokenizer.load(books / "tokenizer.json")


def places_of(documents: Documents) -> list[tuple[str, str, int]]:
    return [("books", split, n) for split in ("train", "val") for n in range(len(documents.shards("books", split)))]


def all_matches(documents: Documents, tokenizer: Tokenizer, pattern: Pattern, limit: int = 7) -> list[Match]:
    """Search page by page, each with a cursor."""
    matches, cursor, places = [], (0, 0), places_of(documents)
    while True:
        found = search(documents, tokenizer, pattern, places, cursor=cursor, limit=limit)
        assert len(found.matches) <= limit
        matches += found.matches
        if found.cursor is None:
            assert found.searched == 1
            return matches
        assert 0 <= found.searched <= 1
        cursor = found.cursor


def brute(documents: Documents, tokenizer: Tokenizer, text: str, *, exact_case: bool) -> set[tuple[str, int, int]]:
    """Return split, document and token of all matches, by looking at each document's text."""

    def plain(text: str) -> str:
        text = "".join(" " if c in "\n\t\r\x0b\x0c" else c for c in text)
        return text if exact_case else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)

    found = set()
    for split in ("train", "val"):
        for document in documents.page("books", split, 0, 1000)[0]:
            ids = documents.tokens(document).tolist()
            content = plain(tokenizer.decode(ids))
            ends = np.cumsum([len(tokenizer.decode_bytes([token])) for token in ids])
            at = content.find(plain(text))
            while at >= 0:
                byte = len(content[:at].encode())
                found.add((split, document.number, int(np.searchsorted(ends, byte, side="right"))))
                at = content.find(plain(text), at + 1)
    return found


@pytest.mark.parametrize("exact_case", [False, True])
@pytest.mark.parametrize(
    "text",
    ["the king", "The King", "e", "king's", "été", "Été à", "naïve naïve", "book 1", "book 12.", "✓", "\n",
     "paris, the", "no such text", "Book 3. Été à Paris, the king's the king naïve naïve naïve the end of book 3. ✓"],
)  # fmt: skip
def test_a_text_is_found_wherever_it_stands(
    documents: Documents, tokenizer: Tokenizer, text: str, exact_case: bool
) -> None:
    found = all_matches(documents, tokenizer, Pattern(text, tokenizer, exact_case=exact_case))
    places = [(match.document.split, match.document.number, match.token) for match in found]
    assert len(places) == len(set(places))
    assert set(places) == brute(documents, tokenizer, text, exact_case=exact_case)
    for match in found:
        whole = tokenizer.decode(documents.tokens(match.document).tolist())
        assert match.before + match.match + match.after in whole


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_piece_of_the_data_is_found(documents: Documents, tokenizer: Tokenizer, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, documents.count("books", "train") - 1))
    [document] = documents.get("books", "train", [number])
    text = tokenizer.decode(documents.tokens(document).tolist())
    begin = data.draw(st.integers(0, len(text) - 1))
    piece = text[begin : begin + data.draw(st.integers(1, 80))]
    found = all_matches(documents, tokenizer, Pattern(piece, tokenizer, exact_case=True), limit=50)
    places = {(match.document.split, match.document.number, match.token) for match in found}
    assert places == brute(documents, tokenizer, piece, exact_case=True)


def test_matches_across_chunks_are_found_once(
    documents: Documents, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern = Pattern("the king's the king", tokenizer)
    whole = [(m.document.number, m.token) for m in all_matches(documents, tokenizer, pattern)]
    monkeypatch.setattr(search_module, "CHUNK", 5)
    assert [(m.document.number, m.token) for m in all_matches(documents, tokenizer, pattern)] == whole
    assert len(whole) == 30


def test_a_search_that_takes_long_pauses_and_goes_on(
    documents: Documents, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "CHUNK", 64)
    pattern = Pattern("no such text", tokenizer)
    found = search(documents, tokenizer, pattern, places_of(documents), seconds=0)
    assert found.cursor == (0, 64)
    assert 0 < found.searched < 1
    assert search(documents, tokenizer, pattern, places_of(documents), cursor=found.cursor).cursor is None


@pytest.mark.parametrize("text", ["", "x" * 201])
def test_a_text_of_no_length_or_too_long_is_refused(tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(UserError, match="1 to 200 characters"):
        Pattern(text, tokenizer)


def test_lists_are_paged_sorted_and_filtered(documents: Documents) -> None:
    everything, total = documents.page("books", "train", 0, 1000)
    assert [document.number for document in everything] == list(range(total))
    assert documents.page("books", "train", 3, 4) == (everything[3:7], total)
    assert documents.page("books", "train", total + 5, 4) == ([], total)
    by_length = sorted(everything, key=lambda document: -document.tokens)
    assert documents.page("books", "train", 1, 5, "longest") == (by_length[1:6], total)
    assert documents.page("books", "train", 0, 1, "shortest")[0][0].tokens == by_length[-1].tokens
    some, count = documents.page("books", "train", 0, 99, "order", "book_1")
    assert [document.source for document in some] == [d.source for d in everything if "Book_1" in d.source]
    assert len(some) == count
    assert documents.page("books", "val", 0, 9, "longest", "nothing") == ([], 0)


def test_each_token_belongs_to_its_document(documents: Documents, tokenizer: Tokenizer) -> None:
    for document in documents.page("books", "train", 0, 99)[0]:
        place = ("books", "train", document.shard)
        for token in (document.start, document.start + document.tokens - 1):
            assert documents.containing(place, token) == document
        text = tokenizer.decode(documents.tokens(document).tolist())
        assert text.startswith("Book")
        assert len(text.encode()) == document.bytes
        assert documents.tokens(document, 2, 3).tolist() == documents.tokens(document).tolist()[2:5]
        assert len(documents.tokens(document, document.tokens, 3)) == 0


def test_what_is_not_there_is_named(documents: Documents, books: Path) -> None:
    with pytest.raises(UserError, match=r'no corpus "bookz".*Did you mean "books"'):
        documents.page("bookz", "train", 0, 1)
    with pytest.raises(UserError, match="There is no document 99"):
        documents.get("books", "train", [99])
    damaged = Documents(read_manifests(books))
    index = next(iter(sorted(books.glob("books/train_*.parquet"))))
    content = index.read_bytes()
    index.write_bytes(b"no parquet")
    try:
        with pytest.raises(UserError, match="cannot be read"):
            damaged.get("books", "train", [0])
    finally:
        index.write_bytes(content)
