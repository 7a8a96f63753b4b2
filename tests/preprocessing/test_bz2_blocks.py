"""A bzip2 file's blocks, each by itself, are together what the whole decompresses to."""

from __future__ import annotations

import bz2
import io
import random
from itertools import pairwise

import pytest

from gpt_research.preprocessing.formats.bz2_blocks import block_offsets, read_block


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
def test_blocks_join_to_the_whole(texts: list[bytes], level: int, behind: bytes) -> None:
    packed = b"".join(bz2.compress(each, level) for each in texts) + behind
    assert b"".join(read_all(packed)) == b"".join(texts)


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
