"""OpenAI's own client, curl, lm-eval and schemathesis are content with the server."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi import checks as openapi_checks
from serving.conftest import Running, wait_until

from gpt_research.base import startup
from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.run import Run

BLOCK_SIZE = 64
PAIRS = [("the king takes the", " crown"), ("", "my lord"), ("a fool ", "gives the letter"), ("x", "yz" * 40)]
PAIRS += [(f"the queen loves the {thing}. " * 5, f"my lord gives the {thing}") for thing in ("horse", "sword", "☃")]
"""Contexts and continuations; some are longer together than the model's context."""
TEXT = "the king takes the crown.\na fool loves the sword – ☃.\n" * 12


@pytest.fixture(scope="module")
def opened(server: Running) -> openai.OpenAI:
    http = httpx.Client(trust_env=False)
    return openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0, http_client=http)


def test_openais_client(opened: openai.OpenAI) -> None:
    assert [model.id for model in opened.models.list()] == ["tiny"]
    asked: dict[str, Any] = {"model": "tiny", "prompt": ["the", "a"], "n": 2, "max_tokens": 12, "seed": 4}
    whole = opened.completions.create(**asked, logprobs=2, echo=True)
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    assert whole.choices[0].text.startswith("the")
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    pieces = ["" for _ in whole.choices]
    for chunk in opened.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            pieces[choice.index] += choice.text
    assert [f"{prompt}{piece}" for prompt, piece in zip(["the", "the", "a", "a"], pieces, strict=True)] == [
        choice.text for choice in whole.choices
    ]


def test_openais_client_tells_errors_apart(opened: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="There is no model"):
        opened.completions.create(model="other", prompt="a")
    with pytest.raises(openai.BadRequestError, match="Use /v1/completions"):
        opened.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}])
    with pytest.raises(openai.BadRequestError) as caught:
        opened.completions.create(model="tiny", prompt="a", max_tokens=-1)
    assert caught.value.param == "max_tokens"


def test_a_client_that_closes_its_stream_frees_the_row(opened: openai.OpenAI, server: Running) -> None:
    with opened.completions.create(model="tiny", prompt="a", max_tokens=16_000, n=2, stream=True) as stream:
        next(iter(stream))
    assert wait_until(lambda: server.batch.in_flight == server.batch.running == 0)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(server: Running) -> None:
    body = json.dumps({"prompt": "the", "max_tokens": 9, "stream": True})
    command = ["curl", "-sN", "--noproxy", "*", f"{server.address}/v1/completions", "-d", body]
    answer = subprocess.run([*command, "-H", "Content-Type: application/json"], capture_output=True, check=True)
    assert answer.stdout.startswith(b"data: {")
    assert answer.stdout.endswith(b"data: [DONE]\n\n")
    without = subprocess.run(command, capture_output=True, check=True, text=True)
    assert "Content-Type: application/json" in json.loads(without.stdout)["error"]["message"]


def instances(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, own, number) for number, own in enumerate(arguments)]


@pytest.fixture(scope="module")
def both(server: Running, run_folder: Path) -> tuple[Any, Any]:
    """lm-eval's client of the server, and our model in this process."""
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip('lm-eval is not installed (pip install -e ".[eval]")')
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    through = LocalCompletionsAPI(
        base_url=f"{server.address}/v1/completions", model="tiny", batch_size=3, max_length=BLOCK_SIZE + 2
    )
    run = Run.open(run_folder)
    evaluated = EvaluatedModel(run.model, run.tokenizer, startup.start("cpu", "fp32"), BLOCK_SIZE)
    return through, importlib.import_module("gpt_research.evaluation.harness").HarnessModel(evaluated)


def assert_same_scores(both: tuple[Any, Any], pairs: list[tuple[str, str]]) -> None:
    through, inside = (model.loglikelihood(instances("loglikelihood", pairs)) for model in both)
    assert [score for score, _ in through] == pytest.approx([score for score, _ in inside], rel=1e-5, abs=1e-5)
    assert [greedy for _, greedy in through] == [greedy for _, greedy in inside]


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_lm_eval_gets_the_scores_of_this_process(both: tuple[Any, Any]) -> None:
    assert_same_scores(both, [pair for pair in PAIRS if len(pair[1]) < 60])
    through, inside = (model.loglikelihood_rolling(instances("rolling", [(TEXT,), ("a",)])) for model in both)
    assert through == pytest.approx(inside, rel=1e-5)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_lm_eval_gets_the_texts_of_this_process(both: tuple[Any, Any]) -> None:
    asked = [(before, {"until": ["."], "max_gen_toks": 20}) for before, _ in PAIRS if 0 < len(before) < 40]
    through, inside = (model.generate_until(instances("generate_until", asked)) for model in both)
    assert through == inside


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_lm_eval_gets_the_scores_of_this_process_on_real_benchmarks(both: tuple[Any, Any], shared: Path) -> None:
    lines = (shared / "benchmarks" / "lambada" / "lambada_test.jsonl").read_text(encoding="utf-8").splitlines()
    passages = [json.loads(line)["text"] for line in lines[:20]]
    assert_same_scores(both, [(text.rpartition(" ")[0], f" {text.rpartition(' ')[2]}") for text in passages])
    lines = (shared / "benchmarks" / "arc_easy" / "official_dev.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["question"] for line in lines[:10]]
    answers = [(f"Question: {q['stem']}\nAnswer:", f" {c['text']}") for q in questions for c in q["choices"]]
    assert_same_scores(both, answers)


CHECKS = [
    schemathesis.checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.unsupported_method,
]


def test_every_answer_is_as_the_openapi_document_says(server: Running) -> None:
    """schemathesis invents requests, right and wrong, for every address."""
    schema = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    documented = {operation.path for operation in operations}
    assert documented >= {"/v1/completions", "/v1/models", "/tokenize", "/metrics"}
    assert documented >= {"/api/runs", "/api/analysis", "/api/lens", "/api/data/search", "/api/trace"}
    with requests.Session() as session:
        session.trust_env = False
        for operation in operations:
            # test_page_hostile.py asks the page's many addresses more.
            count = 2 if operation.path.startswith("/api/") else 6
            check(operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE), session, count)
            with contextlib.suppress(Unsatisfiable):  # any text is a name, and some addresses take nothing
                check(operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE), session, count)


def check(strategy: Any, session: requests.Session, count: int) -> None:
    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=strategy)
    def one(case: schemathesis.Case) -> None:
        case.call_and_validate(session=session, checks=CHECKS, timeout=20)

    one()
