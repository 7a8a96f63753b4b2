"""Marks in the middle of a book that are not the author's: of pictures, of pages, of the web page
from which a text was made, and the notes of its transcribers.

`without_marks` removes them and keeps every word of the book, captions of pictures included. It
costs little where a book has none, because one search for a few characters tells that.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from itertools import pairwise

_NOTE = r"[Tt]ranscriber['’]?s?['’]?\s+[Nn]otes?\b"
# A note in brackets in the middle of a book: `[Transcriber's note: the original reads "coneal".]`
_INLINE_NOTE = re.compile(rf"\[\s*{_NOTE}[^\[\]]{{0,2000}}\]")
# A picture without a caption, on a line of its own: `[Illustration]`, `[Cover Illustration]`,
# `[Illustration: colophon]`.
_PICTURE_NAME = (
    r"(?:illustrations?|decorations?|ornaments?|decorative|vignette|colophon|tail-?piece|head-?piece|logo|fleuron|emblem"
    r"|device|frontispiece|cover|title[ ]page|picture|image|drawing|photograph|portrait|map|music|blank[ ]page"
    r"|publisher['’]?s|printer['’]?s|front|back|line|rule|mark|border)"
)
_PICTURE = re.compile(
    rf"\[{_PICTURE_NAME}(?:[ ]?[:;,-]?[ ]?{_PICTURE_NAME}){{0,3}}[.:]?\][ \t]*(?=\n|\Z)", re.IGNORECASE
)

# `{012}`, `[Pg 12]`: the beginnings of printed pages.
_BRACKETED_PAGES = (re.compile(r"\[[Pp]g\.?[ ]?(\d{1,4})\]"), re.compile(r"\[(?:Page|p\.)[ ]?(\d{1,4})\]"))
_BRACED_PAGES = (re.compile(r"\{(\d{1,4})\}"), re.compile(r"\{(?:[Pp]g|Page|p\.)[ ]?(\d{1,4})\}"))
_FEWEST_PAGES = 20

# What a web page shows beside its text: `p003.jpg (307K)`, `Full Size`, and the link from a
# footnote back to its place.
_IMAGE_SIGNS = (".jpg", ".jpeg", ".gif", ".png")
_IMAGE_LINE = re.compile(
    r"\n[ \t]*[\w-]+\.(?:jpe?g|gif|png)[ \t]*(?:\(\d+ ?[kKmM][bB]?\))?[ \t]*(?:\n\s*Full Size[ \t]*)?(?=\n)"
)
_IMAGE_NAME = re.compile(r":[ ]?[\w-]+\.(?:jpe?g|gif|png)(?=[}\]])")
_RETURN_LINK = re.compile(r" \(return\)(?<=\d \(return\))")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,300}>")
# Some editors put a letter between angle brackets, so a single `<u>` is no tag.
_STRAY_PAIR = re.compile(r"<(i|b|u|em|strong|span|sup|sub|small|a)(?:\s+[a-z-]+=[^<>]{1,200})?>([^<>]*)</\1>")
_STRAY_TAG = re.compile(r"<(?:[bh]r\s*/?|/?(?:p|div|h[1-6]|blockquote|pre)(?:\s+[a-z-]+=[^<>]{1,200})?)>")
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}|#\d{2,5});")


# All marks in brackets, which one search finds.
_BRACKETED = re.compile(rf"\[(?:{_PICTURE_NAME}|\s*transcriber|(?:pg|page|p\.)[ ]?\d)", re.IGNORECASE)
_START, _END = 20_000, 100_000
"""Characters at the start that show whether a book has names of images, and at the end for links of
footnotes. To search the whole of each book for them would take longer than to read it."""


def without_marks(book: str) -> str:
    """Return a book without the marks of pictures, pages and web pages, and without notes of
    transcribers in brackets."""
    if _BRACKETED.search(book):
        book = _without_pages(_without_pictures(book), _BRACKETED_PAGES)
    if "{" in book:
        book = _without_pages(book, _BRACED_PAGES)
        book = _IMAGE_NAME.sub("", book) if "jpg}" in book else book
    if _holds_any(_IMAGE_SIGNS, book[:_START]):
        book = _IMAGE_LINE.sub("", f"\n{book}\n")
    if "(return)" in book[-_END:]:
        book = _RETURN_LINK.sub("", book)
    if "<" in book:
        book = _TAG.sub("", book) if book.count("</p>") > 10 else _STRAY_TAG.sub("", _STRAY_PAIR.sub(r"\2", book))
    if "&" in book:
        book = _ENTITY.sub(lambda entity: html.unescape(entity[0]), book)
    return book.strip("\n")


def _holds_any(signs: Sequence[str], text: str) -> bool:
    return any(sign in text for sign in signs)


def _without_pictures(book: str) -> str:
    kept, begin = [], 0
    for picture in _PICTURE.finditer(book):
        line = book.rfind("\n", 0, picture.start()) + 1
        if book[line : picture.start()].strip(" \t") == "":
            kept.append(book[begin : max(line - 1, begin)])
            begin = picture.end()
    book = "".join([*kept, book[begin:]])
    pieces = _INLINE_NOTE.split(book)
    return "".join([*(piece.rstrip(" \t") for piece in pieces[:-1]), pieces[-1]])


def _without_pages(book: str, styles: Sequence[re.Pattern[str]]) -> str:
    """Remove the numbers of pages: each is there once, and nearly each is above the one before."""
    for style in styles:
        numbers = [int(number) for number in style.findall(book)]
        if len(numbers) < _FEWEST_PAGES or len(set(numbers)) < len(numbers):
            continue  # a note's number is in the text and at the note
        if sum(after > before for before, after in pairwise(numbers)) < 0.9 * (len(numbers) - 1):
            continue
        mark = style.pattern
        book = re.sub(rf"\n[ \t]*(?:{mark}[ \t]*)+(?=\n)", "", book)
        book = re.sub(rf"[ ]{mark}(?=\s)|{mark}", "", book)
    return book
