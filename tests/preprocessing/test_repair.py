"""Repair mends damaged text, leaves clean text as it is, and does nothing the second time."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import gpt_research.preprocessing.text.kernels  # noqa: F401  loaded before the first example is timed
from gpt_research.preprocessing.document import Document
from gpt_research.preprocessing.text import repair as text_module
from gpt_research.preprocessing.text.arrow import encoded
from gpt_research.preprocessing.text.batches import batched
from gpt_research.preprocessing.text.decoding import decode, text_and_utf8
from gpt_research.preprocessing.text.repair import drop_reasons, repair, repairs

ANY_TEXT = st.text(st.characters(exclude_categories=()))
# The pieces that damage is made of, more often than chance would put them together.
DAMAGE = st.lists(
    st.sampled_from("Ã©â€™É”aðŸ˜√ï»¿Â\x80\x99\x92\x85\x81\xa0\x00\r\n \t")
    | st.sampled_from(["\ud83d", "\ude00", "\ufeff", "\u2028", "‚Ä", "ΓÇ"]),
    max_size=30,
).map("".join)


SIGNS = (
    "a b\n\n\n \t\r\x0b\x0c\x00\x1c\x7f\x80\x85\x99\xa0£©ÀÃÄéÿŒœŸ‘’“”–—…•‰€™ΓΩ√∂"
    "\u1680\u180e\u2000\u200a\u200b\u2028\u2029\u202f\u205f\u3000。中\ufb01\ufeff\ufffd\ufffe\uffff😀Жń‚ÄôƒÅ\ud83d\ude00\udc80"
)


@given(ANY_TEXT | DAMAGE)
@example("‚Äô\xa0")  # misread, but judged so only when the blank is gone
@example("d‚Äôabord √† vous\u3000\nx")
def test_repair_is_idempotent_and_leaves_no_damage(text: str) -> None:
    repaired = repair(text)
    assert repair(repaired) == repaired
    repaired.encode()
    assert not set(repaired) & {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160), 0xFEFF)}
    assert "\n\n\n" not in repaired
    assert not any(line != line.rstrip(" \t") for line in repaired.split("\n"))


# Scripts by themselves: between them, a text may look like mojibake and be none.
SCRIPTS = ["abc XYZ 019 .,;:!?'\"()[]{}<>|#$%&*+-/=@\\^_`~", "éèàçùâêîôûëïü abc", "äöüßÄÖÜ abc", "абвгд жзи"]
SCRIPTS += [
    "αβγδ εζ",
    "漢字仮名 ",
    "한국어 ",
    "العربية ",
    "हिन्दी ",
    "😀🎉 abc",
    "“a” ‘b’ — c… – d",
    "e\u0301\u200d a\u00ad b",
]


@given(st.sampled_from(SCRIPTS).flatmap(lambda script: st.lists(st.text(script, min_size=1), min_size=1)))
def test_clean_text_comes_back_equal(lines: list[str]) -> None:
    text = "\n\n".join(line.rstrip() for line in lines if line.strip()).strip()
    assert repair(text) == text


@pytest.mark.parametrize(
    ("damaged", "mended"),
    [
        ("cafÃ© and naÃ¯ve", "café and naïve"),
        ("it doesnâ€™t", "it doesn’t"),
        ("it doesn\xe2\x80\x99t", "it doesn’t"),
        ("double: cafÃƒÂ©", "double: café"),
        ("voilÃ\xa0 tout", "voilà tout"),
        ("it\x92s \x93so\x94", "it’s “so”"),
        ("bad\x00 \x07bytes\x7f\x81", "bad bytes"),
        ("\ufefftext\ufeff more", "text more"),
        ("lone \ud800 half, whole \ud83d\ude00", "lone  half, whole 😀"),
        ("a\r\nb\rc\r\r\nd\u2028e\x0cf", "a\nb\nc\nd\ne\nf"),
        ("a  \n\t\n \n\n\nb \xa0\nc\n\n", "a\n\nb\nc"),
        ("\n\n  indented first line", "  indented first line"),
        ("clean line É”\nbroken lineâ€¦", "clean line É”\nbroken line…"),
    ],
)
def test_each_kind_of_damage_is_mended(damaged: str, mended: str) -> None:
    assert repair(damaged) == mended


def test_a_damaged_line_does_not_change_the_clean_ones() -> None:
    clean = "Zoë’s naïve café – “Ça va?” 5 × 3 ± 2 °C, ½ §3 «oui»"
    assert repair(f"{clean}\nItâ€™s\n{clean}") == f"{clean}\nIt’s\n{clean}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_bytes_are_decoded_by_what_they_hold(encoding: str) -> None:
    text = "Élan, à propos, naïve façade: déjà vu. " * 3
    assert decode(text.encode(encoding)) == text


def test_dos_code_pages_are_told_from_windows() -> None:
    text = "Les élèves étaient très fatigués; ils ont mangé des pâtés. " * 3
    assert decode(text.encode("cp850")) == text


def test_a_dash_in_a_short_row_is_not_taken_for_a_dos_letter() -> None:
    assert decode("a word\u2013word".encode("cp1252"), dos=False) == "a word\u2013word"


def test_pages_that_are_utf8_keep_their_bytes() -> None:
    assert text_and_utf8("\ufeffcafé".encode()) == ("café", "café".encode())
    assert text_and_utf8("café".encode()) == ("café", "café".encode())
    assert text_and_utf8("café".encode("cp1252")) == ("café", None)
    assert text_and_utf8("café".encode("utf-16")) == ("café", None)


def test_utf8_with_stray_bytes_keeps_its_letters() -> None:
    assert decode("élève “à”".encode() + b" it\x92s \xe9") == "élève “à” it’s é"


@given(st.binary())
def test_decoding_never_fails(data: bytes) -> None:
    assert isinstance(decode(data), str)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("too short", "too_short"),
        ("aGVsbG8gd29ybGQgaGVsbG8gd29ybGQ" * 40, "not_text"),
        ("12 34 56 78\n" * 50, "not_text"),
        ("\ufffd\ufffd ab \ufffd" * 50, "not_text"),
        ("A sentence of words, as people write them, with 3 figures.", None),
        ("漢字だけの文章には空白がない。" * 40, None),
        ("Пример русского текста без единой ошибки, достаточно длинный.", None),
    ],
)
def test_what_is_no_text_is_refused_with_its_reason(text: str, reason: str | None) -> None:
    assert drop_reasons(encoded([text]), min_characters=20) == [reason]
    others = ["A text beside it. " * 40, "", text]
    assert drop_reasons(encoded(others), min_characters=20) == [None, "empty", reason]


def repaired(texts: list[str]) -> list[str]:
    (batch,) = batched(Document(text, "", 0) for text in [*texts, ""])  # never without any
    array = batch.texts[:-1]
    mended = repairs(array)
    assert all(mended[index] != array[index].as_py() for index in mended)
    return [mended.get(index, text) for index, text in enumerate(array.to_pylist())]


@given(st.lists(st.text(st.sampled_from(SIGNS), max_size=12), max_size=5), st.sampled_from(["", "x" * 120, "é" * 62]))
@settings(max_examples=1500, deadline=None)
def test_repairing_many_at_once_is_repairing_each(texts: list[str], before: str) -> None:
    texts = [before + text for text in texts]
    assert repaired(texts) == [repair(text) for text in texts]


@pytest.mark.parametrize("sign", sorted(set(SIGNS)))
@pytest.mark.parametrize("form", ["x{}", "{}x", "x {}\n y", "é{}é", "x\n{}\nx", "Ã{}"])
def test_no_sign_of_damage_is_overlooked_wherever_it_stands(sign: str, form: str) -> None:
    texts = ["Clean text.", form.format(sign), "", "And more: “clean” — 中文."]
    assert repaired(texts) == [repair(text) for text in texts]


def test_clean_text_is_not_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for name in ("repair", "_tidied"):
        monkeypatch.setattr(text_module, name, lambda text, name=name: seen.append((name, text)) or text)
    clean = [
        "“Clean” text — with quotes…\n\nTwo paragraphs,\ta naïve café, £5.",
        "Чистый текст",
        "中文，没有问题。",
        "Ärger, Öl und Übermut",
        "Plain.",
        "The root √9, the function Γ, a thin\u2009space, ‚inner quotation marks‘ and a façade, née ß.",
        "It ends in a dash —",
        "И по-русски тоже: да. Р",
    ]
    repairs(encoded([*clean, "A line \nwith a blank at its end", "itâ€™s damaged "]))
    assert seen == [("_tidied", "A line \nwith a blank at its end"), ("repair", "itâ€™s damaged ")]
