"""Exports of fine-tuned runs: heads that transformers has, and a chat template."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from export.small_runs import LLAMA, QWEN3, SMALL, write_run
from finetuning.conftest import TALK_TEXTS

from gpt_research.base.errors import UserError
from gpt_research.data.chat_format import encode_chat
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export.exporting import export_run
from gpt_research.finetuning.finetune import finetune
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run

Settings = Callable[..., FinetuneSettings]


@pytest.mark.parametrize(
    ("shape", "task", "name"),
    [(SMALL, "classify", "GPT2"), (LLAMA, "pairs", "Llama"), (QWEN3, "classify", "Qwen3")],
    ids=["gpt2", "llama", "qwen3"],
)
def test_a_classifier_opens_in_transformers_with_the_same_scores(
    settings: Settings, pretrained: Path, tmp_path: Path, shape: GPTConfig, task: str, name: str
) -> None:
    write_run(tmp_path / "source", shape, Tokenizer.load(pretrained / "tokenizer.json"))
    outcome = finetune(settings(task, run=str(tmp_path / "source"), lora=2 if task == "pairs" else 0))
    proofs = export_run(outcome.run, tmp_path / "exported")
    assert "scores of the classes within" in str(proofs[-1])
    config = json.loads((tmp_path / "exported/config.json").read_text())
    assert config["architectures"] == [f"{name}ForSequenceClassification"]
    assert list(config["id2label"].values()) == (["bad", "good"] if task == "classify" else ["other", "same"])
    assert "text-classification" in (tmp_path / "exported/README.md").read_text()


@pytest.mark.parametrize("task", ["similarity", "choice"])
def test_heads_that_transformers_has_not_are_refused(settings: Settings, tmp_path: Path, task: str) -> None:
    outcome = finetune(settings(task), until=1)
    with pytest.raises(UserError, match=r"cannot be exported with its head: a .*no class of transformers does that"):
        export_run(outcome.run, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_the_chat_template_of_an_export_gives_the_tokens_of_training(
    settings: Settings, pretrained: Path, tmp_path: Path
) -> None:
    import transformers

    write_run(tmp_path / "source", SMALL, Tokenizer.load(pretrained / "tokenizer.json"))
    outcome = finetune(settings("chat", run=str(tmp_path / "source")), until=1)
    export_run(outcome.run, tmp_path / "exported")
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "exported"), local_files_only=True)
    messages = [{"role": role, "content": content} for role, content in TALK_TEXTS]
    encoded = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert list(encoded) == encode_chat(Run.open(outcome.run).tokenizer, TALK_TEXTS)
    assert theirs.eos_token == "<|im_end|>"


def test_llama_cpp_gives_a_chat_the_tokens_of_training(settings: Settings, pretrained: Path, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    from gpt_research.export.gguf_of_run import gguf_of_run
    from gpt_research.generation.llama_cpp import LlamaCpp

    write_run(tmp_path / "source", SMALL, Tokenizer.load(pretrained / "tokenizer.json"))
    outcome = finetune(settings("chat", run=str(tmp_path / "source")), until=1)
    file = gguf_of_run(outcome.run, "f32")
    with contextlib.closing(LlamaCpp(file.path, file.tokenizer, file.config.block_size)) as llama:
        messages = [{"role": role, "content": content} for role, content in TALK_TEXTS]
        prompt = llama.ask("/apply-template", messages=messages)["prompt"]
        encoded = llama.ask("/tokenize", content=prompt, add_special=False, parse_special=True)["tokens"]
    assert encoded == encode_chat(Run.open(outcome.run).tokenizer, TALK_TEXTS)
