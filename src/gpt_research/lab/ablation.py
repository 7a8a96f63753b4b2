"""An ablation: arms trained in pairs with the base, until the pairs say something.

    parse -> tune each arm -> [train a pair, look at the intervals] -> result.json

All that is known lies in the folder, so an ablation that was stopped goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.base.settings import by_flag, to_dict
from gpt_research.estimate.time_estimate import in_words as time_in_words
from gpt_research.lab.arms import BASE, Arm, at_horizon, check_may_differ
from gpt_research.lab.findings import Finding, compare_arms, in_words
from gpt_research.lab.horizons import ratios
from gpt_research.lab.outcome import Outcome
from gpt_research.lab.records import Experiment
from gpt_research.lab.trials import Trial
from gpt_research.lab.tuning import Bracket
from gpt_research.lab.workers import Workers
from gpt_research.training.metrics import read_metrics

MOST_PAIRS = 20
"""Pairs that a time budget may hold at most; a difference that they do not show is very small."""
FEWEST_PAIRS = 2
TUNING_SEEDS_FROM = 1000
"""Distance of the seeds of tuning from those of the comparison."""
LOOKS_AT_SPEED_AFTER_S = 20.0


@dataclass(frozen=True)
class Question:
    """What an ablation is to answer, and what it may cost."""

    arms: Sequence[Arm]
    """The base first."""
    pairs: int | None
    """The largest number of pairs; None: as many as the budget holds."""
    budget_s: float | None
    """The longest time; None: no limit."""
    horizons: Sequence[float]
    """Lengths of the runs as shares of the base's steps, the longest (1) last."""
    tune: str
    """The setting that is tuned for each arm; empty: none."""
    tune_seeds: int = 1
    all_pairs: bool = False
    """Train every pair of every arm, because the size of an effect is asked for, not its sign."""


