"""A folder in the layout of Hugging Face: what `transformers` loads by `AutoModelForCausalLM` and
`AutoTokenizer`.

    config.json  generation_config.json  model.safetensors  tokenizer.json  tokenizer_config.json

Reading takes any GPT-2 in that layout: safetensors in one file or in several, and refuses what GPT-2 does not
compute (another activation, attention scaled by layer, ...). No pickle is ever opened here.
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
from safetensors import SafetensorError

from gpt_research.base.errors import UserError
from gpt_research.config import GenerateConfig, GPTConfig
from gpt_research.data.vocabulary import END_OF_TEXT
from gpt_research.export.names import from_gpt2, to_gpt2
from gpt_research.export.source import Source, gpt2_form

TORCH_TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}

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
"""Settings of GPT2Config that change what is computed, and the values that are GPT-2."""


def write(folder: Path, source: Source, dtype: str) -> None:
    """Write model and tokenizer into an existing folder."""
    config, tensors = gpt2_form(source.model)
    stored = {name: t.to(TORCH_TYPES[dtype]).contiguous() for name, t in to_gpt2(tensors).items()}
    # transformers insists on this entry.
    safetensors.torch.save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    end_of_text = source.tokenizer.end_of_text
    settings = _gpt2_config(config, str(TORCH_TYPES[dtype]).removeprefix("torch."), end_of_text)
    settings["gpt_research"] = {"bias": source.model.config.bias}
    _write_json(folder / "config.json", settings)
    drawn = GenerateConfig()
    _write_json(
        folder / "generation_config.json",
        {
            "do_sample": True,
            "temperature": drawn.temperature,
            "top_k": drawn.top_k,
            **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end_of_text),
        },
    )
    write_tokenizer(folder, source)


def write_tokenizer(folder: Path, source: Source) -> None:
    """Write the tokenizer so that `AutoTokenizer` reads it as it is, whatever GPT-2's class would do."""
    source.tokenizer.save(folder / "tokenizer.json")
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": source.model.config.block_size,
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
        "n_ctx": config.block_size,  # the older name of the same, which converters still read
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
        raise UserError(f"{folder} is no model in Hugging Face's layout: it has no config.json. Name another folder.")
    settings = read_json(folder / "config.json")
    config = _read_config(settings, str(folder / "config.json"))
    found = from_gpt2(read_safetensors(folder), str(folder))
    tensors = {name: tensor.float() for name, tensor in found.items()}
    config = replace(config, tie_weights="head.weight" not in tensors)
    own = settings.get("gpt_research")
    if isinstance(own, dict) and own.get("bias") is False:  # our own export: the zeros were put in for GPT-2's sake
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


def read_safetensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of `model.safetensors`, or of the files its index names.

    Raises:
        UserError: there are none, only a pickle, or they are damaged.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        names = ["model.safetensors"]
    elif index.is_file():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(_is_plain(name) for name in weight_map.values()):
            raise UserError(f"{index} is damaged: its weight_map names files outside the folder, or none.")
        names = sorted(set(weight_map.values()))
    else:
        pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
        if pickles:
            raise UserError(
                f"{folder} holds its weights only as a pickle ({pickles[0]}), which can run code when "
                "opened. "
                "Get the model as safetensors."
            )
        raise UserError(f"{folder} holds no model.safetensors.")
    tensors: dict[str, torch.Tensor] = {}
    for name in names:
        try:
            tensors |= safetensors.torch.load_file(folder / name)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{folder / name} is damaged: {error}.") from None
    return tensors


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name == Path(name).name and name.endswith(".safetensors")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; UserError naming the file where it is missing or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it holds no JSON object.")
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class TransformersReader:
    """An exported folder, loaded by transformers in fp32."""

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
        found = self._model.generate(prompt, attention_mask=mask, max_new_tokens=count)
        return [int(token) for token in found[0, len(tokens) :]]


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep the loading bar of transformers out of our output, and the setting as it was."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
