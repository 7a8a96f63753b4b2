"""The GGUF file of a run's checkpoint, made when it is first needed, and kept.

    <run>/gguf/step_00001000-f32.gguf    the model
    <run>/gguf/step_00001000-f32.json    hashes of its sources, its own size and SHA-256, its proofs

Both are written into a hidden folder and moved after the proof. Files whose checkpoint is gone are
removed.
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

from gpt_research.base.disk import cannot_write
from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256, size_and_sha256, write_json
from gpt_research.checkpoint.files import checkpoint_path, find_step, saved_steps
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export import gguf
from gpt_research.export.proof import prove_all
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run
from gpt_research.settings_history import run_config
from gpt_research.version import __version__


@dataclass(frozen=True)
class GgufOfRun:
    """A GGUF file that was proved to compute what the run computes."""

    path: Path
    config: GPTConfig
    """Shape of the model in the file."""
    tokenizer: Tokenizer


def gguf_of_run(
    folder: Path,
    dtype: str,
    step: str = "newest",
    ema: bool | None = None,
    *,
    notice: Callable[[str], None] = lambda _: None,
) -> GgufOfRun:
    """Return the GGUF file of a run's checkpoint; make it if there is none.

    Args:
        step: newest, best or a number, as `Run.open` takes it.
        ema: take the averaged weights; by default, if the checkpoint has them.
        notice: takes the sentence that says that a file is being made.

    Raises:
        UserError: no such run, nothing saved, damage, a width that q8_0 does not fit, a folder that
        cannot be written, or a file that fails its proof.
    """
    kept = _kept(folder, dtype, step, ema)
    return kept if kept is not None else _make(folder, dtype, step, ema, notice)


def _kept(folder: Path, dtype: str, wanted: str, ema: bool | None) -> GgufOfRun | None:
    """Return the file that was made before, if it is still that of the checkpoint."""
    if not saved_steps(folder):
        return None
    step = find_step(folder, wanted)
    path = _path(folder, step, dtype, ema)
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
        if record["made_of"] != _made_of(folder, step, tokenizer):
            return None
        if size_and_sha256(path) != (record["bytes"], record["sha256"]):
            return None
        return GgufOfRun(path, run_config(folder, step).model, tokenizer)
    except (OSError, ValueError, KeyError, TypeError, UserError):  # then the file is made again
        return None


def _make(folder: Path, dtype: str, step: str, ema: bool | None, notice: Callable[[str], None]) -> GgufOfRun:
    run = Run.open(folder, step=step, ema=ema)
    run.check_vocabulary()
    config = run.model.config
    if dtype == "q8_0" and (narrow := gguf.narrowest_for_q8_0(config)):
        raise UserError(f"--weights int8 packs {gguf.Q8_0_BLOCK} weights together, and {narrow}. Leave --weights out.")
    path = _path(folder, run.step, dtype, ema)
    notice(f"Writing {path} for llama.cpp, once for this checkpoint.")
    try:
        path.parent.mkdir(exist_ok=True)
        # Two commands may make one file at the same time, so each writes into a folder of its own.
        with tempfile.TemporaryDirectory(prefix=".part-", dir=path.parent) as part:
            file = Path(part) / path.name
            gguf.write(file, run, dtype)
            proofs = prove_all(run.model, run.tokenizer, gguf.readers(file, run, dtype))
            size, sha256 = size_and_sha256(file)
            made_of = _made_of(folder, run.step, run.tokenizer)
            record = {"made_of": made_of, "bytes": size, "sha256": sha256, "proofs": [str(proof) for proof in proofs]}
            write_json(file.with_suffix(".json"), record)
            # Without its record a file counts as none, so a crash between these lines does no harm.
            os.replace(file, path)
            os.replace(file.with_suffix(".json"), path.with_suffix(".json"))
        saved = {checkpoint_path(folder, saved).name for saved in saved_steps(folder)}
        for old in path.parent.glob("step_*"):
            if old.name.partition("-")[0] not in saved:
                with contextlib.suppress(FileNotFoundError):  # another command removed it first
                    old.unlink()
    except OSError as error:
        raise cannot_write(path, error, then="start again, or leave --engine out") from None
    return GgufOfRun(path, config, run.tokenizer)


def _path(folder: Path, step: int, dtype: str, ema: bool | None) -> Path:
    # A file of the weights that a checkpoint gives by default has no word in its name.
    chosen = "" if ema is None else "-ema" if ema else "-raw"
    return folder / "gguf" / f"{checkpoint_path(folder, step).name}{chosen}-{dtype}.gguf"


def _made_of(folder: Path, step: int, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the hashes of everything that decides a file's content."""
    # `state.json` has the hashes of the checkpoint's files, so no weight need be read.
    return {
        "state": file_sha256(checkpoint_path(folder, step) / "state.json"),
        "config": file_sha256(folder / "config.yaml"),
        "tokenizer": tokenizer.fingerprint,
        "version": __version__,
    }
