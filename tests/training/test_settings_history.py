"""A run knows the settings of each of its steps; replay, inspect and resume go by them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from small_training import small_training

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import saved_steps
from gpt_research.cli.command_line import main, parse
from gpt_research.config import TrainConfig
from gpt_research.model_config import GPTConfig
from gpt_research.settings_history import period_of, periods, run_config
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics
from gpt_research.training.replay import replay


@pytest.fixture(scope="module")
def changed(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A run whose learning rate, dropout and data order changed after step 6."""
    config = small_training(
        dataset_folder,
        out=str(tmp_path_factory.mktemp("changed") / "run"),
        model=GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=32, dropout=0.1),
        tokens_per_step=256,
        learning_rate=3e-3,
        warmup_steps=2,
        save_interval=4,
        keep_last=9,
    )
    train(config)
    after = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, dropout=0.0),
        max_steps=10,
        learning_rate=1e-2,
        seed=2,
        micro_batch=8,
        allow_change=True,
    )
    train(after)
    return after


def loss_of(run: str, step: int) -> float:
    return next(m["loss"] for m in read_metrics(Path(run)) if m["step"] == step and "loss" in m)


def copy_of(config: TrainConfig, folder: Path) -> TrainConfig:
    shutil.copytree(config.out, folder / "run")
    return dataclasses.replace(config, out=str(folder / "run"))


@pytest.mark.parametrize("step", [1, 6, 7, 10])
def test_a_step_is_replayed_with_its_own_settings(changed: TrainConfig, step: int) -> None:
    found = replay(Path(changed.out), step, device="cpu")
    assert found.loss == loss_of(changed.out, step) == found.logged_loss
    assert found.repeats


def test_a_replay_that_crosses_a_change_takes_each_step_with_its_own_settings(
    changed: TrainConfig, tmp_path: Path
) -> None:
    config = copy_of(changed, tmp_path)
    for step in (6, 8):  # only that of step 4 is left before step 10
        shutil.rmtree(Path(config.out) / "checkpoints" / f"step_{step:08d}")
    assert saved_steps(Path(config.out)) == [4, 10]
    assert replay(Path(config.out), 10, device="cpu").loss == loss_of(config.out, 10)


