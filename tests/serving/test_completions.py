"""`/v1/completions` gives what the engine and the model compute, in OpenAI's shape."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from serving.conftest import Running

from gpt_research.config import GenerateConfig
from gpt_research.generation.torch_engine import generate
from gpt_research.run import Run


@pytest.fixture(scope="module")
def run(run_folder: Path) -> Run:
    return Run.open(run_folder)


def ask(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/completions", json=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def texts(client: httpx.Client, **fields: Any) -> list[str]:
    return [choice["text"] for choice in ask(client, **fields)["choices"]]


def streamed(client: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    with client.stream("POST", "/v1/completions", json={**fields, "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


def rounded(value: Any) -> Any:
    """Return JSON with numbers of three places: batches of other sizes round otherwise."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return round(value, 3) if isinstance(value, float) else value


def test_samples_are_those_of_our_own_call(client: httpx.Client, run: Run) -> None:
    config = GenerateConfig(max_new_tokens=30, temperature=0.9, top_k=50, num_samples=3, seed=11, stop=["qq"])
    prompts = ["the cat", "a dog"]
    expected = generate(run.model, run.tokenizer, prompts, config)
    asked = {"max_tokens": 30, "temperature": 0.9, "top_k": 50, "n": 3, "seed": 11, "stop": "qq"}
    answer = ask(client, prompt=prompts, **asked)
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    assert [choice["text"] for choice in answer["choices"]] == [sample.text for sample in expected]
    assert answer["usage"]["completion_tokens"] == sum(len(sample.tokens) for sample in expected)


def test_greedy_text_that_slides_is_that_of_our_own_call(client: httpx.Client, run: Run) -> None:
    config = GenerateConfig(max_new_tokens=150, temperature=0)
    (expected,) = generate(run.model, run.tokenizer, "once", config, notice=lambda _: None)
    assert texts(client, prompt="once", max_tokens=150, temperature=0) == [expected.text]


def test_a_stream_holds_the_same_samples(client: httpx.Client) -> None:
    asked = {"prompt": ["the cat", "a dog"], "n": 2, "max_tokens": 25, "seed": 5, "logprobs": 2, "echo": True}
    whole = ask(client, **asked)["choices"]
    events = streamed(client, **asked, stream_options={"include_usage": True})
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == 100
    for choice in whole:
        own = [event["choices"][0] for event in events[:-1] if event["choices"][0]["index"] == choice["index"]]
        assert "".join(part["text"] for part in own) == choice["text"]
        assert own[-1]["finish_reason"] == choice["finish_reason"]
        assert all(part["finish_reason"] is None for part in own[:-1])
        for name, values in choice["logprobs"].items():
            assert rounded([value for part in own for value in part["logprobs"][name]]) == rounded(values), name


def test_requests_that_join_and_leave_do_not_change_each_other(client: httpx.Client) -> None:
    rng = random.Random(3)
    asked = [
        {"prompt": "abcdefgh"[: 1 + i % 5], "max_tokens": rng.randint(1, 40), "seed": i, "temperature": i % 3 / 2}
        for i in range(24)
    ]
    alone = [texts(client, **fields) for fields in asked]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda fields: texts(client, **fields), asked)) == alone


def test_without_a_seed_samples_differ(client: httpx.Client) -> None:
    assert texts(client, prompt="a", max_tokens=20) != texts(client, prompt="a", max_tokens=20)


@pytest.mark.parametrize("prompt", ["The king, the", "", [5, 60, 7, 7]])
def test_echo_with_logprobs_scores_the_prompt_as_the_model_does(
    client: httpx.Client, run: Run, prompt: str | list[int]
) -> None:
    (choice,) = ask(client, prompt=prompt, max_tokens=0, logprobs=3, echo=True, return_token_ids=True)["choices"]
    tokens = choice["prompt_token_ids"]
    assert tokens == (
        prompt if isinstance(prompt, list) else run.tokenizer.encode(prompt) or [run.tokenizer.end_of_text]
    )
    with torch.inference_mode():
        logprobs = run.model.logits(run.model.hidden(torch.tensor([tokens])))[0].log_softmax(-1)
    found = choice["logprobs"]
    assert found["token_logprobs"][0] is None
    for place, token in enumerate(tokens[1:], 1):
        row = logprobs[place - 1]
        assert found["token_logprobs"][place] == pytest.approx(row[token].item(), abs=1e-5)
        likeliest = row[: run.tokenizer.vocab_size].topk(3)
        assert found["top_token_ids"][place][:3] == likeliest.indices.tolist()
        values = list(found["top_logprobs"][place].values())
        assert values[:3] == pytest.approx(likeliest.values.tolist(), abs=1e-5)
        assert found["token_logprobs"][place] in values  # lm-eval compares them for equality
    assert choice["text"] == (prompt if isinstance(prompt, str) else run.tokenizer.decode(tokens))
    assert choice["finish_reason"] == "length"


def test_half_a_character_is_echoed_as_its_tokens_stand_for_it(client: httpx.Client) -> None:
    for prompt in ("a\ud83d", ["a\ud83d"]):
        asked = {"prompt": prompt, "max_tokens": 1, "echo": True}
        for fields in (asked, asked | {"stream": True}):
            answer = client.post(
                "/v1/completions", content=json.dumps(fields), headers={"content-type": "application/json"}
            )
            assert answer.status_code == 200, answer.text
            assert "a\ufffd" in answer.text
            assert "[DONE]" in answer.text or not fields.get("stream")


