"""The GGUF file of a run's newest checkpoint, made when it is first needed and kept.

    <run>/gguf/step_00001000-f32.gguf
    <run>/gguf/step_00001000-f32.json    what it was made of and with, its size and SHA-256, and its proofs

Both are written beside their place and moved there after the proof; what an older checkpoint left is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256
from gpt_research.base.settings import read_yaml
from gpt_research.checkpoint.files import checkpoint_path, saved_steps
from gpt_research.config import GPTConfig, TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export import gguf
from gpt_research.export.exporting import prove_gguf
from gpt_research.export.source import load_source
from gpt_research.version import __version__


@dataclass(frozen=True)
class GgufOfRun:
    """A file that says what the run says."""

    path: Path
    config: GPTConfig
    """Shape of the model in the file."""
    tokenizer: Tokenizer


def gguf_of_run(run: Path, dtype: str, *, notice: Callable[[str], None] = lambda _: None) -> GgufOfRun:
    """Return the GGUF file of a run's newest whole checkpoint, from the run's folder where it is there and whole.

    Args:
        notice: takes the sentence that says that a file is being made.

    Raises:
        UserError: no such run, nothing saved, damage, a width that q8_0 does not fit, a folder that cannot be
        written, or a file that fails its proof.
    """
    kept = _kept(run, dtype)
    return kept if kept is not None else _make(run, dtype, notice)


def _kept(run: Path, dtype: str) -> GgufOfRun | None:
    """Return the file that was made before, if it is still that of the newest checkpoint."""
    steps = saved_steps(run)
    if not steps or not (run / "config.yaml").is_file():
        return None
    path = _path(run, steps[-1], dtype)
    try:
        said = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        tokenizer = Tokenizer.load(run / "tokenizer.json")
        if said["made_of"] != _made_of(run, steps[-1], tokenizer):
            return None
        if (path.stat().st_size, file_sha256(path)) != (said["bytes"], said["sha256"]):
            return None
    except (OSError, ValueError, KeyError, TypeError, UserError):  # whatever it is, the file is made anew
        return None
    return GgufOfRun(path, read_yaml(TrainConfig, run / "config.yaml").model, tokenizer)


def _make(run: Path, dtype: str, notice: Callable[[str], None]) -> GgufOfRun:
    source = load_source(run)
    config = source.model.config
    if dtype == "q8_0" and config.n_embd % gguf.Q8_0_BLOCK:
        raise UserError(
            f"--weights int8 packs {gguf.Q8_0_BLOCK} weights together, and model.n_embd is {config.n_embd}. "
            "Leave --weights out."
        )
    path = _path(run, source.step, dtype)
    notice(f"Writing {path} for llama.cpp, once for this checkpoint.")
    try:
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=path.parent) as part:
            file = Path(part) / path.name
            gguf.write(file, source, dtype)
            proofs = prove_gguf(file, source, dtype)
            said = {
                "made_of": _made_of(run, source.step, source.tokenizer),
                "bytes": file.stat().st_size,
                "sha256": file_sha256(file),
                "proofs": [str(proof) for proof in proofs],
            }
            file.with_suffix(".json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
            os.replace(file, path)
            os.replace(file.with_suffix(".json"), path.with_suffix(".json"))
        for old in path.parent.glob("step_*"):
            if not old.name.startswith(f"{checkpoint_path(run, source.step).name}-"):
                with contextlib.suppress(FileNotFoundError):  # another command removed it first
                    old.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path} could not be written ({reason}). Free some space or leave --engine out.") from None
    return GgufOfRun(path, config, source.tokenizer)


def _path(run: Path, step: int, dtype: str) -> Path:
    return run / "gguf" / f"{checkpoint_path(run, step).name}-{dtype}.gguf"


def _made_of(run: Path, step: int, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what decides the content of a file; `state.json` has the SHA-256 of the checkpoint's other files."""
    return {
        "state": file_sha256(checkpoint_path(run, step) / "state.json"),
        "config": file_sha256(run / "config.yaml"),
        "tokenizer": tokenizer.fingerprint,
        "version": __version__,
    }
