"""The files of an ablation: what it asks (`experiment.json`) and what it found (`result.json`)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpt_research.base import machine, plugins
from gpt_research.base.errors import UserError
from gpt_research.base.files import write_json
from gpt_research.base.settings import by_flag
from gpt_research.config import TrainConfig
from gpt_research.lab.findings import in_words
from gpt_research.model.gpt import GPT
from gpt_research.training.inputs import TrainingData
from gpt_research.training.lineage import deciding_settings
from gpt_research.version import __version__

if TYPE_CHECKING:
    from gpt_research.lab.ablation import Ablation, Finding
    from gpt_research.lab.arms import Arm
    from gpt_research.lab.horizons import Ratio
    from gpt_research.lab.sequential import Interval

EXPERIMENT, RESULT = "experiment.json", "result.json"
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
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error!r}). Name another folder with --out.") from None
        now = json.loads(json.dumps(self.asked))
        if data["fingerprint"] != self.data["fingerprint"]:
            raise UserError(
                f"The data set {self.data['folder']} is not the one that {self.folder} began with "
                f"({data['fingerprint'][:12]} -> {self.data['fingerprint'][:12]}), so its runs cannot be compared with new "
                "ones. Put the old data back, or name another folder with --out."
            )
        if asked != now:
            names = sorted(name for name in {*asked, *now} if asked.get(name) != now.get(name))
            raise UserError(
                f"{self.folder} holds another experiment (another {', '.join(names)}). Start the command that it was "
                f"begun with ({before['command']}), or name another folder with --out."
            )

    def keep_most_pairs(self, pairs: int) -> None:
        self.most_pairs = pairs
        self._write()

    def _write(self) -> None:
        written = {name: getattr(self, name) for name in ("kind", "command", "base", "asked", "data", "most_pairs")}
        write_json(self.folder / EXPERIMENT, {"version": VERSION, **written})


def asked_of(arms: Sequence[Arm], **others: Any) -> dict[str, Any]:
    """Return all that decides what an experiment trains."""
    settings = {arm.name: deciding_settings(arm.config) for arm in arms}
    return {"arms": settings, **others, "plugins": plugins.hashes()}


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


def versions() -> dict[str, str]:
    return {"gpt-research": __version__, "torch": torch.__version__, "python": platform.python_version()}


def about_the_machine() -> dict[str, Any]:
    cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu": machine.cpu_name() or platform.processor(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "memory_gb": round(machine.total_memory() / 1e9, 1),
        **({"cards": ", ".join(cards)} if cards else {}),
        "system": platform.platform(),
    }


def write_result(ablation: Ablation) -> None:
    """Write `result.json`, which reports read."""
    experiment, most_pairs = ablation.experiment, ablation.most_pairs or 0
    result = {
        "version": VERSION,
        "kind": experiment.kind,
        "command": experiment.command,
        "base": experiment.base,
        "fingerprint": experiment.fingerprint,
        "data": experiment.data,
        "most_pairs": most_pairs,
        "confidence": 0.95,
        "machine": about_the_machine(),
        "versions": versions(),
        "arms": [_arm(arm, ablation) for arm in ablation.arms],
        "comparisons": [c for finding in ablation.findings for c in _comparisons(finding, most_pairs)],
        "sentences": [sentence for finding in ablation.findings for sentence in sentences(finding, most_pairs)],
    }
    write_json(ablation.folder / RESULT, plain(result))


def sentences(finding: Finding, most_pairs: int) -> list[str]:
    """Return what is known of an arm, in sentences."""
    said = [in_words(finding.comparison, most_pairs)]
    arm = finding.comparison.arm
    if finding.comparison.verdict not in ("better", "worse", "not decided"):
        return said
    if finding.tokens is not None:
        said.append(f"{arm}: the base's tokens over its own, at equal loss: {finding.tokens.in_words()}.")
    if finding.time is not None:
        said.append(f"{arm}: the base's time over its own, at equal loss: {finding.time.in_words()}.")
    return said


def _arm(arm: Arm, ablation: Ablation) -> dict[str, Any]:
    bracket = ablation.tuning.get(arm.name)
    tuned = None
    if bracket is not None:
        tried = [
            {"value": value, "bits_per_byte": bits, "runs": [t.name for t in ablation._tuning_trials(arm, value)]}
            for value, bits in sorted(bracket.scores.items())
        ]
        tuned = {"setting": ablation.question.tune, "tried": tried, "chosen": bracket.best}
    runs = [dataclasses.asdict(run) for _, run in sorted(ablation.outcomes[arm.name].items())]
    settings = {name: value for name, value in by_flag(deciding_settings(arm.config)).items() if name != "seed"}
    return {
        "name": arm.name,
        "changes": dict(arm.changes),
        "settings": settings,
        "parameters": parameters(arm.config),
        "tuned": tuned,
        "runs": runs,
    }


def parameters(config: TrainConfig) -> int:
    """Return the number of parameters of a run's model."""
    with torch.device("meta"):
        return GPT(TrainingData.open(config).model).num_parameters()


def _comparisons(finding: Finding, most_pairs: int) -> list[dict[str, Any]]:
    found = []
    for comparison in (finding.comparison, *finding.shorter):
        main = comparison is finding.comparison
        fields = {field.name: getattr(comparison, field.name) for field in dataclasses.fields(comparison)}
        found.append(
            {
                **fields,
                "bits_per_byte": _interval(comparison.bits_per_byte),
                "loss": _interval(comparison.loss),
                "tokens_ratio": _ratio(finding.tokens) if main else None,
                "time_ratio": _ratio(finding.time) if main else None,
                "sentence": in_words(comparison, most_pairs),
            }
        )
    return found


def _interval(found: Interval | None) -> dict[str, float] | None:
    return None if found is None else {"mean": found.mean, "low": found.low, "high": found.high}


def _ratio(ratio: Ratio | None) -> dict[str, Any] | None:
    return None if ratio is None else dataclasses.asdict(ratio)


def plain(value: Any) -> Any:
    """Return a value for JSON, which has no infinity and no nan."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value
