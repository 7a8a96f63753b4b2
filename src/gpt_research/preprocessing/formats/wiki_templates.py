"""The words that an inline template of Wikipedia shows in running text; most templates show none.

`shown_text` knows the templates that stand for words: quantities and dates, quotations, foreign
words, lists, dashes. For all others, from infoboxes to maintenance notices, it returns an empty
string. Its argument is the text between the innermost braces.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial


def _names(text: str) -> list[str]:
    return re.split(r",\s+", text)


# --- arguments ------------------------------------------------------------------------------------

_KEY = re.compile(r"\s*[\w -]{1,20}=(?!=)")


def _positional(rest: str) -> list[str]:
    """Return the arguments without a name."""
    parts = [part for part in rest.split("|") if "=" not in part or not _KEY.match(part)]
    return [argument for part in parts if (argument := part.strip())]


def _named(rest: str) -> dict[str, str]:
    """Return the named arguments by their names in small letters, without empty ones."""
    pairs = (part.partition("=") for part in rest.split("|") if "=" in part and _KEY.match(part))
    return {key.strip().lower(): value.strip() for key, _, value in pairs if value.strip()}


def _first(rest: str) -> str:
    """Return the first argument: without a name, as `1=words` or as `text=words`."""
    for part in rest.split("|"):
        key, equals, value = part.partition("=")
        if equals and key.strip().lower() in ("1", "text", "quote"):
            return value.strip()
    return (_positional(rest) or [""])[0]


def _last(rest: str) -> str:
    return (_positional(rest) or [""])[-1]


# --- numbers, quantities and dates ----------------------------------------------------------------

_NUMBER = re.compile(r"[\d.,/+−-]+$")
_LONG_NUMBER = re.compile(r"(?<![\d.,/])[1-9]\d{3,20}(?![\d,/])")
_BETWEEN_NUMBERS = frozenset(("to", "-", "–", "and", "or", "x", "by", "xx", "*", "+", "to(-)", "and(-)", "±"))
_UNITS = dict(
    pair.split("=")
    for pair in _names(
        """sqmi=sq mi, mi2=sq mi, sqft=sq ft, ft2=sq ft, sqkm=km², km2=km², m2=m², m3=m³, km3=km³, cuft=cu ft,
        ft3=cu ft, kg/m3=kg/m³, g/cm3=g/cm³, C=°C, F=°F, C-change=°C, F-change=°F, oilbbl=barrels,
        oilbbl/d=barrels per day, USgal=US gal, impgal=imp gal, lb-f=lbf, e3=thousand, e6=million, e9=billion,
        k=thousand, M=million, G=billion, T=trillion, PD/sqmi=per sq mi, PD/km2=per km²""",
    )
)
_MULTIPLE = re.compile(r"(e[369](?=[A-Za-z])|[kMGT](?=oilbbl|cuft|USgal|impgal))")
_OF_A_UNIT = frozenset(("in", "yd", "oz", "lb", "ft", "ch", "chain", "cwt"))
"""Units that can follow another one: 5 ft 11 in."""


def _grouped(number: str) -> str:
    """Put commas between the thousands, as Wikipedia does."""
    return _LONG_NUMBER.sub(lambda digits: f"{int(digits[0]):,}", number)


def _unit(code: str) -> str:
    parts = [part for part in _MULTIPLE.split(code, maxsplit=1) if part]
    return " ".join(_UNITS.get(part, part) for part in parts)


def _conversion(rest: str) -> str:
    """Show `{{convert|5|to|6|km|mi}}` as "5 to 6 km", `{{cvt|5|ft|11|in|m}}` as "5 ft 11 in"."""
    arguments, words = _positional(rest), []
    for at, argument in enumerate(arguments):
        if _NUMBER.match(argument) and argument not in _BETWEEN_NUMBERS:
            words.append(_grouped(argument))
        elif argument.lower() in _BETWEEN_NUMBERS:
            words.append(argument.removesuffix("(-)"))
        else:
            words.append(_unit(argument))
            number, smaller = [*arguments[at + 1 : at + 3], "", ""][:2]
            if smaller not in _OF_A_UNIT or not _NUMBER.match(number):
                break
    return re.sub(r" [-–] ", "–", " ".join(words))


def _value(rest: str) -> str:
    """Show `{{val|1.5|(2)|e=3|u=kg}}` as "1.5(2)×10^3 kg"."""
    arguments, named = _positional(rest), _named(rest)
    number = arguments[0] if arguments else ""
    if len(arguments) == 2:
        number += arguments[1] if arguments[1].startswith("(") else f" ± {arguments[1]}"
    if "e" in named:
        number += f"×10^{named['e']}"
    unit = named.get("u") or named.get("ul", "")
    per = named.get("up") or named.get("upl", "")
    return f"{number} {unit}{per and f'/{per}'}".strip()


def _fraction(rest: str) -> str:
    """Show `{{frac|2}}` as "1/2", `{{frac|3|4}}` as "3/4", `{{frac|1|3|4}}` as "1 3/4"."""
    arguments = _positional(rest)
    if len(arguments) == 1:
        return f"1/{arguments[0]}"
    return " ".join([*arguments[:-2], "/".join(arguments[-2:])])


def _height(rest: str) -> str:
    return " ".join(f"{value} {unit}" for unit, value in _named(rest).items() if unit in ("m", "cm", "ft", "in"))


def _coordinates(rest: str) -> str:
    """Show `{{coord|12|19|N|70|1|W}}` as "12°19′N 70°1′W", unless it is only beside the title."""
    if _named(rest).get("display") in ("title", "t"):
        return ""
    shown: list[str] = []
    numbers: list[str] = []
    for argument in _positional(rest):
        if argument in ("N", "S", "E", "W"):
            shown.append("".join(number + mark for number, mark in zip(numbers, "°′″", strict=False)) + argument)
            numbers = []
        elif _NUMBER.match(argument):
            numbers.append(argument)
        else:
            break
    if not shown and len(numbers) == 2:
        ways = zip(numbers, ("NS", "EW"), strict=True)
        shown = [f"{number.lstrip('+-−')}°{letters[number[0] in '-−']}" for number, letters in ways]
    return " ".join(shown)


_MONTHS = _names("January, February, March, April, May, June, July, August, September, October, November, December")


def _date(rest: str, month_first: bool = True) -> str:
    """Show year, month and day as a date. The month may be a number; a date in words stays."""
    year, month, day, *_ = [*_positional(rest), "", "", ""]
    if month.isdecimal() and len(month) < 3 and 1 <= int(month) <= 12:
        month = _MONTHS[int(month) - 1]
    day = day.lstrip("0")
    if "df" in _named(rest):
        month_first = not month_first
    words = (f"{month} {day},", year) if month_first and day else (day, month, year)
    return " ".join(word for word in words if word)


def _as_of(rest: str) -> str:
    named = _named(rest)
    opening = "Since" if "since" in named else "As of"
    return named.get("alt") or f"{opening.lower() if 'lc' in named else opening} {_date(rest, month_first=False)}"


def _old_style(rest: str) -> str:
    """Show day and year of the new calendar, without those of the old one."""
    arguments = _positional(rest)[:2]
    return (", " if arguments[0][-1:].isdecimal() else " ").join(arguments) if arguments else ""


# --- words and names ------------------------------------------------------------------------------

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z-]{2,10})?")


def _in_language(rest: str) -> str:
    """Show the words of `{{langx|ru|words|transliteration}}`."""
    return [*_positional(rest), "", ""][1]


def _sounds(rest: str) -> str:
    """Show `{{IPA|/a/}}`, but not a pronunciation, which has a language before the sounds."""
    sounds, *others = _positional(rest) or [""]
    return "" if others and _LANGUAGE.fullmatch(sounds) else _first(rest)


def _with_original(rest: str) -> str:
    """Show `{{nihongo|English|kanji|romaji}}` as "English (kanji, romaji)"."""
    word, *others = _positional(rest)[:3] or [""]
    return f"{word} ({', '.join(others)})" if others else word


def _other_language(rest: str) -> str:
    """Show the title of an article in another Wikipedia; older uses have the language before it."""
    title, *others = _positional(rest) or [""]
    return _named(rest).get("lt") or (others[0] if others and _LANGUAGE.fullmatch(title) else title)


def _ship_with(prefix: str, rest: str) -> str:
    """Show `{{HMS|Ajax|22}}` as "HMS Ajax"; if the last argument is 2 or 3, without "HMS"."""
    name, *others = _positional(rest) or [""]
    return name if others and others[-1] in ("2", "3") else f"{prefix} {name}".strip()


def _ship(rest: str) -> str:
    """Show `{{ship|HMS|Ajax|22}}` as "HMS Ajax"; the prefix may be empty."""
    prefix, _, others = rest.partition("|")
    return _ship_with(prefix.strip(), others)


def _ship_class(rest: str) -> str:
    """Show `{{sclass|Nimitz|aircraft carrier}}` as "Nimitz-class aircraft carrier"."""
    name, kind, form, *_ = [*_positional(rest), "", "", ""]
    return f"{name} class" if form in ("4", "5") else f"{name}-class {kind}".strip()


def _verse(rest: str) -> str:
    """Show `{{bibleverse|1|Corinthians|13:4|NIV}}` as "1 Corinthians 13:4", without the edition."""
    words: list[str] = []
    for argument in _positional(rest):
        words.append(argument)
        if len(words) > 1 and argument[0].isdecimal():
            break
    return " ".join(words)


# --- lists ----------------------------------------------------------------------------------------


def _items(rest: str) -> str:
    return "\n" + "".join(f"* {argument}\n" for argument in _positional(rest))


def _block(rest: str) -> str:
    """Show a list in its own markup, which may come after a number of columns."""
    return f"\n{max([_first(rest), *_positional(rest)], key=len)}\n"


def _columns(rest: str) -> str:
    return "".join(f"\n{value}\n" for name, value in _named(rest).items() if re.fullmatch(r"col\d", name))


# --- signs ----------------------------------------------------------------------------------------

# Templates that stand for a sign. A blank beside the sign is part of it.
_DASHES = dict.fromkeys(("ndash", "endash", "en dash"), "–") | dict.fromkeys(
    ("mdash", "emdash", "em dash", "mdashb"), "—"
)
_SPACED = dict.fromkeys(("spaced ndash", "snd", "spnd", "snds", "sndash"), " – ") | {"spaced mdash": " — "}
_BLANKS = dict.fromkeys(("nbsp", "space", "spaces", "thinsp", "thin space", "hairsp", "hair space"), " ")
_MARKS = {"!": ",", "=": "=", "·": " · ", "dot": " · ", "bullet": " • ", "eqm": "⇌"}
# Quotation marks that are set closer or farther apart. The apostrophe is an entity, because
# `''Eagle''{{'s}}` would otherwise contain three apostrophes in a row, which are markup.
_APOSTROPHE = "&#39;"
_QUOTES = {
    **dict.fromkeys(("'", "-'", "'-"), _APOSTROPHE),
    **dict.fromkeys(('-"', '"-'), '"'),
    **dict.fromkeys(("'\"", "' \""), f'{_APOSTROPHE}"'),
    **dict.fromkeys(("\"'", "\" '"), f'"{_APOSTROPHE}'),
    "'s": f"{_APOSTROPHE}s",
}
_LETTERS = {"pi": "π", "okina": "ʻ", "hamza": "ʼ", "ayin": "ʽ", "ell": "ℓ", "hbar": "ħ", "dagger": "†"}
_MATHS = {"minus": "−", "times": "×", "degree": "°", "deg": "°", "prime": "′", "increment": "∆"}
_MONEY = {"cent": "¢", "pound": "£", "gbp": "£", "euro": "€", "eur": "€", "usd": "US$", "us$": "US$"}
_ABOUT = dict.fromkeys(("circa", "c.", "ca."), "c. ") | dict.fromkeys(("floruit", "fl."), "fl. ")
_ERAS = {"bce": "BCE", "ce": "CE", "ad": "AD", "bc": "BC", "no.": "No. ", "numero": "No. "}
_SIGNS = _DASHES | _SPACED | _BLANKS | _MARKS | _QUOTES | _LETTERS | _MATHS | _MONEY | _ABOUT | _ERAS
_WITH_ARGUMENT = frozenset(_ABOUT | _MONEY | _ERAS)
_CASES = frozenset(("formatnum", "lc", "uc", "ucfirst", "lcfirst"))
_MUSIC = {"flat": "♭", "b": "♭", "sharp": "♯", "#": "♯", "natural": "♮"}

# --- names and what they show ---------------------------------------------------------------------

_RENDERERS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(
        _names(
            """nowrap, nobr, no wrap, small, big, large, smaller, larger, midsize, nobold, noitalic, em, strong,
            text, center, indent, quote, blockquote, bquote, cquote, quotation, bq, pull quote, centered pull
            quote, block indent, poem, poemquote, poem quote, abbr, abbrlink, tooltip, sic, not a typo, as
            written, proper name, unicode, polytonic, iast, nastaliq, nq, linktext, visible anchor, vanchor, var,
            mvar, math, bigmath, code, tt, mono, kbd, samp, keypress, sup, sub, overline, underline, sc,
            smallcaps, num, number, nts, formatnum, ipalink, ipa link, verse translation, angbr,
            angle bracket, angbr ipa, grapheme, vr, wikt-lang, notatypo, citation needed span, stack, rp text, legend
            inline, format price, birth-date, death-date, film date, flag, flagu, flagcountry, railgauge, track gauge"""
        ),
        _first,
    ),
    **dict.fromkeys(
        _names("lang, rtl-lang, transl, transliteration, script, resize, color, font color, fontcolor, colored link"),
        _last,
    ),
    **dict.fromkeys(("convert", "cvt"), _conversion),
    **dict.fromkeys(("frac", "fraction", "sfrac"), _fraction),
    **dict.fromkeys(("chem", "chem2", "gaps"), lambda rest: "".join(_positional(rest))),
    **dict.fromkeys(
        _names("nuclide, nuclide2, simplenuclide, simplenuclide2, simple nuclide"),
        lambda rest: "-".join(_positional(rest)[:2]),
    ),
    **dict.fromkeys(("e", "exp"), lambda rest: f"×10^{_first(rest)}"),
    **dict.fromkeys(("as of", "asof"), _as_of),
    **dict.fromkeys(
        _names(
            """birth date, birth date and age, death date, death date and age, start date, start date and age,
            end date, dts"""
        ),
        _date,
    ),
    **dict.fromkeys(("oldstyledate", "oldstyledatedy"), _old_style),
    **dict.fromkeys(("ill", "interlanguage link", "interlanguage link multi"), _other_language),
    **{
        name.lower(): partial(_ship_with, name)
        for name in _names("USS, HMS, HMAS, HMCS, SS, RMS, MV, SMS, USNS, USCGC")
    },
    **dict.fromkeys(("bibleverse", "bibleref", "bibleref2"), _verse),
    **dict.fromkeys(("bulleted list", "ordered list", "unbulleted list", "ubl"), _items),
    **dict.fromkeys(("columns-list", "columns list", "plainlist", "flatlist"), _block),
    "columns": _columns,
    "coord": _coordinates,
    "height": _height,
    "hlist": lambda rest: ", ".join(_positional(rest)),
    "ipa": _sounds,
    "ipablink": lambda rest: f"[{_first(rest)}]",
    "ipaslink": lambda rest: f"/{_first(rest)}/",
    "langx": _in_language,
    "music": lambda rest: _MUSIC.get(_first(rest), ""),
    "nihongo": _with_original,
    "sclass": _ship_class,
    "ship": _ship,
    "us patent": lambda rest: f"U.S. Patent {_first(rest)}",
    "val": _value,
}


def shown_text(body: str) -> str:
    """Return the words that the template `{{body}}` shows, or an empty string."""
    name, bar, rest = body.partition("|")
    name = name.strip().lower().replace("_", " ")
    if not bar:
        function, _, argument = name.partition(":")
        return argument.strip() if function in _CASES else _SIGNS.get(name, "")
    if render := _RENDERERS.get(name):
        return render(rest)
    if name.startswith(("lang-", "script/")):
        return _first(rest)
    if name in _SIGNS:
        return _SIGNS[name] + (_first(rest) if name in _WITH_ARGUMENT else "")
    return ""
