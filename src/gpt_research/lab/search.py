"""A search over settings by optuna, for sweeps whose grid would be too large.

Each point is suggested from the results of those before it. All points and results lie in the
folder, so a search that was stopped goes on with what it knows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.base.files import write_json
from gpt_research.config import TrainConfig
from gpt_research.lab.outcome import Outcome
from gpt_research.lab.sweep import Axis, Point, point_arm
from gpt_research.lab.trials import Trial

if TYPE_CHECKING:
    from gpt_research.lab.workers import Workers

POINTS = "points.json"


def search(
    base: TrainConfig,
    axes: Sequence[Axis],
    number: int,
    folder: Path,
    workers: Workers,
    tell: Callable[[str], None],
) -> list[Point]:
    """Train `number` points, each suggested by the results of those before it.

    Raises:
        UserError: optuna is not installed, or a run could not be trained.
    """
    try:
        import optuna
    except ImportError:
        raise UserError(
            f"sampler is optuna, which is not installed. Install it: {hints.install_package('optuna')}"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / POINTS
    known: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    # A worker that starts does not know what the others will find: constant_liar keeps their
    # places free. A search that goes on must not draw again what it drew before.
    seed, at_random = base.seed + len(known), max(4, number // 4)
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=at_random)
    study = optuna.create_study(sampler=sampler)
    waiting: dict[str, list[Any]] = {}
    """optuna's trials by the name of the run that they wait for; two may have the same values."""
    points: list[Point] = []
    for settings in known[:number]:
        study.enqueue_trial(settings)

    def ask() -> Trial:
        suggested = study.ask()
        settings = {axis.setting: _suggest(suggested, axis) for axis in axes}
        trial = Trial(point_arm(base, settings), base.seed, 1.0, folder)
        waiting.setdefault(trial.name, []).append(suggested)
        return trial

    def take(trial: Trial, outcome: Outcome) -> None:
        bits = outcome.bits_per_byte
        for suggested in waiting.pop(trial.name):
            state = optuna.trial.TrialState.FAIL if bits is None else optuna.trial.TrialState.COMPLETE
            study.tell(suggested, bits, state=state)
        points.append(Point(dict(trial.arm.changes), [outcome]))
        tell(f"{trial.name}: {outcome.why if bits is None else f'{bits:.4f} bits per byte'}")

    for count in range(number):
        trial = ask()
        if count >= len(known):
            known.append(dict(trial.arm.changes))
            write_json(path, known)
        if (outcome := trial.outcome()) is not None:
            take(trial, outcome)
        elif trial.name not in {running.name for running in workers.running}:
            workers.start(trial)
        while not workers.has_room:
            take(*workers.finished())
    while workers.running:
        take(*workers.finished())
    return points


def _suggest(trial: Any, axis: Axis) -> Any:
    if axis.low is not None and axis.high is not None:
        # Rounded, because the name of the run holds it and one would write it so.
        return float(f"{trial.suggest_float(axis.setting, axis.low, axis.high, log=True):.4g}")
    return trial.suggest_categorical(axis.setting, list(axis.values))
