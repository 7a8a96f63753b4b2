"""The tutorial of docs/finetuning.md: a model of another program is imported and fine-tuned on
one's own texts, with random weights of GPT-2's and SmolLM2's shape.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from export.small_runs import LLAMA, SMALL, write_run
from finetuning.conftest import rows_of, write_rows

from gpt_research.cli import main
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export.exporting import export_run
from gpt_research.model_config import GPTConfig

SMOLLM2 = replace(LLAMA, n_kv_head=2, rope_theta=1e5)


@pytest.mark.parametrize("shape", [SMALL, SMOLLM2], ids=["gpt2", "smollm2"])
def test_import_fine_tune_and_use(
    shape: GPTConfig,
    pretrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "random", shape, Tokenizer.load(pretrained / "tokenizer.json"))
    export_run(tmp_path / "random", tmp_path / "theirs")
    write_rows(tmp_path / "chats.jsonl", rows_of("chat", 16))
    write_rows(tmp_path / "val.jsonl", rows_of("chat", 4, seed=1))
    for line in (
        "import theirs --out runs/base",
        "finetune runs/base --data chats.jsonl --val val.jsonl --task chat --lora 4 --out runs/chat "
        "--epochs 2 --batch_size 4 --micro_batch 4 --device cpu",
        "evaluate runs/chat@best --data val.jsonl --json scores.json --device cpu",
        "compare scores.json scores.json",
        "inspect runs/chat",
        "report runs/chat --out chat.html",
        "generate runs/chat --prompt Romeo --max_new_tokens 4 --device cpu",
        "export runs/chat@best --out exported",
    ):
        capsys.readouterr()
        assert main(line.split()) == 0, capsys.readouterr()
    scores = json.loads((tmp_path / "scores.json").read_text())["tasks"]["finetuned/chat"]["scores"]
    assert scores["loss"]["interval"][0] < scores["loss"]["value"] < scores["loss"]["interval"][1]
    assert "<|im_start|>" in json.loads((tmp_path / "exported/tokenizer_config.json").read_text())["chat_template"]
