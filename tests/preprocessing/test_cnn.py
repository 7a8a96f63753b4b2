"""Claims about CNN articles."""

import csv
import re
from pathlib import Path

import pytest

from gpt_research.preprocessing.document import Document, Drop, ReadOptions
from gpt_research.preprocessing.readers.catalogue import resolve
from gpt_research.preprocessing.readers.cnn import CnnReader, article, repair_body

SAMPLE = Path(__file__).parents[2].parent / "shared" / "corpora" / "cnn"
needs_sample = pytest.mark.skipif(not SAMPLE.exists(), reason="no sample of CNN articles at ../shared")
BETWEEN = ["Author", "Date published", "Category", "Section", "Url"]
COLUMNS = ["Index", *BETWEEN, "Headline", "Description", "Keywords", "Second headline", "Article text"]


def read_all(root: Path) -> list[Document | Drop]:
    corpus = resolve(f"cnn={root}")
    return [item for unit in corpus.units() for item in corpus.read(unit, ReadOptions())]


def write_kaggle(path: Path, rows: list[tuple[str, str]], first: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for index, (headline, text) in enumerate(rows, start=first):
            writer.writerow({"Index": index, "Headline": headline, "Article text": text})


def sample_bodies() -> list[str]:
    with open(next(SAMPLE.rglob("*.csv")), newline="", encoding="utf-8") as file:
        return [row["Article text"] for row in csv.DictReader(file)]


@needs_sample
def test_every_sample_article_is_read_with_its_headline():
    items = read_all(SAMPLE)
    assert len(items) == 170
    assert all(isinstance(item, Document) for item in items)
    assert items[1].text.startswith(
        "Police investigating Sacramento explosions arrest 23-year-old man\n\nA 23-year-old man has"
    )
    data = (SAMPLE / items[0].source).read_bytes()
    assert [data[item.position :].split(b",", 1)[0] for item in items] == [
        str(number).encode() for number in range(170)
    ]


@needs_sample
def test_clean_articles_keep_their_body():
    # The one other body has a true seam: "Mr. World competitions.He also".
    changed = [b for b in sample_bodies() if repair_body(b) != re.sub(r"[ \xa0]+", " ", b).strip()]
    assert len(changed) == 1
    assert "competitions.\n\nHe also" in repair_body(changed[0])


@needs_sample
def test_joined_paragraphs_of_real_articles_are_parted_again():
    joints = found = 0
    for body in sample_bodies():
        clean = repair_body(body)
        sentences = re.split(r"(?<=[a-z]{3}[.?]) (?=[A-Z][a-z])", clean)
        joints += len(sentences) - 1
        found += repair_body("".join(sentences)).count("\n\n") - clean.count("\n\n")
    assert joints > 1000
    assert found >= 0.99 * joints


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("(CNN)There are ways.", "There are ways."),
        (" (CNN)Right now.Then", "Right now.\n\nThen"),
        ("(CNN) -- There are ways.", "There are ways."),
        ("(CNN Business)Wall Street fell 3.5% today.", "Wall Street fell 3.5% today."),
        ("CNN  —  \n The president spoke.", "The president spoke."),
        ("London (CNN)It rains.", "London (CNN) It rains."),
        ("Melbourne, Australia (CNN) -- It rains.", "Melbourne, Australia (CNN) -- It rains."),
        ("Her views are her own.(CNN)It was late.", "Her views are her own.\n\nIt was late."),
        ("Jim Acosta (CNN) said so.", "Jim Acosta (CNN) said so."),
    ],
)
def test_agency_marks_in_the_lead_are_repaired(body, expected):
    assert repair_body(body) == expected


def test_highlights_become_a_list_apart_from_the_body():
    body = (
        "Story highlightsJenson Button wins the Grand PrixMcLaren driver beats Sebastian Vettel"
        "Jenson Button has won the race. He was glad."
    )
    assert repair_body(body) == (
        "Story highlights:\n- Jenson Button wins the Grand Prix\n- McLaren driver beats Sebastian Vettel\n\n"
        "Jenson Button has won the race. He was glad."
    )


def test_highlights_end_at_the_agency_mark_and_leave_the_place():
    body = "Story highlightsTrump says yesClinton says noMelbourne, Australia (CNN)There are many."
    assert repair_body(body) == (
        "Story highlights:\n- Trump says yes\n- Clinton says no\n\nMelbourne, Australia (CNN) There are many."
    )
    assert repair_body("Story highlightsTrump says yesClinton says no (CNN)Many came.") == (
        "Story highlights:\n- Trump says yes\n- Clinton says no\n\nMany came."
    )


@pytest.mark.parametrize(
    "body",
    ["Dr.Who met St.John of the U.S.Army.", "It is on CNN.com and Amazon.Com.", "A Ph.D. or 3.5 U.S. cents."],
)
def test_abbreviations_and_addresses_are_no_seams(body):
    assert repair_body(body) == body


def test_a_quotation_stays_on_its_side_of_the_seam():
    assert repair_body('He said: "I am here.""You are not," she said.') == (
        'He said: "I am here."\n\n"You are not," she said.'
    )
    assert repair_body('It was late."We are here," he said.') == 'It was late.\n\n"We are here," he said.'
    assert repair_body("It was over.Read MoreThe rest slept.") == "It was over.\n\nThe rest slept."


@pytest.mark.parametrize("end", [" - CNN", " - CNN.com", " | CNN Business", " - CNNPolitics", ""])
def test_headlines_lose_the_name_of_the_site(end):
    assert article(f"Button wins{end}", "He won.") == "Button wins\n\nHe won."


def test_an_article_in_both_files_has_the_same_text(tmp_path):
    rows = [(f"Title {i} - CNN", f" (CNN)Body {i} is here.Then it ends.") for i in range(4)]
    write_kaggle(tmp_path / "CNN_Articels_clean" / "CNN_Articels_clean.csv", rows[:3])
    write_kaggle(tmp_path / "CNN_Articels_clean_2" / "CNN_Articels_clean.csv", rows[1:], first=900)
    items = read_all(tmp_path)
    assert len(items) == 6
    assert len({item.text for item in items}) == 4
    assert len({item.source for item in items}) == 2


def test_null_texts_are_dropped_with_the_reason(tmp_path):
    write_kaggle(tmp_path / "a.csv", [("A", ""), ("B", "nan"), ("C", "Here.")])
    items = read_all(tmp_path)
    assert [getattr(item, "reason", "") for item in items] == ["null_text", "null_text", ""]


def test_the_hub_form_is_read_without_headline(tmp_path):
    (tmp_path / "train_CNN_Article.csv").write_text(',text,label\n0,"(CNN)It rains, again.",3\n1,Dry.,2\n')
    (tmp_path / "test_CNN_Article.csv").write_text("text,label\nWet.,1\n")
    assert [item.text for item in read_all(tmp_path)] == ["Wet.", "It rains, again.", "Dry."]


def test_an_index_column_without_a_name_is_not_the_text() -> None:
    body = "The senate met on Monday and agreed on nothing at all."
    (found,) = CnnReader().documents([(0, {"": "0", "Article text": body})], "a.json", ReadOptions())
    assert isinstance(found, Document)
    assert found.text == body
