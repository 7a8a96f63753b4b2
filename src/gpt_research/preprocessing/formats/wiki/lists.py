"""Templates of Wikipedia that show more than a line: lists, glossaries, casts, episodes, tracks,
quotations.

Each shows wikitext again: the lines of a list begin with `*`.
"""

from __future__ import annotations

import re

from gpt_research.preprocessing.formats.wiki.arguments import Arguments, Renderer


def _lines(*lines: str) -> str:
    """Put lines on lines of their own, without the empty ones."""
    shown = "".join(f"\n{line}" for line in lines if line)
    return f"{shown}\n" if shown else ""


def items(given: Arguments) -> str:
    """Show a list of the arguments."""
    return _lines(*(f"* {argument}" for argument in given.words))


_WIDTH = re.compile(r"[\d.]+ *(?:px|em|en|ex|rem|ch|%)?")


def block(given: Arguments) -> str:
    """Show a text or a list in its own markup, which may come after a number of columns."""
    named = (given.value(name) for name in ("content", "text", "list", "cast", "entries", "items"))
    return _lines(*named, *(word for word in given.words if not _WIDTH.fullmatch(word)))


def part(*names: str) -> Renderer:
    """Return what shows the first of these named arguments as a block, or else the longest
    argument."""
    return lambda given: f"\n{given.value(*names)}\n" if given.value(*names) else block(given)


def numbered_parts(pattern: str) -> Renderer:
    """Return what shows all named arguments whose name matches a pattern, each as a block."""
    names = re.compile(pattern)
    return lambda given: _lines(*(value for name, value in given.named.items() if names.fullmatch(name)))


def joined(given: Arguments) -> str:
    """Show `{{comma separated entries|a|b}}` as "a, b"."""
    return ", ".join(given.words)


def enumerated(word: str) -> Renderer:
    """Return what shows `{{enum|a|b|c}}` as "a, b, and c"."""

    def show(given: Arguments) -> str:
        *words, last = given.words or [""]
        if len(words) < 2:
            return f" {word} ".join([*words, last])
        return f"{', '.join(words)}, {word} {last}"

    return show


def pairs(given: Arguments) -> str:
    """Show `{{species list|Felis catus|Linnaeus, 1758|...}}`, a list of a name and its author."""
    places = given.places
    return _lines(
        *(f"* {name} {author}".rstrip() for name, author in zip(places[::2], [*places[1::2], ""], strict=False))
    )


# --- glossaries -----------------------------------------------------------------------------------


def term(given: Arguments) -> str:
    """Show the term of a glossary; its look may differ from its name."""
    return _lines(f";{given.value('content', 'multi', 'term') or given.at(1) or given.first}")


def definition(given: Arguments) -> str:
    """Show the definition of a term, with its number if it has one."""
    number = given.value("no", "num")
    text = given.first or given.value("defn", "def", "term")
    return _lines(f":{number and f'{number}. '}{text}")


def definitions(given: Arguments) -> str:
    """Show `{{defn list|term 1=..|defn 1=..}}`, or terms and definitions that take turns."""
    named = [value for name, value in given.named.items() if re.fullmatch(r"(?:t|d|term|defn?)[ _]?\d+", name)]
    return _lines(*(f":{value}" for value in named or given.words))


# --- episodes, volumes, tracks --------------------------------------------------------------------

_SUMMARIES = re.compile(r"(?:short)?summary(?:_?\d+)?")
_TITLES = ("title", "englishtitle", "rtitle", "episodename", "licensedtitle", "originaltitle")
_OTHER_TITLES = ("alttitle", "ralttitle", "translittitle", "romajititle", "nativetitle", "kanjititle")


def episode(given: Arguments) -> str:
    """Show the title of an episode as an item of a list, and its summary as a paragraph."""
    others = [value for name in _OTHER_TITLES if (value := given.value(name))]
    title = given.value(*_TITLES) or (others.pop(0) if others else "")
    aside = f" ({', '.join(others)})" if others else ""
    summaries = [value for name, value in given.named.items() if _SUMMARIES.fullmatch(name)]
    return _lines(f"* {title}{aside}" if title else "", *summaries)


def volume(given: Arguments) -> str:
    """Show a volume of a graphic novel: its title, the list of its chapters, its summary."""
    number, title = given.value("volumenumber"), given.value("title", "licensedtitle", "originaltitle")
    head = f"{number and f'Volume {number}'}{number and title and ': '}{title}"
    chapters = (value for name, value in given.named.items() if name.startswith("chapterlist"))
    return _lines(f"* {head}" if head else "", *chapters, given.value("summary"))


