"""Books lose what Project Gutenberg put around them, in every variant, and nothing of their own."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_research.preprocessing.document import Document, Drop, ReadOptions
from gpt_research.preprocessing.formats import tables
from gpt_research.preprocessing.formats.book import strip_boilerplate, unwrap
from gpt_research.preprocessing.readers.gutenberg import GutenbergReader

SHARED = Path(__file__).parents[2].parent / "shared" / "corpora"

BOOK = """MOBY DICK

by Herman Melville


CHAPTER 1. Loomings.

Call me Ishmael. Some years ago--never mind how long precisely--having
little or no money in my purse, I thought I would sail about a little."""

HEADER = """The Project Gutenberg EBook of Moby Dick, by Herman Melville

This eBook is for the use of anyone anywhere at no cost and with
almost no restrictions whatsoever.

Title: Moby Dick

Character set encoding: ASCII

"""
LICENCE = """

Updated editions will replace the previous one--the old editions
will be renamed.

*** START: FULL LICENSE ***

THE FULL PROJECT GUTENBERG LICENSE
PLEASE READ THIS BEFORE YOU DISTRIBUTE OR USE THIS WORK
"""
SMALL_PRINT = """***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***
Why is this "Small Print!" statement here?  You know: lawyers.
They tell us you might sue us if there is something wrong with
your copy of this etext, even if you got it for free.

