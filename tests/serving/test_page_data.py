"""What the page shows of the data: documents, search, the steps that read them, validation."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from gpt_research.base.errors import UserError
from gpt_research.data.documents import Documents
from gpt_research.data.loader import shards_by_array
from gpt_research.data.shards import Dataset, read_manifests
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.inspection.validation import ValidationPass
from gpt_research.run import Run
from gpt_research.serving.errors import ApiError
from gpt_research.serving.page_api import validation
from gpt_research.serving.page_api.validation import Job, Jobs
from gpt_research.serving.worker import Worker
from gpt_research.settings_history import run_config
from gpt_research.training.inputs import loader_of_run


def ask(page: TestClient, what: str = "", **values: Any) -> dict[str, Any]:
    answer = page.get(f"/api/data{what}", params={"run": "tiny", **values})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(page: TestClient, what: str, **values: Any) -> tuple[int, dict[str, Any]]:
    answer = page.get(f"/api/data{what}", params={"run": "tiny", **values})
    return answer.status_code, answer.json()["error"]


def use_data(folder: Path, data: Path, fingerprint: str | None = None) -> None:
    """Let the run say that it was trained on other data."""
    history = folder / "settings.jsonl"
    line = json.loads(history.read_text())
    line["settings"]["data"] = str(data)
    line["data"] = line["data"] if fingerprint is None else fingerprint
    history.write_text(json.dumps(line) + "\n")


def test_the_data_set_and_its_card(page: TestClient, dataset_folder: Path) -> None:
    found = ask(page)
    manifests = read_manifests(dataset_folder)
    assert (found["state"], found["why"]) == ("ok", "")
    assert found["tokens"]["train"] == sum(m.count("train") for _, m in manifests.values())
    assert [corpus["name"] for corpus in found["corpora"]] == ["plays", "tales"]
    assert sum(corpus["weight"] for corpus in found["corpora"]) == pytest.approx(1, abs=1e-3)
    windows = {name: files.num_windows for name, files in Dataset(dataset_folder, 64).train.items()}
    for corpus in found["corpora"]:
        assert corpus["passes"] == pytest.approx(640 * corpus["weight"] / windows[corpus["name"]], rel=0.01)
    views = {name: view["ok"] for name, view in found["views"].items()}
    assert views == {"card": True, "documents": True, "search": True, "steps": True, "validation": True, "trace": False}
    assert "gpt-research index" in found["views"]["trace"]["why"]
    assert ask(page, "/card")["markdown"].startswith("# Data card")


def test_documents_and_their_tokens(page: TestClient, dataset_folder: Path) -> None:
    documents = Documents(read_manifests(dataset_folder))
    tokenizer = Tokenizer.load(dataset_folder / "tokenizer.json")
    found = ask(page, "/documents", corpus="plays", limit=3, offset=1, sort="longest")
    expected, total = documents.page("plays", "train", 1, 3, "longest")
    assert found["total"] == total
    assert [document["number"] for document in found["documents"]] == [document.number for document in expected]
    first = expected[0]
    shown = ask(page, "/document", corpus="plays", number=first.number, offset=4, limit=10)
    ids = documents.tokens(first).tolist()
    assert [piece["id"] for piece in shown["pieces"]] == ids[4:14]
    assert shown["more"] is True
    assert shown["source"] == first.source
    assert len(shown["sha256"]) == 64
    end = ask(page, "/document", corpus="plays", number=first.number, offset=len(ids) - 1)
    assert end["pieces"] == [{"id": tokenizer.end_of_text, "text": "", "label": "<|endoftext|>", "special": True}]
    assert end["more"] is False


def test_the_steps_that_read_a_document_are_those_of_the_batches(
    page: TestClient, folder: Path, dataset_folder: Path
) -> None:
    config = run_config(folder)
    files = Dataset(dataset_folder, 64).train
    loader = loader_of_run(config, files)
    document = Documents(read_manifests(dataset_folder)).get("tales", "train", [2])[0]
    names, read = shards_by_array(files), set()
    held = np.zeros(document.tokens, bool)
    for step in range(40):
        for micro_step in range(loader.micro_steps):
            for window in loader.windows(step, micro_step):
                for array, start, length in window:
                    begin, end = start - document.start, start + length - document.start
                    if names[id(array)] == ("tales", document.shard) and begin < document.tokens and end > 0:
                        read.add((step + 1, max(0, begin), min(end, document.tokens)))
                        held[max(0, begin) : end] = True
    found = ask(page, "/reads", corpus="tales", number=2, limit=500)
    assert {(each["step"], each["first"], each["last"]) for each in found["reads"]} == read
    assert found["total"] == len(found["reads"])
    assert found["steps_taken"] == 40
    unread = np.ones(document.tokens, bool)
    for first, last in found["never_read"]:
        unread[first:last] = False
    np.testing.assert_array_equal(unread, held)
    part = ask(page, "/reads", corpus="tales", number=2, first=3, last=6)
    assert all(3 <= each["first"] < each["last"] <= 6 for each in part["reads"])
    assert any(each["whole"] for each in part["reads"])
    val = ask(page, "/reads", corpus="tales", split="val", number=0)
    assert (val["reads"], val["why"]) == ([], "Training never reads the validation split.")


def test_search_goes_on_by_its_cursor(page: TestClient) -> None:
    first = ask(page, "/search", q="the ", limit=5)
    assert len(first["matches"]) == 5
    second = ask(page, "/search", q="the ", limit=5, cursor=first["cursor"])
    places = [(m["corpus"], m["split"], m["number"], m["token"]) for m in first["matches"] + second["matches"]]
    assert len(set(places)) == 10
    match = first["matches"][2]
    shown = ask(page, "/document", corpus=match["corpus"], number=match["number"], offset=match["token"], limit=9)
    assert match["match"].strip() in "".join(piece["text"] for piece in shown["pieces"])
    assert ask(page, "/search", q="THE", **{"case-sensitive": True})["matches"] == []
    val = ask(page, "/search", q="the", split="val", corpus="tales")
    assert {(m["corpus"], m["split"]) for m in val["matches"]} == {("tales", "val")}


def wait(page: TestClient, where: str, **values: Any) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        answer = page.get(f"/api/{where}", params={"model": "tiny", **values})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        if found["state"] != "running":
            return found
        assert 0 <= found["progress"] <= 1
        time.sleep(0.02)
    raise AssertionError("it still runs")


def test_hardest_and_easiest_documents_and_the_loss_by_position(page: TestClient, folder: Path) -> None:
    hardest = wait(page, "data/validation")
    assert hardest["state"] == "ready"
    losses = [document["loss"] for document in hardest["documents"]]
    assert losses == sorted(losses, reverse=True)
    assert hardest["total"] == len(losses) > 2
    easiest = wait(page, "data/validation", order="easiest", limit=1)["documents"]
    assert easiest == hardest["documents"][-1:]
    assert {d["corpus"] for d in wait(page, "data/validation", corpus="tales")["documents"]} == {"tales"}
    curve = wait(page, "positions")
    assert curve["position"] == list(range(1, 65))
    weighted = np.average(curve["loss"], weights=curve["tokens"])
    by_document = np.average(losses, weights=[document["scored"] for document in hardest["documents"]])
    assert weighted == pytest.approx(by_document, abs=1e-3)
    assert (folder / "document_losses" / "step_00000040.npz").is_file()
    assert wait(page, "positions", model="tiny@20")["loss"] != curve["loss"]


def test_a_data_set_that_is_gone_says_which_views_are_missing(page: TestClient, folder: Path, tmp_path: Path) -> None:
    use_data(folder, tmp_path / "nowhere")
    found = ask(page)
    assert found["state"] == "missing"
    assert not any(view["ok"] for view in found["views"].values())
    for what in ("/documents", "/document", "/reads", "/search?q=king", "/card", "/validation"):
        status, error = refused(page, what, **({"q": "king"} if "search" in what else {}))
        assert (status, error["code"]) == (404, "data_missing")
        assert "nowhere is not there" in error["message"]


def test_a_pass_that_failed_says_so_once_and_a_busy_worker_is_waited_for(
    page: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise UserError("the disk is full")

    def read_losses(*given: object) -> None:
        """Nothing is kept, whichever tests came before."""

    monkeypatch.setattr(validation, "read_losses", read_losses)
    with monkeypatch.context() as patch:
        patch.setattr(validation, "_begin", fail)
        found = wait(page, "data/validation")
    assert (found["state"], found["why"]) == ("failed", "the disk is full")
    run, refused = Worker.run, set()

    async def run_later(self: Worker, function: Any, *given: Any) -> Any:
        name = function.__name__
        if name in ("read_losses", "_begin", "advance", "keep_losses") and name not in refused:
            refused.add(name)
            raise ApiError(429, "busy")
        return await run(self, function, *given)

    monkeypatch.setattr(validation, "BUSY_S", 0.01)
    monkeypatch.setattr(Worker, "run", run_later)
    assert wait(page, "data/validation")["state"] == "ready"
    assert len(refused) == 4


def test_a_pass_that_nobody_asks_for_any_more_gives_way(page: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def read_losses(run: Run, fingerprint: str) -> None:
        read.append(run.step)

    def both_wait() -> tuple[Jobs, Job, Job]:
        """Ask for both checkpoints while another pass has its turn."""
        app: Any = page.app
        app.state.validation = jobs = Jobs(app.state.worker, app.state.models)
        page.portal.call(jobs._turn.acquire)  # type: ignore[union-attr]
        for model in ("tiny", "tiny@20"):
            page.get("/api/data/validation", params={"model": model})
        newest, other = jobs._jobs.values()
        return jobs, newest, other

    monkeypatch.setattr(validation, "read_losses", read_losses)
    jobs, newest, other = both_wait()
    other.asked_at -= 60
    page.portal.call(jobs._turn.release)  # type: ignore[union-attr]
    assert wait(page, "data/validation")["state"] == "ready"
    assert wait(page, "data/validation", model="tiny@20")["state"] == "ready"
    assert read == [40, 20]
    assert other not in jobs._jobs.values(), "it began anew when it was asked for"

    read.clear()
    jobs, newest, other = both_wait()
    advance = ValidationPass.advance

    def forgotten_at_first(going: ValidationPass) -> bool:
        if newest.asked_at > 0:
            newest.asked_at = 0.0
            return True
        return advance(going)

    monkeypatch.setattr(ValidationPass, "advance", forgotten_at_first)
    page.portal.call(jobs._turn.release)  # type: ignore[union-attr]
    assert wait(page, "data/validation", model="tiny@20")["state"] == "ready"
    assert (read, newest.state) == ([40, 20], "running")
    assert list(jobs._jobs.values()) == [other]


def test_a_shard_that_goes_and_comes_back_is_noticed(page: TestClient, folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(run_config(folder).data, data)
    use_data(folder, data)
    assert ask(page)["state"] == "ok"
    shard = next(data.rglob("*val*.bin"))
    shard.rename(tmp_path / "away")
    found = ask(page)
    assert (found["state"], str(shard) in found["why"]) == ("damaged", True)
    (tmp_path / "away").rename(shard)
    assert ask(page)["state"] == "ok"


def test_other_data_shows_its_documents_but_not_their_steps(page: TestClient, folder: Path) -> None:
    use_data(folder, Path(run_config(folder).data), "0" * 64)
    found = ask(page)
    assert found["state"] == "differs"
    assert found["views"]["documents"]["ok"]
    assert not found["views"]["steps"]["ok"]
    assert ask(page, "/documents", corpus="plays")["total"] > 0
    status, error = refused(page, "/reads", corpus="plays")
    assert (status, error["code"]) == (404, "data_differs")


def test_data_of_another_program_says_what_it_lacks(page: TestClient, folder: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for split in ("train", "val"):
        np.arange(500, dtype=np.uint16).tofile(foreign / f"{split}.bin")
    use_data(folder, foreign)
    assert ask(page)["state"] == "foreign"
    status, error = refused(page, "/documents")
    assert (status, error["code"]) == (404, "data_foreign")
    assert "another program" in error["message"]


def test_a_shard_that_is_gone(page: TestClient, folder: Path, dataset_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(dataset_folder, tmp_path / "data"))
    next(copy.glob("plays/train*.bin")).unlink()
    use_data(folder, copy)
    assert ask(page)["state"] == "damaged"
    status, error = refused(page, "/search", q="king")
    assert (status, error["code"]) == (404, "data_damaged")
    assert "train_00000.bin is not there" in error["message"]


@pytest.mark.parametrize(
    ("what", "values", "status", "says"),
    [
        ("/documents", {}, 400, "several corpora. Name one: plays, tales."),
        ("/documents", {"corpus": "poems"}, 404, 'no corpus "poems"'),
        ("/documents", {"corpus": "plays", "limit": 201}, 400, "less than or equal to 200"),
        ("/documents", {"corpus": "plays", "split": "test"}, 400, "'train' or 'val'"),
        ("/document", {"corpus": "plays", "number": 900}, 404, "documents in train, numbered from 0"),
        ("/reads", {"corpus": "plays", "first": 9, "last": 9}, 400, "none of the document's"),
        ("/search", {"q": "x" * 201}, 400, "200 characters"),
        ("/search", {"q": ""}, 400, "at least 1 character"),
        ("/search", {"q": "king", "cursor": "9-4"}, 400, "cursor is of no search"),
        ("/search", {"q": "king", "cursor": "../x"}, 400, "cursor is of no search"),
        ("/validation", {"model": "other", "run": None}, 404, 'There is no run "other"'),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(
    page: TestClient, what: str, values: dict[str, Any], status: int, says: str
) -> None:
    found, error = refused(page, what, **values)
    assert found == status, error
    assert says in error["message"]
