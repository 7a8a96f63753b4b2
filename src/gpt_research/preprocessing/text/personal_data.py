"""Placeholders for addresses and numbers that belong to a person.

`mask` finds mail and street addresses, telephone numbers, social-security and card numbers as they
are written in the United States. Names, prices, dates and order numbers stay. A number that may be
a telephone number is masked.
"""

from __future__ import annotations

import re

EMAIL, PHONE, ADDRESS, SSN, CARD = "[EMAIL]", "[PHONE]", "[ADDRESS]", "[SSN]", "[CARD]"

_EMAIL = re.compile(r"(?:\bmailto:|\bsmtp:)?[\w.+'%&-]{1,64}@{1,2}[\w-]+(?:\.[\w-]+)+")
# Addresses inside Enron: `Sherri Sera@ENRON`, `Jeff Dasovich/NA/Enron@Enron`.
_HOUSE = r"@(?:ENRON|Enron|enron|EES|ECT|GPGFIN|EWC|AZURIX|PGN)\w*(?: COMMUNICATIONS)?"
_HOUSE_SIGN = re.compile(_HOUSE)
_HOUSE_EMAIL = re.compile(rf"(?:[A-Z][\w.'-]{{0,40}} ){{0,3}}[\w.'-]{{1,40}}(?:/[\w.&'-]{{1,40}}){{0,4}}{_HOUSE}")
_NOT_IN_NUMBER = r"(?<![\w$.,/-])"
# The patterns with alternatives first check whether any alternative can begin here, because few
# characters pass.
_PHONE = re.compile(
    r"(?=[\d(+xXeE])(?:"
    # (713) 853-1234, 713/853-1234, 1-800-555-1234, 713.853.1234, --713-853-1234at
    r"(?<![\w$.,/])(?<!\d-)(?:\+?1[-. ]{0,2})?\(?\d{3}\)?[-./ ]{0,3}\d{3}[-. ]{1,2}\d{4}(?![\d_-])"
    # +44 (0) 20 7783 0000, 011 44 20 7783 0000, +33 1 42 68 53 00
    rf"|(?<![\w.])(?:\+\d{{1,3}}|011)[ .()-]{{1,3}}\d[\d .()-]{{5,14}}\d(?!\w)"
    # 7138531234, if the figures can be an American number
    rf"|{_NOT_IN_NUMBER}[2-9]\d\d[2-9]\d{{6}}(?![\w.,-])"
    # 853-1234 and the house's own x31234, 3-1234
    rf"|{_NOT_IN_NUMBER}(?:\d{{3}}|[3-9])-\d{{4}}(?![\w-])"
    r"|\b(?:[xX]\s?-?|[eE]xt(?:ension|n)?\.?:?\s?)\d{4,5}\b)"
)
_BARE_PHONE = re.compile(
    r"\b(?P<kind>phone|telephone|fax|tel|cell|pager|mobile|voice)"
    r"(?P<gap>[ .:#-]{0,3}(?:no\.?|number|is)?[ .:#]{0,3})(?:\d{7,11}|\d{3}-\d{4})\b",
    re.IGNORECASE,
)
_SSN = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
_CARD = re.compile(r"(?<![\w.-])(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}|\d{4}([ -])\d{6}\2\d{5}|[3-6]\d{14,15})(?![\w-])")
_KINDS_OF_STREET = (
    r"(?:Street|St\.?|Avenue|Ave\.?|Road|Rd\.?|Drive|Dr\.?|Lane|Ln\.?|Boulevard|Blvd\.?|Court|Ct\.?|Place|Pl\.?"
    r"|Parkway|Pkwy\.?|Highway|Hwy\.?|Way|Plaza|Circle|Terrace|Square)"
)
_STREET = re.compile(
    r"(?=[\dPB])(?:"
    rf"{_NOT_IN_NUMBER}\d{{1,5}} {{1,2}}(?:[A-Z0-9][\w.']* {{1,2}}){{1,4}}{_KINDS_OF_STREET}(?!\w)"
    r"(?:,? (?:[NS]\.?[EW]\.?))?(?:,? (?:Suite|Ste\.?|Room|Rm\.?|Apt\.?|Floor|Unit|#) ?[\w-]+)?"
    r"|\bP\.? ?O\.? {1,2}Box {1,2}\d+|\bBox \d{3,})"
)
_ZIP = re.compile(
    r"(?<=\b(?:A[LKZR]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]"
    r"|UT|V[AT]|W[AIVY]))(?P<gap>\.?,? {1,3})\d{5}(?:-\d{4})?(?![\w-])"
)
# Most lines have none of these. If every figure is written as 0, patterns that begin with this one
# character find the lines that may have some at the speed of a search for the character.
_FIGURES = bytes.maketrans(b"123456789", b"000000000")
_STREET_SIGN = rf" {{1,2}}(?:[A-Z0][\w.'?]* {{1,2}}){{1,4}}{_KINDS_OF_STREET}"
_EXTENSION = "|".join(f"(?<={word}[ .:-]{{{gap}}}0000)" for word in ("[xXt]", "sion") for gap in range(4))
# Four figures in a row only count as part of something longer, because alone they are a year or a
# price.
_NUMBER_SIGN = rf"[-. )/]{{1,3}}000|0000|(?<=\+0)|000(?:{_EXTENSION})"
_SIGN = re.compile(f"0(?:{_NUMBER_SIGN}|(?<=Box 0)|(?<=Box  0)|{_STREET_SIGN})".encode())
# (sign of a line that may have the kind, pattern of the kind, placeholder). Longer kinds come
# first, because many of them contain what looks like a telephone number.
_KINDS = (
    (re.compile(f"0{_STREET_SIGN}|Box".encode()), _STREET, ADDRESS),
    (re.compile(rb"0000[ -]?0000"), _CARD, CARD),
    (re.compile(rb"000-00-0000"), _SSN, SSN),
    (re.compile(rb" 00000"), _ZIP, rf"\g<gap>{ADDRESS}"),
    (re.compile(f"0(?:{_NUMBER_SIGN})".encode()), _PHONE, PHONE),
    (re.compile(rb"000-?0000"), _BARE_PHONE, rf"\g<kind>\g<gap>{PHONE}"),
)


def mask(text: str) -> str:
    """Return `text` with a placeholder for each personal address and number in a line."""
    figures = text.encode("ascii", "replace").translate(_FIGURES)  # one byte for each character
    positions = [sign.start() for sign in _SIGN.finditer(figures)]
    position = text.find("@")
    while position >= 0:
        positions.append(position)
        position = text.find("@", position + 1)
    pieces, end = [], 0
    for position in sorted(positions):
        if position >= end:
            start = max(end, text.rfind("\n", end, position) + 1)
            pieces.append(text[end:start])
            end = text.find("\n", position)
            end = end if end >= 0 else len(text)
            pieces.append(_masked_line(text[start:end], figures[start:end]))
    return "".join(pieces) + text[end:]


def _masked_line(line: str, figures: bytes) -> str:
    if "@" in line:
        line = _EMAIL.sub(EMAIL, line)
        if _HOUSE_SIGN.search(line):
            line = _HOUSE_EMAIL.sub(EMAIL, line)
    for sign, pattern, placeholder in _KINDS:
        if sign.search(figures):
            line = pattern.sub(placeholder, line)
    return line
