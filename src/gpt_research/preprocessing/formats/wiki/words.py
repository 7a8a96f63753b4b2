"""Templates of Wikipedia that show their words: how they look, links, names of ships and countries,
laws, works."""

from __future__ import annotations

import re
from functools import partial

from gpt_research.preprocessing.formats.wiki.arguments import Arguments, Renderer
from gpt_research.preprocessing.formats.wiki.names import COUNTRIES

# --- words ----------------------------------------------------------------------------------------


def _first(given: Arguments) -> str:
    return given.first


def _last(given: Arguments) -> str:
    return given.last


def _second(given: Arguments) -> str:
    return given.at(1) or given.first


def _together(given: Arguments) -> str:
    return "".join(given.raw).strip()


def _around(opening: str, closing: str) -> Renderer:
    """Return what shows the first argument between two signs."""
    return lambda given: f"{opening}{given.first}{closing}" if given.first else ""


def _joined_by(joint: str) -> Renderer:
    return lambda given: joint.join(given.words)


def _capitals(given: Arguments) -> str:
    return given.first.upper()


def _as_written(given: Arguments) -> str:
    """Show `{{sic|teh}}` as "teh [sic]", unless it is there only for editors."""
    words = f"{given.at(0)}{given.at(1)}"
    if {"hide", "nolink", "expected"} & given.named.keys() and given.named.get("hide", "n")[0] in "y1t":
        return words
    return f"{words} [{given.value('reason') or 'sic'}]".strip()


def _other_language(given: Arguments) -> str:
    """Show the title of an article in another Wikipedia; older uses have the language before it."""
    title, *others = given.words or [""]
    return given.value("lt", "label", "display", "en") or (
        others[0] if others and re.fullmatch(r"[a-z]{2,3}(?:-[a-z-]{2,10})?", title) else title
    )


def _section(given: Arguments) -> str:
    """Show `{{slink|Article|One|Two}}` as "Article §§ One and Two"."""
    article, *sections = given.places or [""]
    sections = [section for section in sections if section]
    mark = "§" * min(len(sections), 2)
    return f"{article} {mark} {' and '.join(sections)}".strip() if sections else article


def _person(given: Arguments) -> str:
    return " ".join(given.places[:2])


_VERBAL = frozenset(("listen", "pronunciation", "pronounced", "help", "info", "play", ""))


def _sound(given: Arguments) -> str:
    """Show the words of `{{audio|file.ogg|words}}`, unless they only name the button."""
    return "" if given.at(1).lower().strip("() ") in _VERBAL else given.at(1)


def _link(given: Arguments) -> str:
    return given.at(1)


# --- ships, countries, law ------------------------------------------------------------------------


def _ship_with(prefix: str, given: Arguments, skipped: int = 0) -> str:
    """Show `{{HMS|Ajax|22}}` as "HMS Ajax (22)"; the last argument leaves a part of it out."""
    name, number, form, *_ = [*given.places[skipped:], "", "", ""]
    number = "" if number in ("2", "3", "6") and not form else number
    form = form or (given.places[skipped + 1] if not number and len(given.places) > skipped + 1 else "")
    if form in ("2", "3"):
        return name
    ship = name if form == "1" else f"{prefix} {name}".strip()
    return f"{ship} ({number})" if number and form != "6" else ship


def _ship(given: Arguments) -> str:
    """Show `{{ship|HMS|Ajax|22}}` as "HMS Ajax (22)"; the prefix may be empty."""
    return _ship_with(given.at(0), given, skipped=1)


def _ship_class(given: Arguments) -> str:
    """Show `{{sclass|Nimitz|aircraft carrier}}` as "Nimitz-class aircraft carrier"."""
    name, kind, form, *_ = [*given.words, "", "", ""]
    return f"{name} class" if form in ("4", "5") else f"{name}-class {kind}".strip()


def _country(given: Arguments) -> str:
    return COUNTRIES.get(given.first, given.first)


def _athlete(given: Arguments) -> str:
    name, code = given.at(0), given.at(1)
    return f"{name} ({code})" if code else name


def _force(name: str) -> Renderer:
    return lambda given: f"{_country(given)} {name}"


def _decision(given: Arguments) -> str:
    """Show `{{ussc|410|113|1973}}` as "410 U.S. 113 (1973)"."""
    volume, page, year = (given.value(name) or given.at(at) for at, name in enumerate(("volume", "page", "year")))
    year = given.at(3) or year if not year.isdecimal() else year
    return f"{volume} U.S. {page}{year and f' ({year})'}".strip()


