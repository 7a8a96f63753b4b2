"""Templates of Wikipedia that show a number, a quantity, a price or a place on the globe."""

from __future__ import annotations

import re

from gpt_research.preprocessing.formats.wiki.arguments import Arguments, Renderer

UNKNOWN = "\ufdd2"
"""Stands for a value that the site computes when the page is shown (what an old price is worth
today), and that a dump does not have. A noncharacter, because no text contains it."""

_NUMBER = re.compile(r"[\d.,/+−-]+$")
_LONG_NUMBER = re.compile(r"(?<![\d.,/])[1-9]\d{3,20}(?![\d,/])")


def grouped(number: str) -> str:
    """Put commas between the thousands, as Wikipedia does."""
    return _LONG_NUMBER.sub(lambda digits: f"{int(digits[0]):,}", number)


# --- units ----------------------------------------------------------------------------------------

_BETWEEN_NUMBERS = frozenset(
    ("to", "-", "–", "and", "or", "x", "by", "xx", "*", "+", "to(-)", "and(-)", "±", "×", "+/-")
)
_UNITS = dict(
    pair.split("=")
    for pair in re.split(
        r",\s+",
        """mi2=sq mi, ft2=sq ft, yd2=sq yd, in2=sq in, sqkm=km², sqm=m², sqcm=cm², cuft=cu ft, ft3=cu ft, cuin=cu in,
        in3=cu in, cuyd=cu yd, yd3=cu yd, cumi=cu mi, mi3=cu mi, cc=cm³, C=°C, F=°F, R=°R, C-change=°C, F-change=°F,
        oilbbl=barrels, bbl=barrels, lb-f=lbf, foot=ft, feet=ft, hand=hands, acre=acres, carat=carats, fathom=fathoms,
        acre.ft=acre⋅ft, acreft=acre⋅ft, lbft=lb⋅ft, lb.ft=lb⋅ft, lbfft=lbf⋅ft, lbf.ft=lbf⋅ft, ftlb=ft⋅lb,
        ft.lb=ft⋅lb, ftlbf=ft⋅lbf, Nm=N⋅m, N.m=N⋅m, kNm=kN⋅m, LT=long tons, ST=short tons, MT=metric tons, kn=knots,
        solar mass=M☉, solar radius=R☉, mpgus=mpg‑US, mpgUS=mpg‑US, mpgU.S.=mpg‑US, mpgimp=mpg‑imp, mpgu.s.=mpg‑US,
        e3=thousand, e6=million, e9=billion, e12=trillion, k=thousand, M=million, G=billion, T=trillion,
        PD=, psqmi=lb/sq in, lbsqin=lb/sq in""",
    )
)
_PLURALS = frozenset(unit for unit in _UNITS.values() if len(unit) > 4 and unit.endswith("s"))
_MULTIPLE = re.compile(r"(e(?:3|6|9|12)(?=[A-Za-z])|[kMGT](?=oilbbl|bbl|cuft|USgal|impgal))")
_WHOSE = re.compile(r"(US|U\.S\.|imp)(?=(?:gal|oz|floz|qt|pt|bsh|bbl|pk|cup)$)")
_SQUARE = re.compile(r"sq(?=(?:mi|ft|yd|in|nmi|rd|ch)$)")
_POWER = re.compile(r"(?<=[A-Za-z])[23]$")
_OF_A_UNIT = frozenset(("in", "yd", "oz", "lb", "ft", "ch", "chain", "cwt", "mi", "st", "qtr"))
"""Units that can follow another one: 5 ft 11 in."""


def _part_of_unit(code: str) -> str:
    parts = [part for part in _MULTIPLE.split(code, maxsplit=1) if part]
    return " ".join(_UNITS[part] if part in _UNITS else _plain_unit(part) for part in parts)


def _plain_unit(code: str) -> str:
    code = _SQUARE.sub("sq ", _WHOSE.sub(r"\1 ", code)).replace("floz", "fl oz")
    return _POWER.sub(lambda power: "²³"["23".index(power[0])], code)


def _unit(code: str) -> str:
    """Show the code of a unit as people write it: `sqmi` as "sq mi", `/km2` as "per km²"."""
    upper, slash, lower = code.partition("/")
    shown = _part_of_unit(upper)
    if not slash:
        return shown
    # A count over an area, and flows of barrels, are read as words.
    joint = " per " if not shown or shown.endswith("barrels") else "/"
    lower = "day" if lower == "d" and joint == " per " else _part_of_unit(lower)
    return f"{shown}{joint}{lower}".strip()


