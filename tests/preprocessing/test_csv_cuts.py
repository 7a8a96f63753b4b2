"""Claims about reading a CSV file in parts."""

import csv
import gzip
import io
import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt_research.preprocessing.document import Document, Drop, ReadOptions, Unit
from gpt_research.preprocessing.formats import csv_rows, tables
from gpt_research.preprocessing.formats.tables import GenericReader, cut, records

quickly = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
CELL = st.text(st.sampled_from(',,""\n\n\r\t é0a'), max_size=12)
COLUMNS = ["id", "text", "label"]


def written(rows: list[list[str]], delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> str:
    # The writer quotes a carriage return only where it belongs to its own line end.
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()


def parts_of(path: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> list[Unit]:
    monkeypatch.setattr(tables, "UNIT_BYTES", width)
    units = cut(path, path)
    assert sum(unit.size for unit in units) == path.stat().st_size
    return units


def read(path: Path, units: list[Unit]) -> list[tuple[int, dict[str, str]] | Drop]:
    return [item for unit in units for item in records(path, unit, list)]


@quickly
@given(
    rows=st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), min_size=1, max_size=14)),
    delimiter=st.sampled_from([",", "\t"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    ends=st.sampled_from(["\r\n", "\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252"]),
    closed=st.booleans(),
    width=st.integers(1, 80),
    block=st.sampled_from([2, 7, 1 << 20]),
)
def test_the_parts_of_a_table_give_what_the_whole_gives(
    tmp_path, monkeypatch, rows, delimiter, quoting, ends, encoding, closed, width, block
):
    text = written([COLUMNS[: len(rows[0])], *rows], delimiter, quoting)
    if ends == "\n":
        text = text.replace("\r\n", "\n").replace("\r", "")
    path = tmp_path / ("a.csv" if delimiter == "," else "a.tsv")
    path.write_bytes((text if closed else text.removesuffix(ends)).encode(encoding))
    monkeypatch.setattr(csv_rows, "_BLOCK", block)
    whole = read(path, [Unit(path.name, 0)])
    assert not [item for item in whole if isinstance(item, Drop)]
    assert read(path, parts_of(path, width, monkeypatch)) == whole


# No line begins with a digit: within a torn row nothing would tell it from the next row.
LINE = st.lists(st.sampled_from(["rain", "and", "said,", '"No",', 'he "left".', "no 3", "Ω"]), min_size=1, max_size=6)
ARTICLE = st.lists(LINE.map(" ".join), min_size=1, max_size=4).map("\n".join)
HARM = {
    "a quote never closed": lambda row: row.rstrip("\n").removesuffix('"') + "\n",
    "a quote never opened": lambda row: row.replace(',"', ",", 1),
    "a quote too many": lambda row: row.replace(" ", ' "', 1),
    "a field too few": lambda row: row.split(",")[0] + "\n",
    "a field too many": lambda row: row.rstrip("\n") + ",x\n",
    "a row cut short": lambda row: row[: row.index(">") + 2] + "\n",
}


@quickly
@given(
    articles=st.lists(ARTICLE, min_size=4, max_size=24),
    harms=st.dictionaries(st.integers(1, 23), st.sampled_from(sorted(HARM)), max_size=3),
    form=st.sampled_from(["id,text", "id,text quoted", "text,id quoted"]),
    width=st.integers(20, 300),
)
def test_a_torn_row_gives_no_part_of_an_article_and_no_row_twice(tmp_path, monkeypatch, articles, harms, form, width):
    names, _, quoted = form.partition(" ")
    quoting = csv.QUOTE_NONNUMERIC if quoted else csv.QUOTE_MINIMAL
    fields = [{"id": number, "text": f"<{number}> {article}."} for number, article in enumerate(articles)]
    rows = [written([[row[name] for name in names.split(",")]], quoting=quoting).replace("\r", "") for row in fields]
    for number, harm in harms.items():
        if number < len(rows):
            rows[number] = HARM[harm](rows[number])
    path = tmp_path / "a.csv"
    path.write_text(f"{names}\n" + "".join(rows), encoding="utf-8")
    monkeypatch.setattr(tables, "UNIT_BYTES", width)
    reader = GenericReader()
    texts = [
        item.text
        for unit in reader.units(path)
        for item in reader.read(path, unit, ReadOptions())
        if isinstance(item, Document)
    ]
    good = [f"<{number}> {article}." for number, article in enumerate(articles) if number not in harms]
    assert [text for text in texts if text in good] == good
    numbers = [int(found[1]) for text in texts if (found := re.match(r"<(\d+)>", text))]
    assert numbers == sorted(set(numbers))
    # What is left of a row without its first quote is a row by itself.
    assert len(numbers) == len(texts) or "a quote never opened" in harms.values()


def cnn_like(rows: int) -> list[str]:
    body = 'It rains, and "no one" knows why.\nThen it ends.'
    return [written([[number, f"Title, {number}", body]], quoting=csv.QUOTE_NONNUMERIC) for number in range(rows)]


@pytest.mark.parametrize(("quoted", "torn"), [(True, None), (True, 0), (True, 3), (True, 50), (False, None)])
def test_every_border_is_the_beginning_of_a_row_also_after_a_torn_one(tmp_path, monkeypatch, quoted, torn):
    rows = cnn_like(100) if quoted else [f"{number},plain,x y z\r\n" for number in range(200)]
    if torn is not None:
        rows[torn] = f'{torn},"never, closed\r\n'
    path = tmp_path / "a.csv"
    path.write_text("id,title,text\r\n" + "".join(rows), newline="")
    units = parts_of(path, 400, monkeypatch)
    data = path.read_bytes()
    assert len(units) > 0.5 * len(data) / 400
    assert [unit.stop for unit in units] == [*(unit.start for unit in units[1:]), len(data)]
    assert all(data[unit.start :].split(b",")[0].isdigit() for unit in units[1:])
    found = read(path, units)
    assert len(found) == len(rows)
    assert sum(isinstance(item, Drop) for item in found) == (torn is not None)


def test_a_table_without_the_texts_column_says_so_once(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("id,title,other\r\n" + "".join(cnn_like(100)), newline="")
    units = parts_of(path, 400, monkeypatch)
    items = [item for unit in units for item in GenericReader().read(path, unit, ReadOptions())]
    assert len(units) > 1
    assert [(item.reason, item.position) for item in items if isinstance(item, Drop)] == [("no_text_key", 0)]


def test_a_packed_table_is_one_unit_whatever_its_name(tmp_path, monkeypatch):
    data = ("id,title,text\r\n" + "".join(cnn_like(3000))).encode()
    (tmp_path / "a.csv").write_bytes(gzip.compress(data, 0))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(data, 0))
    monkeypatch.setattr(tables, "UNIT_BYTES", 1000)
    units = GenericReader().units(tmp_path)
    assert [(unit.path, unit.start, unit.stop) for unit in units] == [("a.csv", 0, -1), ("a.csv.gz", 0, -1)]
    assert all(len(read(tmp_path / unit.path, [unit])) == 3000 for unit in units)


def test_borders_are_found_in_bounded_memory_and_read_no_byte_twice(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,text\n" + b"1,no quotes at all\n" * 2_000_000)
    tracemalloc.start()
    try:
        units = parts_of(path, 1 << 20, monkeypatch)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(units) == 37
    assert peak < 8 << 20
