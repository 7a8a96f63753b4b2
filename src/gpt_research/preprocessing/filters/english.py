"""English words that are cut otherwise than the rules say: contractions, abbreviations, smileys.

The rules take signs off the ends of a word, and so would make two words of "Mr." and one of
"don't". `special_words` holds what spaCy's English has of such words, so that words are counted as
datatrove counts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

MULTIPLIER = 0x9E3779B97F4A7C15
"""Of the hash of a word: its characters as the digits of a number, modulo 2**64."""
LONGEST = 14
"""Characters of the longest special word, at most."""
PLACE_BITS = 12
PLACES = 1 << PLACE_BITS

_SUBJECTS = "i you he she it we they who what when where why how there that this these those"
_NEGATED = "ca could do does did had may might must need ought sha should wo would"
_NEGATED_ALONE = "ai are is was were have has dare"
_WHOLE = """
    Mt. Adm. Bros. co. Co. Corp. Dr. Gen. Gov. Inc. Jr. Ltd. Md. Messrs. Mo. Mont. Mr. Mrs. Ms. Prof. Rep. Rev. Sen.
    St. vs. v.s. a.m. p.m. e.g. E.g. E.G. i.e. I.e. I.E. Ph.D. D.C.
    Jan. Feb. Mar. Apr. Jun. Jul. Aug. Sep. Sept. Oct. Nov. Dec.
    Ak. Ala. Ariz. Ark. Calif. Colo. Conn. Del. Fla. Ga. Ia. Id. Ill. Ind. Kan. Kans. Ky. La. Mass. Mich. Minn. Miss.
    Neb. Nebr. Nev. Okla. Ore. Pa. Tenn. Va. Wash. Wis. N.C. N.D. N.H. N.J. N.M. N.Y. S.C.
    a. b. c. d. e. f. g. h. i. j. k. l. m. n. o. p. q. r. s. t. u. v. w. x. y. z. ä. ö. ü.
    ' '' 's 'S 'd 're 'em 'll 'nuff ‘s ‘S and/or w/o 'Cause 'cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz 'bout
    ma'am Ma'am o'clock O'clock lovin' Lovin' havin' Havin' doin' Doin' goin' Goin' nothin' Nothin' nuthin' Nuthin'
    ol' Ol' somethin' Somethin' C++
    :) :-) :)) :-)) :))) :-))) (: (-: =) (= :] :-] [: [-: :} :-} 8) 8-) ;) ;-) (; (-; :( :-( :(( :-(( ): )-: =( >:(
    :') :'-) :'( :'-( :/ :-/ =/ =| :| :-| :1 :P :-P :p :-p :O :-O :o :-o :0 :-0 :* :-* :3 :-3 =3 :> :-> :X :-X :x :-x
    :D :-D ;D ;-D =D ^_^ ^__^ >.< >.> <.< ._. ;_; -_- -__- o_o o_O O_o O_O o.O O.o O.O o.o 0.0 <3 <33 <333 </3
"""
_CUT = "y'|all y|all not|'ve not|ve can|not gon|na got|ta let|'s c'm|on"
_UNITS = """
    km dm cm mm nm m ha µm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa mbar mb MB kb KB gb GB tb TB T G M K %
    km² km³ m² m³ dm² dm³ cm² cm³ mm² mm³
"""
"""Units that are cut off a number."""
_WORDS = frozenset(["ill", "its", "hell", "shell", "shed", "were", "well", "whore"])
"""Words that a contraction without its apostrophe would be."""


def special_words() -> dict[str, tuple[int, ...]]:
    """Return the characters of each piece of each special word."""
    words: dict[str, tuple[int, ...]] = {}
    for pieces in _special():
        lengths = tuple(map(len, pieces))
        # The second apostrophe is the typographic one.
        for word in {"".join(pieces), "".join(pieces).replace("'", "’")}:
            words[word] = lengths
    return words


def _special() -> Iterator[tuple[str, ...]]:
    for word in _WHOLE.split():
        yield (word,)
    for word in _CUT.split():
        yield from _both_cases(*word.split("|"))
    for hour in range(1, 13):
        for half in ("am", "pm", "a.m.", "p.m."):
            yield str(hour), half
    for subject in _SUBJECTS.split():
        for tail in _tails(subject):
            yield from _both_cases(subject, *tail)
            bare = [piece.replace("'", "") for piece in tail]
            if subject + "".join(bare) not in _WORDS:
                yield from _both_cases(subject, *bare)
    for verb in _NEGATED.split():
        for tail in (("n't",), ("n't", "'ve"), ("nt",), ("nt", "ve")):
            yield from _both_cases(verb, *tail)
    for verb in _NEGATED_ALONE.split():
        for tail in (("n't",), ("nt",)):
            yield from _both_cases(verb, *tail)
    for verb in ("could", "might", "must", "should", "would"):
        for tail in (("'ve",), ("ve",)):
            yield from _both_cases(verb, *tail)


def _tails(subject: str) -> list[tuple[str, ...]]:
    """Return what is contracted with a subject or a question word."""
    tails: list[tuple[str, ...]] = [("'ll",), ("'ll", "'ve"), ("'d",), ("'d", "'ve")]
    if subject == "i":
        tails += [("'m",), ("'m", "a")]
    if subject not in ("he", "she", "it", "that", "this"):
        tails.append(("'ve",))
    if subject not in ("i", "he", "she", "it", "that", "this"):
        tails.append(("'re",))
    if subject not in ("i", "you", "we", "they", "these", "those"):
        tails.append(("'s",))
    return tails


def _both_cases(*pieces: str) -> Iterator[tuple[str, ...]]:
    yield pieces
    if pieces[0] not in ("y", "y'"):
        yield pieces[0].capitalize(), *pieces[1:]


@lru_cache(maxsize=1)
def tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the special words as the compiled splitter takes them.

    Returns:
        keys: (4096,) uint64, a hash table: the hash of a word, 0 where there is none. The place of
            a hash is its highest bits, or the next free one.
        cuts: (4096, 2) uint8: the characters before the first and before the second cut, 0 for no
            cut.
        plain: (32, 16) uint8: bit 0 is set if a special word of ASCII letters has this last letter
            (its lowest 5 bits) and this length, bit 1 the same for the first letter.
        units: a hash table of units, as `keys`.
    """
    keys, cuts, plain = np.zeros(PLACES, np.uint64), np.zeros((PLACES, 2), np.uint8), np.zeros((32, 16), np.uint8)
    for word, lengths in special_words().items():
        cuts[_put(keys, word), : len(lengths) - 1] = np.cumsum(lengths)[:-1]
        if word.isascii() and word.isalpha():
            plain[ord(word[-1]) & 31, len(word)] |= 1
            plain[ord(word[0]) & 31, len(word)] |= 2
    units = np.zeros(PLACES, np.uint64)
    for unit in _UNITS.split():
        _put(units, unit)
    return keys, cuts, plain, units


def _put(keys: np.ndarray, word: str) -> int:
    """Put a word into a hash table; return its place."""
    key = hash_of(word)
    place = key >> (64 - PLACE_BITS)
    while keys[place]:
        place = (place + 1) % PLACES
    keys[place] = key
    return place


def hash_of(word: str) -> int:
    """Return the 64-bit hash of a word."""
    value = 0
    for character in word:
        value = (value * MULTIPLIER + ord(character)) % 2**64
    return value
