"""Claims about OpenWebText's nested archives."""

import io
import json
import lzma
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpt_research.preprocessing.document import Document, ReadOptions
from gpt_research.preprocessing.formats import streams, tables
from gpt_research.preprocessing.formats.tar import tar_members
from gpt_research.preprocessing.readers.catalogue import resolve
from gpt_research.preprocessing.text.batches import batched

SAMPLE = Path(__file__).parents[2].parent / "shared" / "corpora" / "openwebtext"
needs_sample = pytest.mark.skipif(not SAMPLE.exists(), reason="no sample of OpenWebText at ../shared")


def make_tar(members: dict[str, bytes], mode: str = "w", kind: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=kind) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def inner(number: int, count: int = 3) -> bytes:
    return lzma.compress(make_tar({f"{i:07d}-ab.txt": f"page {number}.{i}".encode() for i in range(count)}))


def read_all(root: Path) -> list:
    corpus = resolve(f"openwebtext={root}")
    return [item for unit in corpus.units() for item in corpus.read(unit, ReadOptions())]


@needs_sample
def test_sample_equals_what_the_standard_library_unpacks_but_for_furniture():
    items = read_all(SAMPLE)
    expected = []
    for path in sorted(SAMPLE.rglob("*.xz")):
        with tarfile.open(path) as archive:
            expected += [archive.extractfile(member).read().decode() for member in archive]
    assert len(items) == 900
    lost = 0
    for item, page in zip(items, expected, strict=True):
        signs = iter(page)
        assert all(sign in signs for sign in item.text), "the page's own text, in its order"
        lost += len(page) - len(item.text)
    assert 0.001 < lost / sum(map(len, expected)) < 0.006


@pytest.mark.parametrize(("name", "mode"), [("openwebtext.tar.xz", "w:xz"), ("subsets/urlsf_subset00.tar", "w")])
def test_nested_archives_stream_without_touching_the_disk(tmp_path, name, mode):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(make_tar({f"openwebtext/urlsf_subset00-{n}_data.xz": inner(n) for n in range(4)}, mode))
    before = sorted(tmp_path.rglob("*"))
    items = read_all(tmp_path)
    assert [item.text for item in items] == [f"page {n}.{i}" for n in range(4) for i in range(3)]
    assert items[4].source == f"{name}!openwebtext/urlsf_subset00-1_data.xz"
    assert items[4].position == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_shares_of_a_large_archive_hold_every_page_once(tmp_path, monkeypatch):
    (tmp_path / "openwebtext.tar").write_bytes(make_tar({f"s{n}.xz": inner(n) for n in range(7)}))
    whole = read_all(tmp_path)
    monkeypatch.setattr(tables, "_SHARE_BYTES", 4000)
    assert len(resolve(f"openwebtext={tmp_path}").units()) > 1
    key = lambda item: (item.source, item.position)  # noqa: E731
    assert sorted(read_all(tmp_path), key=key) == sorted(whole, key=key)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_members_equal_the_standard_librarys_for_every_dialect(kind):
    members = {"a.txt": b"x" * 513, "b/empty.txt": b"", "c" * 90: b"y" * 512}
    if kind == tarfile.GNU_FORMAT:
        members["long/" * 40 + "d.txt"] = b"z"
    stream = io.BufferedReader(io.BytesIO(make_tar(members, kind=kind)))
    assert {m.name: m.read(m.size) for m in tar_members(stream)} == members


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_headers_checksum_is_the_sum_of_its_bytes_also_of_the_largest(wrong):
    data = bytearray(make_tar({"a.txt": b"page"}))
    data[100:148], data[157:512] = b"\xff" * 48, b"\xff" * 355
    data[124:136] = b"%011o\0" % 4
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * ord(" ") + sum(data[156:512]) + wrong)
    members = tar_members(io.BufferedReader(io.BytesIO(data)))
    if wrong:
        with pytest.raises(streams.BrokenInputError, match="header"):
            next(members)
    else:
        assert next(members).read() == b"page"


