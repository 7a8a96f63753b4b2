"""Templates of Wikipedia that name a work: citations in the text and in lists of works, verses,
numbers of books."""

from __future__ import annotations

from gpt_research.preprocessing.formats.wiki.arguments import Arguments, Renderer


def _number_of(prefix: str) -> Renderer:
    """Return what shows `{{ISBN|1|2}}` as "ISBN 1, 2"."""
    return lambda given: f"{prefix}{', '.join(given.words)}" if given.words else ""


def _verse(given: Arguments) -> str:
    """Show `{{bibleverse|1|Corinthians|13:4|NIV}}` as "1 Corinthians 13:4", without the edition."""
    words: list[str] = []
    for argument in given.words:
        words.append(argument)
        if len(words) > 1 and argument[0].isdecimal():
            break
    return " ".join(words)


def _author_and_year(form: str) -> Renderer:
    """Return what shows `{{harvtxt|Smith|Jones|1999|p=5}}` as "Smith & Jones (1999, p. 5)"."""

    def show(given: Arguments) -> str:
        *authors, year = given.words or [""]
        names = " & ".join(authors) if len(authors) < 3 else ", ".join(authors[:-1]) + f" & {authors[-1]}"
        page, pages, other = given.value("p", "page"), given.value("pp", "pages"), given.value("loc", "at")
        where = f"p. {page}" if page else f"pp. {pages}" if pages else other
        where = where and f", {where}"
        return form.format(names=names, year=year, where=where).strip()

    return show


_NUMBERS = ("", *"123456789")
_NAMES: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "author": [
        (
            (f"last{number}", f"author{number}", f"surname{number}", f"author-last{number}", f"author{number}-last"),
            (f"first{number}", f"given{number}", f"author-first{number}", f"author{number}-first"),
        )
        for number in _NUMBERS
    ],
    "editor": [
        (
            (f"editor{number}", f"editor-last{number}", f"editor{number}-last"),
            (f"editor-first{number}", f"editor{number}-first"),
        )
        for number in _NUMBERS
    ],
}
"""The arguments that hold the last and the first name of each person, by what the person did."""


def _names(given: Arguments, role: str) -> str:
    """Return the names of authors or editors: "Last, First; Last, First"."""
    names = []
    for place, (last_names, first_names) in enumerate(_NAMES[role]):
        if last := given.value(*last_names):
            first = given.value(*first_names)
            names.append(f"{last}, {first}" if first else last)
        elif place:  # the first person has the number 1 or none
            break
    return "; ".join(names)


def _citation(given: Arguments) -> str:
    """Show `{{cite journal|last=Bee|first=Ann|year=1914|title=On|journal=Acta}}` as "Bee, Ann
    (1914). "On". Acta"."""
    who = _names(given, "author") or given.value("authors", "vauthors")
    if not who and (editors := _names(given, "editor")):
        who = f"{editors} (ed.)"
    year, title = given.value("date", "year"), given.value("title", "script-title", "trans-title")
    work = given.value("journal", "magazine", "newspaper", "work", "website", "periodical", "encyclopedia", "series")
    part = given.value("chapter", "article", "contribution", "entry")
    title = f'"{title}"' if title and work else title
    head = f"{who} ({year})" if who and year else who or year
    parts = (head, part and f'"{part}"', title, work, given.value("publisher"))
    return ". ".join(each.rstrip(".") for each in parts if each)


def _citation_with_end(given: Arguments) -> str:
    shown = _citation(given)
    return f"{shown}." if shown else ""


TEMPLATES: list[tuple[str, Renderer]] = [
    (
        """cite book, cite journal, cite web, cite news, cite magazine, cite encyclopedia, cite conference,
        cite report, cite thesis, cite av media, cite episode, cite press release, cite arxiv, cite map, cite speech,
        cite video, cite interview, cite paper, cite work, cite newspaper, cite manual, vcite book, vcite journal""",
        _citation_with_end,
    ),
    ("citation", _citation),
    ("isbn, isbnt, isbn-10, isbn-13", _number_of("ISBN ")),
    ("issn", _number_of("ISSN ")),
    ("oclc", _number_of("OCLC ")),
    ("asin", _number_of("ASIN ")),
    ("lccn", _number_of("LCCN ")),
    ("pmid", _number_of("PMID ")),
    ("doi", _number_of("doi:")),
    ("arxiv", _number_of("arXiv:")),
    ("bibleverse, bibleref, bibleref2, bibleverse-nb, bibleref-nb, sourcetext, lbr", _verse),
    ("qref, cite quran, quran-usc, quran verse", lambda given: f"Quran {':'.join(given.words[:2])}"),
    ("harvtxt, harvcoltxt, harvard citation text", _author_and_year("{names} ({year}{where})")),
    ("harv, harvcol, harvard citation", _author_and_year("({names} {year}{where})")),
    ("harvnb, harvcolnb, harvard citation no brackets", _author_and_year("{names} {year}{where}")),
]
