"""Folders in Hugging Face's layout, which transformers loads.

    config.json  generation_config.json  model.safetensors  tokenizer.json  tokenizer_config.json

Any model of a family of `families` can be written and read, with safetensors in one file or in
several. A model that computes something else (another activation, scaled rotary angles) is refused.
No pickle is opened here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.config import GenerateConfig
from gpt_research.data.chat_format import TEMPLATE, has_chat_format
from gpt_research.export.families.family import Settings
from gpt_research.export.families.table import family_of_settings, require_family
from gpt_research.export.proof import BOUNDS, Bound, Reader
from gpt_research.export.tensor_files import TORCH_TYPES, open_safetensors, read_json
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run

USAGE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("PATH/TO/THIS/FOLDER")
model = AutoModelForCausalLM.from_pretrained("PATH/TO/THIS/FOLDER")
tokens = tokenizer("Once upon a time", return_tensors="pt")
print(tokenizer.decode(model.generate(**tokens, max_length=50)[0]))
```"""


def write(folder: Path, run: Run, dtype: str, licence: str = "") -> Path:
    """Write model and tokenizer into an existing folder; return the file with the weights.

    Raises:
        UserError: no family has the model's settings.
    """
    family = require_family(run.model.config, "transformers")
    config, tensors = family.form(run.model.config, model_tensors(run.model, copy=False))
    theirs = family.to_hf(config, tensors)
    stored = {name: tensor.to(TORCH_TYPES[dtype]).contiguous() for name, tensor in theirs.items()}
    # transformers refuses a file without this entry.
    file = folder / "model.safetensors"
    safetensors.torch.save_file(stored, file, metadata={"format": "pt"})
    end_of_text = run.tokenizer.end_of_text
    settings = {
        "architectures": [family.model_class],
        "model_type": family.name,
        **family.hf_settings(config),
        "vocab_size": config.vocab_size,
        "initializer_range": 0.02,
        "tie_word_embeddings": config.tie_weights,
        "use_cache": True,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "dtype": str(TORCH_TYPES[dtype]).removeprefix("torch."),
        # An import of our own export removes the biases that only the family's form needs.
        "gpt_research": {"bias": run.model.config.bias},
    }
    _write_json(folder / "config.json", settings)
    drawn = GenerateConfig()
    _write_json(
        folder / "generation_config.json",
        {
            "do_sample": True,
            "temperature": drawn.temperature,
            "top_k": drawn.top_k,
            # A pipeline writes 256 tokens by itself, and the model has no position beyond its
            # context.
            "max_length": run.model.config.block_size,
            **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end_of_text),
        },
    )
    write_tokenizer(folder, run)
    return file


def readers(file: Path, run: Run, dtype: str) -> Iterator[tuple[Reader, Bound]]:
    """Yield the program that proves an export, and how far it may be from the run."""
    yield TransformersReader(file.parent), BOUNDS[dtype]


def write_tokenizer(folder: Path, run: Run) -> None:
    """Write the tokenizer so that `AutoTokenizer` loads it unchanged, not as GPT-2's own class."""
    run.tokenizer.save(folder / "tokenizer.json")
    end = run.tokenizer.vocabulary.end_of_text
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": run.model.config.block_size,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            **({"chat_template": TEMPLATE} if has_chat_format(run.lineage) else {}),
            **dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), end),
        },
    )


def read(folder: Path) -> tuple[GPTConfig, Mapping[str, torch.Tensor]]:
    """Return config and tensors, by our names and in the file's type, of a folder in this layout.

    Raises:
        UserError: no family that is known here, no safetensors, or files that do not fit together.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not in Hugging Face's layout: it has no config.json. Name another folder.")
    settings = Settings(read_json(folder / "config.json"), str(folder / "config.json"))
    family = family_of_settings(settings)
    try:
        config = family.read_hf_settings(settings)
    except UserError as error:
        if str(error).startswith(settings.where):
            raise
        # A setting that no model can have; it is named as ours.
        raise UserError(f"{settings.where} cannot be imported: {error}") from None
    config, tensors = family.from_hf(config, open_safetensors(folder), str(folder))
    own = settings.entries.get("gpt_research")
    # Our own export added zeros, because the family's form has biases.
    if config.bias and isinstance(own, dict) and own.get("bias") is False:
        biases = [name for name in tensors if name.endswith("bias")]
        if not any(tensors[name].any() for name in biases):
            config = replace(config, bias=False)
            for name in biases:
                del tensors[name]
    return config, tensors


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class TransformersReader:
    """An exported folder that transformers has loaded in fp32."""

    name = "transformers"

    def __init__(self, folder: Path) -> None:
        import transformers

        with _no_progress_bar():
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            self._model = transformers.AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=torch.float32, use_safetensors=True, local_files_only=True
            ).eval()
        end_of_text = self._model.generation_config.eos_token_id
        self._model.generation_config = transformers.GenerationConfig(
            do_sample=False, eos_token_id=end_of_text, pad_token_id=end_of_text
        )

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, verbose=False)["input_ids"])

    @torch.no_grad()
    def log_probs(self, tokens: list[int]) -> tuple[list[int], torch.Tensor]:
        logits = self._model(torch.tensor([tokens])).logits[0]
        return list(range(len(tokens))), logits.log_softmax(-1)

    @torch.no_grad()
    def greedy(self, tokens: list[int], count: int) -> list[int]:
        count = min(count, self._model.config.max_position_embeddings - len(tokens))
        if count <= 0:
            return []
        prompt = torch.tensor([tokens])
        mask = torch.ones_like(prompt)
        generated = self._model.generate(prompt, attention_mask=mask, max_new_tokens=count)
        return [int(token) for token in generated[0, len(tokens) :]]


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Switch the loading bar of transformers off, and restore the setting afterwards."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
