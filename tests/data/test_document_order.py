"""With shuffle_documents each pass reads the documents of a shard whole, once, in another order."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_research.base.errors import UserError
from gpt_research.cli.where import windows_of_run
from gpt_research.config import TrainConfig
from gpt_research.data.document_order import DocumentOrder
from gpt_research.data.loader import DataLoader
from gpt_research.data.shards import Dataset, Shard, TokenFiles, gather, index_path
from gpt_research.training.inputs import loader_of_run


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=40), key=st.integers(0, 1000), data=st.data())
def test_a_pass_has_every_document_whole_and_once(lengths: list[int], key: int, data: st.DataObject) -> None:
    ends = np.cumsum(lengths)
    order = DocumentOrder(ends, (key,))
    whole = order.spans(0, int(ends[-1]))
    starts = [int(end) - length for end, length in zip(ends, lengths, strict=True)]
    assert sorted(whole) == sorted(zip(starts, lengths, strict=True))
    as_read = np.concatenate([np.arange(first, first + length) for first, length in whole])
    place = data.draw(st.integers(0, int(ends[-1]) - 1))
    length = data.draw(st.integers(1, int(ends[-1]) - place))
    pieces = [np.arange(first, first + taken) for first, taken in order.spans(place, length)]
    assert np.array_equal(np.concatenate(pieces), as_read[place : place + length])
    assert np.array_equal(order.places(as_read), np.arange(ends[-1]))


def passes(config: TrainConfig, count: int) -> list[np.ndarray]:
    """Return the windows that a run reads in each of its first passes over its only corpus."""
    files = {"tales": Dataset(config.data, config.model.block_size).train["tales"]}
    loader = DataLoader(
        files, {}, samples_per_step=1, micro_batch=1, seed=config.seed, shuffle_documents=config.shuffle_documents
    )
    windows = files["tales"].num_windows
    read = [loader.sequences(step, 0)[0].numpy() for step in range(count * windows)]
    return [np.stack(read[n * windows : (n + 1) * windows]) for n in range(count)]


def test_passes_join_other_documents_and_hold_the_same_tokens(tiny_run: TrainConfig) -> None:
    plain, shuffled = (passes(replace(tiny_run, shuffle_documents=on), 3) for on in (False, True))
    end = max(int(part.max()) for part in plain)  # <|endoftext|> has the last id

    def joints(windows: np.ndarray) -> set[tuple[int, ...]]:
        """Return the three tokens after each end of a document."""
        rows, columns = np.nonzero(windows[:, :-4] == end)
        return {tuple(windows[row, column + 1 : column + 4]) for row, column in zip(rows, columns, strict=True)}

    counts = [np.bincount(part[:, 1:].ravel(), minlength=end + 1) for part in (*plain, *shuffled)]
    spread = max(np.abs(a - b).sum() for a, b in pairwise(counts))
    assert spread <= 4 * tiny_run.model.block_size, "a pass leaves out less than a window of each shard"
    assert any(not np.array_equal(np.sort(a, axis=0), np.sort(b, axis=0)) for a, b in pairwise(shuffled))
    assert joints(shuffled[0])


def test_each_rank_reads_its_part_of_the_same_order(tiny_run: TrainConfig) -> None:
    config = replace(tiny_run, shuffle_documents=True)
    files = Dataset(config.data, config.model.block_size).train
    alone = loader_of_run(config, files)
    ranks = [loader_of_run(config, files, rank, 2) for rank in range(2)]
    whole = np.concatenate([alone.sequences(3, m) for m in range(alone.micro_steps)])
    parts = [ranks[rank].sequences(3, m) for m in range(ranks[0].micro_steps) for rank in range(2)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_a_step_is_led_back_to_the_documents_of_its_spans(tiny_run: TrainConfig) -> None:
    config = replace(tiny_run, shuffle_documents=True)
    loader = loader_of_run(config, Dataset(config.data, config.model.block_size).train)
    step = next(s for s in range(config.max_steps) if any(len(w) > 1 for w in loader.windows(s, 0)))
    windows = [window for m in range(loader.micro_steps) for window in loader.windows(step, m)]
    found = list(windows_of_run(config, step + 1, config.data))
    for origins, window in zip(found, windows, strict=True):
        assert [origin.token_in_shard for origin in origins] == [first for _, first, _ in window]
        assert sum(length for *_, length in window) == config.model.block_size + 1
    assert np.array_equal(gather(windows[:2], config.model.block_size), loader.sequences(step, 0)[:2])


def test_without_an_index_of_documents_it_is_refused(tmp_path: Path, dataset_folder: Path) -> None:
    np.zeros(50, "<u2").tofile(tmp_path / "train.bin")
    foreign = TokenFiles(tmp_path, [Shard("train.bin", 50)], np.dtype("<u2"), 8)
    with pytest.raises(UserError, match=r"shuffle_documents is on.*train\.parquet.*leave shuffle_documents off"):
        foreign.document_ends(0)
    tales = Dataset(dataset_folder, 8).train["tales"]
    other = TokenFiles(tales.folder, [*tales.shards], np.dtype("<u2"), 8)
    other.arrays[0] = other.arrays[0][:-1]
    with pytest.raises(UserError, match="does not fit its shard"):
        other.document_ends(0)
    assert index_path(tales.folder, tales.shards[0]).is_file()
