"""The loops of the bzip2 decoder, compiled by numba; `bz2_decoder` calls them.

libbz2 decodes one block at a time. In a block each byte says where in the block the next one is, so
the processor waits for memory at almost every byte. `follow` walks through several blocks at once:
while one waits, the others go on. That and tables for the Huffman codes make it more than twice as
fast. Nothing here is trusted: the caller compares the checksum of each block.
"""

from __future__ import annotations

import numpy as np
from numba import int64, njit, types, uint8, uint32, uint64, void

from gpt_research.base.machine_code import compiled

_U64 = np.uint64
_EIGHT, _BYTE = _U64(8), _U64(255)
TOGETHER = 4
"""Blocks whose bytes are put in order at the same time."""
LARGEST = 900_000
"""Bytes of the largest block, before runs are unfolded."""
_SHORT_BITS = 10
"""Codes up to this length are looked up in a table; few are longer."""
_SHORT = _U64(_SHORT_BITS)
_LONGEST = 20
_GROUP = 50
"""Symbols that are coded with the same table."""
SPARE = 64
ROOM = 4
"""Numbers that are written at once for a run, whether it is that long or not."""
_MOST_TABLES, _MOST_SYMBOLS, _MOST_SELECTORS = 6, 258, 18_002


@njit(inline="always")
def _peek(words, position):  # type: ignore[no-untyped-def]
    """Return the 32 bits at a position, which is counted in bits."""
    at = position >> _U64(5)
    pair = _U64(words[at]) << _U64(32) | _U64(words[at + _U64(1)])
    return pair << (position & _U64(31)) >> _U64(32)


@njit(inline="always")
def _take(words, position, bits):  # type: ignore[no-untyped-def]
    """Return the number that the next `bits` (at least one) are."""
    return _peek(words, position) >> _U64(32 - bits)


@njit
def _code_lengths(words, position, stop, lengths, symbols):  # type: ignore[no-untyped-def]
    """Read the code lengths of one table; return the position after them, or 0 for damage."""
    length = int64(_take(words, position, 5))
    position += _U64(5)
    for symbol in range(symbols):
        while True:
            if not 1 <= length <= _LONGEST or position > stop:
                return _U64(0)
            step = _take(words, position, 2)
            if step < _U64(2):
                position += _U64(1)
                break
            position += _U64(2)
            length += 1 if step == _U64(2) else -1
        lengths[symbol] = length
    return position


@njit
def _build_table(lengths, symbols, short, limits, offsets, in_order):  # type: ignore[no-untyped-def]
    """Build what finds the symbol of a code; return whether the lengths make a code.

    Args:
        short: (2 ** _SHORT_BITS,) symbol << 5 | length by the next bits; 0 for longer codes.
        limits: (_LONGEST + 2,) by length, one past its largest code, moved to the left of 32 bits.
        offsets: (_LONGEST + 2,) what added to a code gives the index in `in_order`.
        in_order: (_MOST_SYMBOLS,) the symbols in the order of their codes.
    """
    short[:] = 0
    code, index = 0, 0
    for length in range(1, _LONGEST + 1):
        offsets[length] = index - code
        for symbol in range(symbols):
            if lengths[symbol] == length:
                if code >= 1 << length:
                    return False
                if length <= _SHORT_BITS:
                    first = code << (_SHORT_BITS - length)
                    short[first : first + (1 << (_SHORT_BITS - length))] = symbol << 5 | length
                in_order[index] = symbol
                index += 1
                code += 1
        limits[length] = _U64(code) << _U64(32 - length)
        code <<= 1
    return True


