"""`gpt-research lr-range BASE.yaml`: one run with a rising learning rate, and what it suggests."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from gpt_research.base import hints
from gpt_research.base.errors import require


@dataclass(frozen=True)
class LrRangeCommand:
    """Let the learning rate rise, and see where the loss turns."""

    base: str = ""
    """Settings file of the recipe, or the name of a preset."""
    low: float = 1e-5
    """The first learning rate."""
    high: float = 1.0
    """The last learning rate."""
    steps: int = 300
    """Steps from the first to the last."""
    set: list[str] = field(default_factory=list)
    """SETTING=VALUE for the run; give it again for more."""
    out: str = ""
    """Folder of the experiment. Default: runs/lr-range- and the name of the base."""

    def __post_init__(self) -> None:
        require(self.base != "", "base", self.base, "a settings file or a preset: lr-range BASE.yaml")
        require(0 < self.low < math.inf, "low", self.low, "a number above 0")
        require(self.low < self.high < math.inf, "high", self.high, f"a number above low ({self.low:g})")
        require(20 <= self.steps <= 1_000_000, "steps", self.steps, "20 or more")


def run(command: LrRangeCommand) -> int:
    """Train one run, draw it and print the suggestion; return the exit code."""
    from rich.console import Console

    from gpt_research.base import stopping
    from gpt_research.base.locks import take_lock
    from gpt_research.cli.recipe import base_of, check_recipe
    from gpt_research.lab.lr_range import draw, read_range_test, rising
    from gpt_research.lab.records import Experiment, asked_of, data_of
    from gpt_research.lab.results import RESULT, write_range_test
    from gpt_research.lab.trials import Trial
    from gpt_research.lab.workers import Workers, usual_workers
    from gpt_research.report.write import write_report

    base = base_of(command.base, command.set)
    arm = rising(base, command.low, command.high, command.steps)
    check_recipe(arm.config)
    folder = Path(command.out or f"runs/lr-range-{Path(command.base).stem}")
    folder.mkdir(parents=True, exist_ok=True)
    ends = ("--low", command.low, "--high", command.high, "--steps", command.steps)
    repeat = hints.command("lr-range", command.base, *ends, *_set(command), "--out", folder)
    experiment = Experiment(folder, "lr-range", repeat, command.base, asked_of([arm]), data_of(base))
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with take_lock(folder, "owner.json"), stopping.advising(f"Go on with: {repeat}"):
        experiment.begin()
        _, cards = usual_workers(base, 1)
        trial = Trial(arm, base.seed, 1.0, folder)
        console.print(f"Training {command.steps} steps ...")
        with Workers(1, cards=cards) as workers:
            for _ in workers.all_of([trial]):
                pass
        test = read_range_test(trial.run, command.steps)
        write_range_test(experiment, test)
        draw(test, folder / "lr_range.png")
    if test.turn is None:
        print(f"No turn was seen, so no learning rate is suggested. {test.why} Name another folder with --out.")
    else:
        print(f"The loss turns at a learning rate of {test.turn:.2g}. Suggestion: learning_rate {test.suggestion:g}")
        print("It is a first guess for a sweep: the best rate of a long run is often lower.")
    print(f"Curve: {folder / 'lr_range.png'}")
    page = write_report([folder], notice=lambda text: console.print(text, markup=False))
    print(f"Result: {folder / RESULT}\nReport: {page}")
    return 0


def _set(command: LrRangeCommand) -> list[str]:
    return [word for text in command.set for word in ("--set", text)]
