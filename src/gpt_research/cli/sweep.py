"""`gpt-research sweep BASE.yaml --over SETTING=LOW..HIGH`: find the best value of a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpt_research.base import hints
from gpt_research.base.errors import require

if TYPE_CHECKING:
    from rich.table import Table

    from gpt_research.lab.sweep import Axis, Optimum, Point


@dataclass(frozen=True)
class SweepCommand:
    """Train a recipe with several values of one or more settings."""

    base: str = ""
    """Settings file of the recipe, or the name of a preset."""
    over: list[str] = field(default_factory=list)
    """SETTING=LOW..HIGH (values of equal ratio) or SETTING=VALUE,VALUE,...; give it again for more
    settings, and all combinations are trained."""
    points: int = 5
    """Values of each range."""
    seeds: int = 1
    """Runs of each combination; two or more give the optimum an interval."""
    sampler: Literal["grid", "optuna"] = "grid"
    """grid: all combinations. optuna: --trials combinations, each chosen by the results of those
    before it."""
    trials: int = 20
    """Combinations that optuna may try."""
    set: list[str] = field(default_factory=list)
    """SETTING=VALUE for all runs; give it again for more."""
    out: str = ""
    """Folder of the experiment. Default: runs/sweep- and the name of the base."""
    workers: int = 0
    """Runs at the same time: of one thread each on a CPU, of one card each on GPUs. 0: as many as
    there are cores or cards."""
    keep_checkpoints: bool = False
    """Keep the last checkpoint of each run."""

    def __post_init__(self) -> None:
        require(self.base != "", "base", self.base, "a settings file or a preset: sweep BASE.yaml --over ...")
        require(bool(self.over), "over", self.over, "given at least once, such as --over learning_rate=1e-3..1e-2")
        for name, most in (("points", 100), ("seeds", 100), ("trials", 10_000)):
            least = 2 if name == "points" else 1
            require(least <= getattr(self, name) <= most, name, getattr(self, name), f"{least} to {most}")
        require(0 <= self.workers <= 1024, "workers", self.workers, "0 to 1024")
        rule = "1 if the sampler is optuna, which tries other values rather than other seeds"
        require(self.seeds == 1 or self.sampler == "grid", "seeds", self.seeds, rule)


def run(command: SweepCommand) -> int:
    """Train all points, and print them; return the exit code."""
    from rich.console import Console

    from gpt_research.base import stopping
    from gpt_research.base.locks import take_lock
    from gpt_research.cli.recipe import base_of, check_recipe
    from gpt_research.cli.tables import print_table
    from gpt_research.lab.arms import BASE, Arm
    from gpt_research.lab.records import Experiment, asked_of, data_of
    from gpt_research.lab.results import RESULT, write_sweep
    from gpt_research.lab.search import search
    from gpt_research.lab.sweep import grid, optima, parse_axis, point_arm, run_sweep
    from gpt_research.lab.workers import Workers, usual_workers
    from gpt_research.report.write import write_report

    base = base_of(command.base, command.set)
    axes = [parse_axis(text, command.points) for text in command.over]
    rule = "each setting once"
    require(len({axis.setting for axis in axes}) == len(axes), "over", command.over, rule)
    points = grid(axes)
    for settings in points:
        check_recipe(point_arm(base, settings).config)
    folder = Path(command.out or f"runs/sweep-{Path(command.base).stem}")
    folder.mkdir(parents=True, exist_ok=True)
    # More points, seeds or trials may be asked for later; what was trained stays. A search is over
    # the same settings.
    over = {axis.setting: [axis.low, axis.high] if axis.low else list(axis.values) for axis in axes}
    asked = asked_of([Arm(BASE, base, {})], sampler=command.sampler, over=over if command.sampler == "optuna" else None)
    repeat = _repeat(command, folder)
    experiment = Experiment(folder, "sweep", repeat, command.base, asked, data_of(base))
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with take_lock(folder, "owner.json"), stopping.advising(f"Go on with: {repeat}"):
        experiment.begin()
        count, cards = usual_workers(base, command.workers)
        with Workers(count, cards=cards, keep_checkpoints=command.keep_checkpoints) as workers:

            def tell(text: str) -> None:
                console.print(text, markup=False)

            if command.sampler == "optuna":
                found = search(base, axes, command.trials, folder, workers, tell)
            else:
                found = run_sweep(base, points, command.seeds, folder, workers, tell)
        best = optima(axes, found) if command.sampler == "grid" else {}
        write_sweep(experiment, axes, found, best)
    print_table(_table(axes, found))
    _say(found, best)
    page = write_report([folder], notice=lambda text: console.print(text, markup=False))
    print(f"Result: {folder / RESULT}\nReport: {page}")
    return 0


def _say(points: Sequence[Point], best: Mapping[str, Optimum]) -> None:

    lowest: Point = min(points, key=lambda point: point.bits_per_byte)
    named = ", ".join(f"{name}={value}" for name, value in lowest.settings.items())
    print(f"Best of what was tried: {named}, {lowest.bits_per_byte:.4f} bits per byte.")
    for name, optimum in best.items():
        if optimum.at_end:
            print(f"{name}: {optimum.value:g} is the end of what was tried; a better value may lie beyond it.")
        elif optimum.low is None:
            print(f"{name}: a parabola is lowest at {optimum.value:.3g}; --seeds 3 or more gives it an interval.")
        else:
            print(f"{name}: lowest at {optimum.value:.3g} (95%: {optimum.low:.3g} to {optimum.high:.3g}).")


def _table(axes: Sequence[Axis], points: Sequence[Point]) -> Table:
    from rich.table import Table

    table = Table(*(axis.setting for axis in axes))
    for title in ("runs", "bits per byte", "nats a token", "tokens/s"):
        table.add_column(title, justify="right")
    for point in sorted(points, key=lambda point: point.bits_per_byte):
        losses = [run.loss for run in point.runs if run.loss is not None]
        speeds = [run.tokens_per_s for run in point.runs if run.tokens_per_s]
        bits = point.bits_per_byte
        table.add_row(
            *(str(value) for value in point.settings.values()),
            str(len(point.runs)),
            "diverged" if bits == float("inf") else f"{bits:.4f}",
            f"{sum(losses) / len(losses):.4f}" if losses else "",
            f"{sum(speeds) / len(speeds):,.0f}" if speeds else "",
        )
    return table


def _repeat(command: SweepCommand, folder: Path) -> str:
    """Return the command line that asks the same."""
    words: list[object] = ["sweep", command.base]
    for flag, values in (("--over", command.over), ("--set", command.set)):
        for value in values:
            words += [flag, value]
    for name in ("points", "seeds", "sampler", "trials"):
        if getattr(command, name) != getattr(SweepCommand, name):
            words += [f"--{name}", getattr(command, name)]
    return hints.command(*words, "--out", folder)
