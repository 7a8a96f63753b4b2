"""The result of an experiment (`result.json`), which reports read, and its sentences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from gpt_research.base.files import write_json
from gpt_research.base.settings import by_flag
from gpt_research.base.this_machine import about_the_machine, versions
from gpt_research.lab.findings import Finding, in_words
from gpt_research.lab.records import VERSION
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.inputs import TrainingData
from gpt_research.training.lineage import deciding_settings

if TYPE_CHECKING:
    from gpt_research.lab.ablation import Ablation
    from gpt_research.lab.arms import Arm
    from gpt_research.lab.horizons import Ratio
    from gpt_research.lab.lr_range import RangeTest
    from gpt_research.lab.records import Experiment
    from gpt_research.lab.sequential import Interval
    from gpt_research.lab.sweep import Axis, Point

RESULT = "result.json"


def write_result(ablation: Ablation) -> None:
    """Write `result.json`, which reports read."""
    most_pairs = ablation.most_pairs or 0
    vocab_size = TrainingData.open(ablation.arms[0].config).model.vocab_size  # all arms read the same data
    result = {
        **head(ablation.experiment),
        "most_pairs": most_pairs,
        "confidence": 0.95,
        "arms": [_arm(arm, ablation, vocab_size) for arm in ablation.arms],
        "comparisons": [c for finding in ablation.findings for c in _comparisons(finding, most_pairs)],
        "sentences": [sentence for finding in ablation.findings for sentence in sentences(finding, most_pairs)],
    }
    write_json(ablation.folder / RESULT, plain(result))


def write_sweep(experiment: Experiment, axes: Sequence[Axis], points: Sequence[Point], best: Any) -> None:
    """Write the `result.json` of a sweep.

    Args:
        best: the optimum of each setting whose values are numbers.
    """
    lowest = min(points, key=lambda point: point.bits_per_byte)
    optimum = {name: dataclasses.asdict(found) for name, found in best.items()}
    result = {
        **head(experiment),
        "over": {axis.setting: list(axis.values) for axis in axes},
        "points": [
            {"settings": point.settings, "runs": [dataclasses.asdict(run) for run in point.runs]} for point in points
        ],
        "best": {"settings": lowest.settings, "bits_per_byte": lowest.bits_per_byte},
        "optimum": optimum or None,
    }
    write_json(experiment.folder / RESULT, plain(result))


def write_range_test(experiment: Experiment, test: RangeTest) -> None:
    """Write the `result.json` of a learning-rate range test."""
    curve = [
        {"learning_rate": rate, "loss": loss, "smoothed": smooth}
        for rate, loss, smooth in zip(test.rates, test.losses, test.smoothed, strict=True)
    ]
    result = {**head(experiment), "curve": curve, "turn": test.turn, "suggestion": test.suggestion}
    result |= {"why": test.why} if test.why else {}
    write_json(experiment.folder / RESULT, plain(result))


def head(experiment: Experiment) -> dict[str, Any]:
    """Return what every result begins with."""
    return {
        "version": VERSION,
        "kind": experiment.kind,
        "command": experiment.command,
        "base": experiment.base,
        "fingerprint": experiment.fingerprint,
        "data": experiment.data,
        "machine": about_the_machine(),
        "versions": versions(),
    }


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


def _arm(arm: Arm, ablation: Ablation, vocab_size: int) -> dict[str, Any]:
    bracket = ablation.tuning.get(arm.name)
    tuned = None
    if bracket is not None:
        tried = [
            {"value": value, "bits_per_byte": bits, "runs": [t.name for t in ablation._tuning_trials(arm, value)]}
            for value, bits in sorted(bracket.scores.items())
        ]
        tuned = {"setting": ablation.question.tune, "tried": tried, "chosen": bracket.best}
    runs = [dataclasses.asdict(run) for run in ablation.counted(arm.name).values()]
    settings = {name: value for name, value in by_flag(deciding_settings(arm.config)).items() if name != "seed"}
    return {
        "name": arm.name,
        "changes": dict(arm.changes),
        "settings": settings,
        "parameters": _parameters(dataclasses.replace(arm.config.model, vocab_size=vocab_size)),
        "tuned": tuned,
        "runs": runs,
    }


def _parameters(shape: GPTConfig) -> int:
    with torch.device("meta"):  # shapes only
        return GPT(shape).num_parameters()


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
