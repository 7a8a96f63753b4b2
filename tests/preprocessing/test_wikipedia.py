"""Of a dump remain the articles, of an article its prose; damage costs the pages it lies in and no
others.
"""

from __future__ import annotations

import bz2
import gzip
import itertools
import random
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import BinaryIO

import mwparserfromhell
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_research.preprocessing.document import Document, Drop, ReadOptions, Unit
from gpt_research.preprocessing.formats import bz2_blocks
from gpt_research.preprocessing.formats.bz2_blocks import contents
from gpt_research.preprocessing.formats.wiki import dump
from gpt_research.preprocessing.formats.wiki.dump import Page, pages
from gpt_research.preprocessing.formats.wiki.wikitext import is_disambiguation, plain_text
from gpt_research.preprocessing.readers.wikipedia import WikipediaReader

SHARED = Path(__file__).parents[2].parent / "shared" / "corpora" / "wikipedia"


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Bold''' and ''italic'' and '''''both'''''.", "Bold and italic and both."),
        ("A [[link]], a [[target|label]], [[plural]]s, [[:Category:X|c]].", "A link, a label, plurals, c."),
        ("[[Mercury (planet)|]] and [[Paris, Texas|]].", "Mercury and Paris."),
        ("See [http://x.org the site] and [https://y.org].", "See the site and."),
        ("Text.<ref>Note {{cite|a=b}}</ref> More<ref name=x /> end.<ref name='y'>z</ref>", "Text. More end."),
        ("A.<!-- hidden\n\ncomment -->B", "A.B"),
        ("[[File:a.jpg|thumb|200px|A [[cat]] on [http://x.org a [mat]] {{nowrap|now}}]]Cats.", "Cats."),
        ("[[Image:b.png|left]]Text[[Category:Cats|*]][[de:Katze]][[fr:Chat]]", "Text"),
        ("{{Infobox cat\n| name = {{nowrap|Tom}}\n| legs = {{#if:x|4}}\n}}\nTom is a cat.", "Tom is a cat."),
        ("{| class='wikitable'\n! a\n|-\n| b || {{x|y}}\n|}\nAfter.", "After."),
        ("{|\n| outer\n{|\n| inner\n|}\n| outer\n|}\nAfter.", "After."),
        ("{|\n| never closed\n\n== Next ==\nText.", "Next\n\nText."),
        ("{|\n| a\n|} After.\n|} stray\n:{|\n| b\n:|}\nMore.", "After.\nMore."),
        ("{|\n| a\n =\n| = b =\n ==No==x\n \u3000== Next ==\nText.", "Next\n\nText."),
        ("A.<!-- a -- b -> c --> B<!-- <!--> C.<!--->-->D<!-- cut", "A. B C.D"),
        ("A.\n\n\n=\n\n\n== B ==\n\n\n=== C ===\n\n\n\nD.", "A.\n\nB\n\nC\n\nD."),
        ("It is {{convert|5|to|6|km|mi|abbr=on}} long.", "It is 5 to 6 km long."),
        ("{{lang|fr|Bonjour}}, {{lang-de|Tag}}, {{transl|ar|ALA|salam}}.", "Bonjour, German: Tag, salam."),
        (
            "1999{{ndash}}2001{{spaced ndash}}now, {{circa|1066}}, {{as of|2010}}.",
            "1999–2001 – now, c. 1066, As of 2010.",
        ),
        ("A [[place|spot of {{convert|3|ha|acre|sp=us}}]].", "A spot of 3 ha."),
        ("Cat ({{IPAc-en|k|æ|t}}; {{lang-la|felis}}) or dog ({{IPA-x|d}}).", "Cat (Latin: felis) or dog."),
        ("The area <math>a  = \\frac{x}{y}</math> holds.", "The area $a = \\frac{x}{y}$ holds."),
        ("Use <nowiki>[[x]]</nowiki> or <code>{{y}}</code>.", "Use [[x]] or {{y}}."),
        ("<gallery>\nFile:a.jpg|b\n</gallery>Text", "Text"),
        ("H<sub>2</sub>O, x<sup>2</sup>, <span style='a'>b</span>,<br />c", "H2O, x2, b,\nc"),
        (
            "1.5 × 10<sup>−9</sup> m, 2<sup>&minus;3</sup>, 19<sup>th</sup>, <sup>14</sup>C",
            "1.5 × 10^−9 m, 2^−3, 19th, 14C",
        ),
        ("__NOTOC__Caf&eacute;&nbsp;au lait &amp; more", "Café au lait & more"),
        ("* one\n* [[two]]\n# three\n:quoted\n; term", "- one\n- two\n- three\nquoted\nterm"),
        ("* {{flagicon|FR}}\n* one", "- one"),
        ("----\n| stray = cell\n! head\nText", "Text"),
        (
            "Cats ({{x}}, {{y}}; tame {{z}}) sleep {{a}}, {{b}} eat {{c}} . . . and purr {{d}}.",
            "Cats (tame) sleep, eat... and purr.",
        ),
        ("<nowiki><ref></nowiki> and <nowiki></ref></nowiki>.<REF>a<br>b</REF\n>", "<ref> and </ref>."),
    ],
)
def test_markup_becomes_what_is_read(wikitext: str, text: str) -> None:
    assert plain_text(wikitext) == text


def test_headings_stand_alone_and_empty_and_closing_sections_go() -> None:
    wikitext = """Lead.
== History ==
=== Early ===
Old.
=== Empty ===
{{gone}}
== Also empty ==
== Use ==
New.
== See also ==
* [[Other]]
=== Deeper ===
* more
== Notes and references ==
{{reflist}}
== Legacy ==
Last.
==External links==
* [http://x.org X]
"""
    expected = "Lead.\n\nHistory\n\nEarly\n\nOld.\n\nUse\n\nNew.\n\nLegacy\n\nLast."
    assert plain_text(wikitext) == expected


@given(st.text() | st.text("[]{}|<>='*#:\n!- abcrefmathnowiki/&;"))
def test_no_wikitext_makes_it_fail(wikitext: str) -> None:
    plain_text(wikitext)


@pytest.mark.parametrize(
    "piece",
    ["[[", "{{", "{|\n", "<ref>", "<ref>a</b>", "<!--", "{{a|[[b|", "[[a", "[http://x ", "''", "(", " ,", "=\n", "="],
)
def test_unclosed_markup_takes_no_more_than_linear_time(piece: str) -> None:
    # A hundred thousand of them would take hours if the time grew with the square.
    plain_text(piece * 100_000)


# --- dumps


def page(number: int, text: str, title: str = "", namespace: int = 0, extra: str = "") -> str:
    return (
        f"  <page>\n    <title>{escape(title or f'Title {number}')}</title>\n    <ns>{namespace}</ns>\n"
        f"    <id>{number}</id>\n    {extra}<revision>\n      <id>9{number}</id>\n"
        f'      <text xml:space="preserve">{escape(text)}</text>\n    </revision>\n  </page>\n'
    )


HEAD = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11">\n<siteinfo/>\n'
TAIL = "</mediawiki>\n"


def read(root: Path, options: ReadOptions | None = None) -> list[Document | Drop]:
    reader = WikipediaReader()
    return [item for unit in reader.units(root) for item in reader.read(root, unit, options or ReadOptions())]


def reasons(items: list[Document | Drop]) -> list[str]:
    return [item.reason if isinstance(item, Drop) else item.text.partition("\n")[0] for item in items]


@pytest.mark.parametrize("packed", ["", ".bz2", ".gz"])
def test_only_articles_are_kept_and_the_rest_is_counted(tmp_path: Path, packed: str) -> None:
    dump = HEAD + (
        page(1, "'''AT&T''' <ref>x</ref>is <b>bold</b>.", title="AT&T")
        + page(2, "#REDIRECT [[AT&T]]", extra='<redirect title="AT&amp;T" />')
        + page(3, "#redirect [[AT&T]]")
        + page(4, "Talk.", title="Talk:AT&T", namespace=1)
        + page(5, "ATT may refer to:\n* [[AT&T]]\n{{Disambiguation}}")
        + page(6, "{{empty}}")
    )
    packers = {"": bytes, ".bz2": bz2.compress, ".gz": gzip.compress}
    path = tmp_path / f"enwiki-20240101-pages-articles.xml{packed}"
    path.write_bytes(packers[packed]((dump + TAIL).encode()))
    items = read(path)
    assert reasons(items) == ["AT&T", "redirect", "redirect", "not_an_article", "disambiguation", "empty"]
    assert items[0] == Document("AT&T\n\nAT&T is bold.", path.name, 1)
    assert isinstance(read(tmp_path, ReadOptions(keep_disambiguation=True))[4], Document)


@pytest.mark.parametrize(
    ("template", "lists"),
    [
        ("{{disambig}}", True),
        ("{{ Human name disambiguation\n| a}}", True),
        ("{{Dab|b}}", True),
        ("{{HNDIS }}", True),
        ("{{dablink|a}}", False),
        ("{{disambiguation needed}}", False),
        ("{{a|disambig}}", False),
        ("{{{disambig}}", True),
        ("{{disambig", False),
    ],
)
def test_a_page_that_lists_meanings_is_known_by_the_name_of_a_template(template: str, lists: bool) -> None:
    assert is_disambiguation("A", f"{{{{Infobox diode\n| d = 1}}}}\n* [[B]]\n{template}\n") is lists


TITLES = [f"Title {number}" for number in range(1, 41)]


def streams(per_stream: int) -> list[bytes]:
    """A multistream dump of forty pages as its bz2 streams."""
    articles = [page(number, f"Text of {number}. " * 50) for number in range(1, 41)]
    groups = ["".join(articles[start : start + per_stream]) for start in range(0, 40, per_stream)]
    return [bz2.compress(text.encode()) for text in (HEAD, *groups, TAIL)]


@pytest.mark.parametrize("size", [100, 301, 1000, 5000])
@pytest.mark.parametrize("form", ["plain", "multistream", "cut anywhere"])
def test_units_share_no_page_and_lose_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, form: str
) -> None:
    monkeypatch.setattr(dump, "UNIT_BYTES", size)
    plain = b"".join(map(bz2.decompress, streams(7)))
    if form == "plain":
        path = tmp_path / "a.xml"
        path.write_bytes(plain)
    else:
        path = tmp_path / "a.xml.bz2"
        # Parallel compressors cut their streams anywhere, also within a tag.
        pieces = [bz2.compress(plain[start : start + 997]) for start in range(0, len(plain), 997)]
        path.write_bytes(b"".join(streams(7) if form == "multistream" else pieces))
    units = WikipediaReader().units(path)
    assert len(units) == -(-path.stat().st_size // size)
    assert reasons(read(path)) == TITLES


@pytest.mark.parametrize("size", [97, 100, 301, 650, 1000])
def test_a_page_without_an_end_is_no_reason_to_read_the_next_one_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(dump, "UNIT_BYTES", size)
    articles = [page(number, f"Text of {number}. " * 50) for number in range(1, 41)]
    articles[9] = articles[9].replace("</page>", "")
    path = tmp_path / "a.xml"
    path.write_text(HEAD + "".join(articles) + TAIL)
    items = read(path)
    assert reasons([item for item in items if isinstance(item, Document)]) == [*TITLES[:9], *TITLES[10:]]
    assert "invalid_xml" in reasons(items)


def long_pages() -> str:
    """Forty pages of 20 kB: five fill the smallest block of bzip2."""
    words = ["".join(letters) for letters in itertools.permutations("abcdefg", 6)]
    return "".join(page(number, " ".join(random.Random(number).sample(words, 3000))) for number in range(1, 41))


def test_a_single_stream_is_shared_by_units_and_damage_costs_one_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dump, "UNIT_BYTES", 50_000)
    monkeypatch.setattr(bz2_blocks, "_LONG", 1)
    path = tmp_path / "a.xml.bz2"
    packed = bytearray(bz2.compress((HEAD + long_pages() + TAIL).encode(), compresslevel=1))
    path.write_bytes(packed)
    reader = WikipediaReader()
    found = [reasons(list(reader.read(path, unit, ReadOptions()))) for unit in reader.units(path)]
    assert list(itertools.chain(*found)) == TITLES
    assert sum(map(bool, found)) >= 4
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)
    left = reasons(read(path))
    assert "broken_bz2" in left
    # A block holds five pages, and both its borders lie within a page.
    assert 34 <= len(set(left) & set(TITLES)) < 40


def test_a_unit_of_whole_streams_reads_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.xml.bz2"
    parts = streams(10)
    path.write_bytes(b"".join(parts))
    size = len(b"".join(parts[:3]))
    read_to: list[int] = []

    def noted(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, int, bytes | Exception]]:
        for begin, end, content in contents(file, start, stop):
            read_to.append(end)
            yield begin, end, content

    monkeypatch.setattr(dump, "contents", noted)
    found = [each.title for each in pages(path, Unit(path.name, size, 0, size)) if isinstance(each, Page)]
    assert found == TITLES[:20]
    assert max(read_to) <= 8 * (size + 4)


def test_a_broken_page_is_set_aside_and_the_next_is_read(tmp_path: Path) -> None:
    dump = HEAD + page(1, "One.") + page(2, "Two.").replace("</title>", "</tittle>")
    dump += page(3, "Three.") + page(4, "Four.").replace("</page>", "") + page(5, "Five.") + "<page><title>cut"
    (tmp_path / "a.xml").write_text(dump)
    items = read(tmp_path)
    assert reasons(items) == ["Title 1", "invalid_xml", "Title 3", "invalid_xml", "Title 5", "truncated_xml"]
    assert all(item.broken for item in items if isinstance(item, Drop))


def test_a_broken_bz2_stream_costs_its_own_pages(tmp_path: Path) -> None:
    parts = streams(10)
    parts[2] = parts[2][:60] + bytes(60) + parts[2][120:]
    (tmp_path / "a.xml.bz2").write_bytes(b"".join(parts))
    assert reasons(read(tmp_path)) == [*TITLES[:10], "broken_bz2", *TITLES[20:]]


def test_a_truncated_dump_gives_what_came_before(tmp_path: Path) -> None:
    whole = b"".join(streams(10))
    (tmp_path / "a.xml.bz2").write_bytes(whole[: -len(streams(10)[-1]) - 30])
    names = reasons(read(tmp_path))
    assert names[:30] == TITLES[:30]
    assert "broken_bz2" in names


def test_rows_of_the_hub_become_articles_without_closing_sections(tmp_path: Path) -> None:
    prose = "A cat is an animal. " * 20
    rows = {
        "id": ["1", "2", "3", "4"],
        "title": ["Cat", "Cat (disambiguation)", "Dog", "Mercury"],
        "text": [
            f"{prose}\n\nReferences \n\nExternal links\n\nCats on the web",
            "Cat is an animal.",
            "",
            "Mercury may refer to:\n\nMercury (planet)",
        ],
    }
    pq.write_table(pa.table(rows), tmp_path / "train-0.parquet")
    assert reasons(read(tmp_path)) == ["Cat", "disambiguation", "empty", "disambiguation"]
    [first, *_] = read(tmp_path)
    assert isinstance(first, Document)
    assert first.text == f"Cat\n\n{prose.strip()}"


# --- the real dump


def sample() -> Path:
    dumps = sorted(SHARED.glob("*.bz2")) if SHARED.is_dir() else []
    if not dumps:
        pytest.skip(f"no sample dump in {SHARED}")
    return dumps[0]


def test_the_real_dump_gives_its_articles_without_markup() -> None:
    items = read(sample())
    assert len(items) == 206
    documents = [item for item in items if isinstance(item, Document)]
    assert len(documents) == 98
    residue = re.compile(
        r"\[\[|\]\]|\{\||\|\}|<ref|</|thumb\||&nbsp;|__[A-Z]+__|\[http|^\||'''|Category:", re.MULTILINE
    )
    for document in documents:
        without_formulas = re.sub(r"\$.*?\$", "", document.text)
        assert not residue.search(without_formulas), (document.position, residue.search(without_formulas))


