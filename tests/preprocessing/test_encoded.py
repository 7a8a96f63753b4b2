"""Documents between reading and sharding: whatever is chosen of them, a shard holds just their
tokens.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing import encoded
from gpt_research.preprocessing.encoded import SPLITS, EncodedDocuments, EncodedWriter
from gpt_research.preprocessing.text.arrow import DOCUMENT_SCHEMA
from gpt_research.preprocessing.text.batches import Batch, place_of
from gpt_research.preprocessing.work_folder import WorkFolder


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.gpt2()


def batch(texts: list[str], first: int) -> Batch:
    places = pa.array(range(first, first + len(texts)), pa.int64())
    sources = pa.array([f"f{i}" for i in range(len(texts))], pa.large_string())
    return Batch(pa.record_batch([pa.array(texts, pa.large_string()), sources, places], schema=DOCUMENT_SCHEMA))


def written(work: WorkFolder, tokenizer: Tokenizer, batches: list[list[tuple[str, int]]]) -> EncodedDocuments:
    first = 0
    with EncodedWriter(work, 0, tokenizer) as writer:
        for items in batches:
            writer.add(batch([text for text, _ in items], first), np.array([split for _, split in items]))
            first += len(items)
    return EncodedDocuments(work, 0)


ITEMS = st.tuples(st.text("ab é\n日", max_size=12), st.integers(0, 1))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(ITEMS, min_size=1, max_size=6), min_size=1, max_size=4), st.data())
def test_a_shard_holds_the_chosen_documents_and_no_others(tmp_path_factory, tokenizer, batches, data):
    folder = tmp_path_factory.mktemp("work")
    documents = written(WorkFolder(folder / ".work"), tokenizer, batches)
    items = [item for group in batches for item in group]
    # Sometimes all of one split, which is then taken as it is; sometimes documents that have
    # changed splits.
    split = data.draw(st.integers(0, 1))
    mine = [row for row, (_, own) in enumerate(items) if own == split]
    some = st.lists(st.sampled_from(range(len(items))), min_size=1, unique=True).map(sorted)
    rows = data.draw(st.one_of(st.just(mine), some) if mine else some)
    shard = documents.write_shard(folder, 7, split, np.array(rows))
    tokens = np.fromfile(folder / shard.path, "<u2")
    expected = [ids for row in rows for ids in (*tokenizer.encode(items[row][0]), tokenizer.end_of_text)]
    assert tokens.tolist() == expected
    assert shard.sha256 == hashlib.sha256(tokens.tobytes()).hexdigest()
    assert (shard.tokens, shard.documents) == (len(expected), len(rows))
    index = pq.read_table((folder / shard.path).with_suffix(".parquet"))
    assert index.schema.metadata is None
    assert index["position"].to_pylist() == rows
    assert index["start"].to_pylist() == [0, *np.cumsum(index["tokens"].to_pylist())[:-1].tolist()]
    assert index["bytes"].to_pylist() == [len(items[row][0].encode()) for row in rows]


def test_a_split_that_stays_whole_is_not_copied(tmp_path: Path, tokenizer: Tokenizer) -> None:
    work = WorkFolder(tmp_path / ".work")
    documents = written(work, tokenizer, [[("one", 0), ("two", 1), ("three", 0)]])
    for _ in range(2):  # a second time where the first was cut short
        documents.write_shard(tmp_path, 0, 0, np.array([0, 2]))
    assert (tmp_path / "train_00000.bin").samefile(work.path("tokens", 0, "train.bin"))
    assert sorted(path.name for path in tmp_path.glob("*.*")) == [".work", "train_00000.bin", "train_00000.parquet"]


def test_without_hard_links_it_is_copied(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    work = WorkFolder(tmp_path / ".work")
    shard = written(work, tokenizer, [[("one", 0)]]).write_shard(tmp_path, 0, 0, np.array([0]))
    assert not (tmp_path / shard.path).samefile(work.path("tokens", 0, "train.bin"))
    assert (tmp_path / shard.path).read_bytes() == work.path("tokens", 0, "train.bin").read_bytes()


def test_long_runs_come_in_pieces(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "_BLOCK", 3)
    documents = written(WorkFolder(tmp_path / ".work"), tokenizer, [[("a b c d e f g h", 0), ("i", 0), ("j", 1)]])
    pieces = [*documents.tokens(np.array([0, 1]))]
    assert max(map(len, pieces)) == 3
    ends = [tokenizer.end_of_text]
    assert np.concatenate(pieces).tolist() == tokenizer.encode("a b c d e f g h") + ends + tokenizer.encode("i") + ends


def test_sources_are_those_of_the_documents(tmp_path: Path, tokenizer: Tokenizer) -> None:
    work = WorkFolder(tmp_path / ".work")
    with EncodedWriter(work, 0, tokenizer) as writer:
        writer.add(batch(["one", "two"], 0), np.array([0, 1]))
        writer.add(batch(["three"], 2), np.array([0]))
    assert [writer.source_of(row) for row in range(3)] == [("f0", 0), ("f1", 1), ("f0", 2)]
    assert [place_of(EncodedDocuments(work, 0).rows, row) for row in range(3)] == [("f0", 0), ("f1", 1), ("f0", 2)]
    with pytest.raises(IndexError):
        writer.source_of(3)


def test_what_is_not_finished_has_no_name(tmp_path: Path, tokenizer: Tokenizer) -> None:
    work = WorkFolder(tmp_path / ".work")

    def stopped_in_the_middle() -> None:
        with EncodedWriter(work, 0, tokenizer) as writer:
            writer.add(batch(["one"], 0), np.array([SPLITS.index("train")]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_in_the_middle()
    assert not [path for path in work.folder.rglob("*") if path.is_file()]


def test_a_file_of_tokens_that_was_cut_is_no_shard(tmp_path: Path, tokenizer: Tokenizer) -> None:
    work = WorkFolder(tmp_path / ".work")
    documents = written(work, tokenizer, [[("one two three", 0), ("four", 0)]])
    os.truncate(work.path("tokens", 0, "train.bin"), 4)
    with pytest.raises(OSError, match=r"train\.bin is too short"):
        documents.write_shard(tmp_path, 0, 0, np.array([0]))
    assert not (tmp_path / "train_00000.bin").exists()
