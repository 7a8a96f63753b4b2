"""What the pages of the documentation assume to be on a reader's disk, in miniature: corpora, a
data set, runs.

Everything has the name that the pages give it, placeholders such as DIR and RUN included. So the
commands of a page run as they stand there.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MAIL = (
    "Message-ID: <{0}@thyme>\nDate: Mon, 14 May 2001 16:39:00 -0700 (PDT)\nFrom: phillip.allen@enron.com\n"
    "To: tim.belden@enron.com\nSubject: Number {0}\nX-cc:\n\n{1}\n"
)
PAGE = "<page><title>Title {0}</title><ns>0</ns><id>{0}</id><revision><id>9{0}</id><text>{1}</text></revision></page>\n"
ITEMS = {"wikitext2": 4358, "lambada": 5153, "hellaswag": 10042}
"""Rows of each benchmark; a file with another number of rows is refused."""


def write_corpora(folder: Path, text_of: Callable[[int], str]) -> None:
    """Write each corpus of docs/corpora.md in each form that its commands name, a few documents
    each.

    Args:
        text_of: returns the text of a document from its number.
    """
    texts = [text_of(number) for number in range(40)]
    for place in ("texts", "books", "my-texts", "data/demo/shakespeare", "FOLDER_OF_TEXTS"):
        (folder / place).mkdir(parents=True)
        for number, text in enumerate(texts):
            (folder / place / f"{number:02d}.txt").write_text(text, encoding="utf-8")
    (folder / "input.txt").write_text("\n\n".join(texts), encoding="utf-8")
    (folder / "docs").mkdir()
    for number in range(40):
        (folder / f"docs/{number:02d}.md").write_text(text_of(200 + number), encoding="utf-8")  # no copies of others
    rows = [{"text": text} for text in texts]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    logs = "".join(json.dumps({"text": text_of(200 + number)}) + "\n" for number in range(40))
    (folder / "dump.jsonl.gz").write_bytes(gzip.compress(logs.encode()))
    pq.write_table(pa.table({"text": [text_of(300 + number) for number in range(40)]}), folder / "articles.parquet")
    pages = "".join(json.dumps({"text": _web_page(number)}) + "\n" for number in range(40))
    (folder / "web.jsonl.gz").write_bytes(gzip.compress(pages.encode()))
    (folder / "bad-words.txt").write_text("darn\nhot dog\n")
    (folder / "data/raw/transweb").mkdir(parents=True)
    (folder / "data/raw/transweb/en_chunk0.jsonl").write_bytes(lines)
    _write_cnn(folder / "data/raw/cnn/CNN_Articels_clean.csv", texts)
    _write_mails(folder, [text_of(100 + number) for number in range(40)])  # no copies of other corpora
    _write_openwebtext(folder, texts)
    pages = "".join(PAGE.format(number, text) for number, text in enumerate(texts))
    dump = f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">\n{pages}</mediawiki>\n'
    (folder / "enwiki-latest-pages-articles.xml.bz2").write_bytes(bz2.compress(dump.encode()))


def _web_page(seed: int) -> str:
    """Make a page that no filter of web text leaves out."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("aeioubdlmnrst", k=rng.randint(3, 7))) for _ in range(300)]
    return "\n".join(" ".join(["The", *rng.choices(words, k=14), "and the end."]) for _ in range(12))


def _write_cnn(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(parents=True)
    columns = ["Index", "Author", "Date published", "Category", "Section", "Url", "Headline", "Description",
               "Keywords", "Second headline", "Article text"]  # fmt: skip
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({"Index": n, "Headline": f"News {n}", "Article text": text} for n, text in enumerate(texts))


def _write_mails(folder: Path, texts: list[str]) -> None:
    mails = {f"maildir/allen-p/inbox/{n}.": MAIL.format(n, text) for n, text in enumerate(texts)}
    packed = gzip.compress(_tar(mails))
    for name in ("maildir.tar.gz", "enron_mail_20150507.tar.gz"):
        (folder / name).write_bytes(packed)
    with open(folder / "emails.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("file", "message"), *mails.items()])


def _write_openwebtext(folder: Path, texts: list[str]) -> None:
    inner = lzma.compress(_tar({f"{number:07d}-ab.txt": text for number, text in enumerate(texts)}))
    (folder / "openwebtext").mkdir()
    (folder / "openwebtext/urlsf_subset00-1_data.xz").write_bytes(inner)
    outer = _tar({"openwebtext/urlsf_subset00-1_data.xz": inner})
    (folder / "openwebtext.tar.xz").write_bytes(lzma.compress(outer))


def _tar(members: dict[str, str] | dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            data = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_benchmarks(folder: Path) -> None:
    """Write a folder as `--benchmarks` takes it: files of full length with short rows."""
    for name in ITEMS:
        (folder / name).mkdir(parents=True)
    article = [" ", " = The Crown = ", " ", " the king takes the crown . "]
    lines = article * (ITEMS["wikitext2"] // 4) + [" "] * (ITEMS["wikitext2"] % 4)
    (folder / "wikitext2/wiki.test.raw").write_text("\n".join(lines) + "\n")
    (folder / "lambada/test.jsonl").write_text('{"text": "the king takes the crown"}\n' * ITEMS["lambada"])
    task = "Riding: The king sits. The king\n1\n" + "".join(f"{verb} the horse.\n" for verb in ("takes", "a", "b", "c"))
    (folder / "hellaswag/val.txt").write_text(task * ITEMS["hellaswag"])


def copy_of(source: Path, target: Path) -> None:
    """Copy a file or a folder, with the folders above it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
