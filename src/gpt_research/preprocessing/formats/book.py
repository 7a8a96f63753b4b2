"""A plain-text book of Project Gutenberg: the text that is the book's own, and its hard-wrapped
lines.

`strip_boilerplate` removes headers, licences, small print and the producers' credits, in every
variant seen since 1991, and keeps a text without markers whole. `unwrap` joins the lines of prose
paragraphs and leaves verse, tables and lists as they are. Both take text whose lines end in "\\n".
They know nothing about files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from gpt_research.preprocessing.formats.book_marks import without_marks

_PROJECT = r"proje[ck]t[ \t]+gutenb[eu]rg"

# `*** START OF THIS PROJECT GUTENBERG EBOOK X ***`, also without the space. Its end may be some
# lines below.
_STARRED = re.compile(
    rf"[ \t>]*\*(?:[ \t]*\*)+[ \t]*(?P<kind>START|END)[ \t]+OF[ \t]+(?:TH[A-Z]+[ \t]+)?{_PROJECT}",
    re.IGNORECASE,
)
# `*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*`
_SMALL_PRINT_START = re.compile(r"^[ \t]*\*+[ \t]*START\*+[ \t]*THE SMALL PRINT", re.MULTILINE)
_SMALL_PRINT_END = re.compile(r"[ \t]*\*+[ \t]*END[ \t]*\**[ \t]*(?:OF )?THE SMALL PRINT")
# `End of the Project Gutenberg EBook of X`, `End of Project Gutenberg's X`, `Ende dieses Projekt
# Gutenberg`
_END_LINE = re.compile(
    rf"[ \t\[(_*]*(?:this is (?:the )?)?(?:end|ende|fin|fine|einde|loppu)\b.{{0,40}}?\b{_PROJECT}",
    re.IGNORECASE,
)
# Every marker line has one of these. A pattern that begins with one letter is found at the speed of
# a search for it.
_SIGNS = (re.compile("G(?:utenb|UTENB)"), re.compile("S(?=MALL PRINT)"))
# The 100th text (Shakespeare's works) repeats a notice of its own between the plays.
_INNER_NOTICE = re.compile(r"<<THIS ELECTRONIC VERSION OF.{0,1200}?>>", re.DOTALL)

_HEADER_LIMIT = 40_000
"""Characters of the longest header; a start marker deeper in a text belongs to a second book."""
_FOOTER_LIMIT = 30_000
"""Characters of the longest licence. An end line without stars that is followed by more is part of
the book."""

_Event = tuple[int, int, Literal["start", "end", "small print"]]


def strip_boilerplate(text: str) -> str:
    """Return the book without Project Gutenberg's header, footer, small print and credits.

    If the file has several books, all are returned, one after the other. A text without a marker is
    returned whole, but for the marks in its middle (see `book_marks`).
    """
    events = _markers(text)
    if not events:
        return without_marks(text.strip("\n"))
    pieces: list[str] = []
    begin: int | None = 0
    for index, (start, stop, kind) in enumerate(events):
        following = events[index + 1][0] if index + 1 < len(events) else len(text)
        if kind == "small print":
            opening = _small_print_opening(text, start)
            is_header = following - stop > (1000 if begin is None else opening - begin)
            kind, start = ("start", start) if is_header else ("end", opening)
        if kind == "start":
            if begin is not None and start - begin > _HEADER_LIMIT:
                pieces.append(_cut(text, begin, start))
            begin = stop
        elif begin is not None:
            pieces.append(_cut(text, begin, start))
            begin = None
    if begin is not None:
        pieces.append(_cut(text, begin, len(text)))
    cleaned = (_without_opening_notes(_without_closing_note(_without_credits(piece))) for piece in pieces)
    book = "\n\n\n".join(piece for piece in cleaned if piece)
    if "<<THIS" in book:
        book = _INNER_NOTICE.sub("", book)
    return without_marks(book)


def _cut(text: str, begin: int, end: int) -> str:
    """Return a piece of a text without the newlines around it. It is copied only once."""
    while begin < end and text[begin] == "\n":
        begin += 1
    while begin < end and text[end - 1] == "\n":
        end -= 1
    return text[begin:end]


def _markers(text: str) -> list[_Event]:
    """Return every header and footer marker (start, end, kind), in order."""
    events: list[_Event] = []
    end_lines = []
    for start, stop in set(_lines_with_signs(text)):
        line = text[start:stop]
        if starred := _STARRED.match(line):
            kind: Literal["start", "end"] = "start" if starred["kind"].upper() == "START" else "end"
            events.append((start, _end_of_marker(text, line, stop), kind))
        elif _SMALL_PRINT_END.match(line):
            events.append((start, stop, "small print"))
        elif _END_LINE.match(line):
            end_lines.append((start, stop))
    starred_ends = [start for start, _, kind in events if kind == "end"]
    for start, stop in end_lines:
        if len(text) - stop < _FOOTER_LIMIT or any(0 < other - stop < 2000 for other in starred_ends):
            events.append((start, stop, "end"))
    return sorted(events)


def _lines_with_signs(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each line that may be a marker."""
    for sign in _SIGNS:
        for match in sign.finditer(text):
            stop = text.find("\n", match.end())
            yield text.rfind("\n", 0, match.start()) + 1, stop if stop >= 0 else len(text)


