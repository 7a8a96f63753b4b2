"""From wikitext to prose: the words that a person would read aloud, and nothing else.

`plain_text` keeps paragraphs, lists and headings, and the words inside links and inline templates.
It removes tables, infoboxes, references, files, categories, galleries, comments and the closing
sections (references, external links, see also). It runs regular expressions over the whole text,
innermost brackets first, and builds no parse tree. So it is many times as fast as a parser, and no
input makes it raise. It knows nothing about dumps.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import lru_cache

from gpt_research.preprocessing.formats.wiki.quantities import UNKNOWN
from gpt_research.preprocessing.formats.wiki.templates import shown_text

_DEPTH = 40
"""Levels of nested brackets; deeper ones are damage."""


def plain_text(wikitext: str) -> str:
    """Return the prose of an article. Headings have lines of their own; list items begin with "-
    "."""
    kept: list[str] = []
    text = _without_unseen(wikitext, kept)
    text = _without_links(text)
    text = _innermost_first(_TEMPLATE, _shown, text)
    if "{" in text and "{|" in text:
        text = _without_tables(text)
    text = _without_markup(text)
    text = _prose(text.split("\n"))
    return _ASIDE.sub(lambda match: kept[int(match[1])], text) if kept else text


def is_disambiguation(title: str, wikitext: str) -> bool:
    """Return whether a page only lists the articles that its title may mean."""
    if title.endswith("(disambiguation)") or "__DISAMBIG__" in wikitext:
        return True
    return _DISAMBIGUATION.search(wikitext) is not None


# Here and below: a pattern is searched for fast if it begins with exactly one literal character. So
# the rest of each pattern is in a look-ahead or an atomic group.
_DISAMBIGUATION = re.compile(
    r"\{(?=\{[^{}|Dd]*+[Dd])\{\s*+(?i:[\w -]{0,30}disambig(?:uation)?|dab|hndis|geodis|numberdis|mil-unit-dis"
    r"|schooldis|roaddis|hospitaldis|airport dis|disamb) *+\s*+(?:\||\}\})"
)

# --- elements without text, and verbatim ones -----------------------------------------------------

_COMMENT = re.compile(r"<(?>!--)(?:[^-]++|-(?!->))*+(?:-->|\Z)")
_UNSEEN = frozenset(
    re.split(
        r",\s+",
        """ref, references, gallery, timeline, imagemap, score, hiero, graph, mapframe, maplink,
        templatestyles, section, indicator, includeonly, categorytree, inputbox, chart""",
    )
)
_VERBATIM = frozenset(("nowiki", "pre", "math", "chem", "code", "source", "syntaxhighlight"))
# A whole reference, because most elements are references, or the opening tag of any other element.
_REFERENCE = r"ref\b[^<>]*+(?<!/)>(?:[^<]++|<(?!ref|/ref\s*>))*+</ref\s*>"
_ELEMENT = re.compile(
    rf"<(?:{_REFERENCE}|({'|'.join(sorted(_UNSEEN | _VERBATIM, reverse=True))})\b[^<>]*+>)", re.IGNORECASE
)
_CLOSING_TAG = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in _UNSEEN | _VERBATIM}
# Noncharacters, because no text contains them. (A search for characters whose low byte is not a
# letter's is fast.)
_ASIDE_BEGINS, _ASIDE_ENDS = "\ufdd0", "\ufdd1"
_ASIDE = re.compile(f"{_ASIDE_BEGINS}(\\d+){_ASIDE_ENDS}")


def _without_unseen(text: str, kept: list[str]) -> str:
    """Remove elements that show no text; move verbatim ones to `kept`, with marks in the text."""
    for mark in (_ASIDE_BEGINS, UNKNOWN):
        if mark in text:
            text = text.replace(mark, "")
    text = _COMMENT.sub("", text)
    pieces = []
    at = 0
    # The span of each element's next closing tag. It is searched once, so unclosed elements cost no
    # time.
    closings: dict[str, tuple[int, int]] = {}
    while element := _ELEMENT.search(text, at):
        start, stop = element.span()
        pieces.append(text[at:start])
        at = stop
        if not element[1] or text[stop - 2] == "/":
            continue
        name = element[1].lower()
        if closings.get(name, (-1, -1))[0] < at:
            closing = _CLOSING_TAG[name].search(text, at)
            closings[name] = closing.span() if closing else (len(text) + 1, at)
        start, stop = closings[name]
        # An element without an end, or with that of the next one, is a slip of the author, and only
        # its tag is removed.
        if start > len(text) or (name == "ref" and text.find("<ref", at, start) >= 0):
            continue
        if name in _VERBATIM:
            pieces.append(_aside(name, text[at:start], kept))
        at = stop
    return "".join([*pieces, text[at:]])


