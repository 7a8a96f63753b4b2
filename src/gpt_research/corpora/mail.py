"""A mail: its headers, its decoded body, and of the body what the author wrote.

`parse` undoes MIME; `own_words` cuts replies, forwards, quotations and legal notices. Both take what they
get: no mail makes them raise. They know nothing of folders or corpora.
"""

from __future__ import annotations

import binascii
import email
import email.header
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from gpt_research.corpora.text import decode


@dataclass
class Mail:
    """Headers by their small-letter names, unfolded (the first where one repeats), and the body as text."""

    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


# --- MIME -------------------------------------------------------------------------------------------------

_HEAD_END = re.compile(rb"\r?\n[ \t]*\r?\n")
_HEADER = re.compile(r"^([A-Za-z][\w-]*):[ \t]*(.*(?:\n[ \t]+.*)*)", re.MULTILINE)
_FOLD = re.compile(r"\s*\n\s+")
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:+-]+)""", re.IGNORECASE)
_LATIN = re.compile(r"(?:us-)?ascii|ansi|iso-?8859-1\b|latin|utf-?8|windows-?1252|cp-?1252", re.IGNORECASE)
# Soft line ends and encoded blanks in a body that does not say that it is quoted-printable.
_STRAY_SIGNS = (b"=20\n", b"=20\r\n", b"=\n", b"=\r\n")
_STRAY_QUOTED = re.compile(rb"=20\r?\n|^[^\n]{60,76}=\r?\n(?=\S)", re.MULTILINE)


def parse(data: bytes) -> Mail:
    """Read headers and body of a message; multipart messages give their plain text, else their HTML's."""
    head_end = _HEAD_END.search(data)
    head = data[: head_end.start() if head_end else len(data)]
    headers = _headers(decode(head).replace("\r\n", "\n"))
    if not headers:
        return Mail({}, decode(data))
    kind = headers.get("content-type", "text/plain").lower()
    if not kind.startswith("text/plain"):
        return Mail(headers, _body_of_parts(data))
    body = data[head_end.end() :] if head_end else b""
    return Mail(headers, _decoded(body, headers.get("content-transfer-encoding", ""), kind))


