"""Reading safetensors and JSON from elsewhere: each error names the file; no pickle is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from gpt_research.base.errors import UserError

TORCH_TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def read_safetensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of `model.safetensors`, or of the files that its index names.

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
