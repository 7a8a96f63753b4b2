"""Facts for the result file: versions of programs, and benchmark text in the training data."""

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
    """Return the versions of the programs that compute a score, by name."""
    return {
        "gpt-research": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: importlib.metadata.version(name) for name in ("numpy", "fastokens")},
    }


def contamination(data: str, lineage: Mapping[str, Any], benchmark: str) -> dict[str, Any]:
    """Return how many training documents share 13 words in a row with a benchmark.

    Preprocessing counted them if it was given the benchmark; the counts are in the data set's
    manifests.

    Args:
        data: folder of the data set that the run names.
        lineage: what the weights come from; its "data" must be the fingerprint of that data set.

    Returns:
        {"documents": count, "of": all documents}, and "dropped": True if preprocessing dropped
        other documents that share text. {"documents": None, "why": reason} if nobody counted.
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
