"""The furniture of a web page that is left in its extracted text: words that belong to the page and
not to what it says.

They are advertisements' labels, buttons to share, forms to subscribe, labels of pictures and links
between the words. Whole lines go, or the label alone, so that a caption stays. `has_furniture`
looks for them in bytes, which takes half the time, because most pages have none.
"""

from __future__ import annotations

import re

# A pattern for the start of a line begins with the newline, because a search for one character is
# fast. A look-ahead then names the letters with which furniture begins, so that most lines fail at
# once.
_LINE_WORDS = r"""(?:
        advertisements?(?:[ ]-)?(?:[ ]continue[ ]reading(?:[ ]below|[ ]the[ ]main[ ]story))?
      | (?:article|story)[ ]continue[sd][ ]below(?:[ ]advertisement)?
      | like[ ]this:(?:[ ]like)?[ ]loading\.\.\.
      | please[ ]enable[ ]javascript[ ]to[ ](?:watch[ ]this[ ]video|view[ ]the[ ]comments[ ]powered[ ]by[ ]disqus\.)
      | read[ ]or[ ]share[ ]this[ ]story:[ ]https?://\S+
      | scroll[ ]to[ ]continue[ ]with[ ]content[ ]ad
    )"""

# Lines that consist of buttons: `Share on Twitter Tweet Share on Facebook Share`, or one below the
# other.
_NETWORK = (
    r"(?:facebook|twitter|reddit|linked-?in|pinterest|tumblr|whats-?app|telegram|flipboard|stumbleupon|digg|flattr"
    r"|google\+?|pocket|vk|viber)"
)
_BUTTON = (
    rf"(?:{_NETWORK}|share|tweet|pin|e-?mail|print|like|link|permalink|copy|save|post|comment|on|via|to|this|more"
    r"|article|story|page|x)"
)
# The first word is given with its capitals, because a search that ignores them takes three times
# as long.
_FIRST_BUTTON = (
    r"(?:[Ss]hare|SHARE|[Tt]weet|TWEET|[Tt]witter|[Ff]acebook|[Ll]inked[Ii]n|[Rr]eddit|[Pp]in(?:terest)?|Tumblr|Flattr|WhatsApp"
    r"|Telegram|E-?mail|Print|Like|Post)\b"
)
_BUTTON_WORDS = rf"{_FIRST_BUTTON}(?i:(?:[\s,|:&/-]+{_BUTTON}\b)*)[ \t\r:]*(?=\n|\Z)"
_SHARE = re.compile(r"\b(?:share|tweet)\b", re.IGNORECASE)
_NETWORKS = re.compile(_NETWORK, re.IGNORECASE)

# A form to subscribe, with all that it may say to its user.
_FORM_SIGN = "ubscrib"  # nearly all have it; to search for more words would take too long
_FORM_STATE = (
    r"\b(?:[Ii]nvalid [Ee]-?mail|[Tt]han(?:ks|k you) for (?:subscribing|signing up)|[Cc]ould not subscribe"
    r"|[Ee]nter a valid e-?mail|you['’]?re not a robot|[Bb]y signing up,? you agree)"
)
_FORM_WORD = re.compile(r"subscrib|sign[ -]?up|newsletter|inbox|e-?mail", re.IGNORECASE)
_LONGEST_FORM = 900
# Labels of pictures and films before a caption: `Image copyright Reuters Image caption A whale`.
_LABEL_SIGN = r"(?:Image c|Media c|Media playback)"
_LABEL = (
    r"\n[ \t]*(?:Image[ ]copyright[ ](?:[^\n]{1,60}?[ ](?=Image[ ]caption[ ])|[^\n]{1,60}(?=\n|\Z))"
    r"|Media[ ]playback[ ]is[ ](?:unsupported|not[ ]supported)[ ]on[ ](?:your|this)[ ]device[ \t]*)?"
    r"(?:(?:Image|Media)[ ]caption[ ])?"
)
# What a link shows when it is pointed at, between a name and the words after it: `Jane Roe Jane Ann
# RoeA headlineAnother headline MORE said`.
_MORE = " MORE"
_LINKED_NAME = r"\b([A-Z][\w'’-]+) (?:[A-Z(][\w.()'’-]* ){1,4}\1(?=[A-Z])[^\n]{5,700}? MORE\b"
_FOLLOW = " Blocked Unblock Follow Following"
_EDIT = re.compile(r"\[(?> edit \])(?=\n|\Z)")

