"""CNN articles, 2011 to 2022: the two Kaggle files, the hub's `text,label` files, or any table like
them.

A document is the headline, a blank line and the body. In these files the body is one line: a list
of highlights, a place with an agency mark, and all paragraphs, joined without a space. The reader
splits it again where they were joined. A document depends on its headline and body alone, so an
article that is in both Kaggle files has the same text twice and its copy is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpt_research.preprocessing.document import Document, Drop, ReadOptions
from gpt_research.preprocessing.formats.fields import find_text_key
from gpt_research.preprocessing.formats.tables import TableReader

_HEADLINES = ("Headline", "Second headline")
_SITE = re.compile(r"\s+[-|–—]\s+CNN(?:\.com|\s?[A-Z][A-Za-z]+)*\s*$")
_BLANKS = re.compile(r"  +")

_LEAD_CHARS = 3000
_MARK = re.compile(r"\(CNN[\w .]{0,24}\)(?P<dash>\s*(?:--|[-–—])\s*)?(?P<gap>\s*)")
_MARK_2022 = re.compile(r"(?P<place>[A-Z][\w .,]{0,40}?)??\s?CNN\s+[–—]\s+(?=\S)")
_HIGHLIGHTS = re.compile(r"\s*Story highlights\s*:?\s*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<![A-Z])[.!?][\"”’)]?(?=\s|$|[A-Z“\"])")
_READ_MORE_SIGN = re.compile("R(?:ead More|EAD MORE)")
_READ_MORE = re.compile(r"(?<=[.!?\"”’:])\s?(?:Read More|READ MORE)(?=[A-Z“\"]|$)")
_PLACE = re.compile(r"[A-Z][\w.’'-]*(?:[,/]? (?:[A-Z][\w.’'-]*|of|de|the|and|in|on|aboard|near))*")

# A seam is where one paragraph was joined to the next: `company.Founded`, `he said."We`, `the
# US.The`. There is a pattern for each mark, because a search for one character is five times as
# fast as a search for one of three.
_SEAMS = {
    mark: re.compile(rf"\{mark}(?P<close>[”’)]?)(?P<quote>[\"']?)(?=[“‘(]?\"?(?:[A-Z][a-zé’']|[A-Z]{{2}}|[AI]\s))")
    for mark in ".!?"
}
_SENTENCE = re.compile(r"(?:[a-zé)\]%”\"]|\d\d|[A-Z]{2})$")
_NO_SEAM_AFTER = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Sen|Rep|Gov|Gen|Lt|Col|Sgt|Capt|Jr|Sr|No|vs|Ft|Mt|Ph|www)$")
_NO_SEAM_BEFORE = re.compile(r"(?:Com|Org|Net|TV|AI|IO|FM)\b")

# Highlights are joined without even a full stop: `Grand PrixMcLaren driver`.
_CAMEL = re.compile(r"(?P<word>[A-Z]?[a-z]+|\d{2}|[)\"”’%])(?=[A-Z])")
_CAMEL_NAMES = {
    "Mac",
    "You",
    "Wiki",
    "Face",
    "Pay",
    "Linked",
    "Buzz",
    "Space",
    "Snap",
    "Whats",
    "Fitz",
    "Insta",
}


@dataclass(frozen=True)
class CnnReader(TableReader):
    """CNN articles in a table."""

    name: str = "cnn"
    licence: str = "Articles belong to CNN (Warner Bros. Discovery); for research, not for redistribution."

    def columns(self, names: Sequence[str], options: ReadOptions) -> list[str]:
        """Return the column of the body, and those of headlines that the table has."""
        body = find_text_key(names, options.text_key)
        return [body, *(name for name in _HEADLINES if name in names and name != body)]

    def text(self, value: Any, source: str, position: int) -> str | Drop:
        """Return the body of an article as it stands in the table, or why there is none."""
        # pandas writes a missing text as an empty field, and some exports write "nan".
        return super().text(None if value in ("", "nan", "NaN") else value, source, position)

    def document(
        self, text: str, record: dict[str, Any], source: str, position: int, options: ReadOptions
    ) -> Document | Drop:
        """Make an article of a body and of the first headline that is not empty."""
        headlines = (record.get(name) for name in _HEADLINES if name != options.text_key)
        headline = next((h for h in headlines if isinstance(h, str) and h.strip()), "")
        body = super().text(article(headline, text), source, position)
        return body if isinstance(body, Drop) else Document(body, source, position)


def article(headline: str, body: str) -> str:
    """Return an article's text from its raw headline and body."""
    headline = _SITE.sub("", _one_blank(headline))
    body = repair_body(body)
    return body if not headline or not body or body.startswith(headline) else f"{headline}\n\n{body}"


