"""All ranks of a run begin with one truth, or none of them begins."""

from __future__ import annotations

import dataclasses
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from rank_launcher import Ended, Rank, outcomes

from gpt_research.checkpoint.files import checkpoint_path, load_newest, saved_steps
from gpt_research.config import TrainConfig
from gpt_research.training.agreement import checksums
from gpt_research.training.loop import train

SOON = "from gpt_research.checkpoint import choice; choice.SEEN_WITHIN_S = 0.5\n"
"""A rank that does not wait long for another host's files."""
ON_RANK_1 = f"on host {socket.gethostname()} (rank 1): "


@pytest.fixture
def run(tiny_run: TrainConfig) -> TrainConfig:
    model = dataclasses.replace(tiny_run.model, n_layer=1, n_embd=16, dropout=0.0)
    return dataclasses.replace(tiny_run, model=model, micro_batch=4, eval_interval=0, save_interval=2, keep_last=9)


def elsewhere(config: TrainConfig, folder: str) -> TrainConfig:
    return dataclasses.replace(config, out=folder)


def all_say(ranks: list[Ended], *parts: str) -> bool:
    """Whether every rank ended with the same error, and it has these parts."""
    errors = {rank.error for rank in ranks}
    return len(errors) == 1 and all(part in next(iter(errors)) for part in ("SharedError: ", *parts))


def flip(file: Path) -> None:
    """Change the last byte of a file."""
    with open(file, "r+b") as opened:
        opened.seek(-1, 2)
        last = opened.read(1)[0]
        opened.seek(-1, 2)
        opened.write(bytes([last ^ 1]))


@pytest.mark.slow
def test_ranks_that_do_not_share_what_they_read_do_not_begin(run: TrainConfig, tmp_path: Path) -> None:
    other, empty, copied = str(tmp_path / "other"), tmp_path / "empty", tmp_path / "copied-data"
    empty.mkdir()
    shutil.copytree(run.data, copied)
    fewer = copied / "tales" / "manifest.json"
    fewer.write_text(fewer.read_text().replace('"reader": "', '"reader": "x'))
    fresh, own, data, no_data, settings, both = outcomes(
        tmp_path,
        [Rank(run, SOON), Rank(elsewhere(run, other), SOON)],
        [Rank(run, SOON), Rank(elsewhere(run, str(empty)), SOON)],
        [Rank(run), Rank(dataclasses.replace(run, data=str(copied)))],
        [Rank(run), Rank(dataclasses.replace(run, data=str(empty)), SOON)],
        [Rank(run), Rank(dataclasses.replace(run, log_interval=3))],
        [Rank(dataclasses.replace(run, data=str(empty))), Rank(dataclasses.replace(run, data=str(empty)))],
        until=2,
    )
    assert all_say(fresh, "The run folder ", "is not the same folder", ON_RANK_1, f"{other} does not exist", "--out")
    assert all_say(own, "is not the same folder", ON_RANK_1, "has no owner.json")
    assert all_say(data, "The data set folder", "is not the same", ON_RANK_1, "its fingerprint is")
    assert all_say(no_data, "The data set folder", "is not the same", ON_RANK_1, "No finished data set")
    assert all_say(settings, "The settings are not the same", ON_RANK_1, "log_interval is 3 and on rank 0 1")
    assert all_say(both, "SharedError: No finished data set"), "what all ranks see needs no rank"
    assert not Path(run.out).exists(), "nothing was written"
    assert not Path(other).exists()
    assert not list(empty.iterdir())


