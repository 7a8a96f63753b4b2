"""Templates of Wikipedia that show a date, a span of years, a reign or an age."""

from __future__ import annotations

import re
from datetime import date

from gpt_research.preprocessing.formats.wiki.arguments import Arguments, Renderer
from gpt_research.preprocessing.formats.wiki.quantities import UNKNOWN

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_ISO_DATE = re.compile(r"(\d{4})-(\d\d?)(?:-(\d\d?))?")
_DAY_FIRST = re.compile(r"(\d\d?) ([A-Z][a-z]+) (\d{4})")
_MONTH_FIRST = re.compile(r"([A-Z][a-z]+) (\d\d?), (\d{4})")


def _in_words(year: str, month: str, day: str, month_first: bool) -> str:
    """Show year, month and day as a date. The month may be a number; a date in words stays."""
    if iso := _ISO_DATE.fullmatch(year):
        year, month, day = (part or "" for part in iso.groups())
    elif not year.isdecimal() and not month.isdecimal():
        return year
    if month.isdecimal() and len(month) < 3 and 1 <= int(month) <= 12:
        month = _MONTHS[int(month) - 1]
    day = day.lstrip("0")
    words = (f"{month} {day},", year) if month_first and day else (day, month, year)
    return " ".join(word for word in words if word)


def _three(arguments: list[str]) -> tuple[str, str, str]:
    year, month, day, *_ = [*arguments, "", "", ""]
    return year, month, day


def date_in_words(given: Arguments, month_first: bool = True) -> str:
    """Show `{{birth date|1809|2|12}}` as "February 12, 1809", with `df=yes` as "12 February
    1809"."""
    month_first ^= bool({"df", "dmy"} & given.named.keys())
    return _in_words(*_three(given.places), month_first)


def plain_date(given: Arguments) -> str:
    """Show `{{date|2001-05-03|mdy}}` as "May 3, 2001"; the day comes first if not told
    otherwise."""
    form = given.at(1).lower()
    return _in_words(given.at(0), "", "", month_first=form == "mdy")


def as_of(given: Arguments) -> str:
    """Show `{{as of|2015|6|lc=y}}` as "as of June 2015"."""
    named = given.named
    opening = "Since" if "since" in named else "As of"
    return named.get("alt") or f"{opening.lower() if 'lc' in named else opening} {date_in_words(given, False)}"


def old_style(given: Arguments) -> str:
    """Show `{{OldStyleDate|14 May|1891|2 May}}` as "14 May [O.S. 2 May] 1891"."""
    new, year, old = _three(given.places)
    month_first = new[-1:].isdecimal()
    shown = f"{new} [O.S. {old}]" if old else f"{new},{year and ' '}" if month_first and year else f"{new} "
    return f"{shown.rstrip()} {year}".strip()


# --- spans of years -------------------------------------------------------------------------------


def span(begin: str, end: str, prefix: str = "") -> str:
    """Join two dates as the site does: blanks stand beside the dash if there are some in a date."""
    if not begin or not end:
        return begin or end
    return f"{begin} – {prefix}{end}" if prefix or " " in begin + end else f"{begin}–{end}"


def about(given: Arguments) -> str:
    """Show `{{circa|1030|1035}}` as "c. 1030 – c. 1035"."""
    return f"c. {span(given.at(0), given.at(1), prefix='c. ')}"


def within(opening: str) -> Renderer:
    """Return what shows `{{reign|1066|1087}}` as "r. 1066–1087", for the opening `r.`."""
    return lambda given: f"{given.value('label') or opening} {span(given.at(0), given.at(1))}"


def marriage(given: Arguments) -> str:
    """Show `{{marriage|Ann Bee|1929|1979|end=died}}` as "Ann Bee (m. 1929; died 1979)"."""
    name, begin, end = _three(given.places)
    why = given.value("end", "reason").lower()
    word = {"d": "died", "w": "died", "s": "sep"}.get(why[:1], "div") if why else ""
    parts = (f"m. {begin}" if begin else "", f"{word or 'until'} {end}" if end and word else end and f"–{end}")
    return f"{name} ({'; '.join(part for part in parts if part)})".replace("; –", "–").replace(" ()", "").strip()


# --- ages -----------------------------------------------------------------------------------------


def _day(arguments: list[str]) -> tuple[date | None, list[str]]:
    """Return the day that the arguments begin with, and the rest of them."""
    first = arguments[0] if arguments else ""
    if words := _ISO_DATE.fullmatch(first):
        year, month, day = words.groups()
        rest = arguments[1:]
    elif words := _DAY_FIRST.fullmatch(first):
        day, month, year = words.groups()
        rest = arguments[1:]
    elif words := _MONTH_FIRST.fullmatch(first):
        month, day, year = words.groups()
        rest = arguments[1:]
    else:
        year, month, day = _three(arguments)
        rest = arguments[3:]
    try:
        number = _MONTHS.index(month) + 1 if month in _MONTHS else int(month)
        return date(int(year), number, int(day)), rest
    except (ValueError, TypeError, OverflowError):
        return None, []


def _years_between(begin: date, end: date) -> int:
    return end.year - begin.year - ((end.month, end.day) < (begin.month, begin.day))


