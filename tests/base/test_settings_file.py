"""A mistake in a settings file is told with the file, the line, and what would be right."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpt_research.base.errors import UserError
from gpt_research.base.setting_names import ELSEWHERE, field_kinds, field_names, unknown
from gpt_research.base.settings import read_yaml
from gpt_research.cli.command_line import main, parse
from gpt_research.cli.commands import COMMANDS
from gpt_research.config import TrainConfig

KEYS = [name for name, kind in field_kinds(TrainConfig) if "None" not in str(kind)]


def as_yaml(name: str, value: str) -> str:
    """Return the lines that give a value to a setting, which may be in a group."""
    group, _, inner = name.rpartition(".")
    return f"{group}:\n  {inner}: {value}\n" if group else f"{name}: {value}\n"


@pytest.mark.parametrize("name", KEYS)
def test_a_key_without_a_value_is_one_sentence(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# settings of mine\n" + as_yaml(name, ""))
    assert main(["train", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    line = 3 if "." in name else 2
    assert said == f"error: {path}:{line}: {name} has no value. Write one behind it, or remove the line.\n"


@pytest.mark.parametrize("name", field_names(TrainConfig))
def test_a_mistyped_key_gets_the_line_and_the_closest_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    mistyped = name[:-1] + name[-1] * 2
    path.write_text("\n\n" + as_yaml(mistyped, "1"))
    with pytest.raises(UserError) as caught:
        read_yaml(TrainConfig, path)
    line = 4 if "." in name else 3
    assert str(caught.value) == f'{path}:{line}: unknown setting "{mistyped}". Did you mean "{name}"?'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_steps: 5\nmax_steps: 6\n", ":2: max_steps stands twice, first in line 1."),
        ("seed: 1\nmax_steps: many\n", ":2: max_steps is 'many', but it must be a whole number."),
        ("seed: 1\nlearning_rate: -1\n", ":2: learning_rate is -1.0, but it must be a finite number above 0."),
        ("model:\n  n_layer: x\n", ":2: model.n_layer is 'x', but it must be a whole number."),
        ("model:\n  n_embd: 770\n", ":2: model.n_embd is 770, but it must be a multiple of model.n_head (12)."),
        ("seed: 1\nmicro_batch: big\n", ":2: micro_batch is 'big', but it must be a whole number or auto."),
        ("seed: 1\nprecision: fp8\n", ":2: precision is 'fp8', but it must be one of auto, fp32, bf16, fp16."),
        ("weights:\n  enron:\n", ":2: weights.enron has no value."),
        ("weights:\n  enron: much\n", ":1: an entry of weights is 'much', but it must be a number."),
        ("weights: 4\n", ":1: weights is '4', but it must be one value for each name"),
        ("weights.enron: 4\n", ":1: write `weights:` and below it, indented, `enron: VALUE`."),
        ("model: gpt2\n", ":1: model is a group of settings. Write `model:` and below it, indented, `n_layer: VALUE`."),
        ("model:\n", ":1: model is a group of settings."),
        ("- max_steps\n", ":1: this is no setting. Write lines such as `data: VALUE`."),
        ("seed: 1\na: [\n", ": this is not YAML"),
        ("seed: 1\n\tb: 2\n", ":2: this is not YAML"),
        ("seed: 1\n---\nseed: 2\n", ":2: this is not YAML"),
        ("# nothing\n", " holds no settings."),
        ("seed: 1\ndata: 5\n", ":2: data is '5', but it must be a text (within quotation marks in a file)."),
    ],
)
def test_each_mistake_has_its_place(text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_yaml(TrainConfig, path)
    assert str(caught.value).startswith(str(path))
    assert says in str(caught.value)
    assert main(["train", "--config", str(path)]) == 2
    assert says in capsys.readouterr().err


def test_a_file_that_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"seed: 1 # \xff\n")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read_yaml(TrainConfig, path)


def test_a_flag_is_blamed_for_its_own_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("max_steps: 5\n")
    assert main(["train", "--config", str(path), "--max_steps", "0"]) == 2
    assert capsys.readouterr().err == "error: max_steps is 0, but it must be at least 1.\n"


def test_merged_mappings_and_dotted_keys_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: &shape\n  n_layer: 3\nmax_steps: 9\nwarmup_steps: 1\noptimizer.name: adamw\n")
    config = read_yaml(TrainConfig, path)
    assert (config.model.n_layer, config.max_steps, config.optimizer.name) == (3, 9, "adamw")


def test_corpora_of_a_file_count_as_those_of_the_command_line_do(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("corpora:\n  - a=one\n  - b=two\nout: there\n")
    assert parse("preprocess", ["--config", str(path)]).corpora == ["a=one", "b=two"]
    assert parse("preprocess", ["c=three", "--config", str(path)]).corpora == ["c=three"]
    path.write_text("run: runs/mine\n")
    assert parse("generate", ["--config", str(path)]).run == "runs/mine"


@pytest.mark.parametrize(
    ("command", "theirs", "ours"),
    [
        ("train", "lr", "learning_rate"),
        ("train", "batch_size", "micro_batch"),
        ("train", "batch-size", "tokens_per_step"),
        ("train", "epochs", "max_steps"),
        ("train", "checkpoint", "resume"),
        ("train", "optimizer", "optimizer.name"),
        ("train", "n_layer", "model.n_layer"),
        ("train", "no-compile", "compile"),
        ("generate", "checkpoint", "run"),
        ("generate", "top-k", "top_k"),
        ("generate", "max_tokens", "max_new_tokens"),
        ("evaluate", "model_path", "run"),
        ("export", "quantize", "dtype"),
        ("preprocess", "num_proc", "workers"),
    ],
)
def test_a_name_of_another_program_gets_ours(
    command: str, theirs: str, ours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, f"--{theirs}", "3"]) == 2
    said = capsys.readouterr().err
    assert f'unknown setting "{theirs}".' in said
    hint = said.split('".', 1)[1]
    assert ours in re.findall(r"[a-z_.]*[a-z_]", hint)


def test_every_name_of_another_program_leads_to_a_setting() -> None:
    known = {
        name for command in COMMANDS.values() if command.settings for name in field_names(command.settings_class())
    }
    for theirs, ours in ELSEWHERE.items():
        for name in ours.split(" | "):
            assert name.partition(" ")[0] in known, f"{theirs}: no command has {name}"
    assert unknown("lr", ["out"]) == 'unknown setting "lr".'


def test_threads_read_settings_at_once_and_the_working_directory_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server does so, by paths that are relative to where it was started."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("max_steps: 7\n")
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        read = list(threads.map(lambda _: read_yaml(TrainConfig, Path("run/config.yaml")), range(60)))
    assert all(config.max_steps == 7 for config in read)
    assert Path.cwd() == tmp_path
