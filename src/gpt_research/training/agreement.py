"""One truth for all ranks: the same settings, program, data, run folder, weights and optimizer.

Each rank reads its settings and files for itself, perhaps on another host. A rank that reads others
would train another model, and the mean over both would be none. So the ranks compare what they have
before anything is trained or written, and all of them stop if one differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch

from gpt_research.base.runtime import Runtime
from gpt_research.base.settings import by_flag, to_dict
from gpt_research.checkpoint.choice import wait_until
from gpt_research.checkpoint.weights import held_rows
from gpt_research.config import RESUME_IN_PLACE, TrainConfig
from gpt_research.data.shards import Dataset

if TYPE_CHECKING:
    from gpt_research.data.tokenizer import Tokenizer


class HasData(Protocol):
    """An objective, of which only the data matter here."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def sample_sha256(self) -> str: ...


Opened = TypeVar("Opened", bound=HasData)

OWN_OF_EACH = ("data", "out", "device")
"""Settings that may differ from rank to rank, because hosts may give a folder different names. What
the folders hold is compared instead."""
SAMPLES, SAMPLE_TOKENS = 256, 2048
"""Pieces of the data, and their length, that are compared besides the manifests."""
CHUNK = 1 << 22
"""Numbers of a tensor that are summed at a time, which bounds the memory that takes."""
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""The type as which the bits of a number are read, by its bytes."""


def agree_on_settings(runtime: Runtime, config: TrainConfig, until: int | None = None) -> None:
    """Check that all ranks were given the same settings. This is the first that ranks say to each
    other, because what they say next depends on the settings.

    Raises:
        UserError: a rank has others; all ranks raise it.
    """
    settings = {name: value for name, value in to_dict(config).items() if name not in OWN_OF_EACH}
    settings["resume"] = config.resume if config.resume in RESUME_IN_PLACE else "RUN"
    _agree(
        runtime,
        by_flag(settings | {"last step": until}),
        "The settings are not the same",
        "Give all processes the same command and the same settings file.",
    )


def opened_alike(runtime: Runtime, folder: Path, open_data: Callable[[], Opened]) -> Opened:
    """Return the data in `folder`, which have the same content for all ranks.

    Raises:
        UserError: as `open_data` does, or a rank has other data; all ranks raise it.
    """
    unlike = f"The data set folder {folder} is not the same"
    there = set(json.loads(runtime.texts(json.dumps(_files_of(folder)))[0]))
    wait_until(folder, lambda: there <= set(_files_of(folder)))  # another host may see them later
    data = runtime.together(open_data, unlike)
    if runtime.world_size > 1:
        found = {
            "its fingerprint": data.fingerprint[:16],
            "the fingerprint of its tokenizer": data.tokenizer.fingerprint[:16],
            "the hash of some of its tokens": data.sample_sha256()[:16],
        }
        _agree(runtime, found, unlike, "Give all hosts the same data set, on a shared file system or as a whole copy.")
    return data


def _files_of(folder: Path) -> list[str]:
    """Return the names of the files that make a folder a data set, as far as this host sees
    them.
    """
    return sorted(path.name for kind in ("*.json", "*.bin") for path in folder.glob(kind))


def agree_on_state(runtime: Runtime, tensors: Mapping[str, torch.Tensor], small: Mapping[str, Any]) -> None:
    """Check that all ranks begin with the same weights, optimizer state and small values.

    Of a sharded model, ranks that hold the same rows are compared. That these rows are those of the
    checkpoint follows from its files: each rank has hashed them, and all have the same hashes.

    Args:
        tensors: weights and optimizer state by name, on the device.
        small: everything else by name, as JSON holds it.

    Raises:
        UserError: a rank has others; all ranks raise it.
    """
    if runtime.world_size == 1:
        return
    held = {name: held_rows(tensor) for name, tensor in tensors.items()}
    rows = {name: [first, list(local.shape)] for name, (local, first) in held.items()}
    found = {**small, **checksums({name: local for name, (local, _) in held.items()})}
    texts = [json.loads(text) for text in runtime.texts(json.dumps([_sha256(rows), _sha256(found)]))]
    models: dict[str, tuple[int, str]] = {}
    for rank, (theirs, content) in enumerate(texts):
        models.setdefault(theirs, (rank, content))  # the first rank that holds these rows
    if all(models[theirs][1] == content for theirs, content in texts):
        return
    all_found = [json.loads(text) for text in runtime.texts(json.dumps(found))]
    first, wrong = models[texts[runtime.rank][0]][0], ""
    if differ := [name for name, value in all_found[runtime.rank].items() if all_found[first].get(name) != value]:
        wrong = (
            f"{', '.join(differ[:3])}{f' and {len(differ) - 3} more' * (len(differ) > 3)} differ from those of rank "
            f"{first}. Nothing was trained. All hosts need the same program, the same files and sound memory."
        )
    runtime.refuse_unless_alike([wrong], "Weights and optimizer state are not the same")


def checksums(tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Return a number for each tensor that is another one if any bit is another.

    Bits are read as integers and summed with a weight for each place, modulo 2^64, on the tensor's
    device. So the order of summation, which differs between devices, changes nothing.
    """
    sums = {}
    for name, tensor in tensors.items():
        bits = tensor.detach().contiguous().reshape(-1).view(INTEGERS[tensor.element_size()])
        total = torch.zeros((), dtype=torch.int64, device=bits.device)
        for begin in range(0, len(bits), CHUNK):
            part = bits[begin : begin + CHUNK].to(torch.int64)
            # A weight that is odd has an inverse, so a single change never goes unseen.
            weights = torch.arange(2 * begin + 1, 2 * (begin + len(part)) + 1, 2, device=bits.device)
            total += (part * weights).sum()
        sums[name] = total
    return {name: int(total) for name, total in sums.items()}


def sampled_sha256(dataset: Dataset) -> str:
    """Return the SHA-256 of pieces of the data, spread evenly over its shards.

    Data that another program prepared have no hashes in their manifest, so that only this tells two
    files of the same length apart.
    """
    arrays = [
        array
        for split in sorted(dataset.splits)
        for name in sorted(dataset.splits[split])
        for array in dataset.splits[split][name].arrays
        if len(array)
    ]
    digest = hashlib.sha256()
    pieces = max(2, SAMPLES // max(1, len(arrays)))
    for array in arrays[:: max(1, 2 * len(arrays) // SAMPLES)]:
        for begin in np.linspace(0, max(0, len(array) - SAMPLE_TOKENS), pieces, dtype=np.int64).tolist():
            digest.update(np.ascontiguousarray(array[begin : begin + SAMPLE_TOKENS]).tobytes())
    return digest.hexdigest()


def _agree(runtime: Runtime, found: Mapping[str, Any], unlike: str, remedy: str) -> None:
    """Raise a `UserError` on all ranks unless each found what rank 0 did."""
    if runtime.world_size == 1:
        return
    first, wrong = json.loads(runtime.texts(json.dumps(found))[0]), ""
    mine = json.loads(json.dumps(found))  # lists for tuples, as in what was sent
    if differ := [name for name in {**first, **mine} if first.get(name) != mine.get(name)]:
        pairs = (f"{name} is {mine.get(name)!r} and on rank 0 {first.get(name)!r}" for name in differ[:5])
        wrong = f"{'; '.join(pairs)}. {remedy}"
    runtime.refuse_unless_alike([wrong], unlike)


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