def conversion(given: Arguments) -> str:
    """Show `{{convert|5|to|6|km|mi}}` as "5 to 6 km", `{{cvt|5|ft|11|in|m}}` as "5 ft 11 in"."""
    arguments, words = given.words, []
    for at, argument in enumerate(arguments):
        if _NUMBER.match(argument) and argument not in _BETWEEN_NUMBERS:
            words.append(grouped(argument.replace("//", "/")))
        elif argument.lower() in _BETWEEN_NUMBERS:
            words.append(argument.removesuffix("(-)"))
        else:
            words.append(_unit(argument))
            number, smaller = [*arguments[at + 1 : at + 3], "", ""][:2]
            if smaller not in _OF_A_UNIT or not _NUMBER.match(number):
                break
    if words[-1:] and words[-1] in _PLURALS:
        if given.named.get("adj") in ("on", "1"):
            return f"{' '.join(words[:-1])}-{words[-1].removesuffix('s')}"
        if words[:-1] == ["1"]:
            return f"1 {words[-1].removesuffix('s')}"
    return re.sub(r" [-–] ", "–", " ".join(words).replace(" x ", " × "))


def density(given: Arguments) -> str:
    """Show `{{pop density|3600|800|km2|prec=1}}` as "4.5/km²"."""
    try:
        people, area = (float(given.at(at).replace(",", "")) for at in range(2))
        return f"{people / area:,.{int(given.value('prec')[:1] or 0)}f}/{_unit(given.at(2))}"
    except (ValueError, ZeroDivisionError, OverflowError):
        return UNKNOWN


def value(given: Arguments) -> str:
    """Show `{{val|1.5|(2)|e=3|u=kg}}` as "1.5(2)×10^3 kg"."""
    arguments, named = given.words, given.named
    number = arguments[0] if arguments else ""
    if named.get("fmt") == "commas":
        number = grouped(number)
    if len(arguments) == 2:
        number += arguments[1] if arguments[1].startswith("(") else f" ± {arguments[1]}"
    elif len(arguments) > 2 and arguments[1] in ("-", "–", "to", "x", "by"):
        joint = "–" if arguments[1] in "-–" else f" {arguments[1]} "
        number += f"{joint}{arguments[2]}"
    elif len(arguments) > 2:
        upper, lower = (each.lstrip("+-−") for each in arguments[1:3])
        number += f"+{upper}−{lower}"
    if "e" in named:
        number = f"({number})" if len(arguments) > 1 and not arguments[1].startswith("(") else number
        number += f"×10^{named['e']}"
    number = f"{named.get('p', '')}{number}{named.get('s', '')}"
    unit, per = given.value("u", "ul"), given.value("up", "upl")
    return f"{number} {unit}{per and f'/{per}'}".strip()


def fraction(given: Arguments) -> str:
    """Show `{{frac|2}}` as "1/2", `{{frac|3|4}}` as "3/4", `{{frac|1|3|4}}` as "1 3/4"."""
    arguments = given.words
    if len(arguments) == 1:
        return f"1/{arguments[0]}"
    return " ".join([*arguments[:-2], "/".join(arguments[-2:])])


_RAISED = str.maketrans("0123456789-−n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻ⁿ")


def root(given: Arguments) -> str:
    """Show `{{sqrt|2}}` as "√2", `{{radic|x|3}}` as "∛x", `{{sqrt|a + b}}` as "√(a + b)"."""
    under = given.at(0)
    sign = {"": "√", "2": "√", "3": "∛", "4": "∜"}.get(given.at(1)) or f"{given.at(1).translate(_RAISED)}√"
    return f"{sign}({under})" if re.search(r"[+−±/*×÷-]|\s", under.strip("+−-")) else f"{sign}{under}"


def height(given: Arguments) -> str:
    """Show `{{height|ft=5|in=11}}` as "5 ft 11 in"."""
    return " ".join(f"{number} {unit}" for unit, number in given.named.items() if unit in ("m", "cm", "ft", "in"))


def gauge(given: Arguments) -> str:
    """Show `{{track gauge|4ft8.5in}}` as "4 ft 8.5 in"."""
    return re.sub(
        r"(?<![\d.,/⁄+])([\d.,/⁄+]++)\s*+([a-z]+)", lambda found: f"{grouped(found[1])} {found[2]} ", given.first
    ).strip()


def coordinates(given: Arguments) -> str:
    """Show `{{coord|12|19|N|70|1|W}}` as "12°19′N 70°1′W", unless it is only beside the title."""
    if given.named.get("display") in ("title", "t"):
        return ""
    shown: list[str] = []
    numbers: list[str] = []
    for argument in given.words:
        if argument in ("N", "S", "E", "W"):
            shown.append("".join(number + mark for number, mark in zip(numbers, "°′″", strict=False)) + argument)
            numbers = []
        elif _NUMBER.match(argument):
            numbers.append(argument)
        else:
            break
    if not shown and len(numbers) == 2:
        ways = zip(numbers, ("NS", "EW"), strict=True)
        shown = [f"{number.lstrip('+-−')}°{letters[number[0] in '-−']}" for number, letters in ways]
    return " ".join(shown)


