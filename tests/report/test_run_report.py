"""The report of runs, whatever state they are in: one file, whole, safe, and true."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report.written_runs import HOSTILE, text_of, titles, write_run
from small_training import small_training

from gpt_research.base.settings import to_dict
from gpt_research.cli.command_line import main, parse
from gpt_research.cli.evaluate import EvaluateCommand
from gpt_research.config import TrainConfig
from gpt_research.evaluation import results
from gpt_research.evaluation.results import Result
from gpt_research.evaluation.settings import EvaluationSettings
from gpt_research.evaluation.statistics import number
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.report.known_run import evaluate_command, train_command
from gpt_research.report.open_run import open_run
from gpt_research.report.write import write_report
from gpt_research.training.loop import train

LARGEST = 3_000_000


def report(*runs: Path, out: str = "") -> str:
    return write_report(runs, out, with_compressors=False).read_text(encoding="utf-8")


def test_one_run_has_its_numbers_curves_settings_and_texts(tmp_path: Path) -> None:
    lines = write_run(tmp_path / "run", stop=100)
    page = report(tmp_path / "run")
    seen = text_of(page)
    assert (tmp_path / "run" / "report.html").is_file()
    assert f"{lines[-1]['val_bits_per_byte']:.4f} bits per byte of validation text after 100 steps." in seen
    assert titles(page) == ["Validation", "Training loss", "Validation by time", "Learning rate", "Gradient norm",
                            "Speed", "Bits per byte of each corpus"]  # fmt: skip
    assert "finished" in seen
    assert "A text of step 100." in seen
    assert "model.n_embd 32" in seen
    assert "No run was evaluated yet" in seen
    assert seen.count("Settings that differ") == 0


def test_seeds_are_one_setting_with_a_band_and_settings_are_paired_by_seed(tmp_path: Path) -> None:
    ends = {}
    for rate, gain in ((1e-3, 0.0), (4e-3, 0.2)):
        for seed in (1, 2, 3):
            lines = write_run(tmp_path / f"{rate}-{seed}", seed, learning_rate=rate, gain=gain)
            ends[rate, seed] = lines[-1]["val_bits_per_byte"]
    page = report(*sorted(tmp_path.iterdir()), out=str(tmp_path / "all.html"))
    seen = text_of(page)
    validation = page[page.index("<h3>Validation</h3>") : page.index("<h3>Training loss</h3>")]
    assert re.findall(r'<span>([^<]*)</span></button>', validation) == [
        "A: learning_rate 0.001 (3 seeds)", "B: learning_rate 0.004 (3 seeds)"]  # fmt: skip
    assert validation.count('class="band"') == 2
    differences = [ends[4e-3, seed] - ends[1e-3, seed] for seed in (1, 2, 3)]
    mean = sum(differences) / 3
    assert f"B: learning_rate 0.004 (3 seeds) {mean:+.4f}" in seen
    for seed, difference in enumerate(differences, start=1):
        assert f"B, seed {seed} {difference:+.4f}" in seen
    assert "Paired differences" in titles(page)
    assert "learning_rate 0.001 0.004" in seen


def test_steps_of_other_sizes_are_shown_by_token(tmp_path: Path) -> None:
    for size in (1024, 2048):
        write_run(tmp_path / str(size), tokens_per_step=size)
    page = report(tmp_path / "1024", tmp_path / "2048", out=str(tmp_path / "both.html"))
    assert '<div class="x-label">tokens</div>' in page
    assert page.count('<div class="x-label">step</div>') == 0


def test_a_run_that_is_still_training_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    write_run(tmp_path / "run", stop=40)
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 41, "lo')  # a line that is being written
    assert "at step 40 of 100: still training, or stopped" in text_of(report(tmp_path / "run"))


def test_a_run_without_a_number_yet_has_a_report(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    for name in ("metrics.jsonl", "samples.txt"):
        (tmp_path / "run" / name).unlink()
    page = report(tmp_path / "run")
    assert "nothing logged yet" in text_of(page)
    assert titles(page) == []


def test_a_diverged_run_is_named_drawn_alone_and_not_averaged(tmp_path: Path) -> None:
    good = write_run(tmp_path / "good", 1)
    write_run(tmp_path / "bad", 2, diverge=50)
    page = report(tmp_path / "good", tmp_path / "bad", out=str(tmp_path / "both.html"))
    seen = text_of(page)
    assert f"{good[-1]['val_bits_per_byte']:.4f} bits per byte of validation text after 100 steps." in seen
    assert "bad diverged at step 50 and is not counted." in seen
    assert "diverged: no finite loss since step 50" in seen
    assert "<span>A, seed 2: diverged at step 50</span>" in page
    assert seen.lower().count("nan") == 0


def test_a_run_that_never_had_a_finite_loss_has_a_report(tmp_path: Path) -> None:
    write_run(tmp_path / "run", diverge=1)
    page = report(tmp_path / "run")
    assert "run diverged at step 1 and is not counted." in text_of(page)
    assert "Learning rate" in titles(page)
    assert "Training loss" not in titles(page)


def test_names_and_texts_that_hold_html_stay_text(tmp_path: Path) -> None:
    write_run(tmp_path / HOSTILE, corpora=(HOSTILE, "b</script>"))
    (tmp_path / HOSTILE / "samples.txt").write_text(f"--- step 9 ---\n</pre>{HOSTILE}\u202e\n", encoding="utf-8")
    page = report(tmp_path / HOSTILE)
    assert page.count("<script>") == 1
    assert page.count("<img") == 0
    assert page.count("\u202e") == 0
    assert HOSTILE in html.unescape(page)


def test_100_000_lines_make_a_small_file_that_keeps_a_spike(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    lines = [
        {"step": n, "loss": 3.0 if n != 54_321 else 77.0, "grad_norm": 1.0 if n != 12_345 else 99.0}
        for n in range(1, 100_001)
    ]
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = report(tmp_path / "run")
    assert len(page) < 300_000
    losses = page[page.index("<h3>Training loss</h3>") : page.index("<h3>Gradient norm</h3>")]
    assert "highest 77" in losses
    assert "highest 99" in page


@pytest.mark.slow
def test_many_long_runs_with_many_corpora_stay_below_3_mb(tmp_path: Path) -> None:
    corpora = tuple(f"corpus-{n}" for n in range(12))
    for rate in range(1, 9):
        for seed in (1, 2):
            write_run(tmp_path / f"{rate}-{seed}", seed, learning_rate=rate / 1000, steps=400, corpora=corpora)
    page = report(*sorted(tmp_path.iterdir()), out=str(tmp_path / "all.html"))
    assert len(page.encode()) < LARGEST


@pytest.mark.parametrize("dirt", ["{", '{"version": 1}', "[]"])
def test_a_damaged_evaluation_is_a_remark(tmp_path: Path, dirt: str) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "run" / "evaluation.json").write_text(dirt)
    seen = text_of(report(tmp_path / "run"))
    assert "Evaluate again." in seen
    assert "bits per byte of validation text after 100 steps" in seen


def test_what_is_no_run_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    for name in (tmp_path / "folder", tmp_path / "nowhere"):
        assert main(["report", str(name)]) == 2
        error = capsys.readouterr().err
        assert (
            error
            == f"error: {name} is no run folder (config.yaml), result file of evaluate or experiment (result.json). "
            "Name one that training, evaluate or an experiment wrote.\n"
        )
    assert main(["report"]) == 2
    assert "report RUN" in capsys.readouterr().err
    write_run(tmp_path / "run")
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "folder"), "--compressors", "false"]) == 2
    assert f"{tmp_path / 'folder'} could not be written" in capsys.readouterr().err


@pytest.fixture(scope="module")
def evaluated(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained and evaluated, and beside it another result file of its."""
    folder = tmp_path_factory.mktemp("evaluated")
    train(small_training(dataset_folder, out=str(folder / "run"), max_steps=4, tokens_per_step=256, warmup_steps=2))
    for tokens, more in (("512", []), ("256", ["--json", str(folder / "less.json")])):
        assert main(["evaluate", str(folder / "run"), "--max_tokens", tokens, "--device", "cpu", *more]) == 0
    return folder


