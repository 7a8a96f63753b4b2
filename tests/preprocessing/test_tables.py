"""Claims about reading tables and texts."""

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt_research.preprocessing.document import Document, Drop, ReadOptions
from gpt_research.preprocessing.formats import plain_text, streams, tables
from gpt_research.preprocessing.formats.csv_rows import csv_records
from gpt_research.preprocessing.formats.tables import GenericReader

TEXTS = ["First.\nTwo lines, “quoted”.", 'He said: "no, never".', "日本語 🎉", "plain"]


def read_all(root: Path, options: ReadOptions | None = None) -> list[Document | Drop]:
    reader = GenericReader()
    return [item for unit in reader.units(root) for item in reader.read(root, unit, options or ReadOptions())]


def texts_of(root: Path, options: ReadOptions | None = None) -> list[str]:
    return [item.text for item in read_all(root, options) if isinstance(item, Document)]


def jsonl(texts: list[str], key: str = "text") -> bytes:
    return b"".join(orjson.dumps({"id": i, key: text}) + b"\n" for i, text in enumerate(texts))


def zstd_frames(data: bytes) -> bytes:
    half = len(data) // 2
    return zstandard.compress(data[:half]) + zstandard.compress(data[half:])


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".gz", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]) + bytes(512)),
        (".zst", zstd_frames),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
    ],
)
def test_json_lines_are_the_same_whatever_they_are_packed_with(tmp_path, suffix, pack):
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(pack(jsonl(TEXTS)))
    assert texts_of(path) == TEXTS


def test_every_table_format_gives_the_same_documents(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl(TEXTS))
    with open(tmp_path / "b.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["", "text"], *enumerate(TEXTS)])
    with gzip.open(tmp_path / "c.csv.gz", "wt", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["", "text"], *enumerate(TEXTS)])
    pq.write_table(pa.table({"id": [0, 1, 2, 3], "text": TEXTS}), tmp_path / "d.parquet", row_group_size=3)
    (tmp_path / "e.json").write_text(json.dumps([{"text": text} for text in TEXTS], indent=1))
    assert texts_of(tmp_path) == TEXTS * 5


def test_old_shard_layout_is_read_in_order(tmp_path):
    for shard in range(3):
        (tmp_path / f"shard_{shard:04d}.jsonl").write_bytes(jsonl([f"{shard}a", f"{shard}b"]))
    (tmp_path / "README.md").write_text("about the data")
    assert texts_of(tmp_path) == ["0a", "0b", "1a", "1b", "2a", "2b"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    lines=st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=20),
    width=st.integers(1, 200),
    end=st.booleans(),
)
def test_cutting_a_file_by_bytes_loses_and_repeats_nothing(tmp_path, monkeypatch, lines, width, end):
    path = tmp_path / "a.jsonl"
    data = b"\n".join(orjson.dumps({"text": f"x{line}"}) for line in lines) + (b"\n" if end else b"")
    path.write_bytes(data)
    whole = list(streams.lines(path))
    monkeypatch.setattr(tables, "UNIT_BYTES", width)
    assert texts_of(path) == [f"x{line}".replace("\r\n", "\n") for line in lines]
    parts = [p for unit in GenericReader().units(path) for p in streams.lines(path, unit.start, unit.stop)]
    assert parts == whole


def test_units_cover_a_large_file_and_depend_on_it_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "UNIT_BYTES", 1000)
    (tmp_path / "a.jsonl").write_bytes(jsonl(["x" * 90] * 50))
    pq.write_table(pa.table({"text": [f"{i}" * 200 for i in range(60)]}), tmp_path / "b.parquet", row_group_size=5)
    units = GenericReader().units(tmp_path)
    assert len([u for u in units if u.path == "a.jsonl"]) > 3
    groups = [(u.start, u.stop) for u in units if u.path == "b.parquet"]
    assert len(groups) > 1
    assert [a for a, _ in groups] == [0, *(b for _, b in groups[:-1])]
    assert groups[-1][1] == 12
    assert len(texts_of(tmp_path)) == 110
    assert [i.position for i in read_all(tmp_path / "b.parquet")] == list(range(60))


def test_position_of_a_json_line_is_the_offset_one_can_seek(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + jsonl(TEXTS))
    for item in read_all(path):
        with open(path, "rb") as file:
            file.seek(item.position)
            assert orjson.loads(file.readline())["text"] == item.text


