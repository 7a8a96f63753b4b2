"""The served runs: their checkpoints, their shape, their curves, and whether they still train."""

from __future__ import annotations

import bisect
import contextlib
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from fastapi.responses import Response

from gpt_research.base.errors import UserError
from gpt_research.base.locks import is_locked
from gpt_research.base.settings import by_flag, to_dict
from gpt_research.checkpoint.files import checkpoint_path, saved_steps, tensor_files
from gpt_research.config import TrainConfig
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.serving.disconnects import WhileConnected
from gpt_research.serving.models import Models, ServedModel
from gpt_research.serving.page_api.asking import answer, number, numbers
from gpt_research.serving.page_api.run_data import data_of, newest_settings
from gpt_research.training.live_metrics import LiveMetrics
from gpt_research.training.metrics import read_samples
from gpt_research.training.run_folder import OWNER

router = APIRouter(prefix="/api", tags=["page"], route_class=WhileConnected)
CURVES = ("learning_rate", "grad_norm", "tokens_per_s", "elapsed_s")
SHAPE = ("n_layer", "n_head", "n_embd", "vocab_size", "positions", "norm", "activation", "attention", "tie_weights")
Line = Mapping[str, Any]

# Handlers that only look at small files are no coroutines, so they run in threads of their own and
# do not wait for analyses.


@router.get("/runs")
def runs(models: Models) -> Response:
    """Return all served runs."""
    return answer({"runs": [_about(model) for model in models.named.values()]})


@router.get("/runs/{run}")
def one_run(models: Models, run: str) -> Response:
    """Return one run."""
    return answer(_about(models.find_run(run)))


@router.get("/runs/{run}/settings")
def settings(models: Models, run: str) -> Response:
    """Return the newest settings of a run by their flags."""
    model = models.find_run(run)
    return answer({"run": model.name, "settings": by_flag(to_dict(newest_settings(model.folder)))})


@router.get("/runs/{run}/metrics")
def metrics(
    models: Models,
    run: str,
    after: Annotated[int, Query(ge=0)] = 0,
    points: Annotated[int, Query(ge=20, le=5000)] = 2000,
) -> Response:
    """Return the curves of a run after a step."""
    model = models.find_run(run)
    lines = _live(model.folder).lines()
    last = lines[-1]["step"] if lines else 0
    new = [line for line in lines if line["step"] > after]
    return answer(
        {
            "run": model.name,
            "training": is_locked(model.folder, OWNER),
            "last_step": last,
            "max_steps": newest_settings(model.folder).max_steps,
            "restarted": last < after,
            "train": _training_curves(new, points),
            "validation": _validation_curves(new),
        }
    )


@router.get("/runs/{run}/samples")
def samples(models: Models, run: str) -> Response:
    """Return the texts that training wrote after its evaluations."""
    model = models.find_run(run)
    found = [{"step": step, "text": text} for step, text in read_samples(model.folder)]
    return answer({"run": model.name, "samples": found})


@lru_cache(maxsize=64)
def _live(folder: Path) -> LiveMetrics:
    return LiveMetrics(folder)


def _about(model: ServedModel) -> dict[str, Any]:
    """Return what is known of a run without loading a weight."""
    training = is_locked(model.folder, OWNER)
    unknown = dict.fromkeys(("max_steps", "shape", "tokens_seen", "loss", "elapsed_s", "seconds_left", "time"))
    found: dict[str, Any] = {
        **unknown,
        "name": model.name,
        "folder": str(model.folder),
        "served_step": model.step,
        "step_is_named": model.is_named,
        "training": training,
        "ended": "",
        "step": 0,
        "data": {"folder": "", "state": "missing", "why": ""},
        "problem": "",
    }
    lines = _live(model.folder).lines()
    found["checkpoints"] = _checkpoints(model.folder, lines)
    try:
        config = newest_settings(model.folder)
        data = data_of(model.folder)
    except UserError as error:
        return found | {"problem": str(error)}
    if not found["checkpoints"]:
        found["problem"] = f"{model.folder} has no checkpoint yet. Let training reach its first save."
    trained = [line for line in lines if "loss" in line]
    last = trained[-1] if trained else {}
    step = max([last.get("step", 0), *(saved["step"] for saved in found["checkpoints"])])
    left = _seconds_left(config, step, trained) if training else None
    return found | {
        "ended": "" if training else "finished" if step >= config.max_steps else "stopped",
        "step": step,
        "max_steps": config.max_steps,
        "tokens_seen": last.get("tokens", step * config.tokens_per_step),
        "loss": number(last.get("mean_loss", last.get("loss"))),
        "elapsed_s": number(last.get("elapsed_s"), 1),
        "seconds_left": number(left, 2),
        "time": max((saved["time"] for saved in found["checkpoints"]), default=None),
        "shape": _shape(config.model),
        "data": {"folder": str(data.folder), "state": data.state, "why": data.why},
    }