def test_a_trained_and_evaluated_run_has_evaluations_data_lineage_and_commands(evaluated: Path) -> None:
    run = evaluated / "run"
    seen = text_of(report(run))
    summary, less = (json.loads(path.read_text()) for path in (run / "evaluation.json", evaluated / "less.json"))
    for name, loss in summary["corpora"].items():
        assert f"corpora/{name} bits_per_byte {loss['bits_per_byte']:.4f}" in seen
    for name, loss in less["corpora"].items():
        assert f"{run} (less.json) 4 corpora/{name} loss {loss['loss']:.4f}" in seen
    assert summary["lineage"]["data"][:12] in seen
    assert f"fingerprint {summary['lineage']['data']}" in seen
    assert summary["versions"]["torch"] in seen
    assert "2 corpora:" in seen  # the data card
    assert "Documents chosen at random" in seen
    assert "--max_tokens 256" in seen
    assert summary["device"] in seen
    other = json.loads((run / "trained_on.json").read_text())
    other["machine"]["cpu"] = "a processor of another machine"
    (run / "trained_on.json").write_text(json.dumps(other))
    assert "a processor of another machine" in text_of(report(run))


def test_a_result_file_alone_has_a_report(evaluated: Path, tmp_path: Path) -> None:
    summary = json.loads((evaluated / "run" / "evaluation.json").read_text())
    (tmp_path / "evaluation.json").write_text(json.dumps({**summary, "run": "elsewhere"}))
    shutil.copy(evaluated / "run" / "evaluation.items.jsonl", tmp_path)
    seen = text_of(report(tmp_path / "evaluation.json", out=str(tmp_path / "r.html")))
    assert f"{summary['overall']['bits_per_byte']:.4f} bits per byte of validation text." in seen
    assert "corpora/plays loss" in seen


