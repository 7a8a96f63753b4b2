"""Corpora of any size made of small samples: what `preprocess.py` beside this file measures with.

Each corpus keeps its own form and files; its text is repeated with other words, so that no copy is
a duplicate.
"""

from __future__ import annotations

import bz2
import csv
import html
import io
import json
import lzma
import math
import random
import re
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from gpt_research.preprocessing.formats.book import strip_boilerplate
from gpt_research.preprocessing.formats.wiki.wikitext import plain_text
from gpt_research.preprocessing.text.decoding import decode
from gpt_research.preprocessing.text.repair import repair

PIECE = 4_800
"""Characters of a document of clean text, as long as OpenWebText's are on average."""

Documents = Iterator[str]


def clean_documents(samples: Path) -> Documents:
    """Yield web-sized pieces of clean books; when they are over, again with their words in another
    order.
    """
    for turn in range(1_000):
        for path in sorted((samples / "gutenberg").rglob("*.txt")):
            book = repair(strip_boilerplate(decode(path.read_bytes()).replace("\r\n", "\n")))
            held: list[str] = []
            for paragraph in book.split("\n\n"):
                held.append(paragraph)
                if sum(map(len, held)) > PIECE:
                    yield dealt("\n\n".join(held), turn)
                    held = []


def dealt(text: str, turn: int) -> str:
    """Return another text of the same words: they are dealt into `turn` + 1 piles, which are
    joined.
    """
    words, piles = text.split(" "), turn + 1
    return " ".join(word for pile in range(piles) for word in words[pile::piles])


def write_documents(path: Path, documents: Documents, megabytes: float = math.inf) -> float:
    """Write documents as JSON lines or Parquet until their text reaches `megabytes`; return
    its size in MB.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    size, texts = 0, []
    for text in documents:
        texts.append(text)
        size += len(text.encode())
        if size >= megabytes * 1e6:
            break
    if path.suffix == ".jsonl":
        with open(path, "wb") as file:
            file.writelines(orjson.dumps({"text": text}) + b"\n" for text in texts)
    else:
        pq.write_table(pa.table({"text": texts}), path, row_group_size=10_000)
    return size / 1e6


_PLAIN_WORD = re.compile(r"(?<= )[a-z]{4,}(?= )")


def changed(text: str, turn: int) -> str:
    """Return a text with every third plain word another one, turn by turn; marks, tags and headers
    stay.
    """
    if turn == 0:
        return text
    chance = random.Random(f"{turn} {len(text)} {text[-100:]}")
    words = _PLAIN_WORD.findall(text)
    return _PLAIN_WORD.sub(lambda word: chance.choice(words) if chance.random() < 0.34 else word[0], text)


def turns(megabytes: int, texts: Callable[[int], Documents]) -> Documents:
    """Yield the texts of turn 0, 1, 2, ... until they have so many MB."""
    size = 0
    for turn in range(10_000):
        for text in texts(turn):
            yield text
            size += len(text.encode())
            if size >= megabytes * 1e6:
                return


def grow_books(sample: Path, corpus: Path, megabytes: int) -> Documents:
    """Project Gutenberg's files as they are."""

    def books(turn: int) -> Documents:
        for path in sorted(sample.rglob("*.txt")):
            data = path.read_bytes()
            text = changed(data.decode("utf-8", "replace"), turn)
            (corpus / f"{turn}-{path.name}").write_bytes(text.encode() if turn else data)
            yield text

    return turns(megabytes, books)


def grow_mails(sample: Path, corpus: Path, megabytes: int) -> Documents:
    """Enron's folders of mails; the peer gets whole messages."""

    def mails(turn: int) -> Documents:
        for path in sorted(path for path in (sample / "maildir").rglob("*") if path.is_file()):
            user, *rest = path.relative_to(sample / "maildir").parts
            place = corpus.joinpath("maildir", f"{user}{turn}", *rest)
            place.parent.mkdir(parents=True, exist_ok=True)
            text = changed(path.read_bytes().decode("latin-1"), turn)
            place.write_bytes(text.encode("latin-1"))
            yield text

    return turns(megabytes, mails)