def repair_body(body: str) -> str:
    """Split a body, which was joined without spaces, into highlights and paragraphs."""
    highlights, body = _split_highlights(_one_blank(body))
    body = _repair_lead(body)
    if _READ_MORE_SIGN.search(body):
        body = _READ_MORE.sub("\n\n", body)
    body = _open_seams(body).strip()
    if not highlights:
        return body
    return "Story highlights:\n" + "\n".join(f"- {line}" for line in highlights) + f"\n\n{body}"


def _one_blank(text: str) -> str:
    text = text.replace("\xa0", " ").replace("\t", " ").strip()
    return _BLANKS.sub(" ", text) if "  " in text else text


def _split_highlights(body: str) -> tuple[list[str], str]:
    """Split the highlights from the body, which begins with its first sentence or agency mark."""
    start = _HIGHLIGHTS.match(body)
    if not start:
        return [], body
    body = body[start.end() :]
    mark = _MARK.search(body, 0, _LEAD_CHARS)
    sentence = _SENTENCE_END.search(body)
    limit = mark.start() if mark else sentence.start() if sentence else len(body)
    seams = [match.end() for match in _CAMEL.finditer(body, 0, limit + 1) if _is_camel_seam(match["word"])]
    if mark and not _PLACE.fullmatch(body[seams[-1] if seams else 0 : limit].strip()):
        # The text before the mark is no place, so it belongs to the last highlight.
        seams.append(limit)
    starts = [0, *seams]
    return [line for a, b in zip(starts, seams, strict=False) if (line := body[a:b].strip())], body[starts[-1] :]


def _is_camel_seam(word: str) -> bool:
    if not word.isalpha():
        return True
    # Names such as McLaren, LeBron, iPhone and YouTube stay whole.
    return word not in _CAMEL_NAMES if word[0].isupper() and len(word) > 2 else word.islower() and len(word) > 1


def _repair_lead(body: str) -> str:
    """Remove the agency mark from the lead, or set it off with a space if a place is before it."""
    if body.find("CNN", 0, _LEAD_CHARS) < 0:
        return body
    if mark := _MARK_2022.match(body):
        place, rest = (mark["place"] or "").strip(), body[mark.end() :]
        return f"{place} (CNN) {rest}" if place else rest
    mark = _MARK.search(body, 0, _LEAD_CHARS)
    if mark is None:
        return body
    before, rest = body[: mark.start()].rstrip(), body[mark.end() :]
    if not before:
        return rest
    if mark["gap"] and not mark["dash"]:
        return body  # "Jim Acosta (CNN) said" is no lead
    if before[-1] in '.!?"”’)':
        return f"{before}\n\n{rest}"
    return f"{before} (CNN) {'-- ' if mark['dash'] else ''}{rest}"


def _open_seams(body: str) -> str:
    """Begin a paragraph where a sentence follows a full stop without a space."""
    parts: list[str] = []
    begin = 0
    seams = [seam for mark, pattern in _SEAMS.items() if mark in body for seam in pattern.finditer(body)]
    for seam in sorted(seams, key=re.Match.start):
        before = body[max(begin, seam.start() - 5) : seam.start()]
        if not _SENTENCE.search(before) or _NO_SEAM_AFTER.search(before):
            continue
        at = seam.end()
        if _NO_SEAM_BEFORE.match(body, at):
            continue
        if seam["quote"] and body.count(seam["quote"], begin, seam.start("quote")) % 2 == 0:
            at = seam.start("quote")  # no quotation is open, so this mark opens the next one
        parts.append(body[begin:at])
        begin = at
    parts.append(body[begin:])
    return "\n\n".join(parts)