def _code(name: str) -> Renderer:
    """Return what shows `{{USC|17|107}}` as "17 U.S.C. § 107"."""
    return lambda given: f"{given.at(0)} {name} § {given.at(1)}{''.join(f'({sub})' for sub in given.words[2:])}"


_MUSIC = {
    **dict.fromkeys(("flat", "b"), "♭"),
    **dict.fromkeys(("sharp", "#"), "♯"),
    "natural": "♮",
    "n": "♮",
    "doubleflat": "𝄫",
    "bb": "𝄫",
    "doublesharp": "𝄪",
    "##": "𝄪",
    "segno": "𝄋",
    "quarter": "♩",
    "eighth": "♪",
    "quarternote": "♩",
    "eighthnote": "♪",
}


def _music(given: Arguments) -> str:
    if given.at(0) in ("time", "timesig"):
        return "/".join(given.words[1:])
    return _MUSIC.get(given.at(0).replace(" ", ""), "")


def _isotope(given: Arguments) -> str:
    return "-".join(given.words[:2])


def _character(given: Arguments) -> str:
    """Show `{{unichar|00A9|Copyright sign}}` as "U+00A9 © COPYRIGHT SIGN"."""
    code, name = given.at(0).removeprefix("U+"), given.at(1)
    sign = chr(int(code, 16)) if re.fullmatch(r"[0-9A-Fa-f]{2,5}", code) else ""
    return " ".join(each for each in (f"U+{code}", sign if sign.isprintable() else "", name.upper()) if each)


_SHIPS = re.split(
    r",\s+",
    """USS, USNS, USCGC, USAT, USAV, USRC, USAHS, HMS, HMAS, HMCS, HMNZS, HMIS, HMT, HMSAS, HMPNGS, HMBS, HDMS, HNoMS,
    HSwMS, HNLMS, HTMS, RMS, SS, MV, MS, MT, MY, SMS, SMU, RV, RFA, INS, ICGS, JS, JDS, PNS, BNS, SLNS, CSS, ARA, BAP,
    ROKS, TCG, ORP, NMS, NRP, KRI, KD, LÉ, RSS, SAS, TSS, GTS, HSC, PS, SV, SY, NS, RRS, TS, CCGS, BRP, RPS, ENS""",
)


SHIPS: dict[str, Renderer] = {name: partial(_ship_with, name) for name in _SHIPS}
"""By prefix. Those of two letters are other templates in small letters."""

# --- names ----------------------------------------------------------------------------------------

