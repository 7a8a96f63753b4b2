"""`gpt-research ablate BASE.yaml --change ...`: train recipes in pairs, and say what differs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gpt_research.base import hints
from gpt_research.base.errors import require

if TYPE_CHECKING:
    from rich.table import Table

    from gpt_research.lab.findings import Finding

USUAL_PAIRS = 8
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class AblateCommand:
    """Compare changes of a recipe with it, by pairs of runs."""

    base: str = ""
    """Settings file of the recipe that all others are compared with, or the name of a preset."""
    change: list[str] = field(default_factory=list)
    """An arm: SETTING=VALUE, or several with commas, or "NAME: SETTING=VALUE,..."; give it again
    for more arms."""
    set: list[str] = field(default_factory=list)
    """SETTING=VALUE for all arms, the base too; give it again for more."""
    out: str = ""
    """Folder of the experiment. Default: runs/ablate- and the name of the base."""
    seeds: int | None = None
    """The largest number of pairs. Default: 8, or with --budget as many as fit, 20 at most."""
    all_pairs: bool = False
    """Train all pairs of every arm, even if an arm is settled before: for a table of how large the
    effects are."""
    budget: str = ""
    """The longest time, such as 30m, 2h or 1d; it is checked before each pair. Empty: no limit."""
    tune: str = ""
    """Setting that each arm gets its own best value of, on seeds of their own, such as
    learning_rate. Empty: none."""
    tune_seeds: int = 1
    """Seeds of each value that is tried for --tune."""
    horizons: str = "1"
    """Lengths of the runs, as shares of max_steps, such as 0.5,1: with several, tokens and time to
    the same loss are compared."""
    workers: int = 0
    """Runs at the same time: of one thread each on a CPU, of one card each on GPUs. 0: as many as
    there are cores or cards."""
    keep_checkpoints: bool = False
    """Keep the last checkpoint of each run; else only numbers, curves and samples are kept."""

    def __post_init__(self) -> None:
        require(self.base != "", "base", self.base, "a settings file or a preset: ablate BASE.yaml --change ...")
        rule = "given at least once, such as --change model.positions=rope"
        require(bool(self.change), "change", self.change, rule)
        require(self.seeds is None or 2 <= self.seeds <= 1000, "seeds", self.seeds, "2 to 1000")
        require(1 <= self.tune_seeds <= 100, "tune_seeds", self.tune_seeds, "1 to 100")
        require(0 <= self.workers <= 1024, "workers", self.workers, "0 to 1024")
        self.budget_s()
        self.lengths()

    def budget_s(self) -> float | None:
        """Return the budget in seconds, or None."""
        if not self.budget:
            return None
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", self.budget.strip())
        require(found is not None, "budget", self.budget, "a time such as 90s, 30m, 2h or 1d")
        assert found is not None
        return float(found[1]) * _SECONDS[found[2]]

    def lengths(self) -> list[float]:
        """Return the horizons, 1 among them."""
        try:
            lengths = {float(part) for part in self.horizons.split(",") if part.strip()}
        except ValueError:
            lengths = {math.nan}
        rule = "shares of max_steps above 0 and at most 1, with commas between them, such as 0.5,1"
        require(all(0 < length <= 1 for length in lengths), "horizons", self.horizons, rule)
        return sorted({*lengths, 1.0})


def run(command: AblateCommand) -> int:
    """Train and compare; return the exit code."""
    from rich.console import Console

    from gpt_research.base import stopping
    from gpt_research.base.locks import take_lock
    from gpt_research.cli.recipe import base_of, check_recipe
    from gpt_research.cli.tables import print_table
    from gpt_research.lab.ablation import Ablation, Question, check_horizons
    from gpt_research.lab.arms import make_arms
    from gpt_research.lab.records import Experiment, asked_of, data_of
    from gpt_research.lab.results import RESULT, sentences, write_result
    from gpt_research.lab.workers import Workers, usual_workers
    from gpt_research.report.write import write_report

    base = base_of(command.base, command.set)
    arms = make_arms(base, command.change)
    lengths = command.lengths()
    check_horizons(arms, lengths)
    for arm in arms:
        check_recipe(arm.config)
    pairs = command.seeds or (None if command.budget else USUAL_PAIRS)
    folder = Path(command.out or f"runs/ablate-{Path(command.base).stem}")
    folder.mkdir(parents=True, exist_ok=True)
    asked = asked_of(arms, pairs=pairs, horizons=lengths, tune=command.tune, tune_seeds=command.tune_seeds)
    experiment = Experiment(folder, "ablation", _repeat(command, folder), command.base, asked, data_of(base))
    question = Question(arms, pairs, command.budget_s(), lengths, command.tune, command.tune_seeds, command.all_pairs)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with take_lock(folder, "owner.json"), stopping.advising(f"Go on with: {experiment.command}"):
        experiment.begin()
        count, cards = usual_workers(base, command.workers)
        with Workers(count, cards=cards, keep_checkpoints=command.keep_checkpoints) as workers:
            ablation = Ablation(
                question, folder, workers, experiment, lambda text: console.print(text, markup=False), write_result
            )
            findings = ablation.run()
    print_table(_table(findings))
    for finding in findings:
        for sentence in sentences(finding, ablation.most_pairs or 0):
            print(sentence)
    page = write_report([folder], notice=lambda text: console.print(text, markup=False))
    print(f"Result: {folder / RESULT}\nReport: {page}")
    return 0


def _repeat(command: AblateCommand, folder: Path) -> str:
    """Return the command line that asks the same."""
    words: list[object] = ["ablate", command.base]
    for flag, values in (("--change", command.change), ("--set", command.set)):
        for value in values:
            words += [flag, value]
    words += ["--seeds", command.seeds] if command.seeds else []
    words += ["--all_pairs"] if command.all_pairs else []
    words += ["--budget", command.budget] if command.budget else []
    words += ["--tune", command.tune] if command.tune else []
    words += ["--tune_seeds", command.tune_seeds] if command.tune_seeds != 1 else []
    words += ["--horizons", command.horizons] if command.horizons != "1" else []
    return hints.command(*words, "--out", folder)


def _table(findings: Sequence[Finding]) -> Table:
    from rich.table import Table

    table = Table("arm", "pairs", "bits per byte", "95% interval", "nats a token", "verdict", "after Holm")
    for finding in findings:
        found = finding.comparison
        bits, nats = found.bits_per_byte, found.loss
        table.add_row(
            found.arm,
            str(found.pairs),
            f"{bits.mean:+.4f}" if bits else "",
            f"{bits.low:+.4f} to {bits.high:+.4f}" if bits and math.isfinite(bits.half_width) else "",
            f"{nats.mean:+.4f}" if nats else "",
            found.verdict,
            found.holm,
        )
    return table
