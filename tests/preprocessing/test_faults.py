"""Claims about damaged input: the run goes on, and the damage is counted by its reason."""

import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.document import Document, Drop, ReadOptions, Unit
from gpt_research.preprocessing.formats import streams
from gpt_research.preprocessing.readers.catalogue import resolve
from gpt_research.preprocessing.readers.corpus import Corpus


def read_all(path: Path, name: str = "mine") -> list[Document | Drop]:
    corpus = resolve(f"{name}={path}")
    return [item for unit in corpus.units() for item in corpus.read(unit, ReadOptions())]


def faults(items: list[Document | Drop]) -> list[str]:
    return [item.reason for item in items if isinstance(item, Drop) and item.broken]


def texts(items: list[Document | Drop]) -> list[str]:
    return [item.text for item in items if isinstance(item, Document)]


def rows(count: int) -> bytes:
    return b"".join(json.dumps({"text": f"document {i} " + "x y z " * 50}).encode() + b"\n" for i in range(count))


@pytest.mark.parametrize(
    ("name", "pack", "reason"),
    [
        ("a.jsonl.gz", gzip.compress, "broken_gzip"),
        ("a.jsonl.zst", zstandard.compress, "broken_zstd"),
        ("a.txt.gz", gzip.compress, "broken_gzip"),
    ],
)
def test_a_cut_file_is_counted(tmp_path, name, pack: Callable[[bytes], bytes], reason):
    path = tmp_path / name
    data = pack(rows(1000))
    path.write_bytes(data[: len(data) - 20])
    assert faults(read_all(path)) == [reason]
    path.write_bytes(data)
    assert faults(read_all(path)) == []


