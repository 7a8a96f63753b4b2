"""Claims about documents by the batch: they are those that are read one by one."""

import gzip
from collections.abc import Iterable
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt_research.corpora import Document, Drop, ReadOptions, batches, resolve, streams, tables
from gpt_research.corpora.batches import DOCUMENT_SCHEMA, batched
from gpt_research.corpora.fields import text_of
from gpt_research.corpora.resolve import Corpus

OPTIONS = ReadOptions()
ODD_LINES = [
    b'{"text": null}',
    b'{"text": 7}',
    b'{"other": "no text"}',
    b'"a string alone"',
    b"[1, 2]",
    b"",
    b"  ",
    b'{"text": "cut off',
    b'{"text": "not UTF-8 \xff\xfe"}',
    b'{"text": "half a pair \\ud800"}',
    b'{"text": "a pair \\ud83d\\ude00"}',
    b'{"text": "not a number", "n": NaN}',
    b'{"text": "beside what is not UTF-8", "n": "\xff"}',
    b'{"content": "another field"}',
    b'{"content": "another field", "text": "and the usual one"}',
    b'{"text": "two"} {"text": "on a line"}',
    b'{"text": "nested", "meta": {"text": "}\\n{", "list": [1, {}]}}',
    b' {"text": "blanks around"} ',
    b'{"text": "a line end\\r\\nof Windows"}\r',
    b'{"text": "twice", "text": "the same key"}',
    b'{"text": ""}',
    b'{"text": " \\n "}',
    b'{\n"text": "on two lines"}',
]
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
LINE = st.builds(lambda text, number: orjson.dumps({"id": number, "text": text}), TEXT, st.integers(0, 99))
by_example = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)


def flat(items: Iterable[Document | Drop | pa.RecordBatch]) -> list[Document | Drop]:
    """Return documents one by one, read as a reader of records takes their text."""
    found: list[Document | Drop] = []
    for item in items:
        if isinstance(item, pa.RecordBatch):
            assert item.schema == DOCUMENT_SCHEMA
            item.validate(full=True)
            for row in item.to_pylist():
                text = text_of(row["text"], row["source"], row["position"])
                found.append(text if isinstance(text, Drop) else Document(**{**row, "text": text}))
        else:
            found.append(item)
    return found


def both_ways(corpus: Corpus) -> tuple[list[Document | Drop], list[Document | Drop]]:
    """Return what is read one by one, and by the batch: the documents, and then what was dropped."""
    units = corpus.units()
    one_by_one = [item for unit in units for item in corpus.read(unit, OPTIONS)]
    by_the_batch = flat(batched(item for unit in units for item in corpus.stream(unit, OPTIONS)))
    return sorted(one_by_one, key=is_drop), sorted(by_the_batch, key=is_drop)


def is_drop(item: Document | Drop) -> bool:
    return isinstance(item, Drop)


@by_example
@given(
    lines=st.lists(LINE | st.sampled_from(ODD_LINES), max_size=12),
    block=st.sampled_from([1, 30, 100, 1 << 20]),
    unit=st.sampled_from([40, 1 << 20]),
    head=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    tail=st.sampled_from([b"", b"\n", b"\n\n"]),
)
def test_json_lines_by_the_block_are_those_read_line_by_line(tmp_path, monkeypatch, lines, block, unit, head, tail):
    path = tmp_path / "a.jsonl"
    path.write_bytes(head + b"\n".join(lines) + tail)
    monkeypatch.setattr(streams, "_BLOCK", block)
    monkeypatch.setattr(tables, "UNIT_BYTES", unit)
    one_by_one, by_the_block = both_ways(resolve(f"mine={path}"))
    assert by_the_block == one_by_one


@by_example
@given(
    lines=st.lists(st.text("ab \r", max_size=12).map(str.encode), max_size=12),
    block=st.integers(1, 8),
    start=st.integers(0, 20),
    length=st.integers(1, 60),
    end=st.booleans(),
)
def test_blocks_are_lines(tmp_path, monkeypatch, lines, block, start, length, end):
    path = tmp_path / "a"
    path.write_bytes(b"\n".join(lines) + (b"\n" if end else b""))
    monkeypatch.setattr(streams, "_BLOCK", block)
    monkeypatch.setattr(streams, "MAX_RECORD", 8)
    found: list[tuple[int, bytes | None]] = []
    for offset, data in streams.blocks(path, start, start + length):
        found += [(offset, None)] if data is None else tables._lines_of(data, offset)
    assert found == list(streams.lines(path, start, start + length))


