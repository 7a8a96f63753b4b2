"""Trackers: services that record a run's numbers beside metrics.jsonl.

To add one, put a class like these into `TRACKERS`.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from gpt_research.base import hints
from gpt_research.base.errors import UserError, look_up
from gpt_research.base.files import write_json


class Tracker(Protocol):
    """Records numbers by step.

    A class may also have `packages`, the names of the packages that it imports; they are looked for
    before anything is built. And it may have `resume(step)`, which is called before the first
    number: the run goes on after this step (0 if it is new), so numbers that an earlier session
    recorded for later steps will come again.
    """

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        """Begin to record a run, given its folder and its settings."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record the numbers of a step."""

    def finish(self) -> None:
        """Write what is not written yet, and close."""


class WandbTracker:
    """Weights & Biases; without a network set WANDB_MODE=offline and run `wandb sync` later."""

    packages = ("wandb",)

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        import wandb

        asked = settings["wandb"]
        try:
            self._run = wandb.init(
                # W&B looks into its environment variables for whatever is None here.
                project=asked["project"] or os.environ.get("WANDB_PROJECT", "gpt-research"),
                entity=asked["entity"] or None,
                name=asked["name"] or os.environ.get("WANDB_NAME", run.resolve().name),
                group=asked["group"] or None,
                tags=asked["tags"] or None,
                dir=run,
                config=dict(settings),
                resume="allow",
                id=os.environ.get("WANDB_RUN_ID") or wandb_id(run),
            )
        except wandb.Error as error:
            raise UserError(
                f"W&B could not begin ({str(error).rstrip('.')}). Log in with: wandb login; or set WANDB_MODE=offline."
            ) from None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        self._run.finish()


def wandb_id(run: Path) -> str:
    """Return the id of a run on W&B, which is drawn once and kept in `wandb.json` of its folder.

    Raises:
        UserError: the file is damaged.
    """
    # The name of the folder would not do, because runs in two places may have the same one.
    path, here = run / "wandb.json", str(run.resolve())
    kept = _read_wandb_json(path) if path.is_file() else None
    if kept is None:
        # Version 0.1 took the folder's name. Its runs go on under that id.
        is_old = any((run / "wandb").glob(f"*run-*-{run.name}"))
        kept = {"id": run.name if is_old else secrets.token_hex(4), "folder": here}
    elif kept["folder"] != here:
        # A folder that was moved stays the same run. A copy, whose original is still there, is
        # another one.
        original = Path(kept["folder"]) / "wandb.json"
        is_copy = original.is_file() and _read_wandb_json(original)["id"] == kept["id"]
        kept = {"id": secrets.token_hex(4) if is_copy else kept["id"], "folder": here}
    write_json(path, kept)
    return kept["id"]


def _read_wandb_json(path: Path) -> dict[str, str]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {"id": str(kept["id"]), "folder": str(kept["folder"])}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged. Delete it; the run then goes on as a new one on W&B.") from None


class TensorboardTracker:
    """Event files under `<run>/tensorboard`."""

    packages = ("tensorboard",)

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        self._folder = str(run / "tensorboard")

    def resume(self, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # TensorBoard then leaves out what older files hold from this step on.
        self._writer = SummaryWriter(self._folder, purge_step=step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self._writer.close()


TRACKERS: dict[str, type[Tracker] | None] = {"none": None, "wandb": WandbTracker, "tensorboard": TensorboardTracker}


def find_tracker(name: str) -> type[Tracker] | None:
    """Return the class of a tracker, or None for "none".

    Raises:
        UserError: there is no such tracker, or its package is not installed.
    """
    tracker = look_up(TRACKERS, name, "tracker")
    for package in getattr(tracker, "packages", ()):
        try:
            importlib.import_module(package)
        except ImportError as error:
            why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be used ({error})"
            what = f"tracker {name}" if name == package else f"tracker {name} needs {package}, which"
            raise UserError(f"{what} {why}. Run: {hints.install_package(package)}") from None
    return tracker


def begin(name: str, run: Path, settings: Mapping[str, Any], step: int) -> Tracker | None:
    """Return a tracker that records `run` from `step` on, or None for "none".

    Raises:
        UserError: as `find_tracker` does, or the service cannot be used.
    """
    tracker = find_tracker(name)
    if tracker is None:
        return None
    begun = tracker(run, settings)
    if hasattr(begun, "resume"):
        begun.resume(step)
    return begun
