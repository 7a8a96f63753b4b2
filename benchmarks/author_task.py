"""Who wrote this paragraph? Makes the examples of a classification from books of Project Gutenberg.

    python benchmarks/author_task.py FOLDER_OF_BOOKS --out FOLDER [--authors 10]

The ten authors with the most books take part, each with two books or more. Books are split, not
paragraphs: of each author one book is test, one is validation if there are three, and the others are
training. So a model cannot know a paragraph by the names of its story. FOLDER gets train.jsonl,
val.jsonl and test.jsonl (`text`, `label`), and books.json, which names the books of each split.

Pretrain without the books of test and validation: FOLDER/pretraining has links to all others. Two
books may share stories, so look for their text in the data set all the same:
FOLDER/passages/author/passages.jsonl holds the test paragraphs as a benchmark of your own, which
`preprocess --benchmarks FOLDER/passages` looks for.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from gpt_research.preprocessing.formats.book import strip_boilerplate, unwrap

SHORTEST, LONGEST = 200, 1500
"""Characters of a paragraph that is taken."""
AUTHOR = re.compile(r"^Author:\s*(\S.*?)\s*$", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("books", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--authors", type=int, default=10)
    parser.add_argument("--paragraphs", type=int, default=200, help="of each author in training, at most")
    parser.add_argument("--held_out", type=int, default=100, help="of each author in validation and in test, at most")
    parser.add_argument("--seed", type=int, default=1337)
    asked = parser.parse_args()
    by_author: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(asked.books.glob("*.txt")):
        if (author := author_of(path)) is not None:
            by_author[author].append(path)
    chosen = sorted(by_author, key=lambda author: (-len(by_author[author]), author))[: asked.authors]
    if short := [author for author in chosen if len(by_author[author]) < 2]:
        raise SystemExit(f"Only {len(chosen) - len(short)} authors in {asked.books} have two books or more.")
    rows: dict[str, list[dict[str, str]]] = {"train": [], "val": [], "test": []}
    named: dict[str, dict[str, list[str]]] = {}
    stream = np.random.default_rng(asked.seed)
    for author in chosen:
        books = [by_author[author][number] for number in stream.permutation(len(by_author[author]))]
        splits = {"test": books[:1], "val": books[1:2] if len(books) > 2 else [], "train": books[1:]}
        splits["train"] = [book for book in books if book not in splits["test"] + splits["val"]]
        named[author] = {name: [book.name for book in own] for name, own in splits.items()}
        for name, own in splits.items():
            found = [text for book in own for text in paragraphs(book)]
            most = asked.paragraphs if name == "train" else asked.held_out
            drawn = sorted(stream.permutation(len(found))[:most])
            rows[name] += [{"text": found[number], "label": author} for number in drawn]
    asked.out.mkdir(parents=True, exist_ok=True)
    for name, own in rows.items():
        write(asked.out / f"{name}.jsonl", own)
        print(f"{name}: {len(own):,} paragraphs of {len({row['label'] for row in own})} authors")
    write(asked.out / "passages/author/passages.jsonl", [{"text": row["text"]} for row in rows["test"]])
    held_out = {book for splits in named.values() for name in ("test", "val") for book in splits[name]}
    link([path for path in sorted(asked.books.glob("*.txt")) if path.name not in held_out], asked.out / "pretraining")
    (asked.out / "books.json").write_text(json.dumps(named, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def author_of(path: Path) -> str | None:
    """Return the author that the head of a book names; None for none, or for several."""
    match = AUTHOR.search(path.read_bytes()[:5000].decode("utf-8", "replace"))
    return match[1] if match and " and " not in match[1] and match[1] not in ("Various", "Anonymous") else None


def paragraphs(path: Path) -> list[str]:
    """Return the paragraphs of a book that are long enough to have a style."""
    text = unwrap(strip_boilerplate(path.read_bytes().decode("utf-8-sig", "replace").replace("\r\n", "\n")))
    found = [" ".join(part.split()) for part in text.split("\n\n")]
    return [part for part in found if SHORTEST <= len(part) <= LONGEST]


def link(books: list[Path], folder: Path) -> None:
    """Make a folder of links to books, and no others."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for book in books:
        (folder / book.name).symlink_to(book.resolve())
    print(f"pretraining: links to {len(books):,} books, all but those of validation and test")


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
