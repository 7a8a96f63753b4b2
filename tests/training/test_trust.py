"""Numbers gone wrong are seen, kept and explained; the promise of resuming can be checked by
anyone.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import Checkpoint, checkpoint_path, load_newest, saved_steps
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.cli.command_line import main
from gpt_research.config import TrainConfig
from gpt_research.training import state
from gpt_research.training.health import Health
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics
from gpt_research.training.replay import replay
from gpt_research.training.reporter import Reporter
from gpt_research.training.step import TrainStep
from gpt_research.training.verify_resume import verify_resume


def poison(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Make the loss of some steps (counted from 0) not a number, as a damaged weight or overflow
    would.
    """
    plain = TrainStep.accumulate

    def accumulate(self: TrainStep, step: int, *args: object, **kwargs: object) -> torch.Tensor | None:
        loss = plain(self, step, *args, **kwargs)  # type: ignore[arg-type]
        if step in steps:
            gradient = self.model.blocks[1].mlp.up.weight.grad
            assert gradient is not None
            gradient[0, 0] = math.nan
        return loss

    monkeypatch.setattr(TrainStep, "accumulate", accumulate)


def test_a_bad_step_is_skipped_counted_and_kept(tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, {3, 4, 8})
    train(tiny_run)
    lines = read_metrics(Path(tiny_run.out))
    assert [m["step"] for m in lines if m.get("event") == "not_finite"] == [4, 5, 9]
    assert [m for m in lines if "loss" in m][-1]["skipped_steps"] == 3
    box = json.loads((Path(tiny_run.out) / "black_box" / "step_00000004.json").read_text())
    assert box["layers"]["blocks.1.mlp.up.weight"]["grad_norm"] == "nan"
    assert box["layers"]["blocks.0.mlp.up.weight"]["grad_norm"] != "nan"
    assert len(box["windows"]) == 8
    assert {w["corpus"] for w in box["windows"]} <= {"plays", "tales"}
    assert all(w["begins"] for w in box["windows"])


def test_three_bad_steps_in_a_row_stop_the_run_and_the_weights_before_stay(
    tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, {5, 6, 7})
    with pytest.raises(UserError, match=r"3 steps in a row, up to step 8.*replay"):
        train(tiny_run)
    found = load_newest(Path(tiny_run.out))
    assert found is not None
    assert all(torch.isfinite(t).all() for t in found.model.values())