*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*
"""
OLD_HEADER = "****The Project Gutenberg Etext of Moby Dick****\n\nPlease take a look at this header.\n\n"

START = HEADER + "*** START OF THIS PROJECT GUTENBERG EBOOK MOBY DICK ***\n"
STARTS = [
    START,
    HEADER + "***START OF THE PROJECT GUTENBERG EBOOK MOBY DICK***\n",
    HEADER + "*** START OF THE PROJECT GUTENBERG EBOOK MOBY DICK ***\n",
    HEADER + "*** START OF THE PROJECT GUTENBERG EBOOK 2701 ***\n",
    HEADER + "*** START OF THE PROJECT GUTENBERG EBOOK, MOBY DICK ***\n",
    HEADER + "***START OF THE PROJECT GUTENBERG EBOOK MOBY DICK; OR,\nTHE WHALE, IN THREE VOLUMES***\n",
    START + "\n\nProduced by David Widger\n",
    START + "\nE-text prepared by Jane Doe and the Online\nDistributed Proofreading Team\n"
    "(http://www.pgdp.net)\n\n\n\nNote: Project Gutenberg also has an HTML version.\n",
    START + "\nTranscribed from the 1892 edition by D. Price\n",
    START + "\nScanned and proofed by A. Haines.  HTML version by B. Boss.\n",
    START + "\nProduced by X\n\n\n\nTranscriber's Note:\n\n   Spelling kept.\n\n   Italics are _marked_.\n\n\n",
    START + "\n[Transcriber's Note: kept\n\nas it is.]\n",
    OLD_HEADER + SMALL_PRINT,
    OLD_HEADER + SMALL_PRINT.replace("ETEXTS", "EBOOKS").replace("*END*THE", "*END THE"),
    "",
]
ENDS = [
    "End of the Project Gutenberg EBook of Moby Dick, by Herman Melville\n\n"
    "*** END OF THIS PROJECT GUTENBERG EBOOK MOBY DICK ***\n" + LICENCE,
    "***END OF THE PROJECT GUTENBERG EBOOK MOBY DICK***\n\n\n******* This file should be named 2701 *******\n"
    + LICENCE,
    "*** END OF THE PROJECT GUTENBERG EBOOK MOBY DICK ***\n" + LICENCE,
    "End of Project Gutenberg's Moby Dick, by Herman Melville\n" + LICENCE,
    "End of Project Gutenberg’s Moby Dick\n",
    "End of this Project Gutenberg Etext of Moby Dick\n",
    "End of The Project Gutenburg Etext of Moby Dick\n",
    "Ende dieses Projekt Gutenberg Etextes Moby Dick\n",
    "Transcriber's Notes:\n\nPage 3: whlae changed to whale\n\n\n"
    "*** END OF THE PROJECT GUTENBERG EBOOK MOBY DICK ***\n" + LICENCE,
    "*** END OF THE PROJECT GUTENBERG EBOOK MOBY DICK ***\n" + SMALL_PRINT,
    "",
]


@pytest.mark.parametrize("end", ENDS, ids=range(len(ENDS)))
@pytest.mark.parametrize("start", STARTS, ids=range(len(STARTS)))
def test_every_variant_of_header_and_footer_leaves_the_book_alone(start: str, end: str) -> None:
    assert strip_boilerplate(f"{start}\n\n\n{BOOK}\n\n\n\n{end}") == BOOK


def test_a_text_without_markers_is_kept_whole() -> None:
    text = "Gutenberg printed Bibles.\n\nProject Gutenberg is named after him.\n\nThe end of the story."
    assert strip_boilerplate(text) == text


def test_an_end_line_deep_in_a_book_does_not_cut_it() -> None:
    book = "End of Project Gutenberg's first part\n\n" + "It goes on and on. " * 2000
    assert strip_boilerplate(book) == book.strip("\n")


def test_a_file_of_two_books_gives_both_without_what_lies_between() -> None:
    first = f"{START}\n{BOOK}\n{ENDS[0]}"
    text = strip_boilerplate(first + "\n" + first.replace("Ishmael", "Ahab"))
    assert "Ishmael" in text
    assert "Ahab" in text
    assert "utenberg" not in text
    assert "FULL LICENSE" not in text


PRODUCERS = [
    "[Redactor's Note: this version is\nfaithful.]",
    "Original Transcriber’s Note: This etext follows an edition of 1887.",
    "For this edition the text was checked by X.\nwhale@example.org",
    "TRANSCRIBER'S NOTE ABOUT THIS E-TEXT EDITION:\n\nThe footnotes are in brackets.\n\nSo is this.\n\n",
]


@pytest.mark.parametrize("note", PRODUCERS)
def test_what_producers_say_between_title_and_book_goes(note: str) -> None:
    title, book = "MOBY DICK\n\nby Herman Melville", f"CHAPTER 1\n\n{BOOK}\n\n" * 3
    assert strip_boilerplate(f"{START}\n{title}\n\n{note}\n\n{book}\n{ENDS[2]}") == f"{title}\n\n{book}".strip()


def test_an_appeal_for_help_goes_up_to_its_signature() -> None:
    appeal = "We need help with the Italian.\n\nThank you.\n\nThe Founder\n[f@example.com]\nProject Gutenberg\nDirector"
    assert strip_boilerplate(f"{START}\n{appeal}\n\n\n{BOOK * 3}\n{ENDS[2]}") == BOOK * 3


def test_what_producers_say_below_the_book_goes() -> None:
    note = "Errors corrected by the etext transcriber:\n\na simply way=> a simple way\n\nwhlae=> whale"
    assert strip_boilerplate(f"{START}\n{BOOK * 9}\n\n{note}\n{ENDS[2]}") == BOOK * 9


def test_the_mark_of_a_picture_goes_and_its_words_stay() -> None:
    book = f"{BOOK}\n\n  [Illustration]\n\n[Illustration: A whale]\n\nSee the [Illustration] here."
    assert strip_boilerplate(START + book) == book.replace("\n  [Illustration]\n", "\n")
    for mark in ("[ILLUSTRATION]", "[Cover Illustration]", "[Illustration: Publisher's logo]", "[Decoration]"):
        assert strip_boilerplate(f"{START}\n{mark}\n\n{BOOK}\n\n {mark}\n\nIt ends.") == f"{BOOK}\n\n\nIt ends."


def test_a_note_of_a_web_page_goes_from_the_first_pages() -> None:
    note = "This book has been put on-line by X.\n\nhttp://www.example.org/\n\nReformatted by Y\n__________"
    text = strip_boilerplate(f"{START}\nMOBY DICK\n\n{note}\n\n{BOOK * 9}\n{ENDS[2]}")
    assert tidied(text) == tidied(f"MOBY DICK\n\n{BOOK * 9}")


@pytest.mark.parametrize("page", ["{{{:03}}}", "[Pg {}]", "[Page {}]", "{{p. {}}}"])
def test_numbers_of_pages_go_wherever_they_stand(page: str) -> None:
    text = "".join(
        f"\n\n{page.format(n)}\n\nIt goes {page.format(n + 1)} on and {page.format(n + 2)}on." for n in range(3, 99, 3)
    )
    assert (
        re.sub("\n+", "\n", strip_boilerplate(BOOK + text)) == re.sub("\n+", "\n", BOOK) + "\nIt goes on and on." * 32
    )


@pytest.mark.parametrize("mark", ["{{{}}}", "[Page {}]"])
def test_numbers_of_notes_and_single_references_stay(mark: str) -> None:
    notes = "".join(f"\n\nA fact.{mark.format(n)}" for n in range(50)) + "".join(
        f"\n\n{mark.format(n)} His book." for n in range(50)
    )
    for text in (f"{BOOK}{notes}", f"{BOOK}\n\nSee {mark.format(12)} of his book.", "x^{2} + y^{3} = 1 " * 99):
        assert strip_boilerplate(text) == text


def test_what_a_web_page_shows_beside_its_text_goes() -> None:
    page = (
        "cover.jpg (230K)\n\nFull Size\n\n{The whale: p52.jpg} <i>ate</i> all&mdash;too<br/> much,"
        " &c.\n\n1 (return) It was a fish."
    )
    assert strip_boilerplate(page) == "{The whale} ate all—too much, &c.\n\n1 It was a fish."
    for text in ("The file cover.jpg is lost.", "He said (return) it.", "1 < 2 > 0 & <<ah>>", "Beu<u>ne <a whale: it>"):
        assert strip_boilerplate(text) == text


def test_the_first_paragraph_of_a_book_is_not_taken_for_a_credit() -> None:
    for opening in (
        "Prepared as he was for the worst, John wept.",
        "NOTE: The whale is a fish.",
        "[Illustration: a whale]",
    ):
        assert strip_boilerplate(f"{START}\n{opening}\n\n{BOOK}\n{ENDS[2]}").startswith(opening)


def read(path: Path, options: ReadOptions | None = None) -> list[Document | Drop]:
    reader = GutenbergReader()
    return [item for unit in reader.units(path) for item in reader.read(path, unit, options or ReadOptions())]


def tidied(text: str) -> str:
    """The text with no more than one blank line at a time."""
    return re.sub("\n{3,}", "\n\n", text)


def texts(items: list[Document | Drop]) -> list[str]:
    assert all(isinstance(item, Document) for item in items), items
    return [item.text for item in items if isinstance(item, Document)]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-32"], ids=lambda encoding: encoding
)
def test_the_encoding_is_found_from_the_content(tmp_path: Path, encoding: str) -> None:
    header = HEADER.replace("ASCII", "ISO-8859-1")
    book = "“Où est le cœur?” – Ça va, dit Zoë; it’s naïve.\n" * 20
    path = tmp_path / "book.txt"
    path.write_bytes(f"{header}***START OF THE PROJECT GUTENBERG EBOOK X***\n\n{book}".encode(encoding))
    assert texts(read(path)) == [book.strip("\n")]


def test_line_ends_of_any_system_become_newlines(tmp_path: Path) -> None:
    for number, end in enumerate(("\r\n", "\r", "\r\r\n", "\n")):
        path = tmp_path / f"{number}.txt"
        path.write_bytes((START + BOOK + "\n" + ENDS[0]).replace("\n", end).encode())
    assert texts(read(tmp_path)) == [tidied(BOOK)] * 4


@given(st.text("a\r\n\u0d0a—é", max_size=30), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_line_ends_are_found_in_text_not_in_bytes(
    tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str
) -> None:
    path = tmp_path_factory.mktemp("books") / "book.txt"
    path.write_bytes(f"x{text}x".encode(encoding))
    lines = re.sub("\r\n?", "\n", f"x{text}x".replace("\r\r\n", "\n"))
    assert texts(read(path)) == [tidied(lines)]


def test_a_packed_book_is_read_whole(tmp_path: Path) -> None:
    book = START + f"\n{BOOK}\n" * 500
    for suffix, pack in (("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)):
        (tmp_path / f"book.txt{suffix}").write_bytes(pack(book.encode()))
    plain, *packed = texts(read(tmp_path))
    assert len(plain) > 490 * len(BOOK)
    assert packed == [plain] * 3


def test_a_file_with_nothing_between_header_and_footer_is_dropped_as_empty(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(START + "\n\n" + ENDS[0])
    [drop] = read(tmp_path)
    assert isinstance(drop, Drop)
    assert drop.reason == "empty"
    assert not drop.broken


@given(st.lists(st.text("abcdefgh,", min_size=1, max_size=9), min_size=40, max_size=200))
def test_unwrapping_undoes_the_wrapping_of_prose(words: list[str]) -> None:
    paragraph = " ".join(words)
    wrapped = textwrap.fill(paragraph, width=70, break_on_hyphens=False)
    assert unwrap(wrapped) == paragraph


def test_unwrapping_leaves_verse_tables_and_blank_lines_alone() -> None:
    prose = textwrap.fill("the quick brown fox jumps over the lazy dog and " * 12, width=70)
    verse = "Shall I compare thee to a summer’s day?\nThou art more lovely and more temperate:\nRough winds do"
    table = "Wheat      12      14\nBarley      7       9\nOats        3       2"
    text = f"{prose}\n\n\n{verse}\n\n{table}\n\n{prose}"
    joined = prose.replace("\n", " ")
    assert unwrap(text) == f"{joined}\n\n\n{verse}\n\n{table}\n\n{joined}"


def test_a_mention_of_electronic_texts_does_not_cut_a_book_without_blank_lines() -> None:
    lines = "\n".join(f"Line {i} of a book that was typed without any blank line at all." for i in range(400))
    for book in (f"{lines}\nHere he read an e-text of the poem.", f"{lines}\n\nAn e-text? he asked.\n{lines[:3500]}"):
        assert strip_boilerplate(f"{START}\n{book}\n{ENDS[2]}") == book


def test_unwrapping_is_an_option(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(BOOK)
    assert texts(read(tmp_path)) == [tidied(BOOK)]
    assert "having little or no money" in texts(read(tmp_path, ReadOptions(unwrap_paragraphs=True)))[0]


ROWS = [
    (f"book {book}", f"{book}.{paragraph}") for book, count in enumerate((3, 1, 7, 2)) for paragraph in range(count)
]


@pytest.mark.parametrize("group", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("split", [4, 5, 9])
def test_a_hub_book_is_one_document_wherever_row_groups_and_files_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int, split: int
) -> None:
    monkeypatch.setattr(tables, "UNIT_BYTES", 1)
    for number, rows in enumerate((ROWS[:split], ROWS[split:])):
        columns = dict(zip(("book_name", "paragraph"), map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table(columns), tmp_path / f"train-{number}.parquet", row_group_size=group)
    items = read(tmp_path)
    assert texts(items) == ["0.0\n\n0.1\n\n0.2", "1.0", "\n\n".join(f"2.{n}" for n in range(7)), "3.0\n\n3.1"]
    assert [item.position for item in items[:2]] == [0, 3]


def test_the_shards_of_an_older_download_tool_are_joined_too(tmp_path: Path) -> None:
    lines = [f'{{"book_name": "{book}", "paragraph": "{paragraph}"}}\n' for book, paragraph in ROWS]
    (tmp_path / "shard_0000.jsonl").write_text("".join(lines[:6]))
    (tmp_path / "shard_0001.jsonl").write_text("".join(lines[6:]))
    assert [text.count("\n\n") + 1 for text in texts(read(tmp_path))] == [3, 1, 7, 2]


@pytest.mark.parametrize("folder", ["gutenberg", "gutenberg_old"])
def test_real_books_keep_their_text_and_lose_the_licence(folder: str) -> None:
    root = SHARED / folder
    if not root.is_dir():
        pytest.skip(f"no sample books in {root}")
    reader = GutenbergReader()
    for unit in reader.units(root)[:: 5 if folder == "gutenberg" else 1]:
        [item] = reader.read(root, unit, ReadOptions())
        assert isinstance(item, Document), unit.path
        assert len(item.text) > max(2000, 0.85 * (unit.size - 22_000)), unit.path
        for residue in (
            "SMALL PRINT",
            "START OF TH",
            "Project Gutenberg License",
            "Literary Archive Foundation",
        ):
            assert residue not in item.text, (unit.path, residue)
        assert "Produced by" not in item.text[:300], unit.path
        assert "\r" not in item.text
        assert "\ufeff" not in item.text
