"""A checkpoint is whole or it is not there; damage is caught before a tensor is used."""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import (
    Checkpoint,
    Part,
    SavedTensors,
    checkpoint_path,
    load_checkpoint,
    load_newest,
    load_step,
    resumable_steps,
    saved_steps,
    verify_checkpoint,
)
from gpt_research.checkpoint.saver import BackgroundSaver, save_checkpoint
from gpt_research.checkpoint.weights import model_tensors, restore_model
from gpt_research.config import TrainConfig
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import load_model
from gpt_research.training.inspect_run import inspect_run
from gpt_research.training.loop import train

CONFIG = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=8, vocab_size=50)


def make(step: int) -> Checkpoint:
    torch.manual_seed(step)
    model = GPT(CONFIG)
    return Checkpoint(step, model_tensors(model), {"exp_avg/x": torch.randn(3)}, {"scaler": {"scale": 2.0}})


def test_a_checkpoint_goes_round(tmp_path: Path) -> None:
    saved = make(7)
    save_checkpoint(tmp_path, saved, keep_last=2)
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert (loaded.step, loaded.state) == (7, saved.state)
    assert all(torch.equal(saved.model[k], v) for k, v in loaded.model.items())
    assert torch.equal(saved.optimizer["exp_avg/x"], loaded.optimizer["exp_avg/x"])
    other = GPT(CONFIG)
    restore_model(other, loaded.model, "here")
    assert all(torch.equal(saved.model[k], v) for k, v in model_tensors(other).items())


def test_the_padding_rows_are_not_saved(tmp_path: Path) -> None:
    assert make(1).model["token_embedding.weight"].shape == (50, 16)
    assert GPT(CONFIG).token_embedding.weight.shape == (64, 16)
    assert "head.weight" not in make(1).model  # tied


def test_the_newest_is_the_highest_step_whatever_the_clock_says(tmp_path: Path) -> None:
    for step in (200_000_000, 3, 40):
        save_checkpoint(tmp_path, make(step), keep_last=9)
    os.utime(checkpoint_path(tmp_path, 3), (4e9, 4e9))
    assert saved_steps(tmp_path) == [3, 40, 200_000_000]
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert loaded.step == 200_000_000


def test_only_the_last_ones_stay(tmp_path: Path) -> None:
    for step in range(5):
        save_checkpoint(tmp_path, make(step), keep_last=2)
    assert saved_steps(tmp_path) == [3, 4]


def test_one_changed_byte_or_a_cut_is_caught_and_the_one_before_is_taken(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make(1), keep_last=9)
    newest = save_checkpoint(tmp_path, make(2), keep_last=9)
    rng = random.Random(0)
    originals = {path.name: path.read_bytes() for path in newest.iterdir()}
    for trial in range(100):
        name = rng.choice(["model.safetensors", "optimizer.safetensors"])
        data = bytearray(originals[name])
        if trial % 2:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        else:
            del data[rng.randrange(len(data)) :]
        (newest / name).write_bytes(data)
        with pytest.raises(UserError, match=f"damaged.*{name}"):
            load_checkpoint(newest)
        (newest / name).write_bytes(originals[name])
    (newest / "model.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="Falling back to the one before"):
        loaded = load_newest(tmp_path)
    assert loaded is not None
    assert loaded.step == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"step": 2}', '{"step": 2, "files": {}}'])
def test_a_strange_state_file_is_damage(tmp_path: Path, content: str) -> None:
    folder = save_checkpoint(tmp_path, make(2), keep_last=9)
    (folder / "state.json").write_text(content)
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(folder)


def test_when_all_are_damaged_it_says_so(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, make(2), keep_last=9)
    (folder / "state.json").unlink()
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(UserError, match="Every checkpoint"):
        load_newest(tmp_path)


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert load_newest(tmp_path) is None


def test_a_partial_one_is_never_chosen_and_is_cleared_by_the_next(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make(1), keep_last=9)
    part = tmp_path / "checkpoints" / ".step_00000002.part"
    part.mkdir()
    (part / "model.safetensors").write_bytes(b"half")
    assert saved_steps(tmp_path) == [1]
    save_checkpoint(tmp_path, make(3), keep_last=9)
    assert not part.exists()


def test_a_full_disk_leaves_the_older_one_and_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, make(1), keep_last=9)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(UserError, match="Free some space"):
            save_checkpoint(tmp_path, make(2), keep_last=9)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["latest", "step_00000001"]
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert loaded.step == 1


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    wide = GPT(GPTConfig(n_layer=1, n_head=2, n_embd=32, block_size=8, vocab_size=50))
    with pytest.raises(UserError, match="has shape"):
        restore_model(wide, make(1).model, "here")
    deep = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8, vocab_size=50))
    with pytest.raises(UserError, match="names differ"):
        restore_model(deep, make(1).model, "here")


