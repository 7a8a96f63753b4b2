"""What the page shows of a text through training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from gpt_research.checkpoint.files import checkpoint_path
from gpt_research.config import GenerateConfig
from gpt_research.generation.torch_engine import generate
from gpt_research.inspection.checkpoints import Checkpoints
from gpt_research.inspection.learning import losses_through_training
from gpt_research.run import Run

TEXT = "once upon a time a king "


def ask(page: TestClient, what: str = "losses", **question: Any) -> dict[str, Any]:
    text = {"text": TEXT} if what == "losses" and "tokens" not in question else {}
    answer = page.post(f"/api/through/{what}", json={"run": "tiny", **text, **question})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_losses_of_all_checkpoints(page: TestClient, folder: Path) -> None:
    run = Run.open(folder)
    ids = [run.tokenizer.end_of_text, *run.tokenizer.encode(TEXT)]
    found, expected = ask(page), losses_through_training(folder, ids, [20, 40], Checkpoints())
    assert found["steps"] == [20, 40]
    np.testing.assert_allclose(np.array(found["surprise"], dtype=float), expected.surprise, atol=1e-4)
    assert found["rank"][1][1:] == expected.rank[1][1:].tolist()
    np.testing.assert_allclose(found["loss"], expected.loss, atol=1e-4)
    assert [each and each["step"] for each in found["learnt"]] == [each and each.step for each in expected.learnt()]
    assert any(found["learnt"])
    assert (found["gone"], found["left_out"]) == ([], 0)
    assert ask(page, steps=[40])["surprise"] == found["surprise"][1:]
    assert ask(page, tokens=ids[1:])["surprise"] == found["surprise"]


def test_checkpoints_that_come_and_go(page: TestClient, folder: Path) -> None:
    shutil.copytree(checkpoint_path(folder, 40), checkpoint_path(folder, 60))
    assert ask(page, steps=[20, 40])["steps"] == [20, 40]
    shutil.rmtree(checkpoint_path(folder, 20))
    found = ask(page, steps=[20, 40])
    assert found["steps"] == [40]
    assert found["gone"][0]["step"] == 20
    assert "no checkpoint of step 20 any more: it has those of the steps 40, 60" in found["gone"][0]["why"]
    weights = checkpoint_path(folder, 60) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    found = ask(page)
    assert [each["step"] for each in found["gone"]] == [60]
    assert "damaged" in found["gone"][0]["why"]
    shutil.rmtree(folder / "checkpoints")
    answer = page.post("/api/through/losses", json={"run": "tiny", "text": TEXT, "steps": [40]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "checkpoint_gone")
    answer = page.post("/api/through/losses", json={"run": "tiny", "text": TEXT})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_checkpoint")


def test_samples_are_those_of_each_checkpoint(page: TestClient, folder: Path) -> None:
    found = ask(page, "samples", prompt="Once", max_tokens=12, temperature=0.7, seed=3)
    settings = GenerateConfig(max_new_tokens=12, temperature=0.7, seed=3)
    for sample, step in zip(found["samples"], ("20", "40"), strict=True):
        run = Run.open(folder, step=step)
        assert sample == {"step": int(step), "text": generate(run.model, run.tokenizer, "Once", settings)[0].text}
    assert ask(page, "samples", steps=[40], max_tokens=3)["samples"][0]["step"] == 40


@pytest.mark.parametrize(
    ("what", "question", "status", "says"),
    [
        ("losses", {"text": "a " * 3000}, 400, "the page follows 1,023 at most"),
        ("losses", {"text": TEXT, "steps": []}, 400, "Name 1 to 100 steps, not 0."),
        ("losses", {"text": TEXT, "steps": list(range(101))}, 400, "not 101"),
        ("losses", {"text": TEXT, "run": "other"}, 404, 'There is no run "other"'),
        ("samples", {"max_tokens": 201}, 400, "less than or equal to 200"),
        ("samples", {"prompt": "king " * 300}, 400, "context"),
        ("samples", {"steps": list(range(21))}, 400, "1 to 20 steps"),
        ("samples", {"steps": [2**64]}, 400, "steps: Input should be less than"),
    ],
)
def test_what_cannot_be_followed_is_a_sentence(
    page: TestClient, what: str, question: dict[str, Any], status: int, says: str
) -> None:
    answer = page.post(f"/api/through/{what}", json={"run": "tiny", **question})
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]["message"]
