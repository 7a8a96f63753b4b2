"""What an inline template of Wikipedia shows in running text; most templates show nothing.

`shown_text` knows those that stand for words: units, quotations, foreign words, dashes. Everything else, from
infoboxes to maintenance notices, gives the empty string. It takes what stands between the innermost braces.
"""

from __future__ import annotations

import re

# Templates that show one of their arguments: the first, or the last.
_FIRST = frozenset(
    re.split(
        r",\s+",
        """nowrap, nobr, no wrap, small, big, smaller, larger, resize, nobold, noitalic, em, strong,
        text, center, indent, quote, blockquote, cquote, quotation, bq, pull quote, centered pull
        quote, block indent, poem, poemquote, abbr, abbrlink, tooltip, sic, not a typo, as
        written, proper name, unicode, script, linktext, visible anchor, vanchor, var, mvar, math,
        bigmath, code, tt, mono, kbd, samp, keypress, sup, sub, overline, underline, sc,
        smallcaps, ill, interlanguage link, interlanguage link multi, gaps, val, num, number, nts,
        formatnum, ipa, verse translation, ship, uss, hms, start date, film date, nihongo, angbr,
        angle bracket, angbr ipa, grapheme, vr, wikt-lang, notatypo, stack, rp text, legend
        inline, format price""",
    )
)
_LAST = frozenset(("lang", "transl", "transliteration", "color", "font color", "fontcolor", "colored link"))

# Templates that stand for a sign; a blank beside it is part of it.
_DASHES = dict.fromkeys(("ndash", "endash", "en dash"), "–") | dict.fromkeys(("mdash", "emdash", "em dash"), "—")
_SPACED = dict.fromkeys(("spaced ndash", "snd", "spnd", "snds", "sndash"), " – ") | {"spaced mdash": " — "}
_MARKS = {"nbsp": " ", "space": " ", "'": "'", "!": ",", "=": "=", "·": " · ", "dot": " · ", "bullet": " • "}
_LETTERS = {"pi": "π", "okina": "ʻ", "hamza": "ʼ", "ayin": "ʽ", "ell": "ℓ", "hbar": "ħ", "dagger": "†"}
_MATHS = {"minus": "−", "times": "×", "degree": "°", "deg": "°", "prime": "′", "increment": "∆"}
_MONEY = {"cent": "¢", "pound": "£", "gbp": "£", "euro": "€", "eur": "€", "usd": "US$", "us$": "US$"}
_ABOUT = dict.fromkeys(("circa", "c.", "ca."), "c. ") | dict.fromkeys(("floruit", "fl."), "fl. ")
_ERAS = {"bce": "BCE", "ce": "CE", "ad": "AD", "bc": "BC", "no.": "No. ", "numero": "No. "}
_SIGNS = _DASHES | _SPACED | _MARKS | _LETTERS | _MATHS | _MONEY | _ABOUT | _ERAS
_WITH_ARGUMENT = frozenset(_ABOUT | _MONEY | _ERAS)
_CASES = frozenset(("formatnum", "lc", "uc", "ucfirst", "lcfirst"))
_BETWEEN_NUMBERS = frozenset(("to", "-", "–", "and", "or", "x", "by", "xx", "*", "+", "to(-)", "and(-)", "±"))
_UNITS = dict(
    pair.split("=")
    for pair in re.split(
        r",\s+",
        """sqmi=sq mi, mi2=sq mi, sqft=sq ft, ft2=sq ft, sqkm=km², km2=km², m2=m², m3=m³, km3=km³, cuft=cu ft,
        ft3=cu ft, kg/m3=kg/m³, g/cm3=g/cm³, C=°C, F=°F, oilbbl=barrels, oilbbl/d=barrels per day,
        Moilbbl=million barrels, Moilbbl/d=million barrels per day, USgal=US gal, impgal=imp gal, lb-f=lbf""",
    )
)
_NUMBER = re.compile(r"[\d.,/+−-]+$")
_KEY = re.compile(r"\s*[\w -]{1,20}=(?!=)")


def shown_text(body: str) -> str:
    """Return what the template `{{body}}` shows, or the empty string."""
    name, bar, rest = body.partition("|")
    name = name.strip().lower().replace("_", " ")
    if not bar:
        function, _, argument = name.partition(":")
        return argument.strip() if function in _CASES else _SIGNS.get(name, "")
    if name in _FIRST or name.startswith("lang-"):
        return _first(rest)
    if name in _LAST:
        return (_places(rest) or [""])[-1]
    if name in _SIGNS:
        return _SIGNS[name] + (_first(rest) if name in _WITH_ARGUMENT else "")
    if name in ("convert", "cvt"):
        return _conversion(_places(rest))
    if name in ("as of", "asof"):
        return "As of " + " ".join(reversed(_places(rest)))
    if name in ("frac", "fraction", "sfrac"):
        return "/".join(_places(rest)[-2:])
    if name in ("chem", "chem2", "nuclide"):
        return "".join(_places(rest))
    if name in ("e", "exp"):
        return "×10^" + _first(rest)
    return ""


def _places(rest: str) -> list[str]:
    """The arguments that are given by their place alone."""
    return [part.strip() for part in rest.split("|") if part.strip() and not _KEY.match(part)]


def _first(rest: str) -> str:
    """The first argument, given by its place, as `1=words` or as `text=words`."""
    for part in rest.split("|"):
        key, equals, value = part.partition("=")
        if equals and key.strip().lower() in ("1", "text", "quote"):
            return value.strip()
    return (_places(rest) or [""])[0]


def _conversion(places: list[str]) -> str:
    """`{{convert|5|to|6|km|mi}}` reads "5 to 6 km"."""
    words = []
    for place in places:
        words.append(_UNITS.get(place, place))
        if not _NUMBER.match(place) and place.lower() not in _BETWEEN_NUMBERS:
            break
    return " ".join(words)
