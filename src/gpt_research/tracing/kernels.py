"""Loops over the tokens of shards and over suffix arrays, compiled by numba.

Shards are mapped files, each an array of its own, and numba takes no list of arrays that may be of
any length. So the loops get the address of each shard, and the caller keeps the maps open.
Positions count the tokens of a split over all its shards. In a suffix array each takes `width`
bytes, little-endian, with the lowest first.

A suffix is what stands from a position on to the end of its document, or of its shard. All loops
are in this one file, because numba keeps machine code on disk until the source file changes.
"""

from __future__ import annotations

from typing import Any

from numba import int64, njit, types, uint16, uint32, uint64
from numba.extending import intrinsic

from gpt_research.base.machine_code import compiled


def _pointer_to(kind: types.Type) -> Any:
    """Return a function that makes an address (uint64) a pointer to values of a type."""

    @intrinsic
    def pointer(typing_context, address):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(uint64), generate

    return pointer


_bytes_at, _short_tokens_at, _long_tokens_at = (_pointer_to(kind) for kind in (types.uint8, uint16, uint32))

_ADDRESSES, _NUMBERS = types.Array(uint64, 1, "C"), types.Array(int64, 1, "C")


@njit(inline="always")
def _position(array, width, index):  # type: ignore[no-untyped-def]
    """Return a position of the suffix array at an address."""
    entry, found = _bytes_at(array), int64(0)
    for byte in range(width - 1, -1, -1):
        found = found << 8 | entry[index * width + byte]
    return found


@njit(inline="always")
def _token(address, is_short, index):  # type: ignore[no-untyped-def]
    """Return a token of the shard at an address."""
    return int64(_short_tokens_at(address)[index]) if is_short else int64(_long_tokens_at(address)[index])


@njit(inline="always")
def _shard_of(first, position):  # type: ignore[no-untyped-def]
    """Return the shard that holds a position; `first` has the first position of each, and an
    end.
    """
    low, high = 0, len(first) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if first[middle] <= position:
            low = middle
        else:
            high = middle
    return low


@njit(inline="always")
def _compare(shards, first, is_short, position, query, begin, same):  # type: ignore[no-untyped-def]
    """Compare the suffix at a position with `query[begin:]`, of which `same` tokens are known to be
    equal; return how many are, and whether the suffix comes first in the order.

    A suffix that begins with the whole query comes later.
    """
    shard = _shard_of(first, position)
    inside, left = position - first[shard], first[shard + 1] - position
    while begin + same < len(query):
        if same >= left:
            return same, True
        token = _token(shards[shard], is_short, inside + same)
        if token != query[begin + same]:
            return same, token < query[begin + same]
        same += 1
    return same, False


@njit(inline="always")
def _first_beyond(shards, first, is_short, array, width, low, high, query, begin, length):  # type: ignore[no-untyped-def]
    """Return the first of the suffixes `low` to `high` that does not begin with the `length` tokens
    from `query[begin]`; the one at `low` does.
    """
    while high - low > 1:
        middle = (low + high) // 2
        part = query[: begin + length]
        same, _ = _compare(shards, first, is_short, _position(array, width, middle), part, begin, 0)
        if same >= length:
            low = middle
        else:
            high = middle
    return high


_LONGEST = types.void(_ADDRESSES, _NUMBERS, types.boolean, uint64, int64, int64, _NUMBERS, types.Array(int64, 2, "C"))


