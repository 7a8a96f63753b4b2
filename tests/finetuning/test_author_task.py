"""The author task: books are split, and pretraining gets no book of validation or test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/author_task.py"


def book(folder: Path, author: str, number: int) -> None:
    paragraphs = [
        "\n".join(f"{author} wrote line {line} of paragraph {p} in book {number}." for line in range(8))
        for p in range(12)
    ]
    head = f"Title: Book {number}\nAuthor: {author}\n\n*** START OF THE PROJECT GUTENBERG EBOOK ***\n\n"
    text = head + "\n\n".join(["Short.", *paragraphs]) + "\n\n*** END OF THE PROJECT GUTENBERG EBOOK ***\n"
    (folder / f"{author}-{number}.txt").write_text(text.replace("\n", "\r\n"), encoding="utf-8")


@pytest.fixture
def books(tmp_path: Path) -> Path:
    folder = tmp_path / "books"
    folder.mkdir()
    for author, count in (("Ann", 4), ("Bob", 3), ("Cid", 2), ("Dora", 1), ("Various", 5)):
        for number in range(count):
            book(folder, author, number)
    return folder


def make(books: Path, out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(books), "--out", str(out), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_books_are_split_and_not_paragraphs(books: Path, tmp_path: Path) -> None:
    out = tmp_path / "task"
    made = make(books, out, "--authors", "3", "--paragraphs", "10", "--held_out", "4")
    assert made.returncode == 0, made.stderr
    named = json.loads((out / "books.json").read_text())
    counts = {author: {name: len(own) for name, own in splits.items()} for author, splits in named.items()}
    assert counts == {
        "Ann": {"test": 1, "val": 1, "train": 2},
        "Bob": {"test": 1, "val": 1, "train": 1},
        "Cid": {"test": 1, "val": 0, "train": 1},
    }
    for split in ("train", "val", "test"):
        rows = [json.loads(line) for line in (out / f"{split}.jsonl").read_text().splitlines()]
        assert len(rows) == (10 if split == "train" else 4) * sum(1 for own in counts.values() if own[split])
        for row in rows:
            assert 200 <= len(row["text"]) <= 1500
            assert "\n" not in row["text"]
            number = row["text"].rsplit(" ", 1)[1].rstrip(".")
            assert f"{row['label']}-{number}.txt" in named[row["label"]][split]
    held_out = {book for splits in named.values() for name in ("test", "val") for book in splits[name]}
    links = {path.name for path in (out / "pretraining").iterdir()}
    assert links == {path.name for path in books.iterdir()} - held_out
    assert all((out / "pretraining" / name).read_bytes() for name in links)
    passages = [json.loads(line) for line in (out / "passages/author/passages.jsonl").read_text().splitlines()]
    tests = [json.loads(line) for line in (out / "test.jsonl").read_text().splitlines()]
    assert [row["text"] for row in passages] == [row["text"] for row in tests]
    too_many = make(books, out, "--authors", "4")
    assert "Only 3 authors in" in too_many.stderr
