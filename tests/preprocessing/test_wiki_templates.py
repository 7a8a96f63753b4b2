"""An inline template reads as on Wikipedia's page: no number, name or unit is missing, and none is
wrong.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_research.preprocessing.formats.wiki_templates import shown_text
from gpt_research.preprocessing.formats.wikitext import plain_text

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
    ("convert|22|e6acre|km2", "22 million acre"),
    ("convert|477|koilbbl/d|m3/d", "477 thousand barrels per day"),
    ("convert|5|kg|lb", "5 kg"),
    ("val|6.241|e=18", "6.241×10^18"),
    ("val|1.00794|(7)|u=kg|up=s", "1.00794(7) kg/s"),
    ("val|1.0|0.1|u=A", "1.0 ± 0.1 A"),
    ("frac|3", "1/3"),
    ("frac|3|2", "3/2"),
    ("frac|1|3|4", "1 3/4"),
    ("gaps|6.022|140|76", "6.02214076"),
    ("height|ft=5|in=11|precision=0", "5 ft 11 in"),
    ("RailGauge|1435mm", "1435mm"),
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
    ("death date and age|df=yes|1865|4|15|1809|2|12", "15 April 1865"),
    ("start date|1929", "1929"),
    ("OldStyleDate|February 2|1905|January 20", "February 2, 1905"),
    ("OldStyleDate|14 February|1891|2 February", "14 February 1891"),
    # words and names
    ("script|Copt|Ⲁ", "Ⲁ"),
    ("script/Arabic|ﷲ", "ﷲ"),
    ("resize|120%|large", "large"),
    ("rtl-lang|ar|الكيمياء", "الكيمياء"),
    ("langx|ru|Москва|Moskva|lit=Moscow", "Москва"),
    ("IPA|/a/", "/a/"),
    ("IPA|fr|paʁi|lang", ""),
    ("citation needed span|words in doubt|date=May 2015", "words in doubt"),
    ("nihongo|Aikido|合気道|Aikidō|lead=yes", "Aikido (合気道, Aikidō)"),
    ("nihongo|Aikido", "Aikido"),
    ("ill|Title|de|Titel", "Title"),
    ("ill|de|Gymnasium", "Gymnasium"),
    ("flag|French Guiana|local", "French Guiana"),
    ("flagicon|FR", ""),
    ("USS|Yorktown|CV-10", "USS Yorktown"),
    ("HMS|Ajax|22|6", "HMS Ajax"),
    ("SMS|Árpád||2", "Árpád"),
    ("ship|German submarine|U-47|1938", "German submarine U-47"),
    ("ship||Bismarck", "Bismarck"),
    ("ship|Japanese aircraft carrier|Kaga||2", "Kaga"),
    ("sclass|Ticonderoga|cruiser|1", "Ticonderoga-class cruiser"),
    ("sclass|Habsburg|battleship|4", "Habsburg class"),
    ("bibleverse|1|Corinthians|13:4–8|NIV", "1 Corinthians 13:4–8"),
    ("bibleref|Mark|3:25|9", "Mark 3:25"),
    ("IPAslink|ʃ", "/ʃ/"),
    ("music|flat", "♭"),
    ("hlist|one|two", "one, two"),
    ("Infobox cat|name=Tom", ""),
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
    ],
)
def test_a_list_in_a_template_is_a_list(template: str) -> None:
    lines = plain_text(f"Lead.\n{template}\nEnd.").split("\n")
    assert [line for line in lines if line] == ["Lead.", "- one", "- two", "End."]


@given(
    st.sampled_from(sorted({body.partition("|")[0] for body, _ in SHOWN} | {"columns", "ordered list", "plainlist"})),
    st.lists(st.text() | st.text("0123456789.,-=NSEW/ ²١") | st.sampled_from(["9" * 5000, "in", "df=", "e=", "1="])),
)
def test_no_argument_makes_it_fail(name: str, arguments: list[str]) -> None:
    shown_text("|".join([name, *arguments]))
