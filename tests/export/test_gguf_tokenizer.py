"""llama.cpp cuts text as the vocabulary of the run does, or the export is refused in words."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from export.small_runs import VARIANTS, write_run
from other_splits import KINDS, write_vocabulary

from gpt_research.base.errors import UserError
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export import gguf
from gpt_research.export.exporting import export_run
from gpt_research.export.gguf_tokenizer import SPLITS
from gpt_research.export.proof import PASSAGE

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in ("xllamacpp", "gguf", "transformers")),
    reason="xllamacpp, gguf or transformers is not installed",
)
NAMES = {"qwen": "qwen2", "llama3": "llama-bpe", "smollm": "smollm"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_with_a_split_of_its_own_leaves_with_the_model(kind: str, tmp_path: Path) -> None:
    write_vocabulary(kind, [PASSAGE], tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.json")
    write_run(tmp_path / "run", VARIANTS["qwen3"], tokenizer)
    export_run(tmp_path / "run", tmp_path / "hf")
    assert Tokenizer.load(tmp_path / "hf" / "tokenizer.json").fingerprint == tokenizer.fingerprint
    if kind not in NAMES:
        with pytest.raises(UserError, match=r"llama.cpp does not know how this tokenizer splits text .*--format hf"):
            export_run(tmp_path / "run", tmp_path / "gguf", format="gguf")
        return
    assert NAMES[kind] in SPLITS
    ours, theirs = export_run(tmp_path / "run", tmp_path / "gguf", format="gguf")
    assert (ours.reader, theirs.reader) == ("gguf, read back", "llama.cpp")
    _, back = gguf.read(tmp_path / "gguf" / "run-f32.gguf")
    assert back.fingerprint == tokenizer.fingerprint
