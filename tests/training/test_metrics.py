"""What a run records: each number once, over all sessions, in files and in trackers."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.base.settings import to_dict
from gpt_research.checkpoint.files import checkpoint_path
from gpt_research.cli.command_line import main
from gpt_research.config import TrainConfig, WandbConfig
from gpt_research.training import metrics, trackers
from gpt_research.training.curves import COLOURS, DASHES, TRAINING, VALIDATION, draw_loss_curve, smoothed, style
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics
from gpt_research.training.run_folder import _check_changes


def logged(run: str) -> list[dict[str, Any]]:
    return [line for line in read_metrics(Path(run)) if "loss" in line]


def test_no_step_is_recorded_twice_after_a_resume(tiny_run: TrainConfig) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, config = Path(tiny_run.out), dataclasses.replace(tiny_run, max_steps=8, eval_interval=2, tracker="tensorboard")
    train(config)
    shutil.rmtree(checkpoint_path(run, 8))  # as if killed before this save
    train(config)
    assert [m["step"] for m in logged(config.out)] == list(range(1, 9))
    json.dumps(read_metrics(run), allow_nan=False)
    heads = [line for line in (run / "samples.txt").read_text().splitlines() if line.startswith("--- step ")]
    assert heads == [f"--- step {step} ---" for step in (2, 4, 6, 8)]
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 9))
    assert [event.step for event in events.Scalars("val_loss")] == [2, 4, 6, 8]


def test_a_run_that_starts_again_from_nothing_leaves_nothing_of_the_first_try(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for last in (4, 2):
        opened = metrics.Metrics(tmp_path, TrainConfig(tracker="tensorboard"), 0)
        for step in range(1, last + 1):
            opened.log(step, {"loss": 1.0 * last})
        opened.finish()
        with open(tmp_path / "samples.txt", "a", encoding="utf-8") as file:
            file.write(f"--- step {last} ---\na text\n\n")
    assert (tmp_path / "samples.txt").read_text() == "--- step 2 ---\na text\n\n"
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 2.0), (2, 2.0)]


def test_lines_hold_means_tokens_epochs_time_and_memory_over_all_sessions(tiny_run: TrainConfig) -> None:
    every = dataclasses.replace(tiny_run, out=tiny_run.out + "-every", eval_interval=0)
    train(every)
    losses = [m["loss"] for m in logged(every.out)]
    # The second session begins in the middle of a line's four steps.
    parts = dataclasses.replace(tiny_run, log_interval=4, eval_interval=0)
    train(parts, until=6)
    first = logged(parts.out)[-1]["elapsed_s"]
    train(parts)
    lines = logged(parts.out)
    assert [m["step"] for m in lines] == [4, 8, 12]
    for line in lines:
        step = line["step"]
        assert line["loss"] == losses[step - 1]
        assert line["mean_loss"] == pytest.approx(math.fsum(losses[step - 4 : step]) / 4)
        assert line["tokens"] == step * 256
        assert line["peak_memory_gb"] > 0.01
    epochs = [line["epochs"] for line in lines]
    assert set(epochs[0]) == {"plays", "tales"}
    assert epochs[2]["plays"] == pytest.approx(3 * epochs[0]["plays"])
    assert 0 < first < lines[1]["elapsed_s"] < lines[2]["elapsed_s"]


@pytest.mark.parametrize(("elapsed", "seconds"), [([1.0, 5.0, 9.0], 9.0), ([1.0, 5.0, 2.0, 3.0], 8.0), ([], 0.0)])
def test_the_time_of_sessions_is_added_up(tmp_path: Path, elapsed: list[float], seconds: float) -> None:
    """Version 0.1 counted from 0 in each session; it did not write tokens."""
    lines = [{"step": step, "loss": 1.0, "elapsed_s": value} for step, value in enumerate(elapsed, 1)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    opened = metrics.Metrics(tmp_path, TrainConfig(tokens_per_step=4096), 2)
    opened.finish()
    assert opened.earlier == metrics.Earlier(step=0, tokens=0, seconds=seconds)


def test_tokens_go_on_from_those_of_other_settings(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 10, "loss": 1.0, "tokens": 1000}) + "\n")
    opened = metrics.Metrics(tmp_path, TrainConfig(tokens_per_step=4096), 12)
    opened.finish()
    assert (opened.earlier.step, opened.earlier.tokens) == (10, 1000)


@pytest.mark.parametrize("tracker", ["wandb", "tensorboard"])
@pytest.mark.parametrize("micro_batch", ["4", "auto"])
def test_a_missing_tracker_is_one_sentence_before_anything_is_built(
    tiny_run: TrainConfig,
    tracker: str,
    micro_batch: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    flags = ["--data", tiny_run.data, "--out", tiny_run.out, "--tracker", tracker, "--micro_batch", micro_batch]
    assert main(["train", "--config", "demo", *flags]) == 2
    command = hints.install_package(tracker)
    assert capsys.readouterr().err == f"error: tracker {tracker} is not installed. Run: {command}\n"
    assert not Path(tiny_run.out).exists()


def test_a_plugin_names_the_packages_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Comet(trackers.WandbTracker):
        packages = ("comet_of_no_one",)

    monkeypatch.setitem(trackers.TRACKERS, "comet", Comet)
    with pytest.raises(UserError, match=r"comet needs comet_of_no_one, which is not installed\. Run: "):
        trackers.find_tracker("comet")


class Recorder:
    """W&B, as far as a tracker calls it."""

    class Error(Exception):
        pass

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def init(self, **asked: Any) -> Recorder:
        self.asked.append(asked)
        return self


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    for name in ("WANDB_PROJECT", "WANDB_NAME", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", recorder)  # type: ignore[arg-type]
    return recorder


def begin(run: Path, **settings: Any) -> None:
    run.mkdir(parents=True, exist_ok=True)
    trackers.begin("wandb", run, to_dict(TrainConfig(wandb=WandbConfig(**settings))), 0)


def test_runs_on_wandb_have_ids_of_their_own(wandb: Recorder, tmp_path: Path) -> None:
    for place in ("a/base", "b/base", "a/base"):
        begin(tmp_path / place)
    one, other, again = (asked["id"] for asked in wandb.asked)
    assert one == again != other
    assert [asked["name"] for asked in wandb.asked] == ["base"] * 3
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    (tmp_path / "b").rename(tmp_path / "moved")
    begin(tmp_path / "copy/base")
    begin(tmp_path / "moved/base")
    assert wandb.asked[3]["id"] not in (one, other), "two folders that both exist are two runs"
    assert wandb.asked[4]["id"] == other
    (tmp_path / "old/base/wandb/offline-run-20250101_000000-base").mkdir(parents=True)
    begin(tmp_path / "old/base")
    assert wandb.asked[5]["id"] == "base", "a run of version 0.1 goes on"


def test_wandb_gets_project_entity_name_group_and_tags(
    wandb: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path, project="gpt", entity="lab", name="first", group="seeds", tags=["a", "b"])
    begin(tmp_path)
    monkeypatch.setenv("WANDB_PROJECT", "from the environment")
    begin(tmp_path)
    names = ("project", "entity", "name", "group", "tags")
    assert [wandb.asked[0][name] for name in names] == ["gpt", "lab", "first", "seeds", ["a", "b"]]
    assert [wandb.asked[1][name] for name in names] == ["gpt-research", None, tmp_path.name, None, None]
    assert wandb.asked[2]["project"] == "from the environment"


def test_a_resumed_run_may_get_other_tags_on_wandb(tmp_path: Path) -> None:
    _check_changes(TrainConfig(), TrainConfig(wandb=WandbConfig(tags=["finished"])), tmp_path, 1)
    with pytest.raises(UserError, match="seed: 1337 -> 1"):
        _check_changes(TrainConfig(), TrainConfig(seed=1), tmp_path, 1)


def test_wandb_that_cannot_begin_is_one_sentence(
    wandb: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**asked: Any) -> None:
        raise wandb.Error("no key")

    monkeypatch.setattr(wandb, "init", init)
    with pytest.raises(UserError, match=r"W&B could not begin \(no key\).*WANDB_MODE=offline"):
        begin(tmp_path)


def test_wandb_writes_without_a_network(tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(dataclasses.replace(tiny_run, max_steps=2, tracker="wandb"))
    assert list(Path(tiny_run.out).glob("wandb/offline-run-*/*.wandb"))


def test_a_smoothed_curve_neither_lags_nor_bends_at_its_ends() -> None:
    steps = np.arange(10.0, 610.0, 2)
    noise = np.random.default_rng(1).normal(0, 0.2, len(steps))
    line = 7 - 0.01 * steps
    at, found = smoothed(steps, line + noise)
    assert (at == steps).all()
    assert np.abs(found - line).max() < 0.15
    assert np.abs(smoothed(steps, line)[1] - line).max() < 1e-9
    peak = np.exp(-0.5 * ((steps - 300) / 40) ** 2)
    assert abs(steps[smoothed(steps, peak)[1].argmax()] - 300) <= 2, "a mean over earlier values would come late"
    assert len(smoothed(np.arange(1e5), np.ones(100_000))[0]) == 2000


def test_the_loss_curve_shows_every_line_in_a_colour_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **k: (drawn.append(self), path.touch()))
    lines: list[dict[str, Any]] = [
        {"step": step, "loss": 5 + 1 / step, "learning_rate": 1e-3 / step} for step in range(1, 51)
    ]
    lines.append({"step": 20, "loss": None, "learning_rate": 1e-3})  # a step that was not finite
    corpora = {name: {"loss": 5.0, "bits_per_byte": 2.0} for name in "abcdef"}
    lines += [{"step": step, "val_loss": 5.0, "val_bits_per_byte": 2.0, "corpora": corpora} for step in (25, 50)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert draw_loss_curve(tmp_path) == tmp_path / "loss.png"
    losses, rates = drawn[0].axes[:2]
    labels = [text.get_text() for text in losses.get_legend().get_texts()]
    assert labels == ["training", "training, smoothed", "validation", *(f"validation: {name}" for name in "abcdef")]
    colours = [line.get_color() for line in losses.get_lines()]
    assert len(set(colours[1:])) == len(colours) - 1, "only the raw line shares its colour with the smoothed one"
    assert rates.get_ylabel() == "learning rate"
    assert max(rates.get_lines()[0].get_ydata()) == pytest.approx(1e-3)
    right = losses.child_axes[0]
    assert "bits per byte" in right.get_ylabel()
    assert right._functions[0](5.0) == pytest.approx(2.0)  # type: ignore[attr-defined]
    lines_of = [tuple(style(number).values()) for number in range(len(COLOURS) * len(DASHES))]
    assert len(set(lines_of)) == len(lines_of)
    assert {TRAINING, VALIDATION}.isdisjoint(COLOURS)