def angle(marks: str) -> Renderer:
    """Return what shows `{{RA|10|2|3}}` as "10h 2m 3s", for the marks `hms`."""
    return lambda given: " ".join(f"{number}{mark}" for number, mark in zip(given.words, marks, strict=False))


def ordinal(given: Arguments) -> str:
    """Show `{{ordinal|3}}` as "3rd"."""
    number = given.first
    if not number.isdecimal():
        return number
    teens = 11 <= int(number[-2:]) <= 13
    return number + ("th" if teens else {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th"))


def roman(given: Arguments) -> str:
    """Show `{{roman|14}}` as "XIV"."""
    if not given.first.isdecimal() or not 0 < (rest := int(given.first[:5])) < 4000:
        return given.first
    numerals = ""
    for size, sign in (
        *((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L")),
        *((40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")),
    ):
        numerals += sign * (rest // size)
        rest %= size
    return numerals


# --- prices ---------------------------------------------------------------------------------------

_SYMBOLS = dict(
    pair.split("=")
    for pair in re.split(
        r",\s+",
        """usd=US$, us$=US$, us dollar=US$, $=$, cad=CA$, ca$=CA$, c$=C$, aud=A$, a$=A$, au$=A$, nzd=NZ$, nz$=NZ$,
        hkd=HK$, hk$=HK$, sgd=S$, s$=S$, twd=NT$, nt$=NT$, ntd=NT$, mxn=Mex$, mex$=Mex$, brl=R$, r$=R$, ars=AR$,
        ar$=AR$, clp=CLP$, clp$=CLP$, cop=COL$, col$=COL$, uyu=$U, jmd=J$, j$=J$, ttd=TT$, tt$=TT$, bbd=Bds$,
        bsd=B$, fjd=FJ$, nad=N$, xcd=EC$, ec$=EC$, gbp=£, £=£, gb£=£, pound sterling=£, pounds sterling=£,
        iep=IR£, ir£=IR£, egp=E£, lbp=LL, syp=LS, gip=£, eur=€, €=€, euro=€, jpy=¥, jp¥=¥, yen=¥, ¥=¥, cny=CN¥,
        cn¥=CN¥, rmb=CN¥, yuan=CN¥, renminbi=CN¥, inr=₹, ₹=₹, indian rupee=₹, indian rupees=₹,
        indian rupee symbol=₹, rs=₹, rs.=₹, rupee=₹, pkr=Rs. , pakistani rupee=Rs. , lkr=Rs. , sri lankan rupee=Rs. ,
        npr=रु, nepalese rupee=रु, bdt=৳, ৳=৳, bangladeshi taka=৳, taka=৳, mvr=Rf. , krw=₩, ₩=₩, sk won=₩,
        south korean won=₩, kpw=₩, php=₱, ₱=₱, philippine peso=₱, peso=₱, phpeso=₱, thb=฿, ฿=฿, vnd=₫, ₫=₫, idr=Rp ,
        rupiah=Rp , myr=RM , rm=RM , ringgit=RM , khr=៛, lak=₭, mnt=₮, mmk=K, rub=₽, ₽=₽, ruble=₽,
        russian ruble=₽, uah=₴, ₴=₴, hryvnia=₴, kzt=₸, gel=₾, amd=֏, azn=₼, try=₺, ₺=₺, turkish lira=₺, ils=₪, ₪=₪,
        nis=₪, shekel=₪, sheqel=₪, zar=R, sa rand=R, rand=R, ngn=₦, ₦=₦, naira=₦, ghs=GH₵, gh₵=GH₵, kes=KSh , ksh=KSh ,
        ugx=USh , ush=USh , tzs=TSh , tsh=TSh , pln=zł, zł=zł, chf=CHF , sfr=SFr. , sek=SEK , sek2=SEK , nok=NOK ,
        nok2=NOK , dkk=DKK , dkk2=DKK , isk=ISK , czk=Kč , huf=Ft , ron=lei , bgn=lv , rsd=RSD , hrk=HRK , aed=AED ,
        sar=SR , qar=QR , omr=OMR , bhd=BD , kwd=KD , jod=JD , iqd=IQD , irr=IRR , mad=MAD , tnd=TND , dzd=DA ,
        etb=Br , rwf=FRw , zmw=K , mzn=MT , aoa=Kz , xaf=FCFA , xof=FCFA , pen=S/ , bob=Bs , pyg=₲, crc=₡, gtq=Q,
        hnl=L , nio=C$, dop=RD$, cup=CUP , afn=Af , dem=DM , frf=F , itl=₤, esp=Pts , btc=₿, ₿=₿, bitcoin=₿""",
    )
)
"""What stands before an amount, by the name of the template or the code of ISO 4217."""
_AFTER_THE_AMOUNT = frozenset(("zł", "Kč ", "Ft ", "lei ", "lv "))
_MAGNITUDES = {
    "k": "thousand",
    "m": "million",
    "b": "billion",
    "t": "trillion",
    "l": "lakh",
    "c": "crore",
    "lc": "lakh crore",
}
_PRICE = re.compile(r"(.+?) *(?:convert)?", re.IGNORECASE)
_CODES_IN_SMALL_LETTERS = frozenset(("usd", "eur", "gbp", "inr", "jpy", "cad", "aud", "nzd", "rmb", "cny"))
"""Other codes in small letters are words, or templates of other kinds."""


def _amount(symbol: str, amount: str, magnitude: str = "") -> str:
    if amount[:1] in ("-", "−"):
        return f"−{_amount(symbol, amount[1:], magnitude)}"
    shown = f"{grouped(amount)} {_MAGNITUDES.get(magnitude.lower(), '')}".rstrip()
    return f"{shown} {symbol.strip()}" if symbol in _AFTER_THE_AMOUNT else f"{symbol}{shown}"


def symbol_of(name: str) -> str | None:
    """Return what stands before an amount for the name of a currency's template, if it is one."""
    small = name.lower()
    is_code = len(name) == 3 and name.isalpha() and name.isascii()
    return None if is_code and not name.isupper() and small not in _CODES_IN_SMALL_LETTERS else _SYMBOLS.get(small)


def price_of(name: str) -> Renderer | None:
    """Return what shows a template such as `{{INR|500}}` or `{{JPYConvert|5|b}}`, if it is a
    price."""
    currency = _PRICE.fullmatch(name)
    symbol = symbol_of(currency[1]) if currency else None
    if symbol is None:
        return None

    def show(given: Arguments) -> str:
        amount = given.at(0) or given.value("amount")
        return _amount(symbol, amount, given.at(1)) if amount else symbol.strip()

    return show


def currency(given: Arguments) -> str:
    """Show `{{currency|500|INR}}` as "₹500"."""
    amount, name = given.at(0) or given.value("amount"), given.at(1) or given.value("type", "code")
    code = name.lower() or "usd"
    code = {"us": "usd", "uk": "gbp", "eu": "eur", "india": "inr", "japan": "jpy"}.get(code, code)
    return _amount(_SYMBOLS.get(code, f"{name} "), amount)


def old_money(given: Arguments) -> str:
    """Show `{{£sd|l=5|s=3|d=2}}` as "£5 3s 2d"."""
    pounds, shillings, pence = (given.value(name) or given.at(at) for at, name in enumerate("lsd"))
    amounts = (pounds and f"£{grouped(pounds)}", shillings and f"{shillings}s", pence and f"{pence}d")
    return " ".join(amount for amount in amounts if amount)


# --- names ----------------------------------------------------------------------------------------

TEMPLATES: list[tuple[str, Renderer]] = [
    ("convert, cvt, conv, convinfobox, convertinfobox", conversion),
    ("val", value),
    ("pop density, population density", density),
    ("frac, fraction, sfrac, fract, tfrac, mfrac, cfrac", fraction),
    ("sqrt, radic, radical, square root, surd, root", root),
    ("cube root, cuberoot", lambda given: f"∛{given.first}"),
    ("e, exp, times10", lambda given: f"×10^{given.first}"),
    ("height", height),
    ("track gauge, railgauge, rail gauge, gauge", gauge),
    ("coord, coor", coordinates),
    ("ra", angle("hms")),
    ("dec", angle("°′″")),
    ("ordinal, nth, ord, ordinal number", ordinal),
    ("roman, romannum, roman numeral, rn", roman),
    ("nts, ntsp, formatnum, number table sorting, commas", lambda given: grouped(given.first)),
    ("currency, iso4217", currency),
    ("£sd, pounds shillings and pence, lsd", old_money),
    ("solar mass", lambda given: f"{given.first} M☉".strip()),
    ("solar radius", lambda given: f"{given.first} R☉".strip()),
    ("solar luminosity", lambda given: f"{given.first} L☉".strip()),
    ("earth mass", lambda given: f"{given.first} M🜨".strip()),
    ("jupiter mass", lambda given: f"{given.first} MJ".strip()),
    (
        """inflation, inflation-year, inflation year, inflation/year, to usd, tousd, usd to, metadata population,
        austria metadata population, population germany, germany population, time ago, timeago, ago, years ago,
        data population, wikidata""",
        lambda given: UNKNOWN,
    ),
]