def test_members_that_nobody_reads_are_passed_over():
    stream = io.BufferedReader(io.BytesIO(make_tar({f"{i}": bytes([i]) * 700 * i for i in range(5)})))
    assert [member.name for member in tar_members(stream)] == ["0", "1", "2", "3", "4"]


def test_a_broken_inner_archive_costs_only_itself(tmp_path):
    members = {f"s{n}.xz": inner(n) for n in range(3)}
    members["s1.xz"] = members["s1.xz"][:-30]
    (tmp_path / "openwebtext.tar").write_bytes(make_tar(members))
    items = read_all(tmp_path)
    assert [i.text for i in items if isinstance(i, Document) and "!s1.xz" not in i.source] == [
        f"page {n}.{i}" for n in (0, 2) for i in range(3)
    ]
    faults = [item for item in items if not isinstance(item, Document)]
    assert [(f.reason, f.broken, f.source) for f in faults] == [("broken_xz", True, "openwebtext.tar!s1.xz")]


def test_a_cut_archive_keeps_the_pages_before_the_cut(tmp_path):
    pages = {f"{i}.txt": bytes([97 + i % 26]) * 5000 for i in range(300)}
    (tmp_path / "s.xz").write_bytes(lzma.compress(make_tar(pages))[:-40])
    items = read_all(tmp_path)
    assert items[-1].reason == "broken_xz"
    assert [item.text.encode() for item in items[:-1]] == list(pages.values())[: len(items) - 1]
    assert len(items) > 100


def test_empty_pages_are_dropped(tmp_path):
    (tmp_path / "s.tar").write_bytes(make_tar({"a.txt": b" \n", "b.txt": b"caf\xe9"}))
    items = read_all(tmp_path)
    assert items[0].reason == "empty"
    assert items[1].text == "café"


def test_the_hub_form_is_read(tmp_path):
    pq.write_table(pa.table({"text": ["a", "b\nAdvertisement"]}), tmp_path / "train-00000-of-00020.parquet")
    assert [item.text for item in read_all(tmp_path)] == ["a", "b"]


FURNITURE = (
    "Advertisement",
    "Advertisement Continue reading the main story",
    "Article Continued Below",
    "Story continues below advertisement",
    "Like this: Like Loading...",
    "Read or Share this story: http://usat.ly/ZLEjAh",
    "Please enable JavaScript to view the comments powered by Disqus.",
    "Share this: Twitter Facebook",
    "Share on Twitter Tweet Share on Facebook Share",
    "facebook Share on Facebook\n\ntwitter Share on Twitter\n\nlinkedin permalink Share Link",
    "Twitter\n\nReddit\n\nPinterest",
    "Share",
    "Get the biggest news by email Subscribe Thank you for subscribing Could not subscribe Invalid Email",
    "Newsletter Sign Up Please verify you're not a robot by clicking. You must select a newsletter to subscribe to.",
    "Image copyright Jane Roe",
)


def test_lines_of_furniture_go_and_words_like_them_stay(tmp_path):
    page = "{}\nAn advertisement continued.\n{}\n\nArticle continued below deck\n  {}\nShare this: it is good.\n{}"
    texts = [page.format(*[line] * 4) for line in FURNITURE]
    pq.write_table(pa.table({"text": texts}), tmp_path / "train.parquet")
    expected = "An advertisement continued.\n\nArticle continued below deck\nShare this: it is good."
    assert [item.text for item in read_all(tmp_path)] == [expected] * len(texts)


