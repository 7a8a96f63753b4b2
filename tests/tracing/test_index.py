"""The index finds each sequence of tokens wherever it stands, and belongs to one data set."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpt_research.base.errors import UserError
from gpt_research.data.shards import Dataset, Shard, TokenFiles
from gpt_research.tracing import index, suffix_array
from gpt_research.tracing.index import Index, SplitIndex, build_index
from gpt_research.tracing.split_tokens import SplitTokens

BLOCK = 1 << 10


@pytest.fixture(scope="module")
def indexed(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an index of the data set of two corpora."""
    pytest.importorskip("pydivsufsort")
    return build_index(dataset_folder, tmp_path_factory.mktemp("index") / "index")


def places_of(plain: bytes, part: bytes, size: int = 2) -> list[int]:
    """Every place of a part in a text of tokens of `size` bytes, looked for one after another."""
    found, at = [], plain.find(part)
    while at >= 0:
        if at % size == 0:
            found.append(at // size)
        at = plain.find(part, at + 1)
    return found


def check(split: SplitIndex, spans: int, size: int = 2, vocabulary: int = 300) -> None:
    """Compare the index with a search through the whole text, for spans of the text and for spans
    that someone has changed.
    """
    rng = np.random.default_rng(1)
    tokens = split.text.tokens(0, split.text.count)
    plain = tokens.astype(f"<u{size}").tobytes()
    for number in range(spans):
        begin = int(rng.integers(len(tokens)))
        query = tokens[begin : begin + (int(rng.integers(2, 12)) if number % 50 else 1)].copy()
        query = query[query != tokens.max()]  # the token that ends a document is in no query
        if not len(query):
            continue
        if number % 3 == 2:
            query[rng.integers(len(query))] = rng.integers(vocabulary)
        match = split.longest(query)[0]
        part = query.astype(f"<u{size}")
        assert sorted(split.places(match.first, match.last).tolist()) == (
            places_of(plain, part[: match.length].tobytes(), size) if match.length else []
        )
        assert match.length == len(query) or not places_of(plain, part[: match.length + 1].tobytes(), size)


def test_ten_thousand_spans_are_found_wherever_they_stand(indexed: Path, dataset_folder: Path) -> None:
    opened = Index(Dataset(dataset_folder, 1), indexed)
    check(opened.train, 5000)
    check(opened.val, 5000)


def test_each_place_of_a_query_has_its_own_longest_match(indexed: Path, dataset_folder: Path) -> None:
    split = Index(Dataset(dataset_folder, 1), indexed).train
    query = np.concatenate([split.text.tokens(100, 130), [7, 7, 7], split.text.tokens(900, 940)])
    alone = [split.longest(query[place:])[0] for place in range(len(query))]
    assert split.longest(query) == alone
    assert alone[0].length >= 20
    assert split.longest(np.empty(0, np.int64)) == []
    assert split.whole(query[:30]) == alone[0]
    assert (split.whole(query).count, split.whole(np.empty(0, np.int64)).count) == (0, 0)


@pytest.mark.parametrize("most", [200, 3000])
def test_parts_that_are_merged_give_the_same_answers(
    most: int, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pydivsufsort")
    monkeypatch.setattr(suffix_array, "BLOCK", BLOCK)  # so that several blocks are merged
    text = SplitTokens(Dataset(dataset_folder, 1), "train")
    longest_document = 1500
    memory = suffix_array.memory_to_sort(max(most, longest_document), 2)
    said: list[str] = []
    folder = build_index(dataset_folder, tmp_path / "index", memory=memory, notice=said.append)
    assert any(line.startswith("Merging the ") for line in said)
    split = Index(Dataset(dataset_folder, 1), folder).train
    check(split, 600)
    assert sorted(split.places(0, text.count).tolist()) == list(range(text.count))


@pytest.mark.parametrize(("dtype", "token_bytes", "width"), [("<u2", 2, 5), ("<u4", 3, 4), ("<u4", 4, 5)])
def test_wide_tokens_and_wide_positions(dtype: str, token_bytes: int, width: int, tmp_path: Path) -> None:
    pytest.importorskip("pydivsufsort")
    rng = np.random.default_rng(0)
    scale = {2: 1, 3: 70_000, 4: 20_000_000}[token_bytes]
    shards = []
    for number, length in enumerate((700, 1, 900)):
        tokens = rng.integers(0, 9, length) * scale
        tokens[-1] = 11 * scale  # ends a document
        tokens.astype(dtype).tofile(tmp_path / f"{number}.bin")
        shards.append(Shard(f"{number}.bin", length))
    dataset = SimpleNamespace(splits={"train": {"a": TokenFiles(tmp_path, shards, np.dtype(dtype), 1)}})
    text = SplitTokens(dataset, "train")  # type: ignore[arg-type]
    parts = suffix_array.cut(text, 11 * scale, 1000)
    assert parts == [(0, 701), (701, 1601)]
    maps = []
    for start, stop in parts:
        file = io.BytesIO()
        suffix_array.write_sorted(text, start, stop, token_bytes, width, file)
        maps.append(np.frombuffer(file.getvalue(), np.uint8))
    merged = np.concatenate(list(suffix_array.merged(text, 11 * scale, maps, width)))
    assert sorted(merged.tolist()) == list(range(text.count))
    (tmp_path / "train.suffixes").write_bytes(suffix_array.packed(merged, width))
    for name in ("documents", "bytes"):
        np.save(tmp_path / f"train.{name}.npy", np.zeros(2, np.int64))
    check(SplitIndex(tmp_path, text, width), 500, size=np.dtype(dtype).itemsize, vocabulary=9 * scale)


def test_the_bytes_before_a_position_are_those_of_the_text(
    dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pydivsufsort")
    from gpt_research.data.tokenizer import Tokenizer

    monkeypatch.setattr(index, "BYTES_EVERY", 64)
    dataset, tokenizer = Dataset(dataset_folder, 1), Tokenizer.load(dataset_folder / "tokenizer.json")
    split = Index(dataset, build_index(dataset_folder, tmp_path / "index")).train
    for position in (0, 1, 63, 64, 65, 1000, split.text.count):
        expected = len(tokenizer.decode_bytes(split.text.tokens(0, position)))
        assert split.bytes_before(position, tokenizer.byte_lengths) == expected
    ends = np.flatnonzero(split.text.tokens(0, split.text.count) == tokenizer.end_of_text) + 1
    assert split.documents.tolist() == [0, *ends[:-1].tolist()]


def test_an_index_that_was_stopped_goes_on_and_is_there_when_it_is_whole(
    dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pydivsufsort")
    monkeypatch.setattr(suffix_array, "BLOCK", BLOCK)
    out, memory, sort = tmp_path / "index", suffix_array.memory_to_sort(1500, 2), suffix_array.write_sorted
    sorted_parts: list[int] = []

    def stop_at_the_third(text: SplitTokens, start: int, *rest: Any) -> None:
        if len(sorted_parts) == 2:
            raise KeyboardInterrupt
        sorted_parts.append(start)
        sort(text, start, *rest)

    monkeypatch.setattr(suffix_array, "write_sorted", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        build_index(dataset_folder, out, memory=memory)
    assert not out.exists()
    with pytest.raises(UserError, match=r"has no index yet. Make it with: .* index .* --out"):
        Index(Dataset(dataset_folder, 1), out)
    again: list[int] = []
    monkeypatch.setattr(
        suffix_array, "write_sorted", lambda text, start, *rest: (again.append(start), sort(text, start, *rest))
    )
    build_index(dataset_folder, out, memory=2 * memory)
    assert not set(again[: -len(again) // 2]) & set(sorted_parts)
    assert sorted_parts[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["index"], "nothing is left of the building"
    assert not {"plan.json", "owner.json"} & {path.name for path in out.iterdir()}
    check(Index(Dataset(dataset_folder, 1), out).train, 200)
    said: list[str] = []
    build_index(dataset_folder, out, notice=said.append)
    assert said == [f"{out} is the index of this data set already."]


def foreign(folder: Path, seed: int) -> Path:
    """A data set of nanoGPT, with no end of text, and one shard of llm.c behind it."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    rng.integers(0, 200, 5000).astype("<u2").tofile(folder / "train.bin")
    header = np.zeros(256, "<i4")
    header[:3] = 20240520, 1, 3000
    with open(folder / "x_train_1.bin", "wb") as file:
        file.write(header.tobytes() + rng.integers(0, 200, 3000).astype("<u2").tobytes())
    rng.integers(0, 200, 900).astype("<u2").tofile(folder / "val.bin")
    return folder


def test_data_that_another_program_prepared_is_indexed_and_told_apart(tmp_path: Path) -> None:
    pytest.importorskip("pydivsufsort")
    one, other = foreign(tmp_path / "one", 1), foreign(tmp_path / "other", 2)
    folder = build_index(one)
    assert folder == one / "suffix_array"
    split = Index(Dataset(one, 1)).train
    check(split, 300, vocabulary=200)
    assert split.documents.tolist() == [0, 5000], "each file is one document, because none ends"
    shutil.copytree(folder, other / "suffix_array")
    with pytest.raises(UserError, match=r"is the index of other data .* Make it anew with: .* index"):
        Index(Dataset(other, 1))


def test_an_index_of_other_data_is_refused_and_replaced(
    indexed: Path, dataset_folder: Path, text_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    shutil.copytree(indexed, out)
    corpus = dataset_folder / "plays"  # the folder of one corpus is a data set too
    with pytest.raises(UserError, match=r"is the index of other data \(\w{12}\) than .*plays holds \(\w{12}\)"):
        Index(Dataset(corpus, 1), out)
    build_index(corpus, out)
    assert Index(Dataset(corpus, 1), out).train.text.count < Index(Dataset(dataset_folder, 1), indexed).train.text.count


def test_damage_is_a_sentence(indexed: Path, dataset_folder: Path, tmp_path: Path) -> None:
    dataset = Dataset(dataset_folder, 1)
    for name, content, message in (
        ("index.json", b"{", "index.json is damaged"),
        ("train.suffixes", b"abc", "train.suffixes has 3 bytes, not"),
        ("train.documents.npy", b"", "is damaged"),
    ):
        folder = tmp_path / name
        shutil.copytree(indexed, folder)
        (folder / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            Index(dataset, folder).train.longest(np.zeros(1, np.int64))
    fields = json.loads((indexed / "index.json").read_text())
    folder = tmp_path / "newer"
    shutil.copytree(indexed, folder)
    (folder / "index.json").write_text(json.dumps({**fields, "version": 99}))
    with pytest.raises(UserError, match="is of version 99, not 1"):
        Index(dataset, folder)


def test_what_is_lacking_is_said_before_the_work(
    dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="A document has more than 100 tokens, which the free memory does not suffice"):
        build_index(dataset_folder, tmp_path / "a", memory=suffix_array.memory_to_sort(100, 2))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"The index takes .* GB, and .* has room for 0.0 GB"):
        build_index(dataset_folder, tmp_path / "b")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "pydivsufsort", None)
    with pytest.raises(UserError, match=r"index needs pydivsufsort. Run: .*trace"):
        build_index(dataset_folder, tmp_path / "c")
    assert not (tmp_path / "c").exists()
    with pytest.raises(UserError, match="No data set at"):
        build_index(tmp_path / "gone")