def test_a_run_folder_can_be_moved_and_still_generates(tiny_run: TrainConfig, tmp_path: Path) -> None:
    import gpt_research

    train(tiny_run)
    moved = tmp_path / "elsewhere"
    Path(tiny_run.out).rename(moved)
    model, tokenizer = gpt_research.load(str(moved))
    assert not model.training
    settings = gpt_research.GenerateConfig(max_new_tokens=5, temperature=0)
    (sample,) = gpt_research.generate(model, tokenizer, "the king", settings)
    assert len(sample.tokens) == 5


def test_a_run_with_another_tokenizer_is_refused(tiny_run: TrainConfig) -> None:
    from gpt_research.data.tokenizer import Tokenizer

    train(tiny_run)
    run = Path(tiny_run.out)
    Tokenizer.train(["something else " * 40], 270).save(run / "tokenizer.json")
    with pytest.raises(UserError, match="not the tokenizer this model was trained with"):
        load_model(run)


def test_no_file_of_a_run_folder_is_a_pickle(tiny_run: TrainConfig) -> None:

    train(tiny_run)
    for path in Path(tiny_run.out).rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not data.startswith((b"PK", b"\x80")), f"{path} looks like a pickle or a zip"
            if path.suffix == ".json":
                json.loads(data)


def in_two_parts(step: int) -> tuple[Checkpoint, list[Checkpoint]]:
    """A checkpoint, and what each of two processes would hold of it."""
    whole, parts = make(step), []
    for index in range(2):
        model, first_rows = {}, {}
        for name, tensor in whole.model.items():
            rows = -(-len(tensor) // 2)
            if len(part := tensor[index * rows : (index + 1) * rows]):
                model[name], first_rows[name] = part, index * rows
        optimizer = {"step/x": torch.tensor(3.0)} if index == 0 else {"exp_avg/x": torch.ones(2)}
        parts.append(Checkpoint(step, model, optimizer, whole.state, first_rows))
    return whole, parts


def save_parts(run: Path, parts: list[Checkpoint]) -> list[BaseException | None]:
    """Save each part on a thread of its own, as processes would; return what each raised."""
    errors: list[BaseException | None] = []
    savers = [BackgroundSaver(run, 9, 0, part=Part(index, len(parts))) for index in range(len(parts))]
    savers[0].prepare(parts[0].step)
    for saver, part in zip(savers, parts, strict=True):
        saver.save(part)
    for saver in savers:
        try:
            saver.wait()
            errors.append(None)
        except UserError as error:
            errors.append(error)
    return errors


def test_parts_are_read_as_one_whole_or_by_rows(tmp_path: Path) -> None:
    whole, parts = in_two_parts(5)
    assert save_parts(tmp_path, parts) == [None, None]
    folder = checkpoint_path(tmp_path, 5)
    assert sorted(path.name for path in folder.iterdir()) == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "optimizer-00001-of-00002.safetensors",
        "optimizer-00002-of-00002.safetensors",
        "state.json",
    ]
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert loaded.model.keys() == whole.model.keys()
    assert all(torch.equal(loaded.model[name], tensor) for name, tensor in whole.model.items())
    assert set(loaded.optimizer) == {"step/x", "exp_avg/x"}
    name = "token_embedding.weight"
    assert isinstance(loaded.model, SavedTensors)
    for begin, end in ((0, 50), (0, 3), (20, 30), (24, 26), (40, 50)):
        assert torch.equal(loaded.model.rows(name, begin, end), whole.model[name][begin:end])
    model = GPT(CONFIG)
    restore_model(model, loaded.model, "here")
    assert all(torch.equal(whole.model[k], v) for k, v in model_tensors(model).items())


@pytest.mark.parametrize("kind", ["model", "optimizer"])
@pytest.mark.parametrize("index", [1, 2])
def test_a_part_that_is_damaged_or_missing_is_named(tmp_path: Path, kind: str, index: int) -> None:
    save_parts(tmp_path, in_two_parts(5)[1])
    folder = checkpoint_path(tmp_path, 5)
    path = folder / f"{kind}-{index:05d}-of-00002.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match=f"damaged.*{path.name}"):
        load_checkpoint(folder)
    path.unlink()
    with pytest.raises(UserError, match=f"damaged.*{path.name}"):
        load_checkpoint(folder)


