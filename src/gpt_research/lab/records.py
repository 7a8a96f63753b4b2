"""What an experiment asks (`experiment.json`), and where and with what it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpt_research.base import plugins, startup
from gpt_research.base.errors import UserError
from gpt_research.base.files import write_json
from gpt_research.base.settings import by_flag
from gpt_research.config import TrainConfig
from gpt_research.training.inputs import TrainingData
from gpt_research.training.lineage import deciding_settings
from gpt_research.version import __version__

if TYPE_CHECKING:
    from gpt_research.lab.arms import Arm

EXPERIMENT = "experiment.json"
VERSION = 1


@dataclass
class Experiment:
    """What an experiment asks. All of it but the number of pairs is known before the first run."""

    folder: Path
    kind: str
    """ablation, sweep or lr-range."""
    command: str
    """The command line that repeats it."""
    base: str
    """The settings file of the base, as the user named it."""
    asked: Mapping[str, Any]
    """All that decides what is trained."""
    data: Mapping[str, str]
    """Folder and fingerprint of the data set."""
    most_pairs: int | None = None
    """If a budget decides the number of pairs, the number that it came to."""
    spent_s: float | None = None
    """The time for which it has worked, in all its sessions; None if it is not known."""

    @property
    def fingerprint(self) -> str:
        """A hash of what decides the result: settings, data and program."""
        decides = [self.asked, self.data["fingerprint"], code()]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def begin(self) -> None:
        """Write what is asked, or check that the folder asks the same.

        Raises:
            UserError: the folder holds another experiment, or its data set has changed.
        """
        path = self.folder / EXPERIMENT
        if not path.is_file():
            self._write()
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            asked, data, self.most_pairs = before["asked"], before["data"], before["most_pairs"]
            self.spent_s = before.get("spent_s")
            now = json.loads(json.dumps(self.asked))
            is_older = _complete(asked, now)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged ({error!r}). Name another folder with --out.") from None
        if data["fingerprint"] != self.data["fingerprint"]:
            raise UserError(
                f"The data set {self.data['folder']} is not the one that {self.folder} began with "
                f"({data['fingerprint'][:12]} -> {self.data['fingerprint'][:12]}), so its runs cannot be compared with "
                "new ones. Put the old data back, or name another folder with --out."
            )
        if asked != now:
            names = _differences(asked, now)
            raise UserError(
                f"{self.folder} holds another experiment (another {', '.join(names)}). Start the command that it was "
                f"begun with ({before['command']}), or name another folder with --out."
            )
        if is_older:
            self._write()

    def keep_most_pairs(self, pairs: int) -> None:
        self.most_pairs = pairs
        self._write()

    def keep_spent(self, seconds: float) -> None:
        self.spent_s = seconds
        self._write()

    def seconds_of_sessions(self, workers: int) -> float:
        """Return the time for which the experiment has worked; where no session has noted it, that
        of its runs, shared among the workers.
        """
        if self.spent_s is not None:
            return self.spent_s
        records = [*self.folder.glob("*/seed-*.json"), *self.folder.glob("*/tuning/*/seed-*.json")]
        return sum(map(_seconds_in, records)) / workers

    def _write(self) -> None:
        names = ("kind", "command", "base", "asked", "data", "most_pairs", "spent_s")
        write_json(self.folder / EXPERIMENT, {"version": VERSION, **{name: getattr(self, name) for name in names}})


def _seconds_in(record: Path) -> float:
    """Return the time that the record of a run names; 0 if it is damaged, which is said where the
    run is needed.
    """
    try:
        return float(json.loads(record.read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def asked_of(arms: Sequence[Arm], **others: Any) -> dict[str, Any]:
    """Return all that decides what an experiment trains, and how its runs are judged."""
    settings = {arm.name: {**deciding_settings(arm.config), **_measured_by(arm.config)} for arm in arms}
    return {"arms": settings, **others, "plugins": plugins.hashes()}


def _measured_by(config: TrainConfig) -> dict[str, Any]:
    """Return what a run learns nothing from, but what moves its numbers: the validation tokens, and
    the kind of the device.
    """
    device = startup.best_device() if config.device == "auto" else config.device
    return {"eval_tokens": config.eval_tokens, "device": device.partition(":")[0]}


def _complete(asked: dict[str, Any], now: Mapping[str, Any]) -> bool:
    """Give the question of a folder what earlier versions did not note, as it is now; return
    whether it lacked something.
    """
    lacked = False
    for name, settings in asked["arms"].items():
        for field in now["arms"].get(name, {}).keys() & {"eval_tokens", "device"} - settings.keys():
            settings[field], lacked = now["arms"][name][field], True
    return lacked


def _differences(asked: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two questions, by name: settings, if the arms are the same."""
    names = {name for name in {*asked, *now} if asked.get(name) != now.get(name)}
    if names == {"arms"} and asked["arms"].keys() == now["arms"].keys():
        pairs = [(by_flag(asked["arms"][arm]), by_flag(now["arms"][arm])) for arm in asked["arms"]]
        return sorted({name for a, b in pairs for name in {*a, *b} if a.get(name) != b.get(name)})
    return sorted(names)


def data_of(config: TrainConfig) -> dict[str, str]:
    """Return folder and fingerprint of a data set.

    Raises:
        UserError: it cannot be read, or has no validation split.
    """
    data = TrainingData.open(config)
    if not data.validated:
        raise UserError(
            f"The data set {config.data} has no validation split, so nothing can be compared. Preprocess it with "
            "--val_fraction 0.05."
        )
    return {"folder": config.data, "fingerprint": data.fingerprint}


def code() -> str:
    return f"gpt-research {__version__}, torch {torch.__version__}"