def test_position_of_a_csv_row_is_the_offset_one_can_seek(tmp_path):
    path = tmp_path / "a.csv"
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([["te\nxt", "text"], *enumerate(TEXTS)])
    items = read_all(path)
    assert [item.text for item in items] == TEXTS
    for number, item in enumerate(items):
        with open(path, newline="", encoding="utf-8") as file:
            file.seek(item.position)
            assert next(csv.reader(file)) == [str(number), item.text]


CELL = st.text(st.sampled_from("ab,\"\n\t é'") | st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=6), quoting=st.sampled_from([0, 1]), end=st.booleans())
def test_csv_rows_equal_the_standard_library(tmp_path, rows, quoting, end):
    buffer = io.StringIO()
    csv.writer(buffer, quoting=quoting, lineterminator="\r\n" if end else "\n").writerows([["a", "b", "c"], *rows])
    path = tmp_path / "a.csv"
    path.write_bytes(buffer.getvalue().encode())
    expected = list(csv.reader(io.StringIO(buffer.getvalue(), newline=""), strict=True))[1:]
    got = list(csv_records(path, "a.csv", list, ","))
    assert not [item for item in got if isinstance(item, Drop)]
    assert [tuple(record.values()) for _, record in got] == [tuple(row) for row in expected]


@pytest.mark.parametrize("key", ["content", "maintext", "Article text", "body", "message", "Text", "raw_content"])
def test_known_text_keys_are_found(tmp_path, key):
    (tmp_path / "a.jsonl").write_bytes(jsonl(TEXTS, key))
    assert texts_of(tmp_path) == TEXTS


def test_text_comes_before_every_other_known_key_and_a_named_key_before_text(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"content":"c","text":"t","story":"s"}\n')
    assert texts_of(tmp_path) == ["t"]
    assert texts_of(tmp_path, ReadOptions(text_key="story")) == ["s"]


def test_null_empty_and_odd_texts_are_dropped_with_their_reason(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        b'{"text":null}\n{"text":""}\n{"text":" \\n"}\n{"text":3}\n[1]\n\n"bare"\n{"text":"good"}\n'
    )
    items = read_all(tmp_path)
    assert [item.reason for item in items if isinstance(item, Drop)] == [
        "null_text",
        "empty",
        "empty",
        "text_not_a_string",
        "not_an_object",
    ]
    assert [item.text for item in items if isinstance(item, Document)] == ["bare", "good"]


def test_what_python_writes_beyond_strict_json_is_read(tmp_path):
    lines = [
        json.dumps({"score": float("nan"), "text": "one"}),
        '{"text": "half \\ud83d"}',
        '{"text": "\\ud83c\\udf89"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert texts_of(tmp_path) == ["one", "half \ufffd", "🎉"]


def test_text_files_are_one_document_each_in_any_encoding(tmp_path):
    (tmp_path / "a.txt").write_bytes("café – “x”".encode("cp1252"))
    (tmp_path / "b.md").write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9\r\nx")
    (tmp_path / "c.txt").write_bytes("naïve".encode("utf-16"))
    (tmp_path / ".hidden.txt").write_text("no")
    assert texts_of(tmp_path) == ["café – “x”", "café\nx", "naïve"]


def test_a_separator_line_divides_a_text_file(tmp_path, monkeypatch):
    path = tmp_path / "stories.txt"
    path.write_text("One.\n<|endoftext|>\nTwo.\n\nStill two.\n<|endoftext|>\n")
    small = [text.strip() for text in texts_of(path)]
    assert small == ["One.", "Two.\n\nStill two."]
    monkeypatch.setattr(plain_text, "MAX_RECORD", 10)  # now it is a large file, and streamed
    assert [text.strip() for text in texts_of(path)] == small


def test_a_large_text_file_is_streamed_in_pieces_that_join_to_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(plain_text, "MAX_RECORD", 1000)
    monkeypatch.setattr(tables, "UNIT_BYTES", 700)
    monkeypatch.setattr(plain_text, "_PIECE_BYTES", 100)
    path = tmp_path / "a.txt"
    path.write_text("".join(f"line {i}\n" for i in range(500)))
    pieces = texts_of(path)
    assert len(pieces) > 20
    assert "\n".join(pieces) == path.read_text().rstrip("\n")
