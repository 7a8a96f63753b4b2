"""The part of a mail's body that its author wrote.

`own_words` removes forwards, quotations, signatures and notices. A quotation that is marked line by
line (`>`) ends where its marks end, so answers between and below quoted lines stay. A mail that is
quoted as a whole has a head (a rule, header fields, or a letterhead of Lotus Notes) and reaches to
the end of the body. No body makes the rules fail. They know nothing about MIME or corpora.

A pattern that begins with one character is searched for at the speed of a search for that
character. So patterns for the start of a line begin with the newline before it, and a newline is
put before the first line of a body.
"""

from __future__ import annotations

import re

from gpt_research.preprocessing.formats.mail import unix_lines
from gpt_research.preprocessing.text.damage import BLANK_LINES

_RULE = re.compile(r"\n[*_=-]{4,}+[^\S\n]*+\n")
# Insertions of mail programs: (a sign that is searched first, the insertion) within a line, and
# those on a line of their own.
_MARKS = (
    ("<", re.compile(r"<(?:<[^<>]{1,120}>>|Embedded Picture[^>\n]*>)")),
    ("(", re.compile(r"\(See\s+attached\s+file:\s[^)]{1,150}\)", re.IGNORECASE)),
    ("[IMAGE]", re.compile(r"\[IMAGE\]")),
)
_LINE = re.compile(
    r"""\n[ \t]*+(?:Please[ ]respond[ ]to[ ]\S+
      | -[ ][^\n]{1,80}\.(?:doc|xls|ppt|pps|pdf|zip|txt|csv|html?|gif|jpe?g|png|tiff?|bmp|pcx|vcf|rtf|wpd|wav|mp3|mpe?g
          |avi|eml|msg|dat|exe|mdb|vsd|mpp)[ \t]*)$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
# A 7-bit gateway made question marks of no-break spaces: `last Friday.? Greg`, `??Bush has`,
# `From:??Mark`.
_QUESTION_MARKS = re.compile(r"\?(?<=[.,;:\n]\?)\?*")
_BLANK_BEFORE_END = re.compile(r"\n(?<=[^\S\n]\n)")


def own_words(body: str) -> str:
    """Return the author's own words, without what others wrote, signatures and notices."""
    body = "\n" + unix_lines(body)
    quotation = _whole_quotation(body)
    if ">" in body and _ANY_MARK.search(body, 0, _end_of_head(body, quotation) if quotation else len(body)):
        body = _without_marked_lines(_before_groupwise_reply(body))
        quotation = _whole_quotation(body)
    body = _before_quotations(body, quotation)
    for sign, pattern in _MARKS:
        if sign in body:
            body = pattern.sub("", body)
    body = _LINE.sub("\n", body)
    if _RULE.search(body):
        body = _without_notices(body)
    body = _QUESTION_MARKS.sub(_question, body)
    if _BLANK_BEFORE_END.search(body):
        body = "\n".join(map(str.rstrip, body.split("\n")))
    body = BLANK_LINES.sub("\n\n", body).rstrip().lstrip("\n")
    return _without_signature(_without_closing_notice(body))


def _question(marks: re.Match[str]) -> str:
    """Return the question marks, or a space or nothing if they stand for no-break spaces."""
    before, after = marks.string[marks.start() - 1], marks.string[marks.end() : marks.end() + 1]
    if before == "\n":
        return "" if not after or after.isalnum() or after in "\n \t\"'(" else marks[0]
    return " " if after.isalnum() else ""


# --- quotations that are marked line by line ------------------------------------------------------

_ANY_MARK = re.compile(r"\n[ \t]{0,4}+(?:>|\|>|[A-Z]{2,3}> )")
_MARK = re.compile(r"[ \t]{0,4}(?:(?P<depth>>(?:[ ]?>)*)|\|>|[A-Z]{2,3}> )")
_ESCAPED_FROM = re.compile(r">+From ")  # an mbox file protects lines that begin as its messages do
_SENTENCE_END = re.compile(r"""[.!?:;,…]['")\]]*\s*\Z""")
_FULL_LINE = 64
"""Characters of a quoted line, at the least, that a mail program broke because it was too long."""

# `On Monday, May 14, 2001, John Doe wrote:`, also over two or three lines and in other languages.
_WRITER = re.compile(
    r"""\b(?:wrote|writes|written[ ]by|said|schrieb|schreibt|écrit|escribió|escreveu|ha[ ]scritto|schreef|skrev|napisał
      |kirjoitti|пишет|писал|написал)\b | \S@\S | \b\d{1,2}:\d\d\b""",
    re.IGNORECASE | re.VERBOSE,
)
_WRITER_ALONE = re.compile(r"\s*(?:\S+\s+)?(?:wrote|writes)\s*:\s*\Z|\s*[<(\[]\S+@\S+", re.IGNORECASE)
_WORDS_OF_NAME = 7
"""Words in a line such as `John Doe <doe@example.com> wrote:`, at the most."""
_OPENING = re.compile(r"\s*(?:On|At|In|Am|Den|Le|El|Il|Em|Op|Dnia|W dniu|Quoting|Thus spake|\*+|-+|\d{1,4}[-./]\d)")
_FIELD = re.compile(
    r"[ \t|]*(?:from|to|cc|bcc|sent|sent[ ]by|date|subject|importance|priority|sensitivity|attachments?|reply-to|sender"
    r"|organi[sz]ation|return-path|received|delivered-to|full-name|message-id|in-reply-to|references|mime-version"
    r"|user-agent|status|resent-[a-z]+|content-[a-z-]+|x-[a-z-]+)[ \t]*:",
    re.IGNORECASE,
)
_REPLY_RULE = re.compile(r"[ \t]*-{2,}[ \t]*original (?:message|appointment)\b", re.IGNORECASE)


def _without_marked_lines(body: str) -> str:
    """Remove quoted lines, the rests of those that were broken, and what introduces them."""
    lines = body.split("\n")
    marks = [_MARK.match(line) for line in lines]
    if min((len((mark["depth"] or ">").replace(" ", "")) for mark in marks if mark), default=0) > 1:
        # A reply quotes its mail with one mark. If there are only lines with two or three of them,
        # they adorn headings.
        return body
    kept: list[str] = []
    broken = False  # the line before is quoted and was too long for one line
    inside = False  # the line before is quoted, or is such a rest
    for number, (line, mark) in enumerate(zip(lines, marks, strict=True)):
        if mark and not inside and _ESCAPED_FROM.match(line):
            following = lines[number + 1] if number + 1 < len(lines) else ""
            mark = None if not _MARK.match(following) else mark
            line = line if mark else line.lstrip(">")
        if mark and not inside:
            _remove_introduction(kept)
            kept.append("")  # the answers above and below are paragraphs of their own
        inside = bool(mark) or (broken and bool(line.strip()))
        broken = inside and len(line) >= _FULL_LINE and not _SENTENCE_END.search(line)
        if not inside:
            kept.append(line)
    return "\n".join(kept)


def _remove_introduction(lines: list[str]) -> None:
    """Remove the lines at the end that say who wrote the quoted lines that follow."""
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    begin = end
    while begin and end - begin < 20 and lines[begin - 1].strip():
        begin -= 1
    paragraph = lines[begin:end]
    if (start := _start_of_attribution(paragraph)) is None:
        start = _start_of_fields(paragraph)
    if start is not None:
        del lines[begin + start :]


def _start_of_attribution(paragraph: list[str]) -> int | None:
    """Return the index of the line with which `On ..., John Doe wrote:` begins, if it is there."""
    last = len(paragraph) - 1
    if last < 0 or not paragraph[last].rstrip().endswith(":"):
        return None
    if not _WRITER.search(" ".join(paragraph[max(0, last - 2) :])):
        return None
    for line in range(last, max(-1, last - 3), -1):
        if _OPENING.match(paragraph[line]):
            return line
    if len(paragraph[last].split()) > _WORDS_OF_NAME:
        return None  # a sentence of the author's own
    return last - 1 if last and _WRITER_ALONE.match(paragraph[last]) else last


def _start_of_fields(paragraph: list[str]) -> int | None:
    """Return the index of the line with which a quoted mail's header fields begin, if they end the
    paragraph."""
    fields = [number for number, line in enumerate(paragraph) if _FIELD.match(line)]
    if len(fields) < 2 or not any("from" in paragraph[number].lower() for number in fields):
        return None
    start = fields[0]
    return start - 1 if start and _REPLY_RULE.match(paragraph[start - 1]) else start


# `>>> "John Doe" <doe@example.com> 11/07/00 10:08PM >>>`, which Novell's GroupWise puts above the
# mail that is answered, without a mark in its lines.
_GROUPWISE = re.compile(r"\n[ \t]*>>> [^\n>][^\n]{1,120}\n?[^\n]{0,60}\d{1,2}:\d\d[^\n]{0,20}>>>[ \t]*(?=\n|\Z)")


def _before_groupwise_reply(body: str) -> str:
    reply = _GROUPWISE.search(body) if ">>> " in body else None
    return body[: reply.start()] if reply else body


# --- mails that are quoted as a whole -------------------------------------------------------------

# The words of others begin here and reach to the end of the mail.
_QUOTATION = re.compile(
    r"""\n[ \t|]*+(?-i:(?=[-_bcfmrxBCFMRX]))(?:
        -{2,}+[ \t]*+(?:original[ ]+(?:message|appointment)|(?:begin[ ])?forwarded\b|inline[ ]attachment)
      | [-_]{5}[-_ \t]*+(?:reply[ ]separator|forward[ ]header)
      | (?:begin[ ])?forwarded[ ]message:
      | (?:_{5,}+[ \t]*+\n+[ \t]*+)?(?P<sender>(?-i:From|FROM):[ \t].+)\n(?:.*+\n){0,3}?[ \t|]*+(?:sent|date|to):[ \t]
      | (?:X-Mozilla-Status2?:|Message-Id:|Received:[ ]from|Content-Transfer-Encoding:)[ ]
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_WORD = re.compile(r"\S")
_WROTE_SIGN = re.compile("wr(?:ote|ites)")
_WROTE = re.compile(
    r"\n[ \t]*(?:on|at|in[ ]a[ ]message[ ]dated)[ ].{8,100}(?:\n.{0,80})?\b(?:wrote|writes):?[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_MEMO = re.compile(r"\n[ \t]*(?:To|TO):.*(?:\n[ \t]*\S.*){0,4}\s*\Z")

# Lotus Notes puts sender, time and addressees above a quoted mail, without any mark: one below the
# other, in two columns, or in one line.
_ADDRESSEES = re.compile(r"T[oO]:(?<=\s...)[ \t]")
_NOTES_SUBJECT = re.compile(r"[ \t\n](?:Subject|SUBJECT):")
_SENDER = re.compile(r"[ \t]*(?:\S.{0,60}[ \t]{3})?\Z")
_TIME = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4},?\s+(?:at\s+)?\d{1,2}:\d\d")
_COPY = re.compile(r"[ \t\n](?:cc|CC|Cc):")
_FROM = re.compile(r"\n[ \t]*(?:From|FROM):")
_INDENTATIONS = ("\t", "   ")  # of a letterhead
_MOST_ADDRESSEES, _HEAD_LINES, _LETTERHEAD_LINES = 12_000, 5, 16


def _whole_quotation(body: str) -> re.Match[str] | None:
    """Return the first sign of a mail that is quoted as a whole."""
    return next((match for match in _QUOTATION.finditer(body) if not _is_memo(body, match)), None)


def _end_of_head(body: str, quotation: re.Match[str]) -> int:
    """Return the end of the first line below a head that begins with `quotation`."""
    head_end = body.find("\n\n", quotation.end())
    words = _WORD.search(body, head_end) if head_end >= 0 else None
    line_end = body.find("\n", words.start()) if words else -1
    return line_end if line_end >= 0 else len(body)


def _before_quotations(body: str, quotation: re.Match[str] | None) -> str:
    """Return the text above the first mail that is quoted as a whole."""
    end = len(body)
    if quotation:
        # Above fields may be others, or a letterhead; above a rule are the author's words.
        ruled = quotation[0].lstrip("\n \t|").startswith(("-", "_"))
        end = quotation.start() if ruled else _start_of_head(body, quotation.start())
    for sign in _WROTE_SIGN.finditer(body, 0, end):
        line = body.rfind("\n", 0, sign.start())
        line_before = max(0, body.rfind("\n", 0, line))
        if wrote := _WROTE.match(body, line_before) or _WROTE.match(body, line):
            end = wrote.start()
            break
    body = body[:end]
    return body[: _notes_quotation(body)] if "ubject:" in body or "SUBJECT:" in body else body


def _is_memo(body: str, quotation: re.Match[str]) -> bool:
    """Return whether `From:` is in the head of a memorandum of the author's own, below `To:`."""
    sender = quotation["sender"]
    if sender is None or "@" in sender or "<" in sender:
        return False
    start = quotation.start("sender")
    return _MEMO.search(body, max(0, start - 400), start) is not None


def _notes_quotation(body: str) -> int:
    """Return the beginning of a mail that Lotus Notes quotes, or the end of the body."""
    for addressees in _ADDRESSEES.finditer(body):
        line = body.rfind("\n", 0, addressees.start())
        before = body[line + 1 : addressees.start()]
        time = _TIME.search(before)
        if not (time or _SENDER.match(before)):
            continue
        subject = _NOTES_SUBJECT.search(body, addressees.end(), addressees.end() + _MOST_ADDRESSEES)
        if subject is None:
            continue
        if time:
            return _start_of_head(body, _start_of_sender(body, line, before[: time.start()].strip()))
        rest = body[addressees.end() : subject.start() + 1]
        if before.strip():  # the left column has the sender, and below it the time
            if _COPY.search(rest):
                return _start_of_head(body, _start_of_sender(body, line, before.strip()))
            continue
        begin, nearest = line, 0
        for _ in range(_LETTERHEAD_LINES):  # look upwards from the line before the addressees
            end, begin = begin, body.rfind("\n", 0, begin)
            if begin < 0:
                break
            text = body[begin + 1 : end]
            if time := _TIME.search(text):
                return _start_of_head(body, _start_of_sender(body, begin, text[: time.start()].strip()))
            nearest += bool(text.strip()) and not text[0].isspace()
            if len(text) > 90 or nearest > _HEAD_LINES:
                break
        if _COPY.search(rest) and not _FROM.search(rest):
            return _start_of_head(body, line)
    return len(body)


def _start_of_sender(body: str, line: int, before_time: str) -> int:
    """Return the beginning of the sender of a quoted mail; `line` begins the line of its time."""
    # The sender is in the line before, or begins there if the address was too long for one line.
    line_before = body.rfind("\n", 0, line) if line else -1
    in_line_before = before_time.lower() in ("", "on", "at") or before_time.startswith(("<", "@"))
    return line_before if in_line_before and line_before >= 0 and body[line_before:line].strip() else line


def _start_of_head(body: str, line: int) -> int:
    """Return the beginning of the head of a quoted mail, one of whose lines begins at `line`.

    Above the line may be other header fields, or the indented lines of a letterhead with blank
    lines between them: the company, the sender, `Sent by: John Doe`.
    """
    indented = body.startswith(_INDENTATIONS, line + 1)
    position = line
    for _ in range(_LETTERHEAD_LINES):
        before = body.rfind("\n", 0, position) if position else -1
        text = body[before + 1 : position] if before >= 0 else ""
        if not text.strip():
            if before < 0 or not (text or indented):
                break
        elif _FIELD.match(text) or (indented and text.startswith(_INDENTATIONS) and len(text) <= 80):
            line = before
        else:
            break
        position = before
    return line


# --- notices and signatures -----------------------------------------------------------------------

_LEGAL_NOTICE = re.compile(
    r"\n[*_=-]{4,}[ \t]*\n+(?:.*\n){0,2}?.{0,80}\b(?:this|the|information)\b[^*_=]{0,120}?\b(?:e-?mail|message"
    r"|transmission|communication)\b[^*_=]{0,300}?(?:property|confidential|privileged|intended)"
    r"[^*_=]{0,3000}(?:[*_=-]{4,}|\Z)",
    re.IGNORECASE,
)
_LEGAL_WORDS = ("privileged", "intended recipient", "property of", "PRIVILEGED", "intended for")
# A legal notice as the last paragraph, without rules around it.
_CLOSING_NOTICE = re.compile(
    r"\n\n\W*(?:(?:confidential(?:ity)?|legal|important|disclaimer|privileged)\b(?: \w+){0,3}\W+)?"
    r"(?:this|the information (?:contained )?in this) (?:electronic )?(?:e-?mail|message|communication|transmission)\b"
    r"(?=(?:.+\n)*?.*(?:intended recipient|in error|sole(?:ly)? for)\b)(?:.+\n?)++\Z",
    re.IGNORECASE,
)
_ADVERTISEMENT = re.compile(
    r"\n_{10,}\s*\n(?:do you yahoo|get (?:your|more)|join the world|chat with|send and receive|msn|download)"
    r"[^\n]*(?:\n[^\n]+){0,3}",
    re.IGNORECASE,
)
# What a signature says of how to reach its writer, one line each: `Fax: (713) 555-0102`.
_LABEL = (
    r"(?:tel(?:ephone)?|phone(?:[ ]no)?|ph|fax|facsimile|fx|cell(?:ular)?|mobile|pager|office|direct(?:[ ]line)?|voice"
    r"|work|home|main|e-?mail|web(?:[ ]?site)?|url|internet(?:[ ]site)?|[tfompcwe])\b"
)
_REACH = r"(?:\S+@\S+\.\w+|(?:https?://|www\.)\S+|\+?[\d(][\d ().\-/x]{5,24}\d)"
_CONTACT = re.compile(rf"\W*(?:{_LABEL}[^\w(+]*)?{_REACH}\W*(?:{_LABEL}\W*)?\Z", re.IGNORECASE)
_REACHABLE = re.compile(_REACH)
# The last lines below a rule, and those between two rules.
_BELOW_RULE = re.compile(
    r"\n(?P<rule>--|[*_=-]{10,})\n(?P<words>(?:.{0,80}\n){0,11}?.{0,80}?)(?P<end>(?:\n[*_=-]{10,})?)\Z"
)
_RULES = ("\n--", "\n__", "\n==", "\n**")
# `Sent from my iPhone`
_DEVICE = re.compile(r"\n*(?:\n[_-]{4,})?\n+Sent (?:from|via|by|using) (?:my|an?|the) .{2,80}\Z")
_SUBSCRIPTION = re.compile(r"\b(?:unsubscribe|mailing list|list(?:info|serv)|your subscription)\b", re.IGNORECASE)


def _without_notices(body: str) -> str:
    """Remove legal notices and advertisements between rules."""
    if any(words in body for words in _LEGAL_WORDS):
        body = _LEGAL_NOTICE.sub("\n", body)
    return _ADVERTISEMENT.sub("\n", body) if "\n__________" in body else body


def _without_closing_notice(body: str) -> str:
    while (last := body.rfind("\n\n")) >= 0 and _CLOSING_NOTICE.match(body, last):
        body = body[:last].rstrip()
    return body


def _without_signature(body: str) -> str:
    """Remove what a signature at the end says below its rule, and telephone numbers and addresses
    below the writer's name."""
    if body.find("\nSent ", max(0, len(body) - 100)) >= 0:
        body = _DEVICE.sub("", body)
    tail = max(0, len(body) - 1100)
    below = _BELOW_RULE.search(body, tail) if any(body.find(rule, tail) > 0 for rule in _RULES) else None
    if below and below.start() > 0:
        words = below["words"]
        if below["rule"] == "--" or _SUBSCRIPTION.search(words) or (below["end"] and _REACHABLE.search(words)):
            return body[: below.start()].rstrip()
    if not _CONTACT.match(body, body.rfind("\n") + 1):
        return body
    lines = body.split("\n")
    end = len(lines)
    while end and _CONTACT.match(lines[end - 1]):
        end -= 1
    begin = end
    while begin and lines[begin - 1].strip():
        begin -= 1
    above = "\n".join(lines[:begin]).rstrip()
    named = 0 < end - begin <= 5 and max(map(len, lines[begin:end])) <= 60
    introduced = above.endswith((":", ",")) or any(line.rstrip().endswith(":") for line in lines[begin:end])
    return "\n".join(lines[:end]) if above and named and not introduced and len(lines) - end > 1 else body
