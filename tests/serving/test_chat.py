"""`/v1/chat/completions` of a run that was fine-tuned on conversations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from serving.conftest import Running, running

from gpt_research.cli.serve import ServeCommand
from gpt_research.finetuning.finetune import finetune
from gpt_research.finetuning.settings import FinetuneSettings


@pytest.fixture(scope="module")
def chat_server(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("chat")
    talk = [{"role": "user", "content": "the king?"}, {"role": "assistant", "content": "A fool."}]
    (folder / "talk.jsonl").write_text((json.dumps({"messages": talk}) + "\n") * 8)
    sizes = {"epochs": 60.0, "batch_size": 2, "micro_batch": 2, "learning_rate": 0.01, "dropout": 0.0}
    out = folder / "tuned"
    finetune(
        FinetuneSettings(
            run=str(run_folder), data=str(folder / "talk.jsonl"), task="chat", out=str(out), device="cpu",
            precision="fp32", **sizes,
        )
    )  # fmt: skip
    with running(ServeCommand(runs=[str(out)], precision="fp32", max_batch=4, max_queue=4)) as server:
        yield server


def test_openais_client_has_a_conversation(chat_server: Running) -> None:
    http = httpx.Client(trust_env=False)
    with openai.OpenAI(base_url=f"{chat_server.address}/v1", api_key="none", http_client=http) as client:
        messages = [{"role": "user", "content": "the king?"}]
        asked = {"model": "tuned", "messages": messages, "temperature": 0}
        answer = client.chat.completions.create(**asked)
        assert answer.object == "chat.completion"
        assert (answer.choices[0].message.role, answer.choices[0].message.content) == ("assistant", "A fool.")
        assert answer.choices[0].finish_reason == "stop"
        chunks = list(client.chat.completions.create(**asked, stream=True))
        assert chunks[0].choices[0].delta.role == "assistant"
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "A fool."
        with pytest.raises(openai.BadRequestError, match="leave no room for an answer in the context of 64"):
            client.chat.completions.create(model="tuned", messages=[{"role": "user", "content": "a b c " * 60}])
        with pytest.raises(openai.BadRequestError, match="messages: Input should be 'system', 'user' or 'assistant'"):
            client.chat.completions.create(model="tuned", messages=[{"role": "bot", "content": "a"}])
        with pytest.raises(openai.BadRequestError, match=r"stop: .* at most 16 items"):
            client.chat.completions.create(**asked, stop=[str(number) for number in range(17)])
