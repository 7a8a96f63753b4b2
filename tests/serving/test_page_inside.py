"""What the page shows of a model: tokens, predictions, attention, the lens, parts switched off."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from gpt_research.checkpoint.files import checkpoint_path
from gpt_research.cli.serve import ServeCommand, build
from gpt_research.inspection.attention import attention_weights, head_pictures
from gpt_research.inspection.lens import logit_lens
from gpt_research.inspection.predictions import predict
from gpt_research.inspection.switching import effects, switch_off
from gpt_research.inspection.watching import Off
from gpt_research.run import Run
from gpt_research.serving.page_api.asking import label_of

TEXT = "Once upon a time thé 🙂 king,\nand a queen."
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def page(run_folder: Path) -> Iterator[TestClient]:
    with TestClient(build(ServeCommand(runs=[f"tiny={run_folder}"], device="cpu"), ""), base_url=ADDRESS) as client:
        yield client


@pytest.fixture(scope="module")
def run(run_folder: Path) -> Run:
    return Run.open(run_folder)


@pytest.fixture(scope="module")
def ids(run: Run) -> list[int]:
    return [run.tokenizer.end_of_text, *run.tokenizer.encode(TEXT)]


def ask(page: TestClient, where: str, **question: Any) -> dict[str, Any]:
    answer = page.post(f"/api/{where}", json={"model": "tiny", "text": TEXT, **question})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def close(found: list[Any], expected: np.ndarray, digits: float = 1e-4) -> None:
    np.testing.assert_allclose(np.array(found, dtype=np.float64), expected, atol=digits)


def test_tokens_together_are_the_text(page: TestClient, run: Run) -> None:
    found = ask(page, "tokenize")
    assert "".join(token["text"] for token in found["tokens"]) == TEXT
    assert [token["id"] for token in found["tokens"]] == run.tokenizer.encode(TEXT)
    assert found["count"] == len(found["tokens"])
    assert found["bytes"] == len(TEXT.encode())
    assert (found["context"], found["step"], found["fits"]) == (64, 40, True)
    assert ask(page, "tokenize", text="xyzzy " * 40)["fits"] is False


@pytest.mark.parametrize(
    ("content", "label"),
    [
        (b" is", "␣is"),
        (b"\n\n", "⏎⏎"),
        (b"   ", "␣␣␣"),
        (b"a b ", "a b␣"),
        (b"\t", "⇥"),
        (b"\xe2\x80", "\\xe2\\x80"),
        ("é".encode(), "é"),
    ],
)
def test_a_token_alone_shows_its_blanks_and_bytes(content: bytes, label: str) -> None:
    assert label_of(content) == label


def test_analysis(page: TestClient, run: Run, ids: list[int]) -> None:
    found, expected = ask(page, "analysis", top=3), predict(run.model, ids, 3)
    assert [token["id"] for token in found["tokens"]] == ids
    assert found["tokens"][0]["label"] == "<|endoftext|>"
    assert found["tokens"][0]["special"]
    assert found["surprise"][0] is found["rank"][0] is found["probability"][0] is None
    close(found["surprise"], expected.surprise)
    close(found["entropy"], expected.entropy)
    assert found["rank"][1:] == expected.rank[1:].tolist()
    assert [[token["id"] for token in row] for row in found["top"]] == expected.top.tolist()
    close([[token["probability"] for token in row] for row in found["top"]], expected.top_probability)
    assert found["loss"] == pytest.approx(expected.loss, abs=1e-4)
    assert found["bits_per_byte"] == pytest.approx(
        np.nansum(expected.surprise) / np.log(2) / len(TEXT.encode()), abs=1e-4
    )
    bare = ask(page, "analysis", start=False)
    assert [token["id"] for token in bare["tokens"]] == ids[1:]
    same = page.post("/api/analysis", json={"model": "tiny", "tokens": ids[1:], "top": 0}).json()
    assert same["surprise"] == found["surprise"]
    assert same["top"] == [[]] * len(ids)
    long = ask(page, "analysis", text=TEXT * 3)
    assert long["windows"][:2] == [0, 32]


def test_another_checkpoint_has_other_numbers(page: TestClient, run_folder: Path, ids: list[int]) -> None:
    found = ask(page, "analysis", model="tiny@20")
    assert (found["model"], found["step"]) == ("tiny@20", 20)
    close(found["surprise"], predict(Run.open(run_folder, step="20").model, ids).surprise)
    assert found["loss"] != ask(page, "analysis")["loss"]


def test_attention(page: TestClient, run: Run, ids: list[int]) -> None:
    found, expected = ask(page, "attention"), head_pictures(run.model, ids)
    assert (found["layers"], found["heads"], found["size"], found["pool"]) == (2, 2, len(ids), 1)
    picture = np.frombuffer(base64.b64decode(found["grid"][1][0]), np.uint8).reshape(len(ids), len(ids))
    np.testing.assert_array_equal(picture, expected.pictures[1, 0])
    assert found["summary"][1][1]["to_first"] == pytest.approx(expected.to_first[1, 1], abs=1e-4)
    head = ask(page, "attention/head", layer=1, head=0)
    weights = attention_weights(run.model, ids)[1, 0]
    assert [len(row) for row in head["weights"]] == list(range(1, len(ids) + 1))
    close(head["weights"][-1], weights[-1])


def test_the_lens(page: TestClient, run: Run, ids: list[int]) -> None:
    found, expected = ask(page, "lens", top=2), logit_lens(run.model, ids, 2)
    assert found["layers"] == ["embedding", "block 0", "block 1"]
    for index, layer in enumerate(expected):
        close(found["kl"][index], layer.kl)
        close(found["probability"][index], np.exp(-layer.surprise))
        assert [[token["id"] for token in row] for row in found["top"][index]] == layer.top.tolist()
    assert found["rank"][0][-1] is None


def test_parts_switched_off(page: TestClient, run: Run, ids: list[int]) -> None:
    off = {"heads": [[0, 1]], "mlps": [1]}
    found = ask(page, "switch_off", off=off)
    expected = switch_off(run.model, ids, Off(heads=[(0, 1)], mlps=[1]))
    assert found["off"] == {**off, "attention": [], "layers": []}
    close(found["kl"], expected.after.kl)
    close(found["after"]["surprise"][1:], expected.after.surprise[:-1])
    assert found["before"]["surprise"][0] is None
    assert found["after"]["loss"] == pytest.approx(expected.after.loss, abs=1e-4)
    each, alone = ask(page, "switch_off/each"), effects(run.model, ids)
    close(each["heads"], alone.heads)
    close(each["layers"], alone.layers)


@pytest.mark.parametrize(
    ("where", "question", "status", "code", "says"),
    [
        ("analysis", {"text": ""}, 400, "text_empty", "Write a word"),
        ("analysis", {"tokens": [1]}, 400, None, "either text or tokens"),
        ("analysis", {"text": None, "tokens": [70000]}, 400, None, "Token id 70000 is outside"),
        ("analysis", {"text": "a " * 9000}, 400, "text_too_long", "the page analyses 4,095 at most"),
        ("analysis", {"top": 21}, 400, None, "less than or equal to 20"),
        ("analysis", {"hidden": 1}, 400, None, "hidden"),
        ("tokenize", {"text": "a " * 9000}, 400, "text_too_long", "4,096 at most"),
        ("attention", {"text": "king " * 70}, 400, "text_too_long", "the model looks at 63 at most. Shorten it."),
        ("attention/head", {"layer": 2, "head": 0}, 400, None, "layer is 2, but it must be 0 to 1"),
        ("attention/head", {"layer": 0, "head": -1}, 400, None, "head is -1"),
        ("lens", {"top": 0}, 400, None, "greater than or equal to 1"),
        ("lens", {"model": "tiny@7"}, 404, "unknown_checkpoint", "Checkpoints: 20, 40"),
        ("lens", {"model": "tinny"}, 404, "unknown_run", 'Did you mean "tiny"?'),
        ("switch_off", {"off": {}}, 400, None, "at least one part"),
        ("switch_off", {"off": {"layers": [4]}}, 400, None, "off.layers is 4"),
        ("switch_off/each", {"text": "a", "start": False}, 400, None, "at least two tokens"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(
    page: TestClient, where: str, question: dict[str, Any], status: int, code: str | None, says: str
) -> None:
    answer = page.post(f"/api/{where}", json={"model": "tiny", "text": TEXT, **question})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert says in error["message"]
    if code == "text_too_long":
        assert error["tokens"] > error["limit"]


def test_a_checkpoint_that_is_deleted_or_damaged_while_it_is_looked_at(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run_folder, folder)
    with TestClient(build(ServeCommand(runs=[str(folder)], device="cpu"), ""), base_url=ADDRESS) as page:
        ask(page, "analysis", model="copy@20")
        shutil.rmtree(checkpoint_path(folder, 20))
        answer = page.post("/api/analysis", json={"model": "copy@20", "text": TEXT})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_checkpoint")
        weights = checkpoint_path(folder, 40) / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
        answer = page.post("/api/analysis", json={"model": "copy", "text": TEXT})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "checkpoint_damaged")
        assert "SHA-256" in answer.json()["error"]["message"]
        shutil.rmtree(checkpoint_path(folder, 40))
        error = page.post("/api/analysis", json={"model": "copy", "text": TEXT}).json()["error"]
        assert error["code"] == "checkpoint_gone"
        assert "The checkpoint of step 40 of copy was deleted. None is left." in error["message"]