def _headers(head: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in _HEADER.findall(head):
        headers.setdefault(name.lower(), _FOLD.sub(" ", value).strip())
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
    stray = transfer != "base64" and any(sign in body for sign in _STRAY_SIGNS) and _STRAY_QUOTED.search(body)
    if transfer == "quoted-printable" or stray:
        body = binascii.a2b_qp(body)
    elif transfer == "base64":
        try:
            body = binascii.a2b_base64(body)
        except binascii.Error:
            return ""
    charset = _CHARSET.search(kind)
    if charset and not _LATIN.match(charset[1]):
        try:
            return body.decode(charset[1], "replace")
        except LookupError:
            pass
    # What calls itself ASCII or Latin-1 is Windows-1252 or UTF-8 as often: its content tells.
    return decode(body)


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


# --- the author's own words -------------------------------------------------------------------------------

# Where the words of others begin, up to the end of the mail: words that tell, and then the pattern.
_QUOTATIONS = (
    (
        ("riginal", "RIGINAL", "orwarded", "ORWARDED", "nline attach", "eparator"),
        r"""[ \t>|]*(?:
            -{2,}[ \t]*(?:original[ ]+(?:message|appointment)|(?:begin[ ])?forwarded\b|inline[ ]attachment)
          | [-_]{5,}[- \t_]*(?:reply[ ]separator|forward[ ]header)
          | (?:begin[ ])?forwarded[ ]message:)""",
    ),
    (
        ("From:", "FROM:"),
        r"""[ \t>|]*(?:_{5,}[ \t]*\n+[ \t]*)?from:[ \t].*\n(?:.*\n){0,3}?[ \t>|]*(?:sent|date|to):[ \t]""",
    ),
    (
        ("X-Mozilla-Status", "Message-I[dD]:", "Received: from"),
        r"(?:X-Mozilla-Status2?|Message-Id|Received):[ ]",
    ),
    (
        ("wrote", "writes"),
        r"""[ \t]*(?:(?:on|at|in[ ]a[ ]message[ ]dated)[ ].{8,100}(?:\n.{0,80})?\b(?:wrote|writes):?[ \t]*$
          | .{2,90}\b(?:wrote|writes):[ \t]*\n\s*>)""",
    ),
)
_QUOTATION_PATTERNS = [
    (signs, re.compile(pattern, re.IGNORECASE | re.MULTILINE | re.VERBOSE)) for signs, pattern in _QUOTATIONS
]
# Lotus Notes puts sender, time and addressees of the quoted mail above it, without any mark.
_NOTES_ADDRESSEES = re.compile(
    r"^[ \t]*(?:To|TO):[ \t](?P<rest>.*(?:\n.*){0,150}?)\n[ \t]*(?:Subject|SUBJECT):", re.MULTILINE
)
_TIME = re.compile(r"\d{1,2}[/-]\d{1,2}[/-]\d{2,4},?\s+(?:at\s+)?\d{1,2}:\d\d")
_QUOTED_LINE = re.compile(r"^[ \t]{0,4}(?:>|\|>).*\n?", re.MULTILINE)
_LEGAL_NOTICE = re.compile(
    r"^[*_=-]{4,}[ \t]*\n+(?:.*\n){0,2}?.{0,80}\b(?:this|the|information)\b[^*_=]{0,120}?\b(?:e-?mail|message"
    r"|transmission|communication)\b[^*_=]{0,300}?(?:property|confidential|privileged|intended)"
    r"[^*_=]{0,3000}(?:[*_=-]{4,}|\Z)",
    re.IGNORECASE | re.MULTILINE,
)
_LEGAL_WORDS = ("privileged", "intended recipient", "property of", "PRIVILEGED", "intended for")
_ADVERTISEMENT = re.compile(
    r"^_{10,}\s*\n(?:do you yahoo|get (?:your|more)|join the world|chat with|send and receive|msn|download)"
    r"[^\n]*(?:\n[^\n]+){0,3}",
    re.IGNORECASE | re.MULTILINE,
)
_FILE_END = r"\.(?:doc|xls|ppt|pdf|zip|txt|html?|gif|jpe?g|vcf|rtf|pcx|bmp|wpd)[ \t]*$"
_FILE_NAME = re.compile(_FILE_END, re.IGNORECASE | re.MULTILINE)
_FILE_LINE = re.compile(rf"^[ \t]*- [^\n]{{1,80}}{_FILE_END}", re.IGNORECASE | re.MULTILINE)
# What stands for an attachment, and the words that tell.
_ATTACHMENTS = (
    ("<<", re.compile(r"<<[^<>\n]{1,120}>>")),
    ("ttached file", re.compile(r"\(See attached file: [^)]{1,150}\)", re.IGNORECASE)),
    ("[IMAGE]", re.compile(r"\[IMAGE\]")),
    ("<Embedded", re.compile(r"<Embedded Picture[^>\n]*>")),
    ("respond to", re.compile(r"^[ \t]*Please respond to \S+$", re.IGNORECASE | re.MULTILINE)),
)
_QUESTION_MARKS = re.compile(r"\?+")


def own_words(body: str) -> str:
    """Return what the author of a mail wrote, without replies, forwards, quoted lines and legal notices."""
    body = body.replace("\r\n", "\n")
    starts = [len(body)]
    starts += (_first_quotation(body, signs, pattern) for signs, pattern in _QUOTATION_PATTERNS)
    if "ubject:" in body or "SUBJECT:" in body:
        starts.append(_notes_quotation(body))
    body = body[: min(starts)]
    if ">" in body:
        body = _QUOTED_LINE.sub("", body)
    for sign, pattern in _ATTACHMENTS:
        if sign in body:
            body = pattern.sub("", body)
    if "- " in body and _FILE_NAME.search(body):
        body = _FILE_LINE.sub("", body)
    if any(words in body for words in _LEGAL_WORDS):
        body = _LEGAL_NOTICE.sub("", body)
    if "__________" in body:
        body = _ADVERTISEMENT.sub("", body)
    if "?" in body:
        body = _QUESTION_MARKS.sub(_question, body)
    body = "\n".join([line.rstrip() for line in body.split("\n")])
    if "\n\n\n" in body:
        body = re.sub(r"\n{3,}", "\n\n", body)
    return body.strip("\n")


def _first_quotation(body: str, signs: Sequence[str], pattern: re.Pattern[str]) -> int:
    """Where `pattern` first holds from the start of a line with one of the signs or the one before it."""
    present = [sign for sign in signs if sign in body]
    places = re.finditer("|".join(present), body) if present else ()
    for place in places:
        line = body.rfind("\n", 0, place.start()) + 1
        line_before = body.rfind("\n", 0, max(0, line - 1)) + 1
        for start in (line_before, line):
            if pattern.match(body, start):
                return start
    return len(body)


def _question(marks: re.Match[str]) -> str:
    """A question mark, or nothing where a 7-bit gateway made it of a no-break space.

    `last Friday.? Greg`, `??Bush has`, `From:??Mark`, a line with one alone.
    """
    before = marks.string[marks.start() - 1 : marks.start()]
    after = marks.string[marks.end() : marks.end() + 1]
    if before in ("", "\n") and (not after or after.isalnum() or after in "\n \t\"'("):
        return ""
    if before and before in ".,;:":
        return " " if after.isalnum() else ""
    return marks[0]


def _notes_quotation(body: str) -> int:
    """Where a mail quoted by Lotus Notes begins, or the end of the body."""
    for match in _NOTES_ADDRESSEES.finditer(body):
        lines = body[: match.start()].split("\n")[:-1]
        last = len(lines)
        for index in range(last - 1, max(-1, last - 7), -1):
            if _TIME.search(lines[index]):
                return _start_of_sender(lines, index)
            if len(lines[index]) > 90:
                break
        if re.search(r"^[ \t]*(?:cc|CC|Cc):", match["rest"], re.MULTILINE):
            return match.start()
    return len(body)


def _start_of_sender(lines: list[str], index: int) -> int:
    """Where the sender above or before the time in line `index` begins."""
    before_time = _TIME.split(lines[index])[0].strip()
    # The sender stands in the line before, or begins there where his address was too long for one line.
    in_line_before = before_time.lower() in ("", "on", "at") or before_time.startswith("<")
    if in_line_before and index and lines[index - 1].strip():
        index -= 1
    return sum(len(line) + 1 for line in lines[:index])