@pytest.mark.slow
def test_ranks_resume_from_one_checkpoint_or_not_at_all(run: TrainConfig, tmp_path: Path) -> None:
    whole = elsewhere(run, str(tmp_path / "whole"))
    train(whole, until=4)
    runs = [Path(shutil.copytree(whole.out, tmp_path / f"run-{number}")) for number in range(6)]

    def view(number: int, *, checkpoints: bool = True) -> TrainConfig:
        """What another host sees of a run: the lock, and checkpoints that are a copy."""
        folder = tmp_path / f"view-{number}"
        folder.mkdir()
        for name in ("owner.json", "config.yaml", "settings.jsonl"):
            (folder / name).symlink_to(runs[number] / name)
        if checkpoints:
            shutil.copytree(runs[number] / "checkpoints", folder / "checkpoints")
        return elsewhere(run, str(folder))

    def ours(number: int, **settings: object) -> TrainConfig:
        return dataclasses.replace(run, out=str(runs[number]), **settings)

    damaged = view(0)
    flip(checkpoint_path(Path(damaged.out), 4) / "model.safetensors")
    misreads = (
        "from gpt_research.checkpoint import files\n"
        "right = files.file_sha256\n"
        "files.file_sha256 = lambda path: '0' if 'step_00000004/model' in str(path) else right(path)\n"
    )
    named = view(2)
    flip(checkpoint_path(Path(named.out), 2) / "optimizer.safetensors")
    behind = view(3)
    shutil.rmtree(checkpoint_path(Path(behind.out), 4))
    late = view(4, checkpoints=False)
    link = [str(runs[4] / "checkpoints"), f"{late.out}/checkpoints"]
    appears = f"import os, threading\nthreading.Timer(1, os.symlink, {link!r}).start()"
    spoiled = (
        "from gpt_research.training.state import RunState\n"
        "restore = RunState.restore\n"
        "def spoil(self, *arguments):\n"
        "    restore(self, *arguments)\n"
        "    self.train_step.optimizer.state[self.train_step.model.norm.weight]['exp_avg'][3] += 1e-9\n"
        "RunState.restore = spoil\n"
    )
    back = {"resume": str(runs[2]), "step": "2"}
    fell_back, fell_back_sharded, refused, not_there, waited, unlike = outcomes(
        tmp_path,
        [Rank(ours(0)), Rank(damaged)],
        [Rank(ours(1, parallel="fsdp")), Rank(ours(1, parallel="fsdp"), misreads)],
        [Rank(ours(2, **back)), Rank(dataclasses.replace(named, resume=named.out, step="2"))],
        [Rank(ours(3), SOON), Rank(behind, SOON)],
        [Rank(ours(4)), Rank(late, appears)],
        [Rank(ours(5)), Rank(ours(5), spoiled)],
        until=6,
    )
    train(whole, until=6)
    expected = load_newest(Path(whole.out))
    assert expected is not None
    for ranks, number in ((fell_back, 0), (fell_back_sharded, 1)):
        assert [rank.steps for rank in ranks] == [[2, 6], [2, 6]], "all ranks passed over step 4"
        assert len(ranks[0].warnings) == 1
        assert ON_RANK_1 in ranks[0].warnings[0]
        assert "the SHA-256 of model.safetensors differs" in ranks[0].warnings[0]
        assert not ranks[1].warnings
        found = load_newest(runs[number])
        assert found is not None
        for name, tensor in expected.model.items():
            torch.testing.assert_close(found.model[name], tensor, rtol=1e-3, atol=1e-5, msg=name)
    assert all_say(refused, ON_RANK_1, "the SHA-256 of optimizer.safetensors differs")
    assert saved_steps(runs[2]) == saved_steps(runs[3]) == [2, 4], "nothing was dropped or written"
    assert all_say(not_there, "step_00000004 is not the checkpoint that rank 0 sees", ON_RANK_1, "there is none")
    assert [rank.steps for rank in waited] == [[4, 6], [4, 6]], "what came late was waited for"
    assert all_say(unlike, "Weights and optimizer state are not the same", ON_RANK_1, "exp_avg/norm.weight")


@pytest.mark.slow
def test_ranks_begin_with_the_same_weights_of_another_run_and_the_same_bytes(run: TrainConfig, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("one", "two"):
        (tmp_path / name / "data").mkdir(parents=True)
        generator.integers(0, 50257, 4000, dtype=np.uint16).tofile(tmp_path / name / "data" / "train.bin")
    source = elsewhere(run, str(tmp_path / "source"))
    train(source, until=4)
    for name in ("same", "changed"):
        shutil.copytree(source.out, tmp_path / name / "source")
    shutil.rmtree(checkpoint_path(tmp_path / "changed" / "source", 4))

    def beside(folder: str) -> str:
        return f"import os; os.chdir({str(tmp_path / folder)!r})\n"

    first, second, third = (
        dataclasses.replace(run, out=str(tmp_path / f"new-{number}"), init_from="source") for number in range(3)
    )
    equal, unequal, bytes_differ = outcomes(
        tmp_path,
        [Rank(first, beside(".")), Rank(first, beside("same"))],
        [Rank(second, beside(".")), Rank(second, SOON + beside("changed"))],
        [Rank(dataclasses.replace(third, init_from="", data=str(tmp_path / name / "data"))) for name in ("one", "two")],
        until=1,
    )
    assert [rank.steps for rank in equal] == [[0, 1], [0, 1]], equal
    assert all_say(unequal, "is not the checkpoint that rank 0 sees", ON_RANK_1)
    assert all_say(bytes_differ, "The data set folder", ON_RANK_1, "some of its tokens is")


def test_a_checksum_tells_tensors_apart_that_differ_in_one_bit_or_in_their_order() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.bool, torch.int64):
        plain = (torch.arange(9000) % 7).to(dtype)
        others = [plain.clone() for _ in range(3)]
        others[0][4321] = not others[0][4321]
        others[1][[0, 1]] = others[1][[1, 0]]
        sums = [checksums({"x": tensor})["x"] for tensor in (plain, plain.clone(), *others[:2])]
        assert sums[0] == sums[1]
        assert sums[0] not in sums[2:], dtype
    negative = torch.zeros(3)
    negative[1] = -0.0
    assert checksums({"x": negative}) != checksums({"x": torch.zeros(3)})
