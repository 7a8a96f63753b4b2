"""An archive is read as the folder that it holds, and never hides what lies beside it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.document import Document, Drop, ReadOptions
from gpt_research.preprocessing.formats import archives, tables
from gpt_research.preprocessing.readers.catalogue import resolve


def sentence(number: int) -> str:
    return f"Sentence number {number}; it is long enough to be kept."


def json_lines(*numbers: int) -> bytes:
    return "".join(json.dumps({"id": n, "text": sentence(n)}) + "\n" for n in numbers).encode()


def parquet(*numbers: int) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": [sentence(n) for n in numbers]}), buffer)
    return buffer.getvalue()


def tar(members: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as file:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            file.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


NOISE = random.Random(1).randbytes(3000)
TEXTS = {
    "x/a.txt": sentence(0).encode(),
    "x/B.TXT": sentence(1).encode(),
    "x/c.jsonl": json_lines(2, 3),
    "D.NDJSON": json_lines(4),
    "e.json": json.dumps([{"text": sentence(5)}, {"text": sentence(6)}], indent=1).encode(),
    "f.csv": f"id;text\n1;{sentence(7).replace(';', ',')}\n".encode(),
    "g.tsv": f"id\ttext\n1\t{sentence(8)}\n".encode(),
    "h.parquet": parquet(9, 10),
    "i.jsonl.gz": gzip.compress(json_lines(11)),
    "j.txt.bz2": bz2.compress(sentence(12).encode()),
    "k.md.xz": lzma.compress(sentence(13).encode()),
    "l.json.zst": zstandard.compress(json.dumps([sentence(14)]).encode()),
    "m.txt": sentence(15).encode("utf-16"),
    "a-very-long-folder/" * 12 + "n.jsonl": json_lines(16),
    "o.tar.gz": gzip.compress(tar({"p.jsonl": json_lines(17), "q.txt": sentence(18).encode()})),
    "r.zip": zipped({"s.txt": sentence(19).encode(), "t.tar": tar({"u.txt": sentence(20).encode()})}),
    "v.xz": lzma.compress(tar({"w.txt": sentence(21).encode()})),
}
NUMBERS = 22
OTHERS = {
    "__MACOSX/x/._a.txt": b"\0\5\x16\7\0\2",
    "._c.jsonl": b"\0\5\x16\7\0\2",
    ".hidden/y.txt": sentence(30).encode(),
    "picture.png": b"\x89PNG" + NOISE,
    "packed.gz": gzip.compress(NOISE),
    "picture.txt": b"\xff\xd8\xff" + NOISE,
    "noise.txt": NOISE,
    "page.html": b"<p>Not one of the forms that are read.</p>",
    "empty.jsonl": b"",
    "letter.docx": zipped({"word/document.xml": b"<x/>"}),
}
COUNTED = {"hidden_file": 3, "other_kind": 4, "not_text": 2}


def read_all(root: Path, name: str = "mine") -> tuple[list[Document], list[Drop]]:
    corpus = resolve(f"{name}={root}")
    items = [item for unit in corpus.units() for item in corpus.read(unit, ReadOptions())]
    return [i for i in items if isinstance(i, Document)], [i for i in items if isinstance(i, Drop)]


def texts(documents: list[Document]) -> list[str]:
    return sorted(document.text for document in documents)


EXPECTED = sorted(sentence(n).replace(";", "," if n == 7 else ";") for n in range(NUMBERS))


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.tar", tar),
        ("gnu.tar", lambda members: tar(members, tarfile.GNU_FORMAT)),
        ("a.TGZ", lambda members: gzip.compress(tar(members))),
        ("a.tar.bz2", lambda members: bz2.compress(tar(members))),
        ("a.tar.zst", lambda members: zstandard.compress(tar(members))),
        ("a.xz", lambda members: lzma.compress(tar(members))),
        ("a.Zip", zipped),
    ],
)
def test_members_are_read_by_their_names_and_others_are_counted(
    tmp_path: Path, name: str, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    (tmp_path / name).write_bytes(pack(TEXTS | OTHERS))
    documents, drops = read_all(tmp_path)
    assert texts(documents) == EXPECTED
    assert Counter(drop.reason for drop in drops) == COUNTED
    assert not any(drop.broken for drop in drops)
    sources = {document.text: document.source for document in documents}
    assert sources[sentence(3)] == f"{name}!x/c.jsonl"
    assert sources[sentence(20)] == f"{name}!r.zip!t.tar!u.txt"


def test_an_archive_gives_what_its_folder_gives(tmp_path: Path) -> None:
    for member, data in (TEXTS | OTHERS).items():
        path = tmp_path / "in" / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    documents, _ = read_all(tmp_path / "in")
    assert texts(documents) == EXPECTED


def test_an_archive_hides_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "old.tar").write_bytes(tar({"a.txt": sentence(1).encode()}))
    (tmp_path / "b.jsonl").write_bytes(json_lines(2, 3))
    (tmp_path / "c.txt").write_bytes(sentence(4).encode())
    for name in ("mine", "openwebtext", "cnn"):
        assert texts(read_all(tmp_path, name)[0]) == sorted(map(sentence, (1, 2, 3, 4)))


def test_the_shares_of_a_large_archive_hold_every_member_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tar").write_bytes(tar(TEXTS))
    (tmp_path / "b.zip").write_bytes(zipped({f"{n}.txt": sentence(n).encode() for n in range(100, 109)}))
    monkeypatch.setattr(tables, "_SHARE_BYTES", 1000)
    assert len(resolve(f"mine={tmp_path}").units()) > 4
    assert texts(read_all(tmp_path)[0]) == sorted([*EXPECTED, *(sentence(n) for n in range(100, 109))])


def test_damage_costs_only_its_member(tmp_path: Path) -> None:
    cut = gzip.compress(json_lines(*range(200)))[:300]
    members = {"a.txt": sentence(1).encode(), "b.jsonl.gz": cut, "c.zip": b"PK\3\4" + NOISE, "d.jsonl": json_lines(2)}
    (tmp_path / "a.tar").write_bytes(tar(members))
    documents, drops = read_all(tmp_path)
    assert {sentence(1), sentence(2)} <= set(texts(documents))
    assert [(drop.reason, drop.source) for drop in drops if drop.broken] == [
        ("broken_gzip", "a.tar!b.jsonl.gz"),
        ("broken_zip", "a.tar!c.zip"),
    ]
    (tmp_path / "a.tar").write_bytes(b"PK\3\4" + NOISE)
    (tmp_path / "a.tar").rename(tmp_path / "a.zip")
    assert [drop.reason for drop in read_all(tmp_path)[1]] == ["broken_zip"]


def test_a_member_with_a_wrong_checksum_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    data = zipped({"a.jsonl": json_lines(1), "b.txt": sentence(2).encode()})
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        at = file.infolist()[0].header_offset + 30 + len("a.jsonl") + 10
    (tmp_path / "a.zip").write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
    documents, drops = read_all(tmp_path)
    assert sentence(2) in texts(documents)
    assert "broken_zip" in {drop.reason for drop in drops if drop.source.startswith("a.zip!a.jsonl")}


def test_archives_within_each_other_end_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_DEEPEST", 2)
    inner = tar({"a.txt": sentence(1).encode()})
    (tmp_path / "a.tar").write_bytes(tar({"b.tar": inner, "c.tar": tar({"d.tar": inner})}))
    documents, [drop] = read_all(tmp_path)
    assert texts(documents) == [sentence(1)]
    assert (drop.reason, drop.source) == ("archive_too_deep", "a.tar!c.tar!d.tar")


@pytest.mark.parametrize(
    ("other", "reader"),
    [("maildir/allen/inbox/1.", "enron"), ("wiki-pages-articles.xml", "wikipedia"), ("urlsf_subset01.tar", "openweb")],
)
def test_a_folder_for_two_readers_names_the_choice(tmp_path: Path, other: str, reader: str) -> None:
    (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / other).write_text("x")
    (tmp_path / "readme.md").write_text("about the data")
    assert resolve(f"mine={tmp_path}").reader.name.startswith(reader)
    (tmp_path / "a.txt").write_text(sentence(1))
    with pytest.raises(UserError, match=rf"a\.txt for files.*NAME:{reader}"):
        resolve(f"mine={tmp_path}")


def test_xml_that_is_no_dump_does_not_decide_the_reader(tmp_path: Path) -> None:
    (tmp_path / "config.xml").write_text("<config/>")
    (tmp_path / "a.txt").write_text(sentence(1))
    assert texts(read_all(tmp_path)[0]) == [sentence(1)]
    (tmp_path / "wiki.xml").write_text("<mediawiki></mediawiki>")
    (tmp_path / "a.txt").unlink()
    assert resolve(f"mine={tmp_path}").reader.name == "wikipedia"


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text(sentence(1))
    (tmp_path / "in").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "in" / "link")
    os.symlink(tmp_path / "in", tmp_path / "in" / "circle")
    [document], _ = read_all(tmp_path / "in")
    assert (document.text, document.source) == (sentence(1), "link/a.txt")


def test_links_to_nothing_are_counted(tmp_path: Path) -> None:
    for name in ("a.zip", "b.xz", "c.txt"):
        os.symlink(tmp_path / "nowhere", tmp_path / name)
    assert [drop.reason for drop in read_all(tmp_path)[1]] == ["vanished"] * 3
