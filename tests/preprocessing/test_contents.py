"""A file is read by what it holds: its codec, its characters, its separators, its delimiter. What
holds no text is told apart."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt_research.preprocessing.document import Document, Drop, ReadOptions
from gpt_research.preprocessing.formats import plain_text, tables
from gpt_research.preprocessing.formats.plain_text import SEPARATOR
from gpt_research.preprocessing.readers.catalogue import resolve

TEXTS = [f"Text number {number}, with a comma; it is long enough." for number in range(4)]
NOISE = random.Random(1).randbytes(20_000)
SKIPPABLE = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"abcd"


def read_all(root: Path) -> list[Document | Drop]:
    corpus = resolve(f"mine={root}")
    return [item for unit in corpus.units() for item in corpus.read(unit, ReadOptions())]


def texts(root: Path) -> list[str]:
    items = read_all(root)
    assert not [item for item in items if isinstance(item, Drop)]
    return [item.text for item in items if isinstance(item, Document)]


# --- what is no text ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (NOISE, "many bytes"),
        (b"%PDF-1.4\n1 0 obj\nendobj\n" + b"stream of letters " * 200, "PDF"),
        (b"\x89PNG\r\n\x1a\n" + NOISE, "PNG"),
        (b"PK\x03\x04" + NOISE, "zip"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X        ", "AppleDouble"),
        (b"{\\rtf1 Some words of a letter.}", "RTF"),
    ],
)
@pytest.mark.parametrize("reader", ["files", "gutenberg"])
def test_a_binary_file_named_as_text_is_no_text(tmp_path: Path, data: bytes, detail: str, reader: str) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    corpus = resolve(f"mine:{reader}={tmp_path}")
    [item] = corpus.read(corpus.units()[0], ReadOptions())
    assert isinstance(item, Drop)
    assert (item.reason, item.broken) == ("not_text", False)
    assert detail in item.detail


@pytest.mark.parametrize(
    "text",
    [
        "Zürich, Genève, schöne Straße in der Nähe.".encode("latin-1"),
        "日本語の文章は空白なしで書かれます。これは十分に長い文章です。".encode(),
        "Ein Text von DOS mit Umlauten: schöne Grüße\r\n\x1a".encode("cp850"),
        b"A text that a printer takes.\x0c\nPage two of it.\x0c\n",
        b"A text that fills its block." + b"\0" * 400,
        "日本語".encode("iso2022_jp") * 9,
        b"RIFFRAFF, GIFTS AND BZHOU: words that begin like other formats.",
    ],
)
def test_text_in_any_script_or_encoding_is_kept(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(text)
    assert [type(item) for item in read_all(tmp_path)] == [Document]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_table_of_another_format_says_which(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PAR1" + NOISE)
    [item] = read_all(tmp_path)
    assert isinstance(item, Drop)
    assert (item.reason, item.broken) == ("not_text", True)
    assert "Parquet" in item.detail


# --- separators -----------------------------------------------------------------------------------


def without_blanks(text: str) -> list[str]:
    """Return the parts between separators; a blank one counts only at the beginning."""
    first, *others = text.split(SEPARATOR.decode())
    return [first, *(part for part in others if part.strip())]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    parts=st.lists(st.text("ab\n ", max_size=30), min_size=2, max_size=12),
    unit=st.integers(1, 120),
    block=st.integers(1, 40),
)
def test_separators_divide_files_of_any_size_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: list[str], unit: int, block: int
) -> None:
    text = SEPARATOR.decode().join(parts)
    (tmp_path / "a.txt").write_text(text)
    monkeypatch.setattr(tables, "UNIT_BYTES", unit)
    monkeypatch.setattr(plain_text, "_BLOCK", block)
    corpus = resolve(f"mine={tmp_path}")
    units = corpus.units()
    assert sum(u.size for u in units) == len(text)
    items = [item for u in units for item in corpus.read(u, ReadOptions())]
    kept = [(item.position, item.text) for item in items if isinstance(item, Document)]
    assert [t for _, t in kept] == [part for part in without_blanks(text) if part.strip()]
    assert all(text[at : at + len(part)] == part for at, part in kept)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_text_without_separators_is_one_document_or_pieces_at_line_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    lines = [f"line {number}" for number in range(3000)]
    (tmp_path / ("a.txt.gz" if pack is gzip.compress else "a.txt")).write_bytes(pack("\n".join(lines).encode()))
    assert texts(tmp_path) == ["\n".join(lines)]
    monkeypatch.setattr(tables, "UNIT_BYTES", 10_000)
    monkeypatch.setattr(plain_text, "MAX_RECORD", 9000)
    monkeypatch.setattr(plain_text, "_PIECE_BYTES", 1000)
    monkeypatch.setattr(plain_text, "_BLOCK", 500)
    pieces = texts(tmp_path)
    assert len(pieces) > 10
    assert "\n".join(pieces) == "\n".join(lines)


# --- codecs and characters ------------------------------------------------------------------------

CODECS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}
ROWS = [{"text": text} for text in TEXTS]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2) + "\n",
        "\n\n" + json.dumps(ROWS, indent=0),
        "\ufeff" + json.dumps(ROWS),
        "".join(json.dumps(row) + "\n" for row in ROWS),
        "\ufeff" + "".join(json.dumps(row) + "\r\n" for row in ROWS),
        "".join(json.dumps(text) + "\n" for text in TEXTS),
    ],
)
def test_a_list_and_json_lines_are_told_apart_in_any_codec(
    tmp_path: Path, content: str, suffix: str, codec: str
) -> None:
    (tmp_path / f"a{suffix}{codec}").write_bytes(CODECS[codec](content.encode()))
    assert texts(tmp_path) == TEXTS


def test_one_object_is_one_record_also_over_many_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ROWS[0], indent=4))
    (tmp_path / "b.json").write_text(json.dumps(ROWS[1]))
    assert texts(tmp_path) == TEXTS[:2]


def test_json_lines_whose_first_line_is_torn_lose_only_that(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "torn\n' + "".join(json.dumps(row) + "\n" for row in ROWS))
    drop, *kept = read_all(tmp_path)
    assert isinstance(drop, Drop)
    assert [item.text for item in kept if isinstance(item, Document)] == TEXTS


def test_frames_to_be_skipped_are_skipped_before_and_between_frames(tmp_path: Path) -> None:
    lines = [(json.dumps(row) + "\n").encode() for row in ROWS]
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(SKIPPABLE + zstandard.compress(line) for line in lines))
    assert texts(tmp_path) == TEXTS


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_wide_characters_are_read_in_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    table = io.StringIO()
    csv.writer(table).writerows([["id", "text"], *([str(i), text] for i, text in enumerate(TEXTS))])
    (tmp_path / "a.csv").write_bytes(table.getvalue().encode(encoding))
    (tmp_path / "b.jsonl").write_bytes("".join(json.dumps(row) + "\n" for row in ROWS).encode(encoding))
    (tmp_path / "c.json").write_bytes(json.dumps(ROWS).encode(encoding))
    (tmp_path / "d.txt").write_bytes("<|endoftext|>".join(TEXTS).encode(encoding))
    assert texts(tmp_path) == TEXTS * 4
    if encoding != "utf-8-sig":
        monkeypatch.setattr(tables, "UNIT_BYTES", 50)  # such a file is not cut
        assert texts(tmp_path) == TEXTS * 4


# --- tables ---------------------------------------------------------------------------------------

TABLE = [
    ["id", "text", "label"],
    *([str(i), f'{text} "quoted" | and; more\tof it', "x"] for i, text in enumerate(TEXTS)),
]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("before", ["", "\ufeff", "sep={}{}"])
def test_the_header_tells_the_delimiter_and_the_end_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, delimiter: str, end: str, before: str
) -> None:
    table = io.StringIO()
    csv.writer(table, delimiter=delimiter, lineterminator=end).writerows(TABLE)
    (tmp_path / name).write_bytes((before.format(delimiter, end) + table.getvalue()).encode())
    assert texts(tmp_path) == [row[1] for row in TABLE[1:]]
    monkeypatch.setattr(tables, "UNIT_BYTES", 100)
    assert texts(tmp_path) == [row[1] for row in TABLE[1:]]


def test_lines_within_quotes_stay_whatever_ends_the_rows(tmp_path: Path) -> None:
    for name, end in (("a.csv", "\r"), ("b.csv", "\r\n")):
        table = io.StringIO()
        csv.writer(table, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(
            [["text", "id"], ["one line\nand another", "1"]]
        )
        (tmp_path / name).write_bytes(table.getvalue().encode())
    assert texts(tmp_path) == ["one line\nand another"] * 2


def test_a_table_of_one_column_has_no_delimiter(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nOne; two | three, without quotes\n".replace(",", ""))
    assert texts(tmp_path) == ["One; two | three without quotes"]


def test_of_several_delimiters_in_the_header_the_one_that_fits_the_rows_counts(tmp_path: Path) -> None:
    rows = "".join(f"{number};Some words, some more{', and more' * number};x\n" for number in range(5))
    (tmp_path / "a.csv").write_text("id;text;label, in words\n" + rows)
    assert len(texts(tmp_path)) == 5


def test_backslashes_escape_quotes_only_in_rows_that_are_torn_without(tmp_path: Path) -> None:
    table = io.StringIO()
    quoted = csv.writer(table, quoting=csv.QUOTE_ALL, doublequote=False, escapechar="\\")
    quoted.writerows([["text", "id"], ['He said "yes, well" and left', "1"], ['a "word" and a \\ too', "2"]])
    table.write('"C:\\folder\\","3"\n"plain","4"\n')
    (tmp_path / "a.csv").write_text(table.getvalue())
    assert texts(tmp_path) == ['He said "yes, well" and left', 'a "word" and a \\ too', "C:\\folder\\", "plain"]


def test_values_one_after_another_are_records_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("".join(json.dumps(row, indent=2) + "\n" for row in ROWS[:2]))
    (tmp_path / "b.jsonl").write_bytes("".join(json.dumps(row) + "\r" for row in ROWS[2:]).encode())
    assert texts(tmp_path) == TEXTS