def age(given: Arguments) -> str:
    """Show `{{age|1912|6|23|1954|6|7}}` as "41"; the age of today is not known."""
    begin, rest = _day(given.words)
    end, _ = _day(rest)
    return str(_years_between(begin, end)) if begin and end else UNKNOWN


def age_in_days(given: Arguments) -> str:
    """Show `{{age in days|1999|1|1|1999|1|31}}` as "30"."""
    begin, rest = _day(given.words)
    end, _ = _day(rest)
    return f"{(end - begin).days:,}" if begin and end else UNKNOWN


def years_and_days(given: Arguments) -> str:
    """Show `{{age in years and days|1999|1|1|2001|1|31}}` as "2 years, 30 days"."""
    begin, rest = _day(given.words)
    end, _ = _day(rest)
    if not begin or not end:
        return UNKNOWN
    years = _years_between(begin, end)
    try:
        birthday = begin.replace(year=begin.year + years)
    except ValueError:  # the 29th of February
        birthday = date(begin.year + years, 3, 1)
    days = (end - birthday).days
    counted = (f"{years} year{'s' * (years != 1)}" if years else "", f"{days} day{'s' * (days != 1)}")
    return ", ".join(part for part in counted if part)


def death_and_age(given: Arguments) -> str:
    """Show `{{death date and age|1865|4|15|1809|2|12}}` as "April 15, 1865 (aged 56)"."""
    shown = date_in_words(given)
    death, rest = _day(given.words)
    birth, _ = _day(rest)
    return f"{shown} (aged {_years_between(birth, death)})" if birth and death else shown


def death_year_and_age(given: Arguments) -> str:
    """Show `{{death year and age|1990|1920}}` as "1990 (aged 69–70)"."""
    death, birth = given.at(0), given.at(1)
    month = given.at(2)
    shown = f"{month} {death}".strip()
    if not (death.isdecimal() and birth.isdecimal()):
        return shown
    years = int(death[:5]) - int(birth[:5])
    return f"{shown} (aged {years - 1}–{years})"


def given_age(given: Arguments) -> str:
    """Show `{{death date and given age|1865|4|15|56}}` as "April 15, 1865 (aged 56)"."""
    shown = _in_words(*_three(given.places[:3]), month_first="df" not in given.named)
    return f"{shown} (aged {given.at(3)})" if given.at(3) else shown


def born_from_age(given: Arguments) -> str:
    """Show `{{birth based on age as of date|50|2000|1|1}}` as "1949 or 1950"."""
    years, year = given.at(0), given.at(1)
    if not (years.isdecimal() and year.isdecimal()):
        return year
    latest = int(year[:5]) - int(years[:5])
    return f"{latest - 1} or {latest}"


def duration(given: Arguments) -> str:
    """Show `{{duration|m=3|s=45}}` as "3:45"."""
    if given.at(0) and not given.at(1):
        return given.at(0)
    hours, minutes, seconds = (given.value(name) or given.at(at) for at, name in enumerate("hms"))
    counted = [hours, minutes.rjust(2, "0") if hours else minutes or "0", seconds.rjust(2, "0")]
    return ":".join(part for part in counted if part)


def century_span(given: Arguments) -> str:
    """Show the season that begins in a year, `{{nbay|1999}}`, as "1999–2000"."""
    year, form = given.at(0), given.at(1)
    if not year.isdecimal() or form == "start":
        return year
    end = str(int(year[:4]) + 1)
    return end if form == "end" else f"{year}–{end if end.endswith('00') else end[2:]}"


# --- names ----------------------------------------------------------------------------------------

TEMPLATES: list[tuple[str, Renderer]] = [
    ("as of, asof, as-of", as_of),
    (
        """birth date, birth date and age, bda, b-da, start date, start date and age, start date and years ago,
        end date, end date and age, dts, birth date and age2, dob, release date, disappeared date and age""",
        date_in_words,
    ),
    ("birth year and age, birth month and age", lambda given: f"{given.at(1)} {given.at(0)}".strip()),
    ("death date", date_in_words),
    ("death date and age, dda, d-da, death-date and age", death_and_age),
    ("death year and age", death_year_and_age),
    ("death date and given age, death-date and given age", given_age),
    ("date, dateline", plain_date),
    ("oldstyledate, oldstyledatedy, oldstyledateny, old style date, osdate", old_style),
    ("circa, c., ca., ca", about),
    ("floruit, fl., fl", within("fl.")),
    ("reign, r.", within("r.")),
    ("born, born in, born-in, b.", within("b.")),
    ("died, died in, died-in, d.", within("d.")),
    ("married in, married-in, m.", within("m.")),
    ("aged", within("aged")),
    ("marriage", marriage),
    ("age, age nts, age in years, age in years nts, ageinyears, ageatdate, age at date", age),
    ("age in days, ageindays, age in days nts", age_in_days),
    (
        "age in years and days, ageinyearsanddays, ayd, age in years and days nts, age in years and months",
        years_and_days,
    ),
    ("birth based on age as of date, birth based on age at death", born_from_age),
    ("age as of date, age now", lambda given: UNKNOWN),
    ("duration, hms", duration),
    ("nbay, nhly, nba nbal, nhlseason, efs", century_span),
]