def test_documents_before_the_cut_of_a_gzip_are_kept(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    data = gzip.compress(rows(3000))
    path.write_bytes(data[: len(data) // 2])
    items = read_all(path)
    assert len(texts(items)) > 1000
    assert texts(items)[-1].startswith(f"document {len(texts(items)) - 1} ")
    assert isinstance(items[-1], Drop)


def test_bits_that_fell_over_in_a_gzip_are_counted(tmp_path):
    data = bytearray(gzip.compress(rows(100)))
    data[-6] ^= 0xFF  # within the checksum
    (tmp_path / "a.jsonl.gz").write_bytes(data)
    assert faults(read_all(tmp_path)) == ["broken_gzip"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "torn', "invalid_json"),
        (b'{"text": "caf\xe9"}', "invalid_utf8"),
        (b"\0\0\0\0\0\0", "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"other": "x"}', "no_text_key"),
    ],
)
def test_a_bad_json_line_costs_only_itself(tmp_path, line, reason):
    (tmp_path / "a.jsonl").write_bytes(b'{"text":"one"}\n' + line + b'\n{"text":"two"}\n')
    items = read_all(tmp_path)
    assert texts(items) == ["one", "two"]
    assert faults(items) == [reason]
    assert items[1].position == 15


def test_a_line_of_200_mb_is_passed_over_in_bounded_memory(tmp_path):
    path = tmp_path / "a.jsonl"
    with open(path, "wb") as file:
        file.write(b'{"text":"one"}\n{"text":"')
        for _ in range(200):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n{"text":"two"}\n')
    tracemalloc.start()
    try:
        items = read_all(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert texts(items) == ["one", "two"]
    assert faults(items) == ["line_too_long"]
    assert peak < 3 * streams.MAX_RECORD


def test_a_torn_csv_row_costs_only_itself(tmp_path):
    head = b"Index,Headline,Article text\n"
    good = b'%d,"Head, %d","Body ""%d"" is\nhere, twice."\n'
    for torn in (
        b'7,"Head, torn","Body that is never clos\n',
        b"7,Head\n",
        b'7,"Head" torn,"Body"\n',
        b"7,a,b,c,d\n",
    ):
        (tmp_path / "a.csv").write_bytes(head + good % (1, 1, 1) + torn + good % (2, 2, 2) + good % (3, 3, 3))
        items = read_all(tmp_path, "cnn")
        assert texts(items) == [f'Head, {i}\n\nBody "{i}" is\nhere, twice.' for i in (1, 2, 3)], torn
        assert set(faults(items)) == {"torn_row"}, torn


def test_a_csv_that_ends_in_mid_row_keeps_the_rows_before(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'text,label\n"one, 1",0\n"two\nlines, and",0\n"thr\nee, x\nmore')
    items = read_all(tmp_path)
    assert texts(items) == ["one, 1", "two\nlines, and"]
    assert faults(items) == ["torn_row"]


def test_a_parquet_without_the_column_is_counted_and_the_next_is_read(tmp_path):
    pq.write_table(pa.table({"numbers": [1, 2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["x", None]}), tmp_path / "b.parquet")
    items = read_all(tmp_path)
    assert faults(items) == ["no_text_key"]
    assert '"numbers"' in items[0].detail
    assert texts(items) == ["x"]
    assert items[-1].reason == "null_text"


def test_a_cut_parquet_is_counted(tmp_path):
    pq.write_table(pa.table({"text": ["x" * 100] * 100}), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data[:-50])
    assert faults(read_all(tmp_path)) == ["broken_parquet"]


def test_a_damaged_row_group_leaves_the_others(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"{i} " * 500 for i in range(30)]})
    pq.write_table(table, path, row_group_size=10, compression="zstd", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    begin = column.data_page_offset
    data[begin : begin + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    items = read_all(path)
    assert faults(items) == ["broken_parquet"]
    assert [item.position for item in items if isinstance(item, Document)] == [*range(10), *range(20, 30)]


def test_invalid_utf8_in_a_parquet_costs_only_its_row(tmp_path):
    column = pa.array([b"one", b"caf\xe9", b"two"]).view(pa.string())
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    items = read_all(tmp_path)
    assert texts(items) == ["one", "two"]
    assert faults(items) == ["invalid_utf8"]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.parquet", "a.json", "a.tar"])
def test_a_file_of_no_bytes_is_damage_where_its_form_needs_some(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert faults(read_all(tmp_path)) == ["empty_file"]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.jsonl", "a.csv"])
def test_an_empty_text_or_list_is_counted_and_is_no_damage(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert [(item.reason, item.broken) for item in read_all(tmp_path)] == [("empty_file", False)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a.txt", "a.xz"])
def test_noise_under_a_known_name_is_counted(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(256)) * 10)
    items = read_all(tmp_path)
    assert faults(items) or name == "a.txt"  # any bytes are a text in some encoding


def test_a_file_that_vanished_is_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(rows(2))
    corpus = resolve(f"mine={tmp_path}")
    units = corpus.units()
    path.unlink()
    assert faults(list(corpus.read(units[0], ReadOptions()))) == ["vanished"]


class Stumbling:
    """A reader that fails after two documents."""

    name = "stumbling"
    licence = ""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def units(self, root):
        return [Unit("a.txt", 1)]

    def read(self, root, unit, options):
        yield Document("one", "a.txt", 0)
        yield Document("two", "a.txt", 1)
        raise self.error


def test_a_parsers_surprise_ends_the_unit_and_not_the_run(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    items = list(Corpus("mine", tmp_path, Stumbling(KeyError("odd"))).read(Unit("a.txt", 1), ReadOptions()))
    assert texts(items) == ["one", "two"]
    assert items[-1] == Drop("reader_error", "a.txt", 2, "KeyError: 'odd'", broken=True)


def test_the_users_mistakes_and_our_own_are_not_counted_as_damage(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    for error in (UserError("wrong"), AssertionError("ours")):
        with pytest.raises(type(error)):
            list(Corpus("mine", tmp_path, Stumbling(error)).read(Unit("a.txt", 1), ReadOptions()))
