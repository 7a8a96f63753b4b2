"""Templates of Wikipedia that show words of another language, with its name and transliteration."""

from __future__ import annotations

import re

from gpt_research.preprocessing.formats.wiki.arguments import Arguments, Renderer
from gpt_research.preprocessing.formats.wiki.names import LANGUAGES

_CODE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z-]{2,10})?")


def _language(code: str) -> str:
    return LANGUAGES.get(code) or LANGUAGES.get(code.partition("-")[0], "")


def _spoken(code: str, words: list[str], given: Arguments) -> str:
    """Show words with the name of their language, their transliteration and their meaning."""
    shown, latin, meaning, *_ = [*words, "", "", ""]
    latin = given.value("translit", "tr", "rom") or latin
    meaning = given.value("lit", "literal", "translation") or meaning
    label = given.value("label") or _language(code)
    if given.value("label", "labels", "links").lower() in ("none", "no", "off"):
        label = "" if given.value("label").lower() in ("none", "no") or "labels" in given.named else _language(code)
    parts = (
        f"{label}: {shown}" if label and shown else shown,
        latin and f"romanized: {latin}",
        meaning and f"lit. '{meaning}'",
    )
    return ", ".join(part for part in parts if part)


def in_language(given: Arguments) -> str:
    """Show `{{langx|ru|Москва|Moskva|lit=Moscow}}` as "Russian: Москва, romanized: Moskva, lit.
    'Moscow'"."""
    return _spoken(given.at(0), given.places[1:4], given)


def named_in_template(name: str) -> Renderer | None:
    """Return what shows `{{lang-ru|Москва|Moskva}}`, for the name `lang-ru`."""
    code = re.fullmatch(r"lang[- ]([a-z]{2,3}(?:-[a-z-]{2,10})?)", name)
    return (lambda given: _spoken(code[1], given.places[:3], given)) if code else None


def etymology(given: Arguments) -> str:
    """Show `{{etymology|la|salsus|salted|...}}` as "from Latin salsus 'salted', from ..."."""
    places = [*given.places, "", ""]
    steps = []
    for code, word, meaning in zip(places[::3], places[1::3], places[2::3], strict=False):
        named = f"{LANGUAGES.get(code, code)} {word}".strip()
        meaning = meaning and f" '{meaning}'"
        steps.append(f"from {named}{meaning}")
    return ", ".join(steps)


def sounds(given: Arguments) -> str:
    """Show `{{IPA|/a/}}`, but not a pronunciation, which has a language before the sounds."""
    first, *others = given.words or [""]
    return "" if others and _CODE.fullmatch(first) else given.first


def with_original(given: Arguments) -> str:
    """Show `{{nihongo|English|kanji|romaji}}` as "English (kanji, romaji)"."""
    word, *others = given.places[:3] or [""]
    if literal := given.value("lit"):
        others.append(f"lit. '{literal}'")
    others = [other for other in [*others, given.at(3) or given.value("extra")] if other]
    return f"{word} ({', '.join(others)})" if word and others else word or ", ".join(others)


def romanized_first(given: Arguments) -> str:
    """Show `{{nihongo3|English|kanji|romaji}}` as "romaji (kanji, English)"."""
    english, kanji, romaji, *_ = [*given.places, "", "", ""]
    others = [other for other in (kanji, english) if other]
    return f"{romaji} ({', '.join(others)})" if romaji and others else romaji or ", ".join(others)


_CHINESE = (
    (("t",), "traditional Chinese: {}"),
    (("s",), "simplified Chinese: {}"),
    (("c",), "Chinese: {}"),
    (("p", "hp"), "pinyin: {}"),
    (("tp",), "Tongyong Pinyin: {}"),
    (("w", "wg"), "Wade–Giles: {}"),
    (("j", "cy", "y"), "Cantonese: {}"),
    (("poj", "tl"), "Hokkien: {}"),
    (("l", "lit"), "lit. '{}'"),
    (("tr",), "trans. {}"),
)


def chinese(given: Arguments) -> str:
    """Show `{{zh|c=中國|p=Zhōngguó|l=A}}` as "Chinese: 中國; pinyin: Zhōngguó; lit. 'A'"."""
    plain = given.value("labels").lower() in ("no", "off")
    shown = []
    for names, form in _CHINESE:
        if words := given.value(*names):
            shown.append(words if plain and not form.startswith("lit") else form.format(words))
    return "; ".join(shown or given.words)


def korean(given: Arguments) -> str:
    """Show `{{korean|hangul=한글|hanja=..|rr=..}}` as "Korean: 한글; Hanja: ..; RR: .."."""
    forms = ((("hangul", "h"), "Korean"), (("hanja", "hj"), "Hanja"), (("rr",), "RR"), (("mr",), "MR"))
    plain = given.value("labels").lower() in ("no", "off")
    shown = []
    for at, (names, label) in enumerate(forms):
        if words := given.value(*names) or given.at(at):
            shown.append(words if plain else f"{label}: {words}")
    if meaning := given.value("lit", "l"):
        shown.append(f"lit. '{meaning}'")
    return "; ".join(shown)


def tibetan(given: Arguments) -> str:
    """Show `{{bo|t=..|w=..}}` as "Tibetan: ..; Wylie: .."."""
    forms = (("t", "Tibetan"), ("w", "Wylie"), ("z", "ZYPY"), ("l", "lit."))
    shown = [f"{label}: {words}" for name, label in forms if (words := given.value(name))]
    return "; ".join(shown or given.words)


# --- names ----------------------------------------------------------------------------------------

TEMPLATES: list[tuple[str, Renderer]] = [
    ("langx, lang-x", in_language),
    ("langnf", lambda given: f"{given.at(1)} for '{given.at(2)}'" if given.at(2) else given.at(1)),
    ("transl, transliteration, tlit, romanization, iast, iso15919, iso 15919, dmg", lambda given: given.last),
    ("ipa", sounds),
    ("etymology, ety", etymology),
    ("pie, pgmc, proto", lambda given: given.first),
    ("nihongo, nihongo core, nihongo-s, nihongo4", with_original),
    ("nihongo3", romanized_first),
    ("nihongo krt, nihongo2, kanji", lambda given: ", ".join(given.words)),
    ("zh, lang-zh, zh-full, zh-t, zh-s, zh-cp, zh-tp, zh-stp, zh-cpl, zh-stpl, zh-tspl", chinese),
    ("korean, lang-ko-full, ko-hhrm, korean/auto", korean),
    ("bo, tibetan", tibetan),
    ("ruby, ruby-ja, ruby-zh-p, ruby-zh-b", lambda given: f"{given.at(0)}{given.at(1) and f' ({given.at(1)})'}"),
]
