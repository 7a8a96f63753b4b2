"""The folder that the pages of the documentation assume: tiny runs, data sets and corpora at the paths they name."""

from __future__ import annotations

import bz2
import csv
import dataclasses
import gzip
import io
import json
import lzma
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from small_benchmarks import write_benchmarks

from gpt_research.cli.main import main
from gpt_research.config import GPTConfig, TrainConfig
from gpt_research.training.loop import train

MAIL = """Message-ID: <{}.JavaMail.evans@thyme>
Date: Mon, 14 May 2001 16:39:00 -0700 (PDT)
From: phillip.allen@enron.com
To: tim.belden@enron.com
Subject: Our forecast

{}"""
PAGE = "<page><title>Page {}</title><ns>0</ns><id>{}</id><revision><id>1</id><text>{}</text></revision></page>"


def fill(folder: Path, texts: Path, data: Path) -> None:
    """Fill a folder with everything that the pages name.

    Args:
        texts: a folder of plain texts.
        data: a data set of them, with their documents.
    """
    for name in ("data/mine", "data/tokens", "data/demo/tokens"):
        shutil.copytree(data, folder / name)
    for name in ("texts", "books"):
        shutil.copytree(texts, folder / name)
    write_benchmarks(folder / "DIR")
    write_corpora(folder, [path.read_text() for path in sorted(texts.iterdir())])
    model = GPTConfig(n_layer=1, n_head=2, n_embd=32, block_size=32)
    config = TrainConfig(data="data/mine", out="runs/a", model=model, micro_batch=8, tokens_per_step=256,
                         max_steps=6, warmup_steps=1, eval_tokens=256, precision="fp32", device="cpu")  # fmt: skip
    train(config)
    train(dataclasses.replace(config, out="runs/b", seed=7))
    for run in ("runs/a", "runs/b"):
        assert main(["evaluate", run, "--device", "cpu"]) == 0
    for copy in ("runs/demo", "runs/mine", "runs/gpt2-124m"):
        shutil.copytree(folder / "runs" / "a", folder / copy)


def write_corpora(folder: Path, texts: list[str]) -> None:
    """Write eight documents of each corpus, and of own tables, in the form in which it is published."""
    cnn, enron, pages, articles, edu = (texts[start : start + 8] for start in range(0, 40, 8))
    columns = ["Index", "Author", "Date published", "Category", "Section", "Url", "Headline", "Description",
               "Keywords", "Second headline", "Article text"]  # fmt: skip
    rows = [[str(n), "", "", "", "", "", f"Headline {n}", "", "", "", text] for n, text in enumerate(cnn)]
    write_csv(folder / "data" / "raw" / "cnn" / "articles.csv", [columns, *rows])

    mails = {f"maildir/allen-p/inbox/{n}.": MAIL.format(n, text) for n, text in enumerate(enron)}
    for name, mail in mails.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(mail)
    packed = tar({name: mail.encode() for name, mail in mails.items()})
    for name in ("maildir.tar.gz", "enron_mail_20150507.tar.gz"):
        (folder / name).write_bytes(gzip.compress(packed))
    write_csv(folder / "emails.csv", [["file", "message"], *mails.items()])

    part = lzma.compress(tar({f"{n:07d}-ab.txt": page.encode() for n, page in enumerate(pages)}))
    (folder / "openwebtext").mkdir()
    (folder / "openwebtext" / "urlsf_subset00-1_data.xz").write_bytes(part)
    (folder / "openwebtext.tar.xz").write_bytes(lzma.compress(tar({"openwebtext/urlsf_subset00-1_data.xz": part})))

    wiki = "".join(PAGE.format(n, n, article) for n, article in enumerate(articles))
    dump = f"<mediawiki><siteinfo><sitename>Wikipedia</sitename></siteinfo>{wiki}</mediawiki>"
    (folder / "enwiki-latest-pages-articles.xml.bz2").write_bytes(bz2.compress(dump.encode()))

    lines = "".join(json.dumps({"text": text}) + "\n" for text in edu)
    (folder / "data" / "raw" / "transweb").mkdir()
    (folder / "data" / "raw" / "transweb" / "en_chunk0.jsonl").write_text(lines)
    (folder / "dump.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pq.write_table(pa.table({"text": cnn}), folder / "articles.parquet")


def write_csv(path: Path, rows: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
