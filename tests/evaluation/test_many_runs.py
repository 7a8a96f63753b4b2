"""Many runs are compared: seeds of a setting together, every digit shown, curves in one picture."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.table import Table

from gpt_research.base import hints
from gpt_research.base.settings import write_yaml
from gpt_research.cli.command_line import main
from gpt_research.cli.tables import print_table
from gpt_research.config import TrainConfig
from gpt_research.evaluation import results
from gpt_research.evaluation.results import Result
from gpt_research.evaluation.run_groups import compare_groups, grouped, open_run
from gpt_research.evaluation.statistics import (
    ACCURACY,
    LOSS,
    Estimate,
    difference,
    difference_of_means,
    student_quantile,
)
from gpt_research.model_config import GPTConfig
from gpt_research.training.lineage import deciding_settings, settings_with_origin

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that writes a run folder with metrics and, unless told not to, an
    evaluation.
    """

    def write(
        name: str, seed: int, loss: float, *, rate: float = 1e-3, documents: int = 40, evaluated: bool = True
    ) -> Path:
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        model = GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=16)
        config = TrainConfig(
            out=str(run), model=model, seed=seed, learning_rate=rate, tokens_per_step=128, micro_batch=8
        )
        write_yaml(config, run / "config.yaml")
        lines: list[dict[str, Any]] = [
            {"step": step, "loss": loss + 1 / step, "tokens": step * 128, "elapsed_s": step / 10}
            for step in range(1, 41)
        ]
        lines += [{"step": 20, "val_loss": loss + 0.1, "val_bits_per_byte": 2.0}]
        lines += [{"step": 40, "val_loss": loss, "val_bits_per_byte": loss / 2}]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if evaluated:
            rng = np.random.default_rng(3)  # the same documents for every run
            tokens = rng.integers(50, 900, documents)
            hard = rng.normal(0, 0.3, documents)
            own = np.random.default_rng(seed).normal(0, 0.01, documents)
            columns = {"nats": tokens * (loss + hard + own), "tokens": tokens, "bytes": 4 * tokens}
            facts = {"context": 16, "items_sha256": f"{documents}", "unit": "documents"}
            measured = Result("corpora/a-corpus", columns, facts)
            summary = {
                "run": str(run), "step": 40, "context": 16, "precision": "fp32",
                "trained_with": deciding_settings(config), "tasks": {"corpora/a-corpus": measured.as_json()},
            }  # fmt: skip
            results.write(run / results.RESULT_NAME, summary, [measured])
        return run

    return write


@pytest.fixture
def six(make: Make) -> list[str]:
    """Three seeds of two settings."""
    return [
        *(str(make(f"slow-{seed}", seed, 4.0 + 0.01 * seed)) for seed in (1, 2, 3)),
        *(str(make(f"fast-{seed}", seed, 3.5 + 0.01 * seed, rate=2e-3)) for seed in (1, 2, 3)),
    ]


