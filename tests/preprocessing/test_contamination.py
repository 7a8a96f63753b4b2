"""Benchmark passages are found inside documents, and nothing is found where there is none."""

from __future__ import annotations

import bz2
import gzip
import random
from pathlib import Path

import numpy as np
import orjson
import pytest

from gpt_research.base.errors import UserError
from gpt_research.evaluation.passages import passages_of
from gpt_research.preprocessing.text.contamination import WORDS, BenchmarkIndex, benchmark_folders
from gpt_research.preprocessing.text.words import hash_words

SHARED = Path(__file__).parents[2].parent / "shared"


def random_text(count: int, seed: int, vocabulary: int = 5000) -> str:
    rng = random.Random(seed)
    return " ".join(f"w{rng.randrange(vocabulary)}" for _ in range(count))


PASSAGES = {name: [random_text(40, seed + 10 * i) for i in range(50)] for seed, name in enumerate(("a", "b"))}


@pytest.fixture(scope="module")
def index() -> BenchmarkIndex:
    return BenchmarkIndex.from_texts(PASSAGES)


def test_a_passage_is_found_in_the_middle_of_a_long_document(index: BenchmarkIndex) -> None:
    passage = PASSAGES["b"][7]
    document = f"{random_text(90_000, 900)} {passage} {random_text(90_000, 901)}"
    clean = random_text(180_000, 902)
    assert index.overlaps(hash_words([clean, document, clean])).tolist() == [
        [0, 0],
        [0, 40 - WORDS + 1],
        [0, 0],
    ]


def test_thirteen_words_are_an_overlap_and_twelve_are_not(index: BenchmarkIndex) -> None:
    words = PASSAGES["a"][3].split()
    texts = [" ".join(words[5:18]), " ".join(words[5:17]), f"x {' '.join(words[5:17])} x", ""]
    assert index.overlaps(hash_words(texts)).tolist() == [[1, 0], [0, 0], [0, 0], [0, 0]]


def test_case_punctuation_and_line_breaks_hide_nothing(index: BenchmarkIndex) -> None:
    disguised = "“" + PASSAGES["a"][3].upper().replace(" ", ",\n -- ") + "!”"
    assert index.overlaps(hash_words([disguised])).tolist() == [[28, 0]]


def test_a_repeated_passage_counts_once_in_a_text(index: BenchmarkIndex) -> None:
    text = f"{PASSAGES['a'][0]} . {PASSAGES['b'][0]} . {PASSAGES['a'][0]}"
    assert index.overlaps(hash_words([text, text])).tolist() == [[28, 28], [28, 28]]


