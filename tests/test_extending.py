"""Each recipe of docs/extending.md adds a part from a file outside of the package, and the part
works.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gpt_research.base import plugins
from gpt_research.base.errors import UserError
from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.cli.command_line import main
from gpt_research.config import TrainConfig
from gpt_research.evaluation.tasks.table import TASKS
from gpt_research.export.exporting import FORMATS
from gpt_research.model.variants import ACTIVATIONS, NORMS, POSITIONS
from gpt_research.preprocessing.filters.catalogue import FILTERS
from gpt_research.preprocessing.readers.catalogue import READERS
from gpt_research.run import Run
from gpt_research.training.metrics import read_metrics
from gpt_research.training.optimizers import OPTIMIZERS
from gpt_research.training.schedules import SCHEDULES
from gpt_research.training.trackers import TRACKERS

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
RECIPES: dict[str, str] = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M))
LONGEST_RECIPE = 40
TABLES = (NORMS, ACTIVATIONS, POSITIONS, OPTIMIZERS, SCHEDULES, TRACKERS, TASKS, FORMATS, READERS, FILTERS)

Plugin = Callable[[str], str]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    """Writes the plugin of a recipe; afterwards everything that it added is gone again."""
    monkeypatch.setattr(plugins, "LOADED", {})
    before = [dict(table) for table in TABLES]

    def write(recipe: str) -> str:
        (code,) = re.findall(r"```python\n(.*?)```", RECIPES[recipe], re.S)
        file = tmp_path / f"{recipe.split()[-1]}.py"
        file.write_text(code, encoding="utf-8")
        return str(file)

    yield write  # type: ignore[misc]
    for table, old in zip(TABLES, before, strict=True):
        table.clear()  # type: ignore[attr-defined]
        table.update(old)  # type: ignore[attr-defined]


@pytest.fixture
def train(tiny_run: TrainConfig, tmp_path: Path) -> Callable[..., Path]:
    """Runs the train command on a tiny run with some more flags."""

    def run(*flags: str, out: str = "run") -> Path:
        folder = tmp_path / out
        write_yaml(dataclasses.replace(tiny_run, out=str(folder)), tmp_path / "tiny.yaml")
        assert main(["train", "--config", str(tmp_path / "tiny.yaml"), *flags]) == 0
        return folder

    return run


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run) if "loss" in line]


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_is_short(title: str) -> None:
    assert len(RECIPES[title].strip().splitlines()) < LONGEST_RECIPE


@pytest.mark.parametrize(
    ("recipe", "setting"),
    [
        ("An optimizer", "--optimizer.name=sgd"),
        ("A schedule", "--schedule=inverse_square_root"),
        ("A position encoding", "--model.positions=rotary"),
        ("A norm", "--model.norm=my_rmsnorm"),
        ("An activation", "--model.activation=squared_relu"),
    ],
)
def test_a_run_with_a_part_of_ones_own_trains_resumes_and_generates(
    recipe: str, setting: str, plugin: Plugin, train: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--plugin", plugin(recipe), setting)
    whole = train(*flags)
    plain = train(out="plain")
    assert losses(whole) != losses(plain), "the part changes what is computed"
    parts = train(*flags, out="parts")
    shutil.rmtree(parts / "checkpoints" / "step_00000012")  # as if it had been killed before it saved this
    assert main(["train", "--config", str(whole.parent / "tiny.yaml"), "--out", str(parts), *flags]) == 0
    assert losses(parts) == losses(whole)
    one, two = (model_tensors(Run.open(run).model) for run in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)
    capsys.readouterr()
    assert main(["generate", str(whole), *flags[:2], "--prompt", "the king", "--max_new_tokens", "60"]) == 0
    assert capsys.readouterr().out.startswith("the king")


def test_a_position_encoding_of_ones_own_generates_with_the_cache_what_it_computes_without(
    plugin: Plugin, train: Callable[..., Path]
) -> None:
    run = train("--plugin", plugin("A position encoding"), "--model.positions=rotary")
    model = Run.open(run).model
    tokens = torch.randint(0, 256, (2, 20), generator=torch.Generator().manual_seed(0))
    cache = model.new_cache(2)
    with torch.inference_mode():
        steps = [model(tokens[:, i : i + 1], cache=cache) for i in range(20)]
        assert torch.allclose(torch.cat(steps, 1), model(tokens), atol=1e-4)


@pytest.mark.slow
def test_a_plan_measures_a_part_of_ones_own_too(
    plugin: Plugin, tiny_run: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The steps are measured in another process, which must load the plugin too."""
    write_yaml(tiny_run, tmp_path / "tiny.yaml")
    arguments = ["plan", "--config", str(tmp_path / "tiny.yaml"), "--seconds", "1", "--json"]
    assert main([*arguments, "--plugin", plugin("A norm"), "--model.norm=my_rmsnorm"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens_per_s"] > 0


def test_a_run_asks_for_its_plugin_again_and_refuses_another(
    plugin: Plugin, train: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = plugin("A norm")
    run = train("--plugin", file, "--model.norm=my_rmsnorm")
    recorded = json.loads((run / "checkpoints/step_00000012/state.json").read_text())["lineage"]["plugins"]
    assert recorded == plugins.hashes()
    plugins.LOADED.clear()
    assert main(["generate", str(run), "--prompt", "x"]) == 2
    assert "norm.py. Give it to this command too: --plugin" in " ".join(capsys.readouterr().err.split())
    Path(file).write_text(Path(file).read_text() + "# another\n")
    assert main(["generate", str(run), "--plugin", file, "--prompt", "x"]) == 2
    assert "was made with another norm.py" in capsys.readouterr().err


def test_an_unknown_name_is_one_sentence_with_all_names(
    train: Callable[..., Path], tiny_run: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_yaml(tiny_run, tmp_path / "tiny.yaml")
    for setting in ("model.norm", "model.positions", "model.activation", "optimizer.name", "schedule", "tracker"):
        assert main(["train", "--config", str(tmp_path / "tiny.yaml"), f"--{setting}=nonsense"]) == 2
        assert f'{setting} is "nonsense", but it must be one of ' in capsys.readouterr().err
    assert not (Path(tiny_run.out) / "checkpoints").exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [("1 / 0", "failed: ZeroDivisionError"), ("import no_such_module", "failed: ModuleNotFoundError")],
)
def test_a_plugin_that_fails_is_one_sentence(
    code: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text(code)
    assert main(["doctor", "--plugin", str(tmp_path / "broken.py")]) == 2
    assert message in capsys.readouterr().err
    assert main(["doctor", "--plugin", str(tmp_path / "missing.py")]) == 2
    assert "There is no plugin file" in capsys.readouterr().err
    assert main(["doctor", "--plugin"]) == 2
    (tmp_path / "plugin.txt").write_text("")
    with pytest.raises(UserError, match="its name must end in"):
        plugins.load(tmp_path / "plugin.txt")


def test_a_tracker_of_ones_own_gets_every_logged_step(plugin: Plugin, train: Callable[..., Path]) -> None:
    run = train("--plugin", plugin("A tracker"), "--tracker=csv")
    rows = (run / "losses.csv").read_text().splitlines()
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, 13))


def test_a_corpus_of_ones_own_is_read_by_workers_too(plugin: Plugin, tmp_path: Path) -> None:
    folder = tmp_path / "diary"
    folder.mkdir()
    for year in range(4):
        days = [f"== day {day}\nThe king of year {year} slept well on day {day}.\n" for day in range(50)]
        (folder / f"{year}.diary").write_text("".join([*days, "== day 50\n\n"]))
    command = [sys.executable, "-m", "gpt_research", "preprocess", f"mine:diary={folder}"]
    command += ["--out", str(tmp_path / "out"), "--plugin", plugin("A corpus")]
    command += ["--tokenizer", "train", "--vocab_size", "300", "--workers", "2", "--tasks", "2"]
    command += ["--val_fraction", "0.1", "--near_duplicates", "false"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    manifest = json.loads((tmp_path / "out" / "mine" / "manifest.json").read_text())
    assert manifest["documents_read"] == 204
    assert manifest["drops"] == {"empty_day": 4}
    assert "corpus.py" in json.dumps(manifest["options"])


def test_a_filter_of_ones_own_is_applied_by_workers_too(plugin: Plugin, tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    for number in range(4):
        texts = [f"The king of page {number} slept on day {day}." for day in range(50)] + [
            f"BUY THIS {number} NOW, YOU ALL!"
        ]
        (folder / f"{number}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    command = [sys.executable, "-m", "gpt_research", "preprocess", f"pages={folder}", "--plugin", plugin("A filter")]
    command += [
        "--filters",
        "shouting(max_upper=0.5)",
        "--out",
        str(tmp_path / "out"),
        "--workers",
        "2",
        "--tasks",
        "2",
    ]
    command += ["--tokenizer", "train", "--vocab_size", "300", "--near_duplicates", "false", "--tasks", "2"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    manifest = json.loads((tmp_path / "out" / "pages" / "manifest.json").read_text())
    assert manifest["drops"] == {"shouting:upper_case": 4}
    assert manifest["options"]["filters"] == "shouting(max_upper=0.5)"


def test_a_benchmark_of_ones_own_is_evaluated_and_compared(
    plugin: Plugin, train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train()
    folder = tmp_path / "benchmarks" / "endings"
    folder.mkdir(parents=True)
    rows = [{"line": "the king takes", "good": " the crown", "bad": f" zq{n}xv"} for n in range(20)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = plugin("A benchmark")
    arguments = ["--plugin", file, "--tasks", "endings", "--benchmarks", str(folder.parent)]
    assert main(["evaluate", str(run), *arguments]) == 0
    scores = json.loads((run / "evaluation.json").read_text())["tasks"]["endings"]["scores"]
    assert scores["accuracy"]["value"] > 0.9
    assert main(["compare", str(run), str(run), "--plugin", file]) == 0
    assert "endings" in capsys.readouterr().out


def test_an_export_format_of_ones_own_is_written_and_proved(
    plugin: Plugin, train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train()
    arguments = ["export", str(run), "--plugin", plugin("An export format"), "--format", "npz"]
    assert main([*arguments, "--out", str(tmp_path / "export")]) == 0
    assert "npz, read back: log-probabilities within" in capsys.readouterr().out
    assert (tmp_path / "export" / "weights.npz").is_file()