def grow_articles(sample: Path, corpus: Path, megabytes: int) -> Documents:
    """CNN's table; the peer gets the column of the article."""
    (source,) = sample.rglob("*.csv")
    csv.field_size_limit(1 << 30)
    with open(source, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(corpus / "articles.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()

        def articles(turn: int) -> Documents:
            for row in rows:
                row = {**row, "Article text": changed(row["Article text"], turn)}
                writer.writerow(row)
                yield row["Article text"]

        yield from turns(megabytes, articles)


def web_pages(sample: Path) -> Documents:
    """Yield the pages of OpenWebText's archives."""
    for path in sorted(sample.rglob("*.xz")):
        with lzma.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if file := archive.extractfile(member):
                    yield file.read().decode("utf-8", "replace")


def grow_pages(sample: Path, corpus: Path, megabytes: int) -> Documents:
    """OpenWebText's archives, 3,000 pages in each; the peer gets the pages, unpacked."""
    held: list[str] = []
    for text in turns(megabytes, lambda turn: (changed(page, turn) for page in web_pages(sample))):
        yield text
        held.append(text)
        if len(held) == 3_000:
            _write_archive(corpus, held)
            held = []
    _write_archive(corpus, held)


def _write_archive(corpus: Path, texts: list[str]) -> None:
    number = len(list(corpus.iterdir()))
    name = corpus / f"urlsf_subset{number:02d}-1_data.xz"
    with lzma.open(name, "wb", preset=1) as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        for index, text in enumerate(texts):
            data = text.encode()
            member = tarfile.TarInfo(f"{index:07d}.txt")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def grow_chunks(sample: Path, corpus: Path, megabytes: int) -> Documents:
    """TransWeb's form (JSON lines) with OpenWebText's pages, for there is no sample of its own."""
    with open(corpus / "en_chunk0.jsonl", "w", encoding="utf-8") as file:
        for text in turns(megabytes, lambda turn: (changed(page, turn) for page in web_pages(sample))):
            file.write(json.dumps({"text": text}) + "\n")
            yield text


def grow_wiki(sample: Path, corpus: Path, megabytes: int) -> Documents:
    """Wikipedia's dump; the peer gets the wikitext of every page."""
    (source,) = sample.rglob("*.bz2")
    dump = bz2.decompress(source.read_bytes()).decode()
    first = dump.index("<page>")
    pages = re.findall(r"  <page>.*?</page>\n", dump[first:], re.DOTALL)
    with bz2.open(corpus / "enwiki-pages-articles.xml.bz2", "wt", encoding="utf-8") as file:
        file.write(dump[:first])

        def articles(turn: int) -> Documents:
            for page in pages:
                page = changed(page, turn)
                file.write(page)
                yield html.unescape(page.partition("<text")[2].partition(">")[2].partition("</text>")[0])

        yield from turns(megabytes, articles)
        file.write("</mediawiki>\n")


def grow_wiki_rows(sample: Path, corpus: Path, megabytes: int) -> Documents:
    """Wikipedia as the hub has it, Parquet of titles and prose; the peer gets the prose."""
    (source,) = sample.rglob("*.bz2")
    dump = bz2.decompress(source.read_bytes()).decode()
    pages = re.findall(r"<title>(.*?)</title>.*?<text[^>]*>(?!#REDIRECT)(.*?)</text>", dump, re.DOTALL)
    articles = [(title, plain_text(html.unescape(text))) for title, text in pages]
    rows: list[tuple[str, str]] = []

    def prose(turn: int) -> Documents:
        for title, text in articles:
            if text:
                rows.append((title, changed(text, turn)))
                yield rows[-1][1]

    yield from turns(megabytes, prose)
    titles, texts = zip(*rows, strict=True)
    pq.write_table(pa.table({"title": titles, "text": texts}), corpus / "train-00000.parquet", row_group_size=1_000)


GROWERS = {
    "gutenberg": ("gutenberg", grow_books),
    "enron": ("enron", grow_mails),
    "cnn": ("cnn", grow_articles),
    "openwebtext": ("openwebtext", grow_pages),
    "wikipedia": ("wikipedia", grow_wiki),
    "wikipedia_hub": ("wikipedia", grow_wiki_rows),
    "transweb": ("openwebtext", grow_chunks),
}
"""For each corpus the folder of its sample and what makes a larger corpus of it, yielding the raw
texts."""
