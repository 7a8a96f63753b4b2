"""Workers that make outcomes up instead of training, so that experiments take no time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from gpt_research.base.files import write_json
from gpt_research.config import TrainConfig
from gpt_research.lab.ablation import Ablation, Question
from gpt_research.lab.arms import make_arms, tokens
from gpt_research.lab.outcome import Outcome
from gpt_research.lab.records import Experiment, asked_of
from gpt_research.lab.trials import Trial
from gpt_research.lab.workers import Workers
from gpt_research.model_config import GPTConfig

BASE = TrainConfig(
    model=GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=8), micro_batch=1, tokens_per_step=8, max_steps=100,
    warmup_steps=10, seed=1,
)  # fmt: skip
Loss = Callable[[Trial], float | None]
"""From a run to its bits per byte; None if it diverges."""


class MadeUpRuns(Workers):
    """Workers of which each run ends at once, on a clock of their own by which it took its time."""

    def __init__(self, loss: Loss, count: int = 2, seconds: float = 60.0, start_s: float = 0.0) -> None:
        super().__init__(count)
        self.loss, self.seconds, self.start_s = loss, seconds, start_s
        self.now = 0.0
        self.begun: list[str] = []
        self._waiting: list[Trial] = []
        self._ends: dict[str, float] = {}

    def clock(self) -> float:
        return self.now

    @property
    def has_room(self) -> bool:
        return len(self._waiting) < self.count

    @property
    def running(self) -> list[Trial]:
        return list(self._waiting)

    def start(self, trial: Trial) -> None:
        self.begun.append(trial.name)
        self._waiting.append(trial)
        self._ends[trial.name] = self.now + self.start_s + self.seconds * trial.horizon

    def finished(self, meanwhile: Callable[[], None] = lambda: None) -> tuple[Trial, Outcome]:
        trial = min(self._waiting, key=lambda trial: self._ends[trial.name])
        self._waiting.remove(trial)
        self.now = self._ends[trial.name]
        bits, config = self.loss(trial), trial.config
        outcome = Outcome(
            trial.seed, trial.horizon, trial.name, "done" if bits is not None else "diverged", "", config.max_steps,
            tokens(config), self.seconds * trial.horizon, 1000.0, None if bits is None else bits * 2, bits, {},
            f"{trial.name} {bits}",
        )  # fmt: skip
        trial.path(".json").parent.mkdir(parents=True, exist_ok=True)
        write_json(trial.path(".json"), dataclasses.asdict(outcome))
        return trial, outcome

    def drop(self, unwanted: Callable[[Trial], bool]) -> None:
        self._waiting = [trial for trial in self._waiting if not unwanted(trial)]


def ablation(
    folder: Path,
    workers: Workers,
    *changes: str,
    pairs: int | None = 8,
    budget_s: float | None = None,
    horizons: tuple[float, ...] = (1.0,),
    tune: str = "",
    fingerprint: str = "abc",
    base: TrainConfig = BASE,
    all_pairs: bool = False,
) -> Ablation:
    """Return an ablation in a folder, of which each look is only kept."""
    arms = make_arms(base, changes)
    asked = asked_of(arms, pairs=pairs, horizons=horizons, tune=tune)
    experiment = Experiment(
        folder, "ablation", "the command", "base.yaml", asked, {"folder": "d", "fingerprint": fingerprint}
    )
    experiment.begin()
    question = Question(arms, pairs, budget_s, horizons, tune, all_pairs=all_pairs)
    clock = workers.clock if isinstance(workers, MadeUpRuns) else time.monotonic
    return Ablation(question, folder, workers, experiment, lambda _: None, lambda _: None, clock)