_TEXT_LINE = re.compile(rf"\n[ \t]*+(?=[alprs]){_LINE_WORDS}[ \t\r]*(?=\n|\Z)", re.IGNORECASE | re.VERBOSE)
_TEXT_BUTTONS = re.compile(rf"\n[ \t]*+(?=[SsTtFfLlRrPpWE]){_BUTTON_WORDS}")
_TEXT_FORM = re.compile(_FORM_STATE)
_TEXT_LABEL, _TEXT_NAME = re.compile(_LABEL), re.compile(_LINKED_NAME)
# One search for whatever begins a line, since each takes as long.
_UTF8_LINE = re.compile(
    rf"\n[ \t]*+(?=[AaLlPpRrSsTtFfWEIM])(?:(?ix:{_LINE_WORDS})[ \t\r]*(?=\n|\Z)|{_BUTTON_WORDS}|{_LABEL_SIGN})".encode()
)
_UTF8_FORM = _FORM_SIGN.encode()
_START = 1000
"""Characters at the start of a page that show whether it has links in names. To search all of each
page would take too long."""
_UTF8_START_SIGNS = (_MORE.encode(), _FOLLOW.encode())


def has_furniture(utf8: bytes) -> bool:
    """Return whether a text in UTF-8 may have furniture; False is certain."""
    return (
        _UTF8_LINE.search(b"\n" + utf8) is not None
        or (b"[" in utf8 and b"[ edit ]" in utf8)  # a search for one byte takes a quarter of the time
        or _UTF8_FORM in utf8
        or any(map(utf8[: 2 * _START].__contains__, _UTF8_START_SIGNS))
    )


def without_furniture(text: str) -> str:
    """Return the text of a web page without its furniture; lines end in "\\n" or "\\r\\n"."""
    text = _TEXT_LINE.sub("", f"\n{text}")
    text = _TEXT_BUTTONS.sub(_unless_buttons, text)
    if _FORM_SIGN in text:
        text = _without_forms(text)
    if "\nImage " in text or "\nMedia " in text:
        text = _TEXT_LABEL.sub(_unless_caption, text)
    if _MORE in text[:_START]:
        text = "\n".join(_TEXT_NAME.sub(r"\1", line) if _MORE in line else line for line in text.split("\n"))
    if _FOLLOW in text[:_START]:
        text = text.replace(_FOLLOW, "")
    if "[ edit ]" in text:
        text = _EDIT.sub("", text)
    return text[1:]


def _unless_caption(label: re.Match[str]) -> str:
    """Return the newline before a label if a caption follows it, and before a blank line."""
    stays = len(label[0]) == 1 or label.string[label.end() : label.end() + 1] not in ("", "\n")
    return "\n" if stays else ""


def _unless_buttons(run: re.Match[str]) -> str:
    """Return nothing for a run of lines of buttons, else the lines."""
    shares, networks = len(_SHARE.findall(run[0])), len(_NETWORKS.findall(run[0]))
    return "" if shares or networks > 1 else run[0]


def _without_forms(text: str) -> str:
    """Remove the lines in which a form to subscribe speaks to its user."""
    return "\n".join(line for line in text.split("\n") if _FORM_SIGN not in line or not _is_form(line))


def _is_form(line: str) -> bool:
    state = _TEXT_FORM.search(line, 0, _LONGEST_FORM) if len(line) <= _LONGEST_FORM else None
    if state is None or line.lstrip()[:1] in "\"“‘'":
        return False
    return _FORM_WORD.search(line[: state.start()] + line[state.end() :]) is not None