def test_a_spike_is_logged_and_by_option_skipped(tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = TrainStep.accumulate

    def accumulate(self: TrainStep, step: int, *args: object, **kwargs: object) -> torch.Tensor | None:
        loss = plain(self, step, *args, **kwargs)  # type: ignore[arg-type]
        return loss + 50 if step == 24 and loss is not None else loss

    monkeypatch.setattr(TrainStep, "accumulate", accumulate)
    for skip in (False, True):
        config = dataclasses.replace(
            tiny_run, out=f"{tiny_run.out}-{skip}", max_steps=26, skip_spikes=skip, eval_interval=0, save_interval=0
        )
        train(config)
        lines = read_metrics(Path(config.out))
        assert [m["step"] for m in lines if m.get("event") == "spike"] == [25]
        assert [m for m in lines if "loss" in m][-1]["skipped_steps"] == int(skip)


def test_health_knows_a_spike_from_noise() -> None:
    health = Health(spike_z=6.0)
    for i in range(50):
        assert health.observe(3.0 + 0.01 * (i % 5), 1.0) is None
    assert health.observe(3.05, 1.0) is None
    assert health.observe(4.0, 1.0) == "spike"
    assert health.observe(4.0, 1.0) == "spike"  # one spike does not hide the next
    restored = Health(spike_z=6.0)
    restored.load_state_dict(json.loads(json.dumps(health.state_dict())))
    assert restored.is_spike(4.0)
    assert not restored.is_spike(3.0)


def test_replay_gives_the_loss_of_the_step_and_writes_nothing(tiny_run: TrainConfig) -> None:
    train(tiny_run)
    before = {p: p.stat().st_mtime_ns for p in Path(tiny_run.out).rglob("*")}
    found = replay(Path(tiny_run.out), 11, device="cpu")
    line = next(m for m in read_metrics(Path(tiny_run.out)) if m["step"] == 11 and "loss" in m)
    assert found.loss == line["loss"]
    assert found.grad_norm == pytest.approx(line["grad_norm"], rel=1e-5)
    assert found.first_bad is None
    assert {p: p.stat().st_mtime_ns for p in Path(tiny_run.out).rglob("*")} == before


def test_replay_names_the_first_bad_number(tiny_run: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny_run)
    run = Path(tiny_run.out)
    found = load_newest(run)
    assert found is not None
    found.model["blocks.1.attention.proj.weight"][0, 0] = math.inf
    save_checkpoint(run, dataclasses.replace(found, step=8), keep_last=9)
    assert main(["replay", str(run), "--step", "9", "--device", "cpu"]) == 0
    assert "The first bad number: output of blocks.1.attention.proj." in capsys.readouterr().out


def test_verify_resume_finds_equality(tiny_run: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = verify_resume(tiny_run, 6)
    assert verdict.equal
    assert verdict.losses == 6
    assert verdict.tensors > 20


def test_a_run_that_goes_on_with_other_threads_says_what_that_costs(tiny_run: TrainConfig) -> None:
    notes: list[str] = []

    class Notes(Reporter):
        def note(self, text: str) -> None:
            notes.append(text)

    before = torch.get_num_threads()
    train(tiny_run, until=4)
    train(tiny_run, Notes(), until=6)
    assert not any("-thread CPU" in note for note in notes)
    torch.set_num_threads(before + 1)
    try:
        train(tiny_run, Notes(), until=8)
    finally:
        torch.set_num_threads(before)
    (said,) = [note for note in notes if "-thread CPU" in note]
    assert f"so far was on a {before}-thread CPU, and now it is on a {before + 1}-thread CPU" in said
    assert f"OMP_NUM_THREADS={before}" in said


def test_verify_resume_finds_a_difference(tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = state.restore_optimizer
    monkeypatch.setattr(  # a resume that forgets a moment
        state,
        "restore_optimizer",
        lambda o, m, t, s: plain(o, m, {k: v * 0 if k.startswith("exp_avg/") else v for k, v in t.items()}, s),
    )
    verdict = verify_resume(tiny_run, 6)
    assert not verdict.equal
    assert verdict.different


def test_inspect_shows_checkpoints_and_lineage(tiny_run: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny_run)
    run = Path(tiny_run.out)
    assert main(["inspect", str(run), "--verify"]) == 0
    printed = capsys.readouterr().out
    found = load_newest(run)
    assert found is not None
    assert found.state["lineage"]["tokenizer"] in printed
    assert "verified" in printed
    assert (run / "checkpoints" / "latest").read_text() == "step_00000012\n"
    path = checkpoint_path(run, 12) / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert main(["inspect", str(run), "--verify"]) == 1
    assert "damaged" in capsys.readouterr().out


def test_changed_data_needs_allow_change(tiny_run: TrainConfig, text_folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_run.data, copy)
    config = dataclasses.replace(tiny_run, data=str(copy))
    train(config, until=4)
    manifest = copy / "tales" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 1337', '"seed": 1'))
    with pytest.raises(UserError, match="other data"):
        train(config)
    assert train(dataclasses.replace(config, allow_change=True)).step == 12


def test_a_flipped_bit_in_a_shard_is_found_in_verify_mode(tiny_run: TrainConfig, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_run.data, copy)
    shard = copy / "plays" / "train_00000.bin"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UserError, match=r"train_00000\.bin was changed"):
        train(dataclasses.replace(tiny_run, data=str(copy), verify_data=True))


def test_a_token_outside_of_the_vocabulary_is_refused(tiny_run: TrainConfig, tmp_path: Path) -> None:
    import shutil

    import numpy as np

    copy = tmp_path / "copy"
    shutil.copytree(tiny_run.data, copy)
    for name in ("plays", "tales"):
        shard = copy / name / "train_00000.bin"
        tokens = np.fromfile(shard, "<u2")
        tokens[:] = 300
        tokens.tofile(shard)
    with pytest.raises(UserError, match="holds the token 300, but the vocabulary has 300"):
        train(dataclasses.replace(tiny_run, data=str(copy)))


def test_milestones_stay(tiny_run: TrainConfig) -> None:
    train(dataclasses.replace(tiny_run, save_interval=2, keep_last=1, keep_every=6))
    assert saved_steps(Path(tiny_run.out)) == [6, 12]


def test_replay_passes_over_a_damaged_checkpoint_and_refuses_where_all_are(tiny_run: TrainConfig) -> None:
    train(tiny_run)
    run = Path(tiny_run.out)
    line = next(m for m in read_metrics(run) if m["step"] == 11 and "loss" in m)
    save_checkpoint(run, dataclasses.replace(checkpoint_of(run, 8), step=9), keep_last=9)
    (checkpoint_path(run, 9) / "model.safetensors").write_bytes(b"cut")
    with pytest.warns(UserWarning, match="damaged"):
        assert replay(run, 11, device="cpu").loss == line["loss"]
    (checkpoint_path(run, 8) / "model.safetensors").write_bytes(b"cut")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(UserError, match="up to step 10 is damaged"):
        replay(run, 11, device="cpu")


def checkpoint_of(run: Path, step: int) -> Checkpoint:
    checkpoint = load_newest(run, last_step=step)
    assert checkpoint is not None
    return checkpoint