@compiled(_LONGEST)
def longest_matches(shards, first, is_short, array, width, count, query, out):  # type: ignore[no-untyped-def]
    """For the first places of a query find the longest part from there on that stands in the split.

    Args:
        shards: (S,) uint64, addresses of the shards' tokens.
        first: (S + 1,) int64, the first position of each shard, and the end.
        is_short: True for tokens of 16 bits, False for 32 bits.
        array: address of the suffix array, of `count` entries of `width` bytes.
        query: (m,) int64 tokens.
        out: (n, 3) int64 for the first n places, filled with the length, and the suffixes that
            begin with this part, from the first to before the last.
    """
    for begin in range(len(out)):
        # The suffix at `low` comes before the query, that at `high` does not. Between two suffixes
        # that share tokens with the query, all share as many as the one that shares fewer.
        low, high, same_low, same_high = int64(-1), count, int64(0), int64(0)
        while high - low > 1:
            middle = (low + high) // 2
            same, before = _compare(
                shards, first, is_short, _position(array, width, middle), query, begin, min(same_low, same_high)
            )
            if before:
                low, same_low = middle, same
            else:
                high, same_high = middle, same
        length = max(same_low, same_high)
        out[begin, 0] = length
        if length == 0:
            out[begin, 1] = out[begin, 2] = 0
            continue
        # The suffixes with as many equal tokens are neighbours of this place.
        last = high
        if same_high == length:
            last = _first_beyond(shards, first, is_short, array, width, high, count, query, begin, length)
        begins_at = high
        if same_low == length:
            lower, upper = int64(-1), low  # the one at `upper` begins with the part
            while upper - lower > 1:
                middle = (lower + upper) // 2
                same, _ = _compare(
                    shards, first, is_short, _position(array, width, middle), query[: begin + length], begin, 0
                )
                if same >= length:
                    upper = middle
                else:
                    lower = middle
            begins_at = upper
        out[begin, 1], out[begin, 2] = begins_at, last


@njit(inline="always")
def _comes_first(shards, first, is_short, end_of_text, one, other):  # type: ignore[no-untyped-def]
    """Return whether the suffix at a position comes before that at another in the order; equal
    suffixes stand in the order of their positions.
    """
    a, b = _shard_of(first, one), _shard_of(first, other)
    for place in range(min(first[a + 1] - one, first[b + 1] - other)):
        x = _token(shards[a], is_short, one - first[a] + place)
        y = _token(shards[b], is_short, other - first[b] + place)
        if x != y:
            return x < y
        if x == end_of_text:
            return one < other
    ends = first[a + 1] - one, first[b + 1] - other
    return ends[0] < ends[1] if ends[0] != ends[1] else one < other


_MERGE = int64(
    _ADDRESSES, _NUMBERS, types.boolean, int64, _ADDRESSES, int64, _NUMBERS, _NUMBERS, _NUMBERS, _NUMBERS,
    types.Array(uint64, 1, "C"),
)  # fmt: skip


@compiled(_MERGE)
def merge(shards, first, is_short, end_of_text, arrays, width, counts, taken, heap, heads, out):  # type: ignore[no-untyped-def]
    """Merge sorted parts of a suffix array; fill `out` with the next positions, and return how many
    there are.

    Args:
        arrays: (M,) uint64, addresses of the parts, of `counts` (M,) entries of `width` bytes.
        taken: (M,) int64, entries of each part that were merged; all 0 at the first call.
        heap: (M + 1,) int64, the parts that are not used up, and their number behind them; the loop
            keeps it. The caller begins with zeros and -1.
        heads: (M,) int64, the position that comes next in each part; the loop keeps it.
    """
    size = heap[len(arrays)]
    if size < 0:
        size = 0
        for part in range(len(arrays)):
            if counts[part] > 0:
                heads[part] = _position(arrays[part], width, 0)
                heap[size] = part
                size += 1
                child = size - 1
                while child > 0:
                    parent = (child - 1) // 2
                    if not _comes_first(shards, first, is_short, end_of_text, heads[heap[child]], heads[heap[parent]]):
                        break
                    heap[child], heap[parent] = heap[parent], heap[child]
                    child = parent
    filled = int64(0)
    while filled < len(out) and size > 0:
        part = heap[0]
        out[filled] = heads[part]
        filled += 1
        taken[part] += 1
        if taken[part] < counts[part]:
            heads[part] = _position(arrays[part], width, taken[part])
        else:
            size -= 1
            heap[0] = heap[size]
        parent = 0
        while True:
            child = 2 * parent + 1
            if child >= size:
                break
            if child + 1 < size and _comes_first(
                shards, first, is_short, end_of_text, heads[heap[child + 1]], heads[heap[child]]
            ):
                child += 1
            if not _comes_first(shards, first, is_short, end_of_text, heads[heap[child]], heads[heap[parent]]):
                break
            heap[child], heap[parent] = heap[parent], heap[child]
            parent = child
    heap[len(arrays)] = size
    return filled