TEMPLATES: list[tuple[str, Renderer]] = [
    (
        """nowrap, nobr, nobreak, no wrap, nowraplinks, normalwrap, small, big, large, larger, smaller, smalldiv, huge,
        midsize, nobold, noitalic, noitalics, em, strong, bold, italic, i, bolditalic, bi, text, center, centre,
        centered, left, right, indent, abbr, abbrlink, abbrv, tooltip, explain, define, not a typo, notatypo, typo,
        proper name, unicode, polytonic, nastaliq, nq, mvar, math, bigmath, code, pre, tt, mono, monospace, kbd,
        samp, char, var, varserif, overline, overbar, overarc, underline, under, u, strikethrough, strike, s, del,
        ins, sc, sc1, sc2, smallcaps, small caps, smallcaps all, num, number, ipalink, ipa link, phoneme, stack, rp
        text, legend inline, format price, formatprice, birth-date, death-date, start-date, end-date, film date,
        flag, flagu, flaglink, flag link, visible anchor, vanchor, noredirect link, plain text, delink, normal,
        normalfont, serif, sans-serif, highlight, longlink, screen reader-only, noprint, dfn, defn-inline,
        see below, see above, crossreference, crossref, xref, cross-reference, year, decade, fy, by, mlby, nfly,
        wnbay, avyear, scy, baseball year, sortdate, hebrew, rnd, round, no spam, raise, lower, subatomic particle,
        subatomicparticle, auto link, chem name, au, nihongo foot, fontsize, fs, boxed text, hands, gcl, wikt, avoid
        wrap, wrap, stub link, romaji, hanja, kana, taxlink, vec, mathbf, interp, nee, née""",
        _first,
    ),
    (
        """longitem, lang, rtl-lang, script, resize, color, colour, font color, fontcolor, colored text, fgcolor,
        colored link, background color, bgcolor, bg, hover title, h:title, native name, native phrase, no redirect,
        noredirect, -r, wikt-lang, wiktlang, wt, wikt-la, taste, station link, stl, sort, glossary link, gli, glosslink,
        equationnote, eqnnote, eqnref, equationref, w, sname, snamei, line-height, rotate, cfb link, cbb link, api,
        javadoc""",
        _last,
    ),
    (
        "stnlnk, rws, stn, railway station, lul stations, metro station, tram stop, bts, mrt station, lrt station",
        _first,
    ),
    ("sup, superscript", _around("<sup>", "</sup>")),
    ("sub, subscript", _around("<sub>", "</sub>")),
    ("su", lambda given: f"{given.value('b')}<sup>{given.value('p')}</sup>"),
    ("angbr, angle bracket, angbr ipa, anglebracket, grapheme, vr, infix", _around("⟨", "⟩")),
    ("bracket, brackets", _around("[", "]")),
    ("pars, parentheses", _around("(", ")")),
    ("abs, pipe bracket", _around("&#124;", "&#124;")),
    ("norm", _around("‖", "‖")),
    ("floor", _around("⌊", "⌋")),
    ("ceil, ceiling", _around("⌈", "⌉")),
    ("bra", _around("⟨", "&#124;")),
    ("ket", _around("&#124;", "⟩")),
    ("bra-ket, braket", lambda given: f"⟨{'&#124;'.join(given.words)}⟩"),
    ("tmath", _around("$", "$")),
    ("gloss, lit gloss", _around("'", "'")),
    ("literal translation, lit, literally, literal, lit.", _around("lit. '", "'")),
    ("ipablink", _around("[", "]")),
    ("ipaslink", _around("/", "/")),
    ("linktext, link text, shy, zwsp, wbr, chem, chem2, gaps, zwj, zwnj, binomial name", _together),
    ("keypress, key press, key, button, keys", _joined_by("+")),
    ("menu, menuselection, menu selection", _joined_by(" > ")),
    ("ratio", _joined_by(":")),
    ("codes, pagelist, hlist, horizontal list", _joined_by(", ")),
    ("winloss, win-loss, score, record, wdl", _joined_by("–")),
    ("rating", _joined_by("/")),
    ("post-nominals, postnominals, post nominals", _joined_by(" ")),
    ("allcaps, all caps, caps", _capitals),
    ("sic", _as_written),
    (
        "ill, ill2, illm, interlanguage link, interlanguage link multi, link-interwiki, red link, interwiki link",
        _other_language,
    ),
    ("slink, section link, sectionlink, format link, formatted link", _section),
    ("sortname, sort name", _person),
    ("audio, audio-nohelp, pronunciation audio", _sound),
    ("url, official url, bare url link", _link),
    ("ship", _ship),
    ("sclass, sclass2, ship class", _ship_class),
    (
        """flagcountry, flagcu, flag country, flagioc, flag ioc, flagcgf, flagteam, flagp, cr, cr-rt, fb, fbu, fbw,
        nft, nfa, ru, rut, rl, fh, ih, bk, hb, vb, tn, dav, fed, davis, cricket, rugby union""",
        _country,
    ),
    ("flagathlete, flagiocathlete, flagmedalist, flagiocmedalist, flagcgfathlete, flagcgfmedalist", _athlete),
    ("army", _force("Army")),
    ("navy", _force("Navy")),
    ("air force", _force("Air Force")),
    ("us patent", lambda given: f"U.S. Patent {given.first}"),
    ("patent", lambda given: " ".join(given.words[:2])),
    ("ussc", _decision),
    ("usc, uscsub, usc2", _code("U.S.C.")),
    ("cfr, usfr", _code("CFR")),
    ("epc article", lambda given: f"Article {given.first} EPC"),
    ("epc rule, epc 1973 rule", lambda given: f"Rule {given.first} EPC"),
    ("pct article", lambda given: f"Article {given.first} PCT"),
    ("pct rule", lambda given: f"Rule {given.first} PCT"),
    ("dentalformula, dental formula", lambda given: "/".join((given.value("upper"), given.value("lower"))).strip("/")),
    ("music, musicsymbol", _music),
    ("time signature, timesig", _joined_by("/")),
    ("nuclide, nuclide2, simplenuclide, simplenuclide2, simple nuclide", _isotope),
    ("unichar", _character),
    ("u+", _around("U+", "")),
    ("mpl, mp, minor planet", lambda given: " ".join([" ".join(given.words[:1]), "".join(given.words[1:])]).strip()),
]
