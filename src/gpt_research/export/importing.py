"""Imports: Hugging Face's layout, our own plain export or nanoGPT's ckpt.pt become a run folder.

Safetensors and JSON are read as they are. A ckpt.pt is a pickle, so it is opened only if the user
allows it, and with torch's restricted reader (weights_only), which calls nothing but the functions
that rebuild tensors. Every name and shape is checked against the config before a run folder
appears.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gpt_research.base import hints, machine
from gpt_research.base.errors import UserError
from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import Checkpoint
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.checkpoint.weights import shape_of
from gpt_research.config import USUAL_MICRO_BATCH, TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.data.vocabulary import END_OF_TEXT, Vocabulary, unspell
from gpt_research.export import hf as huggingface
from gpt_research.export import plain
from gpt_research.export.families.gpt2 import from_gpt2
from gpt_research.export.new_folder import new_folder
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
HUB_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
)
GPT2_VOCABULARY = 50257
MOST_PADDING = 512
"""With this many rows more than the tokenizer has entries, a model has another vocabulary."""


def import_model(
    source: str, out: str, *, tokenizer: str = "auto", allow_pickle: bool = False, revision: str = "main"
) -> list[str]:
    """Write a run folder with the source's weights at step 0; return lines that say what was done.

    Args:
        source: a folder, a ckpt.pt, or a name on the Hugging Face hub.
        tokenizer: auto (the source's own), gpt2, or the path of a tokenizer.json.
        allow_pickle: open a ckpt.pt.
        revision: branch, tag or commit of a hub name.

    Raises:
        UserError: no such source, a pickle that is not allowed, a model that is not known here,
            files that do not fit together, or a taken folder.
    """
    path = _find(source, revision)
    stored: Mapping[str, torch.Tensor]
    if path.is_file():
        config, stored = _read_nanogpt(path, allow_pickle)
    elif plain.is_plain(path):
        config, stored = plain.read(path)
    else:
        config, stored = huggingface.read(path)
    _check_shapes(config, stored, str(path))
    vocabulary = _find_tokenizer(tokenizer, path, config.vocab_size)
    lines = [f"Read {path}: {config.n_layer} layers, {config.n_head} heads, width {config.n_embd}."]
    if vocabulary.vocab_size < config.vocab_size:
        padding = config.vocab_size - vocabulary.vocab_size
        lines.append(f"Left out {padding} rows of the embedding that stand for no token (padding).")
    config = replace(config, vocab_size=vocabulary.vocab_size)
    rows = {name: shape[0] for name, shape in tensor_shapes(config).items()}
    machine.require_memory(
        4 * sum(math.prod(shape) for shape in tensor_shapes(config).values()),
        machine.free_memory(),
        f"The model in {path}, in fp32,",
        "End what else uses the memory, or take a machine with more.",
    )
    with new_folder(Path(out)) as folder:
        write_yaml(_train_config(config, out), folder / "config.yaml")
        vocabulary.save(folder / "tokenizer.json")
        state = {"tokenizer": vocabulary.fingerprint, "imported_from": source}
        tensors = {name: _finite(name, stored[name], str(path))[: rows[name]] for name in rows}
        save_checkpoint(folder, Checkpoint(0, tensors, {}, state), keep_last=1)
        tensors.clear()  # a large model fits the memory only once
        Run.open(folder)  # the folder appears only if it can be opened
    lines.append(f"Wrote the run folder {out}.")
    return lines


def tensor_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor that a checkpoint of this config holds."""
    with torch.device("meta"):
        model = GPT(config)
    rows = model.saved_rows()
    return {name: (rows.get(name, p.size(0)), *p.shape[1:]) for name, p in model.named_parameters()}


def _find(source: str, revision: str) -> Path:
    """Return the folder or ckpt.pt that the source names; download it if it is a hub name."""
    path = Path(source)
    if path.is_dir():
        if (path / "checkpoints").is_dir() and (path / "config.yaml").is_file():
            raise UserError(f"{path} is a run folder already; there is nothing to import.")
        known = ("config.json", "model.safetensors", "model.safetensors.index.json")
        checkpoints = sorted(path.glob("*.pt"))
        if checkpoints and not any((path / name).is_file() for name in known):
            return checkpoints[0] if len(checkpoints) == 1 else path / "ckpt.pt"
        return path
    if path.is_file():
        if path.suffix == ".safetensors":
            raise UserError(f"{path} is one file of a model. Name its folder: {path.parent}.")
        return path
    if not HUB_NAME.fullmatch(source) or source.startswith("."):
        raise UserError(f"There is no {path}. Name a folder, a ckpt.pt, or a hub name such as openai-community/gpt2.")
    return _download(source, revision)


def _download(name: str, revision: str) -> Path:
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise UserError(
            f'Fetching "{name}" needs huggingface_hub. Name a folder, or run: {hints.install("hub", "huggingface_hub")}'
        ) from None
    try:
        folder = huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(HUB_FILES))
    except Exception as error:  # the library has an error for each fault
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f'There is no folder "{name}", and it could not be fetched from the hub as a model: {reason}'
        ) from None
    return Path(folder)


