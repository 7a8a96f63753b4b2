"""What the page shows of runs: checkpoints, curves, whether they still train."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gpt_research.base.locks import is_locked, take_lock
from gpt_research.checkpoint.files import checkpoint_path
from gpt_research.cli.serve import ServeCommand, build
from gpt_research.run import Run
from gpt_research.training.live_metrics import LiveMetrics
from gpt_research.training.metrics import read_metrics
from gpt_research.training.run_folder import OWNER


def about(page: TestClient) -> dict[str, Any]:
    answer = page.get("/api/runs")
    assert answer.status_code == 200
    [found] = answer.json()["runs"]
    assert page.get("/api/runs/tiny").json() == found
    return dict(found)


def test_a_checkpoint_that_is_saved_again_is_opened_again(page: TestClient, folder: Path) -> None:
    def asked() -> object:
        assert page.post("/api/analysis", json={"model": "tiny@20", "text": "the king"}).status_code == 200
        return page.app.state.models.runs.by_name["tiny@20"]  # type: ignore[attr-defined]

    first = asked()
    assert asked() is first
    os.utime(checkpoint_path(folder, 20) / "state.json", ns=(0, 10**9))
    again = asked()
    assert again is not first
    assert asked() is again


def test_the_whole_training_is_seen_with_the_weights_that_the_server_takes(folder: Path) -> None:
    with TestClient(build(ServeCommand(runs=[str(folder)], device="cpu", ema=True), "")) as page:
        answer = page.post("http://localhost/api/through/losses", json={"text": "the king"})
    assert answer.status_code == 404
    assert "average" in answer.json()["error"]["message"]


def test_a_finished_run(page: TestClient, folder: Path) -> None:
    found = about(page)
    assert (found["name"], found["step"], found["max_steps"], found["training"]) == ("tiny", 40, 40, False)
    assert (found["ended"], found["problem"], found["data"]["state"]) == ("finished", "", "ok")
    assert (found["served_step"], found["step_is_named"]) == (40, False)
    with TestClient(build(ServeCommand(runs=[f"{folder}@20"], device="cpu"), "")) as named:
        [run] = named.get("http://localhost/api/runs").json()["runs"]
        assert (run["name"], run["served_step"], run["step_is_named"]) == ("tiny@20", 20, True)
    assert found["tokens_seen"] == 40 * 1024
    assert found["shape"]["context"] == 64
    assert found["shape"]["parameters"] == Run.open(folder).model.num_parameters()
    assert [(c["step"], c["newest"], c["resumable"]) for c in found["checkpoints"]] == [
        (20, False, True),
        (40, True, True),
    ]
    evaluated = {line["step"]: line["val_loss"] for line in read_metrics(folder) if "val_loss" in line}
    assert found["checkpoints"][1]["val_loss"] == pytest.approx(evaluated[40], abs=1e-5)
    assert found["checkpoints"][0]["val_loss"] is None
    assert found["checkpoints"][1]["best"]


def test_a_run_that_trains_and_gets_a_new_checkpoint(page: TestClient, folder: Path) -> None:
    with take_lock(folder, OWNER):
        shutil.rmtree(checkpoint_path(folder, 40))
        metrics = folder / "metrics.jsonl"
        before = metrics.read_text().splitlines()
        metrics.write_text("\n".join(line for line in before if json.loads(line)["step"] <= 20) + "\n")
        found = about(page)
        assert (found["training"], found["ended"], found["step"]) == (True, "", 20)
        assert found["seconds_left"] > 0
        shutil.copytree(checkpoint_path(folder, 20), checkpoint_path(folder, 40))
        assert [c["step"] for c in about(page)["checkpoints"]] == [20, 40]
    assert about(page)["training"] is False


def test_a_run_without_checkpoints_or_with_damaged_settings_says_so(page: TestClient, folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints")
    assert "has no checkpoint yet" in about(page)["problem"]
    (folder / "settings.jsonl").write_text("{")
    assert "settings.jsonl is damaged" in about(page)["problem"]


def test_a_data_set_that_is_gone_or_another(page: TestClient, folder: Path) -> None:
    history = folder / "settings.jsonl"
    line = json.loads(history.read_text())
    history.write_text(json.dumps({**line, "data": "0" * 64}) + "\n")
    found = about(page)["data"]
    assert found["state"] == "differs"
    assert "holds other data than the run was trained on" in found["why"]
    line["settings"]["data"] = str(folder / "nowhere")
    history.write_text(json.dumps(line) + "\n")
    found = about(page)["data"]
    assert found["state"] == "missing"
    assert "nowhere is not there" in found["why"]


def test_curves_are_thinned_and_go_on(page: TestClient, folder: Path) -> None:
    lines = [line for line in read_metrics(folder) if "loss" in line]
    found = page.get("/api/runs/tiny/metrics").json()
    assert found["train"]["step"] == [line["step"] for line in lines]
    assert found["train"]["loss"] == pytest.approx([line["mean_loss"] for line in lines], abs=1e-6)
    assert (found["last_step"], found["restarted"]) == (40, False)
    assert found["validation"]["step"] == [40]
    assert set(found["validation"]["corpora"]) == {"plays", "tales"}
    many = [{"step": step, "loss": float(step), "grad_norm": None} for step in range(1, 1001)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in many))
    found = page.get("/api/runs/tiny/metrics?points=20").json()
    assert found["train"]["step"][-1] == 1000
    assert found["train"]["loss"][0] == 25.5
    assert found["train"]["grad_norm"] == [None] * 20
    later = page.get("/api/runs/tiny/metrics?after=990").json()
    assert later["train"]["step"] == list(range(991, 1001))
    (folder / "metrics.jsonl").write_text(json.dumps(many[0]) + "\n")
    assert page.get("/api/runs/tiny/metrics?after=1000").json()["restarted"] is True
    (folder / "metrics.jsonl").unlink()
    assert page.get("/api/runs/tiny/metrics").json()["train"]["step"] == []


def test_settings_and_samples(page: TestClient, folder: Path) -> None:
    assert page.get("/api/runs/tiny/settings").json()["settings"]["model.n_layer"] == 2
    found = page.get("/api/runs/tiny/samples").json()["samples"]
    assert [sample["step"] for sample in found] == [40]
    (folder / "samples.txt").unlink()
    assert page.get("/api/runs/tiny/samples").json()["samples"] == []


@pytest.mark.parametrize("where", ["/api/runs/other", "/api/runs/other/metrics", "/api/runs/other/samples"])
def test_a_run_that_is_not_served(page: TestClient, where: str) -> None:
    answer = page.get(where)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_run")
    assert answer.json()["error"]["known"] == ["tiny"]


def test_metrics_are_read_on_and_never_half(tmp_path: Path) -> None:
    live, path = LiveMetrics(tmp_path), tmp_path / "metrics.jsonl"
    assert live.lines() == []
    path.write_text('{"step": 1}\n{"ste')
    assert [line["step"] for line in live.lines()] == [1]
    with path.open("a") as file:
        file.write('p": 2}\nbroken\n{"step": 3}\n')
    assert [line["step"] for line in live.lines()] == [1, 2, 3]
    other = tmp_path / "other"
    other.write_text('{"step": 9}\n')
    other.rename(path)  # as a run does that is resumed
    assert [line["step"] for line in live.lines()] == [9]


def test_a_look_at_a_lock_neither_takes_it_nor_waits(tmp_path: Path) -> None:
    assert not is_locked(tmp_path, "owner")
    with take_lock(tmp_path, "owner"):
        assert is_locked(tmp_path, "owner")
    assert not is_locked(tmp_path, "owner")
    take_lock(tmp_path, "owner").close()
