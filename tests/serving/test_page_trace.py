"""What the page shows of where words stand in the training data."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from gpt_research.checkpoint.files import checkpoint_path
from gpt_research.data.documents import Documents
from gpt_research.data.shards import read_manifests
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.run import Run
from gpt_research.tracing.index import build_index
from gpt_research.tracing.trace import Tracer


@pytest.fixture
def folder(run_folder: Path, dataset_folder: Path, tmp_path: Path) -> Path:
    """A copy of the run, whose data has an index."""
    data, run = tmp_path / "data", tmp_path / "tiny"
    shutil.copytree(dataset_folder, data)
    shutil.copytree(run_folder, run)
    history = run / "settings.jsonl"
    history.write_text(history.read_text().replace(str(dataset_folder), str(data)))
    build_index(data)
    return run


def ask(page: TestClient, what: str = "", **question: Any) -> dict[str, Any]:
    answer = page.post(f"/api/trace{what}", json={"run": "tiny", **question})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_sentence_and_its_losses(page: TestClient, folder: Path) -> None:
    data = folder.parent / "data"
    tokenizer = Tokenizer.load(data / "tokenizer.json")
    documents = Documents(read_manifests(data))
    [document] = documents.get("tales", "train", [3])  # of the second corpus
    text = tokenizer.decode(documents.tokens(document, 20, 12).tolist())
    found = ask(page, text=text)
    assert found == Tracer.open(folder).trace(text).as_json()
    number = max(range(len(found["spans"])), key=lambda n: len(found["spans"][n]["tokens"]))
    assert "tales" in {place["corpus"] for place in found["spans"][number]["places"]}
    for place in found["spans"][number]["places"]:
        where = {"run": "tiny", **{name: place[name] for name in ("corpus", "split")}, "number": place["document"]}
        there = page.get("/api/data/document", params=where | {"offset": place["token_in_document"]}).json()
        assert "".join(token["text"] for token in there["pieces"]).lstrip().startswith(text.strip())
    losses = ask(page, "/losses", text=text, span=number)
    assert [each["step"] for each in losses["losses"]] == [20, 40]
    tracer = Tracer.open(folder)
    tokens, first = tracer.in_context(tracer.trace(text).spans[number])
    with torch.no_grad():
        log_p = Run.open(folder).model(torch.tensor([tokens[:-1]]))[0].double().log_softmax(-1)
    nats = -log_p[torch.arange(first - 1, len(tokens) - 1), torch.tensor(tokens[first:])].numpy()
    np.testing.assert_allclose(losses["losses"][1]["token_losses"], nats, atol=1e-4)
    assert losses["losses"][1]["loss"] == pytest.approx(nats.mean(), abs=1e-4)
    shutil.rmtree(checkpoint_path(folder, 20))
    assert [each["step"] for each in ask(page, "/losses", text=text, span=number)["losses"]] == [40]


def test_an_index_that_was_opened_waits_for_the_first_question(
    page: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = page.get("/api/trace", params={"run": "tiny"})
    assert (found.status_code, found.json()) == (200, {"run": "tiny", "last_step": 40})

    def open_again(*given: object) -> None:
        raise AssertionError("it is open already")

    with monkeypatch.context() as patch:
        patch.setattr(Tracer, "open", open_again)
        assert ask(page, text="the king and the queen")["last_step"] == 40
    shutil.rmtree(folder.parent / "data" / "suffix_array")
    refused = page.get("/api/trace", params={"run": "tiny"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "no_index")


def test_what_cannot_be_traced_is_a_sentence(page: TestClient, folder: Path) -> None:
    def refused(what: str = "", **question: Any) -> tuple[int, dict[str, Any]]:
        answer = page.post(f"/api/trace{what}", json={"run": "tiny", **question})
        return answer.status_code, answer.json()["error"]

    assert refused(text="")[0] == 400
    assert "spans, numbered from 0" in refused("/losses", text="the king", span=99)[1]["message"]
    shutil.rmtree(folder.parent / "data" / "suffix_array")
    status, error = refused(text="the king")
    assert (status, error["code"]) == (404, "no_index")
    assert "has no index yet" in error["message"]
    shutil.rmtree(folder.parent / "data")
    status, error = refused(text="the king")
    assert (status, error["code"]) == (404, "data_missing")
