"""From wikitext to prose: what a reader of the article would read aloud, and nothing else.

`plain_text` keeps paragraphs, lists and headings, and the words inside links and inline templates. Tables,
infoboxes, references, files, categories, galleries, comments and the closing sections (references, external
links, see also) go. It is a chain of passes in C over the whole text, innermost brackets first, instead of a
parse tree: many times as fast as a parser, and no input makes it raise. It knows nothing of dumps.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from gpt_research.corpora.wiki_templates import shown_text

_DEPTH = 40
"""Brackets nested deeper than this are damage."""


def plain_text(wikitext: str) -> str:
    """Return the prose of an article; headings are lines of their own, list items begin with "- "."""
    text = _without_unseen(wikitext)
    kept: list[str] = []
    if _VERBATIM_SIGN.search(text):
        text = _VERBATIM.sub(lambda match: _set_aside(match, kept), text)
    text = _without_links(text)
    text = _innermost_first(_TEMPLATE, _shown, text)
    if "{|" in text:
        text = _without_tables(text)
    text = _without_markup(text)
    text = _prose(text.split("\n"))
    return _ASIDE.sub(lambda match: kept[int(match[1])], text) if kept else text


def is_disambiguation(title: str, wikitext: str) -> bool:
    """Say whether a page only lists the articles that its title may mean."""
    return title.endswith("(disambiguation)") or bool(_DISAMBIGUATION.search(wikitext))


_DISAMBIGUATION = re.compile(
    r"\{\{\s*(?:[\w -]{0,30}disambig(?:uation)?|dab|hndis|geodis|numberdis|mil-unit-dis|schooldis|roaddis"
    r"|hospitaldis|airport dis|disamb)\s*(?:\||\}\})|__DISAMBIG__",
    re.IGNORECASE,
)

# --- what is never seen, and what is shown as it stands -----------------------------------------------------

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_REFERENCE = re.compile(r"<[rR][eE][fF]\b[^<>]*?(?:/>|>.*?</[rR][eE][fF]\s*>)", re.DOTALL)
_UNSEEN = re.compile(
    r"<(gallery|timeline|imagemap|score|hiero|graph|mapframe|maplink|references|templatestyles|section|indicator"
    r"|includeonly|categorytree|inputbox|ce)\b[^<>]*?(?:/>|>.*?</\1\s*>)",
    re.DOTALL | re.IGNORECASE,
)
_UNSEEN_SIGN = re.compile(r"<(?:ga|ti|im|sc|hi|gr|ma|re|te|se|in|ca|ce)", re.IGNORECASE)
_VERBATIM = re.compile(
    r"<(nowiki|pre|math|chem|code|source|syntaxhighlight)\b[^<>]*?(?:/>|>(.*?)</\1\s*>)",
    re.DOTALL | re.IGNORECASE,
)
_VERBATIM_SIGN = re.compile(r"<(?:now|pre|mat|che|cod|sou|syn)", re.IGNORECASE)
_ASIDE = re.compile("\ue000(\\d+)\ue001")


def _without_unseen(text: str) -> str:
    if "<!--" in text:
        text = _COMMENT.sub("", text)
    if "<" in text:
        text = _REFERENCE.sub("", text)
        if _UNSEEN_SIGN.search(text):
            text = _UNSEEN.sub("", text)
    return text.replace("\ue000", "").replace("\ue001", "")


def _set_aside(match: re.Match[str], kept: list[str]) -> str:
    """Put a mark in the place of a text whose brackets are no markup."""
    content = match[2] or ""
    if match[1].lower() in ("math", "chem"):
        content = f"${' '.join(content.split())}$" if content.strip() else ""
    kept.append(html.unescape(content))
    return f"\ue000{len(kept) - 1}\ue001"


# --- links --------------------------------------------------------------------------------------------------

_URL = r"(?:https?:|ftp:|mailto:|irc:|news:)?//[^\s\[\]<>|]+|mailto:[^\s\[\]<>|]+"
_EXTERNAL_LINK = re.compile(rf"\[(?:{_URL})(?:[ \t]+([^\[\]\n]*))?\]")
_SIMPLE_LINK = re.compile(r"\[\[(?:[^\[\]|:{}]+\|([^\[\]|{}]+)|([^\[\]|:{}]+))\]\]")
_LINK = re.compile(r"\[\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]\]")
_NO_TEXT_NAMESPACES = re.compile(r"(?:file|image|media|category|datei|fichier|archivo)$", re.IGNORECASE)
_LANGUAGE_OR_WIKI = re.compile(r"[a-z]{2,3}(?:-[a-z-]{2,10})?$")


def _without_links(text: str) -> str:
    if "//" in text or "mailto:" in text:
        text = _EXTERNAL_LINK.sub(lambda match: match[1] or "", text)
    if "[[" not in text:
        return text
    text = _SIMPLE_LINK.sub(r"\1\2", text)
    return _innermost_first(_LINK, _link_text, text)


def _link_text(match: re.Match[str]) -> str:
    content = match[1]
    if "{{" in content:
        # A template's bars are not the link's.
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
    return (
        label.rpartition("|")[2]
        if label
        else re.sub(r"\s*\([^()]*\)$|,.*$", "", target.partition(":")[2] or target)
    )


def _innermost_first(pattern: re.Pattern[str], text_of: Callable[[re.Match[str]], str], text: str) -> str:
    """Replace what holds no bracket within, again and again, until nothing changes."""
    for _ in range(_DEPTH):
        text, count = pattern.subn(text_of, text)
        if not count:
            break
    return text


_TEMPLATE = re.compile(r"\{\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}\}")


def _shown(match: re.Match[str]) -> str:
    return shown_text(match[1])


# --- tables and the rest of the markup ----------------------------------------------------------------------


def _without_tables(text: str) -> str:
    lines, depth = [], 0
    for line in text.split("\n"):
        start = line.lstrip(" :*#\t")
        if start.startswith("{|"):
            depth += 1
        elif depth and start.startswith("|}"):
            depth -= 1
            if not depth and (rest := start[2:].strip()):
                lines.append(rest)
        elif depth and _HEADING.match(line):
            # A table that is never closed ends with its section.
            depth = 0
        if not depth and not start.startswith(("{|", "|}")):
            lines.append(line)
    return "\n".join(lines)


_QUOTES = re.compile(r"''+")
_LINE_BREAK = re.compile(
    r"<(?:br|p|/p|/?div|/?blockquote|/?center|/?poem|hr|/li|/tr)\b[^<>]*>", re.IGNORECASE
)
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,500}>")
_MAGIC_WORD = re.compile(r"__[A-Z]{3,}__")
# Patterns that begin with one literal character, and plain replacements, are ten times as fast as the others.
_EMPTY_BRACKETS = re.compile(r"\(\s*(?:[,;:–-]\s*)*\)")
_AFTER_OPENING = re.compile(r"\((?:\s*[,;:]\s*|\s+)")
_BLANKS = re.compile("  +")
_HOLES = (
    *((" )", ")"), (",)", ")"), (";)", ")"), ("[]", ""), ("⟨⟩", ""), ("{}", "")),
    *((" , ", ", "), (" ,\n", ",\n"), (" . ", ". "), (" .\n", ".\n"), (" ; ", "; ")),
)
"""What is left where templates and references were, and how it reads without."""


def _without_markup(text: str) -> str:
    text = _QUOTES.sub("", text)
    if "<" in text:
        text = _TAG.sub("", _LINE_BREAK.sub("\n", text))
    if "__" in text:
        text = _MAGIC_WORD.sub("", text)
    if "&" in text:
        text = html.unescape(text)
    if "\xa0" in text:
        text = text.replace("\xa0", " ")
    text = _AFTER_OPENING.sub("(", _EMPTY_BRACKETS.sub("", text))
    text = _BLANKS.sub(" ", text)
    for hole, mended in _HOLES:
        text = text.replace(hole, mended)
    return text


# --- lines and sections -------------------------------------------------------------------------------------

_HEADING = re.compile(r"(={1,6})[ \t]*(.*?)[ \t]*\1[ \t]*$")
_LIST_ITEM = re.compile(r"[*#:;]+[ \t]*")
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


def is_closing_section(heading: str) -> bool:
    """Say whether a heading is that of references and the like; `Notes and references` is one as well."""
    parts = re.split(r"\s*(?:\band\b|,|&|/)\s*", heading.strip().rstrip(":").lower())
    return all(part in CLOSING_SECTIONS for part in parts if part)


def _prose(lines: list[str]) -> str:
    """Put headings on lines of their own, and leave out empty and closing sections and what is no text."""
    out: list[str] = []
    pending: list[tuple[int, str]] = []
    skipped_level = 7
    for line in lines:
        stripped = line.strip()
        if stripped[:1] == "=" and (heading := _HEADING.match(stripped)) and heading[2]:
            level, title = len(heading[1]), heading[2].strip("= ")
            if level <= skipped_level:
                skipped_level = level if is_closing_section(title) else 7
                # A heading waits for text below it; one of the same level before it has none.
                pending = [each for each in pending if each[0] < level]
                pending.append((level, title))
            continue
        if skipped_level < 7:
            continue
        if not stripped:
            out.append("")
            continue
        stripped = _line_text(stripped)
        if not stripped:
            continue
        for _, title in pending:
            out += ["", title, ""]
        pending = []
        out.append(stripped)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()


def _line_text(line: str) -> str:
    """Return the text of a line that is no heading, or nothing where only markup is left of it."""
    first = line[0]
    if first in "*#:;":
        text = _LIST_ITEM.sub("", line, count=1)
        if not any(map(str.isalnum, text)):
            return ""
        return f"- {text}" if first in "*#" else text
    if first in "|!" or line.startswith(("{{", "}}", "{|", "----")):
        return ""
    return line if len(line) > 3 or any(map(str.isalnum, line)) or "\ue000" in line else ""
