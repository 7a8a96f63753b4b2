"""Templates of Wikipedia that stand for a sign. A blank beside the sign is part of it."""

from __future__ import annotations


def _all(text: str, sign: str) -> dict[str, str]:
    return dict.fromkeys(text.split(", "), sign)


_DASHES = {
    **_all("ndash, endash, en dash, nsndns", "–"),
    **_all("mdash, emdash, em dash, mdashb, nsmdns", "—"),
    **_all("spaced ndash, spaced en dash, snd, spnd, snds, sndash, spndash, spd, snd-", " – "),
    **_all("spaced mdash, spaced em dash, smdash", " — "),
    **_all("hyphen, nbhyph, nbh, non breaking hyphen, nb-hyphen, shyphen", "-"),
}
_BLANKS = _all(
    "nbsp, space, spaces, sp, thinsp, thin space, thinspace, hairsp, hair space, nnbsp, narrow no-break space,"
    " figure space, pad, px2, gap, quad, in5, nb5, ns, em space, en space".replace(",  ", ", "),
    " ",
)
_BREAKS = _all("br, break, crlf, newline, para, paragraph, pb, paragraph break, para break, clear break", "\n")
# An equals sign and braces are entities, because they would be markup of the template around them.
_MARKS = {
    "!": ",",
    "=": "&#61;",
    ",": " · ",
    "\\": " / ",
    ";": ";",
    "&": "&",
    "colon": ":",
    "(": "&#123;",
    ")": "&#125;",
    **_all("·, dot, middot, ·w, dotsep", " · "),
    **_all("bullet, •, bull", " • "),
    **_all("*, ast, asterisk, star", "*"),
    **_all("ellipsis, ..., …", "..."),
    **_all("hash, hash-tag, number sign", "#"),
    **_all("ampersand, amp", "&"),
    "eqm": "⇌",
    "equilibrium": "⇌",
    "[": "[",
    "]": "]",
    "bracket left": "[",
    "bracket right": "]",
}
# Quotation marks that are set closer or farther apart. The apostrophe is an entity, because
# `''Eagle''{{'s}}` would otherwise contain three apostrophes in a row, which are markup.
_APOSTROPHE = "&#39;"
_QUOTES = {
    **_all("', -', '-, `", _APOSTROPHE),
    **_all('-", "-', '"'),
    **_all("'\", ' \", ' \"", f'{_APOSTROPHE}"'),
    **_all("\"', \" '", f'"{_APOSTROPHE}'),
    "'s": f"{_APOSTROPHE}s",
    "' \"": f'{_APOSTROPHE}"',
    "\" '": f'"{_APOSTROPHE}',
}
_LETTERS = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "delta": "δ",
    "epsilon": "ε",
    "theta": "θ",
    "lambda": "λ",
    "mu": "μ",
    "pi": "π",
    "rho": "ρ",
    "sigma": "σ",
    "tau": "τ",
    "phi": "φ",
    "varphi": "φ",
    "psi": "ψ",
    "omega": "ω",
    "okina": "ʻ",
    "ʻ": "ʻ",
    "hamza": "ʼ",
    "ayin": "ʽ",
    "saltillo": "ꞌ",
    "ell": "ℓ",
    "hbar": "ħ",
    "schwa": "ə",
    "langle": "⟨",
    "rangle": "⟩",
}
_MATHS = {
    "minus": "−",
    "times": "×",
    "degree": "°",
    "deg": "°",
    "prime": "′",
    "pprime": "″",
    "increment": "∆",
    "plusminus": "±",
    "pm": "±",
    "minusplus": "∓",
    "infinity": "∞",
    "half": "½",
}
_OTHERS = {
    **_all("dagger, extinct, †, kia", "†"),
    **_all("double-dagger, double dagger, ddagger, ‡", "‡"),
    **_all("section symbol, §, section sign", "§"),
    "pilcrow": "¶",
    "cent": "¢",
    "pound": "£",
    "euro": "€",
    "trademark": "™",
    "tm": "™",
    "copyright": "©",
    "flat": "♭",
    "sharp": "♯",
    "natural": "♮",
    "hearts": "♥",
    "diamonds": "♦",
    "spades": "♠",
    "clubs": "♣",
    "female": "♀",
    "male": "♂",
    "lord": "Lord",
    "god": "God",
    "pbuh": "ﷺ",
    "tombstone": "∎",
    "qed": "∎",
    "n/a": "N/A",
    "tba": "TBA",
    "tbd": "TBD",
    **_all("no., numero", "No. "),
}
SIGNS = _DASHES | _BLANKS | _BREAKS | _MARKS | _QUOTES | _LETTERS | _MATHS | _OTHERS
"""By name in small letters; arguments change nothing."""

_ABBREVIATIONS = {
    **_all("circa, c., ca.", "c. "),
    **_all("floruit, fl.", "fl. "),
    **_all("reign, r.", "r. "),
    **_all("born, b.", "b. "),
    **_all("died, d.", "d. "),
    "bce": "BCE",
    "ce": "CE",
    "ad": "AD",
    "bc": "BC",
    "sic": "[sic]",
    "cf.": "cf. ",
    "aka": "a.k.a. ",
}
BARE_SIGNS = _ABBREVIATIONS
"""By name in small letters, for templates without arguments."""

OPENINGS = {
    "ad": "AD {}",
    "ah": "AH {}",
    "bce": "{} BCE",
    "bc": "{} BC",
    "ce": "{} CE",
    **_all("no., numero", "No. {}"),
    **_all("p., page number", "p. {}"),
    **_all("pp.", "pp. {}"),
    **_all("vol.", "vol. {}"),
    **_all("iss.", "iss. {}"),
    "cf.": "cf. {}",
    "aka": "a.k.a. {}",
    "a.k.a.": "a.k.a. {}",
    "bwv": "BWV {}",
    "hwv": "HWV {}",
    "k.": "K. {}",
    "cent": "{}¢",
    "pound": "£{}",
    "minus": "−{}",
    "deg": "{}°",
    "pi": "{}π",
    "dagger": "†{}",
    "extinct": "†{}",
    "sharp": "{}♯",
    "flat": "{}♭",
    "natural": "{}♮",
    "op.": "Op. {}",
    "vs.": "vs. {}",
}
"""By name in small letters, for templates that show their first argument beside a word or sign."""