def _seconds_left(config: TrainConfig, step: int, trained: Sequence[Line]) -> float:
    speeds = [line["tokens_per_s"] for line in trained[-10:] if line.get("tokens_per_s")]
    return (config.max_steps - step) * config.tokens_per_step / (sum(speeds) / len(speeds)) if speeds else math.nan


@lru_cache(maxsize=64)
def _shape(config: GPTConfig) -> dict[str, Any]:
    parameters = None
    with contextlib.suppress(UserError):  # a part of a plugin that was not loaded
        parameters = GPT(config, drawn=False).num_parameters()
    sizes = {"n_kv_head": config.kv_heads, "head_size": config.head_dim, "context": config.block_size}
    return {**{name: getattr(config, name) for name in SHAPE}, **sizes, "parameters": parameters}


def _checkpoints(run: Path, lines: Sequence[Line]) -> list[dict[str, Any]]:
    evaluated = {line["step"]: line["val_loss"] for line in lines if line.get("val_loss") is not None}
    trained = [line for line in lines if "loss" in line]
    found = []
    for step in saved_steps(run):
        try:
            folder = checkpoint_path(run, step)
            written = (folder / "state.json").stat().st_mtime
            size = sum(file.stat().st_size for file in folder.iterdir())
            resumable = bool(tensor_files(folder, "optimizer"))
        except OSError:  # it was deleted this moment
            continue
        logged = bisect.bisect_right(trained, step, key=lambda line: line["step"])
        last = trained[logged - 1] if logged else {}
        found.append(
            {
                "step": step,
                "time": written,
                "loss": number(last.get("mean_loss", last.get("loss"))),
                "val_loss": number(evaluated.get(step)),
                "bytes": size,
                "resumable": resumable,
            }
        )
    judged = [saved["val_loss"] for saved in found if saved["val_loss"] is not None]
    for saved in found:
        saved["newest"] = saved is found[-1]
        saved["best"] = bool(judged) and saved["val_loss"] == min(judged)
    return found


def _training_curves(lines: Sequence[Line], points: int) -> dict[str, list[Any]]:
    """Return the curves of the steps; neighbours become their mean where there are too many."""
    trained = [line for line in lines if "loss" in line]
    groups = np.array_split(np.arange(len(trained)), min(points, len(trained))) if trained else []

    def column(value: Any) -> list[Any]:
        values = np.array([math.nan if (found := value(line)) is None else found for line in trained], dtype=np.float64)
        parts = [part[np.isfinite(part)] for part in (values[group] for group in groups)]
        return numbers([float(part.mean()) if len(part) else math.nan for part in parts], 8)

    curves = {name: column(lambda line, name=name: line.get(name)) for name in CURVES}
    loss = column(lambda line: line.get("mean_loss", line["loss"]))
    return {"step": [trained[group[-1]]["step"] for group in groups], "loss": loss, **curves}


def _validation_curves(lines: Sequence[Line]) -> dict[str, Any]:
    evaluated = [line for line in lines if line.get("val_loss") is not None]
    corpora: dict[str, dict[str, list[Any]]] = {}
    for line in evaluated:
        for name, losses in (line.get("corpora") or {}).items():
            curve = corpora.setdefault(name, {"step": [], "loss": []})
            curve["step"].append(line["step"])
            curve["loss"].append(number(losses.get("loss")))
    return {
        "step": [line["step"] for line in evaluated],
        "loss": [number(line["val_loss"]) for line in evaluated],
        "bits_per_byte": [number(line.get("val_bits_per_byte")) for line in evaluated],
        "corpora": corpora,
    }
