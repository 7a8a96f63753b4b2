"""What pairs of runs say about an arm: its difference from the base, an interval, and a verdict.

A pair is a run of the arm and a run of the base with one seed: the same batches in the same order,
and the same initial weights wherever the two have a parameter of one name and shape. The seed moves
both in the same direction, so their difference has less noise than either.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gpt_research.lab.sequential import ERROR, Interval, interval, smallest_visible

if TYPE_CHECKING:
    from gpt_research.lab.horizons import Ratio
    from gpt_research.lab.outcome import Outcome

Verdict = Literal["better", "worse", "not decided", "equal to the bit", "diverged", "base diverged"]


@dataclass(frozen=True)
class Comparison:
    """An arm beside the base, at one length of the runs."""

    arm: str
    horizon: float
    pairs: int
    verdict: Verdict
    """By the interval of bits per byte."""
    holm: Verdict
    """The same after Holm's correction for the number of arms."""
    bits_per_byte: Interval | None
    """Of the arm's minus the base's; None if there is no pair."""
    loss: Interval | None
    """The same in nats a token."""
    seed_noise: float | None
    """Standard deviation of the base over seeds, in bits per byte."""
    pairing_gain: float | None
    """How many times as many runs the interval would need without pairs."""
    smallest_visible: float | None
    """The difference in bits per byte that all pairs together would show in half of all cases."""
    diverged: int
    """Runs of the arm that diverged."""
    base_diverged: int
    """Runs of the base that diverged with a seed of the arm's; their pairs have no difference."""

    @property
    def is_settled(self) -> bool:
        """True if no further pair is needed."""
        return self.verdict != "not decided"


@dataclass(frozen=True)
class Finding:
    """What is known of an arm."""

    comparison: Comparison
    """At the length of the base."""
    shorter: Sequence[Comparison]
    """At the other lengths."""
    tokens: Ratio | None
    time: Ratio | None


def compare_arm(
    arm: str, base: Mapping[int, Outcome], runs: Mapping[int, Outcome], most_pairs: int, arms: int = 1
) -> Comparison:
    """Compare the runs of an arm with those of the base.

    Args:
        base: outcomes of the base at one length, by seed.
        runs: those of the arm.
        most_pairs: pairs of the whole experiment.
        arms: the number of arms that are still to be decided, as Holm's correction counts them.
    """
    horizon = next(iter(runs.values())).horizon if runs else 1.0
    diverged = sum(run.state == "diverged" for run in runs.values())
    base_diverged = sum(base[seed].state == "diverged" for seed in base if seed in runs)
    seeds = [seed for seed in base if seed in runs and base[seed].state == runs[seed].state == "done"]
    pairs = [(base[seed], runs[seed]) for seed in sorted(seeds)]
    bits = [_bits(arm_run) - _bits(base_run) for base_run, arm_run in pairs]
    nats = [_loss(arm_run) - _loss(base_run) for base_run, arm_run in pairs]
    equal = bool(pairs) and all(a.weights_sha256 == b.weights_sha256 != "" for a, b in pairs)
    found = interval(bits, most_pairs) if bits else None
    verdict, holm = verdict_of(found), verdict_of(interval(bits, most_pairs, ERROR / arms)) if bits else "not decided"
    if equal:
        verdict = holm = "equal to the bit"
    # The other pairs alone would say what holds where nothing diverges, and leave out where it did.
    if base_diverged:
        verdict = holm = "base diverged"
    if diverged:
        verdict = holm = "diverged"
    of_base = [_bits(run) for run in base.values() if run.state == "done"]
    of_arm = [_bits(run) for run in runs.values() if run.state == "done"]
    several = len(bits) > 1 and statistics.stdev(bits) > 0
    gain = (statistics.variance(of_base) + statistics.variance(of_arm)) / statistics.variance(bits) if several else None
    return Comparison(
        arm=arm,
        horizon=horizon,
        pairs=len(pairs),
        verdict=verdict,
        holm=holm,
        bits_per_byte=found,
        loss=interval(nats, most_pairs) if nats else None,
        seed_noise=statistics.stdev(of_base) if len(of_base) > 1 else None,
        pairing_gain=gain,
        smallest_visible=smallest_visible(bits, most_pairs) if several else None,
        diverged=diverged,
        base_diverged=base_diverged,
    )


def compare_arms(
    base: Mapping[int, Outcome], arms: Mapping[str, Mapping[int, Outcome]], most_pairs: int
) -> list[Comparison]:
    """Compare each arm with the base, with Holm's step-down correction for their number.

    With m arms an error of 5% / m is allowed to the first that is decided, 5% / (m - 1) to the
    second, and so on, so that all of them together claim a difference that is not there in at most
    5% of experiments. Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    decided: dict[str, Comparison] = {}
    while True:
        left = len(arms) - len(decided)
        found = {arm: compare_arm(arm, base, runs, most_pairs, max(1, left)) for arm, runs in arms.items()}
        new = {arm: comparison for arm, comparison in found.items() if comparison.holm in ("better", "worse")}
        new = {arm: comparison for arm, comparison in new.items() if arm not in decided}
        if not new:
            return [decided.get(arm, found[arm]) for arm in arms]
        decided |= new


def verdict_of(found: Interval | None) -> Verdict:
    if found is None or not found.decided:
        return "not decided"
    return "better" if found.mean < 0 else "worse"


def in_words(comparison: Comparison, most_pairs: int) -> str:
    """Return the comparison as a sentence."""
    arm, bits = comparison.arm, comparison.bits_per_byte
    pairs = f"{comparison.pairs} pair" + ("s" if comparison.pairs != 1 else "")
    if comparison.verdict == "diverged":
        of_base = f", and {_runs(comparison.base_diverged)} of the base" if comparison.base_diverged else ""
        return f"{arm}: diverged ({_runs(comparison.diverged)} of it{of_base} did not end with finite numbers)."
    if comparison.verdict == "base diverged":
        others = ""
        if bits is not None:
            size = f"{bits.mean:+.4f} bits per byte" + (f" ({_ends(bits)})" if math.isfinite(bits.half_width) else "")
            others = f" In the other {pairs}: {size}."
        return (
            f"{arm}: the base diverged ({_runs(comparison.base_diverged)} of it did not end with finite numbers, and "
            f"those of {arm} did).{others}"
        )
    if comparison.verdict == "equal to the bit":
        return f"{arm}: the weights are those of the base to the last bit ({pairs}); what it changes decides nothing."
    if bits is None or not math.isfinite(bits.half_width):
        return f"{arm}: no interval can be made from {pairs} yet."
    size = f"{bits.mean:+.4f} bits per byte ({_ends(bits)}; {pairs})"
    if comparison.verdict == "not decided":
        seen = comparison.smallest_visible
        limit = ""
        if seen:
            share = "in fewer than half of such experiments"
            limit = f"; with {most_pairs} pairs an effect smaller than {seen:.4f} is seen {share}"
        return f"{arm}: not decided, {size}{limit}."
    return f"{arm}: {comparison.verdict} than the base, {size}."


def _runs(count: int) -> str:
    return f"{count} run" + ("s" if count != 1 else "")


def _ends(found: Interval) -> str:
    return f"95%: {found.low:+.4f} to {found.high:+.4f}"


def _bits(run: Outcome) -> float:
    assert run.bits_per_byte is not None
    return run.bits_per_byte


def _loss(run: Outcome) -> float:
    assert run.loss is not None
    return run.loss
