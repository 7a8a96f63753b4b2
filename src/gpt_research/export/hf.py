"""Folders in Hugging Face's layout, which transformers loads.

    config.json  generation_config.json  model.safetensors  tokenizer.json  tokenizer_config.json

Any GPT-2 in that layout can be read, with safetensors in one file or in several. A model that
computes something else (another activation, attention scaled by layer) is refused. No pickle is
opened here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from gpt_research.base.errors import UserError
from gpt_research.config import GenerateConfig
from gpt_research.data.vocabulary import END_OF_TEXT
from gpt_research.export.architecture import as_gpt2
from gpt_research.export.names import from_gpt2, to_gpt2
from gpt_research.export.proof import BOUNDS, Bound, Reader
from gpt_research.export.tensor_files import TORCH_TYPES, read_json, read_safetensors
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run

_SAME_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
"""Names of the tanh form of GELU."""

_FIXED: dict[str, tuple[Any, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": _SAME_GELU,
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
"""Settings of GPT2Config that change what the model computes, and the values that GPT-2 has."""


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
        UserError: the model has settings that GPT-2 does not have.
    """
    config, tensors = as_gpt2(run.model)
    stored = {name: t.to(TORCH_TYPES[dtype]).contiguous() for name, t in to_gpt2(tensors).items()}
    # transformers refuses a file without this entry.
    file = folder / "model.safetensors"
    safetensors.torch.save_file(stored, file, metadata={"format": "pt"})
    end_of_text = run.tokenizer.end_of_text
    settings = _gpt2_config(config, str(TORCH_TYPES[dtype]).removeprefix("torch."), end_of_text)
    # An import of our own export removes the biases that only GPT-2's form needs.
    settings["gpt_research"] = {"bias": run.model.config.bias}
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
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": run.model.config.block_size,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            **dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), END_OF_TEXT),
        },
    )


def _gpt2_config(config: GPTConfig, dtype: str, end_of_text: int) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        **{name: values[0] for name, values in _FIXED.items()},
        "vocab_size": config.vocab_size,
        "n_positions": config.block_size,
        "n_ctx": config.block_size,  # the older name, which converters still read
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": None,
        **dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), config.dropout),
        "initializer_range": 0.02,
        "tie_word_embeddings": config.tie_weights,
        "use_cache": True,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "dtype": dtype,
    }


def read(folder: Path) -> tuple[GPTConfig, dict[str, torch.Tensor]]:
    """Return config and fp32 tensors, by our names, of a folder in this layout.

    Raises:
        UserError: not a GPT-2, no safetensors, or files that do not fit together.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not in Hugging Face's layout: it has no config.json. Name another folder.")
    settings = read_json(folder / "config.json")
    config = _read_config(settings, str(folder / "config.json"))
    ours = from_gpt2(read_safetensors(folder), str(folder))
    tensors = {name: tensor.float() for name, tensor in ours.items()}
    config = replace(config, tie_weights="head.weight" not in tensors)
    own = settings.get("gpt_research")
    # Our own export added zeros, because GPT-2 has biases.
    if isinstance(own, dict) and own.get("bias") is False:
        biases = [name for name in tensors if name.endswith("bias")]
        if not any(tensors[name].any() for name in biases):
            config = replace(config, bias=False)
            for name in biases:
                del tensors[name]
    return config, tensors


def _read_config(settings: dict[str, Any], where: str) -> GPTConfig:
    for name, allowed in _FIXED.items():
        value = settings.get(name, allowed[0])
        if value not in allowed:
            raise UserError(f"{where} cannot be imported: {name} is {value!r}, and GPT-2 has {allowed[0]!r}.")
    try:
        n_embd = int(settings["n_embd"])
        if settings.get("n_inner") not in (None, 4 * n_embd):
            raise UserError(
                f"{where} cannot be imported: n_inner is {settings['n_inner']}, and GPT-2 has {4 * n_embd}."
            )
        return GPTConfig(
            n_layer=int(settings["n_layer"]),
            n_head=int(settings["n_head"]),
            n_embd=n_embd,
            block_size=int(settings.get("n_positions") or settings["n_ctx"]),
            vocab_size=int(settings["vocab_size"]),
        )
    except KeyError as error:
        raise UserError(f"{where} cannot be imported: it does not say {error}.") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{where} cannot be imported: {error}.") from None


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
        count = min(count, self._model.config.n_positions - len(tokens))
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
