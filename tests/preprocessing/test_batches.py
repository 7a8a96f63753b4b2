"""Claims about documents by the batch: they are those that are read one by one."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt_research.preprocessing.document import Document, Drop, ReadOptions
from gpt_research.preprocessing.formats import parquet, tables
from gpt_research.preprocessing.formats.fields import text_of
from gpt_research.preprocessing.readers.catalogue import resolve
from gpt_research.preprocessing.readers.corpus import Corpus
from gpt_research.preprocessing.text import batches
from gpt_research.preprocessing.text.arrow import DOCUMENT_SCHEMA
from gpt_research.preprocessing.text.batches import Batch, batched, clean_batches, place_of

OPTIONS = ReadOptions()
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
by_example = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)


def flat(items: Iterable[Batch | Drop]) -> list[Document | Drop]:
    """Return documents one by one, read as a reader of records takes their text."""
    found: list[Document | Drop] = []
    for item in items:
        if isinstance(item, Batch):
            assert item.rows.schema == DOCUMENT_SCHEMA
            item.rows.validate(full=True)
            assert item.to_strings() == item.texts.to_pylist()
            for row in item.rows.to_pylist():
                text = text_of(row["text"], row["source"], row["position"])
                found.append(text if isinstance(text, Drop) else Document(**{**row, "text": text}))
        else:
            found.append(item)
    return found


def both_ways(corpus: Corpus) -> tuple[list[Document | Drop], list[Document | Drop]]:
    """Return what is read one by one, and by the batch: the documents, and then what was
    dropped.
    """
    units = corpus.units()
    one_by_one = [item for unit in units for item in corpus.read(unit, OPTIONS)]
    by_the_batch = flat(batched(item for unit in units for item in corpus.stream(unit, OPTIONS)))
    return sorted(one_by_one, key=is_drop), sorted(by_the_batch, key=is_drop)


def is_drop(item: Document | Drop) -> bool:
    return isinstance(item, Drop)


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
    monkeypatch.setattr(parquet, "_BATCH_ROWS", 2)
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


def test_a_clean_column_is_not_read_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["“Clean”,\nwith two lines.", "日本語 🎉", 'A "quotation" and a \\ backslash.']
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
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
    assert flat(batched([*documents[:3], found[2].rows, documents[4]])) == [*documents[:3], *documents[2:]]


def test_half_a_surrogate_pair_does_not_end_a_batch() -> None:
    (batch,) = batched([Document("a\ud800b", "s\ud800", 0), Document("c", "s", 1)])
    assert batch.texts.to_pylist() == batch.to_strings() == ["ab", "c"]


@pytest.mark.parametrize("damaged", [False, True])
def test_what_is_kept_of_a_batch_is_the_same_in_both_forms(damaged: bool) -> None:
    texts = ["It is a clean text.", "short", "Another one, “clean”."] + ["itâ€™s damaged, and long enough"] * damaged
    *drops, batch = clean_batches([Document(text, "s", n) for n, text in enumerate(texts)], min_characters=10)
    assert drops == [Drop("too_short", "s", 1, "short")]
    assert (
        batch.to_strings()
        == batch.texts.to_pylist()
        == [texts[0], texts[2]] + ["it’s damaged, and long enough"] * damaged
    )
    assert place_of(batch.rows, 1) == ("s", 2)
    assert batch.keep(np.arange(len(batch)) == 1).to_strings() == [texts[2]]
    assert batch.keep(np.zeros(len(batch), dtype=bool)).to_strings() == []