def _aside(name: str, content: str, kept: list[str]) -> str:
    """Add a verbatim text to `kept`, and return the mark that is replaced by it at the end."""
    if name in ("math", "chem"):
        content = f"${' '.join(content.split())}$" if content.strip() else ""
    kept.append(html.unescape(content))
    return f"{_ASIDE_BEGINS}{len(kept) - 1}{_ASIDE_ENDS}"


# --- links ----------------------------------------------------------------------------------------

_URL = r"(?:https?:|ftp:|mailto:|irc:|news:)?//[^\s\[\]<>|]+|mailto:[^\s\[\]<>|]+"
_EXTERNAL_LINK = re.compile(rf"\[(?:{_URL})(?:[ \t]+([^\[\]\n]*(?:\[[^\[\]\n]*\][^\[\]\n]*)*))?\]")
_SIMPLE_LINK = re.compile(r"\[(?>\[)(?:(?=[^\[\]|:{}]++\])|[^\[\]|:{}]++\|)([^\[\]|{}]++)\]\]")
_LINK = re.compile(r"\[(?>\[)([^\[\]]*+(?:\[[^\[\]]*+\][^\[\]]*+)*+)\]\]")
_NO_TEXT_NAMESPACES = re.compile(r"(?:file|image|media|category|datei|fichier|archivo)$", re.IGNORECASE)
_LANGUAGE_OR_WIKI = re.compile(r"[a-z]{2,3}(?:-[a-z-]{2,10})?$")


def _without_links(text: str) -> str:
    # `split` returns the text between the links, and their labels. It is many times as fast as
    # `sub`.
    text = "".join(_SIMPLE_LINK.split(text))
    text = _EXTERNAL_LINK.sub(_label, text)
    return _innermost_first(_LINK, _link_text, text)


def _label(match: re.Match[str]) -> str:
    return match[1] or ""


def _link_text(match: re.Match[str]) -> str:
    content = match[1]
    if "{{" in content:
        # Bars in a template do not belong to the link.
        content = _innermost_first(_TEMPLATE, _shown, content)
    target, bar, label = content.partition("|")
    namespace, colon, _ = target.partition(":")
    if colon and target[:1] != ":":
        if _NO_TEXT_NAMESPACES.match(namespace.strip()):
            return ""
        if not bar and _LANGUAGE_OR_WIKI.match(namespace):
            return ""
    if not bar:
        return target.lstrip(":")
    # The pipe trick: `[[Mercury (planet)|]]` shows "Mercury".
    return label.rpartition("|")[2] if label else re.sub(r"\s*\([^()]*\)$|,.*$", "", target.partition(":")[2] or target)


def _innermost_first(pattern: re.Pattern[str], text_of: Callable[[re.Match[str]], str], text: str) -> str:
    """Replace matches, which have no brackets inside, until nothing changes."""
    for _ in range(_DEPTH):
        text, count = pattern.subn(text_of, text)
        if not count:
            break
    return text


_TEMPLATE = re.compile(r"\{(?>\{)([^{}]*+(?:\{[^{}]*+\}[^{}]*+)*+)\}\}")


def _shown(match: re.Match[str]) -> str:
    return shown_text(match[1])


# --- tables and the rest of the markup ------------------------------------------------------------


_TABLE_LINE = re.compile(r"\n(?:[ :*#\t]*+(\{\||\|\})|[^\S\n]*+(?==))([^\n]*+)")


def _without_tables(text: str) -> str:
    text = f"\n{text}"
    pieces = []
    at = depth = 0
    for line in _TABLE_LINE.finditer(text):
        mark = line[1]
        if not mark:
            # A table without an end ends with its section.
            if depth and _heading(line[2].strip()):
                at, depth = line.start(), 0
            continue
        if not depth:
            pieces.append(text[at : line.start()])
        depth += 1 if mark == "{|" else -1
        if depth <= 0:
            if not depth and (rest := line[2].strip()):
                pieces.append(f"\n{rest}")
            at, depth = line.end(), 0
    if not depth:
        pieces.append(text[at:])
    return "".join(pieces)[1:]


