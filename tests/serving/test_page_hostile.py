"""Whatever is asked of the page's API, the answer is JSON, and never a failure of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from gpt_research.cli.serve import ServeCommand, build

ADDRESS = "http://127.0.0.1:8000"
POSTS = ["tokenize", "analysis", "attention", "attention/head", "lens", "switch_off", "switch_off/each",
         "through/losses", "through/samples", "trace", "trace/losses"]  # fmt: skip
GETS = ["runs", "runs/tiny", "runs/tiny/metrics", "runs/tiny/samples", "runs/tiny/settings", "positions",
        "data", "data/card", "data/documents", "data/document", "data/reads", "data/search", "data/validation",
        "trace"]  # fmt: skip

texts = st.sampled_from(["king", "", "\ud800 alone", "\0", "naïve ☃", "a" * 3000, "<|endoftext|>", "tiny@20"])
numbers = st.sampled_from([0, 1, 2, -1, 40, 10**9, 2**63, 10**300])
models = st.sampled_from(
    ["", "tiny", "tiny@20", "tiny@best", "tiny@newest", "tiny@" + "9" * 400, "\ud800", "../x", "@"]
)
questions = st.fixed_dictionaries(
    {},
    optional={
        "model": models,
        "run": models,
        "text": texts,
        "prompt": texts,
        "tokens": st.lists(numbers, max_size=3),
        "steps": st.lists(numbers, max_size=3),
        "start": st.sampled_from([True, False, None]),
        "top": numbers,
        "layer": numbers,
        "head": numbers,
        "max_tokens": st.sampled_from([1, 0, 201]),
        "temperature": st.sampled_from([0, 1, 1e300, -1]),
        "seed": numbers,
        "off": st.sampled_from([{}, {"heads": [[0, 1]]}, {"heads": [[2**70, 0]]}, {"mlps": ["x"]}, []]),
    },
)
queries = st.fixed_dictionaries(
    {},
    optional={
        "model": models,
        "run": models,
        "corpus": st.sampled_from(["plays", "tales", "", "../x"]),
        "split": st.sampled_from(["train", "val", "test", ""]),
        "source": texts,
        "q": st.sampled_from(["king", "", "x" * 300, "\0", "é"]),
        "cursor": st.sampled_from(["", "0-5", "0-99999999999999999999999", "9-9", "-", "null", "²-1"]),
        **dict.fromkeys(("number", "first", "last", "offset", "limit", "after", "points"), numbers),
        "sort": st.sampled_from(["order", "longest", "shortest", "x"]),
        "order": st.sampled_from(["hardest", "easiest", "x"]),
    },
)


@pytest.fixture(scope="module")
def page(run_folder: Path) -> Iterator[TestClient]:
    app = build(ServeCommand(runs=[str(run_folder)], device="cpu"), "")
    with TestClient(app, base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield client


def check(answer: Any) -> None:
    assert answer.status_code < 500, f"{answer.request.url}: {answer.text}"
    found = answer.json()
    if answer.status_code >= 400:
        assert found["error"]["message"].strip()
    assert "NaN" not in answer.text


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.sampled_from(POSTS), question=questions)
def test_questions(page: TestClient, where: str, question: dict[str, Any]) -> None:
    check(page.post(f"/api/{where}", content=json.dumps(question), headers={"Content-Type": "application/json"}))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.sampled_from(GETS), query=queries)
def test_queries(page: TestClient, where: str, query: dict[str, Any]) -> None:
    plain = {name: str(value).encode("utf-8", "replace").decode() for name, value in query.items()}
    check(page.get(f"/api/{where}", params=plain))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"text": NaN}', b"\xff", b"[" * 5000])
def test_bodies_that_are_no_question(page: TestClient, content: bytes) -> None:
    answer = page.post("/api/analysis", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    check(answer)


@pytest.mark.parametrize(("address", "field"), [("/api/analysis", "text"), ("/v1/completions", "prompt")])
def test_half_a_character_in_a_name_is_refused(page: TestClient, address: str, field: str) -> None:
    for status, question in ((404, {"model": "\ud800"}), (400, {"\ud800": 1})):
        content = json.dumps({field: "a", **question})
        answer = page.post(address, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, answer.text
        check(answer)