def test_logprobs_cover_every_token_and_their_places_in_the_text(client: httpx.Client) -> None:
    (choice,) = ask(client, prompt="the", max_tokens=40, logprobs=0, echo=True, seed=1)["choices"]
    found = choice["logprobs"]
    assert len(found["tokens"]) == len(found["text_offset"]) == len(found["top_logprobs"]) > 40
    for token, begin in zip(found["tokens"], found["text_offset"], strict=True):
        if not token.startswith("bytes:"):
            assert choice["text"][begin : begin + len(token)] == token
    assert all(len(row) == 1 for row in found["top_logprobs"][1:])


def test_a_prompt_may_fill_the_context_and_one_more_where_it_is_scored(client: httpx.Client) -> None:
    full = [70 + i % 30 for i in range(65)]
    (choice,) = ask(client, prompt=full, max_tokens=1, logprobs=1, echo=True)["choices"]
    assert len(choice["logprobs"]["token_logprobs"]) == 66
    assert len(ask(client, prompt=full[:64], max_tokens=3)["choices"]) == 1
    refused = client.post("/v1/completions", json={"prompt": full, "max_tokens": 1})
    assert refused.status_code == 400
    assert "The prompt has 65 tokens, but the model's context holds 64." in refused.json()["error"]["message"]


def test_another_checkpoint_of_the_run_has_a_name_too(client: httpx.Client, run_folder: Path) -> None:
    other = Run.open(run_folder, step="20")
    (expected,) = generate(other.model, other.tokenizer, "the", GenerateConfig(max_new_tokens=20, temperature=0))
    answer = ask(client, model="tiny@20", prompt="the", max_tokens=20, temperature=0)
    assert answer["model"] == "tiny@20"
    assert answer["choices"][0]["text"] == expected.text
    assert answer["choices"][0]["text"] != texts(client, prompt="the", max_tokens=20, temperature=0)[0]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"suffix": "end"}, "suffix", "leave suffix out"),
    ({"best_of": 3}, "best_of", "only the value of n"),
    ({"frequency_penalty": 0.5}, "frequency_penalty", "repetition_penalty"),
    ({"logit_bias": {"5": 1}}, "logit_bias", "at most 0 items"),
    ({"max_tokens": -1}, "max_tokens", "greater than or equal to 0"),
    ({"max_tokens": 10**9}, "max_tokens", "less than or equal to 16384"),
    ({"temperature": -0.1}, "temperature", "greater than or equal to 0"),
    ({"top_p": -1}, "top_p", "greater than 0"),
    ({"n": 0}, "n", "greater than or equal to 1"),
    ({"n": 100, "prompt": ["a", "b"]}, "n", "more than the 128 samples"),
    ({"stop": ""}, "stop", "at least 1 character"),
    ({"logprobs": 101}, "logprobs", "less than or equal to 100"),
    ({"prompt": []}, "prompt", "must be a text, a list of texts"),
    ({"prompt": [[1], "a"]}, "prompt", "must be a text, a list of texts"),
    ({"prompt": [[1], []]}, "prompt", "must be a text, a list of texts"),
    ({"prompt": [True]}, "prompt", "must be a text, a list of texts"),
    ({"prompt": [-1]}, "prompt", "Token id -1 is outside the vocabulary"),
    ({"prompt": [10**6]}, "prompt", "Token id 1000000 is outside the vocabulary"),
    ({"prompt": "word " * 100}, "prompt", "but the model's context holds 64"),
    ({"promt": "a"}, "promt", "there is no such field"),
]


@pytest.mark.parametrize(("fields", "param", "says"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_a_wrong_request_is_refused_in_words(
    client: httpx.Client, fields: dict[str, Any], param: str, says: str
) -> None:
    answer = client.post("/v1/completions", json={"prompt": "a", **fields})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert says in error["message"], error["message"]


def test_an_unknown_model_and_a_chat_are_refused_with_the_remedy(client: httpx.Client) -> None:
    answer = client.post("/v1/completions", json={"model": "tinny", "prompt": "a"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert 'Did you mean "tiny"?' in answer.json()["error"]["message"]
    assert "Checkpoints: 20, 40." in client.get("/v1/models/tiny@7").json()["error"]["message"]
    chat = client.post("/v1/chat/completions", json={"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]})
    assert chat.status_code == 400
    assert "Use /v1/completions" in chat.json()["error"]["message"]


def test_the_tokenizer_answers_as_vllms_does(client: httpx.Client, run: Run) -> None:
    text = "the cat – ☃"
    tokens = client.post("/tokenize", json={"prompt": text}).json()["tokens"]
    assert tokens == run.tokenizer.encode(text)
    assert client.post("/detokenize", json={"tokens": tokens}).json() == {"prompt": text}
    info = client.get("/tokenizer_info").json()
    assert client.post("/tokenize", json={"prompt": info["eos_token"]}).json()["tokens"] == [run.tokenizer.end_of_text]


def test_models_are_listed(client: httpx.Client, server: Running) -> None:
    (card,) = client.get("/v1/models").json()["data"]
    assert card["id"] == "tiny"
    assert card["created"] > 1_500_000_000
    assert client.get("/v1/models/tiny").json() == card
    assert server.app.openapi()["paths"]["/v1/completions"]["post"]
