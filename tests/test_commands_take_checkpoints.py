"""`RUN@2` and `RUN@best` are that checkpoint in every command that takes a run."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_training import small_training

import gpt_research
from gpt_research.checkpoint import files
from gpt_research.checkpoint.files import checkpoint_path, find_step
from gpt_research.cli.command_line import main, parse
from gpt_research.cli.commands import COMMANDS
from gpt_research.cli.serve import ServeCommand, build
from gpt_research.settings_history import run_config
from gpt_research.tracing.index import build_index
from gpt_research.training.loop import train

BEST = 4
NAMED = {"2": 2, "best": BEST}
SLOW = {"train", "finetune"}
"""Commands that are given the best checkpoint alone."""
SHORT = "--max_steps 1 --tokens_per_step 128 --micro_batch 4 --eval_tokens 64 --device cpu"
OPEN_WEIGHTS = {
    "generate": "{run} --prompt the --max_new_tokens 2 --device cpu",
    "evaluate": "{run} --max_tokens 128 --device cpu",
    "export": "{run} --format safetensors --out {new}",
    "average": "{run} {folder}@6 --out {new}",
    "memorisation": "{run} --num_samples 1 --max_new_tokens 8 --index {index} --device cpu",
    "finetune": "{run} --data {examples} --task complete --epochs 1 --out {new} --device cpu",
    "train": "--init_from {run} --out {new} --data {data} " + SHORT,
}
"""What each command is given that opens weights."""
SHOW_STEP = {
    "inspect": ("{run}", "at step {step}"),
    "compare": ("{run} {folder}@6", "A 1 {step} "),
    "report": ("{run} --compressors false --out {new}", "at step {step} of 6"),
    "trace": ("{run} the --index {index} --json", '"last_step": {step}'),
    "replay": ("{run} --device cpu", "step {step}, in fp32"),
}
"""What each command is given that opens none, and what it then shows."""
TAKE_SETTINGS = {
    "train": "--resume {run}",
    "plan": "--init_from {run} --data {data}",
    "verify-resume": "--resume {run} --steps 2",
}
"""What each command is given that takes a run's settings."""
ELSEWHERE = {"serve", "where"}
"""Commands with a test of their own."""


@pytest.fixture(scope="module")
def trained(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the checkpoints of the steps 2, 4 and 6, of which that of step 4 is the best."""
    folder = tmp_path_factory.mktemp("checkpoints")
    config = small_training(dataset_folder, out=str(folder / "one"), eval_interval=2, save_interval=2, keep_last=5)
    train(config)
    state = checkpoint_path(folder / "one", BEST) / "state.json"
    content = json.loads(state.read_text())
    content["validation"]["newest"]["judged"] = 0.5
    state.write_text(json.dumps(content))
    assert find_step(folder / "one", "best") == BEST
    build_index(dataset_folder, folder / "index")
    (folder / "examples.jsonl").write_text('{"prompt": "the", "completion": " king"}\n' * 4)
    return folder


@pytest.fixture
def places(trained: Path, tmp_path: Path) -> dict[str, Any]:
    """What the commands name; the run is a copy that they may change."""
    shutil.copytree(trained / "one", tmp_path / "one")
    data = run_config(tmp_path / "one").data
    given = {"folder": tmp_path / "one", "new": tmp_path / "new", "data": data}
    return given | {"index": trained / "index", "examples": trained / "examples.jsonl"}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """The checkpoints whose weights are opened."""
    seen: set[Path] = set()
    verify = files.verify_checkpoint

    def verified(folder: Path, *, optimizer: bool = True) -> dict[str, Any]:
        seen.add(folder)
        return verify(folder, optimizer=optimizer)

    monkeypatch.setattr(files, "verify_checkpoint", verified)
    return seen


def test_the_tables_have_every_command_that_takes_a_run() -> None:
    taking = set()
    for name, command in COMMANDS.items():
        fields = {field.name for field in dataclasses.fields(command.settings_class())} if command.settings else set()
        if fields & {"run", "runs", "resume", "init_from"}:
            taking.add(name)
    assert taking == {*OPEN_WEIGHTS, *SHOW_STEP, *TAKE_SETTINGS, *ELSEWHERE}


@pytest.mark.parametrize(
    ("name", "named"),
    [(name, named) for name in OPEN_WEIGHTS for named in NAMED if named == "best" or name not in SLOW],
)
def test_its_weights_are_opened(name: str, named: str, places: dict[str, Any], opened: set[Path]) -> None:
    run = f"{places['folder']}@{named}"
    assert main([name, *OPEN_WEIGHTS[name].format(run=run, **places).split()]) == 0
    of_run = {folder for folder in opened if places["folder"] in folder.parents}
    steps = {NAMED[named], 6} if name == "average" else {NAMED[named]}
    assert of_run == {checkpoint_path(places["folder"], step) for step in steps}


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize("name", SHOW_STEP)
def test_its_step_is_shown(name: str, named: str, places: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    given, shown = SHOW_STEP[name]
    assert main([name, *given.format(run=f"{places['folder']}@{named}", **places).split()]) == 0
    text = places["new"].read_text() if name == "report" else capsys.readouterr().out
    assert shown.format(step=NAMED[named]) in " ".join(text.split())


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize("name", TAKE_SETTINGS)
def test_its_settings_are_taken(name: str, named: str, places: dict[str, Any]) -> None:
    command = parse(name, TAKE_SETTINGS[name].format(run=f"{places['folder']}@{named}", **places).split())
    own = run_config(places["folder"]).model
    assert dataclasses.replace(command.model, vocab_size=own.vocab_size) == own
    assert "@" not in command.resume + command.init_from


@pytest.mark.parametrize("named", NAMED)
def test_what_its_step_read_is_found(named: str, places: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["where", "--run", f"{places['folder']}@{named}", "--json"]) == 0
    found = capsys.readouterr().out
    assert main(["where", "--run", str(places["folder"]), "--step", str(NAMED[named]), "--json"]) == 0
    assert found == capsys.readouterr().out


@pytest.mark.parametrize("named", NAMED)
def test_it_is_served(named: str, places: dict[str, Any]) -> None:
    app = build(ServeCommand(runs=[f"{places['folder']}@{named}", f"short={places['folder']}@{named}"], device="cpu"))
    served = app.state.models.named
    assert {name: model.step for name, model in served.items()} == {f"one@{named}": NAMED[named], "short": NAMED[named]}


@pytest.mark.parametrize("named", NAMED)
def test_python_gets_it(named: str, places: dict[str, Any], opened: set[Path]) -> None:
    gpt_research.load(f"{places['folder']}@{named}")
    assert opened == {checkpoint_path(places["folder"], NAMED[named])}


@pytest.mark.parametrize("named", NAMED)
def test_lm_eval_gets_it(named: str, places: dict[str, Any], opened: set[Path]) -> None:
    pytest.importorskip("lm_eval")
    from gpt_research.evaluation.harness import HarnessModel

    HarnessModel.create_from_arg_string(f"run={places['folder']}@{named},device=cpu")
    assert opened == {checkpoint_path(places["folder"], NAMED[named])}


def test_llama_cpp_gets_it(places: dict[str, Any], opened: set[Path]) -> None:
    pytest.importorskip("xllamacpp")
    run, asked = f"{places['folder']}@best", "--engine llamacpp --prompt the --max_new_tokens 2"
    assert main(["generate", run, *asked.split()]) == 0
    assert opened == {checkpoint_path(places["folder"], BEST)}