def test_a_replay_that_repeats_another_step_says_so(
    changed: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copy_of(changed, tmp_path)
    run = Path(config.out)
    (run / "settings.jsonl").unlink()  # as version 0.1 left a run: the newest settings stand for all steps
    lines = [json.dumps({**m, "loss": 9.0}) for m in read_metrics(run) if m["step"] == 1 and "loss" in m]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert main(["replay", str(run), "--step", "1", "--device", "cpu"]) == 1
    printed = capsys.readouterr().out
    assert "no history of its settings" in printed
    assert "metrics.jsonl has the loss 9.000000" in printed


def test_the_history_tells_what_changed_and_from_when(changed: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(changed.out)
    assert [period.from_step for period in periods(run)] == [0, 6]
    assert (run_config(run, 6).learning_rate, run_config(run, 7).learning_rate) == (3e-3, 1e-2)
    (event,) = (m for m in read_metrics(run) if m.get("event") == "settings")
    assert event["step"] == 6
    assert event["changed"]["model.dropout"] == [0.1, 0.0]
    assert event["changed"].keys() == {"model.dropout", "max_steps", "learning_rate", "seed", "micro_batch"}
    assert main(["inspect", str(run)]) == 0
    assert "from step 7: model.dropout: 0.1 -> 0.0; max_steps: 6 -> 10" in capsys.readouterr().out


def test_a_run_that_goes_back_takes_the_settings_of_that_time_and_drops_what_came_after(
    changed: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copy_of(changed, tmp_path)
    run = Path(config.out)
    assert main(["train", "--resume", str(run), "--step", "4", "--max_steps", "8", "--allow_change"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "Went back to step 4. Dropped: the checkpoints of step 6, 8, 10" in said
    assert saved_steps(run) == [4, 8]
    assert (run_config(run).learning_rate, run_config(run).seed, run_config(run).max_steps) == (3e-3, 1337, 8)
    steps = [m["step"] for m in read_metrics(run) if "loss" in m]
    assert steps == list(range(1, 9))
    # What was in force after step 6 on the way that was left counts no more.
    assert period_of(run, 7).config.learning_rate == 3e-3
    assert replay(run, 8, device="cpu").loss == loss_of(str(run), 8)


def test_a_step_that_is_not_there_is_refused_and_nothing_is_dropped(
    changed: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copy_of(changed, tmp_path)
    assert main(["train", "--resume", config.out, "--step", "5"]) == 2
    assert "has no checkpoint of step 5. It has those of the steps 4, 6, 8, 10." in capsys.readouterr().err
    assert main(["train", "--config", f"{config.out}/config.yaml", "--out", config.out, "--step", "4"]) == 2
    assert "given with --resume RUN" in capsys.readouterr().err
    damaged = Path(config.out) / "checkpoints" / "step_00000004" / "model.safetensors"
    damaged.write_bytes(b"cut")
    assert main(["train", "--resume", config.out, "--step", "4"]) == 2
    assert "damaged" in capsys.readouterr().err
    assert saved_steps(Path(config.out)) == [4, 6, 8, 10]
    (Path(config.out) / "checkpoints" / "step_00000010" / "model.safetensors").write_bytes(b"cut")
    with pytest.warns(UserWarning, match="Falling back"):  # without a word about going back, nothing goes
        train(config, until=9)
    assert saved_steps(Path(config.out)) == [4, 6, 8, 9, 10]


def test_a_run_of_0_1_goes_on_and_says_what_is_assumed(
    changed: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copy_of(changed, tmp_path)
    run = Path(config.out)
    (run / "settings.jsonl").unlink()
    assert main(["inspect", str(run)]) == 0
    assert "version 0.1 kept none" in capsys.readouterr().out
    train(dataclasses.replace(config, max_steps=11))
    assert [(period.from_step, period.config.max_steps) for period in periods(run)] == [(0, 10), (10, 11)]
    assert main(["inspect", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "taken from config.yaml of version 0.1" in printed
    assert "from step 11: max_steps: 10 -> 11" in printed


def test_a_refused_start_leaves_the_settings_of_the_run(changed: TrainConfig, tmp_path: Path) -> None:
    config = copy_of(changed, tmp_path)
    other = tmp_path / "other"
    shutil.copytree(config.data, other)
    manifest = other / "tales" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 1337', '"seed": 1'))
    before = (Path(config.out) / "config.yaml").read_text()
    with pytest.raises(UserError, match="other data"):
        train(dataclasses.replace(config, data=str(other), allow_change=False))
    assert (Path(config.out) / "config.yaml").read_text() == before


@pytest.mark.parametrize("way", ["flag", "file", "key", "python"])
def test_resuming_a_run_into_another_folder_names_the_two_right_ways(
    changed: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    (tmp_path / "out.yaml").write_text(f"out: {tmp_path}/other\n")
    (tmp_path / "key.yaml").write_text(f"out: {tmp_path}/other\nresume: {changed.out}\n")
    arguments = {
        "flag": ["--resume", changed.out, "--out", f"{tmp_path}/other"],
        "file": [f"--resume={changed.out}", "--config", f"{tmp_path}/out.yaml"],
        "key": ["--config", f"{tmp_path}/key.yaml"],
    }
    if way == "python":
        with pytest.raises(UserError, match=rf"--resume {changed.out} alone.*--init_from {changed.out} --out"):
            dataclasses.replace(changed, resume=changed.out, out=f"{tmp_path}/other")
    else:
        assert main(["train", *arguments[way]]) == 2
        error = capsys.readouterr().err
        assert f"--resume {changed.out} alone" in error
        assert f"--init_from {changed.out} --out {tmp_path}/other" in error
    assert not (tmp_path / "other").exists()


def test_resume_by_a_key_of_a_file_takes_the_settings_of_the_run(changed: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "key.yaml").write_text(f"resume: {changed.out}\nlog_interval: 3\n")
    config = parse("train", ["--config", f"{tmp_path}/key.yaml"])
    assert (config.out, config.learning_rate, config.log_interval) == (changed.out, 1e-2, 3)
    assert config.model.n_layer == changed.model.n_layer


def test_verify_resume_never_takes_the_folder_of_a_config(changed: TrainConfig, tmp_path: Path) -> None:
    for arguments in (["--config", f"{changed.out}/config.yaml"], ["--resume", changed.out]):
        assert parse("verify-resume", arguments).out == "runs/verify-resume"
        assert parse("verify-resume", [*arguments, "--out", "here"]).out == "here"
        assert parse("verify-resume", arguments).learning_rate == 1e-2
