"""A mail: its headers and its decoded body.

`parse` decodes MIME, and no mail makes it raise. What the author wrote of a body is found by
`own_words`. Knows nothing about folders or corpora.
"""

from __future__ import annotations

import binascii
import email
import email.header
import html
import re
from dataclasses import dataclass, field
from functools import lru_cache

from gpt_research.preprocessing.text.decoding import decode


@dataclass
class Mail:
    """Unfolded headers by their names in small letters (the first of equal ones), and the body."""

    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


# --- MIME -----------------------------------------------------------------------------------------

_HEAD_END = re.compile(rb"\n[ \t]*\r?\n")
_HEADER = re.compile(r"\n([A-Za-z][\w-]*+):[ \t]*+(.*+(?:\n[ \t]+.*+)*+)")
_FOLD = re.compile(r"\s*\n\s+")
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:+-]+)""", re.IGNORECASE)
_LATIN = re.compile(r"(?:us-)?ascii|ansi|iso-?8859-1\b|latin|utf-?8|windows-?1252|cp-?1252", re.IGNORECASE)
# Soft line ends and encoded blanks show quoted-printable in a body that is not declared to be so.
_STRAY_SIGN = re.compile(rb"=(?:20)?\r?\n")
_STRAY_QUOTED = re.compile(rb"=20\r?\n|^[^\n]{60,76}=\r?\n(?=\S)", re.MULTILINE)


def parse(data: bytes) -> Mail:
    """Return headers and body of a message. A body of parts is its plain text, else its HTML's."""
    head_end = _HEAD_END.search(data)
    head = data[: head_end.start() if head_end else len(data)]
    headers = _headers(unix_lines(decode(head)))
    if not headers:
        return Mail({}, decode(data))
    kind = headers.get("content-type", "text/plain").lower()
    if not kind.startswith("text/plain"):
        return Mail(headers, _body_of_parts(data))
    body = data[head_end.end() :] if head_end else b""
    return Mail(headers, _decoded(body, headers.get("content-transfer-encoding", ""), kind))


def unix_lines(text: str) -> str:
    """End every line in "\\n"."""
    return text.replace("\r\n", "\n") if "\r" in text else text


def _headers(head: str) -> dict[str, str]:
    fields: list[tuple[str, str]] = _HEADER.findall(f"\n{head}")
    headers = {
        name.lower(): (_FOLD.sub(" ", value) if "\n" in value else value).strip() for name, value in reversed(fields)
    }
    if "=?" in headers.get("subject", ""):
        headers["subject"] = _decoded_words(headers["subject"])
    return headers


def _decoded_words(value: str) -> str:
    """Decode `=?iso-8859-1?Q?caf=E9?=`."""
    try:
        return str(email.header.make_header(email.header.decode_header(value)))
    except (ValueError, LookupError, email.errors.MessageError):
        return value


def _decoded(body: bytes, transfer: str, kind: str) -> str:
    transfer = transfer.lower().strip()
    stray = transfer != "base64" and _STRAY_SIGN.search(body) and _STRAY_QUOTED.search(body)
    if transfer == "quoted-printable" or stray:
        body = binascii.a2b_qp(body)
    elif transfer == "base64":
        try:
            body = binascii.a2b_base64(body)
        except binascii.Error:
            return ""
    if charset := _charset(kind):
        try:
            return body.decode(charset, "replace")
        except (LookupError, UnicodeError):  # unknown, or a codec that cannot replace errors
            pass
    return decode(body)


@lru_cache(maxsize=1024)
def _charset(kind: str) -> str:
    """Return the character set in a content type, or nothing if it is not reliable."""
    charset = _CHARSET.search(kind)
    # Text that is declared as ASCII or Latin-1 is as often Windows-1252 or UTF-8, so its content
    # decides.
    return "" if charset is None or _LATIN.match(charset[1]) else charset[1]


def _body_of_parts(data: bytes) -> str:
    pages = []
    for part in email.message_from_bytes(data).walk():
        kind = part.get_content_type()
        if part.is_multipart() or not kind.startswith("text/") or part.get_filename():
            continue
        payload = part.get_payload(decode=True)
        text = _decoded(payload, "", str(part.get("content-type", ""))) if isinstance(payload, bytes) else ""
        if kind == "text/plain" and text.strip():
            return text
        pages.append(_text_of_page(text) if kind == "text/html" else text)
    return next((page for page in pages if page.strip()), "")


_UNSEEN = re.compile(r"<(style|script|head)\b.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_BREAK = re.compile(r"<(?:br|/?p|/?div|/tr|/h\d|/li)\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[/!a-zA-Z][^>]*>")


def _text_of_page(page: str) -> str:
    page = re.sub(r"\s+", " ", _UNSEEN.sub(" ", page))
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", page)))