@by_example
@given(
    texts=st.lists(TEXT | st.none() | st.just("") | st.just(" \n"), min_size=1, max_size=12),
    kind=st.sampled_from([pa.string(), pa.large_string(), pa.binary(), pa.string_view()]),
    group=st.integers(1, 5),
)
def test_parquet_by_the_batch_is_parquet_row_by_row(tmp_path, monkeypatch, texts, kind, group):
    path = tmp_path / "a.parquet"
    column = pa.array(texts, pa.string()).cast(kind)
    pq.write_table(pa.table({"id": list(range(len(texts))), "text": column}), path, row_group_size=group)
    monkeypatch.setattr(tables, "_BATCH_ROWS", 2)
    one_by_one, by_the_batch = both_ways(resolve(f"mine={path}"))
    assert by_the_batch == one_by_one


@pytest.mark.parametrize("length", [3_000, 300_000])
def test_rows_of_any_length_come_in_batches_of_a_megabyte(tmp_path: Path, length: int) -> None:
    pq.write_table(pa.table({"text": ["abc" * (length // 3)] * 60}), tmp_path / "a.parquet")
    corpus = resolve(f"mine={tmp_path}")
    (unit,) = corpus.units()
    sizes = [batch["text"].nbytes for batch in corpus.stream(unit, OPTIONS)]
    assert max(sizes) < 1.5 * batches.BATCH_BYTES
    assert len(sizes) <= max(1, length // 15_000)


def test_parquet_strings_that_are_not_utf8_are_counted(tmp_path: Path) -> None:
    wrong = pa.array([b"good", b"\xff\xfe", b"good too"]).view(pa.string())
    pq.write_table(pa.table({"text": wrong}), tmp_path / "a.parquet")
    one_by_one, by_the_batch = both_ways(resolve(f"mine={tmp_path}"))
    assert by_the_batch == one_by_one
    assert [item.reason for item in one_by_one if isinstance(item, Drop)] == ["invalid_utf8"]


@pytest.mark.parametrize("block", [100, 5_000, 1 << 20])
def test_what_comes_before_damage_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(streams, "_BLOCK", block)
    lines = b"".join(orjson.dumps({"text": f"document {i} " + str(i**9) * (i % 40)}) + b"\n" for i in range(400))
    packed = gzip.compress(lines)
    for cut in range(2_000, len(packed), len(packed) // 17):
        (tmp_path / "a.jsonl.gz").write_bytes(packed[:cut])
        one_by_one, by_the_block = both_ways(resolve(f"mine={tmp_path}"))
        assert by_the_block == one_by_one
        assert len(one_by_one) > 3
        assert one_by_one[-1].reason == "broken_gzip"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_clean_tables_are_not_read_record_by_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    texts = ["“Clean”,\nwith two lines.", "日本語 🎉", 'A "quotation" and a \\ backslash.']
    if name == "a.jsonl":
        (tmp_path / name).write_bytes(b"\n".join(orjson.dumps({"text": text, "id": 1}) for text in texts))
    else:
        pq.write_table(pa.table({"text": texts}), tmp_path / name)
    monkeypatch.setattr(tables, "text_documents", None)
    corpus = resolve(f"mine={tmp_path}")
    (unit,) = corpus.units()
    (batch,) = corpus.stream(unit, OPTIONS)
    assert batch["text"].to_pylist() == texts


def test_documents_are_gathered_and_drops_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_BYTES", 10)
    documents = [Document(f"text {i}", f"file {i}", i) for i in range(5)]
    drop = Drop("reason", "file", 9, "")
    found = list(batched([documents[0], drop, *documents[1:]]))
    assert found[0] is drop
    assert [len(batch) for batch in found[1:]] == [2, 2, 1]
    assert flat(found[1:]) == documents
    assert flat(batched([*documents[:3], found[2], documents[4]])) == [*documents[:3], *documents[2:]]


def test_half_a_surrogate_pair_does_not_end_a_batch() -> None:
    (batch,) = batched([Document("a\ud800b", "s\ud800", 0), Document("c", "s", 1)])
    assert batch["text"].to_pylist() == ["ab", "c"]