def _read_nanogpt(path: Path, allow_pickle: bool) -> tuple[GPTConfig, dict[str, torch.Tensor]]:
    """Read a checkpoint that nanoGPT's train.py saved."""
    if not path.is_file():
        raise UserError(f"There is no {path}. Name one of the .pt files in its folder.")
    if not allow_pickle:
        raise UserError(
            f"{path} is a pickle, which can be made to run code when opened. If you trust where it is from, "
            "give --allow_pickle."
        )
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not a checkpoint that torch.save writes, or it was cut short.")
    try:
        # mmap reads only the tensors that are used, not the optimizer's state.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a hostile or broken file can provoke any error
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} was refused: it is damaged, or holds more than weights and plain values ({reason})."
        ) from None
    try:
        arguments, tensors = content["model_args"], content["model"]
        config = GPTConfig(
            n_layer=int(arguments["n_layer"]),
            n_head=int(arguments["n_head"]),
            n_embd=int(arguments["n_embd"]),
            block_size=int(arguments["block_size"]),
            vocab_size=int(arguments["vocab_size"]),
            bias=bool(arguments.get("bias", True)),
        )
        if not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
            raise TypeError("its model holds more than tensors")  # becomes a sentence below
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a checkpoint of nanoGPT ({type(error).__name__}: {error}).") from None
    # The clone leaves the mapped file, which may be removed after the import.
    ours = {name: tensor.clone() for name, tensor in from_gpt2(tensors, str(path)).items()}
    return replace(config, tie_weights="head.weight" not in ours), ours


def _check_shapes(config: GPTConfig, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Refuse names and shapes that do not fit the config."""
    blocks = {match[1] for name in tensors if (match := re.match(r"blocks\.(\d+)\.", name))}
    # This comes first, because a model with a made-up number of layers would be slow to build.
    if len(blocks) != config.n_layer:
        raise UserError(f"{where} is damaged: its config says {config.n_layer} layers, its weights {len(blocks)}.")
    expected = tensor_shapes(config)
    if differ := sorted(expected.keys() ^ tensors.keys()):
        what = "lacks" if differ[0] in expected else "has the unknown"
        raise UserError(f"{where} is not a whole model: it {what} {differ[0]} (and {len(differ) - 1} more).")
    for name, shape in expected.items():
        if (found := shape_of(tensors, name)) != shape:
            raise UserError(f"{where} is damaged: {name} has shape {found}, and its config says {shape}.")


def _finite(name: str, tensor: torch.Tensor, where: str) -> torch.Tensor:
    """Return a tensor in fp32; refuse numbers that are not finite, and quantized ones."""
    if not tensor.is_floating_point():
        raise UserError(f"{where} cannot be imported: {name} holds {tensor.dtype}, so its weights are quantized.")
    if not tensor.isfinite().all():
        raise UserError(f"{where} holds a number that is not finite in {name}: it cannot be used.")
    return tensor.float()


def _find_tokenizer(wanted: str, path: Path, vocab_size: int) -> Tokenizer:
    """Return the tokenizer of a source, or the one that the user named.

    Raises:
        UserError: there is none, or its size does not fit the model's.
    """
    folder = path if path.is_dir() else path.parent
    if wanted == "gpt2":
        tokenizer = Tokenizer.gpt2()
    elif wanted != "auto":
        tokenizer = Tokenizer.load(Path(wanted))
    elif path.is_dir() and (folder / "tokenizer.json").is_file():
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        tokenizer = Tokenizer(_read_vocab_and_merges(folder))
    elif 0 <= vocab_size - GPT2_VOCABULARY < MOST_PADDING:
        tokenizer = Tokenizer.gpt2()
    else:
        raise UserError(f"{path} comes without a tokenizer, and has {vocab_size} tokens. Name one with --tokenizer.")
    if not 0 <= vocab_size - tokenizer.vocab_size < MOST_PADDING:
        raise UserError(
            f"The tokenizer has {tokenizer.vocab_size} entries and the model {vocab_size}: they do not "
            "belong together. Name the right one with --tokenizer."
        )
    return tokenizer


def _read_vocab_and_merges(folder: Path) -> Vocabulary:
    """Read a tokenizer from the two files of GPT-2's older layout."""
    try:
        ids: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
        pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
        tokens: list[Any] = [None] * len(ids)
        for spelling, index in ids.items():
            tokens[index] = b"" if spelling == END_OF_TEXT else unspell(spelling)
        merges = tuple((unspell(left), unspell(right)) for left, right in pairs)
        return Vocabulary(tuple(tokens), merges, {END_OF_TEXT: ids[END_OF_TEXT]})
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, UserError) as error:
        raise UserError(f"vocab.json and merges.txt in {folder} cannot be used: {error!r}.") from None


def _train_config(config: GPTConfig, out: str) -> TrainConfig:
    """Return the default settings of a run of this model, with a step that its context divides."""
    default = TrainConfig()
    micro_tokens = USUAL_MICRO_BATCH * config.block_size
    steps = max(1, default.tokens_per_step // micro_tokens)
    return TrainConfig(out=out, model=config, tokens_per_step=steps * micro_tokens)