def test_pages_keep_their_bytes_and_lose_their_furniture(tmp_path):
    pages = {
        "plain": b"A page.\nAnother line.",
        "signs": "A “page” — with an é.".encode(),
        "mark": b"\xef\xbb\xbfA page with a mark.",
        "western": b"A caf\xe9 in Windows-1252.",
        "wide": "\ufeffA page — of two bytes.".encode("utf-16-le"),
        "dos": b"A page.\r\nIts lines.",
        "furniture": b"Advertisement\nA \xe2\x80\x9cpage\xe2\x80\x9d.\n  Advertisement - Continue Reading Below",
        "dos furniture": b"A page.\r\nAdvertisement\r\nGoes on.",
        "link": b"History [ edit ]\nAnd more.",
    }
    (tmp_path / "urlsf_subset00-1_data.xz").write_bytes(lzma.compress(make_tar(pages)))
    corpus = resolve(f"openwebtext={tmp_path}")
    (batch,) = batched(corpus.read(corpus.units()[0], ReadOptions()))
    assert batch.texts.to_pylist() == batch.to_strings()
    assert dict(zip(pages, batch.to_strings(), strict=True)) == {
        "plain": "A page.\nAnother line.",
        "signs": "A “page” — with an é.",
        "mark": "A page with a mark.",
        "western": "A café in Windows-1252.",
        "wide": "A page — of two bytes.",
        "dos": "A page.\nIts lines.",
        "furniture": "A “page”.",
        "dos furniture": "A page.\nGoes on.",
        "link": "History \nAnd more.",
    }


def test_the_link_beside_a_heading_goes(tmp_path):
    pq.write_table(pa.table({"text": ["History [ edit ]\n\nPress [ edit ] to edit."]}), tmp_path / "train.parquet")
    [item] = read_all(tmp_path)
    assert item.text == "History \n\nPress [ edit ] to edit."


FORMS = {
    "unpacked texts": lambda folder, page: (folder / "page.txt").write_text(page),
    "packed texts": lambda folder, page: (folder / "page.txt.xz").write_bytes(lzma.compress(page.encode())),
    "archive": lambda folder, page: (folder / "s.xz").write_bytes(lzma.compress(make_tar({"page.txt": page.encode()}))),
    "parquet": lambda folder, page: pq.write_table(pa.table({"text": [page]}), folder / "train.parquet"),
    "lines": lambda folder, page: (folder / "train.jsonl").write_text(json.dumps({"text": page}) + "\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_cleaned_alike(tmp_path, form):
    FORMS[form](tmp_path, "A page.\nAdvertisement\nEarly life [ edit ]\nTweet\nMore words.")
    [item] = read_all(tmp_path)
    assert item.text == "A page.\nEarly life \nMore words."


def test_labels_before_captions_and_what_links_show_go(tmp_path):
    page = (
        "Image copyright Jane Roe Image caption A whale\n"
        "Media playback is unsupported on your device Media caption A film\n"
        "Image caption Another\nPat Doe Blocked Unblock Follow Following Jul 20, 2017\n"
        "Rep. Jane Roe Jane Ann RoeWhales return to the bay | Two boats lost MORE (D-Maine) said so."
    )
    pq.write_table(pa.table({"text": [page]}), tmp_path / "train.parquet")
    [item] = read_all(tmp_path)
    assert item.text == "A whale\nA film\nAnother\nPat Doe Jul 20, 2017\nRep. Jane Roe (D-Maine) said so."


@pytest.mark.parametrize(
    "text",
    [
        "Twitter\n\nIt was founded in 2006.\n\nFacebook\n\nIt was founded in 2004.",
        "Email\n\nPrint",
        "Share prices fell.\nLike this one.\nTwitter said so.\nPost office",
        "“Thank you for subscribing to my email,” she said.",
        "He saw the words: invalid email. Then the subscriber went home. " * 30,
        "Jane Roe Ann RoeWay has no end",
        "Image caption",
        "Some want MORE of it.",
    ],
)
def test_words_that_resemble_furniture_stay(tmp_path, text):
    pq.write_table(pa.table({"text": [text]}), tmp_path / "train.parquet")
    (tmp_path / "s.xz").write_bytes(lzma.compress(make_tar({"a.txt": text.encode()})))
    assert [item.text for item in read_all(tmp_path)] == [text, text]