@compiled(types.UniTuple(int64, 2)(types.Array(uint32, 1, "C"), uint64, uint64, types.Array(uint32, 1, "C")))
def read_symbols(words, position, stop, links):  # type: ignore[no-untyped-def]
    """Decode a block up to the order of its bytes.

    Args:
        words: the block's bits, and `SPARE` words more, because damage is seen late.
        position: the first bit of the block.
        stop: one past the last bit that may belong to it.
        links: (LARGEST + ROOM,) becomes, by index in the sorted order: index of the next byte << 8
            | byte.

    Returns:
        The number of bytes and the index at which the first one is found; (-1, 0) for damage.
    """
    damaged = (-1, 0)
    position += _U64(80)  # the magic number and the checksum
    if _take(words, position, 1):  # "randomised", which no compressor writes any more
        return damaged
    origin = int64(_take(words, position + _U64(1), 24))
    position += _U64(25)
    # Which bytes occur: a map of maps.
    recent = np.empty(256, dtype=np.uint8)
    used = 0
    groups = _take(words, position, 16)
    position += _U64(16)
    for group in range(16):
        if groups >> _U64(15 - group) & _U64(1):
            members = _take(words, position, 16)
            position += _U64(16)
            for member in range(16):
                if members >> _U64(15 - member) & _U64(1):
                    recent[used] = group * 16 + member
                    used += 1
    tables = int64(_take(words, position, 3))
    selectors = int64(_take(words, position + _U64(3), 15))
    position += _U64(18)
    if used == 0 or not 2 <= tables <= _MOST_TABLES or not 1 <= selectors <= _MOST_SELECTORS:
        return damaged
    # Which table each group of symbols is coded with.
    chosen = np.empty(selectors, dtype=np.uint8)
    order = np.arange(_MOST_TABLES).astype(np.uint8)
    for at in range(selectors):
        ones = 0
        while _take(words, position, 1):
            position += _U64(1)
            ones += 1
            if ones >= tables:
                return damaged
        position += _U64(1)
        table = order[ones]
        for back in range(ones, 0, -1):
            order[back] = order[back - 1]
        order[0] = table
        chosen[at] = table
        if position > stop:
            return damaged
    symbols = used + 2
    lengths = np.zeros(_MOST_SYMBOLS, dtype=np.uint8)
    short = np.empty((_MOST_TABLES, 1 << _SHORT_BITS), dtype=np.uint16)
    limits = np.zeros((_MOST_TABLES, _LONGEST + 2), dtype=np.uint64)
    offsets = np.zeros((_MOST_TABLES, _LONGEST + 2), dtype=np.int64)
    in_order = np.zeros((_MOST_TABLES, _MOST_SYMBOLS), dtype=np.uint16)
    for table in range(tables):
        position = _code_lengths(words, position, stop, lengths, symbols)
        if position == _U64(0):
            return damaged
        if not _build_table(lengths, symbols, short[table], limits[table], offsets[table], in_order[table]):
            return damaged
    # The symbols: a byte by its place among the recent ones, or the length of a run of the first.
    # The eight most recent bytes are in one number, because nearly all symbols mean one of them.
    newest = _U64(0)
    for place in range(7, -1, -1):
        newest = newest << _EIGHT | _U64(recent[place])
    counts = np.zeros(256, dtype=np.int64)
    last = used + 1
    size, weight = 0, 1
    group, left, table = -1, 0, 0
    next_word = position >> _U64(5)
    held = _U64(words[next_word]) << (_U64(32) + (position & _U64(31)))
    bits = _U64(32) - (position & _U64(31))
    next_word += _U64(1)
    while True:
        if left == 0:
            group += 1
            if group >= selectors or next_word * _U64(32) > stop + _U64(64):
                return damaged
            left, table = _GROUP, int64(chosen[group])
        left -= 1
        if bits < _U64(32):
            held |= _U64(words[next_word]) << (_U64(32) - bits)
            bits += _U64(32)
            next_word += _U64(1)
        entry = _U64(short[table, held >> (_U64(64) - _SHORT)])
        if entry:
            symbol = entry >> _U64(5)
            entry &= _U64(31)
            held <<= entry
            bits -= entry
        else:
            length = _SHORT_BITS + 1
            code = held >> _U64(32)
            while length <= _LONGEST and code >= limits[table, length]:
                length += 1
            if length > _LONGEST:
                return damaged
            symbol = _U64(in_order[table, int64(code >> _U64(32 - length)) + offsets[table, length]])
            held <<= _U64(length)
            bits -= _U64(length)
        if symbol < _U64(2):
            # A digit of the length of a run: 1 or 2 in the first place, 2 or 4 in the second, ...
            run = weight << int64(symbol)
            weight <<= 1
            if size + run > LARGEST:
                return damaged
            byte = newest & _BYTE
            counts[byte] += run
            links[size] = links[size + 1] = links[size + 2] = links[size + 3] = byte
            for at in range(size + 4, size + run):
                links[at] = byte
            size += run
            continue
        weight = 1
        if symbol == _U64(last):
            break
        if size >= LARGEST:
            return damaged
        place = symbol - _U64(1)
        if place < _U64(8):
            shift = place * _U64(8)
            byte = newest >> shift & _BYTE
            newer = newest & ((_U64(1) << shift) - _U64(1))
            newest = (newest >> shift >> _EIGHT) << shift << _EIGHT | newer << _EIGHT | byte
        else:
            byte = _U64(recent[place])
            while place > _U64(8):
                recent[place] = recent[place - _U64(1)]
                place -= _U64(1)
            recent[8] = newest >> _U64(56)
            newest = newest << _EIGHT | byte
        counts[byte] += 1
        links[size] = byte
        size += 1
    if origin >= size:
        return damaged
    # Sorted, the bytes are where the counts of the smaller ones say; the n-th of a kind there is
    # the n-th of that kind here.
    place_of = np.empty(256, dtype=np.int64)
    total = 0
    for kind in range(256):
        place_of[kind] = total
        total += counts[kind]
    for at in range(size):
        kind = links[at] & np.uint32(255)
        links[place_of[kind]] |= np.uint32(at << 8)
        place_of[kind] += 1
    return size, int64(links[origin] >> np.uint32(8))


