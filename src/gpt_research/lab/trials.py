"""One run of an experiment: an arm, a seed and a length; its folder, and what came out of it.

<experiment>/<arm>/seed-1.yaml    the settings
<experiment>/<arm>/seed-1/        the run folder
<experiment>/<arm>/seed-1.log     what training printed
<experiment>/<arm>/seed-1.json    the outcome, once it is there
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256, write_json
from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import checkpoint_path, saved_steps, tensor_files
from gpt_research.config import TrainConfig
from gpt_research.lab.arms import Arm, at_horizon
from gpt_research.lab.outcome import Outcome, State
from gpt_research.training.metrics import read_metrics


@dataclass(frozen=True)
class Trial:
    """A run that an experiment needs."""

    arm: Arm
    seed: int
    horizon: float
    root: Path
    """Folder of the experiment."""
    group: str = ""
    """Folder within the arm's for runs that are not compared, such as those of tuning."""

    @property
    def name(self) -> str:
        """The place of the run in the experiment's folder."""
        length = "" if self.horizon == 1 else f"-x{self.horizon:g}"
        return str(Path(self.arm.folder, self.group, f"seed-{self.seed}{length}"))

    @property
    def run(self) -> Path:
        return self.root / self.name

    def path(self, ending: str) -> Path:
        """Return the file of this trial with an ending such as `.log`."""
        return self.root / f"{self.name}{ending}"

    @property
    def config(self) -> TrainConfig:
        return at_horizon(self.arm.config, self.horizon, self.seed, self.run)

    def prepare(self) -> Path:
        """Write the settings; return their file."""
        path = self.path(".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_yaml(self.config, path)
        return path

    def outcome(self) -> Outcome | None:
        """Return the outcome that was recorded, or None.

        Raises:
            UserError: the record is damaged.
        """
        path = self.path(".json")
        if not path.is_file():
            return None
        try:
            return Outcome(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}). Remove it: the run is then looked at again.") from None

    def conclude(self, code: int, *, keep_checkpoints: bool) -> Outcome:
        """Record the outcome of a run that has ended, and remove what no report needs.

        Args:
            code: the exit code of training.
        """
        outcome = self._outcome(code)
        if outcome.state != "failed":
            write_json(self.path(".json"), dataclasses.asdict(outcome))
            if not keep_checkpoints:
                shutil.rmtree(self.run / "checkpoints", ignore_errors=True)
        return outcome

    def _outcome(self, code: int) -> Outcome:
        config = self.config
        lines = read_metrics(self.run)
        last: Mapping[str, Any] = next((line for line in reversed(lines) if "val_loss" in line), {})
        taken = max((line["step"] for line in lines), default=0)
        # If a run keeps an average of its weights, that is the model that it is about.
        of = "_ema" if "val_loss_ema" in last else ""
        loss = last.get(f"val_loss{of}") if last.get("step") == config.max_steps else None
        state: State = "done"
        why = ""
        if code == 0 and loss is None:
            state, why = "diverged", "the validation loss of its last step is not finite"
        elif code != 0:
            # Training stops by itself if gradients are not finite.
            state = "diverged" if code == 2 and _gave_up(lines) else "failed"
            why = "too many gradients were not finite" if state == "diverged" else last_words(self.path(".log"), code)
        speeds = [line["tokens_per_s"] for line in lines if line.get("tokens_per_s")]
        return Outcome(
            seed=self.seed,
            horizon=self.horizon,
            folder=self.name,
            state=state,
            why=why,
            steps=taken,
            tokens=taken * config.tokens_per_step,
            seconds=max((line["elapsed_s"] for line in lines if line.get("elapsed_s")), default=0.0),
            tokens_per_s=statistics.median(speeds) if speeds else None,
            loss=loss,
            bits_per_byte=last.get(f"val_bits_per_byte{of}") if loss is not None else None,
            corpora=last.get(f"corpora{of}", {}) if loss is not None else {},
            weights_sha256=_hash_of_weights(self.run),
        )


def _gave_up(lines: list[dict[str, Any]]) -> bool:
    """Return whether the newest events are gradients that are not finite."""
    events = [line["event"] for line in lines[-6:] if "event" in line]
    return "not_finite" in events


def _hash_of_weights(run: Path) -> str:
    """Return the hash of the weights that the run is about: the averaged ones if it has them."""
    steps = saved_steps(run)
    if not steps:
        return ""
    folder = checkpoint_path(run, steps[-1])
    files = tensor_files(folder, "ema") or tensor_files(folder, "model")
    return file_sha256(files[0]) if len(files) == 1 else ""


def last_words(log: Path, code: int) -> str:
    """Return why training ended, from the last line that it printed."""
    try:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    said = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")
    if code < 0:
        return f"it was killed by signal {-code}"
    return said or (lines[-1] if lines else f"it ended with code {code}")
