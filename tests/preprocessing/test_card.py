"""The data card tells the numbers of the manifest, escapes what it quotes, needs no network and is
always the same.
"""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import pytest

from gpt_research.cli.command_line import parse
from gpt_research.data.shards import Manifest, read_manifests
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing.card.card import LENGTH_EDGES, Lengths, card, write_card
from gpt_research.preprocessing.card.page import Block, Code, Heading, Paragraph, Table, as_html, as_markdown
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.settings import PreprocessConfig

EVIL = '<script>alert(1)</script> | "quotes" & `code` \x1b[2J \u202e [link](http://example.org)'


class Reading(HTMLParser):
    """Collects the tags and addresses of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def read_page(page: str) -> Reading:
    reading = Reading()
    reading.feed(page)
    return reading


def manifests_of(folder: Path) -> dict[str, Manifest]:
    return {name: manifest for name, (_, manifest) in read_manifests(folder).items()}


def card_of(folder: Path) -> list[Block]:
    return card(folder, manifests_of(folder), read_from(folder), Tokenizer.load(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def mixed(text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with copies and damage in it."""
    folder = tmp_path_factory.mktemp("card")
    (folder / "raw").mkdir()
    (folder / "raw" / "a.jsonl").write_text(
        '{"text": "A good line that is long enough."}\n{"text": "A good line that is long enough."}\n'
        '{"text": "<script>alert(1)</script> cut\n{"text": "<b>&"}\n{"text": "Another line, also long enough."}\n'
    )
    out = folder / "out"
    corpora = [f"mixed={folder / 'raw'}", f"plays={text_folder}"]
    settings = {"tokenizer": "train", "vocab_size": 300, "val_fraction": 0.1, "near_duplicates": False, "workers": 1}
    preprocess(PreprocessConfig(corpora=corpora, out=str(out), **settings))
    return out


def test_the_card_tells_the_numbers_of_the_manifests(mixed: Path) -> None:
    markdown = (mixed / "data_card.md").read_text()
    page = read_page((mixed / "data_card.html").read_text())
    for name, manifest in manifests_of(mixed).items():
        row = re.search(rf"^\| {name} \| (.*) \|$", markdown, re.MULTILINE)
        assert row is not None
        cells = row[1].split(" | ")
        kept = manifest.count("train", "documents") + manifest.count("val", "documents")
        assert cells[:5] == [
            f"{manifest.documents_read:,}", f"{kept:,}", f"{sum(manifest.drops.values()):,}",
            f"{manifest.count('train'):,}", f"{manifest.count('val'):,}",
        ]  # fmt: skip
        for text in (markdown, page.text):
            assert manifest.licence in text
            assert manifest.fingerprint in text
    assert {"exact_duplicate", "invalid_json", "too_short"} == set(manifests_of(mixed)["mixed"].drops)
    for reason in manifests_of(mixed)["mixed"].drops:
        assert reason in page.text
        assert reason.replace("_", r"\_") in markdown


def test_lengths_and_sources_add_up_to_the_manifest(mixed: Path) -> None:
    for name, manifest in manifests_of(mixed).items():
        found = Lengths.read(mixed / name, manifest)
        documents = manifest.count("train", "documents") + manifest.count("val", "documents")
        assert found.histogram.sum() == sum(count for count, _ in found.sources.values()) == documents
        assert sum(tokens for _, tokens in found.sources.values()) == manifest.count("train") + manifest.count("val")
        low = (found.histogram * LENGTH_EDGES[:-1]).sum()
        assert low <= manifest.count("train") + manifest.count("val") < 2 * low
        assert [tokens for _, _, tokens in found.largest()] == sorted(
            (tokens for _, tokens in found.sources.values()), reverse=True
        )[:10]


def test_what_the_corpora_hold_is_escaped(mixed: Path) -> None:
    page = (mixed / "data_card.html").read_text()
    assert "script" not in read_page(page).tags
    assert "<script>alert(1)</script>" in read_page(page).text  # quoted, as an example of a broken line
    blocks = [Heading(1, EVIL), Paragraph(EVIL), Table([EVIL], [[EVIL]])]
    reading = read_page(as_html(EVIL, blocks))
    assert reading.tags <= {"html", "head", "meta", "title", "style", "body", "h1", "p", "table", "tr", "th", "td"}
    assert "\x1b" not in reading.text
    assert "\u202e" not in reading.text
    markdown = as_markdown([Table(["a", "b"], [[EVIL, "x"]])])
    assert len(re.findall(r"(?<!\\)\|", markdown.splitlines()[-1])) == 3  # no cell was added
    assert not re.search(r"(?<!\\)[<`\[]", markdown)


def test_the_page_needs_no_scripts_and_no_network(mixed: Path) -> None:
    page = (mixed / "data_card.html").read_text()
    reading = read_page(page)
    assert reading.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed"})
    assert all(address.startswith("#") for address in reading.addresses)
    assert "@import" not in page
    assert "url(http" not in page
    assert page.count("<svg") == 3


def test_the_same_data_set_has_the_same_card_whatever_the_users_style(mixed: Path) -> None:
    before = {form: (mixed / f"data_card.{form}").read_bytes() for form in ("md", "html")}
    folder, specs = mixed, {"mixed": f"mixed={mixed.parent / 'raw'}"}
    specs["plays"] = re.search(r"plays=\S+", before["md"].decode())[0]  # type: ignore[index]
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "svg.fonttype": "path"}):
        write_card(folder, manifests_of(folder), specs, Tokenizer.load(folder / "tokenizer.json"))
    assert before == {form: (mixed / f"data_card.{form}").read_bytes() for form in ("md", "html")}


def test_the_command_on_the_card_makes_the_same_data_set(mixed: Path, tmp_path: Path) -> None:
    command = next(block.text for block in card_of(mixed) if isinstance(block, Code))
    words = command.replace("\\\n", " ").replace("DIR", str(tmp_path / "again")).split()
    assert words[:2] == ["gpt-research", "preprocess"]
    preprocess(parse("preprocess", [*words[2:], "--workers", "1"]))
    for name, manifest in manifests_of(mixed).items():
        assert manifests_of(tmp_path / "again")[name] == manifest


def read_from(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / "dataset.json").read_text())["read_from"]
    return found


def test_many_corpora_and_reasons_find_room_on_the_card(tmp_path: Path) -> None:
    drops = {f"reason_{i}": 20 - i for i in range(12)}
    shown = Manifest("f" * 64, 300, "uint16", {"train": [], "val": []}, documents_read=300, drops=drops)
    page = as_html("", card(tmp_path, {f"corpus{i}": shown for i in range(20)}, {}, Tokenizer.gpt2()))
    assert "other" in read_page(page).text
    assert page.count("<h2>corpus") == 20
