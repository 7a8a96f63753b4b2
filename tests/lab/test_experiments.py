"""The commands of the lab on real, small runs."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_training import small_training

from gpt_research.base.settings import write_yaml
from gpt_research.cli.command_line import main
from gpt_research.model_config import GPTConfig

STEPS = 12


@pytest.fixture
def base(dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file of a small recipe, in the working directory."""
    monkeypatch.chdir(tmp_path)
    shape = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=32)
    steps = {"max_steps": STEPS, "warmup_steps": 2, "save_interval": 5, "log_interval": 2}
    write_yaml(small_training(dataset_folder, model=shape, learning_rate=5e-3, **steps), Path("base.yaml"))
    return Path("base.yaml")


def outcomes(folder: Path) -> dict[str, dict[str, object]]:
    return {str(path.relative_to(folder)): json.loads(path.read_text()) for path in folder.glob("*/seed-*.json")}


@pytest.mark.slow
def test_an_ablation_from_the_command_line(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "ablate", str(base), "--change", "rope: model.positions=rope", "--change", "logs: log_interval=3",
        "--change", "hot: learning_rate=1e4", "--change", "averaged: ema_decay=0.5", "--seeds", "2", "--workers", "2",
        "--out", "lab",
    ]  # fmt: skip
    assert main(command) == 0
    said = capsys.readouterr()
    assert "logs: the weights are those of the base to the last bit" in said.out
    assert "averaged: the weights" not in said.out, "the run is about its averaged weights"
    assert "hot: diverged" in said.out
    assert "pair 2 of at most 2: rope" in said.err
    found = outcomes(Path("lab"))
    assert {name for name in found if name.startswith("rope")} == {"rope/seed-1337.json", "rope/seed-1338.json"}
    assert found["logs/seed-1337.json"]["weights_sha256"] == found["base/seed-1337.json"]["weights_sha256"] != ""
    assert found["hot/seed-1337.json"]["state"] == "diverged"
    assert not list(Path("lab").rglob("*.safetensors")), "no checkpoint is kept that no report needs"
    assert Path("lab/rope/seed-1338/metrics.jsonl").is_file()
    page = Path("lab/report.html").read_text(encoding="utf-8")
    assert "rope" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    # The same command trains nothing again.
    before = {path: path.stat().st_mtime_ns for path in Path("lab").rglob("*.log")}
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in Path("lab").rglob("*.log")} == before
    # An ordinary run with these settings has the same weights.
    assert main(["train", "--config", "lab/rope/seed-1338.yaml", "--out", "alone"]) == 0
    result = json.loads(Path("lab/result.json").read_text())
    assert result["comparisons"][0]["arm"] == "rope"


@pytest.mark.slow
def test_a_worker_that_dies_is_started_once_more(base: Path, tmp_path: Path) -> None:
    # The first process of the run kills itself after its first checkpoint.
    plugin = tmp_path / "dies.py"
    plugin.write_text(
        "import os, signal\n"
        "from gpt_research.training import step\n"
        "take = step.TrainStep.take_step\n"
        "def mortal(self, number, *rest):\n"
        f"    if number == 8 and not os.path.exists('{tmp_path}/died'):\n"
        f"        open('{tmp_path}/died', 'w').close()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return take(self, number, *rest)\n"
        "step.TrainStep.take_step = mortal\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-m", "gpt_research", "ablate", str(base), "--plugin", str(plugin), "--change",
               "model.bias=false", "--seeds", "2", "--workers", "2", "--out", "lab"]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "died").is_file()
    assert len(outcomes(Path("lab"))) == 4
    assert all(outcome["steps"] == STEPS for outcome in outcomes(Path("lab")).values())


@pytest.mark.slow
def test_ctrl_c_ends_all_runs_and_the_same_command_goes_on(base: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-m", "gpt_research", "ablate", str(base), "--change", "model.bias=false",
               "--set", "max_steps=4000,save_interval=100,log_interval=50", "--seeds", "2", "--out", "lab"]  # fmt: skip
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 100
        while not list(Path("lab").rglob("step_*/state.json")) and time.monotonic() < deadline:
            time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=90)
    assert running.returncode == 130
    assert "Go on with: " in said
    assert "ablate base.yaml --change model.bias=false" in said
    runs = [path.parents[2] for path in Path("lab").rglob("step_*/state.json")]
    assert runs, "a run that was stopped is saved"
    time.sleep(1)
    for run in runs:
        assert json.loads((run / "owner.json").read_text())["pid"] not in _processes()


