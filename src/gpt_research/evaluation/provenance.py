"""What a result rests on: the checkpoint, its fingerprints, versions, and benchmark text in the training data."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import checkpoint_path, saved_steps, verify_checkpoint
from gpt_research.data.shards import Manifest, read_manifests
from gpt_research.version import __version__


def checkpoint_facts(run: Path) -> dict[str, Any]:
    """Return step, lineage and the SHA-256 of the weights of the checkpoint that `checkpoint.load_model` takes."""
    for step in reversed(saved_steps(run)):
        try:
            state = verify_checkpoint(checkpoint_path(run, step), optimizer=False)
        except UserError:
            continue
        lineage = state.get("lineage") or {k: state[k] for k in ("tokenizer", "imported_from") if k in state}
        return {
            "step": step,
            "lineage": lineage,
            "weights_sha256": _weights_sha256(state["files"]),
        }
    raise AssertionError("load_model found a whole checkpoint")


def _weights_sha256(files: dict[str, Any]) -> str:
    """Return the hash of the weights' file; of a sharded checkpoint, that of its files' hashes in order."""
    hashes = [files[name]["sha256"] for name in sorted(files) if name.startswith("model")]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of what computes a score."""
    names = ("numpy", "fastokens")
    found = {name: importlib.metadata.version(name) for name in names}
    return {
        "gpt-research": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **found,
    }


def contamination(data: str, lineage: dict[str, Any], benchmark: str) -> dict[str, Any]:
    """Say how many training documents overlap a benchmark (13 words in a row; `corpora.contamination`).

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
    if trained_on != _fingerprint(manifests):
        return {"documents": None, "why": f"unknown: {data} is not what the run was trained on"}
    if any(benchmark not in manifest.contamination for manifest in manifests.values()):
        return {"documents": None, "why": "not looked for: preprocess with --benchmarks"}
    dropped = any(manifest.options.get("contamination") == "drop" for manifest in manifests.values())
    return {
        "documents": sum(manifest.contamination[benchmark] for manifest in manifests.values()),
        "of": sum(manifest.count(s, "documents") for manifest in manifests.values() for s in manifest.splits),
        **({"dropped": True} if dropped else {}),
    }


def _fingerprint(manifests: dict[str, Manifest]) -> str:
    """Return the data fingerprint of a lineage: the trainer's, over all manifests."""
    plain = {name: asdict(manifest) for name, manifest in manifests.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
