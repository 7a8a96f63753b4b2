"""Reading safetensors and JSON from elsewhere: each error names the file; no pickle is opened.

Tensors stay in their files until they are used, because a model may be larger than the memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import SavedTensors

TORCH_TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def open_safetensors(folder: Path) -> Mapping[str, torch.Tensor]:
    """Return the tensors of `model.safetensors`, or of the files that its index names; each is read
    when it is looked up.

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
                f"{folder} holds its weights only as a pickle ({pickles[0]}), which can run code when opened. "
                "Get the model as safetensors."
            )
        raise UserError(f"{folder} holds no model.safetensors.")
    for name in names:
        try:
            SavedTensors([folder / name])  # reads the header, and compares it with the size
        except (OSError, SafetensorError) as error:
            raise UserError(f"{folder / name} is damaged: {error}.") from None
    return SavedTensors([folder / name for name in names])


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name == Path(name).name and name.endswith(".safetensors")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raise a UserError that names the file if it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it does not hold a JSON object.")
    return content
