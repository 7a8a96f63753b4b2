"""`RUN@600`, `RUN@best` and `RUN@newest` are a checkpoint of a run in every command that takes a
run.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_training import small_training

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import saved_steps
from gpt_research.cli.command_line import main, parse
from gpt_research.run import Run, named_or_newest
from gpt_research.run_reference import RunReference, run_reference
from gpt_research.settings_history import run_config
from gpt_research.training.loop import train

CPU = ["--device", "cpu"]


@pytest.fixture(scope="module")
def trained(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the checkpoints of the steps 2, 4 and 6, each of them evaluated."""
    out = tmp_path_factory.mktemp("reference") / "run"
    train(small_training(dataset_folder, out=str(out), eval_interval=2, save_interval=2, keep_last=5))
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "runs" / "one")
    return tmp_path / "runs" / "one"


def test_a_reference_is_a_folder_and_a_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert run_reference(run) == RunReference(run, "newest")
    assert run_reference(f"{run}@600") == RunReference(run, "600", is_named=True)
    assert run_reference(f"{run}@0600", "600").step == "600"
    assert [run_reference(f"{run}@{word}").step for word in ("best", "newest")] == ["best", "newest"]
    assert run_reference(run, "best") == RunReference(run, "best", is_named=True)
    assert run_reference(tmp_path / "gone@home").folder == tmp_path / "gone@home", (
        "whoever opens it says that it is gone"
    )


def test_a_folder_whose_name_holds_an_at_still_opens(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "me@600"
    shutil.copytree(trained, folder)
    assert Run.open(folder).step == Run.open(f"{folder}@newest").step == 6
    assert Run.open(f"{folder}@2").step == 2
    assert named_or_newest(str(folder), "4") == RunReference(folder, "4", is_named=True)


@pytest.mark.parametrize(
    ("named", "step", "message"),
    [
        ("run@600", "700", "step is 700, but run@600 names the checkpoint 600. Give only one of them."),
        ("run@600", "newest", "step is newest, but run@600 names the checkpoint 600"),
        ("run@last", "", 'run@last: "last" names no checkpoint. Write behind the @ newest, best, or the step'),
        ("run@", "", '"" names no checkpoint'),
        ("run@1,000", "", '"1,000" names no checkpoint'),
    ],
)
def test_what_names_no_checkpoint_or_two_is_a_sentence(
    named: str, step: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError) as refused:
        run_reference(named, step)
    assert message in str(refused.value)


def test_generate_and_inspect_take_the_checkpoint(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = []
    for arguments in ([f"{run}@2"], [str(run), "--step", "2"], [f"{run}@newest"]):
        assert main(["generate", *arguments, "--max_new_tokens", "40", *CPU]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    monkeypatch.chdir(run.parents[1])
    assert main(["generate", "@2", "--max_new_tokens", "40", *CPU]) == 0, "of the newest run"
    assert capsys.readouterr().out == texts[0]
    assert main(["inspect", f"{run}@4"]) == 0
    assert "at step 4" in capsys.readouterr().out
    assert main(["generate", f"{run}@2", "--step", "4"]) == 2
    assert "names the checkpoint 2. Give only one" in capsys.readouterr().err
    assert main(["generate", f"{run}@3", *CPU]) == 2
    assert "has no checkpoint of step 3. It has those of the steps 2, 4, 6." in capsys.readouterr().err


def test_checkpoints_of_one_run_are_evaluated_compared_and_reported(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (2, 6):
        assert main(["evaluate", f"{run}@{step}", *CPU]) == 0
    assert main(["compare", f"{run}@2", f"{run}@6", "--json", str(tmp_path / "two.json")]) == 0
    compared = json.loads((tmp_path / "two.json").read_text())["differences"]
    a, b = (json.loads((run / name).read_text()) for name in ("evaluation-step_00000002.json", "evaluation.json"))
    assert (a["step"], b["step"]) == (2, 6)
    shown = next(row for row in compared if row["score"] == "loss" and row["task"] == "corpora/plays")
    losses = [each["tasks"]["corpora/plays"]["scores"]["loss"]["value"] for each in (a, b)]
    assert [shown["a"], shown["b"]] == pytest.approx(losses)
    capsys.readouterr()
    assert main(["compare", f"{run}@4", f"{run}@6"]) == 0, "the numbers of training are there without an evaluation"
    assert "Not evaluated yet" in (text := capsys.readouterr().out)
    assert " 4 " in text
    assert " 6 " in text
    assert main(["report", f"{run}@4", "--compressors", "false"]) == 0
    assert "at step 4 of 6" in (run / "report.html").read_text()


def test_average_takes_the_checkpoints_that_are_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["average", f"{run}@2", f"{run}@6", "--out", str(tmp_path / "mean")]) == 0
    assert "steps 2, 6" in capsys.readouterr().out
    assert main(["average", f"{run}@2", f"{run}@6", "--last", "2", "--out", str(tmp_path / "no")]) == 2
    assert "Leave --last out" in capsys.readouterr().err


def test_replay_takes_a_step_that_has_no_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", f"{run}@3", *CPU]) == 0
    assert "step 3, in fp32" in " ".join(capsys.readouterr().out.split())
    assert main(["where", "--run", str(run)]) == 2
    assert "together with --run" in capsys.readouterr().err


def test_training_goes_on_from_and_begins_with_the_checkpoint(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "runs" / "new"
    short = ["--max_steps", "2", "--tokens_per_step", "128", "--micro_batch", "4", "--eval_tokens", "64", *CPU]
    data = ["--data", run_config(run).data]
    assert main(["train", "--init_from", f"{run}@2", "--out", str(new), *data, *short]) == 0
    origin = Run.open(new).lineage["init_from"]
    assert (origin["run"], origin["step"]) == (str(run), 2)
    assert run_config(new).init_from == str(run), "so that the same command goes on with it"
    (tmp_path / "again.yaml").write_text(f"resume: {run}@4\n")
    for arguments in (["--resume", f"{run}@4"], ["--config", str(tmp_path / "again.yaml")]):
        config = parse("train", arguments)
        assert (config.resume, config.out, config.step) == (str(run), str(run), "4")
    assert main(["train", "--resume", f"{run}@4", "--step", "2"]) == 2
    assert "names the checkpoint 4" in capsys.readouterr().err
    assert main(["train", "--resume", f"{run}@2", "--max_steps", "4", "--allow_change", *CPU]) == 0
    assert saved_steps(run)[-1] == 4, "what came after step 2 was dropped"