def test_a_named_result_file_of_a_run_is_shown_alone(evaluated: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(evaluated / "run", tmp_path / "run"))
    summary = json.loads((run / "evaluation.json").read_text())
    summary |= {"run": str(run), "step": 1, "items": {**summary["items"], "file": "kept.items.jsonl"}}
    (run / "kept.json").write_text(json.dumps(summary))
    shutil.copy(run / "evaluation.items.jsonl", run / "kept.items.jsonl")
    seen = text_of(report(run / "kept.json", out=str(tmp_path / "r.html")))
    assert seen.count("corpora/plays loss") == 1, "and not that of evaluation.json"
    known, _ = open_run(str(run / "kept.json"))
    assert known.lines.last_step <= 1, "the training of that step, though the run went on"


def test_scores_of_runs_and_groups_of_items_stand_side_by_side(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        run = tmp_path / name
        write_run(run, stop=100)
        group, correct = np.repeat([0, 1], 40), np.arange(80) % (3 + seed) < 2
        groups = {name: {"accuracy": 0.5, "items": 40} for name in ("binding", "islands")}
        facts = {"form": "pairs", "context": 8, "items_sha256": "0", "unit": "pairs", "groups": groups}
        columns = {"correct": correct.astype(float), "chance": np.full(80, 0.5), "group": group}
        measured = [Result(task, columns, facts) for task in ("blimp", "more")]
        tasks = {one.task: one.as_json() for one in measured}
        results.write(run / "evaluation.json", {"run": str(run), "step": 7, "tasks": tasks}, measured)
    seen = " ".join(text_of(report(tmp_path / "a", tmp_path / "b", out=str(tmp_path / "r.html"))).split())
    table = seen[seen.rindex("Accuracy above chance") :]
    assert re.search(r"blimp, accuracy A .{0,300}blimp, accuracy B .{0,300}more, accuracy A .{0,300}more, acc", table)
    change = f"{np.mean(np.arange(40, 80) % 4 < 2) - np.mean(np.arange(40, 80) % 3 < 2):+.4f}"
    assert re.search(rf"blimp: accuracy .*binding, B .*islands, B [\d.]+ \{change} ", table)


def test_benchmarks_stand_beside_chance_with_how_they_were_measured(tmp_path: Path) -> None:
    chance = {"chance": 0.25, "normalisation": "none"}
    scores = {
        "accuracy": {"value": 0.3125, "standard_error": 0.01, "signal": True, **chance},
        "accuracy_norm": {"value": 0.2575, "standard_error": 0.01, "signal": False, **chance},
        "accuracy_bytes": {"value": 0.9999, "standard_error": 0.01, "signal": True, **chance},
        "bits_per_byte": {"value": 2.5, "standard_error": 0.1, "normalisation": "bytes of each answer"},
    }
    groups = {"binding": {"accuracy": 0.625, "items": 40, "standard_error": 0.02}}
    tasks = {
        "arc_easy": {"form": "choice", "scores": scores, "items": 570, "unit": "questions", "first_of": 2376,
                     "variant": "lm-eval's prompt", "shots": 5, "ties": [3, 9], "source": {"sha256": "abcdef" * 10}},
        "blimp": {"form": "pairs", "scores": {}, "items": 40, "groups": groups, "about": "2 of 67 sets"},
    }  # fmt: skip
    write_run(tmp_path / "run", stop=100)
    missing = {"piqa": "Put valid.jsonl into DIR/piqa."}
    core = {"core": None, "missing": ["copa", "squad"]}
    summary = {"version": 1, "run": "run", "step": 7, "tasks": tasks, "missing": missing, "core": core}
    (tmp_path / "run" / "suite.json").write_text(json.dumps(summary))
    seen = " ".join(text_of(report(tmp_path / "run")).split())
    section = seen[seen.rindex("Accuracy above chance") : seen.rindex("How each score was measured")]
    assert "arc_easy, accuracy 0.3125 0.0100 0.2500 arc_easy, accuracy_norm" in section
    assert section.count("no signal at this size") == 2, "once in the table, and once in the note"
    assert "0.9999" not in section, "the metrics that tables show are enough"
    for said in ("binding 0.6250 ± 0.0200", "piqa is missing. Put valid.jsonl", "no CORE", "copa, squad"):
        assert said in section
    assert "570 questions, the first of 2,376 lm-eval's prompt 5 accuracy: none" in seen
    assert "abcdefabcdef" in seen


def test_evaluations_of_two_settings_are_compared_as_compare_does(evaluated: Path, tmp_path: Path) -> None:
    first = evaluated / "run" / "evaluation.json"
    summary = json.loads(first.read_text())
    summary["trained_with"]["learning_rate"] = 0.123
    items = (evaluated / "run" / "evaluation.items.jsonl").read_text().replace('"nats": [', '"nats": [9')
    (tmp_path / "b.items.jsonl").write_text(items)
    digest = hashlib.sha256(items.encode()).hexdigest()
    summary |= {"run": "elsewhere", "items": {"file": "b.items.jsonl", "sha256": digest}}
    (tmp_path / "b.json").write_text(json.dumps(summary))
    compared = tmp_path / "compared.json"
    assert main(["compare", str(first), str(tmp_path / "b.json"), str(first), "--json", str(compared)]) == 0
    seen = text_of(report(first, tmp_path / "b.json", out=str(tmp_path / "r.html")))
    scores = json.loads(compared.read_text())["scores"]
    of_compare = [score for score in scores if (score["group"], score["task"]) == ("B", "corpora/plays")]
    assert len(of_compare) == 3
    for score in of_compare:
        value, low, high = (number(score["difference"][name], "+") for name in ("value", "low", "high"))
        assert f"B {number(score['value'])} {value} {low} to {high} not decided" in seen


def test_other_data_in_the_folder_is_not_shown_as_that_of_the_run(evaluated: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(evaluated / "run", tmp_path / "run"))
    known, _ = open_run(str(run))
    assert known.config is not None
    data = Path(shutil.copytree(known.config.data, tmp_path / "data"))
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace(known.config.data, str(data)))
    assert "2 corpora:" in text_of(report(run))
    manifest = next(data.glob("*/manifest.json"))
    manifest.write_text(manifest.read_text().replace('"licence": "', '"licence": "other '))
    seen = text_of(report(run))
    assert f"{data} holds other data now" in seen
    assert seen.count("2 corpora:") == 0
    shutil.rmtree(data)
    assert f"The data set {data} is not here, so its card is not shown." in text_of(report(run))


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--config", "demo"],
        ["--weights.a", "2", "--weights.b", "0.5", "--model.bias", "false", "--sample_prompt", "Où 'est'\n\"$HOME\""],
        ["--wandb.tags", "one", "--wandb.tags", "two words", "--micro_batch", "auto", "--compile", "true"],
    ],
)
def test_the_command_of_a_run_gives_its_settings_again(flags: list[str]) -> None:
    config = parse("train", flags)
    words = shlex.split(train_command(config, {}).replace("\\\n", ""))  # as a shell joins lines
    assert words[:2] == ["gpt-research", "train"]
    assert parse("train", words[2:]) == config