_QUOTES = re.compile(r"''+")
_LINE_BREAK = re.compile(
    r"<(?:br|p|/p|/?div|/?blockquote|/?center|/?poem|hr|/li|/tr|/?d[dlt]|/?[ou]l)\b[^<>]*>", re.IGNORECASE
)
_LIST_ITEM = re.compile(r"<li\b[^<>]*>", re.IGNORECASE)
# What is computed when a page is shown is nearly always beside a value that is written: "$5 ($70
# today)". So the brackets around it go too.
_COMPUTED = re.compile(rf"\s*\([^()\n]*{UNKNOWN}[^()\n]*\)|[$£€¥₹]?{UNKNOWN}")
# Only after a number: without a sign, 10<sup>−9</sup> would become another number, while km2 and
# H2O are readable.
_POWER = re.compile(r"<(?=sup>)(?<=\d<)sup>((?:[+−–-]|&minus;)?\d+)</sup>")
"""The look-ahead and look-behind leave one literal character at the beginning, which is searched
for fast."""
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,500}>")
_MAGIC_WORD = re.compile(r"__[A-Z]{3,}__")
# Patterns that begin with one literal character, and plain replacements, are ten times as fast as
# other patterns.
_EMPTY_BRACKETS = re.compile(r"\(\s*(?:[,;:–-]\s*)*\)")
_AFTER_OPENING = re.compile(r"\([\s,;:]+")
_COMMA_TOO_MANY = re.compile(r",(?=\)| ?,|\.(?![.\d]))")
"""A comma before or after what showed no words."""
_SEMICOLON_TOO_MANY = re.compile(r";(?=\))")
_HOLLOW = ("[]", "⟨⟩", "{}")
_BLANK_TOO_MANY = re.compile(r" (?=[ ),.;])(?=[ )]|[,.][ \n]|; )")
"""A blank left by a template or a reference. Most blanks fail the first of the two look-aheads,
which is fast."""


def _without_markup(text: str) -> str:
    text = _QUOTES.sub("", text)
    if UNKNOWN in text:
        text = _COMPUTED.sub("", text)
    if "<" in text:
        text = _LINE_BREAK.sub("\n", _LIST_ITEM.sub("\n* ", _POWER.sub(r"^\1", text)))
        text = _TAG.sub("", text)
    if "_" in text:
        text = _MAGIC_WORD.sub("", text)
    if "&" in text:
        text = html.unescape(text)
    if "\xa0" in text:
        text = text.replace("\xa0", " ")
    text = _AFTER_OPENING.sub("(", _EMPTY_BRACKETS.sub("", text))
    for hollow in _HOLLOW:
        if hollow[0] in text:
            text = text.replace(hollow, "")
    text = _BLANK_TOO_MANY.sub("", text + "\n")
    return _SEMICOLON_TOO_MANY.sub("", _COMMA_TOO_MANY.sub("", text))


# --- lines and sections ---------------------------------------------------------------------------

_MARKS = frozenset("=*#:;|!{}-")
"""A line that begins with another character is text."""
CLOSING_SECTIONS = frozenset(
    {
        "references",
        "external links",
        "external link",
        "see also",
        "further reading",
        "notes",
        "footnotes",
        "endnotes",
        "citations",
        "sources",
        "bibliography",
        "gallery",
        "image gallery",
        "works cited",
        "explanatory notes",
        "general references",
        "literature cited",
        "cited sources",
        "related articles",
        "links",
    }
)
"""Headings, in small letters, of sections that are lists of titles and addresses."""


def _heading(line: str) -> tuple[int, str] | None:
    """Return level and title of a heading without blanks around it; None for other lines."""
    if line[:1] != "=" or line[-1:] != "=":
        return None
    title = line.strip("=")
    level = min(len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("=")), 6)
    return (level, title.strip()) if title.strip() else None


@lru_cache(maxsize=1024)
def is_closing_section(heading: str) -> bool:
    """Return whether a heading, such as `Notes and references`, is that of a closing section."""
    return CLOSING_SECTIONS.issuperset(filter(None, _AND.split(heading.strip().rstrip(":").lower())))


_AND = re.compile(r"\s*(?:\band\b|,|&|/)\s*")


def _prose(lines: list[str]) -> str:
    """Put headings on lines of their own; leave out empty sections, closing sections and lines that
    are no text."""
    out = [""]
    pending: list[tuple[int, str]] = []
    skipped_level = 7
    for line in lines:
        stripped = line.strip()
        if not stripped:
            if out[-1]:
                out.append("")
            continue
        if len(stripped) < 4 or stripped[0] in _MARKS:
            if stripped[0] == "=" and (heading := _heading(stripped)):
                level, title = heading
                if level <= skipped_level:
                    skipped_level = level if is_closing_section(title) else 7
                    # A heading is written when text follows. A pending one of this level or below
                    # has no text.
                    pending = [each for each in pending if each[0] < level]
                    pending.append((level, title))
                continue
            stripped = _line_text(stripped)
        if not stripped or skipped_level < 7:
            continue
        for _, title in pending:
            out += ["", title, ""] if out[-1] else [title, ""]
        pending.clear()
        out.append(stripped)
    return "\n".join(out).strip()


def _line_text(line: str) -> str:
    """Return the text of a line that is no heading; empty if the line is only markup."""
    first = line[0]
    if first in "*#:;":
        text = line.lstrip("*#:;").lstrip(" \t")
        if not any(map(str.isalnum, text)):
            return ""
        if first in "*#":
            return f"- {text}"
        return text.replace(" : ", "\n", 1) if first == ";" else text
    if first in "|!" or line.startswith(("{{", "}}", "{|", "----")):
        return ""
    return line if len(line) > 3 or any(map(str.isalnum, line)) or _ASIDE_BEGINS in line else ""
