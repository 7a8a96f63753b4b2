"""A batch is a pure function of (seed, step); every window comes once a pass; ranks share one
order.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_research.base.errors import UserError
from gpt_research.config import TrainConfig
from gpt_research.data.loader import DataLoader, evaluation_batches
from gpt_research.data.order import MIX_BLOCK, Permutation, SampleOrder
from gpt_research.data.shards import Dataset, TokenFiles
from gpt_research.training.inputs import loader_of_run


def files_of(tmp_path: Path, *lengths: int, block_size: int = 8) -> TokenFiles:
    """Shards whose token at place t of shard s is 1000 s + t."""
    from gpt_research.data.shards import Shard

    shards = []
    for s, n in enumerate(lengths):
        (1000 * s + np.arange(n)).astype("<u2").tofile(tmp_path / f"{s}.bin")
        shards.append(Shard(f"{s}.bin", n))
    return TokenFiles(tmp_path, shards, np.dtype("<u2"), block_size)


def loader_of(files: dict[str, TokenFiles], weights: dict[str, float] | None = None, **kwargs: int) -> DataLoader:
    settings = {"samples_per_step": 8, "micro_batch": 2, "seed": 5, **kwargs}
    return DataLoader(files, weights or {}, **settings)


@given(n=st.integers(1, 3000), key=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_permutation_hits_every_element_once(n: int, key: int) -> None:
    assert np.array_equal(np.sort(Permutation(n, (key,))(np.arange(n))), np.arange(n))


def test_a_permutation_looks_random() -> None:
    n = 100_000
    out = Permutation(n, (1, 2))(np.arange(n))
    assert abs(np.corrcoef(np.arange(n), out)[0, 1]) < 0.02
    steps = np.diff(out)
    assert np.mean(np.abs(steps) < 10) < 0.001  # neighbours do not stay neighbours
    other = Permutation(n, (1, 3))(np.arange(n))
    assert np.mean(out == other) < 0.001


def test_targets_are_the_tokens_that_follow(tmp_path: Path) -> None:
    tokens, targets = loader_of({"a": files_of(tmp_path, 400, 300)}).batch(3, 1)
    assert tokens.shape == targets.shape == (2, 8)
    assert tokens.dtype == torch.int64
    assert torch.equal(targets, tokens + 1)  # by construction of the shards


def test_each_pass_reads_every_window_once(tmp_path: Path) -> None:
    files = files_of(tmp_path, 400, 300, 5)
    loader = loader_of({"a": files}, samples_per_step=2)
    n = files.num_windows
    assert n == 399 // 8 + 299 // 8
    starts = [int(row[0]) for step in range(n // 2 * 2) for row in loader.batch(step, 0)[0]]
    first, second = starts[:n], starts[n : 2 * n]
    for one_pass in (first, second):
        assert len(set(one_pass)) == n
        windows = {(start // 1000, start % 1000 // 8) for start in one_pass}
        assert len(windows) == n
    assert first != second


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    files = {"a": files_of(tmp_path, 9000)}
    one, two = loader_of(files), loader_of(files)
    for step in (7, 2, 7000, 0):  # any order, no state
        one.batch(step, 3)
    assert torch.equal(one.batch(5, 1)[0], two.batch(5, 1)[0])
    assert not torch.equal(one.batch(5, 1)[0], loader_of(files, seed=6).batch(5, 1)[0])
    assert not torch.equal(one.batch(5, 1)[0], one.batch(6, 1)[0])


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_the_samples_of_a_step_do_not_depend_on_ranks_or_micro_batch(
    tmp_path: Path, world_size: int, micro_batch: int
) -> None:
    files = {"a": files_of(tmp_path, 9000)}
    alone = loader_of(files)
    expected = torch.cat([alone.batch(9, m)[0] for m in range(4)])
    ranks = [loader_of(files, rank=rank, world_size=world_size, micro_batch=micro_batch) for rank in range(world_size)]
    found = torch.cat([r.batch(9, m)[0] for m in range(ranks[0].micro_steps) for r in ranks])
    assert torch.equal(found, expected)


def test_a_micro_batch_may_span_two_blocks_of_the_mix(tmp_path: Path) -> None:
    files = {"a": files_of(tmp_path, 60_000, block_size=8)}
    by_three = loader_of(files, samples_per_step=3, micro_batch=3)
    by_one = loader_of(files, samples_per_step=3, micro_batch=1)
    step = MIX_BLOCK // 3  # its samples are the last of one block and the first of the next
    assert torch.equal(by_three.batch(step, 0)[0], torch.cat([by_one.batch(step, m)[0] for m in range(3)]))


def test_corpora_are_mixed_by_weight() -> None:
    order = SampleOrder({"a": 1000, "b": 50}, {"a": 1.0, "b": 3.0}, seed=1)
    corpus, window, epoch = order.block(2)
    assert np.bincount(corpus).tolist() == [MIX_BLOCK // 4, 3 * MIX_BLOCK // 4]
    b = window[corpus == 1]
    assert np.bincount(b, minlength=50).max() - np.bincount(b, minlength=50).min() <= 2
    assert epoch[corpus == 1].min() == 2 * 3072 // 50
    assert order.passes(MIX_BLOCK) == {"a": pytest.approx(1.024), "b": pytest.approx(61.44)}


def test_without_weights_corpora_are_mixed_by_size() -> None:
    order = SampleOrder({"a": 3000, "b": 1000, "empty": 0}, {}, seed=1)
    assert order.quota.tolist() == [3072, 1024, 0]


@given(
    sizes=st.lists(st.integers(1, 10**9), min_size=1, max_size=6),
    temperature=st.sampled_from([0.5, 1.0, 1.7, 1 / 0.3, 100.0]),
)
@settings(max_examples=60, deadline=None)
def test_shares_go_by_size_to_the_power_of_one_over_the_temperature(sizes: list[int], temperature: float) -> None:
    order = SampleOrder({str(i): n for i, n in enumerate(sizes)}, {}, seed=1, temperature=temperature)
    # XLM-R's formula: q_i = p_i ** alpha / sum of p_j ** alpha, alpha = 1 / temperature.
    p = np.array(sizes) / sum(sizes)
    q = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
    assert order.quota.sum() == MIX_BLOCK
    assert np.abs(order.quota - q * MIX_BLOCK).max() <= len(sizes)  # whole samples, at least one for each


def test_a_higher_temperature_gives_small_corpora_more_epochs() -> None:
    passes = [
        SampleOrder({"large": 100_000, "small": 1_000, "empty": 0}, {}, seed=1, temperature=t).passes(100_000)
        for t in (1.0, 2.0, 5.0, 1e9)
    ]
    small = [each["small"] for each in passes]
    assert small == sorted(small)
    assert small[0] == pytest.approx(1, rel=0.05)
    assert small[1] == pytest.approx(100_000 / 11 / 1_000, rel=0.01)  # shares of 10 : 1
    assert small[3] == pytest.approx(50)
    assert all(each["empty"] == 0 for each in passes)


def test_a_run_reads_with_its_own_temperature(tiny_run: TrainConfig) -> None:
    dataset = Dataset(tiny_run.data, tiny_run.model.block_size)
    hot = loader_of_run(replace(tiny_run, mix_temperature=1e9), dataset.train)
    assert hot.order.quota.tolist() == [MIX_BLOCK // 2, MIX_BLOCK // 2]
    assert loader_of_run(tiny_run, dataset.train).order.quota[0] > 0.6 * MIX_BLOCK


def test_a_temperature_beside_weights_is_refused() -> None:
    with pytest.raises(UserError, match=r"mix_temperature is 2\.0, but it must be left out where weights are given"):
        TrainConfig(weights={"a": 1.0}, mix_temperature=2.0)
    with pytest.raises(UserError, match="a number above 0"):
        TrainConfig(mix_temperature=0.0)


def test_adding_a_corpus_does_not_reshuffle_another() -> None:
    alone, joined = (
        SampleOrder({"a": 500}, {}, seed=1),
        SampleOrder({"b": 100, "a": 500}, {"a": 1.0, "b": 1.0}, seed=1),
    )
    places = np.arange(500)
    a = alone._windows(0, np.zeros(500, np.int64), places)
    assert np.array_equal(a, joined._windows(1, np.zeros(500, np.int64), places))


@pytest.mark.parametrize(
    ("weights", "says"),
    [({"enorn": 1.0}, 'Did you mean "enron"'), ({"enron": 0.0}, "above 0"), ({"empty": 1.0}, "no window")],
)
def test_wrong_weights_are_refused(weights: dict[str, float], says: str) -> None:
    with pytest.raises(UserError, match=says):
        SampleOrder({"enron": 10, "empty": 0}, weights, seed=1)


def test_evaluation_scores_every_token_but_the_first_once(tmp_path: Path) -> None:
    files = files_of(tmp_path, 45, 9, 1)
    targets = torch.cat([t for _, t in evaluation_batches(files, None, 4)])
    counted = targets[targets >= 0]
    assert sorted(counted.tolist()) == [*range(1, 45), *range(1001, 1009)]
    halves = [torch.cat([t for _, t in evaluation_batches(files, None, 4, rank, 2)]) for rank in range(2)]
    both = torch.cat(halves)
    assert sorted(both[both >= 0].tolist()) == sorted(counted.tolist())


def test_evaluation_of_a_part_is_spread_over_the_whole(tmp_path: Path) -> None:
    files = files_of(tmp_path, 801)
    tokens = torch.cat([t for t, _ in evaluation_batches(files, 80, 2)])
    assert tokens[:, 0].tolist() == [80 * i for i in range(10)]


def test_the_loader_reads_what_preprocessing_wrote(dataset_folder: Path) -> None:
    dataset = Dataset(dataset_folder, 32)
    loader = DataLoader(dataset.train, {}, samples_per_step=8, micro_batch=8, seed=1)
    tokens, _ = loader.batch(0, 0)
    assert tokens.max() < next(iter(dataset.manifests.values())).vocab_size
    assert {"plays", "tales"} == set(dataset.train)