def test_seeds_of_a_setting_count_together(six: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, picture = tmp_path / "many.json", tmp_path / "curves.png"
    assert main(["compare", *six, "--json", str(out), "--plot", str(picture)]) == 0
    printed = capsys.readouterr().out
    found = json.loads(out.read_text())
    assert [[run["seed"] for run in runs] for runs in found["groups"].values()] == [[1, 2, 3], [1, 2, 3]]
    assert "learning_rate: A 0.001, B 0.002" in printed
    assert "(seeds 1, 2, 3)" in printed
    of_loss = [score for score in found["scores"] if score["score"] == "loss"]
    assert [score["group"] for score in of_loss] == ["A", "B"]
    for score, folders in zip(of_loss, (six[:3], six[3:]), strict=True):
        values = [
            json.loads((Path(run) / "evaluation.json").read_text())["tasks"]["corpora/a-corpus"]["scores"]["loss"]
            for run in folders
        ]
        assert score["by_run"] == pytest.approx([value["value"] for value in values], rel=1e-7)
        assert score["value"] == pytest.approx(np.mean(score["by_run"]))
    change = of_loss[1]["difference"]
    assert change["low"] < -0.5 < change["high"] < 0
    assert change["better"] == "B"
    assert re.search(r"A +3 +40 +5,120 +4\.0200 ± 0\.0100 +2\.0100 ± 0\.0050", printed)
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_one_seed_among_many_says_what_its_interval_leaves_out(
    six: list[str], make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make("wide", 1, 3.9, rate=3e-3)
    assert main(["compare", *six, str(other)]) == 0
    assert "C: one run only, so its intervals tell" in capsys.readouterr().out
    assert main(["compare", *six, "--group_seeds", "false"]) == 0
    printed = capsys.readouterr().out
    assert "F: " in printed
    assert "one run only" not in printed


def test_runs_that_were_not_evaluated_are_compared_by_their_metrics(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(make(f"run-{seed}", 1, 4.0 - seed / 10, rate=seed * 1e-3, evaluated=False)) for seed in (1, 2)]
    assert main(["compare", *runs]) == 0
    printed = capsys.readouterr().out
    assert f"Not evaluated yet ({hints.command('evaluate', 'RUN')}): {runs[0]}, {runs[1]}." in printed
    assert re.search(r"B +1 +40 +5,120 +3\.8000 +1\.9000", printed)
    evaluated = make("run-3", 1, 3.0, rate=3e-3)
    assert main(["compare", *runs, str(evaluated)]) == 0
    assert "corpora/a-corpus: not every run of A, B measured it." in capsys.readouterr().out
    result = tmp_path / "elsewhere.json"
    for name in ("evaluation.json", "evaluation.items.jsonl"):
        text = (
            (evaluated / name)
            .read_text()
            .replace(str(evaluated), "/gone")
            .replace("evaluation.items", "elsewhere.items")
        )
        (tmp_path / name.replace("evaluation", "elsewhere")).write_text(text)
    assert main(["compare", *runs, str(result)]) == 0, "a result file is enough"


def test_two_runs_with_one_seed_are_no_two_seeds(make: Make) -> None:
    runs = [open_run(str(make(name, 1, 4.0))) for name in ("a", "b")]
    assert [len(group.runs) for group in grouped(runs)] == [1, 1]


def test_runs_that_began_with_other_checkpoints_are_no_seeds_of_one_setting() -> None:
    settings = {"init_from": "runs/before", "seed": 1}
    origins = [{"init_from": {"run": "runs/before", "step": step}} for step in (600, 1000)]
    assert settings_with_origin(settings, origins[0]) == {**settings, "step": 600}
    assert settings_with_origin(settings, origins[0]) != settings_with_origin(settings, origins[1])
    assert settings_with_origin({}, origins[0]) == {}


def test_a_seed_that_was_not_evaluated_belongs_to_its_setting(
    six: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (Path(six[1]) / "evaluation.json").unlink()
    assert main(["compare", *six]) == 0
    printed = capsys.readouterr().out
    assert "(seeds 1, 2, 3)" in printed
    assert "corpora/a-corpus: not every run of A measured it." in printed
    assert f"Not evaluated yet ({hints.command('evaluate', 'RUN')}): {six[1]}." in printed


def test_contexts_that_differ_are_named(six: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(six[4]) / "evaluation.json"
    found = json.loads(path.read_text().replace('"context": 16', '"context": 8'))
    path.write_text(json.dumps(found | {"precision": "bf16"}))
    assert main(["compare", *six]) == 0
    said = capsys.readouterr().out
    assert "corpora/a-corpus: context A 16, B 16 and 8." in said
    assert "precision: A fp32, B bf16 and fp32." in said
    assert "device:" not in said


PHENOMENA = {"binding": 40, "ellipsis": 60, "islands": 1}


def write_pairs(run: Path, *, is_old: bool = False) -> Result:
    """Write an evaluation of pairs of sentences about several phenomena."""
    path = run / results.RESULT_NAME
    trained = json.loads(path.read_text())["trained_with"]
    rng = np.random.default_rng(trained["seed"] + int(1e6 * trained["learning_rate"]))
    group = np.repeat(np.arange(3), list(PHENOMENA.values()))
    columns = {"correct": (rng.random(101) < 0.5 + 0.2 * group).astype(float), "chance": np.full(101, 0.5)}
    facts: dict[str, Any] = {"form": "pairs", "context": 16, "items_sha256": "0", "unit": "pairs"}
    facts["groups"] = {name: {"items": count} for name, count in PHENOMENA.items()}
    measured = Result("blimp", columns if is_old else {**columns, "group": group}, facts)
    summary = {"run": str(run), "step": 40, "precision": "fp32", "trained_with": trained}
    results.write(path, {**summary, "tasks": {"blimp": measured.as_json()}}, [measured])
    return measured


def test_each_phenomenon_of_blimp_is_compared(
    six: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = [write_pairs(Path(run)) for run in six]
    for runs in (six, [six[0], six[3]]):
        assert main(["compare", *runs, "--json", str(tmp_path / "out.json")]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert "blimp: 101 pairs" in printed
        assert "blimp: 3 groups of items are compared at once, and 1 interval in 20 leaves out 0" in printed
        assert "blimp: fewer than 30 items in islands; their intervals are rough." in printed
        found = json.loads((tmp_path / "out.json").read_text())
        rows = found.get("differences") or [row for row in found["scores"] if row["group"] == "B"]
        assert [row["score"] for row in rows] == ["accuracy", *(f"accuracy: {name}" for name in PHENOMENA)]
        ours = [measured[six.index(run)].columns["correct"][40:100] for run in runs]
        half = len(ours) // 2
        change = rows[2].get("difference", rows[2])
        assert change["value"] == pytest.approx(np.mean(ours[half:]) - np.mean(ours[:half]))
        assert change["items"] == 60
        assert change["low"] < change["value"] < change["high"]
    error = difference(ACCURACY, *({"correct": values} for values in ours), 0.95).standard_error
    assert change["standard_error"] == pytest.approx(error), "the same pairs of sentences are paired"


def test_a_result_without_phenomena_is_compared_as_a_whole(six: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Older results do not tell which item is in which group."""
    write_pairs(Path(six[0]))
    write_pairs(Path(six[3]), is_old=True)
    assert main(["compare", six[0], six[3]]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "blimp: only A has accuracy: binding, accuracy: ellipsis, accuracy: islands." in printed
    assert main(["compare", six[3], six[0]]) == 0


def test_scores_are_of_the_steps_that_were_evaluated(
    six: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training may have gone on since."""
    summary, measured = results.read(Path(six[3]) / "evaluation.json")
    results.write(Path(six[3]) / "evaluation.json", {**summary, "step": 20}, measured.values())
    assert main(["compare", six[0], six[3]]) == 0
    printed = capsys.readouterr().out
    assert f"A: {six[0]}, step 40\n" in printed
    assert f"B: {six[3]}, step 20\n" in printed
    assert main(["compare", *six, "--json", str(tmp_path / "many.json")]) == 0
    assert "The scores are of these steps: A 40, B 20 and 40." in capsys.readouterr().out
    groups = json.loads((tmp_path / "many.json").read_text())["groups"]
    assert [(run["step"], run["evaluated_step"]) for run in groups["B"]] == [(40, 20), (40, 40), (40, 40)]


def test_the_training_of_a_result_file_ends_at_its_step(six: list[str], tmp_path: Path) -> None:
    for name in ("evaluation.json", "evaluation.items.jsonl"):
        text = (Path(six[0]) / name).read_text().replace("evaluation.items", "kept.items")
        (tmp_path / name.replace("evaluation", "kept")).write_text(text.replace('"step": 40', '"step": 30'))
    assert open_run(str(tmp_path / "kept.json")).last("val_loss") == pytest.approx(4.11), "of step 20"


def test_other_items_are_left_out_with_a_reason(make: Make) -> None:
    runs = [open_run(str(make(f"r{n}", 1, 4.0, rate=n * 1e-3, documents=n))) for n in (40, 41)]
    scores, remarks = compare_groups(grouped(runs), 0.95)
    assert [score.group.letter for score in scores["corpora/a-corpus", "loss"]] == ["A"]
    assert "corpora/a-corpus: B was not measured on the same items as A." in remarks


def test_one_document_gives_no_interval_and_says_so(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(make(name, 1, loss, rate=loss, documents=1)) for name, loss in (("a", 5.0), ("b", 3.0), ("c", 4.0))]
    for command in (["compare", *runs[:2]], ["compare", *runs]):
        assert main([*command, "--json", str(tmp_path / "out.json")]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert "corpora/a-corpus: only 1 document, so an interval cannot be had and no difference can" in printed
        assert "none unknown" in printed
        assert "no difference is shown" not in printed, "two nats may well be a difference"
        assert "nan" not in printed
        json.loads((tmp_path / "out.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_an_infinite_perplexity_has_no_interval_and_says_why(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(make(name, 1, loss, rate=loss)) for name, loss in (("a", 5.0), ("b", 900.0), ("c", 4.0))]
    for command in (["compare", *runs[:2]], ["compare", *runs]):
        assert main(command) == 0
        printed = capsys.readouterr().out
        assert "corpora/a-corpus: perplexity has no interval, because it is infinite for one of the two." in printed
        assert "nan" not in printed


@pytest.mark.parametrize("columns", [80, 60, 300])
@pytest.mark.parametrize("count", [2, 6])
def test_every_digit_is_shown_at_any_width(
    six: list[str], count: int, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["compare", *six[:1], *six[-count + 1 :]]) == 0
    printed = capsys.readouterr().out
    assert "…" not in printed
    table = [line for line in printed.splitlines() if re.match(r" (loss|perplexity|bits_per_byte| +[A-Z]) ", line)]
    assert len(table) >= 3
    assert all(len(line) <= 80 for line in table)
    assert sum(bool(re.search(r"[-+]\d+\.\d+ to [-+]\d+\.\d+ ", line)) for line in table) == 3


@pytest.mark.parametrize("columns", [40, 80])
def test_tables_keep_numbers_whole_and_wrap_texts_between_words(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    table = Table("a column of text", title="title")
    for heading in ("tokens", "loss"):
        table.add_column(heading, justify="right")
    table.add_column("remark")
    table.add_row("some words that wrap " * 6, "1,234,567,890", "5.2003 ± 0.0123", "12 dropped, 1,345 kept " * 3)
    print_table(table)
    printed = capsys.readouterr().out
    for whole in ("1,234,567,890", "5.2003 ± 0.0123", "1,345"):
        assert whole in printed
    assert "…" not in printed


def estimates(values: list[float], influence: np.ndarray) -> list[Estimate]:
    return [Estimate(value, influence) for value in values]


def test_the_interval_of_means_holds_the_truth_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(6), {True: 0, False: 0}
    for _ in range(300):
        texts = rng.normal(0, 1, 200)  # how hard each text is, for every model
        luck = rng.normal(0, 0.05, 3)  # of each seed; the same seed has the same luck
        for same in held:
            lucks = luck, luck if same else rng.normal(0, 0.05, 3)
            models = []
            for mean, of_setting in zip((3.0, 2.9), lucks, strict=True):
                nats = [mean + of_seed + texts + rng.normal(0, 0.2, 200) for of_seed in of_setting]
                models.append([LOSS.estimate({"nats": n, "tokens": np.ones(200)}) for n in nats])
            found = difference_of_means(*models, 0.9, same_seeds=same)
            held[same] += found.low <= -0.1 <= found.high
    assert all(0.86 < count / 300 < 0.99 for count in held.values()), held


def test_one_run_each_gives_the_interval_of_two_runs() -> None:
    rng = np.random.default_rng(7)
    a, b = ({"nats": rng.normal(3, 1, 50), "tokens": np.ones(50)} for _ in range(2))
    found = difference_of_means([LOSS.estimate(a)], [LOSS.estimate(b)], 0.9, same_seeds=True)
    assert found == difference(LOSS, a, b, 0.9)


def test_few_seeds_make_the_interval_wide() -> None:
    """With two seeds and texts that say nothing, it is Student's t with one degree of freedom."""
    none = np.zeros(10)
    found = difference_of_means(estimates([1.0, 1.2], none), estimates([2.0, 2.4], none), 0.95, same_seeds=True)
    assert found.value == pytest.approx(1.1)
    assert found.high - found.value == pytest.approx(12.7062 * 0.1, rel=1e-4)


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [(0.975, 1, 12.7062047), (0.975, 4, 2.7764451), (0.95, 30, 1.6972609), (0.995, 2.5, 7.1637281),
     (0.1, 7, -1.4149239), (0.975, 1e9, 1.9599640)],
)  # fmt: skip
def test_quantiles_are_those_of_students_t(probability: float, freedom: float, value: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(value, rel=1e-4)


def test_a_plot_that_cannot_be_drawn_is_one_sentence(
    six: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path / "curves.nonsense", tmp_path / "missing" / "curves.png"):
        assert main(["compare", *six, "--plot", str(path)]) == 2
        assert "could not be drawn" in capsys.readouterr().err
    for run in six:
        (Path(run) / "metrics.jsonl").unlink()
    assert main(["compare", *six, "--plot", str(tmp_path / "curves.png")]) == 2
    assert "none of the runs has a metrics.jsonl here" in capsys.readouterr().err


def test_runs_are_named_a_to_z_and_on() -> None:
    from gpt_research.evaluation.run_groups import _letter

    assert [_letter(number) for number in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]