def tracks(given: Arguments) -> str:
    """Show the songs of `{{track listing|title1=..|note1=..|length1=..}}` as a list."""
    named = given.named
    shown = []
    for number in sorted((name[5:] for name in named if re.fullmatch(r"title\d{1,3}", name)), key=int):
        note, length = named.get(f"note{number}", ""), named.get(f"length{number}", "")
        song = f"* {named[f'title{number}']}{note and f' ({note})'}"
        shown.append(f"{song} – {length}" if length else song)
    return _lines(*shown)


def event(given: Arguments) -> str:
    """Show `{{timeline-event|date=1066|event=A battle.}}` as "1066 – A battle."."""
    when, what = given.value("date") or given.at(0), given.value("event") or given.at(1)
    return _lines(f"* {' – '.join(each for each in (when, what) if each)}")


# --- quotations and statements --------------------------------------------------------------------


def quotation(given: Arguments) -> str:
    """Show a quotation and, on the next line, whom it is by."""
    words = given.words
    text = given.value("text", "quote", "content") or given.first
    others = [word for word in words[1:] if not _WIDTH.fullmatch(word)]
    by = [given.value("author", "by", "sign", "cite"), given.value("title"), given.value("source")]
    by = [each for each in by if each] or others
    return _lines(text, f"— {', '.join(by)}" if by else "") if by else text


def both(given: Arguments) -> str:
    """Show verses and their translation, one after the other."""
    return _lines(*given.words, given.value("attr1"), given.value("attr2"))


def equation(given: Arguments) -> str:
    """Show `{{NumBlk|:|a = b|1}}` as "a = b (1)"."""
    formula, number = given.at(1) or given.value("2"), given.at(2)
    number = number and (number if number.startswith("(") else f"({number})")
    return _lines(f":{formula} {number}".rstrip())


def statement(kind: str) -> Renderer:
    """Return what shows `{{math theorem|...}}` as "Theorem. ..."."""

    def show(given: Arguments) -> str:
        name, note = given.value("name", "title") or kind, given.value("note")
        text = given.value("math_statement", "proof", "content") or given.first
        return _lines(f"{name}{note and f' ({note})'}. {text}")

    return show


# --- names ----------------------------------------------------------------------------------------

TEMPLATES: list[tuple[str, Renderer]] = [
    (
        """bulleted list, ordered list, unbulleted list, unordered list, ubl, ublist, ubt, unbulleted, ubli, olist, ol,
        ul, numbered list, nblist, nonbulleted list, vunblist, br separated entries, unbullet, bullet list,
        collapsible list, anchored list, simple list, linear list, pipe separated list""",
        items,
    ),
    (
        """columns-list, columns list, column list, columnslist, col-list, collist, cmn, multi-column list, plainlist,
        plain list, flatlist, flat list, div col, tree list, treelist, cast listing, cast list, castlist, cast,
        glossary, gbq, poem, block indent, blockindent, small block, hidden, hidden text, collapsible text, collapse,
        flowlist, aligned list, dotted list, scroll box, scrollbox""",
        block,
    ),
    ("columns", numbered_parts(r"col\d")),
    ("episode table, episodetable, episode list/table", part("episodes")),
    (
        """episode list, episode list/sublist, japanese episode list, japanese episode list/sublist, english anime
        episode list, english anime episode list/sublist, television episode list, radio episode list""",
        episode,
    ),
    ("graphic novel list, graphic novel list/sublist", volume),
    ("track listing, tracklist, track list, tracklisting", tracks),
    ("timeline-event, timeline event, timeline item", event),
    ("comma separated entries, cslist, comma-separated entries, csv, comma list, inline list", joined),
    ("enum, and list, andlist, enumerated list, enumlist", enumerated("and")),
    ("or list, orlist", enumerated("or")),
    ("species list, specieslist, linked species list, taxon list, taxonlist", pairs),
    ("term, glossary term", term),
    ("defn, glossary definition, gdef", definition),
    ("definition list, defn list, description list, dlist, deflist", definitions),
    (
        """quote, blockquote, block quote, bquote, cquote, quotation, bq, pull quote, centered pull quote, pullquote,
        rquote, poemquote, poem quote, long quote, quote text, imagequote""",
        quotation,
    ),
    ("verse translation, text and translation, verse translation/table, interlinear, fs interlinear", both),
    ("numblk, numbered block, numblock", equation),
    ("equation box 1, equation box, eqbox", lambda given: f"\n:{given.value('equation') or given.last}\n"),
    ("math theorem", statement("Theorem")),
    ("math proof", statement("Proof")),
    ("math definition", statement("Definition")),
]
