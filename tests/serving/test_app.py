"""The application: the page, its headers, and errors as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from starlette.testclient import TestClient

from gpt_research.base.errors import UserError
from gpt_research.generation.engine import GenerationEngine
from gpt_research.serving.app import Parts, build_app
from gpt_research.serving.batch import Batch
from gpt_research.serving.models import Models, ServedModel, ServedModels
from gpt_research.serving.worker import Work, Worker

router = APIRouter()


@router.get("/echo/{number}")
async def echo(work: Work, models: Models, number: int) -> int:
    """Return a number, as the worker's thread does."""
    return await work.run(checked, number)


def checked(number: int) -> int:
    if number < 0:
        raise UserError("The number is below 0.")
    return 1 // number


def never(model: ServedModel) -> GenerationEngine:
    raise AssertionError("no engine is needed here")


@pytest.fixture
def client() -> Iterator[TestClient]:
    worker = Worker()
    models = ServedModels([ServedModel("tiny", Path("nowhere"), 3)], worker, never)
    app = build_app(Parts(models, worker, Batch()), [router])
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
        yield client


def test_the_page_comes_with_a_strict_policy(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "<title>" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert client.get("/", headers={"if-none-match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("address", ["/nothing", "/../models.py", "/%2e%2e/models.py", "//etc/passwd"])
def test_no_other_file_is_served(client: TestClient, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    ("method", "address", "status", "says"),
    [
        ("GET", "/echo/-1", 400, "The number is below 0."),
        ("GET", "/echo/x", 400, "number: "),
        ("GET", "/echo/0", 500, "The server failed at this request."),
        ("POST", "/echo/1", 405, "/echo/1 does not take POST."),
        ("DELETE", "/", 405, "/ does not take DELETE."),
    ],
)
def test_every_error_has_openais_shape(client: TestClient, method: str, address: str, status: int, says: str) -> None:
    answer = client.request(method, address)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert says in answer.json()["error"]["message"]


def test_two_runs_of_one_name_are_refused_with_the_remedy() -> None:
    with pytest.raises(UserError, match=r'Two runs are called "a": one/a and two/a\..*other=two/a@1'):
        ServedModels([ServedModel("a", Path("one/a"), 1), ServedModel("a", Path("two/a"), 1)], Worker(), never)
