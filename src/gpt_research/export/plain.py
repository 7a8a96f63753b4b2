"""Plain exports: weights under our own names, the config in the file's header, the tokenizer.

Reading it needs nothing but `safetensors` and `tokenizers`. `gpt-research import` turns it back
into a run, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError

from gpt_research.base.errors import UserError
from gpt_research.base.settings import to_dict
from gpt_research.checkpoint.weights import model_tensors, restore_model
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export.proof import BOUNDS, Bound, OurReader, Reader
from gpt_research.export.tensor_files import TORCH_TYPES, open_safetensors
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run

CONFIG_KEY = "gpt_research_model"
"""Entry of the header that holds the model's config as JSON."""


USAGE = """```sh
gpt-research import PATH/TO/THIS/FOLDER --out runs/RUN
gpt-research generate runs/RUN --prompt "Once upon a time"
```"""


def write(folder: Path, run: Run, dtype: str, licence: str = "") -> Path:
    """Write weights and tokenizer into an existing folder; return the file with the weights."""
    tensors = {n: t.to(TORCH_TYPES[dtype]).contiguous() for n, t in model_tensors(run.model, copy=False).items()}
    metadata = {"format": "pt", CONFIG_KEY: json.dumps(to_dict(run.model.config))}
    file = folder / "model.safetensors"
    safetensors.torch.save_file(tensors, file, metadata=metadata)
    run.tokenizer.save(folder / "tokenizer.json")
    return file


def readers(file: Path, run: Run, dtype: str) -> Iterator[tuple[Reader, Bound]]:
    """Yield our own program over the weights read back, and how far it may be from the run."""
    yield OurReader(*read_model(file.parent), "safetensors, read back"), BOUNDS[dtype]


def is_plain(folder: Path) -> bool:
    """Return whether a folder holds an export that `write` wrote."""
    return (folder / "model.safetensors").is_file() and CONFIG_KEY in _metadata(folder)


def read(folder: Path) -> tuple[GPTConfig, Mapping[str, torch.Tensor]]:
    """Return config and tensors, in the file's type, of a folder that `write` wrote.

    Raises:
        UserError: it is damaged.
    """
    try:
        config = GPTConfig(**json.loads(_metadata(folder)[CONFIG_KEY]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'model.safetensors'} is damaged: its header says {error}.") from None
    return config, open_safetensors(folder)


def read_model(folder: Path) -> tuple[GPT, Tokenizer]:
    """Return model and tokenizer of a folder that `write` wrote."""
    config, tensors = read(folder)
    model = GPT(config, drawn=False)
    restore_model(model, tensors, str(folder))
    return model, Tokenizer.load(folder / "tokenizer.json")


def _metadata(folder: Path) -> dict[str, str]:
    path = folder / "model.safetensors"
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is damaged: {error}.") from None