def test_the_command_of_an_evaluation_repeats_it() -> None:
    settings = to_dict(EvaluationSettings(data="data/mix", suite="small", limit=5, stride=16, benchmarks="files"))
    summary = {
        "step": 600, "settings": {"run": "runs/demo", **settings}, "precision": "bf16", "averaged_weights": True,
        "trained_with": {"ema_decay": 0.99}, "tasks": {"lambada": {"lm_eval": {}}},
        "memorisation": {"samples": {"count": 7}},
    }  # fmt: skip
    asked = parsed_evaluation(summary)
    assert asked == EvaluateCommand(
        run="runs/demo@600", data="data/mix", suite="small", limit=5, stride=16, benchmarks="files", precision="bf16",
        ema=True, harness=True, memorisation=7,
    )  # fmt: skip
    assert parsed_evaluation({**summary, "averaged_weights": False}).ema is False
    old = {"settings": {"data": "x", "tasks": "corpora"}}
    assert parsed_evaluation(old) == EvaluateCommand(run="runs/demo", data="x", tasks="corpora")


def parsed_evaluation(summary: dict[str, Any]) -> object:
    words = shlex.split(evaluate_command("runs/demo", summary).replace("\\\n", ""))
    return parse("evaluate", words[2:])


def test_the_command_of_a_fine_tuning_gives_its_settings_again() -> None:
    asked = FinetuneSettings(
        run="runs/demo", data="a.jsonl", out="runs/tuned", task="classify", lora=4, columns={"text": "sentence"},
        labels=["b", "a"], from_scratch=False, lm_weight=0.0,
    )  # fmt: skip
    command = train_command(TrainConfig(), {"finetune": {"settings": dataclasses.asdict(asked)}})
    words = shlex.split(command.replace("\\\n", ""))
    assert words[:3] == ["gpt-research", "finetune", "runs/demo"]
    again = parse("finetune", words[2:])
    assert all(getattr(again, field.name) == getattr(asked, field.name) for field in dataclasses.fields(asked))


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    assert report(tmp_path / "run") == report(tmp_path / "run")
