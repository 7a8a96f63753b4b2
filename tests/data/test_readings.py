"""When a run read which tokens is computed backwards, and is what replaying every batch shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_research.data.loader import DataLoader, shards_by_array
from gpt_research.data.order import MIX_BLOCK, Permutation, SampleOrder
from gpt_research.data.readings import Reading, Stretch, readings
from gpt_research.data.shards import Shard, TokenFiles

BLOCK_SIZE = 8


def corpus_of(folder: Path, *lengths: int) -> TokenFiles:
    folder.mkdir()
    shards = []
    for number, length in enumerate(lengths):
        np.arange(length).astype("<u2").tofile(folder / f"{number}.bin")
        starts = list(range(0, length, 37))  # documents of 37 tokens, and a last one
        lengths = [min(37, length - start) for start in starts]
        pq.write_table(pa.table({"start": starts, "tokens": lengths}), folder / f"{number}.parquet")
        shards.append(Shard(f"{number}.bin", length))
    return TokenFiles(folder, shards, np.dtype("<u2"), BLOCK_SIZE)


@given(n=st.integers(1, 3000), key=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_permutation_is_undone_by_its_inverse(n: int, key: int) -> None:
    permutation, positions = Permutation(n, (key,)), np.arange(n)
    assert np.array_equal(permutation.inverse(permutation(positions)), positions)
    assert np.array_equal(permutation(permutation.inverse(positions)), positions)


@pytest.mark.parametrize("weights", [{}, {"a": 0.7, "b": 0.3}, {"a": 1.0}, {"a": 1e-9, "b": 1.0}])
def test_samples_of_windows_are_those_at_which_the_blocks_hold_them(weights: dict[str, float]) -> None:
    order = SampleOrder({"a": 613, "b": 41}, weights, seed=11)
    blocks = [order.block(number) for number in range(4)]
    corpus, window, epoch = (np.concatenate(column) for column in zip(*blocks, strict=True))
    for index, name in enumerate(order.names):
        epochs = order.epochs(name, range(4 * MIX_BLOCK))
        assert set(epoch[corpus == index]) <= set(epochs)
        for e in set(epochs) & set(epoch[corpus == index].tolist()):
            at = np.flatnonzero((corpus == index) & (epoch == e))
            assert np.array_equal(order.samples_of(name, e, window[at]), at)


Seen = tuple[int, int, list[tuple[str, int, int, int]]]
"""Step, row, and the pieces of a window: corpus, shard, first token, number of tokens."""


def replayed(loaders: list[DataLoader], files: dict[str, TokenFiles], steps: range) -> list[Seen]:
    """Return every window that the ranks read."""
    names, found = shards_by_array(files), []
    for step in steps:
        row = 0
        for micro_step in range(loaders[0].micro_steps):
            for loader in loaders:
                for spans in loader.windows(step - 1, micro_step):
                    pieces = [(*names[id(array)], first, length) for array, first, length in spans]
                    found.append((step, row, pieces))
                    row += 1
    return found


def expected(windows: list[Seen], stretch: Stretch) -> list[tuple[int, int, int, int, int]]:
    """Step, row, the part that was held and its place, of each window with tokens of a stretch."""
    found = []
    for step, row, pieces in windows:
        place = 0
        for corpus, shard, first, length in pieces:
            low, high = max(stretch.start, first), min(stretch.stop, first + length)
            if (corpus, shard) == (stretch.corpus, stretch.shard) and low < high:
                found.append((step, row, low - stretch.start, high - stretch.start, place + low - first))
            place += length
    return found


@pytest.mark.parametrize(
    ("weights", "world_size", "samples_per_step", "shuffle_documents"),
    [
        ({}, 1, 8, False),
        ({"a": 0.8, "b": 0.2}, 1, 24, True),
        ({"a": 0.05, "b": 0.95}, 2, 64, False),
        ({"b": 1.0}, 4, 32, True),
    ],
)
def test_readings_are_those_of_replayed_batches(
    weights: dict[str, float], world_size: int, samples_per_step: int, shuffle_documents: bool, tmp_path: Path
) -> None:
    files = {"a": corpus_of(tmp_path / "a", 700, 90, 5, 403), "b": corpus_of(tmp_path / "b", 333, 50)}
    loaders = [
        DataLoader(
            files,
            weights,
            samples_per_step=samples_per_step,
            micro_batch=2,
            seed=3,
            rank=rank,
            world_size=world_size,
            shuffle_documents=shuffle_documents,
        )
        for rank in range(world_size)
    ]
    steps = range(5, 5 + 5000 // samples_per_step)  # over a thousand samples: many passes, and blocks of the mix
    windows = replayed(loaders, files, steps)
    rng = np.random.default_rng(0)
    stretches = []
    for _ in range(150):
        corpus = str(rng.choice(["a", "b"]))
        shard = int(rng.integers(len(files[corpus].arrays)))
        start = int(rng.integers(len(files[corpus].arrays[shard])))
        ends = files[corpus].document_ends(shard)
        of_document = int(ends[np.searchsorted(ends, start, side="right")])
        stop = min(of_document, start + int(rng.choice([1, 2, 5, 9, 10, 30])))
        stretches.append(Stretch(corpus, shard, start, stop))
    for stretch, found in zip(stretches, readings(loaders[-1], stretches, steps), strict=True):
        seen = expected(windows, stretch)
        by_epoch: dict[int, list[Reading]] = {}
        for reading in found:
            by_epoch.setdefault(reading.epoch, []).append(reading)
        for of_pass in by_epoch.values():  # parts are listed only if no window of the pass held the whole
            wholes = [r.last - r.first == stretch.stop - stretch.start for r in of_pass]
            assert all(wholes) or not any(wholes)
        given_back = [(r.step, r.row, r.first, r.last, r.in_window) for r in found]
        missing = [window for window in seen if window not in given_back]
        assert set(given_back) <= set(seen)
        # Not listed is the token that a window shares with the next, which held the whole stretch.
        assert all(held_to - held_from < stretch.stop - stretch.start for _, _, held_from, held_to, _ in missing)
        if stretch.stop - stretch.start > BLOCK_SIZE + 1:
            assert not missing
            assert not any(last - first == stretch.stop - stretch.start for _, _, first, last, _ in given_back)
        whole = [each for each in seen if each[3] - each[2] == stretch.stop - stretch.start]
        assert set(whole) <= set(given_back)


def test_a_span_that_no_window_holds_whole_is_read_in_parts(tmp_path: Path) -> None:
    files = {"a": corpus_of(tmp_path / "a", 8 * 50 + 1)}  # no slack, so each pass cuts it alike
    loader = DataLoader(files, {}, samples_per_step=10, micro_batch=10, seed=1)
    (across, within), steps = [Stretch("a", 0, 12, 20), Stretch("a", 0, 9, 15)], range(1, 6)
    parts, whole = readings(loader, [across, within], steps)
    assert [(r.first, r.last, r.in_window) for r in sorted(parts, key=lambda r: r.first)] == [(0, 5, 4), (4, 8, 0)]
    assert [(r.first, r.last) for r in whole] == [(0, 6)]
    assert readings(loader, [across], range(1, 1)) == [[]]
