"""An inline template reads as on Wikipedia's page: no number, name or unit is missing, and none is
wrong.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_research.preprocessing.formats.wiki import dates, languages, lists, quantities, words, works
from gpt_research.preprocessing.formats.wiki.templates import shown_text
from gpt_research.preprocessing.formats.wiki.wikitext import plain_text

SHOWN = [
    # quantities
    ("convert|5|to|6|km|mi|abbr=on", "5 to 6 km"),
    ("convert|7|–|8|C-change", "7–8 °C"),
    ("convert|20|-|25|cm", "20–25 cm"),
    ("cvt|5|ft|11|in|m|2", "5 ft 11 in"),
    ("convert|100|km|mi|0", "100 km"),
    ("convert|2381741|km2", "2,381,741 km²"),
    ("convert|640081.87|km2|sqmi", "640,081.87 km²"),
    ("convert|0.12345|m", "0.12345 m"),
    ("convert|1,300|mi", "1,300 mi"),
    ("convert|22|e6acre|km2", "22 million acres"),
    ("convert|1|acre|ha", "1 acre"),
    ("convert|40|acre|adj=on", "40-acre"),
    ("convert|4|x|5|m", "4 × 5 m"),
    ("convert|477|koilbbl/d|m3/d", "477 thousand barrels per day"),
    ("convert|5|kg|lb", "5 kg"),
    ("convert|20|mpgus", "20 mpg‑US"),
    ("convert|10|/sqmi|/km2", "10 per sq mi"),
    ("convert|5|lb.ft|Nm", "5 lb⋅ft"),
    ("convert|3|m3/s|cuft/s", "3 m³/s"),
    ("convert|2|USfloz|ml", "2 US fl oz"),
    ("convert|9|e9cuft", "9 billion cu ft"),
    ("sqrt|2", "√2"),
    ("radic|x + 1|3", "∛(x + 1)"),
    ("root|2|12", "¹²√2"),
    ("val|1.2|0.1|e=3", "(1.2 ± 0.1)×10^3"),
    ("ordinal|112", "112th"),
    ("ordinal|3", "3rd"),
    ("roman|14", "XIV"),
    ("abs|x", "&#124;x&#124;"),
    ("music|time|3|4", "3/4"),
    # prices
    ("INR|500", "₹500"),
    ("INRConvert|5|c", "₹5 crore"),
    ("INR convert|7|l|2", "₹7 lakh"),
    ("JPYConvert|500|b", "¥500 billion"),
    ("US$|50000|2010", "US$50,000"),
    ("GBP|5 million", "£5 million"),
    ("CHF|20", "CHF 20"),
    ("EUR|-5", "−€5"),
    ("currency|500|KRW", "₩500"),
    ("currency|amount=30|type=EUR", "€30"),
    ("PLN|4", "4 zł"),
    ("£sd|l=5|s=3|d=2", "£5 3s 2d"),
    ("INR", "₹"),
    ("val|6.241|e=18", "6.241×10^18"),
    ("val|1.00794|(7)|u=kg|up=s", "1.00794(7) kg/s"),
    ("val|1.0|0.1|u=A", "1.0 ± 0.1 A"),
    ("frac|3", "1/3"),
    ("frac|3|2", "3/2"),
    ("frac|1|3|4", "1 3/4"),
    ("gaps|6.022|140|76", "6.02214076"),
    ("height|ft=5|in=11|precision=0", "5 ft 11 in"),
    ("RailGauge|1435mm", "1,435 mm"),
    ("track gauge|4ft8.5in", "4 ft 8.5 in"),
    ("nuclide2|calcium|48|link=y", "calcium-48"),
    ("coord|12|19|N|70|1|W|type:city", "12°19′N 70°1′W"),
    ("coord|30|12|5|N|74.5|W", "30°12′5″N 74.5°W"),
    ("coord|-33.9|151.2", "33.9°S 151.2°E"),
    ("coord|1|N|2|E|display=title", ""),
    # dates
    ("As of|2014", "As of 2014"),
    ("as of|2015|6|30|lc=y", "as of 30 June 2015"),
    ("as of|2015|June|30|df=US|since=y", "Since June 30, 2015"),
    ("as of|2015|12|alt=By the end of 2015", "By the end of 2015"),
    ("birth date|1809|02|12", "February 12, 1809"),
    ("death date and age|df=yes|1865|4|15|1809|2|12", "15 April 1865 (aged 56)"),
    ("death year and age|1990|1920", "1990 (aged 69–70)"),
    ("start date|1929", "1929"),
    ("start date|2001-05-03", "May 3, 2001"),
    ("date|2001-05-03", "3 May 2001"),
    ("birth-date|12 February 1809", "12 February 1809"),
    ("OldStyleDate|February 2|1905|January 20", "February 2 [O.S. January 20] 1905"),
    ("OldStyleDate|February 2|1905|", "February 2, 1905"),
    ("OldStyleDate|14 February|1891|2 February", "14 February [O.S. 2 February] 1891"),
    ("circa|1030|1035", "c. 1030 – c. 1035"),
    ("circa|1090", "c. 1090"),
    ("fl.|1066|1087", "fl. 1066–1087"),
    ("reign|1066|1087", "r. 1066–1087"),
    ("r.|3 May 1066|4 May 1087", "r. 3 May 1066 – 4 May 1087"),
    ("reign|1=1066|2=1087", "r. 1066–1087"),
    ("born|1950", "b. 1950"),
    ("marriage|Ann Bee|1929|1979|end=died", "Ann Bee (m. 1929; died 1979)"),
    ("age|1912|6|23|1954|6|7", "41"),
    ("age in days|1999|1|1|1999|1|31", "30"),
    ("ayd|2000|2|29|2001|3|2", "1 year, 1 day"),
    ("BCE|44", "44 BCE"),
    ("AD|79", "AD 79"),
    ("duration|m=3|s=5", "3:05"),
    ("birth based on age as of date|50|2000|1|1", "1949 or 1950"),
    ("nbay|1999", "1999–2000"),
    # words and names
    ("script|Copt|Ⲁ", "Ⲁ"),
    ("script/Arabic|ﷲ", "ﷲ"),
    ("resize|120%|large", "large"),
    ("rtl-lang|ar|الكيمياء", "الكيمياء"),
    ("langx|ru|Москва|Moskva|lit=Moscow", "Russian: Москва, romanized: Moskva, lit. 'Moscow'"),
    ("langx|ru|Москва|label=none", "Москва"),
    ("lang-pt-BR|trem", "Portuguese: trem"),
    ("lang-qqq|word", "word"),
    ("lang|zh|中國|italic=no", "中國"),
    ("linktext|中|國", "中國"),
    ("linktext|red| |herring", "red herring"),
    ("zh|c=中國|p=Zhōngguó|l=Middle", "Chinese: 中國; pinyin: Zhōngguó; lit. 'Middle'"),
    ("zh|t=中國|s=中国|labels=no", "中國; 中国"),
    ("korean|hangul=한글|rr=Hangeul", "Korean: 한글; RR: Hangeul"),
    ("ruby|漢|kan", "漢 (kan)"),
    ("etymology|la|sal|salt|grc|hals|", "from Latin sal 'salt', from Ancient Greek hals"),
    ("nihongo3|English|漢字|Kanji", "Kanji (漢字, English)"),
    ("literally|the thing", "lit. 'the thing'"),
    ("gloss|dog", "'dog'"),
    ("sic|teh", "teh [sic]"),
    ("sic|hide=y|teh", "teh"),
    ("angbr|a", "⟨a⟩"),
    ("keypress|Ctrl|C", "Ctrl+C"),
    ("lc:ÅBC", "åbc"),
    ("formatnum:12345", "12,345"),
    ("ucfirst:abC", "AbC"),
    ("slink|Cat|Food", "Cat § Food"),
    ("sortname|Ann|Bee|Ann Bee (poet)", "Ann Bee"),
    ("dubious span|words in doubt|date=May 2015", "words in doubt"),
    ("audio|a.ogg|Köln", "Köln"),
    ("audio|a.ogg|listen", ""),
    ("harvtxt|Bee|Cat|1999|p=5", "Bee & Cat (1999, p. 5)"),
    ("ISBN|1|2", "ISBN 1, 2"),
    ("cite journal|last=Bee|first=Ann|year=1914|title=On|journal=Acta", 'Bee, Ann (1914). "On". Acta.'),
    ("ussc|410|113|1973", "410 U.S. 113 (1973)"),
    ("USC|17|107|a", "17 U.S.C. § 107(a)"),
    ("IPA|/a/", "/a/"),
    ("IPA|fr|paʁi|lang", ""),
    ("citation needed span|words in doubt|date=May 2015", "words in doubt"),
    ("nihongo|Aikido|合気道|Aikidō|lead=yes", "Aikido (合気道, Aikidō)"),
    ("nihongo|Aikido", "Aikido"),
    ("ill|Title|de|Titel", "Title"),
    ("ill|de|Gymnasium", "Gymnasium"),
    ("flag|French Guiana|local", "French Guiana"),
    ("flagcountry|NED", "Netherlands"),
    ("flagIOCathlete|Ann Bee|NED|2008 Summer", "Ann Bee (NED)"),
    ("USA", "United States"),
    ("JEY", "Jersey"),
    ("Carbon", "C"),
    ("fr icon", "(in French)"),
    ("pop density|3600|800|km2|sqmi|prec=1", "4.5/km²"),
    ("DentalFormula|upper=1.0.2.3|lower=1.0.1.3", "1.0.2.3/1.0.1.3"),
    ("EPC Article|85", "Article 85 EPC"),
    ("flagicon|FR", ""),
    ("USS|Yorktown|CV-10", "USS Yorktown (CV-10)"),
    ("SS|Great Eastern", "SS Great Eastern"),
    ("HMS|Ajax|22|6", "HMS Ajax"),
    ("SMS|Árpád||2", "Árpád"),
    ("ship|German submarine|U-47|1938", "German submarine U-47 (1938)"),
    ("ship||Bismarck", "Bismarck"),
    ("ship|Japanese aircraft carrier|Kaga||2", "Kaga"),
    ("sclass|Ticonderoga|cruiser|1", "Ticonderoga-class cruiser"),
    ("sclass|Habsburg|battleship|4", "Habsburg class"),
    ("bibleverse|1|Corinthians|13:4–8|NIV", "1 Corinthians 13:4–8"),
    ("bibleref|Mark|3:25|9", "Mark 3:25"),
    ("IPAslink|ʃ", "/ʃ/"),
    ("music|flat", "♭"),
    ("hlist|one|two", "one, two"),
    ("1/2", "1/2"),
    ("section symbol", "§"),
    ("Infobox cat|name=Tom", ""),
    *((nothing, "") for nothing in ("rp|12", "r|Bee", "sfn|Bee|1999", "efn|A note.", "main|Cats", "iep|r/rand.htm")),
    *((nothing, "") for nothing in ("anchor|cats", "clear", "div col|3", "flag icon|FR", "pen|1", "us|1", "can")),
    ("citation needed|date=May 2015", ""),
]


@pytest.mark.parametrize(("body", "text"), SHOWN)
def test_a_template_shows_what_is_read_on_the_page(body: str, text: str) -> None:
    assert shown_text(body) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("''Eagle''{{'s}} crew and ''GQ''{{'}}s.", "Eagle's crew and GQ's."),
        ("He said, \"She said: 'go!{{' \"}} Then.", "He said, \"She said: 'go!'\" Then."),
        ("Keys{{mdashb}}all{{spaces|2}}of them.", "Keys—all of them."),
        ("It sank at {{coord|8|N|165|W}}, far out.", "It sank at 8°N 165°W, far out."),
        ("10{{sup|−9}} m, x{{sub|2}}, 5{{e|6}}, {{abs|x}}.", "10^−9 m, x2, 5×10^6, |x|."),
        ("It cost {{INR}}500{{snd}}or {{US$|5|2010}}.", "It cost ₹500 – or US$5."),
        ("He paid $5 (${{Inflation|US|5|1929}} in {{CURRENTYEAR}} dollars) then.", "He paid $5 then."),
        ("She is {{age|1950|5|3}} years old, from {{efn|x}}, {{fl.|300}}.", "She is years old, from, fl. 300."),
        ("{{lang|zh|{{linktext|中|國}}}} and {{lang|ru|[[a|да]]}}", "中國 and да"),
        ("one{{br}}two", "one\ntwo"),
        ("{{math|x {{=}} 2}} and {{nowrap|{{(}}a{{)}}}}", "x = 2 and {a}"),
        ("from {{lang|la|sal}}, {{x}}, {{fl.|300}}, {{x}}. Then, ...", "from sal, fl. 300. Then, ..."),
    ],
)
def test_signs_stand_in_the_sentence(wikitext: str, text: str) -> None:
    assert plain_text(wikitext) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{columns-list|2|\n* one\n* two\n}}",
        "{{plainlist|\n* one\n* two}}",
        "{{ordered list|start=4\n| one\n| two}}",
        "{{columns|width=50%\n|col1=\n* one\n|col2=\n* two\n}}",
        "{{cast listing|\n* [[A|one]]\n* two\n}}",
        "{{hidden|* one|* two}}",
        "{{castlist|colwidth=30em|\n* one}}\n{{castlist|* two}}",
        "{{div col|content=\n* one\n* two\n}}",
        "{{Unordered list|one|two}}",
        "{{track listing|headline=Side one|title1=one|title2=two|writer2=Bee}}",
        "{{Episode table|episodes=\n{{Episode list|EpisodeNumber=1|Title=one}}\n{{Episode list|Title=two}}\n}}",
        "{{species list|one||two}}",
        "<ul><li>one</li><li class='x'>two</ul>",
    ],
)
def test_a_list_in_a_template_is_a_list(template: str) -> None:
    lines = plain_text(f"Lead.\n{template}\nEnd.").split("\n")
    assert [line for line in lines if line] == ["Lead.", "- one", "- two", "End."]


def lines(wikitext: str) -> list[str]:
    return [line for line in plain_text(wikitext).split("\n") if line]


def test_a_glossary_shows_its_terms_with_their_definitions() -> None:
    glossary = "{{glossary}}\n{{term|[[cat]]|content=Cat}}\n{{defn|1=An animal.}}\n{{defn|no=2|A boat.}}"
    assert lines(glossary) == ["Cat", "An animal.", "2. A boat."]
    assert lines("; Cat : An animal.") == ["Cat", "An animal."]
    assert lines(";Cat\n:An animal.") == lines("<dl><dt>Cat</dt><dd>An animal.</dd></dl>") == ["Cat", "An animal."]


def test_an_episode_shows_its_titles_and_its_summary() -> None:
    episode = "{{Japanese episode list|EnglishTitle=Start|KanjiTitle=始|RomajiTitle=Hajime|ShortSummary=It begins.}}"
    assert lines(f"{{{{Episode table|episodes=\n{episode}\n}}}}") == ["- Start (Hajime, 始)", "It begins."]
    volume = "{{Graphic novel list|VolumeNumber=1|Title=Start|ChapterList={{olist|One|Two}}|Summary=It begins.}}"
    assert lines(volume) == ["- Volume 1: Start", "- One", "- Two", "It begins."]


def test_a_song_is_shown_with_its_note_and_length() -> None:
    assert lines("{{tracklist|title1=One|note1=live|length1=3:45}}") == ["- One (live) – 3:45"]


def test_a_quotation_says_whom_it_is_by() -> None:
    assert lines("{{quote|Cats sleep.|Ann Bee|''On Cats''}}") == ["Cats sleep.", "— Ann Bee, On Cats"]
    assert lines("{{blockquote|text=Cats sleep.|source=A book}}") == ["Cats sleep.", "— A book"]
    assert lines("{{cquote|Cats sleep.|20px|20px|Ann Bee}}") == ["Cats sleep.", "— Ann Bee"]


def test_an_equation_has_its_number() -> None:
    assert lines("{{NumBlk|:|<math>a=b</math>|1}}\n{{math theorem|name=Bee's theorem|Cats sleep.}}") == [
        "$a=b$ (1)",
        "Bee's theorem. Cats sleep.",
    ]


NAMES = sorted(
    {body.partition("|")[0] for body, _ in SHOWN}
    | {
        name
        for module in (words, works, quantities, dates, languages, lists)
        for names, _ in module.TEMPLATES
        for name in re.split(r",\s+", names)
    }
)
ARGUMENT = (
    st.text()
    | st.text("0123456789.,-=NSEW/ ²١[]abc")
    | st.sampled_from(
        ["9" * 5000, " " * 5000, "in", "df=", "e=", "1=", "3=a", "title01=a", "title1=a", "last=a", "p=3"]
    )
)


@given(st.sampled_from(NAMES), st.lists(ARGUMENT))
def test_no_argument_makes_it_fail(name: str, arguments: list[str]) -> None:
    shown_text("|".join([name, *arguments]))


@pytest.mark.parametrize("name", ["a" * 100_000, " " * 100_000, "INR" + " " * 100_000 + "x"])
def test_a_long_name_is_none(name: str) -> None:
    assert shown_text(f"{name}|5") == ""