@compiled(void(uint32[:, ::1], int64[::1], int64[::1], uint8[:, ::1]))
def follow(links, sizes, firsts, ordered):  # type: ignore[no-untyped-def]
    """Put the bytes of `TOGETHER` blocks in order, all blocks at the same time.

    Args:
        links: (TOGETHER, LARGEST + ROOM) of `read_symbols`.
        sizes, firsts: (TOGETHER,) what `read_symbols` returned for each; size 0 for no block.
        ordered: (TOGETHER, LARGEST) becomes the bytes.
    """
    one, two, three, four = uint32(firsts[0]), uint32(firsts[1]), uint32(firsts[2]), uint32(firsts[3])
    together = min(min(sizes[0], sizes[1]), min(sizes[2], sizes[3]))
    for at in range(_U64(together)):
        link_1, link_2, link_3, link_4 = links[0, one], links[1, two], links[2, three], links[3, four]
        ordered[0, at], ordered[1, at], ordered[2, at], ordered[3, at] = link_1, link_2, link_3, link_4
        one, two, three, four = link_1 >> _EIGHT, link_2 >> _EIGHT, link_3 >> _EIGHT, link_4 >> _EIGHT
    here = np.array([one, two, three, four], dtype=np.uint32)
    for block in range(TOGETHER):
        next_one = here[block]
        for at in range(_U64(together), _U64(sizes[block])):
            link = links[block, next_one]
            ordered[block, at] = link
            next_one = link >> _EIGHT


@compiled(int64(uint8[::1], int64, uint8[::1]))
def unfold(folded, size, out):  # type: ignore[no-untyped-def]
    """Unfold runs: after four equal bytes, the next one says how many more there are.

    Returns:
        The number of bytes in `out`; -1 if there is not enough room.
    """
    at, length, start = 0, 0, 0
    while at < size:
        start = at
        # Up to the next four equal bytes, all bytes stay as they are.
        stop = size - 3
        while at < stop:
            if folded[at + 2] != folded[at + 3]:
                at += 3
            elif folded[at + 1] != folded[at + 2]:
                at += 2
            elif folded[at] != folded[at + 1]:
                at += 1
            else:
                break
        has_run = at < stop
        at = at + 4 if has_run else size
        if length + at - start > len(out):
            return -1
        for each in range(start, at):
            out[length] = folded[each]
            length += 1
        if has_run and at < size:
            more = int64(folded[at])
            if length + more > len(out):
                return -1
            for _ in range(more):
                out[length] = folded[at - 1]
                length += 1
            at += 1
    return length
