"""A mail: its headers, its decoded body, and the part of the body that the author wrote.

`parse` decodes MIME. `own_words` removes replies, forwards, quotations and legal notices. No mail
makes either of them raise. They know nothing about folders or corpora.
"""

from __future__ import annotations

import binascii
import email
import email.header
import html
import re
from dataclasses import dataclass, field
from functools import lru_cache

from gpt_research.preprocessing.text.damage import BLANK_LINES
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
    headers = _headers(_unix_lines(decode(head)))
    if not headers:
        return Mail({}, decode(data))
    kind = headers.get("content-type", "text/plain").lower()
    if not kind.startswith("text/plain"):
        return Mail(headers, _body_of_parts(data))
    body = data[head_end.end() :] if head_end else b""
    return Mail(headers, _decoded(body, headers.get("content-transfer-encoding", ""), kind))


def _unix_lines(text: str) -> str:
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


# --- the author's own words -----------------------------------------------------------------------

# A pattern that begins with one character is searched for at the speed of a search for that
# character. So patterns for the start of a line begin with the newline before it, and a newline is
# put before the first line of a body.

# The words of others begin here and reach to the end of the mail.
_QUOTATION = re.compile(
    r"""\n[ \t>|]*+(?=[-_bfmrx])(?:
        -{2,}+[ \t]*+(?:original[ ]+(?:message|appointment)|(?:begin[ ])?forwarded\b|inline[ ]attachment)
      | [-_]{5}[-_ \t]*+(?:reply[ ]separator|forward[ ]header)
      | (?:begin[ ])?forwarded[ ]message:
      | (?:_{5,}+[ \t]*+\n+[ \t]*+)?(?-i:From|FROM):[ \t].*+\n(?:.*+\n){0,3}?[ \t>|]*+(?:sent|date|to):[ \t]
      | (?:X-Mozilla-Status2?:|Message-Id:|Received:[ ]from)[ ]
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_WROTE_SIGN = re.compile("wr(?:ote|ites)")
_WROTE = re.compile(
    r"""\n[ \t]*(?:(?:on|at|in[ ]a[ ]message[ ]dated)[ ].{8,100}(?:\n.{0,80})?\b(?:wrote|writes):?[ \t]*$
      | .{2,90}\b(?:wrote|writes):[ \t]*\n\s*>)""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
# Lotus Notes puts sender, time and addressees above a quoted mail, without any mark.
_NOTES_ADDRESSEES = re.compile(r"\n[ \t]*(?:To|TO):[ \t](?P<rest>.*(?:\n.*){0,150}?)\n[ \t]*(?:Subject|SUBJECT):")
_TIME = re.compile(r"\d{1,2}[/-]\d{1,2}[/-]\d{2,4},?\s+(?:at\s+)?\d{1,2}:\d\d")
_COPY = re.compile(r"\n[ \t]*(?:cc|CC|Cc):")
_QUOTED_LINE = re.compile(r"\n[ \t]{0,4}(?:>|\|>).*")
_RULE = re.compile(r"\n[*_=-]{4,}+[^\S\n]*+\n")
_LEGAL_NOTICE = re.compile(
    r"\n[*_=-]{4,}[ \t]*\n+(?:.*\n){0,2}?.{0,80}\b(?:this|the|information)\b[^*_=]{0,120}?\b(?:e-?mail|message"
    r"|transmission|communication)\b[^*_=]{0,300}?(?:property|confidential|privileged|intended)"
    r"[^*_=]{0,3000}(?:[*_=-]{4,}|\Z)",
    re.IGNORECASE,
)
_LEGAL_WORDS = ("privileged", "intended recipient", "property of", "PRIVILEGED", "intended for")
# A legal notice as the last paragraph, without rules around it.
_CLOSING_NOTICE = re.compile(
    r"\n\n[ \t]*(?:this|the information (?:contained )?in this) (?:electronic )?(?:e-?mail|message|communication)\b"
    r"(?=(?:.+\n)*?.*(?:intended recipient|in error|sole(?:ly)? for)\b)(?:.+\n?)++\Z",
    re.IGNORECASE,
)
_ADVERTISEMENT = re.compile(
    r"\n_{10,}\s*\n(?:do you yahoo|get (?:your|more)|join the world|chat with|send and receive|msn|download)"
    r"[^\n]*(?:\n[^\n]+){0,3}",
    re.IGNORECASE,
)
# Insertions of mail programs: (a sign that is searched first, the insertion) within a line, and
# those on a line of their own.
_MARKS = (
    ("<", re.compile(r"<(?:<[^<>\n]{1,120}>>|Embedded Picture[^>\n]*>)")),
    ("(", re.compile(r"\(See attached file: [^)]{1,150}\)", re.IGNORECASE)),
    ("[IMAGE]", re.compile(r"\[IMAGE\]")),
)
_LINE = re.compile(
    r"""\n[ \t]*+(?:Please[ ]respond[ ]to[ ]\S+
      | -[ ][^\n]{1,80}\.(?:doc|xls|ppt|pdf|zip|txt|html?|gif|jpe?g|vcf|rtf|pcx|bmp|wpd)[ \t]*)$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
# A 7-bit gateway made question marks of no-break spaces: `last Friday.? Greg`, `??Bush has`,
# `From:??Mark`.
_QUESTION_MARKS = re.compile(r"\?(?<=[.,;:\n]\?)\?*")
_BLANK_BEFORE_END = re.compile(r"\n(?<=[^\S\n]\n)")


def own_words(body: str) -> str:
    """Return the author's own words, without replies, forwards, quoted lines and legal notices."""
    body = _before_quotations("\n" + _unix_lines(body))
    if ">" in body:
        body = _QUOTED_LINE.sub("", body)
    for sign, pattern in _MARKS:
        if sign in body:
            body = pattern.sub("", body)
    body = _LINE.sub("\n", body)
    if _RULE.search(body):
        if any(words in body for words in _LEGAL_WORDS):
            body = _LEGAL_NOTICE.sub("\n", body)
        if "\n__________" in body:
            body = _ADVERTISEMENT.sub("\n", body)
    body = _QUESTION_MARKS.sub(_question, body)
    if _BLANK_BEFORE_END.search(body):
        body = "\n".join(map(str.rstrip, body.split("\n")))
    body = BLANK_LINES.sub("\n\n", body).rstrip().lstrip("\n")
    last = body.rfind("\n\n")
    return body[:last] if last >= 0 and _CLOSING_NOTICE.match(body, last) else body


def _before_quotations(body: str) -> str:
    """Return the text above the first mail that is quoted as a whole."""
    quotation = _QUOTATION.search(body)
    end = quotation.start() if quotation else len(body)
    for sign in _WROTE_SIGN.finditer(body, 0, end):
        line = body.rfind("\n", 0, sign.start())
        line_before = max(0, body.rfind("\n", 0, line))
        if wrote := _WROTE.match(body, line_before) or _WROTE.match(body, line):
            end = wrote.start()
            break
    body = body[:end]
    return body[: _notes_quotation(body)] if "ubject:" in body or "SUBJECT:" in body else body


def _question(marks: re.Match[str]) -> str:
    """Return the question marks, or a space or nothing if they stand for no-break spaces."""
    before, after = marks.string[marks.start() - 1], marks.string[marks.end() : marks.end() + 1]
    if before == "\n":
        return "" if not after or after.isalnum() or after in "\n \t\"'(" else marks[0]
    return " " if after.isalnum() else ""


def _notes_quotation(body: str) -> int:
    """Return the beginning of a mail that Lotus Notes quotes, or the end of the body."""
    for match in _NOTES_ADDRESSEES.finditer(body):
        begin = match.start()
        for _ in range(6):  # look upwards from the line before the addressees
            end, begin = begin, body.rfind("\n", 0, begin)
            if begin < 0:
                break
            line = body[begin + 1 : end]
            if time := _TIME.search(line):
                return _start_of_sender(body, begin, line[: time.start()].strip())
            if len(line) > 90:
                break
        if _COPY.search(match["rest"]):
            return match.start()
    return len(body)


def _start_of_sender(body: str, line: int, before_time: str) -> int:
    """Return the beginning of the sender of a quoted mail; `line` begins the line of its time."""
    # The sender is in the line before, or begins there if the address was too long for one line.
    line_before = body.rfind("\n", 0, line) if line else -1
    in_line_before = before_time.lower() in ("", "on", "at") or before_time.startswith("<")
    return line_before if in_line_before and line_before >= 0 and body[line_before:line].strip() else line
