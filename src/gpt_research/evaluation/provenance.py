"""What a result rests on beside the run: versions of programs, and benchmark text in the training data."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gpt_research.base.errors import UserError
from gpt_research.data.shards import data_fingerprint, read_manifests
from gpt_research.version import __version__


def versions() -> dict[str, str]:
    """Return the versions of what computes a score."""
    return {
        "gpt-research": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: importlib.metadata.version(name) for name in ("numpy", "fastokens")},
    }


def contamination(data: str, lineage: Mapping[str, Any], benchmark: str) -> dict[str, Any]:
    """Say how many training documents overlap a benchmark (13 words in a row), as preprocessing counted them.

    Returns:
        documents and of, or documents None and why.
    """
    try:
        manifests = {name: manifest for name, (_, manifest) in read_manifests(Path(data)).items()} if data else {}
    except UserError:
        manifests = {}
    if not manifests:
        return {
            "documents": None,
            "why": f"unknown: the training data is not at {data}" if data else "unknown",
        }
    trained_on = lineage.get("data")
    if trained_on is None:
        return {"documents": None, "why": "unknown: the weights were not trained here"}
    if trained_on != data_fingerprint(manifests):
        return {"documents": None, "why": f"unknown: {data} is not what the run was trained on"}
    if any(benchmark not in manifest.contamination for manifest in manifests.values()):
        return {"documents": None, "why": "not looked for: preprocess with --benchmarks"}
    dropped = any(manifest.options.get("contamination") == "drop" for manifest in manifests.values())
    return {
        "documents": sum(manifest.contamination[benchmark] for manifest in manifests.values()),
        "of": sum(manifest.count(s, "documents") for manifest in manifests.values() for s in manifest.splits),
        **({"dropped": True} if dropped else {}),
    }