def _end_of_marker(text: str, line: str, stop: int) -> int:
    """Return the end of a marker. A long title has its closing stars some lines below."""
    if line.rstrip().endswith("*"):
        return stop
    paragraph_end = text.find("\n\n", stop)
    rest = text[stop : min(stop + 400, paragraph_end if paragraph_end >= 0 else len(text))]
    closing = rest.find("***")
    return stop if closing < 0 else stop + closing + 3


def _small_print_opening(text: str, end: int) -> int:
    """Return the beginning of the small print that ends at `end`."""
    opening = end
    for match in _SMALL_PRINT_START.finditer(text, max(0, end - _HEADER_LIMIT), end):
        opening = match.start()
    return opening


# --- credits and notes of the producers -----------------------------------------------------------

_WORK = (
    r"(?:produced|prepared|transcribed|scanned|digiti[sz]ed|created|typed|keyed|key-entered|proof-?ed|proof-?read"
    r"|converted|contributed|provided|made available|updated|revised|re-?processed|reproduced)"
)
_CREDIT = re.compile(
    rf"""[\s\[(*_-]*(?:
        (?:(?:this|the)\s+)?
        (?:(?:project\ gutenberg\ )?
            (?:e-?text|e-?book|electronic\ (?:text|edition|book)|file|text|html(?:\ version)?|edition)\s+)?
        (?:(?:was|is|were|has\ been)\s+)?(?:originally\ |first\ )?
            {_WORK}(?:(?:,\ |,?\ and\ |\ &\ ){_WORK})*\s+(?:by|from|at|through|using|with)\b
      | credits?:
      | (?:html|epub)\ (?:version|edition|file)\b
      | note:\s+(?:project\ gutenberg|images?\ of|the\ original)
      | images?\ of\ the\ original
      | (?:release|posting)\ date:
      | (?:\[?date\ )?(?:this\ file\ )?(?:was\ )?(?:first\ posted|last\ updated|most\ recently)
      | character\ set
      | (?:many|special|with)\ thanks\ to
      | (?:the\ )?internet\ archive
      | (?:https?://|www\.)\S+\s*$
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_MENTION = re.compile(
    r"""project\s+gutenb[eu]rg | \b(?:e-?texts?|e-?books?)\b | \w@\w[\w-]*\.[\w.]*\w | https?:// | \bwww\.
      | \b(?:put[ ]on-?line|reformatted[ ]by)\b | proof-?reading | distributed\s+proofread
      | gutenberg\.(?:org|net|ca) | pgdp\.net | pgdpcanada | @pglaf""",
    re.IGNORECASE | re.VERBOSE,
)
_MENTION_SIGNS = (
    "utenb",
    "etext",
    "e-text",
    "ebook",
    "e-book",
    "@",
    "proof",
    "pgdp",
    "://",
    "www.",
    "put on",
    "reformatted",
)
"""Every mention has one of them, in small letters. They are searched first, because most books have
none, and this search takes a tenth of the pattern's time."""
_NOTE = re.compile(
    r"[\s\[({*_=+|~●-]*(?:original )?"
    r"(?:transcri(?:ber|ption|ptionist|bed)|preparer|producer|redactor|updater|e-?text editor|proofreader)"
    r"(?:['’]?s?['’]?)?[ ]*(?:end)?notes?\b",
    re.IGNORECASE,
)
_NOTE_AFTER_GAP = re.compile(
    rf"\n[ \t]*\n(?:[ \t]*[+*_=~-][+*_=~ \t-]{{3,}}\n)?{_NOTE.pattern}(?P<rest>[^\n]*)", re.IGNORECASE
)
_PARAGRAPH = re.compile(r"\S[^\n]*(?:\n[^\S\n]*\S[^\n]*)*")
_RULE = re.compile(r"[\s*_=+~.-]+\Z")
_WIDE_GAP = re.compile(r"\n[ \t]*\n[ \t]*\n")
# Below an appeal of Project Gutenberg are its founder's name, address and office.
_SIGNATURE = re.compile(r"^\W*[\w.]+@[\w.-]+\W*\n+Project Gutenberg\n(?:.+\n)*", re.MULTILINE)
_PRODUCERS_ONLY = re.compile(r"project\s+gutenb[eu]rg|\be-?texts?\b|gutenberg\.(?:org|net|ca)|pgdp", re.IGNORECASE)
_PRODUCERS_SIGNS = ("utenb", "etext", "e-text", "pgdp")
_OPENING, _CLOSING = 3000, 3000
"""Characters at the start and the end of a book in which a paragraph about its production is not
the author's."""
_CREDIT_LENGTH = 1500
_NOTE_LENGTH = 6000


def _without_credits(text: str) -> str:
    """Remove the producers' credits and notes at the beginning, up to the book's first
    paragraph."""
    position = 0
    for _ in range(12):
        match = _PARAGRAPH.search(text, position)
        if match is None:
            return ""
        paragraph = match[0]
        if _NOTE.match(paragraph):
            position = _end_of_note(text, match)
        elif _is_credit(paragraph) or (position and _RULE.match(paragraph)):
            position = match.end()
        else:
            break
    return _cut(text, position, len(text))


def _without_opening_notes(text: str) -> str:
    """Remove the producers' paragraphs from the first pages, between the title and the book."""
    limit = min(_OPENING, len(text) // 2)
    if text.find("\nProject Gutenberg\n", 0, limit) >= 0 and (signature := _SIGNATURE.search(text, 0, limit)):
        text = _without_credits(text[signature.end() :])
    mentions = _holds_any(_MENTION_SIGNS, text[: limit + _CREDIT_LENGTH])
    pieces, kept, position = [], 0, 0
    while (match := _PARAGRAPH.search(text, position)) and match.start() < limit:
        note = _NOTE.match(match[0]) is not None
        # The rest of a paragraph after a note may be the book. Below a heading, or in brackets, it
        # is the note.
        goes_on = note and (len(match[0]) < 60 or match[0].startswith("["))
        position = _end_of_note(text, match) if goes_on else match.end()
        if note or (mentions and len(match[0]) < _CREDIT_LENGTH and _MENTION.search(match[0])):
            pieces.append(text[kept : text.rfind("\n", 0, match.start()) + 1])
            kept = position
    return "".join([*pieces, text[kept:].lstrip("\n")]) if pieces else text


def _holds_any(signs: Sequence[str], text: str) -> bool:
    text = text.lower()
    return any(sign in text for sign in signs)


def _is_credit(paragraph: str) -> bool:
    return len(paragraph) < _CREDIT_LENGTH and bool(_CREDIT.match(paragraph) or _MENTION.search(paragraph))


def _end_of_note(text: str, opening: re.Match[str]) -> int:
    """Return the end of a note: its closing bracket, else a wide gap or a rule."""
    limit = opening.start() + _NOTE_LENGTH
    if opening[0].lstrip().startswith("["):
        closing = text.find("]", opening.start(), limit)
        return closing + 1 if closing >= 0 else opening.end()
    # If the heading is a paragraph of its own, the wide gap may be the one below the heading.
    body = opening if len(opening[0]) > 60 else _PARAGRAPH.search(text, opening.end()) or opening
    gap = _WIDE_GAP.search(text, body.end(), limit)
    if gap is None:
        return opening.end()
    rule = re.compile(r"^[ \t]*[-_=*+~][-_=*+~ \t]{6,}$", re.MULTILINE).search(text, body.end(), gap.start())
    return rule.end() if rule else gap.start()


def _without_closing_note(text: str) -> str:
    """Remove a transcriber's note at the end: a section with a heading, or a short paragraph."""
    longest = min(20_000, max(_NOTE_LENGTH, len(text) // 10))
    for match in _NOTE_AFTER_GAP.finditer(text, max(len(text) // 2, len(text) - longest)):
        heading_alone = match["rest"].strip(" \t|:.*_=]+-~") == ""
        if heading_alone or len(text) - match.start() < 3000:
            text = text[: match.start()]
            break
    closing = max(len(text) // 2, len(text) - _CLOSING)
    if _holds_any(_PRODUCERS_SIGNS, text[closing:]) and (mention := _PRODUCERS_ONLY.search(text, closing)):
        begin, end = text.rfind("\n\n", closing, mention.start()), text.find("\n\n", mention.end())
        is_note = begin >= 0 and (len(text) if end < 0 else end) - begin < _CREDIT_LENGTH
        text = text[:begin] if is_note else text
    text = text.rstrip("\n* \t")
    last = text.rfind("\n\n") + 1
    return text[:last].rstrip() if len(text) - last < 300 and _MENTION.search(text, last) else text


# --- hard-wrapped lines ---------------------------------------------------------------------------

_BLANK_LINES = re.compile(r"(\n(?:[ \t]*\n)+)")
_COLUMNS = re.compile(r"\S {3,}\S|\t|\|")
_SLACK = 8
"""Characters by which a line may end before the width although the next word would have fitted."""
_NARROWEST = 58
"""Characters in a line of prose, which is wrapped at 60 to 80; a text of shorter lines is verse or
a list."""


def unwrap(text: str) -> str:
    """Join the lines of prose paragraphs; verse, tables and lists keep their lines."""
    parts = _BLANK_LINES.split(text)
    widths = sorted(len(line) for part in parts[::2] for line in part.split("\n")[:-1])
    width = widths[len(widths) * 9 // 10] if widths else 0
    if width < _NARROWEST:
        return text
    return "".join(_joined(part, width) if index % 2 == 0 else part for index, part in enumerate(parts))


def _joined(paragraph: str, width: int) -> str:
    lines = paragraph.split("\n")
    if len(lines) < 2 or not _is_wrapped_prose(lines, width):
        return paragraph
    joined = lines[0].rstrip()
    for line in lines[1:]:
        word = line.strip()
        # A dash at the end of a line joins two words without spaces.
        dash = joined.endswith("-") and len(joined) > 1 and not joined[-2].isspace()
        joined += word if dash else " " + word
    return joined


def _is_wrapped_prose(lines: list[str], width: int) -> bool:
    """Return whether lines are prose: they end only where the next word would not have fitted."""
    indents = [len(line) - len(line.lstrip()) for line in lines]
    if len(set(indents[1:])) > 1 or any(_COLUMNS.search(line) for line in lines):
        return False
    # A block that is indented on both sides (a letter, a quotation) is narrower than the text.
    width = min(width, max(max(len(line) for line in lines), width - 2 * indents[-1]))
    forced = sum(
        len(line.rstrip()) + 1 + len(following.split(None, 1)[0]) > width - _SLACK
        for line, following in pairwise(lines)
    )
    if forced < 0.8 * (len(lines) - 1):
        return False
    starts = [line.lstrip("\"'“‘(_ ")[:1] for line in lines[1:]]
    return len(lines) < 4 or sum(start.isupper() for start in starts) < 0.8 * len(starts)