def test_counts_equal_those_of_sets_of_words() -> None:
    # Of so few different words that most 13-grams are near misses; several benchmarks share
    # passages.
    benchmarks = {f"benchmark{j}": [random_text(60, j // 2 + 7 * i, 3) for i in range(30)] for j in range(5)}
    rng = random.Random(4)
    texts = []
    for seed in range(80):
        passage = rng.choice(benchmarks[f"benchmark{seed % 5}"]).split()
        start = rng.randrange(50)
        texts.append(f"{random_text(seed, seed, 3)} {' '.join(passage[start : start + 20])}")

    def grams(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)}

    sets = [set().union(*map(grams, passages)) for passages in benchmarks.values()]
    expected = [[len(grams(text) & passages) for passages in sets] for text in texts]
    assert BenchmarkIndex.from_texts(benchmarks).overlaps(hash_words(texts)).tolist() == expected
    assert 0 < sum(map(any, expected)) < len(texts)


def test_an_index_without_passages_overlaps_nothing() -> None:
    index = BenchmarkIndex.from_texts({"short": ["one two three", ""]})
    assert index.overlaps(hash_words([random_text(50, 1)])).tolist() == [[0]]
    assert index.overlaps(hash_words([])).shape == (0, 1)


def test_a_phrase_of_many_documents_is_passed_over(index: BenchmarkIndex) -> None:
    common, rare = PASSAGES["a"][1], PASSAGES["b"][1]
    tasks = [[f"{common} x"] * 6, [f"{common} {rare}"] + [random_text(20, 5)] * 3, [common] * 4]
    parts, first = [], 0
    for texts in tasks:
        parts.append(index.hits(hash_words(texts)) + np.array([first, 0]))
        first += len(texts)
    hits = np.concatenate(parts)
    assert index.count(hits, first, most_texts=11)[:, 0].tolist() == [28] * 7 + [0] * 3 + [28] * 4
    assert index.count(hits, first, most_texts=10)[:, 0].tolist() == [0] * 14
    assert index.count(hits, first, most_texts=10)[6].tolist() == [0, 28]


def index_of(folder: Path) -> BenchmarkIndex:
    """Index a folder of benchmarks, as preprocessing does."""
    return BenchmarkIndex.from_texts({path.name: passages_of(path, path.name) for path in benchmark_folders(folder)})


def write_benchmarks(folder: Path) -> dict[str, str]:
    """Write each form that is read, and return a passage of each by the benchmark's name."""
    passages = {name: random_text(30, seed) for seed, name in enumerate(("lambada", "wikitext", "tasks", "swag"))}
    for name in passages:
        (folder / name).mkdir()
    (folder / "FORMATS.txt").write_text(random_text(30, 80))
    row = orjson.dumps({"text": passages["lambada"]})
    (folder / "lambada" / "test.jsonl.gz").write_bytes(gzip.compress(row + b"\n" + row + b"\n"))
    (folder / "lambada" / "README.md").write_text(random_text(30, 81))
    (folder / "wikitext" / "wiki.test.raw").write_text(f" = Title = \n \n {passages['wikitext']} \n")
    words = passages["tasks"].split()
    ends = [random_text(20, seed) for seed in (90, 91, 92)]
    task = [" ".join(words[:15]), "2", *ends[:2], " ".join(words[15:]), ends[2]]
    (folder / "tasks" / "val.txt.bz2").write_bytes(bz2.compress("\n".join(task * 2).encode()))
    words = passages["swag"].split()
    swag = {
        "ctx": f"[header] {' '.join(words[:9])} [title]",
        "label": "3",
        "endings": [*ends, " ".join(words[9:])],
    }
    (folder / "swag" / "val.jsonl").write_bytes(orjson.dumps(swag))
    return passages


def test_every_form_of_a_benchmark_file_is_read(tmp_path: Path) -> None:
    passages = write_benchmarks(tmp_path)
    index = index_of(tmp_path)
    assert index.names == ("lambada", "swag", "tasks", "wikitext")
    texts = [passages[name] for name in index.names]
    assert index.overlaps(hash_words(texts)).tolist() == (18 * np.eye(4, dtype=int)).tolist()
    others = [random_text(30, seed) for seed in (80, 81)] + [random_text(20, seed) for seed in (90, 91, 92)]
    assert not index.overlaps(hash_words(others)).any()  # notes beside the benchmarks, and false endings


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("lambada/test.jsonl", b'{"text": "a"}\n{"text"'),
        ("lambada/test.jsonl", b'{"body": "a"}\n'),
        ("lambada/test.txt.bz2", bz2.compress(b"a" * 999)[:20]),
        ("lambada/test.txt.gz", b"no gzip"),
        ("lambada/test.txt", b"\xff\xfe"),
        ("lambada/README.md", b"empty"),
        ("test.jsonl", b'{"text": "a"}\n'),
    ],
)
def test_a_benchmark_that_cannot_be_read_is_named(tmp_path: Path, path: str, data: bytes) -> None:
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_bytes(data)
    with pytest.raises(UserError, match=path.split("/")[0] if "/" in path else "No benchmarks in"):
        index_of(tmp_path)


def test_real_books_hold_the_lambada_passages_that_a_search_of_words_finds() -> None:
    book = SHARED / "corpora" / "gutenberg" / "Austen_Jane__Mansfield_Park.txt"
    clean = SHARED / "corpora" / "gutenberg" / "Austen_Jane__Lady_Susan.txt"
    if not (book.is_file() and clean.is_file() and (SHARED / "benchmarks").is_dir()):
        pytest.skip("no books or benchmarks in ../shared")
    index = index_of(SHARED / "benchmarks")
    texts = [path.read_text(encoding="utf-8") for path in (book, clean)]
    # Two of LAMBADA's passages are of Mansfield Park, with 15 and 43 13-grams (counted as tuples of
    # words).
    found = dict(zip(index.names, index.overlaps(hash_words(texts)).T.tolist(), strict=True))
    assert found.pop("lambada") == [58, 0]
    assert {"hellaswag", "wikitext2"} <= found.keys()
    assert all(overlap == [0, 0] for overlap in found.values())