def test_where_one_process_cannot_write_none_takes_it_for_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_parts(tmp_path, in_two_parts(1)[1])
    plain = safetensors.torch.save_file

    def full(tensors: object, path: Path, header: object) -> None:
        if "00002-of" in path.name:
            raise OSError(28, "No space left on device")
        plain(tensors, path, header)

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    errors = save_parts(tmp_path, in_two_parts(2)[1])
    assert all("Free some space" in str(error) for error in errors)
    assert saved_steps(tmp_path) == [1]


def test_the_optimizer_may_be_left_out(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, make(1), keep_last=9)
    (folder / "optimizer.safetensors").write_bytes(b"damaged")
    loaded = load_newest(tmp_path, optimizer=False)
    assert loaded is not None
    assert not loaded.optimizer
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(folder)


def thin(tmp_path: Path) -> None:
    """Save five checkpoints, of which the third alone is kept, and without the optimizer's state,
    besides the newest.
    """
    for step in range(2, 7):
        save_checkpoint(tmp_path, make(step), keep_last=1, keep_every=3, keep_every_optimizer=False)


def test_older_ones_are_kept_without_the_optimizer(tmp_path: Path) -> None:
    for step in range(1, 8):
        save_checkpoint(tmp_path, make(step), keep_last=2, keep_every=2, keep_every_optimizer=False, keep={4})
    assert saved_steps(tmp_path) == [2, 4, 6, 7]
    assert resumable_steps(tmp_path) == [4, 6, 7]  # the newest, and what is kept for another reason
    assert not list(checkpoint_path(tmp_path, 2).glob("optimizer*"))
    assert not verify_checkpoint(checkpoint_path(tmp_path, 2), optimizer=False)["files"].keys() & {
        "optimizer.safetensors"
    }
    loaded = load_checkpoint(checkpoint_path(tmp_path, 2), optimizer=False)
    assert all(torch.equal(make(2).model[name], tensor) for name, tensor in loaded.model.items())
    earlier = load_newest(tmp_path, last_step=3)
    assert earlier is None  # training cannot go on from step 2


def test_a_checkpoint_without_the_optimizer_says_from_which_ones_training_can_go_on(tmp_path: Path) -> None:
    thin(tmp_path)
    with pytest.raises(UserError, match=r"without the optimizer's state.*that has it \(6\).*--init_from \S+ --step 3"):
        load_step(tmp_path, "3")
    shutil.rmtree(checkpoint_path(tmp_path, 6))
    with pytest.raises(UserError, match="cannot go on from it: begin a new run"):
        load_newest(tmp_path)
    assert load_newest(tmp_path, optimizer=False) is not None


def test_a_removal_that_was_cut_short_is_finished_by_the_next_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    thin(tmp_path)
    monkeypatch.undo()
    assert (checkpoint_path(tmp_path, 3) / "optimizer.safetensors").is_file()
    assert resumable_steps(tmp_path) == [6]
    save_checkpoint(tmp_path, make(7), keep_last=1, keep_every=3, keep_every_optimizer=False)
    assert not (checkpoint_path(tmp_path, 3) / "optimizer.safetensors").exists()


def test_a_run_goes_on_from_its_newest_and_not_from_one_without_the_optimizer(tiny_run: TrainConfig) -> None:
    run = Path(tiny_run.out)
    kept = replace(tiny_run, eval_interval=0, save_interval=2, keep_last=1, keep_every=4, keep_every_optimizer=False)
    whole = train(replace(kept, out=f"{run}-whole"))
    train(kept, until=7)
    assert saved_steps(run) == [4, 7]
    with pytest.raises(UserError, match=r"was kept without the optimizer's state.*\(7\)"):
        train(replace(kept, resume=str(run), step="4"))
    assert saved_steps(run) == [4, 7]
    train(kept)
    assert saved_steps(run) == [4, 8, 12]
    assert resumable_steps(run) == [12]
    for step in (8, 12):
        one, other = (load_checkpoint(checkpoint_path(r, step), optimizer=False).model for r in (run, whole.run))
        assert all(torch.equal(one[name], other[name]) for name in other)
    summary = inspect_run(run, hashes=True)
    assert [c.optimizer for c in summary.checkpoints] == ["not kept", "not kept", summary.checkpoints[2].optimizer]
    assert {c.state for c in summary.checkpoints} == {"verified"}
    begun = train(replace(tiny_run, init_from=str(run), step="4", out=f"{run}-begun", max_steps=1))
    assert begun.step == 1