@pytest.mark.slow
def test_a_disk_that_is_full_costs_nothing_that_was_done(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arm = "wide: model.n_embd=64"
    command = ["ablate", str(base), "--change", arm, "--seeds", "2", "--workers", "1", "--out", "lab"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The runs inherit a limit on the size of a file, which the checkpoint of the wider arm exceeds.
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        assert main(command) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: The run lab/wide/seed-1337 ended before its last step: Checkpoint lab/wide/")
    assert "with the same command. Its log is lab/wide/seed-1337.log. What is done stays" in said
    assert set(outcomes(Path("lab"))) == {"base/seed-1337.json"}
    before = Path("lab/base/seed-1337.log").stat().st_mtime_ns
    assert main(command) == 0
    assert Path("lab/base/seed-1337.log").stat().st_mtime_ns == before
    assert len(outcomes(Path("lab"))) == 4


def _processes() -> set[int]:
    return {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()}


@pytest.mark.slow
def test_a_recipe_that_cannot_be_trained_stops_the_experiment(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", str(base), "--change", "weights.nothing=1", "--seeds", "2", "--out", "lab"]) == 2
    said = capsys.readouterr().err
    assert "nothing" in said
    assert "weights" in said
    assert "Its log is lab/" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--change", "model.positions=rpoe"], 'Did you mean "rope"?'),
        (["--change", "optimizer.name=moun"], "Near it are muon"),
        (["--change", "schedule=cosin"], 'Did you mean "cosine"?'),
        ([], "change is"),
        (["--change", "model.bias=false", "--budget", "soon"], "a time such as"),
        (["--change", "model.bias=false", "--horizons", "0.5,2"], "above 0 and at most 1"),
        (["--change", "model.bias=false", "--horizons", "0.999,1"], "the same number of steps"),
        (["--change", "model.bias=false", "--seeds", "1"], "2 to 1000"),
        (["--change", "model.bias=false", "--set", "data=nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    base: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ablate", str(base), *arguments, "--out", "lab"]) == 2
    assert said in capsys.readouterr().err
    assert not list(Path().rglob("seed-*"))


@pytest.mark.slow
def test_a_sweep_finds_the_best_value(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", str(base), "--over", "learning_rate=1e-4..1", "--points", "3", "--seeds", "2", "--out", "lab"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "Best of what was tried: learning_rate=0.01" in said
    assert "learning_rate: lowest at" in said
    result = json.loads(Path("lab/result.json").read_text())
    assert [len(point["runs"]) for point in result["points"]] == [2, 2, 2]
    assert result["optimum"]["learning_rate"]["low"] < result["optimum"]["learning_rate"]["high"]


@pytest.mark.slow
def test_a_search_goes_on_with_more_trials(base: Path) -> None:
    pytest.importorskip("optuna")
    command = ["sweep", str(base), "--over", "learning_rate=1e-3..1e-1", "--over", "weight_decay=0,0.1", "--sampler",
               "optuna", "--out", "lab", "--workers", "1"]  # fmt: skip
    assert main([*command, "--trials", "2"]) == 0
    first = outcomes(Path("lab"))
    assert main([*command, "--trials", "3"]) == 0
    assert len(first) == 2
    assert first.items() <= outcomes(Path("lab")).items()
    assert len(outcomes(Path("lab"))) == 3


@pytest.mark.slow
def test_the_range_test_suggests_a_rate_that_trains(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr-range", str(base), "--out", "lab", "--steps", "150", "--low", "1e-4", "--high", "100"]) == 0
    assert "Suggestion: learning_rate" in capsys.readouterr().out
    suggestion = json.loads(Path("lab/result.json").read_text())["suggestion"]
    assert 1e-3 < suggestion < 0.3
    assert Path("lab/lr_range.png").read_bytes().startswith(b"\x89PNG")