def test_the_prose_of_real_articles_agrees_with_a_parser() -> None:
    """Nearly every word that a full parser finds in the lead is kept, and no other is added."""
    path = sample()
    articles = [each for each in pages(path, Unit(path.name, 0)) if isinstance(each, Page) and not each.is_redirect]
    kept = found = added = 0
    for article in articles[::4]:
        lead = re.split(r"^==", article.wikitext, maxsplit=1, flags=re.MULTILINE)[0]
        parsed = mwparserfromhell.parse(lead)
        for link in parsed.filter_wikilinks():
            if re.match(r"(?:File|Image|Category|[a-z]{2,3}):", str(link.title)):
                parsed.remove(link)
        for tag in parsed.filter_tags(matches=lambda node: node.tag in ("ref", "table", "gallery", "math")):
            if parsed.contains(tag):
                parsed.remove(tag)
        theirs = re.findall(r"\w{3,}", parsed.strip_code())
        ours = re.findall(r"\w{3,}", plain_text(lead))
        raw = set(re.findall(r"\w{3,}", lead))
        kept += len(set(theirs) & set(ours))
        found += len(set(theirs))
        added += len(set(ours) - raw - set(theirs))
    assert found > 3000
    assert kept > 0.995 * found
    assert added < 0.002 * found
