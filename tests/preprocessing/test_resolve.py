"""Claims about what NAME=PATH means."""

import json
import pickle
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.document import Document, ReadOptions
from gpt_research.preprocessing.formats.tables import TableReader
from gpt_research.preprocessing.readers.catalogue import READERS, resolve


def test_the_name_brings_its_reader(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    for name in ("cnn", "openwebtext", "transweb"):
        assert resolve(f"{name}={tmp_path}").reader.name == name


def test_a_named_reader_comes_before_the_name(tmp_path):
    corpus = resolve(f"news:cnn={tmp_path}")
    assert (corpus.name, corpus.reader.name) == ("news", "cnn")
    assert resolve(f"cnn:files={tmp_path}").reader.name == "files"


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("a.txt", "formats.tables"),
        ("a.jsonl.gz", "formats.tables"),
        ("openwebtext/urlsf_subset00-1_data.xz", "readers.openwebtext"),
        ("subsets/urlsf_subset00.tar", "readers.openwebtext"),
        ("enwiki-latest-pages-articles.xml.bz2", "readers.wikipedia"),
        ("maildir/allen-p/inbox/1.", "readers.enron"),
    ],
)
def test_with_another_name_the_reader_follows_from_the_files(tmp_path, file, module):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    assert type(resolve(f"mine={tmp_path}").reader).__module__ == f"gpt_research.preprocessing.{module}"


@dataclass(frozen=True)
class ShoutingReader(TableReader):
    """A reader as a plugin brings it."""

    name: str = "mine"

    def document(self, text, record, source, position, options):
        return Document(text.upper(), source, position)


@pytest.mark.parametrize("spec", ["mine={}", "news:mine={}"])
def test_a_reader_of_ones_own_is_one_line_in_the_dictionary(tmp_path, monkeypatch, spec):
    monkeypatch.setitem(READERS, "mine", ShoutingReader)
    pq.write_table(pa.table({"id": [1, 2], "text": ["one", "two"]}), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n')
    corpus = resolve(spec.format(tmp_path))
    items = [item for unit in corpus.units() for item in corpus.stream(unit, ReadOptions())]
    assert [item.text for item in items] == ["ONE", "TWO", "THREE"]


def test_every_reader_bears_the_name_that_it_is_found_by():
    assert {name: reader().name for name, reader in READERS.items()} == {name: name for name in READERS}


def test_a_single_file_is_a_corpus(tmp_path):
    path = tmp_path / "a=b.txt"
    path.write_text("hello")
    corpus = resolve(f"mine={path}")
    (item,) = corpus.read(corpus.units()[0], ReadOptions())
    assert item == Document("hello", "a=b.txt", 0)


def test_a_corpus_travels_to_worker_processes(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    corpus = pickle.loads(pickle.dumps(resolve(f"mine={tmp_path}")))
    assert [i.text for i in corpus.read(corpus.units()[0], ReadOptions())] == ["hello"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cnn", "NAME=PATH"),
        ("=x", "NAME=PATH"),
        ("cnn=", "NAME=PATH"),
        ("My News={here}", '"My News" cannot name a corpus'),
        ("../x={here}", "cannot name a corpus"),
        ("mine:gutenburg={here}", 'no reader "gutenburg".*Did you mean "gutenberg"'),
        ("cnn={here}/artcles", 'artcles does not exist.*Did you mean "articles"'),
        ("cnn=hub:nothing", "hub:owner/name"),
    ],
)
def test_a_wrong_spec_is_one_clear_error(tmp_path, spec, message):
    (tmp_path / "articles").mkdir()
    with pytest.raises(UserError, match=message):
        resolve(spec.format(here=tmp_path))


def test_a_folder_with_nothing_to_read_is_one_clear_error(tmp_path):
    (tmp_path / "a.png").write_text("x")
    for name in ("mine", "cnn", "transweb", "openwebtext"):
        with pytest.raises(UserError, match=rf"Nothing that reader .* can read in {tmp_path}.*\.jsonl"):
            resolve(f"{name}={tmp_path}").units()


class LocalSplit:
    """Stands in for the library's streamed split: shards are lists of rows."""

    def __init__(self, shards: list[list[dict]]) -> None:
        self.shards = shards
        self.num_shards = len(shards)

    def shard(self, num_shards: int, index: int) -> "LocalSplit":
        assert num_shards == self.num_shards
        return LocalSplit([self.shards[index]])

    def __iter__(self):
        return iter(row for shard in self.shards for row in shard)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch):
    """A stand-in `datasets` that streams a local jsonl."""
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"text": f"(CNN)Row {i} is.Here it ends.", "label": 1}) + "\n" for i in range(6))
    )
    calls = []

    def load_dataset(repo, config=None, *, revision=None, streaming):
        calls.append((repo, config, revision, streaming))
        if repo == "no/such":
            raise FileNotFoundError("there is no such dataset")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return {"train": LocalSplit([rows[:2], rows[2:4]]), "test": LocalSplit([rows[4:]])}

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return calls


def test_a_hub_dataset_streams_shard_by_shard(hub):
    corpus = resolve("mine=hub:owner/name")
    units = corpus.units()
    assert [(u.path, u.start, u.stop) for u in units] == [
        ("owner/name/test", 0, 1),
        ("owner/name/train", 0, 2),
        ("owner/name/train", 1, 2),
    ]
    items = [item for unit in units for item in corpus.read(unit, ReadOptions())]
    assert [item.text[:10] for item in items] == [f"(CNN)Row {i}" for i in (4, 5, 0, 1, 2, 3)]
    assert len({(item.source, item.position) for item in items}) == 6


def test_a_hub_dataset_under_a_known_name_is_read_as_that_corpus(hub):
    corpus = resolve("cnn=hub:owner/name:plain@abc123")
    assert next(corpus.read(corpus.units()[1], ReadOptions())).text == "Row 0 is.\n\nHere it ends."
    assert hub[0] == ("owner/name", "plain", "abc123", True)


def test_a_hub_dataset_that_is_not_there_is_one_clear_error(hub):
    with pytest.raises(UserError, match="Cannot open hub:no/such: there is no such dataset"):
        resolve("mine=hub:no/such").units()


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r'pip install .*\[hub\]"'):
        resolve("mine=hub:owner/name").units()
