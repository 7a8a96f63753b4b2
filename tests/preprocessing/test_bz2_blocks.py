"""A bzip2 file's blocks, each by itself, are together what the whole decompresses to."""

from __future__ import annotations

import bz2
import io
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_research.preprocessing.formats import bz2_blocks
from gpt_research.preprocessing.formats.bz2_blocks import block_offsets, contents, read_block
from gpt_research.preprocessing.formats.bz2_decoder import decode


def text(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def read_all(packed: bytes, start: int = 0) -> list[bytes]:
    file = io.BytesIO(packed)
    return [read_block(file, begin, end) for begin, end in pairwise(block_offsets(file, start))]


@pytest.mark.parametrize("level", [1, 5, 9])
@pytest.mark.parametrize(
    "texts",
    [
        [text(1_700_000, 1)],
        [text(100, 1), b"", text(350_000, 2), b"x", text(1, 3)],
        [text(350_000, 6), b"", b"", text(10, 7)],
        [bytes(5_000_000), text(10, 4) * 100_000],
    ],
)
@pytest.mark.parametrize("behind", [b"", bytes(512), b"no bzip2"])
def test_blocks_join_to_the_whole(
    texts: list[bytes], level: int, behind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bz2_blocks, "_LONG", 1)
    packed = b"".join(bz2.compress(each, level) for each in texts) + behind
    assert b"".join(read_all(packed)) == b"".join(texts)
    together = [content for _, _, content in contents(io.BytesIO(packed), 0, len(packed))]
    assert together == read_all(packed)


def test_from_any_byte_on_the_blocks_that_begin_there_are_found() -> None:
    packed = bz2.compress(text(1_500_000, 5), 1)
    offsets = list(block_offsets(io.BytesIO(packed), 0))
    assert len(offsets) == 17  # sixteen blocks and the end
    for begin in offsets[:-1]:
        file = io.BytesIO(packed)
        assert next(block_offsets(file, begin // 8)) == begin
        assert next(block_offsets(file, begin // 8 + 1)) > begin


def test_no_window_border_hides_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = bz2.compress(text(400_000, 6), 1)
    whole = list(block_offsets(io.BytesIO(packed), 0))
    for window in range(20_000, 20_100):
        monkeypatch.setattr("gpt_research.preprocessing.formats.bz2_blocks._WINDOW", window)
        assert list(block_offsets(io.BytesIO(packed), 0)) == whole
    monkeypatch.setattr("gpt_research.preprocessing.formats.bz2_blocks._WINDOW", 16)
    assert list(block_offsets(io.BytesIO(packed[:200_000]), 0))[:-1] == [each for each in whole if each < 8 * 199_994]


@pytest.mark.parametrize("damage", ["a changed bit", "a cut"])
def test_damage_is_an_error_of_its_block(damage: str) -> None:
    packed = bytearray(bz2.compress(text(400_000, 7), 1))
    offsets = list(block_offsets(io.BytesIO(packed), 0))
    if damage == "a cut":
        del packed[offsets[2] // 8 + 5_000 :]
        offsets[3:] = [8 * len(packed)]
    else:
        packed[offsets[2] // 8 + 5_000] ^= 4
    file = io.BytesIO(packed)
    for index, (begin, end) in enumerate(pairwise(offsets)):
        if index == 2:
            with pytest.raises((OSError, ValueError)):
                read_block(file, begin, end)
        else:
            assert read_block(file, begin, end) == text(400_000, 7)[index * 99_981 : (index + 1) * 99_981]


def spans_of(packed: bytes) -> list[tuple[int, int]]:
    return list(pairwise(block_offsets(io.BytesIO(packed), 0)))


def data_of(packed: bytes, span: tuple[int, int]) -> tuple[bytes, int]:
    return packed[span[0] // 8 : -(-span[1] // 8)], span[0] % 8


@pytest.mark.parametrize(
    "content",
    [
        b"one",
        text(250_000, 8),  # all bytes, with codes of one length
        bytes(300_000),  # one byte, in runs
        b"".join(bytes([each]) * length for length in range(300) for each in (65, 66)),  # runs of each length
        b"".join(b"%d squared is %d, they say.\n" % (each, each**2) for each in range(9_000)),
        b"a" * 700_000 + b"".join(bytes([97 + each % 5]) for each in range(1_000)),  # codes of many lengths
    ],
)
def test_the_decoder_of_several_blocks_needs_no_other_for_what_compressors_write(content: bytes) -> None:
    packed = bz2.compress(content, 1)
    spans = spans_of(packed)
    decoded = [decode([data_of(packed, span) for span in spans[at : at + 4]]) for at in range(0, len(spans), 4)]
    assert b"".join(block or b"lost" for blocks in decoded for block in blocks) == content


def test_the_blocks_after_the_end_of_a_range_are_yielded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bz2_blocks, "_LONG", 1)
    packed = bz2.compress(text(1_000_000, 9), 1)
    middle = len(packed) // 2
    found = list(contents(io.BytesIO(packed), 0, middle))
    assert [span[:2] for span in found] == spans_of(packed)
    assert b"".join(each for _, _, each in found if isinstance(each, bytes)) == text(1_000_000, 9)


PACKED = bz2.compress(b"".join(b"%d is %x, or so. " % (each, each) for each in range(6_000)), 1)


@given(st.data())
def test_a_damaged_block_is_never_taken_for_a_whole_one(data: st.DataObject) -> None:
    [span] = spans_of(PACKED)[:1]
    block, begin = data_of(PACKED, span)
    changed = bytearray(block)
    for at in data.draw(st.lists(st.integers(6, len(block) - 12) | st.integers(6, 400), min_size=1, max_size=4)):
        changed[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(20, len(block)) | st.just(len(block)))
    [decoded] = decode([(bytes(changed[:cut]), begin)])
    assert decoded is None or changed == block