class Ablation:
    """One ablation in its folder."""

    def __init__(
        self,
        question: Question,
        folder: Path,
        workers: Workers,
        experiment: Experiment,
        tell: Callable[[str], None],
        publish: Callable[[Ablation], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without a run.

        Args:
            tell: takes a line for the user.
            publish: called after each look, to write what is known.
            clock: returns the time in seconds.
        """
        self.question, self.folder, self.workers = question, folder, workers
        self.experiment, self.tell, self.publish, self.clock = experiment, tell, publish, clock
        self.arms = list(question.arms)
        self.first_seed = self.arms[0].config.seed
        self.tuning: dict[str, Bracket] = {}
        self.outcomes: dict[str, dict[tuple[int, float], Outcome]] = {arm.name: {} for arm in self.arms}
        self.findings: list[Finding] = []
        self._pairs_of = {arm.name: 0 for arm in self.arms}
        """Pairs that the finding of each arm is made from. A run may end before its pair is looked
        at, and what a look says must not depend on which runs were quick."""
        self.most_pairs = experiment.most_pairs or question.pairs
        self._session_began = clock()
        self._spent_before = experiment.seconds_of_sessions(workers.count)
        self._begun: dict[str, float] = {}
        """When each run of this session was started, by its name."""
        self._took: dict[str, float] = {}
        """How long each run of this session took, its start included."""
        self._looked_at_speed = 0.0

    def run(self) -> list[Finding]:
        """Tune, train pairs and look, until all arms are settled or the budget is spent.

        Raises:
            UserError: a run could not be trained, or the budget holds no pair.
        """
        if self.question.tune:
            self._tune()
        looked = 0
        while self._goes_on(looked):
            if self._is_complete(looked):
                looked += 1
                self._look(looked)
                continue
            while self.workers.has_room and (trial := self._next(looked)) is not None:
                self._begun[trial.name] = self.clock()
                self.workers.start(trial)
            self._take(*self.workers.finished(self._check_budget))
        self.workers.drop(lambda _: True)
        return self.findings

    # ------------------------------------------------------------------ pairs

    def _goes_on(self, looked: int) -> bool:
        if self.most_pairs is not None and looked >= self.most_pairs:
            return False
        if looked and not self._wanted:
            return False
        if looked == 0 or self._is_complete(looked) or self.question.budget_s is None:
            return True
        return self._spent() + self._seconds_until(looked) <= self.question.budget_s

    @property
    def _unsettled(self) -> set[str]:
        return {f.comparison.arm for f in self.findings if not f.comparison.is_settled}

    @property
    def _wanted(self) -> set[str]:
        """The arms that get more pairs."""
        every_arm = {arm.name for arm in self.arms[1:]}
        return every_arm if self.question.all_pairs or not self.findings else self._unsettled

    def _trials(self, pair: int) -> list[Trial]:
        """Return the runs of a pair, counted from 0."""
        seed = self.first_seed + pair
        arms = [arm for arm in self.arms if arm.name == BASE or arm.name in self._wanted]
        # Whatever changes slowly on the machine meets base and arms in turn.
        arms = arms if pair % 2 == 0 else arms[::-1]
        # The longest runs come first, because nothing is left to run beside them at the end.
        lengths = sorted(self.question.horizons, reverse=True)
        return [Trial(arm, seed, length, self.folder) for length in lengths for arm in arms]

    def _is_complete(self, pair: int) -> bool:
        for trial in self._trials(pair):
            known = self.outcomes[trial.arm.name]
            if (trial.seed, trial.horizon) not in known:
                if (outcome := trial.outcome()) is None:
                    return False
                known[trial.seed, trial.horizon] = outcome
        return True

    def _next(self, looked: int) -> Trial | None:
        """Return the next run to start: of this pair, or of the next one if a worker would idle."""
        running = {trial.name for trial in self.workers.running}
        last = looked + 1 if self.most_pairs is None else min(looked + 2, self.most_pairs)
        for pair in range(looked, last):
            for trial in self._trials(pair):
                done = (trial.seed, trial.horizon) in self.outcomes[trial.arm.name]
                if not done and trial.name not in running:
                    return trial
        return None

    def _take(self, trial: Trial, outcome: Outcome) -> None:
        self.outcomes[trial.arm.name][trial.seed, trial.horizon] = outcome
        self._took[trial.name] = self.clock() - self._begun[trial.name]
        self.experiment.keep_spent(self._spent())
        what = f"{outcome.bits_per_byte:.4f} bits per byte" if outcome.bits_per_byte is not None else outcome.why
        self.tell(f"{trial.name}: {what}, {time_in_words(outcome.seconds)}")

    def _look(self, pairs: int) -> None:
        """Look at all pairs so far, say what they say, and write the result."""
        if self.most_pairs is None:
            self.most_pairs = self._pairs_in_budget()
            self.experiment.keep_most_pairs(self.most_pairs)
        settled = set() if self.question.all_pairs else {f.comparison.arm for f in self.findings} - self._unsettled
        self._pairs_of |= dict.fromkeys((BASE, *self._wanted), pairs)
        self.findings = self._findings()
        self.publish(self)
        for finding in self.findings:
            if finding.comparison.arm not in settled:
                self.tell(f"pair {pairs} of at most {self.most_pairs}: {in_words(finding.comparison, self.most_pairs)}")
        self.workers.drop(lambda trial: trial.arm.name != BASE and trial.arm.name not in self._wanted)

    def _findings(self) -> list[Finding]:
        assert self.most_pairs is not None
        by_length = {
            length: compare_arms(
                self._at(BASE, length), {arm.name: self._at(arm.name, length) for arm in self.arms[1:]}, self.most_pairs
            )
            for length in self.question.horizons
        }
        found = []
        for index, arm in enumerate(self.arms[1:]):
            tokens, seconds = None, None
            if len(by_length) > 1:
                tokens, seconds = ratios(self._by_seed(BASE), self._by_seed(arm.name), self.most_pairs)
            shorter = [by_length[length][index] for length in self.question.horizons[:-1]]
            found.append(Finding(by_length[self.question.horizons[-1]][index], shorter, tokens, seconds))
        return found

    def counted(self, arm: str) -> dict[tuple[int, float], Outcome]:
        """Return the outcomes of an arm that its finding is made from, by seed and length."""
        end = self.first_seed + self._pairs_of[arm]
        return {key: run for key, run in sorted(self.outcomes[arm].items()) if key[0] < end}

    def _at(self, arm: str, length: float) -> dict[int, Outcome]:
        return {seed: run for (seed, horizon), run in self.counted(arm).items() if horizon == length}

    def _by_seed(self, arm: str) -> dict[int, dict[float, Outcome]]:
        found: dict[int, dict[float, Outcome]] = {}
        for (seed, length), run in self.counted(arm).items():
            found.setdefault(seed, {})[length] = run
        return found

    # ----------------------------------------------------------------- budget

    def _spent(self) -> float:
        """Return the seconds that the experiment has worked, in all its sessions."""
        return self._spent_before + self.clock() - self._session_began

    def _seconds_of(self, trial: Trial) -> float:
        """Return the time of a run, as the first pair took it."""
        first = replace(trial, seed=self.first_seed)
        run = self.outcomes[trial.arm.name][first.seed, first.horizon]
        return max(run.seconds, self._took.get(first.name, 0.0))

    def _seconds_of_pair(self) -> float:
        """Return the time for which the workers have a pair, if pairs follow each other."""
        trials = self._trials(0)
        # A worker that the pair does not need begins the next one, but none after that.
        return sum(self._seconds_of(trial) for trial in trials) / min(self.workers.count, 2 * len(trials))

    def _seconds_until(self, pair: int) -> float:
        """Return the time until all runs of a pair are done, of which some may be under way."""
        running = {trial.name for trial in self.workers.running}
        left = [0.0]
        for trial in self._trials(pair):
            if (trial.seed, trial.horizon) not in self.outcomes[trial.arm.name]:
                passed = self.clock() - self._begun[trial.name] if trial.name in running else 0.0
                left.append(max(0.0, self._seconds_of(trial) - passed))
        return max(*left, sum(left) / self.workers.count)

    def _pairs_in_budget(self) -> int:
        assert self.question.budget_s is not None
        # Beside the last pair no other one is under way, so it may take longer.
        alone = self._seconds_until(1)
        left = self.question.budget_s - self._spent() - alone
        if left < 0:
            raise self._too_small(alone)
        return min(FEWEST_PAIRS + int(left / max(self._seconds_of_pair(), 1e-9)), MOST_PAIRS)

    def _check_budget(self) -> None:
        """Stop soon if the budget does not hold one pair, before a whole run was waited for."""
        now = self.clock()
        if self.question.budget_s is None or any(self.outcomes.values()) or now - self._looked_at_speed < 5:
            return
        self._looked_at_speed = now
        for trial in self.workers.running:
            lines = [line for line in read_metrics(trial.run) if line.get("elapsed_s")]
            if trial.group or not lines or lines[-1]["elapsed_s"] < LOOKS_AT_SPEED_AFTER_S:
                continue
            tokens_per_s = lines[-1]["step"] * trial.config.tokens_per_step / lines[-1]["elapsed_s"]
            of_runs = [t.config.max_steps * t.config.tokens_per_step for t in self._trials(0)]
            seconds = max(*of_runs, sum(of_runs) / self.workers.count) / tokens_per_s
            if seconds > self.question.budget_s:
                raise self._too_small(seconds)

    def _too_small(self, seconds: float) -> UserError:
        assert self.question.budget_s is not None
        return UserError(
            f"budget is {time_in_words(self.question.budget_s)}, but one pair of runs takes about "
            f"{time_in_words(seconds)} here, and an interval needs {FEWEST_PAIRS} pairs at least. Raise --budget, or "
            "take shorter runs with --set max_steps=N."
        )

    # ----------------------------------------------------------------- tuning

    def _tune(self) -> None:
        """Give each arm its own best value of the setting that is tuned."""
        setting = self.question.tune
        self.tuning = {arm.name: Bracket(float(_value(arm, setting))) for arm in self.arms}
        while True:
            trials = [trial for arm in self.arms for value in self.tuning[arm.name].wanted()
                      for trial in self._tuning_trials(arm, value)]  # fmt: skip
            if not trials:
                break
            for trial, outcome in self.workers.all_of(trials):
                what = "diverged" if outcome.bits_per_byte is None else f"{outcome.bits_per_byte:.4f} bits per byte"
                self.tell(f"tuning {trial.name}: {what}")
                self.experiment.keep_spent(self._spent())
            for arm in self.arms:
                bracket = self.tuning[arm.name]
                for value in bracket.wanted():
                    bracket.scores[value] = self._score(arm, value)
        for index, arm in enumerate(self.arms):
            bracket = self.tuning[arm.name]
            if bracket.scores[bracket.best] == float("inf"):
                raise UserError(f"All runs of {arm.name} diverged while {setting} was tuned. Give it a lower start.")
            self.arms[index] = arm.with_setting(setting, bracket.best)
            edge = "" if bracket.is_bracketed else ", the end of what was tried"
            self.tell(f"{arm.name}: {setting} = {bracket.best:g}{edge}")

    def _tuning_trials(self, arm: Arm, value: float) -> list[Trial]:
        setting, first = self.question.tune, self.first_seed + TUNING_SEEDS_FROM
        tuned = arm.with_setting(setting, value)
        group = f"tuning/{setting}={value:g}"
        return [Trial(tuned, first + i, 1.0, self.folder, group) for i in range(self.question.tune_seeds)]

    def _score(self, arm: Arm, value: float) -> float:
        """Return the mean bits per byte of a value; infinite if a run diverged."""
        bits = []
        for trial in self._tuning_trials(arm, value):
            outcome = trial.outcome()
            assert outcome is not None
            bits.append(float("inf") if outcome.bits_per_byte is None else outcome.bits_per_byte)
        return sum(bits) / len(bits)


def _value(arm: Arm, setting: str) -> float:
    """Return the number that an arm gives a setting.

    Raises:
        UserError: it has no such setting, it is no number above 0, or all runs have it in common.
    """
    check_may_differ(setting, f"--tune {setting}")
    value = by_flag(to_dict(arm.config)).get(setting)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise UserError(f"tune is {setting!r}, but it must be a setting whose value is a number above 0.")
    if setting in ("max_steps", "tokens_per_step"):
        raise UserError(f"tune is {setting!r}, but its values read different numbers of tokens. Tune another setting.")
    return float(value)


def check_horizons(arms: Sequence[Arm], horizons: Sequence[float]) -> None:
    """Refuse lengths at which some arm cannot be trained.

    Raises:
        UserError: a length is no share, or two lengths come to the same number of steps.
    """
    for length in horizons:
        if not 0 < length <= 1:
            raise UserError(f"horizons holds {length:g}, but each must be above 0 and at most 1.")
    for arm in arms:
        steps = [at_horizon(arm.config, length, 0, Path("run")).max_steps for length in horizons]
        if len(set(steps)) < len(steps):
            raise UserError(f"Two of the horizons {list(horizons)} come to the same number of steps of {arm.name}.")
