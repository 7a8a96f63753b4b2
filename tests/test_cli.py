"""Every mistake on the command line is one sentence with the remedy, exit code 2 and no
traceback.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from gpt_research.base.setting_names import field_kinds, field_names
from gpt_research.base.settings import PRESETS, read_yaml, write_yaml
from gpt_research.cli.command_line import main, parse
from gpt_research.cli.commands import COMMANDS
from gpt_research.cli.help_text import GROUPS, OTHER, groups
from gpt_research.config import USUAL_MICRO_BATCH, TrainConfig


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], 'Did you mean "train"?'),
        (["train", "--max_stepz", "5"], 'unknown setting "max_stepz". Did you mean "max_steps"?'),
        (["train", "--model.n_layr", "5"], 'unknown setting "model.n_layr". Did you mean "model.n_layer"?'),
        (["train", "--max_steps"], "max_steps has no value. Write one behind --max_steps."),
        (["train", "demo"], '"demo" lacks its flag. Give it as: '),
        (["train", "mine.yaml"], "train --config mine.yaml"),
        (["generate", "Once upon a time"], "generate --prompt 'Once upon a time'"),
        (["generate", "runs/a", "Once upon a time"], "generate runs/a --prompt 'Once upon a time'"),
        (["preprocess", "corpora.yaml"], "preprocess --config corpora.yaml"),
        (["export", "runs/a", "out"], "export runs/a --out out"),
        (["replay", "runs/a", "7"], "replay runs/a --step 7"),
        (["doctor", "here"], '"here" has no place here. What may be given: '),
        (["train", "-x"], 'unknown setting "-x".'),
        (["--config", "demo"], "The command comes before --config: "),
        (["mine.yaml"], "train --config mine.yaml"),
        (["sft"], 'There is no command "sft". Did you mean "finetune"?'),
        (["train", "--max_steps", "many"], "max_steps is 'many', but it must be a whole number."),
        (["train", "--precision", "fp8"], "precision is 'fp8', but it must be one of auto, fp32, bf16, fp16."),
        (["generate", "--engine", "onnx"], "engine is 'onnx', but it must be one of torch, llamacpp."),
        (["generate", "--engine", "llamacpp", "--device", "cuda"], "it must be auto or cpu for --engine llamacpp."),
        (
            ["train", "--model.n_head", "5"],
            "model.n_embd is 768, but it must be a multiple of model.n_head (5).",
        ),
        (["train", "--model.dropout", "1.5"], "model.dropout is 1.5"),
        (["train", "--tokens_per_step", "1000"], "tokens_per_step is 1000, but it must be a multiple of"),
        (["train", "--learning_rate", ".nan"], "learning_rate is nan"),
        (["train", "--learning_rate", "nan"], "learning_rate is 'nan', but it must be a number."),
        (
            ["train", "--config", "nowhere.yaml"],
            "no config file nowhere.yaml. Presets: demo, demo-gpt2, gpt2-124m, limited-data, modern-124m, tiny-cpu.",
        ),
        (["train", "--config", "tiny"], 'no config file tiny. Did you mean "tiny-cpu"? Presets: demo, demo-gpt2,'),
        (["demo", "--max_stepz", "5"], 'unknown setting "max_stepz". Did you mean "max_steps"?'),
        (["train", "--resume", "nowhere"], "nowhere is not a run folder"),
        (["train", "--data", "nowhere", "--device", "cpu"], "No data set at nowhere"),
        (["train", "--device", "tpu"], 'device is "tpu"'),
        (["generate", "--temperature", "-1"], "temperature is -1.0, but it must be a number, 0 or more."),
        (["generate", "--temperature", "nan"], "temperature is 'nan', but it must be a number."),
        (["generate", "--top_p", "0"], "top_p is 0.0"),
        (["generate", "--max_new_tokens", "0"], "max_new_tokens is 0"),
        (["generate", "nowhere"], "nowhere is not a run folder"),
        (["generate"], "No run with a checkpoint under runs"),
        (["evaluate", "nowhere"], "nowhere"),
        (["preprocess", "nonsense"], "NAME=PATH"),
        (["preprocess", "a=nowhere"], "nowhere does not exist"),
        (["preprocess", "--val_fraction", "2"], "val_fraction is 2.0"),
        (["preprocess", "--vocab_size", "10"], "vocab_size is 10"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert says in captured.err
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1


def test_an_unknown_key_in_a_file_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("max_steps: 5\nmodel:\n  n_layerz: 3\n")
    assert main(["train", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert "n_layerz" in error
    assert 'Did you mean "model.n_layer"?' in error


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("max_steps: 5\nlearning_rate: 1e-3\nweights:\n  enron: 2\nmodel:\n  n_layer: 3\n")
    config = parse("train", ["--config", str(path), "--max_steps", "7", "--weights.cnn", "0.5", "--compile"])
    assert (config.max_steps, config.learning_rate, config.model.n_layer) == (7, 1e-3, 3)
    assert config.weights == {"enron": 2.0, "cnn": 0.5}
    assert config.compile is True
    assert config.model.n_head == TrainConfig().model.n_head


def test_a_config_survives_the_file(tmp_path: Path) -> None:
    config = parse("train", ["--weights.enron", "0.5", "--sample_prompt", "Où\n", "--model.n_layer", "2"])
    write_yaml(config, tmp_path / "config.yaml")
    assert read_yaml(TrainConfig, tmp_path / "config.yaml") == config


SETTLED = [name for name, command in COMMANDS.items() if command.settings]
"""Commands with settings of their own."""


@pytest.mark.parametrize("name", SETTLED)
@pytest.mark.parametrize("first", [True, False])
def test_print_config_prints_every_setting_wherever_it_stands(
    name: str, first: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_class = COMMANDS[name].settings_class()
    changed = next(key for key, kind in field_kinds(settings_class) if kind is str)
    flags = [f"--{changed}", "mine"]
    assert main([name, *(["--print_config", *flags] if first else [*flags, "--print_config"])]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert list(printed) == field_names(settings_class, nested=False)
    assert printed[changed] == "mine"


def test_what_print_config_prints_can_be_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--config", "demo", "--weights.enron", "0.5", "--model.n_layer", "2", "--sample_prompt", "Où\n"]
    assert main(["train", "--print_config", *flags]) == 0
    (tmp_path / "mine.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert parse("train", ["--config", str(tmp_path / "mine.yaml")]) == parse("train", flags)


def test_flags_win_over_a_file_that_comes_after_them(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("max_steps: 5\n")
    assert parse("train", ["--max_steps", "7", "--config", str(tmp_path / "mine.yaml")]).max_steps == 7


@pytest.mark.parametrize("name", SETTLED)
def test_help_shows_every_setting_with_its_text_and_no_type(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    said = capsys.readouterr().out
    for setting in field_names(COMMANDS[name].settings_class()):
        bare = setting == COMMANDS[name].positional
        assert bare or f"--{setting}" in said, f"{setting} is not in the help"
    for word in ("type:", "Union", "Literal", "str,", "<class", "None"):
        assert word not in said.replace("None of", "")
    assert COMMANDS[name].page in said
    assert max(map(len, said.split("examples:")[0].split("\n"))) <= 100


def test_help_describes_a_setting_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--learning_rate X Highest learning rate, reached after warm-up. (default: 0.0006)" in said
    assert "--micro_batch N|auto" in said
    assert "(on; --model.bias false turns it off)" in said


def test_the_help_of_the_demo_shows_the_defaults_of_its_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Run folder: config, metrics, samples, checkpoints. (default: runs/demo)" in said
    assert "Optimizer steps of the whole run. (default: 720)" in said


def test_every_setting_has_a_group_and_every_group_names_settings() -> None:
    """If this fails for a new setting, add its name to `GROUPS` in cli/help_text.py."""
    for name in SETTLED:
        settings_class = COMMANDS[name].settings_class()
        assert OTHER not in groups(settings_class), groups(settings_class)[OTHER]
    classes = {c.__name__: c for n in SETTLED for c in COMMANDS[n].settings_class().__mro__}
    for name, table in GROUPS.items():
        placed = " ".join(table.values()).split()
        assert sorted(placed) == sorted(field_names(classes[name])), name


@pytest.mark.parametrize(("name", "own"), [("plan", "seconds"), ("verify-resume", "steps")])
def test_a_command_shows_its_own_settings_before_those_of_training(name: str, own: str) -> None:
    first = next(iter(groups(COMMANDS[name].settings_class()).values()))
    assert own in first
    assert "learning_rate" not in first


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_the_help_parse(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/mine").mkdir(parents=True)
    write_yaml(parse("train", []), Path("runs/mine/config.yaml"))
    assert COMMANDS[name].examples
    for example in COMMANDS[name].examples:
        words = shlex.split(example)
        assert words[0] == name
        parse("train" if name == "demo" else name, words[1:])
    assert (Path(__file__).parents[1] / COMMANDS[name].page).is_file()


def test_the_preset_of_gpt2_says_what_the_defaults_are() -> None:
    preset = read_yaml(TrainConfig, PRESETS / "gpt2-124m.yaml")
    # It names the micro-batch that a run without one has on a CPU, and measures on a card.
    assert preset == TrainConfig(micro_batch=USUAL_MICRO_BATCH)


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_preset_is_valid_by_its_name_and_by_its_path_in_a_clone(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where configs/ does not exist
    config = parse("train", ["--config", path.stem])
    assert config == parse("train", [f"--config=configs/{path.name}"]) == read_yaml(TrainConfig, path)
    monkeypatch.chdir(Path(__file__).parents[1])
    assert config == parse("train", ["--config", f"configs/{path.name}"])


def test_a_file_is_taken_before_a_preset_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text("max_steps: 5\n")
    assert parse("train", ["--config", "demo"]).max_steps == 5


def test_help_and_version_need_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from gpt_research.cli.command_line import main; main(['--help']); main(['--version']); "
        "main(['train', '--help']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_a_text_to_stop_at_may_be_given_again_and_again() -> None:
    config = parse("generate", ["a", "--stop", "END", "--stop=--", "-i", "--max_new_tokens", "5"])
    assert config.stop == ["END", "--"]
    assert config.interactive is True
    assert (config.run, config.max_new_tokens) == ("a", 5)


def test_a_truth_may_be_spelt_out() -> None:
    assert parse("train", ["--compile", "false", "--gradient_checkpointing", "true"]).compile is False
    assert parse("train", ["--gradient_checkpointing"]).gradient_checkpointing is True
    assert parse("preprocess", ["a=b", "--strict", "c=d"]).corpora == ["a=b", "c=d"]


def test_a_positional_argument_may_stand_in_the_file_and_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("corpora:\n- a=b\n- c=d\nval_fraction: 0.1\n")
    file = str(tmp_path / "c.yaml")
    assert parse("preprocess", ["--config", file]).corpora == ["a=b", "c=d"]
    assert parse("preprocess", ["--config", file, "--val_fraction", "0.2"]).corpora == ["a=b", "c=d"]
    for arguments in (["x=y", "--config", file], ["--config", file, "x=y"]):
        settings = parse("preprocess", arguments)
        assert (settings.corpora, settings.val_fraction) == (["x=y"], 0.1)
    (tmp_path / "g.yaml").write_text("run: one\ntop_k: 5\n")
    assert parse("generate", ["--config", str(tmp_path / "g.yaml")]).run == "one"
    assert parse("generate", ["two", "--config", str(tmp_path / "g.yaml")]).run == "two"


def test_windows_is_led_to_wsl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    assert main(["inspect"]) == 2
    assert "WSL2" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--learning_rat", "3"], ["--learning_rat=3"]])
def test_a_shortened_flag_is_a_mistake(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *arguments, "--print_config"]) == 2
    assert 'unknown setting "learning_rat". Did you mean "learning_rate"?' in capsys.readouterr().err
